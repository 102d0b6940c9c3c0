// SPDX-License-Identifier: GPL-2.0-only
/*
 * The daemon's log as the journal gets it, from a socket in its place (a mount namespace of our
 * own; root), and as a person reads it on stderr.
 */
#include "util/log.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static const struct log_facts all = {
	.service = "api",
	.cohort = "canary",
	.event = "rollback",
	.epoch = 17,
	.revision = 9,
	.rollout = 3,
};

/* ---- stderr ---- */

static int saved_stderr, ends[2];

/* stderr is a pipe from now on; $JOURNAL_STREAM names it, with @shift added to the inode. */
static void connect_stderr(unsigned int shift)
{
	struct stat now;
	char text[64];

	saved_stderr = dup(STDERR_FILENO);
	assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	assert_int_equal(fstat(STDERR_FILENO, &now), 0);
	snprintf(text, sizeof(text), "%llu:%llu", (unsigned long long)now.st_dev,
		 (unsigned long long)now.st_ino + shift);
	setenv("JOURNAL_STREAM", text, 1);
}

static void assert_said(const char *expected)
{
	char text[512] = "";

	fflush(stderr);
	dup2(saved_stderr, STDERR_FILENO);
	if (read(ends[0], text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(ends[0]);
	close(ends[1]);
	close(saved_stderr);
	unsetenv("JOURNAL_STREAM");
	assert_string_equal(text, expected);
}

static void a_line_on_stderr_where_it_is_not_the_journal(void **state)
{
	(void)state;
	connect_stderr(1);
	log_event(LOG_WARNING, &all, "rollback of rollout %d", 3);
	log_note("two");
	assert_said("xdp-canary: rollback of rollout 3\nxdp-canary: two\n");
	connect_stderr(0);
	unsetenv("JOURNAL_STREAM");
	log_note("three");
	assert_said("xdp-canary: three\n");
	connect_stderr(0);
	setenv("JOURNAL_STREAM", "no numbers", 1);
	log_note("four");
	assert_said("xdp-canary: four\n");
}

/* ---- the journal ---- */

struct journal {
	char directory[32];
	int socket; /* -1: there can be none here */
};

static int make_journal(void **state)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(journal->directory, "/tmp/xc-log-XXXXXX");
	journal->socket = -1;
	*state = journal;
	if (!mkdtemp(journal->directory) || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(journal->directory, "/run", NULL, MS_BIND, NULL))
		return 0;
	if (mkdir("/run/systemd", 0755) || mkdir("/run/systemd/journal", 0755))
		return -1;
	journal->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	strcpy(address.sun_path, "/run/systemd/journal/socket");
	return bind(journal->socket, (struct sockaddr *)&address, sizeof(address));
}

static int remove_journal(void **state)
{
	struct journal *journal = *state;

	if (journal->socket >= 0) {
		close(journal->socket);
		unlink("/run/systemd/journal/socket");
		rmdir("/run/systemd/journal");
		rmdir("/run/systemd");
		umount("/run");
	}
	rmdir(journal->directory);
	free(journal);
	return 0;
}

static void assert_sent(const struct journal *journal, const char *expected)
{
	char text[512] = "";
	ssize_t length = recv(journal->socket, text, sizeof(text) - 1, 0);

	assert_true(length > 0);
	text[length] = 0;
	assert_string_equal(text, expected);
}

static void the_journal_gets_fields(void **state)
{
	const struct journal *journal = *state;
	struct errors *errors = errors_new();
	char nothing;

	if (journal->socket < 0)
		skip();
	connect_stderr(0);
	log_event(LOG_WARNING, &all, "rollback of rollout %d", 3);
	log_note("two");
	errors_add(errors, NULL, "state", "wait", "is locked");
	errors_warn(errors, NULL, "eth0", "see ethtool", "is slow");
	log_errors(&(struct log_facts){.service = "api", .event = ""}, errors);
	errors_free(errors);
	assert_said("");
	assert_sent(journal, "MESSAGE=rollback of rollout 3\nPRIORITY=4\n"
			     "SYSLOG_IDENTIFIER=xdp-canary\nSERVICE=api\nCOHORT=canary\n"
			     "EVENT=rollback\nEPOCH=17\nREVISION=9\nROLLOUT=3\n");
	assert_sent(journal, "MESSAGE=two\nPRIORITY=6\nSYSLOG_IDENTIFIER=xdp-canary\n");
	assert_sent(journal, "MESSAGE=state: is locked: wait\nPRIORITY=3\n"
			     "SYSLOG_IDENTIFIER=xdp-canary\nSERVICE=api\n");
	assert_sent(journal, "MESSAGE=warning: eth0: is slow: see ethtool\nPRIORITY=4\n"
			     "SYSLOG_IDENTIFIER=xdp-canary\nSERVICE=api\n");
	assert_int_equal(recv(journal->socket, &nothing, 1, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_on_stderr_where_it_is_not_the_journal),
		cmocka_unit_test_setup_teardown(the_journal_gets_fields, make_journal,
						remove_journal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
