// SPDX-License-Identifier: GPL-2.0-only
/* model import, list, show, remove. What a model says of clients is in model_classify.c. */
#include "cli/model.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int open_model(struct cli *cli, struct control **control, struct model **model)
{
	int error = cli_open(cli, control);

	return error ? error : model_load((*control)->store, cli->words[0], model, cli->errors);
}

const char *digest_text(const struct model *model, char out[17])
{
	snprintf(out, 17, "%016" PRIx64, model->digest);
	return out;
}

/* ---- who uses a model ---- */

static bool uses(const struct segment *segment, const char *name)
{
	char scored[NAME_SIZE];

	if (segment->kind == SEGMENT_MODEL)
		return !strcmp(segment->model.name, name);
	return segment->kind == SEGMENT_BINS && model_score_of(segment->bins.feature, scored) &&
	       !strcmp(scored, name);
}

/* A new JSON array of names. */
static json_t *users_of(const struct policy *policy, const char *name)
{
	json_t *list = json_array();

	for (size_t i = 0; i < policy->segments_count; i++)
		if (uses(&policy->segments[i], name))
			json_array_append_new(list, json_string(policy->segments[i].name));
	return list;
}

/* ---- import ---- */

static int read_file(struct cli *cli, const char *path, char **text, size_t *length)
{
	int file = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	ssize_t size = 0;

	if (file < 0 || fstat(file, &status)) {
		int code = errno;

		if (file >= 0)
			close(file);
		return errors_add_code(cli->errors, code, path, "give the file of a model",
				       "cannot be read: %s", strerror(code));
	}
	if (!S_ISREG(status.st_mode) || status.st_size > MODEL_FILE_MAX) {
		close(file);
		return errors_add_code(cli->errors, EFBIG, path, "give the file of a model",
				       "is no file of at most %u MiB", MODEL_FILE_MAX >> 20);
	}
	*text = malloc(status.st_size + 1);
	for (*length = 0; *text; *length += size) {
		size = read(file, *text + *length, status.st_size - *length);
		if (size <= 0)
			break;
	}
	close(file);
	if (*text && size >= 0) {
		(*text)[*length] = '\0';
		return 0;
	}
	free(*text);
	*text = NULL;
	return errors_add_code(cli->errors, size < 0 ? EIO : ENOMEM, path, "try again",
			       "cannot be read");
}

/* Segments that take a class which the new model no longer has would be empty from then on. */
static int check_classes(const struct control *control, const struct model *model, const char *name)
{
	const struct policy *policy = control->policy;

	for (size_t i = 0; i < policy->segments_count; i++) {
		const struct segment *segment = &policy->segments[i];
		char object[NAME_SIZE + 16];

		if (segment->kind != SEGMENT_MODEL || strcmp(segment->model.name, name) ||
		    model_class(model, segment->model.class_name) >= 0)
			continue;
		snprintf(object, sizeof(object), "segments/%s", segment->name);
		return errors_add(control->errors, NULL, object,
				  "apply a file whose segments take its classes first",
				  "takes class `%s`, which the new model `%s` has not",
				  segment->model.class_name, name);
	}
	return 0;
}

static json_t *summary(const struct model *model)
{
	json_t *classes = json_array();
	char digest[17];

	for (size_t i = 0; i < model->classes_count; i++)
		json_array_append_new(classes, json_string(model->classes[i]));
	return json_pack(
		"{s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "digest", digest_text(model, digest),
		"classes", classes, "features", (json_int_t)model->features_count, "trees",
		(json_int_t)model->forest.trees_count, "depth", (json_int_t)model->forest.depth,
		"nodes", (json_int_t)model->forest.nodes_count, "vectors",
		(json_int_t)model->vectors_count);
}

/* Stores the model; *@before is the summary of the one that it replaces, or null. */
static int replace(struct control *control, const char *name, const char *text,
		   const struct model *model, json_t **before)
{
	struct stored_model stored;
	int error = store_model(control->store, name, &stored, control->errors);

	*before = NULL;
	if (error && error != -ENOENT)
		return error;
	if (!error) {
		struct model *old = NULL;

		/* One of another version cannot be summed up, but can be replaced. */
		if (!model_parse(stored.json, strlen(stored.json), name, &old, NULL))
			*before = summary(old);
		model_free(old);
		stored_model_release(&stored);
	}
	error = store_set_model(control->store, name, text, control->errors);
	return error ? error
		     : cli_audit(control, NULL,
				 json_pack("{s:s, s:O?}", "model", name, "is", *before),
				 json_pack("{s:s, s:o}", "model", name, "is", summary(model)));
}

static void print_import(struct cli *cli, const struct model *model, const char *name,
			 const json_t *before)
{
	json_t *document = summary(model);

	cli_say(cli,
		"%s: imported: %zu classes, %zu features, %u trees; all %zu test vectors agree%s",
		name, model->classes_count, model->features_count, model->forest.trees_count,
		model->vectors_count, before ? "; it replaces another" : "");
	json_object_set_new(document, "cmd", json_string("model import"));
	json_object_set_new(document, "model", json_string(name));
	json_object_set_new(document, "replaced", json_boolean(before != NULL));
	if (cli->json)
		cli_print_json(cli, document);
	else
		json_decref(document);
}

static int import(struct cli *cli, const char *text, const struct model *model)
{
	const char *name = cli->words[0];
	struct control *control = NULL;
	json_t *before = NULL;
	int error = cli_open_write(cli, &control);

	if (!error)
		error = model_check_columns(control->store, model, cli->words[1], cli->errors);
	if (!error)
		error = check_classes(control, model, name);
	if (!error)
		error = replace(control, name, text, model, &before);
	if (!error)
		error = control_publish(control);
	if (!error)
		print_import(cli, model, name, before);
	json_decref(before);
	control_close(control);
	return error;
}

int command_model_import(struct cli *cli)
{
	struct model *model = NULL;
	char *text = NULL;
	size_t length = 0;
	int error;

	if (!text_is_name(cli->words[0]))
		return cli_usage(cli, "model", "use a-z, 0-9, - and _, at most 63 of them",
				 "`%s` is no name", cli->words[0]);
	error = read_file(cli, cli->words[1], &text, &length);
	if (!error)
		error = model_parse(text, length, cli->words[1], &model, cli->errors);
	if (!error)
		error = import(cli, text, model);
	model_free(model);
	free(text);
	return error;
}

/* ---- list ---- */

static int add_to_list(const struct control *control, const char *name, json_t *list)
{
	struct model *model = NULL;
	json_t *entry;
	int error = model_load(control->store, name, &model, control->errors);

	if (error)
		return error;
	entry = summary(model);
	json_object_set_new(entry, "model", json_string(name));
	json_object_set_new(entry, "time", json_time(model->time_ns));
	json_object_set_new(entry, "by", json_text(model->by));
	json_object_set_new(entry, "segments", users_of(control->policy, name));
	json_array_append_new(list, entry);
	model_free(model);
	return 0;
}

/* The elements, with a comma between them, as one malloc()ed text. */
static char *joined(const json_t *list)
{
	const json_t *element;
	size_t i, size = 0;
	char *text = NULL;
	FILE *stream = open_memstream(&text, &size);

	if (!stream)
		return NULL;
	json_array_foreach(list, i, element)
		fprintf(stream, "%s%s", i ? ", " : "", json_string_value(element));
	fclose(stream);
	return text;
}

static void say_list(const struct cli *cli, const json_t *list)
{
	static const char *const headers[] = {"MODEL", "CLASSES", "FEATURES", "TREES",
					      "DEPTH", "DIGEST",  "SEGMENTS", NULL};
	const json_t *entry;
	struct table table;
	size_t i;

	table_begin(&table, headers);
	json_array_foreach(list, i, entry)
	{
		char *classes = joined(json_object_get(entry, "classes"));
		char *segments = joined(json_object_get(entry, "segments"));

		table_cell(&table, "%s", json_string_value(json_object_get(entry, "model")));
		table_cell(&table, "%s", classes ? classes : "");
		for (size_t j = 2; j < 5; j++) {
			static const char *const keys[] = {"features", "trees", "depth"};

			table_cell(&table, "%" JSON_INTEGER_FORMAT,
				   json_integer_value(json_object_get(entry, keys[j - 2])));
		}
		table_cell(&table, "%s", json_string_value(json_object_get(entry, "digest")));
		table_cell(&table, "%s", segments && *segments ? segments : "-");
		free(classes);
		free(segments);
	}
	table_end(cli, &table);
}

int command_model_list(struct cli *cli)
{
	struct stored_model *models = NULL;
	struct control *control = NULL;
	json_t *list = json_array();
	size_t count = 0;
	int error = cli_open(cli, &control);

	if (!error && control->store)
		error = store_models(control->store, &models, &count, cli->errors);
	for (size_t i = 0; i < count && !error; i++)
		error = add_to_list(control, models[i].name, list);
	if (!error && cli->json)
		cli_print_json(cli, json_pack("{s:s, s:O}", "cmd", "model list", "models", list));
	else if (!error)
		say_list(cli, list);
	json_decref(list);
	stored_models_release(models, count);
	control_close(control);
	return error;
}

/* ---- show ---- */

static json_t *features_to_json(const struct model *model)
{
	json_t *list = json_array();

	for (size_t i = 0; i < model->features_count; i++) {
		const struct model_feature *feature = &model->features[i];
		json_t *edges = json_array(), *counts = json_array();

		for (size_t j = 0; j < feature->edges_count; j++)
			json_array_append_new(edges, json_integer(feature->edges[j]));
		for (size_t j = 0; j <= feature->edges_count; j++)
			json_array_append_new(counts, json_integer((json_int_t)feature->counts[j]));
		json_array_append_new(
			list, json_pack("{s:s, s:s, s:o, s:i, s:I, s:f, s:{s:o, s:o}}", "feature",
					feature->label, "column", feature->name, "equals",
					json_text(feature->equals), "scale_log2",
					feature->scale_log2, "fill", (json_int_t)feature->fill,
					"importance", feature->importance, "deciles", "edges",
					edges, "counts", counts));
	}
	return list;
}

static void say_model(const struct cli *cli, const struct model *model)
{
	static const char *const headers[] = {"FEATURE", "SCALE", "NULL IS", "IMPORTANCE", NULL};
	char time[TEXT_VALUE_SIZE], digest[17];
	const json_t *value;
	struct table table;
	const char *key;

	printf("%s  digest %s\n", model->name, digest_text(model, digest));
	printf("  imported %s by %s\n  classes:", cli_time(model->time_ns, time), model->by);
	for (size_t i = 0; i < model->classes_count; i++)
		printf("%s %s", i ? "," : "", model->classes[i]);
	printf("\n  %u trees, depth %u, %zu nodes, %zu test vectors\n", model->forest.trees_count,
	       model->forest.depth, model->forest.nodes_count, model->vectors_count);
	json_object_foreach(model->training, key, value)
	{
		char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

		if (!json_is_object(value) && !json_is_array(value))
			printf("  %s: %s\n", key, text ? text : "");
		free(text);
	}
	table_begin(&table, headers);
	for (size_t i = 0; i < model->features_count; i++) {
		table_cell(&table, "%s", model->features[i].label);
		table_cell(&table, "2^%d", model->features[i].scale_log2);
		table_cell(&table, "%" PRId64, model->features[i].fill);
		table_cell(&table, "%.4f", model->features[i].importance);
	}
	table_end(cli, &table);
}

int command_model_show(struct cli *cli)
{
	struct control *control = NULL;
	struct model *model = NULL;
	json_t *document;
	int error = open_model(cli, &control, &model);

	if (!error && cli->json) {
		document = summary(model);
		json_object_set_new(document, "cmd", json_string("model show"));
		json_object_set_new(document, "model", json_string(model->name));
		json_object_set_new(document, "time", json_time(model->time_ns));
		json_object_set_new(document, "by", json_text(model->by));
		json_object_set_new(document, "segments", users_of(control->policy, model->name));
		json_object_set_new(document, "features", features_to_json(model));
		json_object_set(document, "training", model->training);
		cli_print_json(cli, document);
	} else if (!error) {
		say_model(cli, model);
	}
	model_free(model);
	control_close(control);
	return error;
}

/* ---- remove ---- */

static int refuse_used(struct cli *cli, const json_t *users)
{
	char *text = joined(users), object[NAME_SIZE + 16];

	snprintf(object, sizeof(object), "models/%s", cli->words[0]);
	errors_add_code(cli->errors, EBUSY, object, "apply a file without them first",
			"segments use it: %s", text ? text : "");
	free(text);
	return -EBUSY;
}

static int remove_model(struct cli *cli, struct control *control)
{
	json_t *users = users_of(control->policy, cli->words[0]), *before;
	struct model *model = NULL;
	int error = model_load(control->store, cli->words[0], &model, cli->errors);

	if (!error && json_array_size(users))
		error = refuse_used(cli, users);
	if (!error)
		error = store_drop_model(control->store, cli->words[0], cli->errors);
	if (!error) {
		before = json_pack("{s:s, s:o}", "model", model->name, "is", summary(model));
		error = cli_audit(control, NULL, before,
				  json_pack("{s:s, s:n}", "model", model->name, "is"));
	}
	if (!error)
		error = control_publish(control);
	json_decref(users);
	model_free(model);
	return error;
}

int command_model_remove(struct cli *cli)
{
	struct control *control = NULL;
	int error = cli_open_write(cli, &control);

	if (!error)
		error = remove_model(cli, control);
	if (!error) {
		cli_say(cli, "%s: removed", cli->words[0]);
		if (cli->json)
			cli_print_json(cli, json_pack("{s:s, s:s}", "cmd", "model remove", "model",
						      cli->words[0]));
	}
	control_close(control);
	return error;
}
