// SPDX-License-Identifier: GPL-2.0-only
#include "probe_fixture.h"

#include "util/text.h"

#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define TICK_US	   5000ULL
#define PATIENT_NS (60 * 1000000000ULL)
#define SERVER	   "tests/unit/probe_server.py"

static void start_server(struct probe_box *box)
{
	int in[2], out[2];
	FILE *said;

	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	box->server = fork();
	assert_true(box->server >= 0);
	if (!box->server) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], 0);
		dup2(out[1], 1);
		close_range(3, ~0U, 0);
		execlp("python3", "python3", SERVER, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	box->leash = in[1];
	said = fdopen(out[0], "r");
	assert_int_equal(fscanf(said, "%u", &box->port), 1);
	fclose(said);
}

int probe_box_make(void **state)
{
	struct probe_box *box = calloc(1, sizeof(*box));

	start_server(box);
	assert_true(sd_event_new(&box->event) >= 0);
	assert_true(probe_engine_new(box->event, &box->engine) >= 0);
	*state = box;
	return 0;
}

int probe_box_remove(void **state)
{
	struct probe_box *box = *state;

	probe_engine_free(box->engine);
	sd_event_unref(box->event);
	close(box->leash);
	waitpid(box->server, NULL, 0);
	free(box);
	return 0;
}

const char *probe_box_url(struct probe_box *box, const char *path)
{
	snprintf(box->url, sizeof(box->url), "http://127.0.0.1:%u%s", box->port, path);
	return box->url;
}

/* One turn of the loop, at most TICK_US after the last one where nothing keeps it. */
static void turn(struct probe_box *box)
{
	uint64_t before = monotonic_now_ns(), took;

	assert_true(sd_event_run(box->event, TICK_US) >= 0);
	took = monotonic_now_ns() - before;
	box->ticks++;
	if (took > box->longest_ns)
		box->longest_ns = took;
}

void probe_box_wait(struct probe_box *box, const size_t *count, size_t wanted)
{
	uint64_t until = monotonic_now_ns() + PATIENT_NS;

	while (*count < wanted) {
		assert_true(monotonic_now_ns() < until);
		turn(box);
	}
}

void probe_box_run(struct probe_box *box, uint64_t milliseconds)
{
	uint64_t until = monotonic_now_ns() + milliseconds * 1000000;

	while (monotonic_now_ns() < until)
		turn(box);
}

size_t probe_box_descriptors(void)
{
	DIR *directory = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count;
}
