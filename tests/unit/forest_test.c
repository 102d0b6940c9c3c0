// SPDX-License-Identifier: GPL-2.0-only
/*
 * Forests: random trees answer as a walk over the arrays that they were made of, and every flaw is
 * found. tests/reference/test_train.py compares with scikit-learn.
 */
#include "segment/forest.h"

#include "tests/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

#define FEATURES 5
#define CLASSES	 3
#define LEAVES	 40
#define NODES	 600

struct arrays {
	int32_t features[NODES], left[NODES], right[NODES], leaves[NODES];
	int64_t thresholds[NODES];
	size_t count;
};

static struct forest_tree tree_of(const struct arrays *arrays)
{
	return (struct forest_tree){arrays->count, arrays->features, arrays->thresholds,
				    arrays->left,  arrays->right,    arrays->leaves};
}

static struct forest empty_forest(struct random *random)
{
	struct forest forest = {.features_count = FEATURES,
				.classes_count = CLASSES,
				.leaves_count = LEAVES,
				.leaves = calloc(LEAVES * CLASSES, sizeof(double))};

	for (size_t i = 0; i < LEAVES; i++) {
		double first = random_below(random, 1001) / 1000.0;

		forest.leaves[i * CLASSES] = first;
		forest.leaves[i * CLASSES + 1] = (1 - first) / 3;
		forest.leaves[i * CLASSES + 2] = 1 - first - (1 - first) / 3;
	}
	return forest;
}

static void set_leaf(struct arrays *arrays, size_t node, int32_t leaf)
{
	arrays->features[node] = arrays->left[node] = arrays->right[node] = -1;
	arrays->leaves[node] = leaf;
}

/* Children stand anywhere behind their parent, right ones before left ones too. */
static void make_tree(struct random *random, struct arrays *arrays)
{
	uint32_t depths[NODES] = {0};

	memset(arrays, 0, sizeof(*arrays));
	arrays->count = 1;
	for (size_t node = 0; node < arrays->count; node++) {
		size_t child = arrays->count;
		bool swapped = random_below(random, 2);

		if (depths[node] == FOREST_DEPTH_MAX || child + 2 > NODES ||
		    (node > 20 && !random_below(random, 3))) {
			set_leaf(arrays, node, random_below(random, LEAVES));
			continue;
		}
		arrays->features[node] = random_below(random, FEATURES);
		arrays->thresholds[node] = (int64_t)random_below(random, 100) - 50;
		arrays->left[node] = child + swapped;
		arrays->right[node] = child + !swapped;
		arrays->leaves[node] = -1;
		depths[child] = depths[child + 1] = depths[node] + 1;
		arrays->count += 2;
	}
}

static int32_t walk(const struct arrays *arrays, const int64_t *features)
{
	int32_t node = 0;

	while (arrays->features[node] >= 0)
		node = features[arrays->features[node]] <= arrays->thresholds[node]
			       ? arrays->left[node]
			       : arrays->right[node];
	return arrays->leaves[node];
}

static void random_forests_answer_as_their_arrays_do(void **state)
{
	struct random random = random_seeded("forest");
	static struct arrays trees[20];

	(void)state;
	for (int round = 0; round < 50; round++) {
		struct forest forest = empty_forest(&random);
		uint32_t count = 1 + random_below(&random, 20);
		size_t node;

		for (uint32_t i = 0; i < count; i++) {
			struct forest_tree tree;

			make_tree(&random, &trees[i]);
			tree = tree_of(&trees[i]);
			assert_int_equal(FOREST_SOUND, forest_add(&forest, &tree, &node));
		}
		for (int i = 0; i < 1000; i++) {
			double sums[CLASSES] = {0}, mean[CLASSES];
			int64_t features[FEATURES];
			uint32_t best = 0, answer;

			for (int j = 0; j < FEATURES; j++)
				features[j] = (int64_t)random_below(&random, 104) - 52;
			for (uint32_t j = 0; j < count; j++)
				for (int k = 0; k < CLASSES; k++)
					sums[k] +=
						forest.leaves[walk(&trees[j], features) * CLASSES +
							      k];
			forest_classify(&forest, features, 1, mean, &answer);
			for (uint32_t k = 0; k < CLASSES; k++) {
				assert_true(mean[k] == sums[k] / count);
				if (mean[k] > mean[best])
					best = k;
			}
			assert_int_equal(best, answer);
		}
		forest_release(&forest);
	}
}

static uint32_t class_of(const struct forest *forest, double *mean)
{
	int64_t feature = 0;
	uint32_t answer;

	forest_classify(forest, &feature, 1, mean, &answer);
	return answer;
}

static void the_first_of_equal_classes_wins(void **state)
{
	struct forest forest = {.features_count = 1, .classes_count = 3, .leaves_count = 2};
	static double leaves[] = {0.2, 0.4, 0.4, 0.4, 0.2, 0.4};
	struct arrays arrays = {.count = 1};
	struct forest_tree tree = tree_of(&arrays);
	double mean[3];
	size_t node;

	(void)state;
	forest.leaves = malloc(sizeof(leaves));
	memcpy(forest.leaves, leaves, sizeof(leaves));
	set_leaf(&arrays, 0, 0);
	assert_int_equal(FOREST_SOUND, forest_add(&forest, &tree, &node));
	assert_int_equal(1, class_of(&forest, mean));
	set_leaf(&arrays, 0, 1);
	assert_int_equal(FOREST_SOUND, forest_add(&forest, &tree, &node));
	assert_int_equal(2, class_of(&forest, mean)); /* .3, .3, .4 */
	forest_release(&forest);
}

/* root 0 (feature 0 at 0): left 1, a leaf; right 2 (feature 1 at 0): left 3, right 4, leaves. */
static struct arrays small_tree(void)
{
	struct arrays arrays = {.count = 5};

	arrays.features[2] = 1;
	arrays.left[0] = 1;
	arrays.right[0] = 2;
	arrays.left[2] = 3;
	arrays.right[2] = 4;
	arrays.leaves[0] = arrays.leaves[2] = -1;
	for (int i = 0; i < 3; i++)
		set_leaf(&arrays, (size_t[]){1, 3, 4}[i], i);
	return arrays;
}

static void assert_flaw(enum forest_flaw flaw, size_t at, const struct arrays *arrays)
{
	struct random random = {1};
	struct forest forest = empty_forest(&random);
	struct forest_tree tree = tree_of(arrays);
	struct arrays good = small_tree();
	struct forest_tree good_tree = tree_of(&good);
	size_t node = 99;

	assert_int_equal(FOREST_SOUND, forest_add(&forest, &good_tree, &node));
	assert_int_equal(flaw, forest_add(&forest, &tree, &node));
	assert_int_equal(at, node);
	assert_int_equal(1, forest.trees_count); /* it is as it was */
	assert_int_equal(5, forest.nodes_count);
	assert_int_equal(2, forest.depth);
	forest_release(&forest);
}

static void every_flaw_of_a_tree_is_found(void **state)
{
	struct arrays tree = small_tree();

	(void)state;
	tree.right[2] = 0;
	assert_flaw(FOREST_CYCLE, 2, &tree);
	tree.right[2] = 2;
	assert_flaw(FOREST_CYCLE, 2, &tree);
	tree.right[2] = 1;
	assert_flaw(FOREST_SECOND_PARENT, 2, &tree);
	tree.right[2] = 3;
	assert_flaw(FOREST_SECOND_PARENT, 2, &tree);
	tree.right[2] = 5;
	assert_flaw(FOREST_NO_CHILD, 2, &tree);
	tree.right[2] = -1;
	assert_flaw(FOREST_NO_CHILD, 2, &tree);
	tree = small_tree();
	set_leaf(&tree, 2, 0);
	assert_flaw(FOREST_UNREACHABLE, 3, &tree);
	tree = small_tree();
	tree.features[2] = FEATURES;
	assert_flaw(FOREST_NO_FEATURE, 2, &tree);
	tree = small_tree();
	set_leaf(&tree, 4, LEAVES);
	assert_flaw(FOREST_NO_LEAF, 4, &tree);
	set_leaf(&tree, 4, -1);
	assert_flaw(FOREST_NO_LEAF, 4, &tree);
	tree.count = 0;
	assert_flaw(FOREST_TREE_SIZE, 0, &tree);
}

/* A chain of @depth decisions, the leaves on the left. */
static struct arrays chain(size_t depth)
{
	struct arrays arrays = {.count = 2 * depth + 1};

	for (size_t i = 0; i < depth; i++) {
		arrays.left[2 * i] = 2 * i + 1;
		arrays.right[2 * i] = 2 * i + 2;
		arrays.leaves[2 * i] = -1;
		set_leaf(&arrays, 2 * i + 1, 0);
	}
	set_leaf(&arrays, 2 * depth, 0);
	return arrays;
}

static void sixteen_levels_are_possible_and_seventeen_are_not(void **state)
{
	struct arrays tree = chain(FOREST_DEPTH_MAX);
	struct forest_tree arrays = tree_of(&tree);
	struct random random = {1};
	struct forest forest = empty_forest(&random);
	size_t node;

	(void)state;
	for (int i = 0; i < FOREST_TREES_MAX; i++)
		assert_int_equal(FOREST_SOUND, forest_add(&forest, &arrays, &node));
	assert_int_equal(FOREST_TOO_MANY_TREES, forest_add(&forest, &arrays, &node));
	assert_int_equal(FOREST_DEPTH_MAX, forest.depth);
	forest_release(&forest);
	tree = chain(FOREST_DEPTH_MAX + 1);
	assert_flaw(FOREST_TOO_DEEP, 2 * FOREST_DEPTH_MAX + 1, &tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_forests_answer_as_their_arrays_do),
		cmocka_unit_test(the_first_of_equal_classes_wins),
		cmocka_unit_test(every_flaw_of_a_tree_is_found),
		cmocka_unit_test(sixteen_levels_are_possible_and_seventeen_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
