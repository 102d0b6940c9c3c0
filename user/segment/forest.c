// SPDX-License-Identifier: GPL-2.0-only
/*
 * Trees are laid out in preorder as they are added: a left child follows its parent, so a node says
 * only where its right child is, four nodes fit a cache line, and a walk needs no checks. All that
 * a walk relies on is checked here: children are nodes of the tree, every node has one parent,
 * depth is bounded.
 */
#include "segment/forest.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* ---- adding trees ---- */

/* A node that was seen as somebody's child, and is to be placed. */
struct visit {
	int32_t node;
	uint32_t depth;
	uint32_t parent; /* whose right child it is, in the forest; NO_PARENT: of none */
};
#define NO_PARENT UINT32_MAX
#define NOT_SEEN  -2
#define ROOT	  -1

/* Both children of every node on the way down wait, and the way is at most so long. */
#define VISITS_MAX (FOREST_DEPTH_MAX + 3)

struct layout {
	struct forest *forest;
	const struct forest_tree *tree;
	int32_t *parents; /* of each node of the tree; ROOT, NOT_SEEN */
	struct visit visits[VISITS_MAX];
	size_t visits_count, placed;
};

static enum forest_flaw make_room(struct forest *forest, size_t more)
{
	struct forest_node *larger;
	size_t room = forest->nodes_room;

	if (forest->nodes_count + more <= room)
		return FOREST_SOUND;
	while (room < forest->nodes_count + more)
		room = room ? 2 * room : 1024;
	larger = reallocarray(forest->nodes, room, sizeof(*larger));
	if (!larger)
		return FOREST_NO_MEMORY;
	forest->nodes = larger;
	forest->nodes_room = room;
	return FOREST_SOUND;
}

static bool is_above(const struct layout *layout, int32_t candidate, int32_t node)
{
	for (; node >= 0; node = layout->parents[node])
		if (node == candidate)
			return true;
	return false;
}

static enum forest_flaw see_child(struct layout *layout, int32_t node, int32_t child,
				  uint32_t depth, uint32_t parent)
{
	if (child < 0 || (size_t)child >= layout->tree->count)
		return FOREST_NO_CHILD;
	if (layout->parents[child] != NOT_SEEN)
		return is_above(layout, child, node) ? FOREST_CYCLE : FOREST_SECOND_PARENT;
	layout->parents[child] = node;
	layout->visits[layout->visits_count++] = (struct visit){child, depth, parent};
	return FOREST_SOUND;
}

static enum forest_flaw place(struct layout *layout, const struct visit *visit)
{
	const struct forest_tree *tree = layout->tree;
	struct forest *forest = layout->forest;
	uint32_t index = forest->nodes_count++;
	struct forest_node *out = &forest->nodes[index];
	int32_t node = visit->node, feature = tree->features[node];
	enum forest_flaw flaw;

	layout->placed++;
	if (visit->parent != NO_PARENT)
		forest->nodes[visit->parent].right = index;
	if (visit->depth > FOREST_DEPTH_MAX)
		return FOREST_TOO_DEEP;
	if (visit->depth > forest->depth)
		forest->depth = visit->depth;
	if (feature < 0) {
		if (tree->leaves[node] < 0 || (size_t)tree->leaves[node] >= forest->leaves_count)
			return FOREST_NO_LEAF;
		*out = (struct forest_node){.feature = FOREST_LEAF, .right = tree->leaves[node]};
		return FOREST_SOUND;
	}
	if ((uint32_t)feature >= forest->features_count)
		return FOREST_NO_FEATURE;
	*out = (struct forest_node){.feature = feature, .threshold = tree->thresholds[node]};
	flaw = see_child(layout, node, tree->right[node], visit->depth + 1, index);
	if (!flaw)
		flaw = see_child(layout, node, tree->left[node], visit->depth + 1, NO_PARENT);
	return flaw;
}

static enum forest_flaw lay_out(struct layout *layout, size_t *node)
{
	const struct forest_tree *tree = layout->tree;
	enum forest_flaw flaw;

	layout->parents[0] = ROOT;
	layout->visits[layout->visits_count++] = (struct visit){0, 0, NO_PARENT};
	while (layout->visits_count) {
		struct visit visit = layout->visits[--layout->visits_count];

		*node = visit.node;
		flaw = place(layout, &visit);
		if (flaw)
			return flaw;
	}
	if (layout->placed == tree->count)
		return FOREST_SOUND;
	for (*node = 0; layout->parents[*node] != NOT_SEEN;)
		++*node;
	return FOREST_UNREACHABLE;
}

enum forest_flaw forest_add(struct forest *forest, const struct forest_tree *tree, size_t *node)
{
	struct layout layout = {.forest = forest, .tree = tree};
	size_t root = forest->nodes_count;
	uint32_t depth = forest->depth;
	enum forest_flaw flaw;

	*node = 0;
	if (forest->trees_count == FOREST_TREES_MAX)
		return FOREST_TOO_MANY_TREES;
	if (!tree->count || tree->count > FOREST_TREE_NODES_MAX)
		return FOREST_TREE_SIZE;
	layout.parents = malloc(tree->count * sizeof(*layout.parents));
	flaw = layout.parents ? make_room(forest, tree->count) : FOREST_NO_MEMORY;
	if (!flaw) {
		for (size_t i = 0; i < tree->count; i++)
			layout.parents[i] = NOT_SEEN;
		flaw = lay_out(&layout, node);
	}
	free(layout.parents);
	if (flaw) {
		forest->nodes_count = root;
		forest->depth = depth;
		return flaw;
	}
	forest->roots[forest->trees_count++] = root;
	return FOREST_SOUND;
}

void forest_release(struct forest *forest)
{
	free(forest->nodes);
	free(forest->leaves);
	*forest = (struct forest){0};
}

/* ---- classifying ---- */

/* The leaf's node. */
static const struct forest_node *walk(const struct forest *forest, const struct forest_node *node,
				      const int64_t *features)
{
	while (node->feature != FOREST_LEAF)
		node = features[node->feature] <= node->threshold ? node + 1
								  : &forest->nodes[node->right];
	return node;
}

static void add_tree(const struct forest *forest, uint32_t root, const int64_t *features,
		     size_t count, double *sums)
{
	size_t classes = forest->classes_count;

	for (size_t i = 0; i < count; i++) {
		const struct forest_node *leaf =
			walk(forest, &forest->nodes[root], features + i * forest->features_count);
		const double *probabilities = &forest->leaves[leaf->right * classes];

		for (size_t j = 0; j < classes; j++)
			sums[i * classes + j] += probabilities[j];
	}
}

void forest_classify(const struct forest *forest, const int64_t *features, size_t count,
		     double *means, uint32_t *classes)
{
	memset(means, 0, count * forest->classes_count * sizeof(*means));
	for (uint32_t tree = 0; tree < forest->trees_count; tree++)
		add_tree(forest, forest->roots[tree], features, count, means);
	/* numpy's argmax() of the means, not of the sums: rounding may have made two of them equal.
	 */
	for (size_t i = 0; i < count; i++) {
		double *mean = &means[i * forest->classes_count];

		classes[i] = 0;
		for (uint32_t j = 0; j < forest->classes_count; j++) {
			mean[j] /= forest->trees_count;
			if (mean[j] > mean[classes[i]])
				classes[i] = j;
		}
	}
}
