/* SPDX-License-Identifier: GPL-2.0-only */
/* One YAML text as a tree whose nodes know where they stand. */
#ifndef XDP_CANARY_DOCUMENT_H
#define XDP_CANARY_DOCUMENT_H

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#define DOCUMENT_SIZE_MAX (64u << 20) /* bytes */

struct document {
	const char *name; /* of the file as the user gave it; must outlive the document */
	yaml_document_t yaml;
	bool loaded;
};

/*
 * Parses @text. Where that succeeds, the tree is finite and of bounded size however often aliases
 * repeat its parts, and no node has a tag. 0, or a negative errno with an error, and then the
 * document is empty.
 */
int document_load(struct document *document, const char *text, size_t length, const char *name,
		  struct errors *errors);
void document_release(struct document *document);

/* NULL: there is nothing but comments in it. */
const yaml_node_t *document_root(const struct document *document);
const yaml_node_t *document_node(const struct document *document, int index);
struct position document_position(const struct document *document, const yaml_node_t *node);

/* A scalar's text; NULL if the node is none, or if its text has a zero byte in it. */
const char *node_text(const yaml_node_t *node);
/* A scalar without quotes: only such a one may be a number, a bool or null. */
bool node_is_plain(const yaml_node_t *node);
/* What is written where there is no value: nothing, `~` or `null`. */
bool node_is_null(const yaml_node_t *node);
/* "a map", "a list", "a single value". */
const char *node_kind(const yaml_node_t *node);

/* The (first) value of @key in a map; NULL if there is none, or @map is none. */
const yaml_node_t *map_value(const struct document *document, const yaml_node_t *map,
			     const char *key);
size_t list_length(const yaml_node_t *list); /* 0 for what is no list */

#endif
