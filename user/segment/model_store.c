// SPDX-License-Identifier: GPL-2.0-only
/* Models in the store, and whether the catalogue has what they need. */
#include "segment/model.h"

#include "store/expression.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int refuse_name(struct store *store, const char *name, struct errors *errors)
{
	struct stored_model *models = NULL;
	const char **names = NULL;
	size_t count = 0;
	char *hint = NULL;
	int error = store ? store_models(store, &models, &count, errors) : 0;

	if (error)
		return error;
	names = calloc(count + 1, sizeof(*names));
	for (size_t i = 0; names && i < count; i++)
		names[i] = models[i].name;
	if (names && count)
		hint = columns_hint(name, names, count);
	errors_add_code(errors, ENOENT, "models",
			hint ? hint : "import one with `xdp-canary model import`",
			"there is no model `%s`", name);
	free(hint);
	free(names);
	stored_models_release(models, count);
	return -ENOENT;
}

int model_load(struct store *store, const char *name, struct model **out, struct errors *errors)
{
	struct stored_model stored;
	char file[NAME_SIZE + 16];
	struct model *model;
	int error = store ? store_model(store, name, &stored, errors) : -ENOENT;

	if (error == -ENOENT)
		return refuse_name(store, name, errors);
	if (error)
		return error;
	snprintf(file, sizeof(file), "model %s", stored.name);
	error = model_parse(stored.json, strlen(stored.json), file, &model, errors);
	if (!error) {
		strcpy(model->name, stored.name);
		model->time_ns = stored.time_ns;
		model->by = stored.by;
		stored.by = NULL;
		*out = model;
	}
	stored_model_release(&stored);
	return error;
}

int model_check_columns(struct store *store, const struct model *model, const char *file,
			struct errors *errors)
{
	struct position where = {.file = file};
	size_t count = 0, missing = 0;
	char **names = NULL;
	int error = catalogue_columns(store, &names, &count, errors);

	for (size_t i = 0; !error && i < model->features_count; i++) {
		const char *name = model->features[i].name;
		char path[64], *hint;
		size_t j = 0;

		/* One error a column, at the first feature of it. */
		while (model->features[j].column != model->features[i].column)
			j++;
		if (j < i)
			continue;
		j = 0;
		while (j < count && strcasecmp(name, names[j]))
			j++;
		if (j < count)
			continue;
		snprintf(path, sizeof(path), "features[%zu].name", i);
		hint = columns_hint(name, (const char *const *)names, count);
		errors_add(errors, &where, path, hint, "the catalogue has no column `%s`", name);
		free(hint);
		missing++;
	}
	catalogue_columns_release(names, count);
	return error ? error : missing ? -ENOENT : 0;
}
