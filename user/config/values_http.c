// SPDX-License-Identifier: GPL-2.0-only
/* Values that belong to HTTP: where to ask, and which answers are right. Pure. */
#include "config/values_internal.h"

#include "policy/policy.h"
#include "util/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- URLs ---- */

/* RFC 3986, 3.2: [USER@]HOST[:PORT]. */
static bool is_authority(const char *text, size_t length)
{
	char authority[512], *host, *port;
	uint64_t number;

	if (length >= sizeof(authority))
		return false;
	memcpy(authority, text, length);
	authority[length] = 0;
	host = strrchr(authority, '@');
	host = host ? host + 1 : authority;
	port = strrchr(host, ':');
	if (port && !strchr(port, ']')) {
		*port++ = 0;
		if (text_integer(port, 1, 65535, &number))
			return false;
	}
	return value_is_host(host);
}

static int parse_url(const struct key *key, const struct scalar *scalar, void *target,
		     struct complaint *complaint)
{
	static const char *const schemes[] = {"http://", "https://"};
	const char *text = scalar->text, *rest = NULL;

	for (size_t i = 0; i < 2; i++)
		if (!strncasecmp(text, schemes[i], strlen(schemes[i])))
			rest = text + strlen(schemes[i]);
	if (!rest)
		return complain(complaint, text, "is no http or https URL");
	for (const char *c = text; *c; c++)
		if (*c <= ' ' || *c > '~')
			return complain(complaint, text, "has a character that no URL can have");
	if (strlen(text) > key->maximum)
		return complain(complaint, text, "has %zu bytes", strlen(text));
	if (!is_authority(rest, strcspn(rest, "/?#")))
		return complain(complaint, text, "names no host, or no port from 1 to 65535");
	return store_string(target, text);
}

static json_t *render_url(const struct key *key, const void *target)
{
	const char *text;

	(void)key;
	memcpy(&text, target, sizeof(text));
	return text ? json_string(text) : json_null();
}

static void expected_url(const struct key *key, char *out, size_t size)
{
	snprintf(out, size, "a URL of at most %llu bytes, such as http://127.0.0.1:8099/page",
		 (unsigned long long)key->maximum);
}

/* ---- status codes ---- */

#define STATUSES_MAX 64

/* CODE or CODE-CODE, up to a comma or the end; returns what follows, or NULL. */
static const char *read_range(const char *text, struct status_range *out)
{
	size_t length = strcspn(text, ",");
	char range[16], *last;
	uint64_t first_code, last_code;

	if (length >= sizeof(range))
		return NULL;
	memcpy(range, text, length);
	range[length] = 0;
	last = strchr(range, '-');
	if (last)
		*last++ = 0;
	if (text_integer(range, 100, 599, &first_code) ||
	    text_integer(last ? last : range, first_code, 599, &last_code))
		return NULL;
	*out = (struct status_range){first_code, last_code};
	return text + length;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct status_range *left = a, *right = b;

	return (int)left->first - (int)right->first;
}

/* In ascending order, those that touch made one. Returns how many are left. */
static size_t merge_ranges(struct status_range *ranges, size_t count)
{
	size_t kept = 0;

	qsort(ranges, count, sizeof(*ranges), compare_ranges);
	for (size_t i = 1; i < count; i++) {
		if (ranges[i].first > ranges[kept].last + 1)
			ranges[++kept] = ranges[i];
		else if (ranges[i].last > ranges[kept].last)
			ranges[kept].last = ranges[i].last;
	}
	return kept + 1;
}

static int parse_statuses(const struct key *key, const struct scalar *scalar, void *target,
			  struct complaint *complaint)
{
	struct status_range ranges[STATUSES_MAX], *kept;
	struct health_check *check = target;
	const char *text = scalar->text;
	size_t count = 0;

	(void)key;
	for (;; text++) {
		if (count == STATUSES_MAX)
			return complain(complaint, scalar->text, "has more than %u ranges",
					STATUSES_MAX);
		text = read_range(text, &ranges[count++]);
		if (!text)
			return complain(complaint, scalar->text, "is not a list of status codes");
		if (!*text)
			break;
	}
	count = merge_ranges(ranges, count);
	kept = calloc(count, sizeof(*kept));
	if (!kept)
		return -ENOMEM;
	memcpy(kept, ranges, count * sizeof(*kept));
	free(check->expect_status);
	check->expect_status = kept;
	check->expect_status_count = count;
	return 0;
}

static json_t *render_statuses(const struct key *key, const void *target)
{
	const struct health_check *check = target;
	char text[STATUSES_MAX * sizeof("100-199,")] = "";
	size_t used = 0;

	(void)key;
	for (size_t i = 0; i < check->expect_status_count && i < STATUSES_MAX; i++) {
		const struct status_range *range = &check->expect_status[i];

		used += snprintf(text + used, sizeof(text) - used, "%s%u", i ? "," : "",
				 range->first);
		if (range->last > range->first)
			used += snprintf(text + used, sizeof(text) - used, "-%u", range->last);
	}
	return *text ? json_string(text) : json_null();
}

static void expected_statuses(const struct key *key, char *out, size_t size)
{
	(void)key;
	snprintf(out, size, "codes and ranges from 100 to 599, such as 200 or 200-299,404");
}

#define OPERATIONS(type)                                                                           \
	const struct value_type_operations type##_operations = {parse_##type, render_##type,       \
								expected_##type}

OPERATIONS(url);
OPERATIONS(statuses);
