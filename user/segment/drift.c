// SPDX-License-Identifier: GPL-2.0-only
/*
 * Drift: how far the clients of today are from those that a model was trained with, feature by
 * feature, as the population stability index over the deciles of the training.
 */
#include "segment/model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static double share(uint64_t count, uint64_t total)
{
	double part = (double)count / (double)total;

	return part > DRIFT_FLOOR ? part : DRIFT_FLOOR;
}

double population_stability_index(const uint64_t *actual, const uint64_t *expected, size_t bins)
{
	uint64_t actual_total = 0, expected_total = 0;
	double index = 0;

	for (size_t i = 0; i < bins; i++) {
		actual_total += actual[i];
		expected_total += expected[i];
	}
	if (!actual_total || !expected_total)
		return NAN;
	for (size_t i = 0; i < bins; i++) {
		double p = share(actual[i], actual_total);
		double q = share(expected[i], expected_total);

		index += (p - q) * log(p / q);
	}
	return index;
}

const char *drift_word(double psi)
{
	if (isnan(psi))
		return "unknown";
	if (psi < DRIFT_CALM)
		return "calm";
	return psi > DRIFT_DRIFTED ? "drifted" : "shifting";
}

/* ---- the catalogue ---- */

struct counting {
	const struct model *model;
	uint64_t (*counts)[MODEL_EDGES_MAX + 1]; /* by feature */
	uint64_t clients;
};

static size_t bin_of_feature(const struct model_feature *feature, int64_t value)
{
	size_t low = 0, high = feature->edges_count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (feature->edges[middle] < value)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int count_row(const struct catalogue_row *row, void *data)
{
	struct counting *counting = data;
	int64_t features[FOREST_FEATURES_MAX];

	if (model_features(counting->model, row->values, features))
		return 0;
	counting->clients++;
	for (size_t i = 0; i < counting->model->features_count; i++)
		counting->counts[i][bin_of_feature(&counting->model->features[i], features[i])]++;
	return 0;
}

static int summarise(const struct counting *counting, struct model_drift *out)
{
	const struct model *model = counting->model;

	out->clients = counting->clients;
	out->features = calloc(model->features_count, sizeof(*out->features));
	for (size_t i = 0; out->features && i < model->features_count; i++) {
		const struct model_feature *feature = &model->features[i];

		out->features[i].label = strdup(feature->label);
		out->count++;
		if (!out->features[i].label)
			return -ENOMEM;
		out->features[i].psi = population_stability_index(
			counting->counts[i], feature->counts, feature->edges_count + 1);
	}
	return out->features ? 0 : -ENOMEM;
}

static int measure(struct store *store, const struct model *model, struct model_drift *out,
		   struct errors *errors)
{
	char object[NAME_SIZE + 16];
	struct catalogue_query query = {
		.object = object,
		.columns = model->columns,
		.columns_count = model->columns_count,
	};
	struct counting counting = {.model = model};
	int error;

	snprintf(object, sizeof(object), "models/%s", model->name);
	counting.counts = calloc(model->features_count, sizeof(*counting.counts));
	if (!counting.counts)
		return -ENOMEM;
	error = catalogue_each(store, &query, count_row, &counting, errors);
	if (!error)
		error = summarise(&counting, out);
	free(counting.counts);
	return error;
}

int model_drift(struct store *store, const char *name, struct model_drift *out,
		struct errors *errors)
{
	struct model *model = NULL;
	int error;

	*out = (struct model_drift){0};
	error = model_load(store, name, &model, errors);
	if (error)
		return error;
	error = measure(store, model, out, errors);
	if (error)
		model_drift_release(out);
	if (error == -ENOMEM)
		errors_add_code(errors, ENOMEM, name, "free some memory",
				"there is no memory to measure drift");
	model_free(model);
	return error;
}

void model_drift_release(struct model_drift *drift)
{
	for (size_t i = 0; i < drift->count; i++)
		free(drift->features[i].label);
	free(drift->features);
	*drift = (struct model_drift){0};
}
