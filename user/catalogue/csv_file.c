// SPDX-License-Identifier: GPL-2.0-only
#include "catalogue/csv_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_SIZE (256 * 1024)

struct reading {
	const struct csv_file *file;
	struct errors *errors;
	struct csv *csv;
	char *buffer;
	int descriptor;
	bool has_header, is_over;
};

static int cannot_read(const struct reading *reading, int code)
{
	return errors_add_code(reading->errors, code, reading->file->path,
			       "give the path of a CSV file that you may read",
			       "cannot be read: %s", strerror(code));
}

static int take_record(struct reading *reading, const struct csv_record *record)
{
	const struct csv_file *file = reading->file;

	if (reading->has_header)
		return file->row(record, file->data);
	reading->has_header = true;
	return file->header(record, file->data);
}

/* What the buffer holds. */
static int take_records(struct reading *reading)
{
	const struct csv_file *file = reading->file;
	struct csv_problem problem;
	struct csv_record record;
	enum csv_result result;
	int error = 0;

	while (!error && (result = csv_next(reading->csv, &record, &problem)) != CSV_MORE) {
		reading->is_over = result == CSV_END || result == CSV_BROKEN;
		if (result == CSV_END)
			break;
		if (result == CSV_RECORD)
			error = take_record(reading, &record);
		else
			error = file->problem(&problem, reading->has_header, reading->is_over,
					      file->data);
		if (reading->is_over)
			break;
	}
	return error;
}

static int read_all(struct reading *reading)
{
	const struct csv_file *file = reading->file;
	uint64_t done = 0, whole = 0;
	struct stat status;
	int error = 0;

	if (!fstat(reading->descriptor, &status) && S_ISREG(status.st_mode))
		whole = (uint64_t)status.st_size;
	while (!error && !reading->is_over) {
		ssize_t size = read(reading->descriptor, reading->buffer, BUFFER_SIZE);

		if (size < 0 && errno == EINTR)
			continue;
		if (size < 0)
			return cannot_read(reading, errno);
		csv_feed(reading->csv, reading->buffer, (size_t)size);
		error = take_records(reading);
		done += (uint64_t)size;
		if (file->progress)
			file->progress(done, whole, file->data);
	}
	return error || reading->has_header ? error : -ENODATA;
}

int csv_read_file(const struct csv_file *file, struct errors *errors)
{
	struct reading reading = {.file = file, .errors = errors, .descriptor = -1};
	int error;

	reading.csv = csv_new();
	reading.buffer = malloc(BUFFER_SIZE);
	if (!reading.csv || !reading.buffer) {
		error = errors_add_code(errors, ENOMEM, file->path, "free some memory",
					"out of memory");
		goto out;
	}
	reading.descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
	if (reading.descriptor < 0)
		error = cannot_read(&reading, errno);
	else
		error = read_all(&reading);
out:
	if (reading.descriptor >= 0)
		close(reading.descriptor);
	free(reading.buffer);
	csv_free(reading.csv);
	return error;
}

/* ---- whole or not at all ---- */

struct whole {
	const struct csv_file *file;
	struct bad_rows *bad;
};

static int give_header(const struct csv_record *record, void *data)
{
	const struct whole *whole = data;

	return whole->file->header(record, whole->file->data);
}

static int give_row(const struct csv_record *record, void *data)
{
	const struct whole *whole = data;

	return whole->file->row(record, whole->file->data);
}

static int note_problem(const struct csv_problem *problem, bool has_header, bool is_end, void *data)
{
	const struct whole *whole = data;

	bad_rows_add(whole->bad, problem->line, problem->column, has_header ? "row" : "header",
		     problem->hint, "%s", problem->what);
	return is_end || !has_header ? -EINVAL : 0;
}

int csv_read_whole(const struct csv_file *file, struct bad_rows *bad, const char *header,
		   struct errors *errors)
{
	struct whole whole = {file, bad};
	const struct csv_file given = {
		.path = file->path,
		.header = give_header,
		.row = give_row,
		.problem = note_problem,
		.data = &whole,
	};
	int error = csv_read_file(&given, errors);

	bad_rows_tell(bad, file->path, false, errors);
	if (!error && bad->count)
		return -EINVAL;
	if (error == -ENODATA)
		return errors_add(errors, NULL, file->path, header, "it is empty");
	return error;
}
