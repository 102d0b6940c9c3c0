// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which index of a kernel table belongs to a name. A number is a name's from store_number() until
 * it is given back, whatever comes and goes beside it; then it is the next new name's, for the
 * lowest free one is given.
 *
 * The search for a free number goes on where the last one of its kind ended, so that numbering n
 * new names takes n steps, not n^2.
 */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char *const kind_names[NUMBER_KINDS] = {
	[NUMBER_RULE_GROUP] = "rule group", [NUMBER_LANE] = "lane",
	[NUMBER_BACKEND] = "backend",	    [NUMBER_BACKEND_COUNTER] = "backend counter",
	[NUMBER_SEGMENT] = "segment",	    [NUMBER_TRACK] = "place among the followed services",
};

static const char *const full_hints[NUMBER_KINDS] = {
	[NUMBER_RULE_GROUP] = "remove rules that are no longer used",
	[NUMBER_LANE] = "apply once without the cohort that goes, then with the one that comes",
	[NUMBER_BACKEND] = "remove backends of this service that are no longer used",
	[NUMBER_BACKEND_COUNTER] = "raise limits.backends, or remove backends",
	[NUMBER_SEGMENT] = "apply once without the segment that goes, then with the one that comes",
	[NUMBER_TRACK] = "end rollouts that have succeeded by `rollout reset` or a new release",
};

int lowest_free(struct store *store, sqlite3_stmt *statement, uint32_t from, uint32_t *out,
		struct errors *errors)
{
	int error;

	while ((error = sql_next(store, statement, errors)) > 0) {
		if (sql_number(statement, 0) != from) {
			sql_end(statement);
			break;
		}
		from++;
	}
	*out = from;
	return error < 0 ? error : 0;
}

void forget_searches(struct store *store)
{
	for (size_t i = 0; i < NUMBER_KINDS; i++) {
		free(store->searches[i].scope);
		store->searches[i] = (struct number_search){0};
	}
}

int store_find_number(struct store *store, enum number_kind kind, const char *scope,
		      const char *name, uint32_t *number, struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	error = sql_query(store, &statement,
			  "SELECT number FROM numbers WHERE kind = ?1 AND scope = ?2 AND name = ?3",
			  VALUES(TEXT(kind_names[kind]), TEXT(scope), TEXT(name)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	*number = (uint32_t)sql_number(statement, 0);
	sql_end(statement);
	return 0;
}

static int find_free(struct store *store, enum number_kind kind, const char *scope,
		     uint32_t *number, struct errors *errors)
{
	struct number_search *search = &store->searches[kind];
	sqlite3_stmt *statement;
	int error;

	if (!search->scope || strcmp(search->scope, scope)) {
		free(search->scope);
		/* Without memory for it the next search begins at 0, too. */
		*search = (struct number_search){.scope = strdup(scope)};
	}
	error = sql_query(store, &statement,
			  "SELECT number FROM numbers WHERE kind = ?1 AND scope = ?2"
			  " AND number >= ?3 ORDER BY number",
			  VALUES(TEXT(kind_names[kind]), TEXT(scope), NUMBER(search->from)),
			  errors);
	if (!error)
		error = lowest_free(store, statement, search->from, number, errors);
	if (!error)
		search->from = *number;
	return error;
}

int store_number(struct store *store, enum number_kind kind, const char *scope, const char *name,
		 uint32_t limit, uint32_t *number, bool *is_new, struct errors *errors)
{
	uint32_t free_number;
	int error;

	if (is_new)
		*is_new = false;
	error = store_find_number(store, kind, scope, name, number, errors);
	if (error != -ENOENT)
		return error;
	error = find_free(store, kind, scope, &free_number, errors);
	if (error)
		return error;
	if (free_number >= limit)
		return errors_add_code(errors, ENOSPC, *scope ? scope : name, full_hints[kind],
				       "no %s is free for %s: all %u are taken", kind_names[kind],
				       name, limit);
	error = sql_change(
		store, NULL,
		"INSERT INTO numbers (kind, scope, name, number)"
		" VALUES (?1, ?2, ?3, ?4)",
		VALUES(TEXT(kind_names[kind]), TEXT(scope), TEXT(name), NUMBER(free_number)),
		errors);
	if (error)
		return error;
	*number = free_number;
	if (is_new)
		*is_new = true;
	return 0;
}

struct name_list {
	char **names;
	size_t count;
};

static void name_list_release(struct name_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
}

/* The names of a scope that start with @prefix. */
static int read_names(struct store *store, enum number_kind kind, const char *scope,
		      const char *prefix, struct name_list *list, struct errors *errors)
{
	sqlite3_stmt *statement;
	char **larger;
	int error;

	error = sql_query(store, &statement,
			  "SELECT name FROM numbers WHERE kind = ?1 AND scope = ?2 AND name >= ?3"
			  " ORDER BY name",
			  VALUES(TEXT(kind_names[kind]), TEXT(scope), TEXT(prefix)), errors);
	if (error)
		return error;
	while ((error = sql_next(store, statement, errors)) > 0) {
		/* In this order those with the prefix come first. */
		error = 0;
		if (strncmp(sql_text(statement, 0), prefix, strlen(prefix)))
			break;
		error = -ENOMEM;
		larger = rows_grow(store, list->names, list->count, sizeof(*larger), errors);
		if (!larger)
			break;
		list->names = larger;
		error = sql_copy(store, statement, 0, &list->names[list->count], errors);
		if (error)
			break;
		list->count++;
	}
	sql_end(statement);
	return error;
}

/* The names are read before the first one goes, so that @keep may ask the store too. */
int store_free_numbers(struct store *store, enum number_kind kind, const char *scope,
		       const char *prefix, bool (*keep)(const char *name, void *data), void *data,
		       struct errors *errors)
{
	struct name_list list = {0};
	int error;

	error = read_names(store, kind, scope, prefix ? prefix : "", &list, errors);
	for (size_t i = 0; i < list.count && !error; i++) {
		if (keep && keep(list.names[i], data))
			continue;
		error = sql_change(
			store, NULL,
			"DELETE FROM numbers WHERE kind = ?1 AND scope = ?2 AND name = ?3",
			VALUES(TEXT(kind_names[kind]), TEXT(scope), TEXT(list.names[i])), errors);
	}
	forget_searches(store);
	name_list_release(&list);
	return error;
}
