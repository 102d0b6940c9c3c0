// SPDX-License-Identifier: GPL-2.0-only
/* Memberships from the classes of a model. */
#include "segment/compute_internal.h"

#include "segment/model.h"
#include "util/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define OBJECT_SIZE (NAME_SIZE + 32)

int draft_model(struct draft *draft, const char *name, struct model **out)
{
	struct store *store = draft->world->store;
	int error;

	if (!store)
		return errors_add_code(draft->errors, ENOENT, draft->object,
				       "import it by `model import`", "there is no model `%s`",
				       name);
	error = model_load(store, name, out, draft->errors);
	if (error)
		return error;
	return model_check_columns(store, *out, draft->object, draft->errors);
}

struct classifying {
	struct draft *draft;
	struct model *model;
	uint32_t wanted; /* class */
	uint64_t *sizes; /* of each class */
	uint64_t population;
};

static int classify_row(const struct catalogue_row *row, void *data)
{
	struct classifying *classifying = data;
	struct model_verdict verdict;
	int error = model_classify(classifying->model, row->values, &verdict);

	if (error == -ENODATA)
		return 0;
	if (error)
		return error;
	classifying->population++;
	classifying->sizes[verdict.class_index]++;
	if (verdict.class_index != classifying->wanted)
		return 0;
	return draft_add(classifying->draft, &row->client);
}

/* How far the catalogue is from what the model was trained on, as of now. */
static int describe_drift(struct draft *draft, const char *name)
{
	struct model_drift drift;
	json_t *list = json_array();
	int error = model_drift(draft->world->store, name, &drift, draft->errors);

	for (size_t i = 0; !error && i < drift.count; i++) {
		double psi = drift.features[i].psi;

		/* Without clients there is none, which is no number. */
		json_array_append_new(list,
				      json_pack("{s:s, s:o}", "feature", drift.features[i].label,
						"psi", psi == psi ? json_real(psi) : json_null()));
	}
	if (!error)
		model_drift_release(&drift);
	json_object_set_new(draft->detail, "drift", list);
	return error;
}

static void describe_classes(const struct classifying *classifying)
{
	const struct model *model = classifying->model;
	json_t *list = json_array();
	char time[TEXT_VALUE_SIZE];

	for (size_t i = 0; i < model->classes_count; i++)
		json_array_append_new(
			list, json_pack("{s:s, s:I, s:I, s:b}", "class", model->classes[i],
					"clients", (json_int_t)classifying->sizes[i], "share_ppm",
					share_ppm(classifying->sizes[i], classifying->population),
					"taken", i == classifying->wanted));
	json_object_set_new(classifying->draft->detail, "population",
			    json_integer((json_int_t)classifying->population));
	json_object_set_new(classifying->draft->detail, "model_imported",
			    json_string(text_format_time(model->time_ns, time)));
	json_object_set_new(classifying->draft->detail, "classes", list);
}

static int report_class(struct draft *draft, const struct model *model)
{
	const char *wanted = draft->segment->model.class_name;
	char hint[256] = "it has";

	for (size_t i = 0; i < model->classes_count; i++) {
		size_t used = strlen(hint);

		snprintf(hint + used, sizeof(hint) - used, "%s %s", i ? "," : "",
			 model->classes[i]);
	}
	return errors_add_code(draft->errors, ENOENT, draft->object, hint,
			       "model `%s` has no class \"%s\"", model->name, wanted);
}

int compute_model(struct draft *draft)
{
	const struct segment_model *wanted = &draft->segment->model;
	struct classifying classifying = {.draft = draft};
	char object[OBJECT_SIZE];
	struct catalogue_query query = {.object = object};
	int class, error = draft_model(draft, wanted->name, &classifying.model);

	snprintf(object, sizeof(object), "%s/model", draft->object);
	if (error)
		goto out;
	class = model_class(classifying.model, wanted->class_name);
	if (class < 0) {
		error = report_class(draft, classifying.model);
		goto out;
	}
	classifying.wanted = class;
	classifying.sizes = calloc(classifying.model->classes_count, sizeof(*classifying.sizes));
	if (!classifying.sizes) {
		error = draft_memory(draft);
		goto out;
	}
	query.columns = classifying.model->columns;
	query.columns_count = classifying.model->columns_count;
	error = catalogue_each(draft->world->store, &query, classify_row, &classifying,
			       draft->errors);
	if (!error) {
		describe_classes(&classifying);
		error = describe_drift(draft, wanted->name);
	}
out:
	free(classifying.sizes);
	model_free(classifying.model);
	return error;
}
