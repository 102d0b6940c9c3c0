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
#include "util/siphash.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const struct siphash_key digest_key = {0};

static uint16_t flags_of(const struct service *service, size_t pins)
{
	uint16_t flags = 0;

	if (service->enforce)
		flags |= VIEW_ENFORCE;
	if (service->client_key == CLIENT_KEY_FLOW)
		flags |= VIEW_KEY_FLOW;
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

static void compile_head(const struct compile_input *input, struct view *view)
{
	const struct service *service = input->service;

	*view = (struct view){
		.salt64 = salt64_of(service),
		.expiry = ~0ULL,
		.counters = input->no_rule_group * LANES_MAX,
		.holdout = threshold(service->holdout_ppm),
		.mask4 = htonl(~0u << (32 - service->prefix4)),
		.default_rule = service->rules_count - 1,
		.prefix6 = service->prefix6,
		.cohorts = service->cohorts_count,
		.steer = service->steer,
	};
	memcpy(view->lanes, input->lanes, sizeof(view->lanes));
}

static void compile_rule(const struct compile_input *input, size_t index, struct view_rule *out)
{
	const struct service *service = input->service;
	size_t canary;

	*out = (struct view_rule){
		.reason = service->rules[index].is_default ? REASON_DEFAULT : REASON_RULE,
		.counters = input->rule_groups[index] * LANES_MAX,
	};
	memcpy(out->lanes, input->lanes, sizeof(out->lanes));
	for (canary = 1; canary < service->cohorts_count; canary++) {
		const struct cohort *cohort = &service->cohorts[canary];
		struct canary_share *share = &out->canaries[canary - 1];

		if (!share_interval(cohort->slot_start_ppm, cohort->slot_ppm,
				    input->share_ppm[index][canary], &share->current))
			continue;
		share->origin = share->current;
		out->live |= (RULE_CURRENT | RULE_ORIGIN) << (canary - 1);
	}
}

static void compile_backend(const struct service *service, const struct backend *backend,
			    uint32_t counter, struct backend_line *out)
{
	bool is_ipv6 = backend->address.family == 6;
	const struct address *source = is_ipv6 ? &service->encap_source6 : &service->encap_source4;

	*out = (struct backend_line){
		.counter = counter,
		.flags = is_ipv6 ? BACKEND_IPV6 : 0,
		.ttl = service->encap_ttl,
	};
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
	if (!out->backends)
		return -ENOMEM;
	memset(out->backends, 0, total * sizeof(*out->backends));
	out->backends_count = total;
	out->view.backends_count = total;
	for (cohort = index = 0; cohort < service->cohorts_count; cohort++)
		for (backend = 0; backend < service->cohorts[cohort].backends_count;
		     backend++, index++)
			compile_backend(service, &service->cohorts[cohort].backends[backend],
					input->backend_counters[index],
					&out->backends[input->backend_numbers[index]]);
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

/* Sizes the rings (@slots NULL) or fills them. */
static int compile_each_ring(const struct compile_input *input, struct view *view, uint32_t *slots)
{
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
		end += ring_size(members, count);
		first += count;
		free(members);
		if (error)
			return error;
	}
	view->rings[COHORTS_MAX] = end;
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

			if (asprintf(&lines[count++], "backend %zu %s %u", cohort,
				     address_format(&backend->address, address),
				     backend->weight) < 0)
				return -ENOMEM;
		}
	for (i = 0; i < input->pins_count; i++)
		if (asprintf(&lines[count++], "pin %s %u %" PRIu64,
			     prefix_format(&input->pins[i].client, address), input->pins[i].cohort,
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
	uint64_t parts[5];
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
	memset(head.lanes, 0, sizeof(head.lanes));
	parts[0] = input->secret_fingerprint;
	parts[1] = digest_of_set(lines, count);
	parts[2] = siphash13(digest_key, &head, sizeof(head));
	parts[3] = out->rules_count;
	for (i = 0; i < out->rules_count; i++) {
		struct view_rule rule = out->rules[i];

		rule.counters = 0;
		memset(rule.lanes, 0, sizeof(rule.lanes));
		parts[4] = siphash13(digest_key, &rule, sizeof(rule));
		parts[3] = siphash13(digest_key, &parts[3], 2 * sizeof(parts[0]));
	}
	out->view.digest = siphash13(digest_key, parts, 4 * sizeof(parts[0]));
	free(lines);
	return 0;
}

/* The pins are in the view's digest, by the clock on the wall: the ranges have the kernel's. */
static void compile_content(struct view_image *out)
{
	uint64_t parts[3] = {
		siphash13(digest_key, &out->view, sizeof(out->view)),
		siphash13(digest_key, out->rules, sizeof(out->rules)),
		siphash13(digest_key, out->backends, out->backends_count * sizeof(*out->backends)),
	};

	out->content = siphash13(digest_key, parts, sizeof(parts));
}

int compile_view(const struct compile_input *input, struct view_image *out)
{
	size_t i, ranges;
	int error;

	*out = (struct view_image){0};
	compile_head(input, &out->view);
	out->rules_count = input->service->rules_count;
	for (i = 0; i < out->rules_count; i++)
		compile_rule(input, i, &out->rules[i]);
	error = pin_ranges_build(input->pins, input->pins_count, &out->pins, &ranges);
	if (error)
		goto out;
	out->view.pins_count = ranges;
	out->view.flags = flags_of(input->service, ranges);
	error = compile_each_ring(input, &out->view, NULL);
	if (error)
		goto out;
	error = compile_digest(input, out);
	if (error)
		goto out;
	error = compile_backends(input, out);
	if (error)
		goto out;
	compile_content(out);
	return 0;
out:
	view_image_release(out);
	return error;
}

int compile_rings(const struct compile_input *input, struct view_image *out)
{
	out->slots = calloc(out->view.rings[COHORTS_MAX] + 1, sizeof(*out->slots));
	if (!out->slots)
		return -ENOMEM;
	return compile_each_ring(input, &out->view, out->slots);
}

void view_image_release(struct view_image *image)
{
	free(image->backends);
	free(image->pins);
	free(image->slots);
	*image = (struct view_image){0};
}
