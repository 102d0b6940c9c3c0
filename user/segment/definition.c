// SPDX-License-Identifier: GPL-2.0-only
#include "segment/definition.h"

#include "util/siphash.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[] = {
	[SEGMENT_CIDRS] = "cidrs", [SEGMENT_FILE] = "file",   [SEGMENT_WHERE] = "where",
	[SEGMENT_BINS] = "bins",   [SEGMENT_MODEL] = "model", [SEGMENT_SAMPLE] = "sample",
};

static const char *const method_names[] = {
	[BINS_CUT] = "cut", [BINS_QCUT] = "qcut", [BINS_LOG] = "log", [BINS_EDGES] = "edges"};

const char *segment_kind_name(enum segment_kind kind)
{
	return kind_names[kind];
}

/* ---- the digest ---- */

/* With its length in front, so that no two lists of texts are written alike. */
static void put_text(FILE *stream, const char *text)
{
	if (text)
		fprintf(stream, "%zu:%s,", strlen(text), text);
	else
		fputs("-,", stream);
}

/* In whatever order they stand: a set. */
static int put_cidrs(FILE *stream, const struct segment *segment, struct client_form form)
{
	struct member *members = calloc(segment->cidrs_count + 1, sizeof(*members));
	size_t count;

	if (!members)
		return -ENOMEM;
	for (size_t i = 0; i < segment->cidrs_count; i++) {
		struct prefix prefix =
			prefix_shorten(&segment->cidrs[i], form.prefix4, form.prefix6);

		members[i] = member_of(&prefix);
	}
	count = members_sort(members, segment->cidrs_count);
	fwrite(members, sizeof(*members), count, stream);
	free(members);
	return 0;
}

static void put_bins(FILE *stream, const struct segment_bins *bins)
{
	char number[TEXT_VALUE_SIZE];

	put_text(stream, bins->feature);
	fprintf(stream, "%s %" PRIu32 ",", method_names[bins->method], bins->count);
	for (size_t i = 0; bins->method == BINS_EDGES && i < bins->edges_count; i++)
		fprintf(stream, "%s ", text_format_real(bins->edges[i], number));
	for (size_t i = 0; i < bins->take_count; i++)
		fprintf(stream, ",%" PRIu32, bins->take[i]);
	put_text(stream, bins->where);
}

static int put_definition(FILE *stream, const struct segment *segment, struct client_form form)
{
	fprintf(stream, "%s/%u/%u/", kind_names[segment->kind], form.prefix4, form.prefix6);
	switch (segment->kind) {
	case SEGMENT_CIDRS:
		return put_cidrs(stream, segment, form);
	case SEGMENT_FILE:
		put_text(stream, segment->file);
		break;
	case SEGMENT_WHERE:
		put_text(stream, segment->where);
		break;
	case SEGMENT_BINS:
		put_bins(stream, &segment->bins);
		break;
	case SEGMENT_MODEL:
		put_text(stream, segment->model.name);
		put_text(stream, segment->model.class_name);
		break;
	case SEGMENT_SAMPLE:
		fprintf(stream, "%" PRIu32 ",", segment->sample.count);
		put_text(stream, segment->sample.where);
		break;
	}
	return 0;
}

int segment_definition(const struct segment *segment, struct client_form form, uint64_t *out)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);
	int error;

	if (!stream)
		return -ENOMEM;
	error = put_definition(stream, segment, form);
	if (fclose(stream))
		error = -ENOMEM;
	if (!error)
		*out = siphash13((struct siphash_key){0}, text, size);
	free(text);
	return error;
}

/* ---- in words ---- */

static void say_cidrs(FILE *stream, const struct segment *segment, const struct member *member)
{
	char text[ADDRESS_TEXT_SIZE];
	struct prefix prefix;

	if (member) {
		prefix = member_prefix(member);
		fputs(prefix_format(&prefix, text), stream);
	} else {
		fprintf(stream, "%zu prefix%s", segment->cidrs_count,
			segment->cidrs_count == 1 ? "" : "es");
	}
}

static void say_bins(FILE *stream, const struct segment_bins *bins)
{
	char number[TEXT_VALUE_SIZE];

	fprintf(stream, "%s %s ", bins->feature, method_names[bins->method]);
	if (bins->method == BINS_EDGES)
		for (size_t i = 0; i < bins->edges_count; i++)
			fprintf(stream, "%s%s", i ? "," : "",
				text_format_real(bins->edges[i], number));
	else
		fprintf(stream, "%" PRIu32, bins->count);
	for (size_t i = 0; i < bins->take_count; i++)
		fprintf(stream, "%s%" PRIu32, i ? "," : " [", bins->take[i]);
	fputc(']', stream);
}

char *segment_source(const struct segment *segment, const struct member *member)
{
	char *text = NULL;
	size_t size;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return NULL;
	fprintf(stream, "%s:", kind_names[segment->kind]);
	switch (segment->kind) {
	case SEGMENT_CIDRS:
		say_cidrs(stream, segment, member);
		break;
	case SEGMENT_FILE:
		fputs(segment->file, stream);
		break;
	case SEGMENT_WHERE:
		fputs(segment->where, stream);
		break;
	case SEGMENT_BINS:
		say_bins(stream, &segment->bins);
		break;
	case SEGMENT_MODEL:
		fprintf(stream, "%s=%s", segment->model.name, segment->model.class_name);
		break;
	case SEGMENT_SAMPLE:
		fprintf(stream, "%" PRIu32, segment->sample.count);
		break;
	}
	if (!fclose(stream))
		return text;
	free(text);
	return NULL;
}
