// SPDX-License-Identifier: GPL-2.0-only
#include "daemon/presence.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int open_file(const char *state, int flags)
{
	char path[PATH_MAX];
	int file;

	if (snprintf(path, sizeof(path), "%s/daemon.lock", state) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	file = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0640);
	return file < 0 ? -errno : file;
}

static struct flock whole_file(void)
{
	return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
}

int presence_announce(const char *state, int *lock, struct errors *errors)
{
	struct flock request = whole_file();
	int file = open_file(state, O_RDWR | O_CREAT), error = 0;

	if (file < 0)
		return errors_add_code(errors, -file, state, "look at that directory",
				       "cannot make daemon.lock there: %s", strerror(-file));
	if (fcntl(file, F_OFD_SETLK, &request))
		error = errno == EAGAIN || errno == EACCES
				? errors_add_code(errors, EBUSY, state,
						  "stop it first, or give another --state",
						  "its daemon is running already")
				: errors_add_code(errors, errno, state, "look at that directory",
						  "cannot lock daemon.lock there: %s",
						  strerror(errno));
	if (error)
		close(file);
	else
		*lock = file;
	return error;
}

bool presence_is_announced(const char *state)
{
	struct flock request = whole_file();
	int file = open_file(state, O_RDONLY);
	bool is_locked;

	if (file < 0)
		return false;
	is_locked = !fcntl(file, F_OFD_GETLK, &request) && request.l_type != F_UNLCK;
	close(file);
	return is_locked;
}
