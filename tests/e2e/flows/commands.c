// SPDX-License-Identifier: GPL-2.0-only
/*
 * The program's command line, run fast and timed. toggle: `backend set SERVICE BACKEND down`, then
 * `up`, and so on. time: one command, and when it had returned.
 */
#include "flows.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Its exit status; 128 and more: a signal ended it. */
static int run(char **words)
{
	int status;
	pid_t child;

	errno = posix_spawn(&child, *words, NULL, NULL, words, environ);
	if (errno)
		give_up(*words);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			give_up("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Stops early where a command fails, and at an even number when stdin ends. Says how it went in a
 * line of JSON. */
int toggle_main(char **argv)
{
	uint64_t count = 0, done, failed = 0, slowest = 0, began = now_ns(), start, took;
	const char *name, *value;
	bool ended = false;
	int at = 0;

	while (next_option(argv, &at, &name, &value))
		count = number_of(value);
	if (!argv[at] || !argv[at + 1] || !argv[at + 2])
		give_up("toggle: program, service and backend are needed");
	if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		give_up("stdin");
	for (done = 0; done < count && !failed && !(ended && done % 2 == 0); done++) {
		char *words[] = {argv[at],
				 "-q",
				 "backend",
				 "set",
				 argv[at + 1],
				 argv[at + 2],
				 done % 2 ? "up" : "down",
				 NULL};

		start = now_ns();
		failed += run(words) != 0;
		took = now_ns() - start;
		slowest = took > slowest ? took : slowest;
		command_line(&ended);
	}
	took = now_ns() - began;
	printf("{\"commands\":%llu,\"failed\":%llu,\"seconds\":%.3f,\"slowest_seconds\":%.4f}\n",
	       (unsigned long long)done, (unsigned long long)failed, (double)took / NS,
	       (double)slowest / NS);
	return failed != 0;
}

/* The last line of stdout is CLOCK_MONOTONIC in ns. */
int time_main(char **argv)
{
	int status = run(argv);

	printf("%llu\n", (unsigned long long)now_ns());
	return status;
}
