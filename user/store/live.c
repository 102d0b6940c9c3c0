// SPDX-License-Identifier: GPL-2.0-only
/*
 * Reading the live state: all of it in one go, in the order of its keys. The handle's transaction
 * makes the lists agree with each other and with the revision that the same handle reads.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const latch_names[] = {
	[LATCH_NONE] = "none",
	[LATCH_KILLED] = "killed",
	[LATCH_ABORTED] = "aborted",
	[LATCH_ROLLED_BACK] = "rolled_back",
	[LATCH_LEASE_EXPIRED] = "lease_expired",
};

const char *latch_name(enum latch latch)
{
	return latch_names[latch];
}

static int latch_parse(const char *text, enum latch *out)
{
	for (size_t i = 0; i < sizeof(latch_names) / sizeof(latch_names[0]); i++) {
		if (!strcmp(latch_names[i], text)) {
			*out = (enum latch)i;
			return 0;
		}
	}
	return -EINVAL;
}

static const char *const wish_names[] = {
	[WISH_UP] = "up",
	[WISH_DRAINING] = "draining",
	[WISH_DOWN] = "down",
};

const char *wish_name(enum wish wish)
{
	return wish_names[wish];
}

int wish_parse(const char *text, enum wish *out)
{
	for (size_t i = 0; i < sizeof(wish_names) / sizeof(wish_names[0]); i++) {
		if (!strcmp(wish_names[i], text)) {
			*out = (enum wish)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* One element of a list from a row. */
typedef int (*row_reader)(struct store *store, sqlite3_stmt *statement, void *out,
			  struct errors *errors);

/* *@out is NULL with errors. */
static int read_list(struct store *store, const char *sql, row_reader read, size_t element_size,
		     void **out, size_t *count, struct errors *errors)
{
	sqlite3_stmt *statement;
	char *list = NULL, *larger;
	size_t used = 0;
	int error;

	*out = NULL;
	error = sql_query(store, &statement, sql, NO_VALUES, errors);
	if (error)
		return error;
	while ((error = sql_next(store, statement, errors)) > 0) {
		error = -ENOMEM;
		larger = rows_grow(store, list, used, element_size, errors);
		if (!larger)
			break;
		list = larger;
		memset(list + used * element_size, 0, element_size);
		error = read(store, statement, list + used * element_size, errors);
		if (error)
			break;
		used++;
	}
	if (error) {
		sql_end(statement);
		free(list);
		return error;
	}
	*out = list;
	*count = used;
	return 0;
}

static int damaged(struct store *store, const char *what, const char *value, struct errors *errors)
{
	return errors_add_code(errors, EUCLEAN, store->directory,
			       "bring state.db back from a backup", "state.db has the %s `%s`",
			       what, value);
}

static int read_share(struct store *store, sqlite3_stmt *statement, void *out,
		      struct errors *errors)
{
	struct live_share *share = out;

	(void)store;
	(void)errors;
	sql_fill(statement, 0, share->service, sizeof(share->service));
	sql_fill(statement, 1, share->rule, sizeof(share->rule));
	sql_fill(statement, 2, share->cohort, sizeof(share->cohort));
	share->ppm = (uint32_t)sql_number(statement, 3);
	share->time_ns = sql_number(statement, 4);
	sql_fill(statement, 5, share->by, sizeof(share->by));
	return 0;
}

static int read_pin(struct store *store, sqlite3_stmt *statement, void *out, struct errors *errors)
{
	struct live_pin *pin = out;

	sql_fill(statement, 0, pin->service, sizeof(pin->service));
	if (prefix_parse(sql_text(statement, 1), &pin->client))
		return damaged(store, "pin of", sql_text(statement, 1), errors);
	sql_fill(statement, 2, pin->cohort, sizeof(pin->cohort));
	pin->expires_ns = sql_number(statement, 3);
	pin->time_ns = sql_number(statement, 4);
	sql_fill(statement, 5, pin->by, sizeof(pin->by));
	return 0;
}

static int read_wish(struct store *store, sqlite3_stmt *statement, void *out, struct errors *errors)
{
	struct live_wish *wish = out;

	sql_fill(statement, 0, wish->service, sizeof(wish->service));
	if (address_parse(sql_text(statement, 1), &wish->backend))
		return damaged(store, "wish for", sql_text(statement, 1), errors);
	if (wish_parse(sql_text(statement, 2), &wish->wish))
		return damaged(store, "wish", sql_text(statement, 2), errors);
	wish->time_ns = sql_number(statement, 3);
	sql_fill(statement, 4, wish->by, sizeof(wish->by));
	return 0;
}

int live_read_service(struct store *store, sqlite3_stmt *statement, void *out,
		      struct errors *errors)
{
	struct live_service *service = out;

	*service = (struct live_service){0};
	sql_fill(statement, 0, service->name, sizeof(service->name));
	service->slot = (uint32_t)sql_number(statement, 1);
	service->epoch = sql_number(statement, 2);
	service->digest = sql_number(statement, 3);
	if (latch_parse(sql_text(statement, 4), &service->latch))
		return damaged(store, "latch", sql_text(statement, 4), errors);
	return 0;
}

static int read_check(struct store *store, sqlite3_stmt *statement, void *out,
		      struct errors *errors)
{
	struct live_check *check = out;

	sql_fill(statement, 0, check->service, sizeof(check->service));
	if (address_parse(sql_text(statement, 1), &check->backend))
		return damaged(store, "check of", sql_text(statement, 1), errors);
	check->up = !strcmp(sql_text(statement, 2), "up");
	check->flapping = sql_number(statement, 3);
	check->time_ns = sql_number(statement, 4);
	return 0;
}

/* Of the last rollout of each service: whom it is about, and whether it still is. */
static int read_rollouts(struct store *store, struct live *live, struct errors *errors)
{
	sqlite3_stmt *statement;
	char name[NAME_SIZE];
	int error;

	if (store->schema_version < 4)
		return 0;
	error = sql_query(store, &statement,
			  "SELECT service, cohort, state IN ('running', 'paused', 'waiting'),"
			  " CASE WHEN closed_ns = 0 AND"
			  " state IN ('running', 'paused', 'waiting', 'succeeded')"
			  " THEN id ELSE 0 END FROM rollouts AS r WHERE id ="
			  " (SELECT max(id) FROM rollouts WHERE service = r.service)",
			  NO_VALUES, errors);
	if (error)
		return error;
	while ((error = sql_next(store, statement, errors)) > 0) {
		struct live_service *service;

		sql_fill(statement, 0, name, sizeof(name));
		service = live_service_of(live, name);
		if (!service)
			continue;
		sql_fill(statement, 1, service->rollout_cohort, sizeof(service->rollout_cohort));
		service->is_rolling = sql_number(statement, 2);
		service->followed = sql_number(statement, 3);
	}
	return error;
}

static int read_interface(struct store *store, sqlite3_stmt *statement, void *out,
			  struct errors *errors)
{
	struct live_interface *interface = out;

	(void)store;
	(void)errors;
	sql_fill(statement, 0, interface->name, sizeof(interface->name));
	interface->slot = (uint32_t)sql_number(statement, 1);
	interface->attached = sql_number(statement, 2);
	return 0;
}

static int read_box(struct store *store, struct live *out, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error = sql_query(store, &statement, "SELECT detached FROM box", NO_VALUES, errors);

	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error;
	out->detached = sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

int store_live(struct store *store, struct live *out, struct errors *errors)
{
	void *list;
	int error;

	*out = (struct live){0};
	error = read_list(store,
			  "SELECT service, rule, cohort, ppm, time_ns, actor FROM shares"
			  " ORDER BY service, rule, cohort",
			  read_share, sizeof(*out->shares), &list, &out->shares_count, errors);
	if (error)
		goto out;
	out->shares = list;
	error = read_list(store,
			  "SELECT service, client, cohort, expires_ns, time_ns, actor FROM pins"
			  " ORDER BY service, client",
			  read_pin, sizeof(*out->pins), &list, &out->pins_count, errors);
	if (error)
		goto out;
	out->pins = list;
	if (store->schema_version >= 2)
		error = read_list(store,
				  "SELECT service, backend, wish, time_ns, actor FROM wishes"
				  " ORDER BY service, backend",
				  read_wish, sizeof(*out->wishes), &list, &out->wishes_count,
				  errors);
	else
		list = NULL;
	if (error)
		goto out;
	out->wishes = list;
	if (store->schema_version >= 4)
		error = read_list(
			store, "SELECT service, backend, health, flapping, time_ns FROM checks",
			read_check, sizeof(*out->checks), &list, &out->checks_count, errors);
	else
		list = NULL;
	if (error)
		goto out;
	out->checks = list;
	live_sort_checks(out);
	error = read_list(
		store, "SELECT name, slot, epoch, digest, latch FROM services ORDER BY name",
		live_read_service, sizeof(*out->services), &list, &out->services_count, errors);
	if (error)
		goto out;
	out->services = list;
	error = read_rollouts(store, out, errors);
	if (error)
		goto out;
	error = read_list(store, "SELECT name, slot, attached FROM interfaces ORDER BY name",
			  read_interface, sizeof(*out->interfaces), &list, &out->interfaces_count,
			  errors);
	if (error)
		goto out;
	out->interfaces = list;
	error = read_box(store, out, errors);
out:
	if (error)
		live_release(out);
	return error;
}

void live_release(struct live *live)
{
	free(live->shares);
	free(live->pins);
	free(live->wishes);
	free(live->checks);
	free(live->services);
	free(live->interfaces);
	*live = (struct live){0};
}

const struct live_share *live_share_of(const struct live *live, const char *service,
				       const char *rule, const char *cohort)
{
	for (size_t i = 0; i < live->shares_count; i++) {
		const struct live_share *share = &live->shares[i];

		if (!strcmp(share->service, service) && !strcmp(share->rule, rule) &&
		    !strcmp(share->cohort, cohort))
			return share;
	}
	return NULL;
}

struct live_service *live_service_of(const struct live *live, const char *service)
{
	for (size_t i = 0; i < live->services_count; i++) {
		if (!strcmp(live->services[i].name, service))
			return &live->services[i];
	}
	return NULL;
}

const struct live_wish *live_wish_of(const struct live *live, const char *service,
				     const struct address *backend)
{
	for (size_t i = 0; i < live->wishes_count; i++) {
		if (!strcmp(live->wishes[i].service, service) &&
		    address_equal(&live->wishes[i].backend, backend))
			return &live->wishes[i];
	}
	return NULL;
}
