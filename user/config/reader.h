/* SPDX-License-Identifier: GPL-2.0-only */
/* The walk of a YAML tree by the key tables, into struct policy. */
#ifndef XDP_CANARY_READER_H
#define XDP_CANARY_READER_H

#include "config/document.h"
#include "config/path.h"
#include "config/places.h"
#include "config/schema.h"

struct reader {
	const struct document *document; /* the one that is being read */
	struct places places;
	struct errors *errors;
	bool out_of_memory; /* reported; places are missing, and nothing can be checked */
};

/*
 * Reads the keys of the map @node into @object. A key that an earlier document gave is an error,
 * but for lists, which are joined; their arrays must have room already (see config.c). Every error
 * is reported.
 */
void reader_read_map(struct reader *reader, const struct schema *schema, const yaml_node_t *node,
		     void *object, const struct path *path);

/* After all of a map was read: fills in defaults; what is required and not there is reported
 * @where. */
void reader_finish_map(struct reader *reader, const struct schema *schema,
		       const struct position *where, void *object, const struct path *path);

#endif
