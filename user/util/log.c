// SPDX-License-Identifier: GPL-2.0-only
/*
 * That stderr is the journal is what $JOURNAL_STREAM says, if it still names what stderr is now
 * (systemd.exec(5)): a child whose stderr went elsewhere has inherited the variable.
 */
#include "util/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-journal.h>

#define PROGRAM	   "xdp-canary"
#define FIELDS_MAX 9

struct fields {
	struct iovec list[FIELDS_MAX];
	int count;
};

static bool stderr_is_journal(void)
{
	const char *text = getenv("JOURNAL_STREAM");
	unsigned long long device, inode;
	struct stat now;
	char rest;

	return text && sscanf(text, "%llu:%llu%c", &device, &inode, &rest) == 2 &&
	       !fstat(STDERR_FILENO, &now) && now.st_dev == device && now.st_ino == inode;
}

/* A field that there is no memory for is left out. */
static void __attribute__((format(printf, 2, 3)))
add(struct fields *fields, const char *format, ...)
{
	struct iovec *field = &fields->list[fields->count];
	va_list arguments;
	char *text;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0)
		return;
	*field = (struct iovec){text, (size_t)length};
	fields->count++;
}

static void add_text(struct fields *fields, const char *name, const char *value)
{
	if (value && *value)
		add(fields, "%s=%s", name, value);
}

static void add_number(struct fields *fields, const char *name, uint64_t value)
{
	if (value)
		add(fields, "%s=%" PRIu64, name, value);
}

static void send_line(int priority, const struct log_facts *facts, const char *line)
{
	struct fields fields = {.count = 0};

	add(&fields, "MESSAGE=%s", line);
	add(&fields, "PRIORITY=%d", priority);
	add(&fields, "SYSLOG_IDENTIFIER=" PROGRAM);
	add_text(&fields, "SERVICE", facts->service);
	add_text(&fields, "COHORT", facts->cohort);
	add_text(&fields, "EVENT", facts->event);
	add_number(&fields, "EPOCH", facts->epoch);
	add_number(&fields, "REVISION", facts->revision);
	add_number(&fields, "ROLLOUT", facts->rollout);
	/* What the socket does not take, the stream does: it is the journal's too. */
	if (sd_journal_sendv(fields.list, fields.count) < 0)
		fprintf(stderr, "<%d>" PROGRAM ": %s\n", priority, line);
	while (fields.count)
		free(fields.list[--fields.count].iov_base);
}

static void say_line(int priority, const struct log_facts *facts, const char *line)
{
	static const struct log_facts none;

	if (stderr_is_journal())
		send_line(priority, facts ? facts : &none, line);
	else
		fprintf(stderr, PROGRAM ": %s\n", line);
}

static void say(int priority, const struct log_facts *facts, const char *format, va_list arguments)
{
	char *line;

	if (vasprintf(&line, format, arguments) < 0)
		return;
	say_line(priority, facts, line);
	free(line);
}

void log_event(int priority, const struct log_facts *facts, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(priority, facts, format, arguments);
	va_end(arguments);
}

void log_note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say(LOG_INFO, NULL, format, arguments);
	va_end(arguments);
}

static void log_printed(int priority, const struct log_facts *facts, const struct errors *errors,
			void (*print)(const struct errors *errors, FILE *stream))
{
	char *text = NULL, *line, *rest;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return;
	print(errors, stream);
	fclose(stream);
	rest = text;
	while ((line = strsep(&rest, "\n")))
		if (*line)
			say_line(priority, facts, line);
	free(text);
}

void log_errors(const struct log_facts *facts, const struct errors *errors)
{
	log_printed(LOG_ERR, facts, errors, errors_print);
	log_printed(LOG_WARNING, facts, errors, errors_print_warnings);
}
