// SPDX-License-Identifier: GPL-2.0-only
#include "cli/segments.h"

#include "segment/definition.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void segment_cache_release(struct segment_cache *cache)
{
	for (size_t i = 0; cache->list && i < cache->policy->segments_count; i++)
		membership_release(&cache->list[i].membership);
	free(cache->list);
	cache->list = NULL;
}

/* The frozen one counts where its definition is the one that is asked about. */
static int read_frozen(const struct segment_cache *cache, const struct segment *segment,
		       struct membership *out)
{
	uint64_t definition;
	int error = cache->store ? store_membership(cache->store, segment->name, true, out,
						    cache->errors)
				 : -ENOENT;

	if (error || !cache->compute)
		return error;
	error = segment_definition(segment, cache->world.form, &definition);
	if (!error && definition == out->definition)
		return 0;
	membership_release(out);
	return error ? error : -ENOENT;
}

static bool read_or_compute(const struct segment_cache *cache, const struct segment *segment,
			    struct membership *out)
{
	struct errors *errors;
	int error = read_frozen(cache, segment, out);
	char object[NAME_SIZE + 16];
	json_t *report;

	if (error != -ENOENT || !cache->compute)
		return !error;
	errors = errors_new();
	if (!errors)
		return false;
	error = segment_compute(&cache->world, segment, out, errors);
	if (error) {
		report = errors_to_json(errors);
		snprintf(object, sizeof(object), "segments/%s", segment->name);
		errors_warn(
			cache->errors, segment->position.file ? &segment->position : NULL, object,
			"see `segment preview`", "cannot be computed here and is passed over: %s",
			json_string_value(json_object_get(
				json_array_get(json_object_get(report, "errors"), 0), "message")));
		json_decref(report);
	}
	errors_free(errors);
	return !error;
}

const struct membership *segment_cache_find(struct segment_cache *cache,
					    const struct segment *segment)
{
	const struct policy *policy = cache->policy;
	struct cached_membership *entry;

	if (!cache->list)
		cache->list = calloc(policy->segments_count, sizeof(*cache->list));
	if (!cache->list)
		return NULL;
	entry = &cache->list[segment - policy->segments];
	if (!entry->was_asked)
		entry->is_known = read_or_compute(cache, segment, &entry->membership);
	entry->was_asked = true;
	return entry->is_known ? &entry->membership : NULL;
}

/* The member that holds the client, or NULL. */
static const struct member *find_member(struct segment_cache *cache, const struct segment *segment,
					const struct address *client)
{
	const struct membership *membership = segment_cache_find(cache, segment);
	uint64_t high, low;

	if (!membership)
		return NULL;
	address_words(client, &high, &low);
	return members_find(membership->members, membership->count, high, low);
}

char *segment_cache_source(struct segment_cache *cache, const char *name,
			   const struct address *client)
{
	const struct segment *segment = policy_segment(cache->policy, name);
	const struct member *member = segment ? find_member(cache, segment, client) : NULL;

	return member ? segment_source(segment, member) : NULL;
}

size_t segment_cache_rule(struct segment_cache *cache, const struct service *service,
			  const struct address *client)
{
	for (size_t i = 0; i < service->rules_count; i++) {
		const struct rule *rule = &service->rules[i];
		const struct segment *segment = policy_segment(cache->policy, rule->segment);

		if (rule->is_default || (segment && find_member(cache, segment, client)))
			return i;
	}
	return service->rules_count - 1;
}
