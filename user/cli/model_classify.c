// SPDX-License-Identifier: GPL-2.0-only
/* model classify, model drift: what a model says of the catalogue's clients. */
#include "cli/model.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- classify ---- */

struct classifying {
	struct cli *cli;
	const struct model *model;
	FILE *out;
	uint64_t clients, unknown;
	uint64_t *counts; /* by class */
};

/* As RFC 4180 quotes. */
static void print_csv_text(FILE *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

/* Digits that are read back as the same double, and as few as their zeros at the end allow. */
static void print_score(FILE *out, double score)
{
	char text[32];

	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, score);
		if (strtod(text, NULL) == score)
			break;
	}
	fputs(text, out);
}

static int print_row(const struct member *member, const struct model_verdict *verdict, void *data)
{
	struct classifying *classifying = data;
	const char *class = verdict ? classifying->model->classes[verdict->class_index] : NULL;
	struct prefix client = member_prefix(member);
	char text[ADDRESS_TEXT_SIZE];

	prefix_format(&client, text);
	classifying->clients++;
	if (verdict)
		classifying->counts[verdict->class_index]++;
	else
		classifying->unknown++;
	if (classifying->cli->json && classifying->out == stdout) {
		cli_print_json_line(classifying->cli,
				    json_pack("{s:s, s:o, s:o}", "client", text, "class",
					      json_text(class), "score",
					      class ? json_real(verdict->score) : json_null()));
		return 0;
	}
	fprintf(classifying->out, "%s,", text);
	print_csv_text(classifying->out, class ? class : "");
	fputc(',', classifying->out);
	if (class)
		print_score(classifying->out, verdict->score);
	fputc('\n', classifying->out);
	return 0;
}

static int classify(struct classifying *classifying, struct store *store)
{
	char object[NAME_SIZE + 16];
	const struct catalogue_query query = {
		.object = object,
		.columns = classifying->model->columns,
		.columns_count = classifying->model->columns_count,
	};
	int error;

	snprintf(object, sizeof(object), "models/%s", classifying->model->name);
	error = catalogue_check(store, &query, classifying->cli->errors);
	if (error)
		return error;
	if (!classifying->cli->json || classifying->out != stdout)
		fputs("client,class,score\n", classifying->out);
	return model_each(store, classifying->model, NULL, object, print_row, classifying,
			  classifying->cli->errors);
}

static void print_counts(const struct classifying *classifying, const char *path)
{
	const struct model *model = classifying->model;
	struct cli *cli = classifying->cli;
	json_t *classes = json_array();

	cli_say(cli, "%s: %" PRIu64 " clients in %s", model->name, classifying->clients, path);
	for (size_t i = 0; i < model->classes_count; i++) {
		cli_say(cli, "  %s: %" PRIu64, model->classes[i], classifying->counts[i]);
		json_array_append_new(classes,
				      json_pack("{s:s, s:I}", "class", model->classes[i], "clients",
						(json_int_t)classifying->counts[i]));
	}
	if (classifying->unknown)
		cli_say(cli, "  without a class, for want of every column: %" PRIu64,
			classifying->unknown);
	if (cli->json)
		cli_print_json(cli,
			       json_pack("{s:s, s:s, s:s, s:I, s:I, s:O}", "cmd", "model classify",
					 "model", model->name, "file", path, "clients",
					 (json_int_t)classifying->clients, "unclassified",
					 (json_int_t)classifying->unknown, "classes", classes));
	json_decref(classes);
}

/* The file takes its name when it is whole. */
static int classify_to_file(struct classifying *classifying, struct store *store, const char *path)
{
	char *part = NULL;
	int error, code;

	if (asprintf(&part, "%s.%d.part", path, getpid()) < 0)
		return -ENOMEM;
	classifying->out = fopen(part, "wxe");
	code = errno;
	error = classifying->out ? classify(classifying, store) : -code;
	if (classifying->out) {
		bool is_whole = !ferror(classifying->out);

		is_whole &= !fclose(classifying->out);
		code = errno;
		if (!error && is_whole && rename(part, path)) {
			is_whole = false;
			code = errno;
		}
		if (error || !is_whole)
			unlink(part);
		if (!error && !is_whole)
			error = -code;
	}
	if (error && !errors_count(classifying->cli->errors))
		errors_add_code(classifying->cli->errors, code, path,
				"give a file that can be written", "cannot be written: %s",
				strerror(code));
	if (!error)
		print_counts(classifying, path);
	free(part);
	return error;
}

int command_model_classify(struct cli *cli)
{
	const char *path = cli_flag(cli, "-o");
	struct classifying classifying = {.cli = cli, .out = stdout};
	struct control *control = NULL;
	struct model *model = NULL;
	int error = open_model(cli, &control, &model);

	if (!error) {
		classifying.model = model;
		classifying.counts = calloc(model->classes_count, sizeof(*classifying.counts));
		error = classifying.counts ? 0 : -ENOMEM;
	}
	if (!error)
		error = path ? classify_to_file(&classifying, control->store, path)
			     : classify(&classifying, control->store);
	free(classifying.counts);
	model_free(model);
	control_close(control);
	return error;
}

/* ---- drift ---- */

static json_t *drift_to_json(const char *name, const struct model_drift *drift)
{
	json_t *features = json_array();

	for (size_t i = 0; i < drift->count; i++) {
		const struct feature_drift *feature = &drift->features[i];

		json_array_append_new(
			features,
			json_pack("{s:s, s:o, s:s}", "feature", feature->label, "psi",
				  isnan(feature->psi) ? json_null() : json_real(feature->psi),
				  "verdict", drift_word(feature->psi)));
	}
	return json_pack("{s:s, s:s, s:I, s:o}", "cmd", "model drift", "model", name, "clients",
			 (json_int_t)drift->clients, "features", features);
}

static void say_drift(const struct cli *cli, const struct model_drift *drift)
{
	static const char *const headers[] = {"FEATURE", "PSI", "VERDICT", NULL};
	struct table table;

	cli_say(cli, "%s: %" PRIu64 " clients against those of the training", cli->words[0],
		drift->clients);
	table_begin(&table, headers);
	for (size_t i = 0; i < drift->count; i++) {
		table_cell(&table, "%s", drift->features[i].label);
		table_cell(&table, "%.4f", drift->features[i].psi);
		table_cell(&table, "%s", drift_word(drift->features[i].psi));
	}
	table_end(cli, &table);
}

int command_model_drift(struct cli *cli)
{
	struct control *control = NULL;
	struct model_drift drift;
	int error = cli_open(cli, &control);

	if (!error)
		error = model_drift(control->store, cli->words[0], &drift, cli->errors);
	if (!error) {
		if (cli->json)
			cli_print_json(cli, drift_to_json(cli->words[0], &drift));
		else
			say_drift(cli, &drift);
		model_drift_release(&drift);
	}
	control_close(control);
	return error;
}
