// SPDX-License-Identifier: GPL-2.0-only
/* Commands as metrics: what their ends mean, what they may do, and that nothing of them is left. */
#include "probe/command.h"
#include "probe_fixture.h"
#include "util/text.h"

#include <inttypes.h>
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct heard {
	size_t count;
	enum command_result result;
	char text[PROBE_ERROR_SIZE];
};

static void hear(void *data, enum command_result result, const char *text)
{
	struct heard *heard = data;

	heard->count++;
	heard->result = result;
	snprintf(heard->text, sizeof(heard->text), "%s", text);
}

static struct probe *begin(struct probe_box *box, const char *script, uint64_t timeout_ms,
			   struct heard *heard)
{
	char *words[] = {"sh", "-c", (char *)script};
	struct probe *probe;

	*heard = (struct heard){0};
	assert_int_equal(probe_command(box->engine, words, 3, timeout_ms, hear, heard, &probe), 0);
	assert_int_equal(heard->count, 0);
	return probe;
}

static struct heard run_for(struct probe_box *box, const char *script, uint64_t timeout_ms)
{
	struct heard heard;

	begin(box, script, timeout_ms, &heard);
	probe_box_wait(box, &heard.count, 1);
	return heard;
}

static struct heard run(struct probe_box *box, const char *script)
{
	return run_for(box, script, 20000);
}

/* Until no process of that number is left; fails after ten seconds. */
static void await_gone(struct probe_box *box, pid_t pid)
{
	for (int i = 0; i < 1000 && !kill(pid, 0); i++)
		probe_box_run(box, 10);
	assert_true(kill(pid, 0) && errno == ESRCH);
}

/* What a script has written to @file by now; waits for it. */
static pid_t pid_in(struct probe_box *box, const char *path)
{
	int pid = 0;

	for (int i = 0; i < 1000 && pid <= 0; i++) {
		FILE *file = fopen(path, "r");

		if (file && fscanf(file, "%d\n", &pid) != 1)
			pid = 0;
		if (file)
			fclose(file);
		probe_box_run(box, 10);
	}
	assert_true(pid > 0);
	return pid;
}

static void exit_0_passes_1_fails_2_is_no_data(void **state)
{
	struct heard heard = run(*state, "echo fine; exit 0");

	assert_int_equal(heard.result, COMMAND_PASSED);
	assert_string_equal(heard.text, "fine");
	heard = run(*state, "echo too many errors >&2; echo more; exit 1");
	assert_int_equal(heard.result, COMMAND_FAILED);
	assert_string_equal(heard.text, "too many errors");
	heard = run(*state, "exit 2");
	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it says that there is no data");
}

/* Makes DIRECTORY/name, a program that passes. */
static void make_program(const char *directory, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
	assert_int_equal(chmod(path, 0755), 0);
}

static struct heard run_word(struct probe_box *box, char *word)
{
	char *words[] = {word};
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(probe_command(box->engine, words, 1, 20000, hear, &heard, &probe), 0);
	probe_box_wait(box, &heard.count, 1);
	return heard;
}

static void a_program_is_looked_for_in_the_systems_directories_alone(void **state)
{
	struct probe_box *box = *state;
	char directory[] = "/tmp/xc-path-XXXXXX", path[4096], whole[64];
	char *before = strdup(getenv("PATH"));
	struct heard heard;

	assert_non_null(mkdtemp(directory));
	assert_int_equal(chmod(directory, 0755), 0);
	make_program(directory, "xc-only-here", "#!/bin/sh\necho here\n");
	make_program(directory, "true", "#!/bin/sh\necho not the system\n");
	make_program(directory, "no-program", "exit 0\n");
	snprintf(path, sizeof(path), "%s:%s", directory, before);
	setenv("PATH", path, 1);
	heard = run_word(box, "xc-only-here");
	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it ended with exit status 127: cannot run xc-only-here: "
					"No such file or directory");
	heard = run_word(box, "true");
	assert_int_equal(heard.result, COMMAND_PASSED);
	assert_string_equal(heard.text, "");
	setenv("PATH", "/nowhere", 1);
	assert_int_equal(run_word(box, "false").result, COMMAND_FAILED);
	/* With a slash it is that file; which a shell is not asked to make something of. */
	snprintf(whole, sizeof(whole), "%s/xc-only-here", directory);
	assert_string_equal(run_word(box, whole).text, "here");
	snprintf(whole, sizeof(whole), "%s/no-program", directory);
	assert_int_equal(run_word(box, whole).result, COMMAND_NODATA);
	setenv("PATH", before, 1);
	free(before);
	for (const char *const *name =
		     (const char *const[]){"xc-only-here", "true", "no-program", NULL};
	     *name; name++) {
		snprintf(whole, sizeof(whole), "%s/%s", directory, *name);
		unlink(whole);
	}
	rmdir(directory);
}

static void every_other_end_is_no_data_with_a_reason(void **state)
{
	struct probe_box *box = *state;
	char *missing[] = {"/no/such/program"};
	struct heard heard = run(box, "echo oops; exit 3");
	struct probe *probe;

	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it ended with exit status 3: oops");
	heard = run(box, "kill -9 $$");
	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it was ended by signal 9 (Killed)");
	heard.count = 0;
	assert_int_equal(probe_command(box->engine, missing, 1, 1000, hear, &heard, &probe), 0);
	probe_box_wait(box, &heard.count, 1);
	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it ended with exit status 127: cannot run "
					"/no/such/program: No such file or directory");
}

static void no_shell_sees_the_words(void **state)
{
	struct probe_box *box = *state;
	char *words[] = {"printf", "%s|", "$HOME", "a b", "*", ";exit 1"};
	struct heard heard = {0};
	struct probe *probe;

	assert_int_equal(probe_command(box->engine, words, 6, 20000, hear, &heard, &probe), 0);
	probe_box_wait(box, &heard.count, 1);
	assert_int_equal(heard.result, COMMAND_PASSED);
	assert_string_equal(heard.text, "$HOME|a b|*|;exit 1|");
}

static void it_has_no_rights(void **state)
{
	struct heard heard;

	heard = run(*state, "grep NoNewPrivs /proc/self/status");
	assert_string_equal(heard.text, "NoNewPrivs:\\x091");
	heard = run(*state, "grep CapEff /proc/self/status | tr -d '\\t'");
	assert_string_equal(heard.text, "CapEff:0000000000000000");
	heard = run(*state, "ulimit -c");
	assert_string_equal(heard.text, "0");
	if (geteuid())
		return;
	heard = run(*state, "id -un; id -Gn");
	assert_string_equal(heard.text, "nobody");
	heard = run(*state, "id -G | wc -w");
	assert_string_equal(heard.text, "1");
	heard = run(*state, "cat /etc/shadow >/dev/null && exit 0; exit 1");
	assert_int_equal(heard.result, COMMAND_FAILED);
}

static void it_inherits_nothing_of_ours(void **state)
{
	uint64_t blocked, ignored;
	struct heard heard;

	setenv("PROBE_SECRET", "secret", 1);
	heard = run(*state, "env | grep -c PROBE_SECRET");
	assert_string_equal(heard.text, "0");
	/* 0, 1, 2, and what ls itself opens. */
	heard = run(*state, "echo $(ls /proc/self/fd)");
	assert_string_equal(heard.text, "0 1 2 3");
	heard = run(*state, "read line && exit 1; readlink /proc/self/fd/0");
	assert_string_equal(heard.text, "/dev/null");
	heard = run(*state, "pwd");
	assert_string_equal(heard.text, "/");
	/* Nothing is blocked or ignored: SIGPIPE and SIGCHLD are, here. Signals 32 and 33 are the C
	 * library's own, which ignores them in whatever posix_spawn() began, as make does. */
	signal(SIGPIPE, SIG_IGN);
	heard = run(*state, "echo $(grep -E 'SigBlk|SigIgn' /proc/self/status | cut -f2)");
	assert_int_equal(sscanf(heard.text, "%" SCNx64 " %" SCNx64, &blocked, &ignored), 2);
	assert_int_equal(blocked, 0);
	assert_int_equal(ignored & ~0x180000000ULL, 0);
}

static void what_it_writes_is_bounded_and_text(void **state)
{
	struct heard heard = run(*state, "head -c 5000000 /dev/zero | tr '\\0' x; exit 1");

	assert_int_equal(heard.result, COMMAND_FAILED);
	assert_int_equal(strlen(heard.text), PROBE_ERROR_SIZE - 1);
	heard = run(*state, "printf '\\377\\033[31m'; exit 1");
	assert_string_equal(heard.text, "\\xff\\x1b[31m");
	/* The bound falls within a character: it is left out whole. */
	heard = run(*state, "printf 'x%.0s' $(seq 254); printf '\\303\\244'; exit 1");
	assert_int_equal(strlen(heard.text), 254);
}

static void what_lasts_too_long_is_ended_and_what_it_forked_too(void **state)
{
	struct probe_box *box = *state;
	char path[] = "/tmp/command_test.XXXXXX", script[256];
	int fd = mkstemp(path);
	struct heard heard;
	pid_t forked;

	assert_int_equal(fchmod(fd, 0666), 0);
	/* Ignoring SIGTERM does not help. */
	snprintf(script, sizeof(script),
		 "trap '' TERM; echo begun; (trap '' TERM; sleep 1000) & echo $! > %s; wait", path);
	heard = run_for(box, script, 300);
	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it did not end within 300 ms: begun");
	forked = pid_in(box, path);
	await_gone(box, forked);
	/* One that heeds it may say why. */
	heard = run_for(box, "trap 'echo asked to; exit 0' TERM; sleep 1000 & wait", 300);
	assert_int_equal(heard.result, COMMAND_NODATA);
	assert_string_equal(heard.text, "it did not end within 300 ms: asked to");
	close(fd);
	unlink(path);
}

static void what_it_leaves_behind_is_ended_with_it(void **state)
{
	struct probe_box *box = *state;
	char path[] = "/tmp/command_test.XXXXXX", script[256];
	int fd = mkstemp(path);
	struct heard heard;

	assert_int_equal(fchmod(fd, 0666), 0);
	snprintf(script, sizeof(script), "sleep 1000 & echo $! > %s; exit 1", path);
	heard = run(box, script);
	assert_int_equal(heard.result, COMMAND_FAILED);
	await_gone(box, pid_in(box, path));
	close(fd);
	unlink(path);
}

static void a_cancelled_one_is_ended_and_no_zombie_stays(void **state)
{
	struct probe_box *box = *state;
	char path[] = "/tmp/command_test.XXXXXX", script[256];
	int fd = mkstemp(path);
	struct heard heard;
	struct probe *probe;
	pid_t child;

	assert_int_equal(fchmod(fd, 0666), 0);
	snprintf(script, sizeof(script), "echo $$ > %s; sleep 1000", path);
	probe = begin(box, script, 60000, &heard);
	child = pid_in(box, path);
	assert_int_equal(kill(child, 0), 0);
	probe_cancel(probe);
	await_gone(box, child);
	assert_int_equal(heard.count, 0);
	close(fd);
	unlink(path);
}

/* The bounding set of scripts/xdp-canary.service.in, in the place of our own. */
static void be_the_unit(void)
{
	static const char key[] = "CapabilityBoundingSet=";
	cap_value_t value, last = cap_max_bits();
	cap_t all = cap_get_proc(), kept = cap_init();
	FILE *file = fopen("scripts/xdp-canary.service.in", "r");
	char line[512], *names = NULL, *name, *rest;
	cap_flag_value_t is_set;

	assert_non_null(file);
	while (!names && fgets(line, sizeof(line), file))
		if (!strncmp(line, key, strlen(key)))
			names = line + strlen(key);
	fclose(file);
	assert_non_null(names);
	for (name = strtok_r(names, " \n", &rest); name; name = strtok_r(NULL, " \n", &rest)) {
		assert_int_equal(cap_from_name(name, &value), 0);
		/* This machine may give fewer. */
		assert_int_equal(cap_get_flag(all, value, CAP_PERMITTED, &is_set), 0);
		assert_int_equal(cap_set_flag(kept, CAP_PERMITTED, 1, &value, is_set), 0);
		assert_int_equal(cap_set_flag(kept, CAP_EFFECTIVE, 1, &value, is_set), 0);
	}
	for (value = 0; value < last; value++) {
		assert_int_equal(cap_get_flag(kept, value, CAP_PERMITTED, &is_set), 0);
		if (!is_set)
			cap_drop_bound(value);
	}
	assert_int_equal(cap_set_proc(kept), 0);
	cap_free(all);
	cap_free(kept);
}

static void run_as_the_unit(void)
{
	struct probe_box box = {0};
	struct heard heard;

	assert_true(sd_event_new(&box.event) >= 0);
	assert_true(probe_engine_new(box.event, &box.engine) >= 0);
	be_the_unit();
	heard = run(&box, "id -un");
	assert_string_equal(heard.text, "nobody");
	heard = run_for(&box, "exec sleep 1000", 100);
	assert_string_equal(heard.text, "it did not end within 100 ms");
	probe_engine_free(box.engine);
	sd_event_unref(box.event);
}

static void the_capabilities_of_the_systemd_unit_are_enough(void **state)
{
	pid_t child;
	int status;

	(void)state;
	if (geteuid())
		skip();
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		run_as_the_unit();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
}

static size_t children(void)
{
	char line[4096] = "", path[64];
	size_t count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "r");
	assert_non_null(file);
	if (fgets(line, sizeof(line), file))
		for (char *c = line; *c; c++)
			count += *c == ' ';
	fclose(file);
	return count;
}

static void a_bounded_number_runs_at_a_time_and_none_is_left(void **state)
{
	enum { MANY = 100 };
	struct probe_box *box = *state;
	char *words[] = {"sleep", ".05"};
	struct heard heard = {0};
	struct probe *probe;
	size_t before = children(), descriptors = probe_box_descriptors(), most = 0, now;

	for (int i = 0; i < MANY; i++)
		assert_int_equal(probe_command(box->engine, words, 2, 60000, hear, &heard, &probe),
				 0);
	while (heard.count < MANY) {
		probe_box_run(box, 1);
		now = children() - before;
		most = now > most ? now : most;
	}
	assert_true(most > 1);
	assert_true(most <= PROBE_COMMANDS_MAX);
	assert_int_equal(children(), before);
	assert_int_equal(probe_box_descriptors(), descriptors);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(exit_0_passes_1_fails_2_is_no_data),
		TEST(a_program_is_looked_for_in_the_systems_directories_alone),
		TEST(every_other_end_is_no_data_with_a_reason),
		TEST(no_shell_sees_the_words),
		TEST(it_has_no_rights),
		TEST(it_inherits_nothing_of_ours),
		TEST(what_it_writes_is_bounded_and_text),
		TEST(what_lasts_too_long_is_ended_and_what_it_forked_too),
		TEST(what_it_leaves_behind_is_ended_with_it),
		TEST(a_cancelled_one_is_ended_and_no_zombie_stays),
		TEST(the_capabilities_of_the_systemd_unit_are_enough),
		TEST(a_bounded_number_runs_at_a_time_and_none_is_left),
	};

	return cmocka_run_group_tests(tests, probe_box_make, probe_box_remove);
}
