/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Decision trees and random forests over integer features, exactly as scikit-learn predicts. Pure.
 *
 * scikit-learn compares (double)(float)x <= t. That is monotone in x, so for an integer x it is the
 * same as x <= T with T = max{x : (double)(float)x <= t}, which is what a file has: no rounding is
 * left here. A forest answers the class of the greatest mean probability of the leaves (soft vote),
 * the first of those that tie. The probabilities are scikit-learn's own doubles, added in the order
 * of the trees as it does, so that the mean is its predict_proba() bit for bit, ties and their
 * rounding included. (Weights in fixed point differ in near ties: Q24 in 210 of 500,000 vectors of
 * forests of 10 trees.)
 */
#ifndef XDP_CANARY_FOREST_H
#define XDP_CANARY_FOREST_H

#include <stddef.h>
#include <stdint.h>

#define FOREST_TREES_MAX      128
#define FOREST_DEPTH_MAX      16 /* edges from the root to a leaf */
#define FOREST_FEATURES_MAX   256
#define FOREST_CLASSES_MAX    64
#define FOREST_TREE_NODES_MAX ((2u << FOREST_DEPTH_MAX) - 1)
#define FOREST_LEAVES_MAX     (1u << 24)  /* distinct ones */
#define FOREST_VALUE_MAX      (1LL << 53) /* features and thresholds are in [-this, this] */

/* The left child is the next node: a path is read forwards. */
struct forest_node {
	int64_t threshold; /* goes left iff value <= threshold */
	uint32_t right;	   /* index of a node; of a leaf: of its distribution */
	uint16_t feature;  /* FOREST_LEAF: a leaf */
	uint16_t reserved;
};
#define FOREST_LEAF UINT16_MAX

struct forest {
	uint32_t features_count, classes_count, trees_count;
	uint32_t roots[FOREST_TREES_MAX];
	struct forest_node *nodes;
	size_t nodes_count, nodes_room;
	double *leaves; /* distinct distributions, classes_count probabilities each */
	size_t leaves_count;
	uint32_t depth; /* of the deepest tree */
};

/* A tree as files have it, the root first: equal arrays, -1 where a field is not of that node. */
struct forest_tree {
	size_t count;
	const int32_t *features; /* -1: a leaf */
	const int64_t *thresholds;
	const int32_t *left, *right;
	const int32_t *leaves; /* of a leaf: index of its distribution */
};

enum forest_flaw {
	FOREST_SOUND,
	FOREST_NO_MEMORY,
	FOREST_TOO_MANY_TREES,
	FOREST_TREE_SIZE,     /* no node, or more than FOREST_TREE_NODES_MAX */
	FOREST_NO_FEATURE,    /* the node tests a feature that is not there */
	FOREST_NO_LEAF,	      /* the leaf's distribution is not there */
	FOREST_NO_CHILD,      /* a child is not a node of the tree */
	FOREST_CYCLE,	      /* a child is the node itself or above it */
	FOREST_SECOND_PARENT, /* two nodes have the same child */
	FOREST_UNREACHABLE,   /* nothing leads to the node */
	FOREST_TOO_DEEP,      /* the node is more than FOREST_DEPTH_MAX edges below the root */
};

/* Appends the tree; the forest's counts and leaves are there. Else *@node is the one at fault. */
enum forest_flaw forest_add(struct forest *forest, const struct forest_tree *tree, size_t *node);
void forest_release(struct forest *forest);

/*
 * The class of each of @count clients: @features has features_count integers within
 * FOREST_VALUE_MAX for each, @means (classes_count for each) gets the mean probability of every
 * class. Faster for many at once: a tree stays in the cache while all of them walk it.
 */
void forest_classify(const struct forest *forest, const int64_t *features, size_t count,
		     double *means, uint32_t *classes);

#endif
