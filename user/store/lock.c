// SPDX-License-Identifier: GPL-2.0-only
/*
 * The one lock of the writers: flock() on STATE/lock, which the kernel gives back when its holder
 * dies. The holder's pid and command are in the file, for those who wait; the file is emptied when
 * the lock is given back, and never removed, for a waiter may have it open.
 */
#include "store/store_internal.h"

#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define POLL_MS	    20
#define HOLDER_SIZE 1024

const char *directory_hint(int code)
{
	switch (code) {
	case EACCES:
	case EPERM:
		return "run it as root";
	case ENOENT:
		return "make its parent first";
	case ENOSPC:
	case EDQUOT:
		return "free some space there";
	case EROFS:
		return "mount its file system writable";
	default:
		return "look at that directory, or give another one with --state";
	}
}

void share_with_group(const char *directory, int file)
{
	struct stat status;

	/* Without the right to either, the file stays the user's own, which is safe. */
	if (fchmod(file, 0640) || stat(directory, &status))
		return;
	if (fchown(file, (uid_t)-1, status.st_gid))
		return;
}

static int open_lock(const char *directory, const char *path, int *lock)
{
	int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW;
	int file = open(path, flags | O_CREAT | O_EXCL, 0640);

	if (file >= 0)
		share_with_group(directory, file);
	else if (errno == EEXIST)
		file = open(path, flags);
	*lock = file;
	return file < 0 ? -errno : 0;
}

/* Takes the lock if it is free: 0, or -EWOULDBLOCK with *@lock open for reading its holder. */
static int try_lock(const char *directory, const char *path, int *lock)
{
	int error = open_lock(directory, path, lock);

	if (error)
		return error;
	return flock(*lock, LOCK_EX | LOCK_NB) ? -errno : 0;
}

/* The text only helps those who wait: the lock is ours with a full disk too. */
static bool write_holder(int lock, const char *text)
{
	ssize_t length = (ssize_t)strlen(text);

	return !ftruncate(lock, 0) && pwrite(lock, text, (size_t)length, 0) == length;
}

static int busy_error(const char *directory, uint64_t wait_ms, int lock, struct errors *errors)
{
	char text[HOLDER_SIZE], waited[TEXT_VALUE_SIZE];
	ssize_t length = pread(lock, text, sizeof(text) - 1, 0);
	char *command;

	text_format_duration(wait_ms, waited);
	text[length > 0 ? length : 0] = 0;
	command = strchr(text, ' ');
	if (!command)
		return errors_add_code(errors, EBUSY, directory, "run the command again",
				       "another command is changing it, waited %s", waited);
	*command++ = 0;
	return errors_add_code(errors, EBUSY, directory,
			       "let it finish, or wait longer with --wait DURATION",
			       "pid %s is changing it (%s), waited %s", text, command, waited);
}

int state_lock_take(const char *directory, uint64_t wait_ms, const char *command, int *out,
		    struct errors *errors)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	uint64_t deadline = monotonic_now_ns() + wait_ms * 1000000;
	char path[PATH_MAX], holder[HOLDER_SIZE];
	int lock = -1, error;

	if (snprintf(path, sizeof(path), "%s/lock", directory) >= (int)sizeof(path))
		return errors_add_code(errors, ENAMETOOLONG, directory, "give a shorter --state",
				       "the path is too long");
	for (;;) {
		error = try_lock(directory, path, &lock);
		if (!error)
			break;
		if (error != -EAGAIN) {
			errors_add_code(errors, error, directory, directory_hint(-error),
					"cannot lock it: %s", strerror(-error));
			break;
		}
		if (monotonic_now_ns() >= deadline) {
			error = busy_error(directory, wait_ms, lock, errors);
			break;
		}
		close(lock);
		nanosleep(&pause, NULL);
	}
	if (error) {
		if (lock >= 0)
			close(lock);
		return error;
	}
	snprintf(holder, sizeof(holder), "%d %s", (int)getpid(), command);
	write_holder(lock, holder);
	*out = lock;
	return 0;
}

void state_lock_release(int lock)
{
	if (lock < 0)
		return;
	write_holder(lock, "");
	close(lock);
}
