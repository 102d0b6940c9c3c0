// SPDX-License-Identifier: GPL-2.0-only
/* secret init, secret check: what boxes that decide alike have in common; never itself printed. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *find_path(struct cli *cli)
{
	struct control *control = NULL;
	char *path = NULL;

	if (!cli_open(cli, &control))
		path = secret_path(&cli->place, control->policy);
	control_close(control);
	return path;
}

static void print_fingerprint(struct cli *cli, const char *command, const char *path,
			      struct siphash_key secret)
{
	char fingerprint[17];

	snprintf(fingerprint, sizeof(fingerprint), "%016" PRIx64,
		 (uint64_t)secret_fingerprint(secret));
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:s, s:o}", "cmd", command, "fingerprint",
					      fingerprint, "file", json_text(path)));
	else
		printf("%s  %s\n", fingerprint, path);
}

static int make_state(struct cli *cli)
{
	const char *state = cli->place.state;

	if (!mkdir(state, 0750) || errno == EEXIST)
		return 0;
	return errors_add_code(cli->errors, errno, state, "make its parent first, and run as root",
			       "cannot make the directory: %s", strerror(errno));
}

int command_secret_init(struct cli *cli)
{
	struct siphash_key secret;
	char *path = find_path(cli);
	int error = path ? make_state(cli) : -EIO;

	if (!error && !access(path, F_OK))
		error = errors_add_code(cli->errors, EEXIST, path,
					"with another one every client is decided anew: move it "
					"away if you mean that",
					"there is a secret already");
	if (!error)
		error = secret_read(path, true, &secret, cli->errors);
	if (!error)
		print_fingerprint(cli, "secret init", path, secret);
	free(path);
	return error;
}

int command_secret_check(struct cli *cli)
{
	struct siphash_key secret;
	char *path = find_path(cli);
	int error = path ? secret_read(path, false, &secret, cli->errors) : -EIO;

	if (!error)
		print_fingerprint(cli, "secret check", path, secret);
	free(path);
	return error;
}
