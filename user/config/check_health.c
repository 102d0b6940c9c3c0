// SPDX-License-Identifier: GPL-2.0-only
/* The checks of a service's health check: what is asked, where, and how often. */
#include "config/check.h"

#include "util/text.h"

#include <string.h>

static bool has_port(const struct service *service)
{
	for (size_t i = 0; i < service->vips_count; i++)
		if (service->vips[i].port)
			return true;
	return false;
}

/* Whoever writes how often to ask expects that something is asked. */
static void check_type(struct check *check, const struct health_check *health,
		       const struct path *path)
{
	static const char *const keys[] = {"port", "interval", "timeout", "rise", "fall"};

	if (health->type != CHECK_NONE || places_find(check->places, health, "type"))
		return;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		const struct place *place = check_place(check, health, keys[i]);

		if (!place)
			continue;
		check_report(check, place, path, keys[i], "write `type: tcp` or `type: http`",
			     "has no meaning, for the check has no type");
		return;
	}
}

static void check_port(struct check *check, const struct service *service, const struct path *path)
{
	const struct health_check *health = &service->health_check;

	if (health->type == CHECK_NONE || places_find(check->places, health, "port") ||
	    !check_place(check, service, "vips") || has_port(service))
		return;
	check_report(check, check_place(check, health, "type"), path, "port",
		     "give the port that the backends are to be asked at",
		     "is missing, the service's VIPs have none");
}

/* They become a part of a request's text. */
static void check_request(struct check *check, const struct health_check *health,
			  const struct path *path)
{
	const struct place *place = check_place(check, health, "path");

	if (place && (health->path[0] != '/' || strchr(health->path, ' ')))
		check_report(check, place, path, "path", "write it as in a URL, such as /healthz",
			     "does not begin with /, or has spaces in it");
	place = check_place(check, health, "host");
	if (place && strpbrk(health->host, " /"))
		check_report(check, place, path, "host", "give HOST or HOST:PORT alone",
			     "has characters in it that no host has");
}

static void check_times(struct check *check, const struct health_check *health,
			const struct path *path)
{
	const struct place *place = check_place(check, health, "timeout");
	struct path step = {.parent = path, .text = "timeout"};
	char timeout[TEXT_VALUE_SIZE], interval[TEXT_VALUE_SIZE], object[PATH_SIZE];

	if (!place)
		place = check_place(check, health, "interval");
	if (!place || health->type == CHECK_NONE || !check_is_good(check, health, "interval") ||
	    !check_is_good(check, health, "timeout") || health->timeout_ms <= health->interval_ms)
		return;
	errors_warn(check->errors, &place->where, path_format(&step, object),
		    "give a shorter timeout, or a longer interval",
		    "%s is longer than the interval, %s: a backend that hangs is asked less often",
		    text_format_duration(health->timeout_ms, timeout),
		    text_format_duration(health->interval_ms, interval));
}

void check_health(struct check *check, const struct service *service, const struct path *path)
{
	const struct health_check *health = &service->health_check;
	struct path step = {.parent = path, .text = "health_check"};

	if (!places_find(check->places, service, "health_check") ||
	    !check_is_good(check, health, "type"))
		return;
	check_type(check, health, &step);
	check_port(check, service, &step);
	check_request(check, health, &step);
	check_times(check, health, &step);
}
