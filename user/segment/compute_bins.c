// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memberships from bins of a feature: the population is read once, its values make the edges, and
 * the clients of the bins that are taken are the members.
 */
#include "segment/compute_internal.h"

#include "segment/bins.h"
#include "segment/model.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#define OBJECT_SIZE (NAME_SIZE + 32)

/* Clients that have a value of the feature. */
struct population {
	struct draft *draft;
	struct model *model; /* whose score is the feature, or NULL */
	struct member *clients;
	double *values;
	size_t count, room;
};

static int population_grow(struct population *population)
{
	size_t room = population->room ? 2 * population->room : 256;
	struct member *clients =
		reallocarray(population->clients, room, sizeof(*population->clients));
	double *values;

	if (!clients)
		return draft_memory(population->draft);
	population->clients = clients;
	values = reallocarray(population->values, room, sizeof(*values));
	if (!values)
		return draft_memory(population->draft);
	population->values = values;
	population->room = room;
	return 0;
}

static int population_add(struct population *population, const struct member *client, double value)
{
	int error = population->count == population->room ? population_grow(population) : 0;

	if (error)
		return error;
	population->clients[population->count] = *client;
	population->values[population->count++] = value;
	return 0;
}

static int report_text(const struct population *population, const struct catalogue_row *row)
{
	const struct draft *draft = population->draft;
	struct prefix prefix = member_prefix(&row->client);
	char text[ADDRESS_TEXT_SIZE];

	return errors_add(draft->errors, NULL, draft->object,
			  "take a column of numbers, or leave such clients out by `where`",
			  "%s of client %s is no number: \"%.60s\"", draft->segment->bins.feature,
			  prefix_format(&prefix, text), row->values[0].text);
}

static int add_value(const struct catalogue_row *row, void *data)
{
	struct population *population = data;

	if (row->values[0].type == CATALOGUE_NULL)
		return 0;
	if (row->values[0].type == CATALOGUE_TEXT)
		return report_text(population, row);
	return population_add(population, &row->client, row->values[0].real);
}

static int add_score(const struct catalogue_row *row, void *data)
{
	struct population *population = data;
	struct model_verdict verdict;
	int error = model_classify(population->model, row->values, &verdict);

	if (error == -ENODATA)
		return 0;
	return error ? error : population_add(population, &row->client, verdict.score);
}

/* Whether the catalogue has a column of that very name, which goes before a model's score. */
static int has_column(struct draft *draft, const char *name, bool *found)
{
	char **names;
	size_t count;
	int error = catalogue_columns(draft->world->store, &names, &count, draft->errors);

	if (error)
		return error;
	*found = false;
	for (size_t i = 0; i < count; i++)
		*found |= !strcasecmp(names[i], name);
	catalogue_columns_release(names, count);
	return 0;
}

/* The clients of the population and their values. */
static int read_population(struct population *population)
{
	struct draft *draft = population->draft;
	const struct segment_bins *bins = &draft->segment->bins;
	const char *feature = bins->feature;
	char name[NAME_SIZE], object[OBJECT_SIZE];
	struct catalogue_query query = {.object = object, .where = bins->where};
	bool is_column = true;
	int error = 0;

	snprintf(object, sizeof(object), "%s/bins", draft->object);
	if (model_score_of(feature, name))
		error = has_column(draft, feature, &is_column);
	if (!error && !is_column)
		error = draft_model(draft, name, &population->model);
	if (error)
		return error;
	query.columns = is_column ? &feature : population->model->columns;
	query.columns_count = is_column ? 1 : population->model->columns_count;
	return catalogue_each(draft->world->store, &query, is_column ? add_value : add_score,
			      population, draft->errors);
}

static bool is_taken(const struct segment_bins *bins, uint32_t bin)
{
	for (size_t i = 0; i < bins->take_count; i++)
		if (bins->take[i] == bin)
			return true;
	return false;
}

static void describe_bins(struct draft *draft, const struct bin_edges *edges)
{
	const struct segment_bins *bins = &draft->segment->bins;
	json_t *list = json_array(), *values = json_array();

	for (size_t i = 0; edges->count && i <= edges->count; i++)
		json_array_append_new(values, json_real(bin_edge(edges, i)));
	for (size_t i = 0; i < edges->count; i++)
		json_array_append_new(list,
				      json_pack("{s:I, s:I, s:I, s:b}", "bin", (json_int_t)i,
						"clients", (json_int_t)edges->sizes[i], "share_ppm",
						share_ppm(edges->sizes[i], edges->values), "taken",
						is_taken(bins, i)));
	json_object_set_new(draft->detail, "population", json_integer((json_int_t)edges->values));
	json_object_set_new(draft->detail, "edges", values);
	json_object_set_new(draft->detail, "bins", list);
}

/* Equal quantiles are one edge: then bins that the definition takes may not be there. */
static void warn_of_absent_bins(struct draft *draft, const struct bin_edges *edges)
{
	const struct segment_bins *bins = &draft->segment->bins;

	for (size_t i = 0; i < bins->take_count; i++) {
		if (bins->take[i] < edges->count)
			continue;
		errors_warn(draft->errors, NULL, draft->object,
			    "look at `segment show`, and take bins that are there",
			    "there is no bin %u: equal quantiles leave %zu of %u bins",
			    bins->take[i], edges->count, bins->count);
		return;
	}
}

static int take_bins(struct population *population, const struct bin_edges *edges)
{
	const struct segment_bins *bins = &population->draft->segment->bins;
	int error = 0;

	for (size_t i = 0; i < population->count && !error; i++) {
		uint32_t bin = bin_of(edges, population->values[i]);

		if (bin != NO_BIN && is_taken(bins, bin))
			error = draft_add(population->draft, &population->clients[i]);
	}
	return error;
}

/* Before anything was observed or imported there is nobody in any bin. */
static int describe_nobody(struct draft *draft)
{
	errors_warn(draft->errors, NULL, draft->object,
		    "`segment materialise` it when there are some",
		    "no client of the population has a value of %s yet: nobody is in it",
		    draft->segment->bins.feature);
	json_object_set_new(draft->detail, "population", json_integer(0));
	json_object_set_new(draft->detail, "edges", json_array());
	json_object_set_new(draft->detail, "bins", json_array());
	return 0;
}

static int cut_population(struct population *population)
{
	struct draft *draft = population->draft;
	struct bin_edges edges;
	char object[OBJECT_SIZE];
	int error;

	if (!population->count)
		return describe_nobody(draft);
	snprintf(object, sizeof(object), "%s/bins", draft->object);
	error = bins_make(&draft->segment->bins, population->values, population->count, &edges,
			  object, draft->errors);
	if (error)
		return error;
	describe_bins(draft, &edges);
	warn_of_absent_bins(draft, &edges);
	error = take_bins(population, &edges);
	bin_edges_release(&edges);
	return error;
}

int compute_bins(struct draft *draft)
{
	struct population population = {.draft = draft};
	int error = read_population(&population);

	if (!error)
		error = cut_population(&population);
	model_free(population.model);
	free(population.clients);
	free(population.values);
	return error;
}
