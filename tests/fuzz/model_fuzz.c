// SPDX-License-Identifier: GPL-2.0-only
/*
 * Any bytes at all as a model. What is refused has errors; what is accepted answers any row, with
 * a class that it has and a score that is a probability, and the same again for the same file.
 * Every second change is one of the tree that the bytes mean, not of the bytes, to get behind the
 * first checks. Build with clang -fsanitize=fuzzer,address,undefined.
 */
#include "segment/model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most); /* of libFuzzer */

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

/* ---- changes of the tree ---- */

static unsigned int draw(unsigned int *seed, size_t bound)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 8) % bound;
}

static size_t count_values(const json_t *value)
{
	const char *key;
	json_t *element;
	size_t i, count = 1;

	json_array_foreach(value, i, element) count += count_values(element);
	json_object_foreach((json_t *)value, key, element) count += count_values(element);
	return count;
}

/* The value with the number *@index, in the order of the text. */
static json_t *find_value(json_t *value, size_t *index)
{
	const char *key;
	json_t *element, *found = NULL;
	size_t i;

	if (!(*index)--)
		return value;
	json_array_foreach(value, i, element) if (!found) found = find_value(element, index);
	json_object_foreach(value, key, element) if (!found) found = find_value(element, index);
	return found;
}

static json_t *any_value(json_t *root, unsigned int *seed)
{
	size_t index = draw(seed, count_values(root));

	return find_value(root, &index);
}

/* Up to two away, also over the end. */
static json_t *near_integer(const json_t *old, unsigned int *seed)
{
	return json_integer((json_int_t)((uint64_t)json_integer_value(old) + draw(seed, 5) - 2));
}

/* A new value in the place of @old: near it, or like one elsewhere in the tree. */
static json_t *other_value(json_t *root, const json_t *old, unsigned int *seed)
{
	static const json_int_t integers[] = {0, 1, -1, 16, 1LL << 53, INT64_MAX, INT64_MIN};

	if (json_is_integer(old) && draw(seed, 2))
		return near_integer(old, seed);
	switch (draw(seed, 4)) {
	case 0:
		return json_integer(integers[draw(seed, 7)]);
	case 1:
		return json_null();
	case 2:
		return json_real(draw(seed, 5) / 4.0);
	default:
		return json_deep_copy(any_value(root, seed));
	}
}

static void change_array(json_t *root, json_t *array, unsigned int *seed)
{
	size_t size = json_array_size(array), at = draw(seed, size + 1);

	if (at == size)
		json_array_append_new(array, other_value(root, NULL, seed));
	else if (!draw(seed, 3))
		json_array_remove(array, at);
	else
		json_array_set_new(array, at, other_value(root, json_array_get(array, at), seed));
}

static void change_object(json_t *root, json_t *object, unsigned int *seed)
{
	size_t at = draw(seed, json_object_size(object) + 1), i = 0;
	const char *key;
	json_t *value;
	void *next;

	json_object_foreach_safe(object, next, key, value)
	{
		if (i++ != at)
			continue;
		if (!draw(seed, 8))
			json_object_del(object, key);
		else
			json_object_set_new(object, key, other_value(root, value, seed));
		break;
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned int seed)
{
	json_t *root = draw(&seed, 2) ? json_loadb((const char *)data, size, 0, NULL) : NULL;
	json_t *place = root ? any_value(root, &seed) : NULL;
	size_t length;

	if (!place)
		return LLVMFuzzerMutate(data, size, most);
	if (json_is_array(place))
		change_array(root, place, &seed);
	else if (json_is_object(place))
		change_object(root, place, &seed);
	length = json_dumpb(root, (char *)data, most, JSON_COMPACT);
	json_decref(root);
	return length && length <= most ? length : LLVMFuzzerMutate(data, size, most);
}
