// SPDX-License-Identifier: GPL-2.0-only
/*
 * `attach --try`: for the one interface that carries the operator's own session. A watcher sleeps,
 * then detaches whatever is still on trial. What is on trial stands in STATE/try-INTERFACE, with
 * the token of the watcher that is to end it; the wish is not remembered in the store, so that a
 * reboot ends a trial too.
 */
#include "cli/attachments.h"

#include "util/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX	     "try-"
#define LOCK_WAIT_MS 60000

static char *trial_path(const struct place *place, const char *interface)
{
	char *path;

	return asprintf(&path, "%s/" PREFIX "%s", place->state, interface) < 0 ? NULL : path;
}

bool trial_is_on(const struct place *place, const char *interface)
{
	char *path = trial_path(place, interface);
	bool is_on = path && !access(path, F_OK);

	free(path);
	return is_on;
}

void trial_end(const struct place *place, const char *interface)
{
	char *path = trial_path(place, interface);

	if (path)
		unlink(path);
	free(path);
}

int trial_add(const struct place *place, const char *interface, const char *token,
	      struct errors *errors)
{
	char *path = trial_path(place, interface);
	int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
	int error = 0;

	if (fd < 0 || write(fd, token, strlen(token)) != (ssize_t)strlen(token))
		error = errors_add_code(errors, errno, path, "look at that directory",
					"cannot write down what is on trial: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
	free(path);
	return error;
}

/* ---- the watcher ---- */

static bool has_token(const struct place *place, const char *interface, const char *token)
{
	char *path = trial_path(place, interface), text[TOKEN_SIZE] = "";
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	bool has = fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && !strcmp(text, token);

	if (fd >= 0)
		close(fd);
	free(path);
	return has;
}

/* @control NULL: the store cannot be had, and the interface matters more. */
static void end_one(const struct place *place, const char *interface, struct control *control)
{
	char audit[64];

	link_detach(place->pins, interface, NULL);
	trial_end(place, interface);
	if (!control)
		return;
	snprintf(audit, sizeof(audit), "{\"attached\":[\"%s\"]}", interface);
	store_set_attached(control->store, interface, false, NULL, NULL);
	store_audit(control->store, "", audit, "{\"attached\":[]}", NULL);
}

static void end_all(const struct place *place, const char *token)
{
	const struct actor actor = {
		.by = "attach --try",
		.command = "attach --try",
		.reason = "no attach followed in time",
	};
	struct control *control = NULL;
	struct place patient = *place;
	struct dirent *entry;
	DIR *directory;

	/* The lock keeps an `attach` that comes at the last moment whole. */
	patient.wait_ms = LOCK_WAIT_MS;
	if (control_open_write(&patient, &actor, NULL, &control))
		control = NULL;
	directory = opendir(place->state);
	while (directory && (entry = readdir(directory))) {
		const char *interface = entry->d_name + strlen(PREFIX);

		if (!strncmp(entry->d_name, PREFIX, strlen(PREFIX)) &&
		    has_token(place, interface, token))
			end_one(place, interface, control);
	}
	if (directory)
		closedir(directory);
	if (control)
		store_commit(control->store, NULL);
	control_close(control);
}

static void sleep_for(uint64_t milliseconds)
{
	struct timespec until;

	clock_gettime(CLOCK_BOOTTIME, &until);
	until.tv_sec += milliseconds / 1000;
	until.tv_nsec += milliseconds % 1000 * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	while (clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

static void watch(const struct place *place, uint64_t milliseconds, const char *token)
{
	int null = open("/dev/null", O_RDWR);

	setsid();
	signal(SIGHUP, SIG_IGN);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	close_range(3, ~0u, 0);
	sleep_for(milliseconds);
	end_all(place, token);
	_exit(0);
}

int trial_start(const struct place *place, uint64_t milliseconds, char token[TOKEN_SIZE],
		struct errors *errors)
{
	uint8_t bytes[(TOKEN_SIZE - 1) / 2];
	pid_t watcher;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return errors_add_code(errors, EIO, "--try", "try again", "no random bytes");
	for (size_t i = 0; i < sizeof(bytes); i++)
		sprintf(token + 2 * i, "%02x", bytes[i]);
	watcher = fork();
	if (watcher < 0)
		return errors_add_code(errors, errno, "--try", "try again",
				       "cannot start the watcher: %s", strerror(errno));
	if (!watcher)
		watch(place, milliseconds, token);
	return watcher;
}
