// SPDX-License-Identifier: GPL-2.0-only
/* The program is assembled here, with the little BTF that bpf_loop() asks of its callback. */
#include "holder.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE  4096
#define TURNS (1 << 23) /* BPF_MAX_LOOPS */

/* The program's map, in memory that both sides see. */
struct words {
	uint64_t begun, deadline, ended;
};

struct holder {
	pthread_t thread;
	int program, map;
	struct words *words;
};

#define INSTRUCTION(code_, dst, src, off_, imm_)                                                   \
	((struct bpf_insn){.code = (code_),                                                        \
			   .dst_reg = (dst),                                                       \
			   .src_reg = (src),                                                       \
			   .off = (off_),                                                          \
			   .imm = (imm_)})
#define MOVE(dst, src)	       INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_X, dst, src, 0, 0)
#define SET(dst, value)	       INSTRUCTION(BPF_ALU64 | BPF_MOV | BPF_K, dst, 0, 0, value)
#define LOAD(dst, src, off)    INSTRUCTION(BPF_LDX | BPF_DW | BPF_MEM, dst, src, off, 0)
#define STORE(dst, off, value) INSTRUCTION(BPF_ST | BPF_DW | BPF_MEM, dst, 0, off, value)
#define CALL(helper)	       INSTRUCTION(BPF_JMP | BPF_CALL, 0, 0, 0, helper)
#define END		       INSTRUCTION(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define WIDE(dst, kind, value)                                                                     \
	INSTRUCTION(BPF_LD | BPF_DW | BPF_IMM, dst, kind, 0, value), INSTRUCTION(0, 0, 0, 0, 0)
#define MAP(dst, fd) WIDE(dst, BPF_PSEUDO_MAP_VALUE, fd)

#define FUNCTION_AT 4 /* where the callback's address is loaded */
#define CALLBACK_AT 14

/* int hold(ctx) and int turn(index, ctx): both take what they take as numbers. */
static struct btf *holder_btf(uint32_t functions[2])
{
	struct btf *btf = btf__new_empty();
	int number, prototype;

	assert_non_null(btf);
	number = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	prototype = btf__add_func_proto(btf, number);
	assert_int_equal(btf__add_func_param(btf, "context", number), 0);
	functions[0] = btf__add_func(btf, "hold", BTF_FUNC_GLOBAL, prototype);
	prototype = btf__add_func_proto(btf, number);
	assert_int_equal(btf__add_func_param(btf, "index", number), 0);
	assert_int_equal(btf__add_func_param(btf, "context", number), 0);
	functions[1] = btf__add_func(btf, "turn", BTF_FUNC_STATIC, prototype);
	assert_int_equal(btf__load_into_kernel(btf), 0);
	return btf;
}

static int load_program(int map)
{
	const struct bpf_insn instructions[] = {
		MAP(BPF_REG_1, map),
		STORE(BPF_REG_1, offsetof(struct words, begun), 1),
		SET(BPF_REG_1, TURNS),
		WIDE(BPF_REG_2, BPF_PSEUDO_FUNC, CALLBACK_AT - FUNCTION_AT - 1),
		MOVE(BPF_REG_3, BPF_REG_10),
		SET(BPF_REG_4, 0),
		CALL(BPF_FUNC_loop),
		MAP(BPF_REG_1, map),
		STORE(BPF_REG_1, offsetof(struct words, ended), 1),
		SET(BPF_REG_0, XDP_PASS),
		END,
		/* turn: */
		CALL(BPF_FUNC_ktime_get_ns),
		MAP(BPF_REG_1, map),
		LOAD(BPF_REG_2, BPF_REG_1, offsetof(struct words, deadline)),
		INSTRUCTION(BPF_JMP | BPF_JGT | BPF_X, BPF_REG_0, BPF_REG_2, 2, 0),
		SET(BPF_REG_0, 0),
		END,
		SET(BPF_REG_0, 1),
		END,
	};
	uint32_t functions[2];
	struct btf *btf = holder_btf(functions);
	struct bpf_func_info info[2] = {{0, functions[0]}, {CALLBACK_AT, functions[1]}};
	LIBBPF_OPTS(bpf_prog_load_opts, options, .prog_btf_fd = btf__fd(btf), .func_info = info,
		    .func_info_cnt = 2, .func_info_rec_size = sizeof(*info));
	int program = bpf_prog_load(BPF_PROG_TYPE_XDP, "hold", "GPL", instructions,
				    sizeof(instructions) / sizeof(*instructions), &options);

	btf__free(btf);
	assert_true(program >= 0);
	return program;
}

static void *run(void *argument)
{
	const struct holder *holder = argument;
	uint8_t frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof(frame),
		    .repeat = 1);

	return bpf_prog_test_run_opts(holder->program, &options) ? argument : NULL;
}

static uint64_t monotonic(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void start_once(struct holder *holder, uint32_t milliseconds)
{
	*holder->words = (struct words){.deadline = UINT64_MAX};
	assert_int_equal(pthread_create(&holder->thread, NULL, run, holder), 0);
	while (!__atomic_load_n(&holder->words->begun, __ATOMIC_ACQUIRE))
		sched_yield();
	__atomic_store_n(&holder->words->deadline, monotonic() + milliseconds * 1000000ULL,
			 __ATOMIC_RELEASE);
}

struct holder *holder_start(uint32_t milliseconds)
{
	LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_MMAPABLE);
	struct holder *holder = calloc(1, sizeof(*holder));
	int tries;

	assert_non_null(holder);
	holder->map =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, "hold", 4, sizeof(struct words), 1, &options);
	assert_true(holder->map >= 0);
	holder->words = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, holder->map, 0);
	assert_ptr_not_equal(holder->words, MAP_FAILED);
	holder->program = load_program(holder->map);
	start_once(holder, milliseconds);
	/* It may have had this thread's CPU, and all of its turns before this thread ran again. */
	for (tries = 0; holder_ended(holder) && tries < 50; tries++) {
		pthread_join(holder->thread, NULL);
		start_once(holder, milliseconds);
	}
	return holder;
}

bool holder_ended(const struct holder *holder)
{
	return __atomic_load_n(&holder->words->ended, __ATOMIC_ACQUIRE);
}

void holder_free(struct holder *holder)
{
	void *failed;

	assert_int_equal(pthread_join(holder->thread, &failed), 0);
	assert_null(failed);
	assert_true(holder_ended(holder));
	munmap(holder->words, PAGE);
	close(holder->program);
	close(holder->map);
	free(holder);
}
