// SPDX-License-Identifier: GPL-2.0-only
/* Learned models: the files that were imported, as they were. What is in them is user/segment's. */
#include "store/store_internal.h"

#include <errno.h>
#include <stdlib.h>

int store_set_model(struct store *store, const char *name, const char *json, struct errors *errors)
{
	return sql_change(store, NULL, "INSERT OR REPLACE INTO models VALUES (?1, ?2, ?3, ?4)",
			  VALUES(TEXT(name), NUMBER(store->time_ns), TEXT(store->by), TEXT(json)),
			  errors);
}

/* A row of name, time_ns, actor and, @with_json, json. */
static int read_model(struct store *store, sqlite3_stmt *statement, bool with_json,
		      struct stored_model *out, struct errors *errors)
{
	int error;

	*out = (struct stored_model){.time_ns = sql_number(statement, 1)};
	sql_fill(statement, 0, out->name, sizeof(out->name));
	error = sql_copy(store, statement, 2, &out->by, errors);
	if (!error && with_json)
		error = sql_copy(store, statement, 3, &out->json, errors);
	if (error)
		stored_model_release(out);
	return error;
}

int store_model(struct store *store, const char *name, struct stored_model *out,
		struct errors *errors)
{
	sqlite3_stmt *statement;
	int error;

	if (store->schema_version < 3)
		return -ENOENT;
	error = sql_query(store, &statement,
			  "SELECT name, time_ns, actor, json FROM models WHERE name = ?1",
			  VALUES(TEXT(name)), errors);
	if (!error)
		error = sql_next(store, statement, errors);
	if (error <= 0)
		return error ? error : -ENOENT;
	error = read_model(store, statement, true, out, errors);
	sql_end(statement);
	return error;
}

void stored_model_release(struct stored_model *model)
{
	free(model->by);
	free(model->json);
	*model = (struct stored_model){0};
}

int store_models(struct store *store, struct stored_model **out, size_t *count,
		 struct errors *errors)
{
	struct stored_model *models = NULL, *larger;
	sqlite3_stmt *statement;
	size_t used = 0;
	int error;

	*out = NULL;
	*count = 0;
	if (store->schema_version < 3)
		return 0;
	error = sql_query(store, &statement,
			  "SELECT name, time_ns, actor FROM models ORDER BY name", NO_VALUES,
			  errors);
	if (error)
		return error;
	while ((error = sql_next(store, statement, errors)) > 0) {
		error = -ENOMEM;
		larger = rows_grow(store, models, used, sizeof(*models), errors);
		if (!larger)
			break;
		models = larger;
		error = read_model(store, statement, false, &models[used], errors);
		if (error)
			break;
		used++;
	}
	if (error) {
		sql_end(statement);
		stored_models_release(models, used);
		return error;
	}
	*out = models;
	*count = used;
	return 0;
}

void stored_models_release(struct stored_model *models, size_t count)
{
	for (size_t i = 0; i < count; i++)
		stored_model_release(&models[i]);
	free(models);
}

int store_drop_model(struct store *store, const char *name, struct errors *errors)
{
	size_t changed = 0;
	int error = sql_change(store, &changed, "DELETE FROM models WHERE name = ?1",
			       VALUES(TEXT(name)), errors);

	return error || changed ? error : -ENOENT;
}
