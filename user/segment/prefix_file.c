// SPDX-License-Identifier: GPL-2.0-only
/*
 * Segments of kind `file`: one address or prefix a line, `#` begins a comment. A line is never kept
 * longer than a prefix can be, whatever the file holds.
 */
#include "segment/compute_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BAD_LINES_MAX 100 /* then the rest is not looked at */

struct line {
	char text[ADDRESS_TEXT_SIZE];
	size_t length; /* of the text, also where it does not fit */
	unsigned int column;
	bool is_cut;
};

/* False at the end of the file. Spaces around the text and the comment are left out. */
static bool read_line(FILE *stream, struct line *line)
{
	bool in_comment = false;
	unsigned int column = 0;
	int c;

	*line = (struct line){.column = 1};
	for (c = getc(stream); c != EOF && c != '\n'; c = getc(stream)) {
		bool is_space = c == ' ' || c == '\t' || c == '\r';

		column += column < 1000000;
		in_comment |= c == '#';
		if (in_comment || (is_space && !line->length))
			continue;
		if (!line->length)
			line->column = column;
		if (line->length < sizeof(line->text) - 1)
			line->text[line->length] = c;
		else
			line->is_cut |= !is_space;
		line->length++;
	}
	if (line->length > sizeof(line->text) - 1)
		line->length = sizeof(line->text) - 1;
	while (line->length && memchr(" \t\r", line->text[line->length - 1], 3))
		line->length--;
	line->text[line->length] = 0;
	return c != EOF || column;
}

static void bad_line(struct draft *draft, const struct line *line, unsigned int number, int error)
{
	struct position where = {draft->segment->file, number, line->column};
	char hint[ADDRESS_TEXT_SIZE + 32] = "give one address or prefix a line",
				      text[ADDRESS_TEXT_SIZE];
	struct prefix prefix;

	if (error == -EDOM && !prefix_parse_loosely(line->text, &prefix))
		snprintf(hint, sizeof(hint), "did you mean %s?", prefix_format(&prefix, text));
	errors_add(draft->errors, &where, draft->object, hint, "\"%.60s%s\" %s", line->text,
		   line->is_cut ? "..." : "",
		   error == -EDOM ? "has bits set past its length"
				  : "is not an address or a prefix");
}

/* A file of more clients than can ever be published need not be read to its end. */
static int check_room(struct draft *draft)
{
	const struct limits *limits = draft->world->limits;
	size_t most = (size_t)limits->segment_clients + limits->segment_prefixes;

	if (draft->count <= most)
		return 0;
	draft_settle(draft);
	if (draft->count <= most)
		return 0;
	return errors_add_code(draft->errors, E2BIG, draft->object,
			       "raise limits/segment_clients or segment_prefixes, or list fewer",
			       "%s lists more clients than all segments together may have (%zu)",
			       draft->segment->file, most);
}

/* The byte order mark that some editors write in front of the first line. */
static void skip_mark(FILE *stream)
{
	char mark[3];

	if (fread(mark, 1, sizeof(mark), stream) < sizeof(mark) ||
	    memcmp(mark, "\xef\xbb\xbf", sizeof(mark)))
		rewind(stream);
}

static int read_lines(struct draft *draft, FILE *stream)
{
	unsigned int number = 0, bad = 0;
	struct line line;
	int error = 0;

	skip_mark(stream);
	while (!error && bad < BAD_LINES_MAX && read_line(stream, &line)) {
		struct prefix prefix;
		struct member member;

		number++;
		if (!line.length)
			continue;
		/* A zero byte within it makes the text shorter than the line. */
		error = line.is_cut || strlen(line.text) < line.length
				? -EINVAL
				: prefix_parse(line.text, &prefix);
		if (error) {
			bad_line(draft, &line, number, error);
			bad++;
			error = 0;
			continue;
		}
		member = member_of(&prefix);
		error = draft_add(draft, &member);
		if (!error && draft->count == draft->room)
			error = check_room(draft);
	}
	if (!error && ferror(stream))
		error = errors_add_code(draft->errors, EIO, draft->object, "look at the disk",
					"%s cannot be read to its end", draft->segment->file);
	if (error)
		return error;
	return bad ? -EINVAL : check_room(draft);
}

int compute_file(struct draft *draft)
{
	const char *name = draft->segment->file;
	/* Not to wait for a writer where it is a pipe. */
	int file = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK), error;
	FILE *stream = file < 0 ? NULL : fdopen(file, "r");
	struct stat status;

	if (!stream) {
		error = errors_add_code(draft->errors, errno, draft->object,
					"check the name and its permissions",
					"%s cannot be read: %s", name, strerror(errno));
		if (file >= 0)
			close(file);
		return error;
	}
	if (fstat(file, &status) || !S_ISREG(status.st_mode))
		error = errors_add(draft->errors, NULL, draft->object,
				   "name a file of one prefix a line", "%s is no regular file",
				   name);
	else
		error = read_lines(draft, stream);
	fclose(stream);
	return error;
}
