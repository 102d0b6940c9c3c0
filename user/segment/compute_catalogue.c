// SPDX-License-Identifier: GPL-2.0-only
/* Memberships from rows of the catalogue alone: `where`, `sample`; and groupings by a column. */
#include "segment/compute_internal.h"

#include "util/siphash.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WHERE_OBJECT_SIZE (NAME_SIZE + 32)

/* ---- where ---- */

static int take_row(const struct catalogue_row *row, void *data)
{
	return draft_add(data, &row->client);
}

/* Adds every row that the expression takes. @key: of the expression, for errors. */
static int add_rows(struct draft *draft, const char *where, const char *key)
{
	char object[WHERE_OBJECT_SIZE];
	const struct catalogue_query query = {.object = object, .where = where};

	snprintf(object, sizeof(object), "%s/%s", draft->object, key);
	return catalogue_each(draft->world->store, &query, take_row, draft, draft->errors);
}

int compute_where(struct draft *draft)
{
	return add_rows(draft, draft->segment->where, "where");
}

/* ---- sample ---- */

struct sampled {
	uint32_t hash;
	struct member client;
};

static int compare_sampled(const void *a, const void *b)
{
	const struct sampled *left = a, *right = b;

	if (left->hash != right->hash)
		return left->hash < right->hash ? -1 : 1;
	return member_compare(&left->client, &right->client);
}

/* Its place in the hash space of the segment: as a service whose salt text were @salt has it. */
static uint32_t sample_hash(const struct draft *draft, const struct member *client, uint64_t salt64)
{
	struct prefix prefix = member_prefix(client);
	size_t size = prefix.address.family == 4 ? 4 : sizeof(prefix.address.bytes);

	return client_hash(siphash13(*draft->world->secret, prefix.address.bytes, size), salt64);
}

/* Leaves the @wanted lowest hashes; the same clients, and some more, where @wanted is larger. */
static int keep_lowest(struct draft *draft, size_t wanted)
{
	char salt[NAME_SIZE + 32];
	struct sampled *all = calloc(draft->count + 1, sizeof(*all));
	uint64_t salt64;

	if (!all)
		return draft_memory(draft);
	snprintf(salt, sizeof(salt), "xdp-canary/sample/%s", draft->segment->name);
	salt64 = siphash13((struct siphash_key){0}, salt, strlen(salt));
	for (size_t i = 0; i < draft->count; i++)
		all[i] = (struct sampled){sample_hash(draft, &draft->members[i], salt64),
					  draft->members[i]};
	qsort(all, draft->count, sizeof(*all), compare_sampled);
	for (size_t i = 0; i < wanted; i++)
		draft->members[i] = all[i].client;
	draft->count = wanted;
	free(all);
	return 0;
}

int compute_sample(struct draft *draft)
{
	const struct segment_sample *sample = &draft->segment->sample;
	int error;

	if (!draft->world->secret)
		return errors_add_code(draft->errors, ENOKEY, draft->object, "run as root",
				       "a sample is drawn with the box's secret, which cannot be "
				       "read");
	error = add_rows(draft, sample->where, "sample/where");
	if (error)
		return error;
	draft_settle(draft);
	json_object_set_new(draft->detail, "population", json_integer((json_int_t)draft->count));
	if (draft->count < sample->count) {
		errors_warn(draft->errors, NULL, draft->object,
			    "import more clients, or lower the count",
			    "the catalogue has %zu such clients, not %u: all are in it",
			    draft->count, sample->count);
		return 0;
	}
	return keep_lowest(draft, sample->count);
}

/* ---- groupings ---- */

struct grouping_draft {
	const struct segment_world *world;
	struct errors *errors;
	const char *column;
	struct grouped_text {
		struct member client;
		char *text;
	} * list;
	size_t count, room;
};

static int group_memory(struct grouping_draft *draft)
{
	return errors_add_code(draft->errors, ENOMEM, draft->column, "free some memory",
			       "out of memory");
}

/* NULL: the client has no group. malloc()ed. */
static char *group_text(const struct catalogue_value *value)
{
	char number[TEXT_VALUE_SIZE];

	switch (value->type) {
	case CATALOGUE_TEXT:
		return strdup(value->text);
	case CATALOGUE_INTEGER:
		snprintf(number, sizeof(number), "%lld", (long long)value->integer);
		return strdup(number);
	default:
		return strdup(text_format_real(value->real, number));
	}
}

static int group_row(const struct catalogue_row *row, void *data)
{
	struct grouping_draft *draft = data;
	const struct catalogue_value *value = &row->values[0];
	struct prefix prefix = member_prefix(&row->client);
	char *text;

	if (value->type == CATALOGUE_NULL || (value->type == CATALOGUE_TEXT && !*value->text))
		return 0;
	if (draft->count == draft->room) {
		size_t room = draft->room ? 2 * draft->room : 256;
		struct grouped_text *larger = reallocarray(draft->list, room, sizeof(*larger));

		if (!larger)
			return group_memory(draft);
		draft->list = larger;
		draft->room = room;
	}
	text = group_text(value);
	if (!text)
		return group_memory(draft);
	prefix = prefix_shorten(&prefix, draft->world->form.prefix4, draft->world->form.prefix6);
	draft->list[draft->count++] = (struct grouped_text){member_of(&prefix), text};
	return 0;
}

static int compare_texts(const void *a, const void *b)
{
	const struct grouped_text *left = a, *right = b;
	int order = strcmp(left->text, right->text);

	return order ? order : member_compare(&left->client, &right->client);
}

static int compare_clients(const void *a, const void *b)
{
	const struct grouped_client *left = a, *right = b;
	int order = member_compare(&left->client, &right->client);

	/* By text, where a shorter form has made one client of several. */
	return order ? order : left->text < right->text ? -1 : left->text > right->text;
}

/* Texts in their own order, so that equal catalogues give equal groupings. */
static int write_grouping(struct grouping_draft *draft, struct grouping *out)
{
	FILE *stream = open_memstream(&out->texts, &out->texts_size);
	size_t kept = 0;

	out->clients = calloc(draft->count + 1, sizeof(*out->clients));
	if (!stream || !out->clients) {
		if (stream)
			fclose(stream);
		return group_memory(draft);
	}
	if (draft->count)
		qsort(draft->list, draft->count, sizeof(*draft->list), compare_texts);
	for (size_t i = 0; i < draft->count; i++) {
		const char *text = draft->list[i].text;

		if (!i || strcmp(text, draft->list[i - 1].text)) {
			fwrite(text, 1, strlen(text) + 1, stream);
			out->texts_count++;
		}
		out->clients[i].client = draft->list[i].client;
		out->clients[i].text = out->texts_count - 1;
	}
	if (fclose(stream))
		return group_memory(draft);
	qsort(out->clients, draft->count, sizeof(*out->clients), compare_clients);
	for (size_t i = 0; i < draft->count; i++)
		if (!kept ||
		    member_compare(&out->clients[kept - 1].client, &out->clients[i].client))
			out->clients[kept++] = out->clients[i];
	out->count = kept;
	return 0;
}

int grouping_compute(const struct segment_world *world, const char *column, struct grouping *out,
		     struct errors *errors)
{
	struct grouping_draft draft = {.world = world, .errors = errors, .column = column};
	const struct catalogue_query query = {
		.object = "client/group_by",
		.columns = &column,
		.columns_count = 1,
	};
	int error = catalogue_each(world->store, &query, group_row, &draft, errors);

	*out = (struct grouping){0};
	if (!error)
		error = write_grouping(&draft, out);
	for (size_t i = 0; i < draft.count; i++)
		free(draft.list[i].text);
	free(draft.list);
	if (error)
		grouping_release(out);
	return error;
}
