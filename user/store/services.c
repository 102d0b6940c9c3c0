// SPDX-License-Identifier: GPL-2.0-only
/*
 * Services and interfaces as the kernel's tables know them: their slots, epochs, latches, and what
 * is attached. A slot is a name's until the name goes; the lowest free one is given to a new name.
 */
#include "store/rollouts.h"
#include "store/store_internal.h"

#include <errno.h>
#include <stdio.h>

/* -ENOENT without an error where it is not known. */
static int find_service(struct store *store, const char *service, struct live_service *out,
			struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	error = sql_query(store, &statement,
			  "SELECT name, slot, epoch, digest, latch FROM services WHERE name = ?1",
			  VALUES(TEXT(service)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	error = live_read_service(store, statement, out, errors);
	sql_end(statement);
	return error;
}

/* The lowest slot that neither the store nor @is_busy holds. */
static int find_slot(struct store *store, bool (*is_busy)(uint32_t slot, const void *data),
		     const void *data, uint32_t *slot, struct errors *errors)
{
	sqlite3_stmt *statement;
	uint32_t from = 0;
	int error;

	do {
		error = sql_query(store, &statement,
				  "SELECT slot FROM services WHERE slot >= ?1 ORDER BY slot",
				  VALUES(NUMBER(from)), errors);
		if (!error)
			error = lowest_free(store, statement, from, slot, errors);
		from = *slot + 1;
	} while (!error && is_busy && is_busy(*slot, data));
	return error;
}

int store_add_service(struct store *store, const char *service, uint32_t limit,
		      bool (*is_busy)(uint32_t slot, const void *data), const void *data,
		      struct live_service *out, struct errors *errors)
{
	uint32_t slot = 0;
	int error;

	error = find_service(store, service, out, errors);
	if (error != -ENOENT)
		return error;
	error = find_slot(store, is_busy, data, &slot, errors);
	if (error)
		return error;
	if (slot >= limit)
		return errors_add_code(errors, ENOSPC, service,
				       "raise limits.services, or remove a service",
				       "all %u places for services are taken", limit);
	error = sql_change(store, NULL,
			   "INSERT INTO services (name, slot, epoch, digest, latch)"
			   " VALUES (?1, ?2, 0, 0, ?3)",
			   VALUES(TEXT(service), NUMBER(slot), TEXT(latch_name(LATCH_NONE))),
			   errors);
	return error ? error : find_service(store, service, out, errors);
}

/* For a change of one service that must be there. */
static int check_changed(const char *service, size_t changed, struct errors *errors)
{
	if (changed)
		return 0;
	return errors_add_code(errors, ENOENT, service, "see `service list`",
			       "the state has no such service");
}

int store_set_latch(struct store *store, const char *service, enum latch latch,
		    struct errors *errors)
{
	size_t changed = 0;
	int error;

	error = sql_change(store, &changed, "UPDATE services SET latch = ?2 WHERE name = ?1",
			   VALUES(TEXT(service), TEXT(latch_name(latch))), errors);
	return error ? error : check_changed(service, changed, errors);
}

int store_set_epoch(struct store *store, const char *service, uint64_t epoch, uint64_t digest,
		    struct errors *errors)
{
	size_t changed = 0;
	int error;

	error = sql_change(store, &changed,
			   "UPDATE services SET epoch = ?2, digest = ?3 WHERE name = ?1",
			   VALUES(TEXT(service), NUMBER(epoch), NUMBER(digest)), errors);
	return error ? error : check_changed(service, changed, errors);
}

static int free_service_numbers(struct store *store, const char *service, struct errors *errors)
{
	static const enum number_kind own[] = {NUMBER_LANE, NUMBER_BACKEND};
	static const enum number_kind shared[] = {NUMBER_RULE_GROUP, NUMBER_BACKEND_COUNTER};
	char prefix[NAME_SIZE + 1];
	int error = 0;

	for (size_t i = 0; i < 2 && !error; i++)
		error = store_free_numbers(store, own[i], service, NULL, NULL, NULL, errors);
	snprintf(prefix, sizeof(prefix), "%s/", service);
	for (size_t i = 0; i < 2 && !error; i++)
		error = store_free_numbers(store, shared[i], "", prefix, NULL, NULL, errors);
	return error;
}

/* What it was compared with, and what its last era and rollout have left for whoever runs next. */
static int drop_notes(struct store *store, const char *service, struct errors *errors)
{
	static const char *const kinds[] = {"cuts", "flows", "lease", "packets", "rollouts"};
	char key[2 * NAME_SIZE];
	int error = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !error; i++) {
		snprintf(key, sizeof(key), "%s/%s", kinds[i], service);
		error = store_drop_note(store, key, errors);
	}
	return error;
}

int store_remove_service(struct store *store, const char *service, struct errors *errors)
{
	int error = free_service_numbers(store, service, errors);

	if (!error)
		error = store_drop_shares(store, service, NULL, NULL, NULL, errors);
	if (!error)
		error = store_drop_pins(store, service, NULL, errors);
	if (!error)
		error = sql_change(store, NULL, "DELETE FROM wishes WHERE service = ?1",
				   VALUES(TEXT(service)), errors);
	if (!error)
		error = sql_change(store, NULL, "DELETE FROM checks WHERE service = ?1",
				   VALUES(TEXT(service)), errors);
	if (!error)
		error = store_close_rollouts(store, service, errors);
	if (!error)
		error = store_drop_hook_calls(store, service, errors);
	if (!error)
		error = drop_notes(store, service, errors);
	if (!error)
		error = sql_change(store, NULL, "DELETE FROM services WHERE name = ?1",
				   VALUES(TEXT(service)), errors);
	return error;
}

/* -ENOENT without an error where it is not known. */
static int find_interface(struct store *store, const char *interface, uint32_t *slot,
			  struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	error = sql_query(store, &statement, "SELECT slot FROM interfaces WHERE name = ?1",
			  VALUES(TEXT(interface)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	*slot = (uint32_t)sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

static int free_interface(struct store *store, const char *interface, uint32_t *slot,
			  struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	error = sql_query(store, &statement, "SELECT slot FROM interfaces ORDER BY slot", NO_VALUES,
			  errors);
	if (!error)
		error = lowest_free(store, statement, 0, slot, errors);
	if (error || *slot < INTERFACES_MAX)
		return error;
	return errors_add_code(errors, ENOSPC, interface, "remove an interface from the file",
			       "all %d places for interfaces are taken", INTERFACES_MAX);
}

int store_set_attached(struct store *store, const char *interface, bool attached, uint32_t *slot,
		       struct errors *errors)
{
	uint32_t number = 0;
	int error;

	error = find_interface(store, interface, &number, errors);
	if (error == -ENOENT)
		error = free_interface(store, interface, &number, errors);
	if (!error)
		error = sql_change(store, NULL,
				   "INSERT INTO interfaces (name, slot, attached)"
				   " VALUES (?1, ?2, ?3)"
				   " ON CONFLICT (name) DO UPDATE SET attached = ?3",
				   VALUES(TEXT(interface), NUMBER(number), NUMBER(attached)),
				   errors);
	if (!error && slot)
		*slot = number;
	return error;
}

int store_forget_interface(struct store *store, const char *interface, struct errors *errors)
{
	return sql_change(store, NULL, "DELETE FROM interfaces WHERE name = ?1",
			  VALUES(TEXT(interface)), errors);
}

int store_set_detached(struct store *store, bool detached, struct errors *errors)
{
	return sql_change(store, NULL, "UPDATE box SET detached = ?1", VALUES(NUMBER(detached)),
			  errors);
}
