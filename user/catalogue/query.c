// SPDX-License-Identifier: GPL-2.0-only
/*
 * Questions to the catalogue: names are resolved and the expression is judged here, before any row
 * is read, so that a bad one is an error also where there is no client yet.
 */
#include "catalogue/catalogue.h"

#include "catalogue/features.h"
#include "store/rows.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void catalogue_columns_release(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static int out_of_memory(struct errors *errors)
{
	return errors_add_code(errors, ENOMEM, "catalogue", "free some memory", "out of memory");
}

/* Attributes, then features; *@attributes: how many of the former. */
static int all_columns(struct store *store, char ***names, size_t *count, size_t *attributes,
		       struct errors *errors)
{
	char **larger;
	int error = 0;

	*names = NULL;
	*count = 0;
	if (store)
		error = store_attributes(store, names, count, errors);
	if (error)
		return error;
	*attributes = *count;
	larger = reallocarray(*names, *count + FEATURES_COUNT, sizeof(**names));
	for (size_t i = 0; larger && i < FEATURES_COUNT; i++) {
		*names = larger;
		larger[*count] = strdup(feature_names[i]);
		if (!larger[*count])
			larger = NULL;
		else
			++*count;
	}
	if (larger)
		return 0;
	catalogue_columns_release(*names, *count);
	*names = NULL;
	*count = 0;
	return out_of_memory(errors);
}

int catalogue_columns(struct store *store, char ***names, size_t *count, struct errors *errors)
{
	size_t attributes;

	return all_columns(store, names, count, &attributes, errors);
}

/* As SQLite compares names. NULL: there is none. */
static const char *column_named(const char *name, char **names, size_t count)
{
	if (!strcasecmp(name, "client"))
		return "client";
	for (size_t i = 0; i < count; i++)
		if (!strcasecmp(name, names[i]))
			return names[i];
	return NULL;
}

static int resolve(const struct catalogue_query *query, char **names, size_t count,
		   const char **columns, struct errors *errors)
{
	char *hint;

	for (size_t i = 0; i < query->columns_count; i++) {
		columns[i] = column_named(query->columns[i], names, count);
		if (columns[i])
			continue;
		hint = columns_hint(query->columns[i], (const char *const *)names, count);
		errors_add(errors, NULL, query->object, hint ? hint : "", "there is no column `%s`",
			   query->columns[i]);
		free(hint);
		return -ENOENT;
	}
	return 0;
}

/* Judges the query and, where there is @each, runs it. */
static int run(struct store *store, const struct catalogue_query *query, const struct member *only,
	       int (*each)(const struct catalogue_row *row, void *data), void *data,
	       struct errors *errors)
{
	size_t count = 0, attributes = 0;
	const char **columns = NULL;
	char **names = NULL;
	int error = all_columns(store, &names, &count, &attributes, errors);
	struct expression where = {query->object, query->where, (const char *const *)names, count};
	struct rows_request request = {
		.where = query->where ? &where : NULL,
		.attributes = where.columns,
		.attributes_count = attributes,
		.columns_count = query->columns_count,
		.only = only,
	};

	if (error)
		return error;
	columns = calloc(query->columns_count + 1, sizeof(*columns));
	request.columns = columns;
	error = columns ? resolve(query, names, count, columns, errors) : out_of_memory(errors);
	if (!error && query->where)
		error = expression_check(&where, errors);
	if (!error && each && store && store_has_catalogue(store))
		error = rows_each(store, &request, each, data, errors);
	free(columns);
	catalogue_columns_release(names, count);
	return error;
}

int catalogue_each(struct store *store, const struct catalogue_query *query,
		   int (*each)(const struct catalogue_row *row, void *data), void *data,
		   struct errors *errors)
{
	return run(store, query, NULL, each, data, errors);
}

int catalogue_check(struct store *store, const struct catalogue_query *query, struct errors *errors)
{
	return run(store, query, NULL, NULL, NULL, errors);
}

int catalogue_row_of(struct store *store, const struct catalogue_query *query,
		     const struct member *client,
		     int (*each)(const struct catalogue_row *row, void *data), void *data,
		     struct errors *errors)
{
	return run(store, query, client, each, data, errors);
}
