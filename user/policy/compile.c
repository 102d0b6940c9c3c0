// SPDX-License-Identifier: GPL-2.0-only
/*
 * Compiling a view. Which part of the hash space is whose is decided in headers/allocation.h, which
 * backend serves in policy/ring.c; here they are put together. Two digests: `digest` covers what
 * decides, in names and addresses, and is equal on boxes that decide alike; `content` covers the
 * image to the byte.
 */
#include "policy/compile.h"

#include "allocation.h"
#include "policy/ring.h"
#include "policy/split.h"
#include "track/track.h"
#include "util/siphash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct siphash_key digest_key = {0};

static uint16_t flags_of(const struct service *service, size_t pins)
{
	static const uint16_t of_key[] = {
		[CLIENT_KEY_SOURCE] = 0,
		[CLIENT_KEY_FLOW] = VIEW_KEY_FLOW,
		[CLIENT_KEY_QUIC] = VIEW_KEY_QUIC,
		[CLIENT_KEY_PAYLOAD] = VIEW_KEY_PAYLOAD,
	};
	uint16_t flags = of_key[service->client_key] | service->hash << VIEW_HASH_SHIFT;

	if (service->enforce)
		flags |= VIEW_ENFORCE;
	if (service->balance == BALANCE_CLIENT)
		flags |= VIEW_BALANCE_CLIENT;
	if (pins)
		flags |= VIEW_PINS;
	if (service->prefix4 < 32)
		flags |= VIEW_MASK4;
	return flags;
}

static uint64_t salt64_of(const struct service *service)
{
	char buffer[2 * NAME_SIZE + 256];
	const char *salt = service_salt(service, buffer, sizeof(buffer));

	return siphash13(digest_key, salt, strlen(salt));
}

/* enum view_rollout. */
static uint8_t rollout_of(const struct compile_input *input)
{
	uint8_t rollout = input->latched << ROLLOUT_LATCHED_SHIFT;

	if (input->latched && input->is_lease_latch)
		rollout |= ROLLOUT_LATCH_LEASE;
	rollout |= input->rollout_cohort;
	if (rollout && input->service->affinity.on_rollback == ON_ROLLBACK_CUT)
		rollout |= ROLLOUT_CUT;
	return rollout;
}

static void compile_head(const struct compile_input *input, struct view *view)
{
	const struct service *service = input->service;

	*view = (struct view){
		.salt64 = is_split(service) ? 0 : salt64_of(service),
		.expiry = LEASE_NONE,
		.rollout = rollout_of(input),
		.counters = input->no_rule_group * LANES_MAX,
		.holdout = threshold(service->holdout_ppm),
		.mask4 = htonl(~0u << (32 - service->prefix4)),
		.default_rule = service->rules_count - 1,
		.prefix6 = service->prefix6,
		.cohorts = service->cohorts_count,
		.steer = service->steer,
	};
	if (service->client_key == CLIENT_KEY_PAYLOAD)
		view->payload = (struct payload_key){
			.offset = service->client_id.payload_offset,
			.length = service->client_id.payload_length,
		};
	if (service->client_key == CLIENT_KEY_QUIC)
		view->quic = (struct quic_key){
			.cid_length = service->client_id.quic_cid_length,
			.offset = service->client_id.quic_server_id_offset,
			.length = service->client_id.quic_server_id_length,
		};
	if (is_split(service)) {
		view->hash_modulus = service->hash_options.modulus;
		view->hash_seed = service->hash_options.seed;
	}
	memcpy(view->lanes, input->lanes, sizeof(view->lanes));
}

static void compile_slots(const struct service *service, const uint32_t share_ppm[COHORTS_MAX],
			  struct view_rule *out)
{
	size_t canary;

	for (canary = 1; canary < service->cohorts_count; canary++) {
		const struct cohort *cohort = &service->cohorts[canary];

		if (share_interval(cohort->slot_start_ppm, cohort->slot_ppm, share_ppm[canary],
				   &out->current[canary - 1]))
			out->live |= RULE_CURRENT << (canary - 1);
	}
}

static void compile_parts(const struct service *service, const uint32_t share_ppm[COHORTS_MAX],
			  struct view_rule *out)
{
	const struct split split = split_of(service);

	out->live |= split_parts(&split, share_ppm, out->current) * RULE_CURRENT;
}

static void compile_rule(const struct compile_input *input, size_t index, struct view_rule *out)
{
	const struct service *service = input->service;

	*out = (struct view_rule){
		.reason = service->rules[index].is_default ? REASON_DEFAULT : REASON_RULE,
		.segment = service->rules[index].is_default ? 0 : input->rule_segments[index] + 1,
		.counters = input->rule_groups[index] * LANES_MAX,
	};
	if (is_split(service))
		compile_parts(service, input->share_ppm[index], out);
	else
		compile_slots(service, input->share_ppm[index], out);
}

static void compile_backend(const struct service *service, const struct backend *backend,
			    struct backend_line *out)
{
	bool is_ipv6 = backend->address.family == 6;
	const struct address *source = is_ipv6 ? &service->encap_source6 : &service->encap_source4;

	out->flags = is_ipv6 ? BACKEND_IPV6 : 0;
	out->ttl = service->encap_ttl;
	memcpy(out->address, backend->address.bytes, sizeof(out->address));
	memcpy(out->source, source->bytes, sizeof(out->source));
	/* The FIB knows neither the way that the file says nor a source for the outer header. */
	if (backend->has_mac || backend->via.family || *backend->interface ||
	    (service->steer == STEER_IPIP && !source->family))
		out->flags |= BACKEND_NO_FIB;
}

static int compile_backends(const struct compile_input *input, struct view_image *out)
{
	const struct service *service = input->service;
	size_t cohort, backend, index = 0, total = 0;

	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (backend = 0; backend < service->cohorts[cohort].backends_count;
		     backend++, index++)
			if (input->backend_numbers[index] >= total)
				total = input->backend_numbers[index] + 1;
	out->backends = aligned_alloc(CACHE_LINE, (total ? total : 1) * sizeof(*out->backends));
	out->server_ids = calloc(index + 1, sizeof(*out->server_ids));
	if (!out->backends || !out->server_ids)
		return -ENOMEM;
	memset(out->backends, 0, total * sizeof(*out->backends));
	out->backends_count = total;
	out->view.backends_count = total;
	for (cohort = index = 0; cohort < service->cohorts_count; cohort++)
		for (backend = 0; backend < service->cohorts[cohort].backends_count;
		     backend++, index++) {
			struct backend_line *line = &out->backends[input->backend_numbers[index]];
			const struct backend *from = &service->cohorts[cohort].backends[backend];

			line->counter = input->backend_counters[index];
			line->cohort = cohort;
			line->lane = input->lanes[cohort];
			compile_backend(service, from, line);
			if (from->has_server_id)
				out->server_ids[out->server_ids_count++] = (struct server_id){
					.id = from->server_id,
					.backend = input->backend_numbers[index] + 1,
				};
		}
	return 0;
}

/* The members of one cohort's ring; @first: index of its first backend among all. malloc()ed. */
static struct ring_member *ring_members(const struct compile_input *input, size_t cohort,
					size_t first)
{
	const struct cohort *c = &input->service->cohorts[cohort];
	struct ring_member *members = calloc(c->backends_count + 1, sizeof(*members));
	size_t i;

	for (i = 0; members && i < c->backends_count; i++)
		members[i] = (struct ring_member){
			.address = c->backends[i].address,
			.weight = c->backends[i].weight,
			.number = input->backend_numbers[first + i],
		};
	return members;
}

/*
 * The first backend that serves from each slot on, around the ring. Of a canary without one nothing
 * is left: its flows go to control. A control without one keeps those that are not down: better
 * than none.
 */
static void serve(uint32_t *slots, size_t size, const struct backend_line *lines, bool is_control)
{
	uint8_t avoid = BACKEND_DOWN | BACKEND_DRAINING;
	uint16_t next = BACKEND_NONE;
	size_t i = 0;

	while (i < size && lines[slots[i] & SLOT_NOW_MASK].health)
		i++;
	if (i == size && is_control)
		avoid = BACKEND_DOWN;
	for (i = 2 * size; i-- > 0;) {
		uint16_t number = slots[i % size] & SLOT_NOW_MASK;

		if (!(lines[number].health & avoid))
			next = number;
		if (i < size)
			slots[i] = ring_slot(next);
	}
}

/* Without health, which is not of the epoch. */
static void add_health(const struct compile_input *input, struct view_image *out)
{
	size_t cohort, backend, index = 0;

	for (cohort = 0; input->backend_health && cohort < input->service->cohorts_count; cohort++)
		for (backend = 0; backend < input->service->cohorts[cohort].backends_count;
		     backend++, index++)
			out->backends[input->backend_numbers[index]].health =
				input->backend_health[index];
}

/* Sizes the rings (@slots NULL) or fills them. */
static int compile_each_ring(const struct compile_input *input, struct view_image *out,
			     uint32_t *slots)
{
	struct view *view = &out->view;
	size_t cohort, first = 0, end = 0;

	for (cohort = 0; cohort < COHORTS_MAX; cohort++) {
		size_t count = cohort < input->service->cohorts_count
				       ? input->service->cohorts[cohort].backends_count
				       : 0;
		struct ring_member *members;
		int error = 0;

		view->rings[cohort] = end;
		if (!count)
			continue;
		members = ring_members(input, cohort, first);
		if (!members)
			return -ENOMEM;
		if (slots)
			error = ring_fill(members, count, slots + end);
		if (slots && !error)
			serve(slots + end, ring_size(members, count), out->backends, !cohort);
		end += ring_size(members, count);
		first += count;
		free(members);
		if (error)
			return error;
	}
	view->rings[COHORTS_MAX] = end;
	view->slots_count = end;
	return 0;
}

static int compare_lines(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

/* One digest of lines, which it frees, whose order does not matter. */
static uint64_t digest_of_set(char **lines, size_t count)
{
	uint64_t digest = count;
	size_t i;

	qsort(lines, count, sizeof(*lines), compare_lines);
	for (i = 0; i < count; i++) {
		uint64_t pair[2] = {digest, siphash13(digest_key, lines[i], strlen(lines[i]))};

		digest = siphash13(digest_key, pair, sizeof(pair));
		free(lines[i]);
	}
	return digest;
}

static bool is_latched(const struct compile_input *input, size_t canary)
{
	return input->latched >> canary & 1;
}

static uint8_t deciding_cohort(const struct compile_input *input, uint8_t cohort)
{
	return is_latched(input, cohort) ? 0 : cohort;
}

/* A canary that is latched decides like one without a share. */
static void drop_latched(const struct compile_input *input, struct view_rule *rule)
{
	size_t canary;

	for (canary = 1; canary < COHORTS_MAX; canary++) {
		if (!is_latched(input, canary))
			continue;
		rule->live &= ~(RULE_CURRENT << (canary - 1));
		rule->current[canary - 1] = (struct interval){0, 0};
	}
}

static int digest_lines(const struct compile_input *input, char **lines)
{
	const struct service *service = input->service;
	char address[ADDRESS_TEXT_SIZE];
	size_t cohort, i, count = 0;

	for (i = 0; i < service->vips_count; i++)
		if (asprintf(&lines[count++], "vip %s %u %u",
			     address_format(&service->vips[i].address, address),
			     service->vips[i].port, service->vips[i].protocol) < 0)
			return -ENOMEM;
	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count; i++) {
			const struct backend *backend = &service->cohorts[cohort].backends[i];

			if (asprintf(&lines[count++], "backend %zu %s %u %" PRIx64, cohort,
				     address_format(&backend->address, address), backend->weight,
				     backend->server_id) < 0)
				return -ENOMEM;
		}
	for (i = 0; i < input->pins_count; i++)
		if (asprintf(&lines[count++], "pin %s %u %" PRIu64,
			     prefix_format(&input->pins[i].client, address),
			     deciding_cohort(input, input->pins[i].cohort),
			     input->pins[i].until) < 0)
			return -ENOMEM;
	return 0;
}

/* Of what decides, in names and addresses: no number that only this box gives. */
static int compile_digest(const struct compile_input *input, struct view_image *out)
{
	const struct service *service = input->service;
	size_t cohort, i, count = service->vips_count + input->pins_count;
	struct view head = out->view;
	uint64_t parts[6];
	char **lines;

	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		count += service->cohorts[cohort].backends_count;
	lines = calloc(count + 1, sizeof(*lines));
	if (!lines || digest_lines(input, lines)) {
		for (i = 0; lines && i < count; i++)
			free(lines[i]);
		free(lines);
		return -ENOMEM;
	}
	head.counters = head.backends_count = 0;
	head.rollout = 0; /* which box leads, and how it ends, decides on nobody now */
	memset(head.lanes, 0, sizeof(head.lanes));
	parts[0] = input->secret_fingerprint;
	parts[1] = digest_of_set(lines, count);
	parts[2] = siphash13(digest_key, &head, sizeof(head));
	parts[3] = out->rules_count;
	for (i = 0; i < out->rules_count; i++) {
		struct view_rule rule = out->rules[i];

		rule.counters = rule.segment = 0;
		drop_latched(input, &rule);
		parts[4] = siphash13(digest_key, &rule, sizeof(rule));
		parts[3] = siphash13(digest_key, &parts[3], 2 * sizeof(parts[0]));
	}
	parts[4] = input->segments_digest;
	out->view.digest = siphash13(digest_key, parts, 5 * sizeof(parts[0]));
	free(lines);
	return 0;
}

/* The pins are in the view's digest, by the clock on the wall: the ranges have the kernel's. */
static void compile_content(const struct compile_input *input, struct view_image *out)
{
	uint64_t parts[6] = {
		siphash13(digest_key, &out->view, sizeof(out->view)),
		siphash13(digest_key, out->rules, sizeof(out->rules)),
		siphash13(digest_key, out->backends, out->backends_count * sizeof(*out->backends)),
		siphash13(digest_key, out->server_ids,
			  out->server_ids_count * sizeof(*out->server_ids)),
		input->segments_digest,
		out->lease_ms,
	};

	out->content = siphash13(digest_key, parts, sizeof(parts));
}

/* Who is followed decides nothing: it is in the image, not in the digest. */
static void compile_tracking(const struct compile_input *input, struct view_image *out)
{
	size_t i;

	if (!input->tracked || !input->rollout_cohort)
		return;
	out->view.rollout |= ROLLOUT_TRACKED | input->rollout_cohort;
	out->view.track = input->track;
	for (i = 0; i < out->rules_count; i++) {
		struct view_rule *rule = &out->rules[i];

		track_slice(input->service, input->share_ppm[i], input->control_factor,
			    &rule->track_from);
		if (rule->track_from && track_slice_is_low(input->service))
			rule->live |= RULE_TRACK_LOW;
	}
}

int compile_view(const struct compile_input *input, struct view_image *out)
{
	size_t i, ranges;
	int error;

	*out = (struct view_image){.has_groups = input->service->group_by != NULL};
	memcpy(out->rule_segments, input->rule_segments, sizeof(out->rule_segments));
	out->lease_ms = input->rollout_cohort && !is_latched(input, input->rollout_cohort)
				? input->lease_ms
				: 0;
	compile_head(input, &out->view);
	out->rules_count = input->service->rules_count;
	for (i = 0; i < out->rules_count; i++)
		compile_rule(input, i, &out->rules[i]);
	error = pin_ranges_build(input->pins, input->pins_count, &out->pins, &ranges);
	if (error)
		goto out;
	out->view.pins_count = ranges;
	out->view.flags = flags_of(input->service, ranges);
	error = compile_each_ring(input, out, NULL);
	if (error)
		goto out;
	error = compile_digest(input, out);
	if (error)
		goto out;
	error = compile_backends(input, out);
	if (error)
		goto out;
	compile_tracking(input, out);
	compile_content(input, out);
	add_health(input, out);
	return 0;
out:
	view_image_release(out);
	return error;
}

uint8_t first_rule(const struct view_image *image, uint64_t members)
{
	uint8_t rule;

	for (rule = 0; rule + 1u < image->rules_count; rule++)
		if (members >> image->rule_segments[rule] & 1)
			break;
	return rule;
}

int compile_classes(const struct client_classes *classes, struct view_image *out)
{
	uint32_t i;

	if (out->rules_count > 1 && classes->classes_count) {
		out->classes = calloc(classes->classes_count, sizeof(*out->classes));
		if (!out->classes)
			return -ENOMEM;
		for (i = 0; i < classes->classes_count; i++)
			out->classes[i] = class_of_rule(first_rule(out, classes->members[i]));
		out->view.classes_count = classes->classes_count;
		out->view.flags |= VIEW_SEGMENTS;
	}
	if (out->has_groups && classes->groups_count) {
		out->groups = calloc(classes->groups_count, sizeof(*out->groups));
		if (!out->groups)
			return -ENOMEM;
		for (i = 0; i < classes->groups_count; i++)
			out->groups[i].token = out->groups[i].origin = classes->tokens[i];
		out->view.groups_count = classes->groups_count;
		out->view.flags |= VIEW_GROUPS;
	}
	return 0;
}

int compile_rings(const struct compile_input *input, struct view_image *out)
{
	out->slots = calloc(out->view.slots_count + 1, sizeof(*out->slots));
	if (!out->slots)
		return -ENOMEM;
	return compile_each_ring(input, out, out->slots);
}

void view_image_release(struct view_image *image)
{
	free(image->backends);
	free(image->pins);
	free(image->server_ids);
	free(image->slots);
	free(image->classes);
	free(image->groups);
	*image = (struct view_image){0};
}
