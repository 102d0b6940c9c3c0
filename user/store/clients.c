// SPDX-License-Identifier: GPL-2.0-only
/* Single clients of the catalogue, in whichever of its tables they are. */
#include "store/attributes.h"
#include "store/client_key.h"
#include "store/rows.h"
#include "store/store_internal.h"

#include <errno.h>

int store_clients_count(struct store *store, uint64_t *count, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	*count = 0;
	if (!store_has_catalogue(store))
		return 0;
	error = sql_query(store, &statement, "SELECT count(*) FROM clients", NO_VALUES, errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error;
	*count = sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

int store_drop_client(struct store *store, const struct member *client, bool *had_attributes,
		      bool *had_features, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];
	size_t changed = 0;
	int error;

	client_key_of(client, key);
	error = sql_change(store, &changed, "DELETE FROM clients WHERE client = ?1",
			   VALUES(BLOB(key, sizeof(key))), errors);
	*had_attributes = changed;
	if (!error)
		error = sql_change(store, &changed, "DELETE FROM features WHERE client = ?1",
				   VALUES(BLOB(key, sizeof(key))), errors);
	*had_features = changed;
	return error;
}

/* 1: it has a row, 0: none. */
static int has_row(struct store *store, const struct member *client, struct errors *errors)
{
	uint8_t key[CLIENT_KEY_SIZE];
	sqlite3_stmt *statement;
	int result;

	client_key_of(client, key);
	result = sql_query(store, &statement,
			   "SELECT 1 FROM clients WHERE client = ?1 UNION ALL"
			   " SELECT 1 FROM features WHERE client = ?1",
			   VALUES(BLOB(key, sizeof(key))), errors);
	if (!result)
		result = sql_next(store, statement, errors);
	if (result > 0)
		sql_end(statement);
	return result;
}

int store_client_holding(struct store *store, const struct member *client, struct member *out,
			 struct errors *errors)
{
	struct prefix prefix = member_prefix(client), shorter;
	int result = 0;

	if (!store_has_catalogue(store))
		return -ENOENT;
	for (int length = prefix.length; length >= 0 && !result; length--) {
		shorter = prefix_shorten(&prefix, length, length);
		*out = member_of(&shorter);
		result = has_row(store, out, errors);
	}
	return result > 0 ? 0 : result ? result : -ENOENT;
}
