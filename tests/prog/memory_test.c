// SPDX-License-Identifier: GPL-2.0-only
/*
 * The arrays in memory: a box is opened at no cost for what is not looked at, and what is looked at
 * is what the kernel has, for writers, for readers, and for readers who may not write.
 */
#include "lab.h"
#include "tests/random.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SOME (600 * 1024) /* bytes: a chunk or two */

static int setup_large(void **state)
{
	lab_require_bpf();
	*state = lab_open(lab_secret, (struct limits){.services = 64,
						      .vips = 8192,
						      .backends = 65536,
						      .transition_flows = 131072});
	return 0;
}

/* Bytes of BPF maps in this process's page table. */
static uint64_t mapped(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	uint64_t first, last, sum = 0;
	char line[512];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "bpf-map") && sscanf(line, "%lx-%lx", &first, &last) == 2)
			sum += last - first;
	fclose(maps);
	return sum;
}

static struct datapath *open_box(const struct lab *lab, bool writable)
{
	struct datapath *datapath = NULL;

	assert_int_equal(datapath_open(lab->directory, writable, &datapath, lab->errors), 0);
	return datapath;
}

/* Services of which two have many backends, so that arrays are used in more than one chunk. */
static void publish_services(struct lab *lab)
{
	char name[32], address[32];
	unsigned int slot, i;

	for (slot = 0; slot < 20; slot++) {
		struct lab_service *service;

		snprintf(name, sizeof(name), "service-%u", slot);
		service = lab_add_service(lab, name, STEER_L2);
		snprintf(address, sizeof(address), "192.0.2.%u:80/tcp", slot + 1);
		lab_add_vip(service, address);
		for (i = 0; i < (slot < 4 ? 2000 : 3); i++) {
			snprintf(address, sizeof(address), "10.%u.%u.%u", slot, i / 250, i % 250);
			lab_add_backend(service, i % 2, address, 100, LAB_INGRESS);
		}
	}
	lab_publish(lab);
}

static void opening_a_box_maps_only_what_is_looked_at(void **state)
{
	struct lab *lab = *state;
	uint64_t before;
	int writable;

	publish_services(lab);
	for (writable = 0; writable < 2; writable++) {
		struct datapath *datapath;

		before = mapped();
		datapath = open_box(lab, writable);
		assert_in_range(mapped() - before, 1, SOME / 4);
		assert_non_null(datapath_view(datapath, 3));
		assert_non_null(datapath_backend(datapath, datapath_view(datapath, 3), 1));
		assert_in_range(mapped() - before, 1, 2 * SOME);
		datapath_close(datapath);
		assert_int_equal(mapped(), before);
	}
	/* Publishing needs what the service has, not what the box has room for. */
	before = mapped();
	lab->services[7]->shares[0][1] = 500000;
	lab_publish(lab);
	assert_true(mapped() - before < 8 * SOME);
	assert_true(mapped() < 40 << 20);
}

/* Elements by the system call, one by one. */
static void assert_part(const struct map *map, uint32_t first, uint32_t count)
{
	size_t size = map_bytes(map, false) / map->entries;
	uint8_t *element = calloc(1, size);
	const uint8_t *part = map_reach(map, first * size, count * size);
	uint32_t key;

	assert_non_null(element);
	for (key = first; key < first + count; key++) {
		assert_int_equal(bpf_map_lookup_elem(map->fd, &key, element), 0);
		assert_memory_equal(part + (key - first) * size, element, size);
	}
	free(element);
}

static void assert_arrays(const struct datapath *datapath, struct random *random, int rounds)
{
	int id, i;

	for (i = 0; i < rounds; i++)
		for (id = 0; id <= MAP_BOX; id++) {
			const struct map *map = &datapath->maps[id];
			uint32_t first = random_below(random, map->entries);
			uint32_t most = map->entries - first;

			/* Near the front, too, where they are used; and to the very end. */
			if (i % 3 == 1)
				first %= 3000;
			if (i % 3 == 2)
				first = map->entries - (most < 50 ? most : 50);
			most = map->entries - first;
			assert_part(map, first,
				    random_below(random, most < 5000 ? most : 5000) + 1);
		}
}

static void a_part_is_what_the_kernel_has(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	struct datapath *datapath;
	struct backend_line *line;
	uint32_t key;

	publish_services(lab);
	datapath = open_box(lab, true);
	assert_arrays(datapath, &random, 9);
	/* One array, in whatever order it is reached, and whoever writes to it. */
	key = datapath->maps[MAP_BACKENDS].entries - 1;
	line = map_part(datapath, MAP_BACKENDS, struct backend_line, key, 1);
	assert_ptr_equal(line, map_array(datapath, MAP_BACKENDS, struct backend_line) + key);
	line->counter = 77;
	assert_int_equal(
		map_part(lab->datapath, MAP_BACKENDS, struct backend_line, key, 1)->counter, 77);
	line->counter = 0;
	datapath_close(datapath);
}

static int read_as_nobody(const struct lab *lab, struct random *random)
{
	struct datapath *datapath;
	int error;

	if (setgroups(0, NULL) || setresuid(65534, 65534, 65534))
		return 2;
	error = datapath_open(lab->directory, false, &datapath, NULL);
	if (error == -EPERM)
		return 77; /* the kernel keeps bpf() for the privileged */
	if (error)
		return 3;
	if (datapath->maps[MAP_VIEWS].access != MAP_IS_COPY)
		return 4;
	assert_arrays(datapath, random, 6);
	return memcmp(datapath_view(datapath, 2), datapath_view(lab->datapath, 2),
		      sizeof(struct view))
		       ? 5
		       : 0;
}

/* A member of the group that the pins are readable to. */
static void a_reader_who_may_not_write_sees_the_same(void **state)
{
	struct random random = random_seeded(__func__);
	struct lab *lab = *state;
	int status;
	pid_t child;

	publish_services(lab);
	fflush(stdout);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(read_as_nobody(lab, &random));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		lab_test(opening_a_box_maps_only_what_is_looked_at),
		lab_test(a_part_is_what_the_kernel_has),
		lab_test(a_reader_who_may_not_write_sees_the_same),
	};

	return cmocka_run_group_tests_name("prog/memory", tests, setup_large, lab_teardown_group);
}
