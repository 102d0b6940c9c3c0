// SPDX-License-Identifier: GPL-2.0-only
#include "observe/segments.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "xdp_canary_"

int segment_heads(struct control *control, struct segment_head **out)
{
	const struct policy *policy = control->policy;
	struct segment_head *heads = calloc(policy->segments_count + 1, sizeof(*heads));
	size_t i;

	*out = NULL;
	if (!heads)
		return -ENOMEM;
	for (i = 0; i < policy->segments_count; i++) {
		struct segment_head *head = &heads[i];
		int error = -ENOENT;

		head->segment = &policy->segments[i];
		if (control->store)
			error = store_membership(control->store, head->segment->name, false,
						 &head->membership, control->errors);
		head->is_known = !error;
		if (error && error != -ENOENT) {
			segment_heads_release(heads, i);
			return error;
		}
	}
	*out = heads;
	return 0;
}

void segment_heads_release(struct segment_head *heads, size_t count)
{
	size_t i;

	for (i = 0; heads && i < count; i++)
		membership_release(&heads[i].membership);
	free(heads);
}

static void family(FILE *out, const char *name, const char *help)
{
	fprintf(out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s gauge\n", name, help, name);
}

/* ---- drift ---- */

/* Label values may hold any text: backslash, quote and newline are escaped. */
static void put_label(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '\n')
			fputs("\\n", out);
		else if (*text == '\\' || *text == '"')
			fprintf(out, "\\%c", *text);
		else
			fputc(*text, out);
	}
}

/* Of segments of one model the one that was computed last tells. */
static bool is_newest_of_model(const struct segment_head *heads, size_t count, size_t index)
{
	const struct segment_head *head = &heads[index];
	size_t i;

	for (i = 0; i < count; i++) {
		const struct segment_head *other = &heads[i];

		if (i == index || !other->is_known || other->segment->kind != SEGMENT_MODEL ||
		    strcmp(other->segment->model.name, head->segment->model.name))
			continue;
		if (other->membership.time_ns > head->membership.time_ns ||
		    (other->membership.time_ns == head->membership.time_ns && i < index))
			return false;
	}
	return true;
}

static void drift_of(FILE *out, const struct segment_head *head)
{
	json_t *detail = json_loads(head->membership.detail, 0, NULL);
	const json_t *feature;
	size_t i;

	json_array_foreach(json_object_get(detail, "drift"), i, feature)
	{
		const char *name = json_string_value(json_object_get(feature, "feature"));
		const json_t *psi = json_object_get(feature, "psi");

		if (!name || !json_is_number(psi))
			continue;
		fprintf(out, PREFIX "drift_psi{model=\"%s\",feature=\"", head->segment->model.name);
		put_label(out, name);
		fprintf(out, "\"} %.6f\n", json_number_value(psi));
	}
	json_decref(detail);
}

static void drift(FILE *out, const struct segment_head *heads, size_t count)
{
	size_t i;

	family(out, "drift_psi",
	       "Population stability index of a model's feature against its training.");
	for (i = 0; i < count; i++)
		if (heads[i].is_known && heads[i].segment->kind == SEGMENT_MODEL &&
		    is_newest_of_model(heads, count, i))
			drift_of(out, &heads[i]);
}

/* ---- memberships ---- */

void segment_metrics(FILE *out, const struct policy *policy, const struct segment_head *heads,
		     uint64_t now_ns)
{
	size_t count = policy->segments_count, i;

	family(out, "segment_clients", "Clients in the segment when it was last computed.");
	for (i = 0; i < count; i++)
		if (heads[i].is_known)
			fprintf(out, PREFIX "segment_clients{segment=\"%s\"} %zu\n",
				heads[i].segment->name, heads[i].membership.count);
	family(out, "segment_version", "How often the segment's membership was computed.");
	for (i = 0; i < count; i++)
		if (heads[i].is_known)
			fprintf(out, PREFIX "segment_version{segment=\"%s\"} %" PRIu64 "\n",
				heads[i].segment->name, heads[i].membership.version);
	family(out, "segment_age_seconds", "Since the segment's membership was computed.");
	for (i = 0; i < count; i++) {
		uint64_t then = heads[i].membership.time_ns;

		if (heads[i].is_known)
			fprintf(out, PREFIX "segment_age_seconds{segment=\"%s\"} %.3f\n",
				heads[i].segment->name, now_ns > then ? (now_ns - then) / 1e9 : 0);
	}
	drift(out, heads, count);
}
