// SPDX-License-Identifier: GPL-2.0-only
/*
 * The box's secret: 16 random bytes as 32 hex digits in a file of 0600. Never printed; a
 * fingerprint tells whether two boxes agree.
 */
#include "control/control.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET_BYTES  16
#define SECRET_DIGITS (2 * SECRET_BYTES)

char *secret_path(const struct place *place, const struct policy *policy)
{
	char *path;

	if (policy && policy->secret_file)
		return strdup(policy->secret_file);
	return asprintf(&path, "%s/secret", place->state) < 0 ? NULL : path;
}

static int parse_secret(const char *text, struct siphash_key *out)
{
	uint8_t bytes[SECRET_BYTES];
	int i;

	for (i = 0; i < SECRET_DIGITS; i++)
		if (!isxdigit((unsigned char)text[i]))
			return -EINVAL;
	for (i = 0; i < SECRET_BYTES; i++) {
		char digits[3] = {text[2 * i], text[2 * i + 1]};

		bytes[i] = strtoul(digits, NULL, 16);
	}
	memcpy(&out->k0, bytes, sizeof(out->k0));
	memcpy(&out->k1, bytes + sizeof(out->k0), sizeof(out->k1));
	out->k0 = le64toh(out->k0);
	out->k1 = le64toh(out->k1);
	return 0;
}

/* Whole or not at all: written beside, then linked into place, so that the first of two makers
 * wins. */
static int make_secret(const char *path, struct errors *errors)
{
	uint8_t bytes[SECRET_BYTES];
	char text[SECRET_DIGITS + 2], *beside;
	int i, fd, error = 0;

	if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
		return errors_add_code(errors, EIO, path, "try again",
				       "no random bytes from the kernel");
	for (i = 0; i < SECRET_BYTES; i++)
		sprintf(text + 2 * i, "%02x", bytes[i]);
	text[SECRET_DIGITS] = '\n';
	if (asprintf(&beside, "%s.%d", path, getpid()) < 0)
		return -ENOMEM;
	fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, SECRET_DIGITS + 1) != SECRET_DIGITS + 1 || fsync(fd) ||
	    (link(beside, path) && errno != EEXIST))
		error = errors_add_code(errors, errno, path,
					"make its directory, writable for root",
					"cannot make the secret: %s", strerror(errno));
	if (fd >= 0) {
		close(fd);
		unlink(beside);
	}
	free(beside);
	return error;
}

static int check_mode(int fd, const char *path, struct errors *errors)
{
	struct stat info;

	if (fstat(fd, &info))
		return -errno;
	if (info.st_mode & 077)
		errors_warn(errors, NULL, path,
			    "chmod 600 it, and make a new one if others have read it",
			    "the secret can be read by others than its owner (mode %o)",
			    info.st_mode & 0777);
	return 0;
}

int secret_read(const char *path, bool make, struct siphash_key *out, struct errors *errors)
{
	char text[SECRET_DIGITS + 3] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC), error;
	ssize_t length;

	if (fd < 0 && errno == ENOENT && make) {
		error = make_secret(path, errors);
		if (error)
			return error;
		fd = open(path, O_RDONLY | O_CLOEXEC);
	}
	if (fd < 0)
		return errors_add_code(errors, errno, path,
				       "run `xdp-canary secret init`, or copy it from another box",
				       "cannot read the secret: %s", strerror(errno));
	check_mode(fd, path, errors);
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length > 0 && text[length - 1] == '\n')
		text[--length] = '\0';
	if (length != SECRET_DIGITS || parse_secret(text, out))
		return errors_add_code(errors, EINVAL, path,
				       "it has 16 random bytes as 32 hex digits, and nothing else",
				       "is not a secret");
	return 0;
}
