// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of the box: names and VIPs that stand twice, and the limits. Duplicates are found by
 * sorting, so that a box of the largest size is checked in n log n.
 */
#include "config/check.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct place *check_place(const struct check *check, const void *object, const char *key)
{
	const struct place *place = places_find(check->places, object, key);

	return place && !place->bad ? place : NULL;
}

bool check_is_good(const struct check *check, const void *object, const char *key)
{
	const struct place *place = places_find(check->places, object, key);

	return !place || !place->bad;
}

void check_report(struct check *check, const struct place *place, const struct path *path,
		  const char *key, const char *hint, const char *format, ...)
{
	struct path step = {.parent = path, .text = key};
	char object[PATH_SIZE], what[256];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	errors_add(check->errors, place ? &place->where : NULL,
		   path_format(key ? &step : path, object), hint, "%s", what);
}

void check_report_twice(struct check *check, const struct place *place, const struct place *first,
			const struct path *path, const char *key, const char *hint,
			const char *what)
{
	check_report(check, place, path, key, hint, "%s at %s:%u:%u already", what,
		     first->where.file, first->where.line, first->where.column);
}

static void report_memory(struct check *check)
{
	errors_add_code(check->errors, ENOMEM, "services", "free some memory", "out of memory");
}

static struct path item_path(const struct check *check, const struct path *list, const void *item,
			     const char *name)
{
	const struct place *place = places_find(check->places, item, "");

	return (struct path){
		.parent = list,
		.text = *name ? name : NULL,
		.index = place ? place->index : 0,
	};
}

/* ---- names ---- */

struct name {
	const char *text;
	size_t index;
};

static int compare_names(const void *a, const void *b)
{
	const struct name *left = a, *right = b;
	int order = strcmp(left->text, right->text);

	if (order)
		return order;
	return left->index < right->index ? -1 : left->index > right->index;
}

/* Services, segments and interfaces alike: items of @size bytes that begin with their name. */
static void check_names(struct check *check, const struct path *list, const void *items,
			size_t count, size_t size)
{
	struct name *names = calloc(count ? count : 1, sizeof(*names));

	if (!names) {
		report_memory(check);
		return;
	}
	for (size_t i = 0; i < count; i++)
		names[i] = (struct name){(const char *)items + i * size, i};
	qsort(names, count, sizeof(*names), compare_names);
	for (size_t i = 1; i < count; i++) {
		const struct place *first, *second;
		struct path path;

		if (!*names[i].text || strcmp(names[i].text, names[i - 1].text))
			continue;
		first = check_place(check, names[i - 1].text, "name");
		second = check_place(check, names[i].text, "name");
		if (!first || !second)
			continue;
		path = item_path(check, list, names[i].text, names[i].text);
		check_report_twice(check, second, first, &path, "name", "give it another name",
				   "the name stands");
	}
	free(names);
}

/* ---- VIPs ---- */

struct vip_use {
	const struct vip *vip;
	const struct service *service;
	size_t order; /* in the files */
};

static int compare_vips(const void *a, const void *b)
{
	const struct vip_use *left = a, *right = b;
	int order = address_compare(&left->vip->address, &right->vip->address);

	if (!order)
		order = (int)left->vip->port - (int)right->vip->port;
	if (!order)
		order = (int)left->vip->protocol - (int)right->vip->protocol;
	if (!order)
		order = left->order < right->order ? -1 : 1;
	return order;
}

static bool vips_equal(const struct vip *a, const struct vip *b)
{
	return address_equal(&a->address, &b->address) && a->port == b->port &&
	       a->protocol == b->protocol;
}

static void report_vip(struct check *check, const struct path *services,
		       const struct vip_use *first, const struct vip_use *second)
{
	struct path service = item_path(check, services, second->service, second->service->name);
	struct path vips = {.parent = &service, .text = "vips"};
	const struct place *first_place = check_place(check, first->vip, "");
	const struct place *second_place = check_place(check, second->vip, "");
	char text[ADDRESS_TEXT_SIZE], what[160];
	struct path vip = {.parent = &vips};

	if (!first_place || !second_place)
		return;
	vip.index = second_place->index;
	snprintf(what, sizeof(what), "%s stands in service %s", vip_format(second->vip, text),
		 *first->service->name ? first->service->name : "(no name)");
	check_report_twice(check, second_place, first_place, &vip, NULL, "remove one of them",
			   what);
}

static void check_vips(struct check *check, const struct policy *policy,
		       const struct path *services)
{
	struct vip_use *uses;
	size_t count = 0;

	for (size_t i = 0; i < policy->services_count; i++)
		count += policy->services[i].vips_count;
	uses = calloc(count ? count : 1, sizeof(*uses));
	if (!uses) {
		report_memory(check);
		return;
	}
	count = 0;
	for (size_t i = 0; i < policy->services_count; i++) {
		const struct service *service = &policy->services[i];

		for (size_t v = 0; v < service->vips_count; v++) {
			if (!service->vips[v].address.family)
				continue;
			uses[count] = (struct vip_use){&service->vips[v], service, count};
			count++;
		}
	}
	qsort(uses, count, sizeof(*uses), compare_vips);
	for (size_t i = 1; i < count; i++)
		if (vips_equal(uses[i].vip, uses[i - 1].vip))
			report_vip(check, services, &uses[i - 1], &uses[i]);
	free(uses);
}

/* ---- limits ---- */

static size_t service_size(const struct service *service, const char *what)
{
	size_t backends = 0;

	if (!strcmp(what, "services"))
		return 1;
	if (!strcmp(what, "vips"))
		return service->vips_count;
	for (size_t i = 0; i < service->cohorts_count; i++)
		backends += service->cohorts[i].backends_count;
	return backends;
}

/* Reported once, where the limit is passed. @limit 0: it is not known, or has an error itself. */
static void check_limit(struct check *check, const struct policy *policy,
			const struct path *services, const char *what, uint32_t limit)
{
	const struct service *over = NULL;
	struct path path;
	size_t total = 0;

	for (size_t i = 0; i < policy->services_count; i++) {
		total += service_size(&policy->services[i], what);
		if (total > limit && !over)
			over = &policy->services[i];
	}
	if (!over || !limit)
		return;
	path = item_path(check, services, over, over->name);
	check_report(check, places_find(check->places, over, ""), &path, NULL,
		     "raise the limit, or have fewer",
		     "from here on there are more %s than limits/%s allows (%zu, not %u)", what,
		     what, total, limit);
}

void check_policy(struct check *check, struct policy *policy)
{
	struct path services = {.text = "services"}, interfaces = {.text = "interfaces"};
	struct path segments = {.text = "segments"};
	const struct place *secret = check_place(check, policy, "secret_file");

	check->policy = policy;
	if (secret && policy->secret_file[0] != '/')
		errors_warn(check->errors, &secret->where, "secret_file", "write the whole path",
			    "depends on the directory in which a command or the daemon is started");
	check_names(check, &interfaces, policy->interfaces, policy->interfaces_count,
		    sizeof(*policy->interfaces));
	check_names(check, &segments, policy->segments, policy->segments_count,
		    sizeof(*policy->segments));
	for (size_t i = 0; i < policy->segments_count; i++) {
		struct segment *segment = &policy->segments[i];
		struct path path = item_path(check, &segments, segment, segment->name);

		check_segment(check, segment, &path);
	}
	check_names(check, &services, policy->services, policy->services_count,
		    sizeof(*policy->services));
	for (size_t i = 0; i < policy->services_count; i++) {
		struct service *service = &policy->services[i];
		struct path path = item_path(check, &services, service, service->name);

		check_service(check, service, &path);
	}
	check_vips(check, policy, &services);
	check_limit(check, policy, &services, "services", policy->limits.services);
	check_limit(check, policy, &services, "vips", policy->limits.vips);
	check_limit(check, policy, &services, "backends", policy->limits.backends);
}
