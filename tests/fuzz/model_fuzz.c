// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes at all as a model. What is refused has errors; what is accepted answers any row, with
 * a class that it has and a score that is a probability, and the same again for the same file.
 * Build with clang -fsanitize=fuzzer,address,undefined.
 */
#include "segment/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void fill_row(struct catalogue_value *values, size_t count, uint64_t seed)
{
	static const double reals[] = {0, -1, 0.5, 1e18, -1e308, INFINITY};

	for (size_t i = 0; i < count; i++) {
		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		values[i].type = (seed >> 60) & 3;
		values[i].integer = (int64_t)seed >> (seed >> 58);
		values[i].real = values[i].type == CATALOGUE_INTEGER ? (double)values[i].integer
								     : reals[(seed >> 40) % 6];
		values[i].text = seed & 1 << 20 ? "pro" : "";
	}
}

static void check_rows(const struct model *model, const struct model *again)
{
	struct catalogue_value values[FOREST_FEATURES_MAX];
	struct model_verdict verdict, same;

	require(model->columns_count <= model->features_count);
	for (uint64_t seed = 1; seed <= 20; seed++) {
		fill_row(values, model->columns_count, seed);
		if (model_classify(model, values, &verdict))
			continue;
		require(verdict.class_index < model->classes_count);
		require(verdict.score >= 0 && verdict.score <= 1);
		require(!model_classify(again, values, &same));
		require(same.class_index == verdict.class_index && same.score == verdict.score);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct errors *errors = errors_new();
	struct model *model = NULL, *again = NULL;
	int error = model_parse((const char *)data, size, "input.json", &model, errors);
	json_t *list = errors_to_json(errors);

	require(list);
	require((error != 0) == (errors_count(errors) > 0));
	require((error != 0) == (model == NULL));
	json_decref(list);
	if (model) {
		require(!model_parse((const char *)data, size, "input.json", &again, NULL));
		check_rows(model, again);
	}
	model_free(model);
	model_free(again);
	errors_free(errors);
	return 0;
}
