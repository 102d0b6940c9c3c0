// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model's JSON (model.h has its keys), checked whole before anything of it is used: what comes
 * out can be walked without a further check. Last of all its test vectors are replayed, so a file
 * whose trees, thresholds or leaves were damaged in a way that is still well-formed is refused too.
 */
#include "segment/model.h"

#include "util/siphash.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN	     "export it again with scripts/train.py"
#define LEAF_SUM_OFF 1e-6 /* how far from 1 the probabilities of a leaf may add up to */
#define QUOTED	     60	  /* bytes of a value that an error quotes */

struct reader {
	const char *file;
	struct errors *errors;
	struct model *model;
};

/* ---- errors ---- */

struct path {
	char text[128];
};

__attribute__((format(printf, 1, 2))) static struct path at(const char *format, ...)
{
	struct path path;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(path.text, sizeof(path.text), format, arguments);
	va_end(arguments);
	return path;
}

__attribute__((format(printf, 4, 5))) static int
refuse(const struct reader *reader, struct path path, const char *hint, const char *format, ...)
{
	struct position where = {.file = reader->file};
	char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	errors_add(reader->errors, &where, path.text, hint, "%s", text ? text : "is wrong");
	free(text);
	return -EINVAL;
}

static int refuse_memory(const struct reader *reader)
{
	return errors_add_code(reader->errors, ENOMEM, reader->file, "free some memory",
			       "there is no memory for the model");
}

/* The value as it stands in the file, or its beginning. Returns @out. */
static const char *quote(const json_t *value, char out[QUOTED + 8])
{
	char *text = value ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

	snprintf(out, QUOTED + 8, "%.*s%s", QUOTED, text ? text : "missing",
		 text && strlen(text) > QUOTED ? "..." : "");
	free(text);
	return out;
}

static int refuse_value(const struct reader *reader, struct path path, const json_t *value,
			const char *wanted)
{
	char text[QUOTED + 8];

	return refuse(reader, path, AGAIN, "%s is no %s", quote(value, text), wanted);
}

/* ---- values ---- */

/* Exactly the @keys, which end with NULL. */
static int check_keys(const struct reader *reader, json_t *object, struct path path,
		      const char *const *keys)
{
	const char *key;
	json_t *value;
	size_t count = 0;

	if (!json_is_object(object))
		return refuse_value(reader, path, object, "object");
	for (; keys[count]; count++)
		if (!json_object_get(object, keys[count]))
			return refuse(reader, path, AGAIN, "`%s` is missing", keys[count]);
	json_object_foreach(object, key, value)
	{
		size_t i = 0;

		while (i < count && strcmp(key, keys[i]))
			i++;
		if (i == count)
			return refuse(reader, path, "take it out, or " AGAIN, "unknown key `%s`",
				      key);
	}
	return 0;
}

static int read_integer(const struct reader *reader, const json_t *value, struct path path,
			int64_t minimum, int64_t maximum, int64_t *out)
{
	if (!json_is_integer(value))
		return refuse_value(reader, path, value, "integer");
	*out = json_integer_value(value);
	if (*out < minimum || *out > maximum)
		return refuse(reader, path, AGAIN, "%lld is not between %lld and %lld",
			      (long long)*out, (long long)minimum, (long long)maximum);
	return 0;
}

static int read_text(const struct reader *reader, const json_t *value, struct path path,
		     size_t longest, char **out)
{
	if (!json_is_string(value) || !json_string_length(value))
		return refuse_value(reader, path, value, "text");
	if (json_string_length(value) > longest)
		return refuse(reader, path, "choose a shorter one", "is longer than %zu bytes",
			      longest);
	*out = strdup(json_string_value(value));
	return *out ? 0 : refuse_memory(reader);
}

static int check_array(const struct reader *reader, const json_t *array, struct path path,
		       size_t fewest, size_t most)
{
	if (!json_is_array(array))
		return refuse_value(reader, path, array, "list");
	if (json_array_size(array) < fewest || json_array_size(array) > most)
		return refuse(reader, path, AGAIN, "has %zu elements: %zu to %zu are possible",
			      json_array_size(array), fewest, most);
	return 0;
}

/* ---- classes and features ---- */

static int read_classes(const struct reader *reader, const json_t *list)
{
	struct model *model = reader->model;
	int error = check_array(reader, list, at("classes"), 2, FOREST_CLASSES_MAX);

	if (error)
		return error;
	model->classes = calloc(json_array_size(list), sizeof(*model->classes));
	if (!model->classes)
		return refuse_memory(reader);
	for (size_t i = 0; i < json_array_size(list); i++) {
		error = read_text(reader, json_array_get(list, i), at("classes[%zu]", i),
				  MODEL_CLASS_SIZE_MAX, &model->classes[i]);
		if (error)
			return error;
		if (model_class(model, model->classes[i]) >= 0)
			error = refuse(reader, at("classes[%zu]", i), AGAIN, "`%s` stands twice",
				       model->classes[i]);
		model->classes_count++;
		if (error)
			return error;
	}
	return 0;
}

static int read_counts(const struct reader *reader, size_t index, const json_t *list)
{
	struct model_feature *feature = &reader->model->features[index];
	uint64_t sum = 0;
	int64_t count;
	int error = check_array(reader, list, at("features[%zu].deciles.counts", index),
				feature->edges_count + 1, feature->edges_count + 1);

	for (size_t i = 0; !error && i <= feature->edges_count; i++) {
		error = read_integer(reader, json_array_get(list, i),
				     at("features[%zu].deciles.counts[%zu]", index, i), 0,
				     FOREST_VALUE_MAX, &count);
		feature->counts[i] = error ? 0 : count;
		sum += feature->counts[i];
	}
	if (!error && !sum)
		error = refuse(reader, at("features[%zu].deciles.counts", index), AGAIN,
			       "nothing was counted");
	return error;
}

static int read_deciles(const struct reader *reader, size_t index, json_t *deciles)
{
	static const char *const keys[] = {"edges", "counts", NULL};
	struct model_feature *feature = &reader->model->features[index];
	struct path path = at("features[%zu].deciles", index);
	const json_t *edges = json_object_get(deciles, "edges");
	int error = check_keys(reader, deciles, path, keys);

	if (!error)
		error = check_array(reader, edges, at("%s.edges", path.text), 0, MODEL_EDGES_MAX);
	if (error)
		return error;
	feature->edges_count = json_array_size(edges);
	feature->edges = calloc(feature->edges_count + 1, sizeof(*feature->edges));
	feature->counts = calloc(feature->edges_count + 1, sizeof(*feature->counts));
	if (!feature->edges || !feature->counts)
		return refuse_memory(reader);
	for (size_t i = 0; i < feature->edges_count && !error; i++) {
		error = read_integer(reader, json_array_get(edges, i),
				     at("%s.edges[%zu]", path.text, i), -FOREST_VALUE_MAX,
				     FOREST_VALUE_MAX, &feature->edges[i]);
		if (!error && i && feature->edges[i] <= feature->edges[i - 1])
			error = refuse(reader, at("%s.edges[%zu]", path.text, i), AGAIN,
				       "the edges do not ascend");
	}
	return error ? error : read_counts(reader, index, json_object_get(deciles, "counts"));
}

/* The column's place among those of the features before it, or a new one. */
static uint32_t column_of(struct model *model, const char *name)
{
	for (size_t i = 0; i < model->columns_count; i++)
		if (!strcmp(model->columns[i], name))
			return i;
	model->columns[model->columns_count] = name;
	return model->columns_count++;
}

static int name_feature(const struct reader *reader, size_t index, const json_t *equals)
{
	struct model_feature *feature = &reader->model->features[index];
	int error = 0;

	if (!json_is_null(equals))
		error = read_text(reader, equals, at("features[%zu].equals", index),
				  MODEL_CLASS_SIZE_MAX, &feature->equals);
	if (error)
		return error;
	if (asprintf(&feature->label, "%s%s%s", feature->name, feature->equals ? "=" : "",
		     feature->equals ? feature->equals : "") < 0)
		feature->label = NULL;
	if (!feature->label)
		return refuse_memory(reader);
	feature->column = column_of(reader->model, feature->name);
	for (size_t i = 0; i < index; i++)
		if (!strcmp(reader->model->features[i].label, feature->label))
			return refuse(reader, at("features[%zu]", index), AGAIN,
				      "`%s` stands twice", feature->label);
	return 0;
}

static int read_feature(const struct reader *reader, size_t index, json_t *object)
{
	static const char *const keys[] = {"name",	 "equals",  "scale_log2", "fill",
					   "importance", "deciles", NULL};
	struct model_feature *feature = &reader->model->features[index];
	const json_t *importance = json_object_get(object, "importance");
	int64_t scale = 0;
	int error = check_keys(reader, object, at("features[%zu]", index), keys);

	if (!error)
		error = read_text(reader, json_object_get(object, "name"),
				  at("features[%zu].name", index), MODEL_CLASS_SIZE_MAX,
				  &feature->name);
	if (!error)
		error = name_feature(reader, index, json_object_get(object, "equals"));
	if (!error)
		error = read_integer(reader, json_object_get(object, "scale_log2"),
				     at("features[%zu].scale_log2", index),
				     feature->equals ? 0 : -MODEL_SCALE_MAX,
				     feature->equals ? 0 : MODEL_SCALE_MAX, &scale);
	feature->scale_log2 = (int)scale;
	if (!error)
		error = read_integer(reader, json_object_get(object, "fill"),
				     at("features[%zu].fill", index), -FOREST_VALUE_MAX,
				     FOREST_VALUE_MAX, &feature->fill);
	if (!error && !json_is_number(importance))
		error = refuse_value(reader, at("features[%zu].importance", index), importance,
				     "number");
	feature->importance = json_number_value(importance);
	return error ? error : read_deciles(reader, index, json_object_get(object, "deciles"));
}

static int read_features(const struct reader *reader, const json_t *list)
{
	struct model *model = reader->model;
	int error = check_array(reader, list, at("features"), 1, FOREST_FEATURES_MAX);
	size_t count = json_array_size(list);

	if (error)
		return error;
	model->features = calloc(count, sizeof(*model->features));
	model->columns = calloc(count, sizeof(*model->columns));
	if (!model->features || !model->columns)
		return refuse_memory(reader);
	model->features_count = count;
	for (size_t i = 0; i < count && !error; i++)
		error = read_feature(reader, i, json_array_get(list, i));
	return error;
}

/* ---- the forest ---- */

static int read_leaf(const struct reader *reader, size_t index, const json_t *list)
{
	size_t classes = reader->model->classes_count;
	double *leaf = &reader->model->forest.leaves[index * classes], sum = 0;
	int error = check_array(reader, list, at("leaves[%zu]", index), classes, classes);

	if (error)
		return error;
	for (size_t i = 0; i < classes; i++) {
		const json_t *value = json_array_get(list, i);

		leaf[i] = json_number_value(value);
		if (!json_is_number(value) || !(leaf[i] >= 0 && leaf[i] <= 1))
			return refuse_value(reader, at("leaves[%zu][%zu]", index, i), value,
					    "probability");
		sum += leaf[i];
	}
	if (!(sum > 1 - LEAF_SUM_OFF && sum < 1 + LEAF_SUM_OFF))
		return refuse(reader, at("leaves[%zu]", index), AGAIN,
			      "its probabilities add up to %g, not 1", sum);
	return 0;
}

static int read_leaves(const struct reader *reader, const json_t *list)
{
	struct forest *forest = &reader->model->forest;
	int error = check_array(reader, list, at("leaves"), 1, FOREST_LEAVES_MAX);
	size_t count = json_array_size(list);

	if (error)
		return error;
	forest->features_count = reader->model->features_count;
	forest->classes_count = reader->model->classes_count;
	forest->leaves = calloc(count * forest->classes_count, sizeof(*forest->leaves));
	if (!forest->leaves)
		return refuse_memory(reader);
	forest->leaves_count = count;
	for (size_t i = 0; i < count && !error; i++)
		error = read_leaf(reader, i, json_array_get(list, i));
	return error;
}

enum field { FEATURE, THRESHOLD, LEFT, RIGHT, LEAF, FIELDS };
static const char *const field_names[FIELDS + 1] = {"feature", "threshold", "left",
						    "right",   "leaf",	    NULL};

/* A tree as it is read: its arrays in the file, and in memory. */
struct tree {
	size_t index, count;
	const json_t *lists[FIELDS];
	int32_t *small[FIELDS]; /* but thresholds */
	int64_t *thresholds;
};

static int read_field(const struct reader *reader, struct tree *tree, size_t node, enum field field)
{
	const json_t *value = json_array_get(tree->lists[field], node);
	const size_t limits[FIELDS] = {
		[FEATURE] = reader->model->features_count,
		[LEFT] = tree->count,
		[RIGHT] = tree->count,
		[LEAF] = reader->model->forest.leaves_count,
	};
	int64_t minimum = field == THRESHOLD ? -FOREST_VALUE_MAX : 0;
	int64_t maximum = field == THRESHOLD ? FOREST_VALUE_MAX : (int64_t)limits[field] - 1;
	int64_t number = json_integer_value(value);

	if (!json_is_integer(value) || number < minimum || number > maximum)
		return read_integer(reader, value,
				    at("trees[%zu].%s[%zu]", tree->index, field_names[field], node),
				    minimum, maximum, &number);
	if (field == THRESHOLD)
		tree->thresholds[node] = number;
	else
		tree->small[field][node] = (int32_t)number;
	return 0;
}

static int read_node(const struct reader *reader, struct tree *tree, size_t node)
{
	bool is_leaf = !json_is_null(json_array_get(tree->lists[LEAF], node));
	int error = 0;

	for (int i = 0; i < LEAF; i++)
		if (tree->small[i])
			tree->small[i][node] = -1;
	if (!is_leaf) {
		for (int i = 0; i < LEAF && !error; i++)
			error = read_field(reader, tree, node, i);
		return error;
	}
	for (int i = 0; i < LEAF; i++)
		if (!json_is_null(json_array_get(tree->lists[i], node)))
			return refuse(reader,
				      at("trees[%zu].%s[%zu]", tree->index, field_names[i], node),
				      AGAIN, "a node with a `leaf` has nothing else");
	return read_field(reader, tree, node, LEAF);
}

static int refuse_flaw(const struct reader *reader, const struct tree *tree, enum forest_flaw flaw,
		       size_t node)
{
	static const char *const texts[] = {
		[FOREST_CYCLE] = "leads back to itself or to a node above it: the tree has a cycle",
		[FOREST_SECOND_PARENT] = "has a child that is another node's child too",
		[FOREST_UNREACHABLE] = "is not reached from the root",
	};
	struct path path = at("trees[%zu] node %zu", tree->index, node);

	if (flaw == FOREST_NO_MEMORY)
		return refuse_memory(reader);
	if (flaw == FOREST_TOO_DEEP)
		return refuse(reader, path, "train with --depth 16 or less",
			      "is more than %d levels below the root", FOREST_DEPTH_MAX);
	return refuse(reader, path, AGAIN, "%s", texts[flaw]);
}

static int add_tree(const struct reader *reader, struct tree *tree)
{
	const struct forest_tree arrays = {
		.count = tree->count,
		.features = tree->small[FEATURE],
		.thresholds = tree->thresholds,
		.left = tree->small[LEFT],
		.right = tree->small[RIGHT],
		.leaves = tree->small[LEAF],
	};
	enum forest_flaw flaw;
	size_t node;

	for (node = 0; node < tree->count; node++) {
		int error = read_node(reader, tree, node);

		if (error)
			return error;
	}
	flaw = forest_add(&reader->model->forest, &arrays, &node);
	return flaw ? refuse_flaw(reader, tree, flaw, node) : 0;
}

static int read_tree(const struct reader *reader, size_t index, json_t *object)
{
	struct tree tree = {.index = index};
	int error = check_keys(reader, object, at("trees[%zu]", index), field_names);

	tree.count = json_array_size(json_object_get(object, "leaf"));
	for (int i = 0; i < FIELDS && !error; i++) {
		tree.lists[i] = json_object_get(object, field_names[i]);
		error = check_array(reader, tree.lists[i],
				    at("trees[%zu].%s", index, field_names[i]), 1,
				    FOREST_TREE_NODES_MAX);
		if (!error && json_array_size(tree.lists[i]) != tree.count)
			error = refuse(reader, at("trees[%zu].%s", index, field_names[i]), AGAIN,
				       "has %zu elements, `leaf` has %zu",
				       json_array_size(tree.lists[i]), tree.count);
	}
	if (error)
		return error;
	tree.thresholds = calloc(tree.count, sizeof(*tree.thresholds));
	for (int i = 0; i < FIELDS; i++)
		if (i != THRESHOLD)
			tree.small[i] = calloc(tree.count, sizeof(*tree.small[i]));
	if (tree.thresholds && tree.small[FEATURE] && tree.small[LEFT] && tree.small[RIGHT] &&
	    tree.small[LEAF])
		error = add_tree(reader, &tree);
	else
		error = refuse_memory(reader);
	for (int i = 0; i < FIELDS; i++)
		free(tree.small[i]);
	free(tree.thresholds);
	return error;
}

static int read_trees(const struct reader *reader, const json_t *list)
{
	int error = check_array(reader, list, at("trees"), 1, FOREST_TREES_MAX);

	for (size_t i = 0; !error && i < json_array_size(list); i++)
		error = read_tree(reader, i, json_array_get(list, i));
	return error;
}

/* ---- test vectors ---- */

static int read_vector(const struct reader *reader, size_t index, json_t *object, int64_t *features)
{
	static const char *const keys[] = {"features", "class", "score", NULL};
	const json_t *list = json_object_get(object, "features");
	const json_t *class = json_object_get(object, "class");
	size_t count = reader->model->features_count;
	struct path path = at("vectors[%zu]", index);
	int error = check_keys(reader, object, path, keys);

	if (!error)
		error = check_array(reader, list, at("%s.features", path.text), count, count);
	for (size_t i = 0; i < count && !error; i++)
		error = read_integer(reader, json_array_get(list, i),
				     at("%s.features[%zu]", path.text, i), -FOREST_VALUE_MAX,
				     FOREST_VALUE_MAX, &features[i]);
	if (error)
		return error;
	if (!json_is_string(class) || model_class(reader->model, json_string_value(class)) < 0)
		return refuse_value(reader, at("%s.class", path.text), class,
				    "class of this model");
	if (!json_is_number(json_object_get(object, "score")))
		return refuse_value(reader, at("%s.score", path.text),
				    json_object_get(object, "score"), "number");
	return 0;
}

static int refuse_vector(const struct reader *reader, size_t index, const json_t *object,
			 uint32_t class_index, double score)
{
	char features[QUOTED + 8];

	return refuse(reader, at("vectors[%zu]", index), AGAIN,
		      "features %s are expected to be class `%s` with score %.17g, but the trees "
		      "say `%s` with score %.17g",
		      quote(json_object_get(object, "features"), features),
		      json_string_value(json_object_get(object, "class")),
		      json_number_value(json_object_get(object, "score")),
		      reader->model->classes[class_index], score);
}

/* All must agree; the first that does not is named. */
static int replay(const struct reader *reader, const json_t *list)
{
	struct model *model = reader->model;
	int64_t features[FOREST_FEATURES_MAX];
	double mean[FOREST_CLASSES_MAX];
	int error = check_array(reader, list, at("vectors"), 1, MODEL_VECTORS_MAX);

	for (size_t i = 0; !error && i < json_array_size(list); i++) {
		json_t *object = json_array_get(list, i);
		uint32_t class_index;
		double score;

		error = read_vector(reader, i, object, features);
		if (error)
			break;
		forest_classify(&model->forest, features, 1, mean, &class_index);
		score = mean[model->classes_count - 1];
		if (strcmp(json_string_value(json_object_get(object, "class")),
			   model->classes[class_index]) ||
		    json_number_value(json_object_get(object, "score")) != score)
			error = refuse_vector(reader, i, object, class_index, score);
	}
	model->vectors_count = json_array_size(list);
	return error;
}

/* ---- the whole ---- */

static int check_format(const struct reader *reader, json_t *root)
{
	static const char *const keys[] = {"format", "version", "training", "classes", "features",
					   "leaves", "trees",	"vectors",  NULL};
	const char *format = json_string_value(json_object_get(root, "format"));
	const json_t *version = json_object_get(root, "version");
	char text[QUOTED + 8];

	if (!format || strcmp(format, MODEL_FORMAT))
		return refuse(reader, at("format"), "give what scripts/train.py writes",
			      "this is no model: `format` is not \"" MODEL_FORMAT "\"");
	if (!json_is_integer(version) || json_integer_value(version) != MODEL_VERSION)
		return refuse(reader, at("version"), "use scripts/train.py of this version",
			      "version %s is not known, only %d", quote(version, text),
			      MODEL_VERSION);
	return check_keys(reader, root, at("model"), keys);
}

static int read_root(const struct reader *reader, json_t *root)
{
	json_t *training = json_object_get(root, "training");
	int error = check_format(reader, root);

	if (!error && !json_is_object(training))
		error = refuse_value(reader, at("training"), training, "object");
	if (!error) {
		reader->model->training = json_incref(training);
		error = read_classes(reader, json_object_get(root, "classes"));
	}
	if (!error)
		error = read_features(reader, json_object_get(root, "features"));
	if (!error)
		error = read_leaves(reader, json_object_get(root, "leaves"));
	if (!error)
		error = read_trees(reader, json_object_get(root, "trees"));
	return error ? error : replay(reader, json_object_get(root, "vectors"));
}

static json_t *load(const char *text, size_t length, const char *file, struct errors *errors)
{
	struct position where = {.file = file};
	json_error_t trouble;
	json_t *root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &trouble);

	if (root)
		return root;
	where.line = trouble.line > 0 ? trouble.line : 1;
	where.column = trouble.column > 0 ? trouble.column : 1;
	errors_add(errors, &where, "model", AGAIN, "it is no JSON: %s", trouble.text);
	return NULL;
}

int model_parse(const char *text, size_t length, const char *file, struct model **out,
		struct errors *errors)
{
	struct reader reader = {file, errors, calloc(1, sizeof(*reader.model))};
	json_t *root;
	int error;

	if (!reader.model)
		return refuse_memory(&reader);
	reader.model->digest = siphash13((struct siphash_key){0}, text, length);
	root = load(text, length, file, errors);
	error = root ? read_root(&reader, root) : -EINVAL;
	json_decref(root);
	if (error)
		model_free(reader.model);
	else
		*out = reader.model;
	return error;
}
