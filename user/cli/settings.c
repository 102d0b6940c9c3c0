// SPDX-License-Identifier: GPL-2.0-only
/* Global flags, environment, and who is typing. */
#include "cli/settings.h"

#include "util/text.h"

#include <bpf/libbpf.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_DEFAULT	"/var/lib/xdp-canary"
#define PINS_DEFAULT	"/sys/fs/bpf/xdp-canary"
#define WAIT_DEFAULT_MS 10000

static const char *flag_or(const struct cli *cli, const char *flag, const char *variable,
			   const char *fallback)
{
	const char *text = cli_flag(cli, flag);

	if (!text && variable)
		text = getenv(variable);
	return text && *text ? text : fallback;
}

static bool wants_color(struct cli *cli)
{
	const char *when = flag_or(cli, "--color", NULL, "auto"), *no_color = getenv("NO_COLOR");

	if (!strcmp(when, "always"))
		return true;
	if (!strcmp(when, "never"))
		return false;
	if (strcmp(when, "auto"))
		cli_usage(cli, "--color", "say auto, always or never", "`%s` is none of them",
			  when);
	return isatty(STDOUT_FILENO) && !(no_color && *no_color);
}

/* ---- who ---- */

static char *name_of(uid_t user)
{
	const struct passwd *entry = getpwuid(user);
	char *name;

	if (entry)
		return strdup(entry->pw_name);
	return asprintf(&name, "%u", user) < 0 ? NULL : name;
}

/* Who logged in, whatever su and sudo came after; -1 where nobody did (a service, a container). */
static uid_t login_user(void)
{
	FILE *stream = fopen("/proc/self/loginuid", "re");
	unsigned int user = -1;

	if (stream && fscanf(stream, "%u", &user) != 1)
		user = -1;
	if (stream)
		fclose(stream);
	return user;
}

static char *who(const struct cli *cli)
{
	const char *by = cli_flag(cli, "--by"), *sudo = getenv("SUDO_USER");
	uid_t login = login_user();

	if (by && *by)
		return strdup(by);
	if (login != (uid_t)-1)
		return name_of(login);
	return sudo && *sudo ? strdup(sudo) : name_of(geteuid());
}

/* ---- what was typed ---- */

static bool is_plain(const char *word)
{
	return *word && !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					   "0123456789_-+=.,:/%@[]")];
}

/* Quoted as a shell would take it back, but for quotes within quotes. */
static char *what_was_typed(int argc, char **argv)
{
	size_t length = sizeof("xdp-canary");
	char *text;

	for (int i = 1; i < argc; i++)
		length += strlen(argv[i]) + 3;
	text = malloc(length);
	if (!text)
		return NULL;
	strcpy(text, "xdp-canary");
	for (int i = 1; i < argc; i++) {
		const char *quote = is_plain(argv[i]) ? "" : "'";

		strcat(strcat(strcat(strcat(text, " "), quote), argv[i]), quote);
	}
	return text;
}

/* ---- all of it ---- */

static int print_libbpf(enum libbpf_print_level level, const char *format, va_list arguments)
{
	(void)level;
	return vfprintf(stderr, format, arguments);
}

void settings_read(struct cli *cli, int argc, char **argv)
{
	const char *wait = cli_flag(cli, "--wait"), *reason = cli_flag(cli, "--reason");

	cli->json = cli_flag(cli, "-j");
	cli->quiet = cli_flag(cli, "-q");
	cli->verbose = cli_flag(cli, "-v");
	cli->color = wants_color(cli);
	cli->place = (struct place){
		.state = flag_or(cli, "--state", "XDP_CANARY_STATE", STATE_DEFAULT),
		.pins = flag_or(cli, "--pins", "XDP_CANARY_PINS", PINS_DEFAULT),
		.wait_ms = WAIT_DEFAULT_MS,
	};
	if (wait && text_duration(wait, &cli->place.wait_ms))
		cli_usage(cli, "--wait", "say for example `10s`", "`%s` is no duration", wait);
	cli->actor = (struct actor){
		.by = who(cli),
		.command = what_was_typed(argc, argv),
		.reason = reason ? reason : "",
	};
	libbpf_set_print(cli->verbose ? print_libbpf : NULL);
}

void settings_release(struct cli *cli)
{
	free((char *)cli->actor.by);
	free((char *)cli->actor.command);
}
