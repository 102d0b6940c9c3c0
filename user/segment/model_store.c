// SPDX-License-Identifier: GPL-2.0-only
/* Models in the store, and what they make of the catalogue. */
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

/* ---- every row ---- */

#define BLOCK_ROWS 4096

/* Rows that wait for their trees. */
struct block {
	const struct model *model;
	int (*each)(const struct member *client, const struct model_verdict *verdict, void *data);
	void *data;
	struct member *clients;
	bool *has_class;
	int64_t *features; /* of those that have a class, without gaps */
	double *means;
	uint32_t *classes;
	size_t rows, known;
};

static int judge_block(struct block *block)
{
	size_t classes_count = block->model->classes_count, known = 0;
	int result = 0;

	forest_classify(&block->model->forest, block->features, block->known, block->means,
			block->classes);
	for (size_t i = 0; i < block->rows && !result; i++) {
		struct model_verdict verdict = {0};

		if (block->has_class[i]) {
			verdict.class_index = block->classes[known];
			verdict.score = block->means[++known * classes_count - 1];
		}
		result = block->each(&block->clients[i], block->has_class[i] ? &verdict : NULL,
				     block->data);
	}
	block->rows = block->known = 0;
	return result;
}

static int add_row(const struct catalogue_row *row, void *data)
{
	struct block *block = data;
	int64_t *features = &block->features[block->known * block->model->features_count];

	block->clients[block->rows] = row->client;
	block->has_class[block->rows] = !model_features(block->model, row->values, features);
	block->known += block->has_class[block->rows];
	return ++block->rows == BLOCK_ROWS ? judge_block(block) : 0;
}

static bool block_begin(struct block *block)
{
	const struct model *model = block->model;

	block->clients = calloc(BLOCK_ROWS, sizeof(*block->clients));
	block->has_class = calloc(BLOCK_ROWS, sizeof(*block->has_class));
	block->features = calloc(BLOCK_ROWS * model->features_count, sizeof(*block->features));
	block->means = calloc(BLOCK_ROWS * model->classes_count, sizeof(*block->means));
	block->classes = calloc(BLOCK_ROWS, sizeof(*block->classes));
	return block->clients && block->has_class && block->features && block->means &&
	       block->classes;
}

static void block_end(struct block *block)
{
	free(block->clients);
	free(block->has_class);
	free(block->features);
	free(block->means);
	free(block->classes);
}

int model_each(struct store *store, const struct model *model, const char *where,
	       const char *object,
	       int (*each)(const struct member *client, const struct model_verdict *verdict,
			   void *data),
	       void *data, struct errors *errors)
{
	const struct catalogue_query query = {
		.object = object,
		.where = where,
		.columns = model->columns,
		.columns_count = model->columns_count,
	};
	struct block block = {.model = model, .each = each, .data = data};
	int result;

	if (block_begin(&block))
		result = catalogue_each(store, &query, add_row, &block, errors);
	else
		result = errors_add_code(errors, ENOMEM, object, "free some memory",
					 "there is no memory to classify");
	if (!result)
		result = judge_block(&block);
	block_end(&block);
	return result;
}
