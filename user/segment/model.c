// SPDX-License-Identifier: GPL-2.0-only
/* What a model makes of a client's row. Pure; model_read.c makes models, model_store.c keeps them.
 */
#include "segment/model.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void model_free(struct model *model)
{
	if (!model)
		return;
	for (size_t i = 0; i < model->classes_count; i++)
		free(model->classes[i]);
	for (size_t i = 0; i < model->features_count; i++) {
		free(model->features[i].name);
		free(model->features[i].equals);
		free(model->features[i].label);
		free(model->features[i].edges);
		free(model->features[i].counts);
	}
	free(model->by);
	free(model->classes);
	free(model->features);
	free(model->columns);
	forest_release(&model->forest);
	json_decref(model->training);
	free(model);
}

int model_class(const struct model *model, const char *text)
{
	for (size_t i = 0; i < model->classes_count; i++)
		if (!strcmp(model->classes[i], text))
			return (int)i;
	return -ENOENT;
}

bool model_score_of(const char *feature, char name[NAME_SIZE])
{
	static const char suffix[] = ".score";
	size_t length = strlen(feature);

	if (length <= strlen(suffix) || length - strlen(suffix) >= NAME_SIZE ||
	    strcmp(feature + length - strlen(suffix), suffix))
		return false;
	length -= strlen(suffix);
	memcpy(name, feature, length);
	name[length] = '\0';
	return true;
}

static int64_t integer_of(const struct model_feature *feature, const struct catalogue_value *value)
{
	double scaled;

	if (value->type == CATALOGUE_NULL)
		return feature->fill;
	if (feature->equals)
		return value->type == CATALOGUE_TEXT && !strcmp(value->text, feature->equals);
	if (value->type == CATALOGUE_TEXT || isnan(value->real))
		return feature->fill;
	scaled = floor(ldexp(value->real, feature->scale_log2));
	if (scaled > FOREST_VALUE_MAX)
		return FOREST_VALUE_MAX;
	return scaled < -FOREST_VALUE_MAX ? -FOREST_VALUE_MAX : (int64_t)scaled;
}

int model_features(const struct model *model, const struct catalogue_value *values, int64_t *out)
{
	bool is_known = false;

	for (size_t i = 0; i < model->columns_count; i++)
		is_known |= values[i].type != CATALOGUE_NULL;
	for (size_t i = 0; is_known && i < model->features_count; i++)
		out[i] = integer_of(&model->features[i], &values[model->features[i].column]);
	return is_known ? 0 : -ENODATA;
}

int model_classify(const struct model *model, const struct catalogue_value *values,
		   struct model_verdict *out)
{
	int64_t features[FOREST_FEATURES_MAX];
	double mean[FOREST_CLASSES_MAX];
	int error = model_features(model, values, features);

	if (error)
		return error;
	forest_classify(&model->forest, features, 1, mean, &out->class_index);
	out->score = mean[model->classes_count - 1];
	return 0;
}
