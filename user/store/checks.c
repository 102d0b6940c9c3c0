// SPDX-License-Identifier: GPL-2.0-only
/* What the daemon's checks found of backends: it holds while no daemon checks. */
#include "store/store_internal.h"

#include "util/text.h"

#include <stdlib.h>
#include <string.h>

static int compare_checks(const void *left, const void *right)
{
	const struct live_check *a = left, *b = right;
	int order = strcmp(a->service, b->service);

	return order ? order : address_compare(&a->backend, &b->backend);
}

void live_sort_checks(struct live *live)
{
	if (live->checks_count)
		qsort(live->checks, live->checks_count, sizeof(*live->checks), compare_checks);
}

const struct live_check *live_check_of(const struct live *live, const char *service,
				       const struct address *backend)
{
	struct live_check sought = {.backend = *backend};

	if (!live->checks_count)
		return NULL;
	snprintf(sought.service, sizeof(sought.service), "%s", service);
	return bsearch(&sought, live->checks, live->checks_count, sizeof(sought), compare_checks);
}

int store_set_check(struct store *store, const char *service, const struct address *backend,
		    bool up, bool flapping, struct errors *errors)
{
	char text[ADDRESS_TEXT_SIZE];

	return sql_change(store, NULL,
			  "INSERT OR REPLACE INTO checks (service, backend, health, flapping,"
			  " time_ns) VALUES (?1, ?2, ?3, ?4, ?5)",
			  VALUES(TEXT(service), TEXT(address_format(backend, text)),
				 TEXT(up ? "up" : "down"), NUMBER(flapping), NUMBER(time_now_ns())),
			  errors);
}

int store_drop_check(struct store *store, const char *service, const struct address *backend,
		     struct errors *errors)
{
	char text[ADDRESS_TEXT_SIZE];

	return sql_change(store, NULL, "DELETE FROM checks WHERE service = ?1 AND backend = ?2",
			  VALUES(TEXT(service), TEXT(address_format(backend, text))), errors);
}
