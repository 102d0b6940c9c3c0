/* SPDX-License-Identifier: GPL-2.0-only */
/* The way from the top of the configuration to a value: what errors and differences call it. */
#ifndef XDP_CANARY_CONFIG_PATH_H
#define XDP_CANARY_CONFIG_PATH_H

#include <stddef.h>

/*
 * Steps live on the stack of whoever walks, each knowing the one above. A step is a key, or an item
 * of the list that the step above is. Text is made of them only when there is something to say.
 */
struct path {
	const struct path *parent; /* NULL at the top */
	const char *text;	   /* the key or the item's name; NULL: the item has none */
	size_t index;		   /* of the item, from 0 */
	void *object;		   /* what it is read into, for those below */
};

#define PATH_SIZE 512

/* `services/api/cohorts`, `services[2]/vips`; cut off where it does not fit. Returns @out. */
const char *path_format(const struct path *path, char out[PATH_SIZE]);

#endif
