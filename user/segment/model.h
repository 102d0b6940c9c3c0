/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Models: what scripts/train.py writes and `model import` takes. A file is one JSON object:
 *
 *	format		"xdp-canary-model"
 *	version		1
 *	training	object, for people: any keys
 *	classes		[TEXT, ..]: 2 to FOREST_CLASSES_MAX
 *	features	[{name, equals, scale_log2, fill, importance, deciles: {edges, counts}}, ..]
 *	leaves		[[PROBABILITY of each class], ..]: distinct leaves
 *	trees		[{feature: [..], threshold: [..], left: [..], right: [..], leaf: [..]}, ..]:
 *			a node is one place in the five arrays, the root the first; a leaf has only
 *			`leaf`, an inner node all others; what a node has not is null
 *	vectors		[{features: [INTEGER, ..], class: TEXT, score: NUMBER}, ..]: 1 or more
 *
 * Every number but probabilities, importance and score is an integer. What a feature's integer is:
 *
 *	equals null	floor(value * 2^scale_log2), the value as a double, held within
 *			+-FOREST_VALUE_MAX; NULL, and what is no number: fill
 *	equals TEXT	1 where the column has that text, else 0; NULL: fill
 *
 * A power of two scales without rounding, so only floor() is left to agree on. A client who has
 * none of a model's columns has no class: nothing is known that it could be judged by.
 *
 * The score is the mean probability of the last class: predict_proba()[:, -1] bit for bit. Deciles
 * are of the training's integers: bin = number of edges below the value, one more bin than edges.
 */
#ifndef XDP_CANARY_MODEL_H
#define XDP_CANARY_MODEL_H

#include "catalogue/catalogue.h"
#include "segment/forest.h"

#include <jansson.h>

#define MODEL_FORMAT	     "xdp-canary-model"
#define MODEL_VERSION	     1
#define MODEL_SCALE_MAX	     64 /* scale_log2 is in [-this, this] */
#define MODEL_EDGES_MAX	     63
#define MODEL_VECTORS_MAX    100000
#define MODEL_CLASS_SIZE_MAX 256 /* bytes of a class's text */
#define MODEL_FILE_MAX	     (256u << 20)

struct model_feature {
	char *name;	 /* a column of the catalogue */
	char *equals;	 /* or NULL */
	char *label;	 /* "plan=enterprise", or the name: unique in the model */
	uint32_t column; /* index among the model's columns */
	int scale_log2;
	int64_t fill;
	double importance; /* for people */
	int64_t *edges;	   /* ascending */
	uint64_t *counts;  /* edges_count + 1 */
	size_t edges_count;
};

struct model {
	char name[NAME_SIZE];
	uint64_t time_ns; /* of its import; 0: of a file */
	char *by;
	uint64_t digest;  /* of the file's bytes: equal on boxes that have the same */
	json_t *training; /* an object */
	char **classes;
	size_t classes_count;
	struct model_feature *features;
	size_t features_count;
	const char **columns; /* distinct names, what catalogue_each() is to give */
	size_t columns_count;
	struct forest forest;
	size_t vectors_count;
};

/*
 * Reads and checks all of it, its test vectors too. @file names it in errors, which have the line
 * where it is no JSON, else the path in it ("trees[3].left[17]"). -EINVAL, -ENOMEM.
 */
int model_parse(const char *text, size_t length, const char *file, struct model **out,
		struct errors *errors);
void model_free(struct model *model); /* NULL is allowed */

/* -ENOENT with an error that names those that there are. */
int model_load(struct store *store, const char *name, struct model **out, struct errors *errors);
/* -ENOENT with an error where the catalogue lacks a column: names it and those that there are. */
int model_check_columns(struct store *store, const struct model *model, const char *file,
			struct errors *errors);

int model_class(const struct model *model, const char *text); /* its index, or -ENOENT */

struct model_verdict {
	uint32_t class_index;
	double score; /* 0 to 1 */
};

/* @values are of the model's columns. -ENODATA: the client has none of them, so no class. */
int model_classify(const struct model *model, const struct catalogue_value *values,
		   struct model_verdict *out);
/* The integers that are compared, features_count of them; the same errors. */
int model_features(const struct model *model, const struct catalogue_value *values, int64_t *out);
/*
 * The verdict on every row that @where (NULL: all) takes, in the order of the clients; NULL for one
 * without a class. What @each returns, if not 0, ends it and is returned. Errors, of @object, are
 * those of catalogue_each(). Several times faster than model_classify() of each row.
 */
int model_each(struct store *store, const struct model *model, const char *where,
	       const char *object,
	       int (*each)(const struct member *client, const struct model_verdict *verdict,
			   void *data),
	       void *data, struct errors *errors);

/*
 * "NAME.score", the feature that segments of bins may take: NAME into @name and true, else false.
 * A column of that very name goes first: ask whether there is one.
 */
bool model_score_of(const char *feature, char name[NAME_SIZE]);

/* ---- drift.c ---- */

/* PSI below calm is no drift, above drifted a new population. */
#define DRIFT_CALM    0.1
#define DRIFT_DRIFTED 0.25
#define DRIFT_FLOOR   1e-4 /* what an empty bin counts as */

struct model_drift {
	uint64_t clients; /* with a class */
	size_t count;	  /* of features */
	struct feature_drift {
		char *label;
		double psi; /* sum of (p - q) ln(p / q); NaN without clients */
	} * features;
};

/* Of the catalogue as it is now, against the training. Reads the whole catalogue once. */
int model_drift(struct store *store, const char *name, struct model_drift *out,
		struct errors *errors);
void model_drift_release(struct model_drift *drift);
const char *drift_word(double psi); /* "calm", "shifting", "drifted", "unknown" */
/* @actual and @expected counts of @bins bins. */
double population_stability_index(const uint64_t *actual, const uint64_t *expected, size_t bins);

#endif
