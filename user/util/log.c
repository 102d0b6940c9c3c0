// SPDX-License-Identifier: GPL-2.0-only
/* Lines with a priority in front, as sd-daemon(3) has them: the journal takes it off, stderr goes
 * without. */
#include "util/log.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

static const char *priority(const char *text)
{
	return getenv("JOURNAL_STREAM") ? text : "";
}

void log_note(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	fprintf(stderr, "%sxdp-canary: ", priority(SD_INFO));
	vfprintf(stderr, format, arguments);
	fprintf(stderr, "\n");
	va_end(arguments);
}

/* @text: lines. */
static void log_lines(const char *level, char *text)
{
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n")))
		if (*line)
			fprintf(stderr, "%sxdp-canary: %s\n", priority(level), line);
}

void log_errors(const struct errors *errors)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return;
	errors_print(errors, stream);
	fclose(stream);
	log_lines(SD_ERR, text);
	free(text);
	text = NULL;
	stream = open_memstream(&text, &size);
	if (!stream)
		return;
	errors_print_warnings(errors, stream);
	fclose(stream);
	log_lines(SD_WARNING, text);
	free(text);
}
