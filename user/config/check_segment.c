// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks within one segment: that no prefix and no bin stands twice, that edges ascend, and
 * that the bins that are taken are there.
 */
#include "config/check.h"

#include "segment/members.h"
#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_PATH_MAX 4095 /* as schema.c has it */

static void report_memory(struct check *check, const struct path *path)
{
	char object[PATH_SIZE];

	errors_add_code(check->errors, ENOMEM, path_format(path, object), "free some memory",
			"out of memory");
}

/* ---- cidrs ---- */

static int compare_prefixes(const void *a, const void *b)
{
	const struct prefix *const *left = a, *const *right = b;
	int order = address_compare(&(*left)->address, &(*right)->address);

	if (!order)
		order = (int)(*left)->length - (int)(*right)->length;
	/* Both are in one array, in the order of the file. */
	return order ? order : *left < *right ? -1 : *left > *right;
}

static void check_cidrs(struct check *check, const struct segment *segment, const struct path *path)
{
	struct path cidrs = {.parent = path, .text = "cidrs"};
	const struct prefix **sorted = calloc(segment->cidrs_count + 1, sizeof(*sorted));
	char text[ADDRESS_TEXT_SIZE], what[ADDRESS_TEXT_SIZE + 16];

	if (!sorted) {
		report_memory(check, path);
		return;
	}
	for (size_t i = 0; i < segment->cidrs_count; i++)
		sorted[i] = &segment->cidrs[i];
	qsort(sorted, segment->cidrs_count, sizeof(*sorted), compare_prefixes);
	for (size_t i = 1; i < segment->cidrs_count; i++) {
		const struct place *first = check_place(check, sorted[i - 1], "");
		const struct place *place = check_place(check, sorted[i], "");
		struct path step = {.parent = &cidrs};

		if (!first || !place || !prefix_equal(sorted[i - 1], sorted[i]))
			continue;
		step.index = place->index;
		snprintf(what, sizeof(what), "%s stands", prefix_format(sorted[i], text));
		check_report_twice(check, place, first, &step, NULL, "remove one of them", what);
	}
	free(sorted);
}

/* ---- bins ---- */

static void check_edges(struct check *check, const struct segment_bins *bins,
			const struct path *path)
{
	struct path edges = {.parent = path, .text = "edges"};

	for (size_t i = 1; i < bins->edges_count; i++) {
		const struct place *place = check_place(check, &bins->edges[i], "");
		struct path step = {.parent = &edges, .index = i};

		if (!place || !check_place(check, &bins->edges[i - 1], "") ||
		    bins->edges[i] > bins->edges[i - 1])
			continue;
		check_report(check, place, &step, NULL, "give the edges in ascending order",
			     "%g is not above the edge before it, %g", bins->edges[i],
			     bins->edges[i - 1]);
	}
}

/* The keys whose places tell that the number of bins can be counted on. */
static bool count_is_good(const struct check *check, const struct segment_bins *bins)
{
	return bins->count && check_is_good(check, bins, "cut") &&
	       check_is_good(check, bins, "qcut") && check_is_good(check, bins, "log") &&
	       check_is_good(check, bins, "edges");
}

static void check_taken(struct check *check, const struct segment_bins *bins, size_t index,
			const struct path *take)
{
	const struct place *place = check_place(check, &bins->take[index], "");
	struct path step = {.parent = take, .index = index};
	uint32_t bin = bins->take[index];
	char what[48];

	if (!place)
		return;
	if (bin >= bins->count && count_is_good(check, bins))
		check_report(check, place, &step, NULL, "the lowest bin is 0",
			     "there is no bin %u, the last of %u is %u", bin, bins->count,
			     bins->count - 1);
	for (size_t i = 0; i < index; i++) {
		const struct place *first = check_place(check, &bins->take[i], "");

		if (!first || bins->take[i] != bin)
			continue;
		snprintf(what, sizeof(what), "bin %u stands", bin);
		check_report_twice(check, place, first, &step, NULL, "remove one of them", what);
		return;
	}
}

static int compare_bins(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return *left < *right ? -1 : *left > *right;
}

static void check_bins(struct check *check, struct segment_bins *bins, const struct path *path)
{
	struct path step = {.parent = path, .text = "bins"};
	struct path take = {.parent = &step, .text = "take"};

	if (bins->method == BINS_EDGES) {
		bins->count = bins->edges_count ? bins->edges_count - 1 : 0;
		check_edges(check, bins, &step);
	}
	for (size_t i = 0; i < bins->take_count; i++)
		check_taken(check, bins, i, &take);
	/* A set: another order is no other segment. */
	if (bins->take_count)
		qsort(bins->take, bins->take_count, sizeof(*bins->take), compare_bins);
}

/* ---- file ---- */

/*
 * A file is named from the directory of the configuration that names it, and kept by its whole
 * path: what is stored must mean the same wherever it is read again.
 */
static void settle_file(struct check *check, struct segment *segment, const struct path *path)
{
	const struct place *place = check_place(check, segment, "file");
	const char *slash = place ? strrchr(place->where.file, '/') : NULL;
	int length = slash ? (int)(slash - place->where.file) + 1 : 0;
	char *here = NULL, *whole;

	if (!place || segment->file[0] == '/')
		return;
	if (place->where.file[0] != '/') {
		here = getcwd(NULL, 0);
		if (!here) {
			check_report(check, place, path, "file", "write its whole path",
				     "the directory it is named from is not known");
			return;
		}
	}
	if (asprintf(&whole, "%s%s%.*s%s", here ? here : "", here ? "/" : "", length,
		     place->where.file, segment->file) < 0) {
		report_memory(check, path);
	} else {
		free(segment->file);
		segment->file = whole;
		if (strlen(whole) > CONFIG_PATH_MAX)
			check_report(check, place, path, "file", "put it somewhere else",
				     "its whole path has %zu bytes", strlen(whole));
	}
	free(here);
}

void check_segment(struct check *check, struct segment *segment, const struct path *path)
{
	switch (segment->kind) {
	case SEGMENT_CIDRS:
		check_cidrs(check, segment, path);
		break;
	case SEGMENT_FILE:
		settle_file(check, segment, path);
		break;
	case SEGMENT_BINS:
		check_bins(check, &segment->bins, path);
		break;
	default:
		break;
	}
}
