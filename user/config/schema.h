/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract's key tables as data: of each map of the configuration which keys it has, of what
 * type and range, what they default to, which part of xdp-canary delivers them, and where in struct
 * policy they are kept. Reading (reader.c), rendering (render.c) and comparing (diff.c) all walk
 * these tables; nothing else knows the shape of the file.
 */
#ifndef XDP_CANARY_SCHEMA_H
#define XDP_CANARY_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which part delivers a key or a choice; until then it is refused, by name. */
enum part { PART_MAIN, PART_SEGMENTS, PART_ROLLOUT, PART_LATER };

enum value_type {
	VALUE_MAP,     /* a map of its own keys, kept in the same struct or in one inside it */
	VALUE_LIST,    /* of maps (.schema) or of plain values (.item) */
	VALUE_SHARES,  /* of a rule: cohort names, each with a percent */
	VALUE_INTEGER, /* minimum to maximum */
	VALUE_REAL,    /* a decimal number in .range, as a double */
	VALUE_BOOLEAN,
	VALUE_PERCENT,	  /* minimum to maximum ppm */
	VALUE_DURATION,	  /* minimum to maximum milliseconds, or 0 where .or_zero */
	VALUE_CHOICE,	  /* one of .choices */
	VALUE_TEXT,	  /* minimum to maximum bytes, without control characters */
	VALUE_EXPRESSION, /* the same, of SQL or PromQL, which may have several lines */
	VALUE_PATH,	  /* text, of a file */
	VALUE_NAME,
	VALUE_INTERFACE, /* name of a network interface */
	VALUE_ADDRESS,	 /* unicast; .minimum 4 or 6: of that family alone */
	VALUE_PREFIX,	 /* ADDRESS or ADDRESS/LENGTH */
	VALUE_MAC,	 /* unicast */
	VALUE_VIP,
	VALUE_LISTEN,	 /* HOST:PORT or `off` */
	VALUE_SERVER_ID, /* of a backend, in more than one of its members: bytes in hex */
	VALUE_URL,	 /* http or https; minimum to maximum bytes */
	VALUE_STATUSES,	 /* of a health check, in two of its members: 200-299,404 */
};

struct choice {
	const char *name; /* NULL ends the list */
	unsigned int value;
	enum part part;
};

struct real_range {
	double least, most;
	bool open; /* .least itself is out */
};

struct key {
	const char *name;
	enum value_type type;
	enum part part;
	bool required;
	/* Read after the other keys of its map, for it refers to them. */
	bool late;
	/* diff.c tells when the length of this list changes. */
	bool counted;
	/* Items of this list have no names: each is told from the others by its place alone. */
	bool sequence;
	/*
	 * What holds where the key is absent, as text; NULL: nothing is stored (the object was
	 * zeroed). Of a list: the JSON of the list that need not be written.
	 */
	const char *fallback;
	uint64_t minimum, maximum;	/* see enum value_type; of a list: items */
	const struct real_range *range; /* of a real; NULL: any */
	bool or_zero;			/* of a duration or a real: 0 is right too */
	const struct choice *choices;
	/*
	 * A choice that stands earlier in the same map, and its value with which alone this key has
	 * a meaning: .required and .fallback count there, anywhere else the key is refused and has
	 * no value. NULL: it goes with all.
	 */
	const struct key *with;
	unsigned int with_value;
	/*
	 * One of several keys of its map of which exactly one stands; those of one .kind_value may
	 * stand together. Which one is kept as its .kind_value, an unsigned int at offset .kind of
	 * the object.
	 */
	bool alternative;
	size_t kind;
	unsigned int kind_value;
	/* Where this key is absent, it has the value of that name, if there is one, else .fallback.
	 * Both are of VALUE_NAME. */
	const struct key *like;
	const char *zero_hint; /* of a duration: what to do instead of giving 0 */

	/* Where it is kept in its object. size 0: nowhere, there is only one value. */
	size_t offset, size;
	/* offset of a bool that tells whether the value, or the map, stands; 0: there is none */
	size_t given;
	bool unset; /* where it does not stand it has no value, nor one that follows from others */

	const struct schema *schema; /* of a map, and of a list's items */
	const struct key *item;	     /* of a list of plain values */
	size_t count;		     /* of a list: offset of its size_t length */
	size_t item_size;
	bool embedded; /* the list is an array inside the object, else a pointer to one */
};

struct schema {
	const struct key *keys;
	size_t keys_count;
	const char *identity; /* the key that names an item of a list of these, or NULL */
};

#define SCHEMA_KEYS_MAX 32 /* in any map */

extern const struct schema config_schema; /* the top level: struct policy */

/* NULL if there is none of that name. */
const struct key *schema_key(const struct schema *schema, const char *name);
/* A key of this map that is spelled nearly like @name, or NULL. */
const char *schema_nearest(const struct schema *schema, const char *name);

/* Where @key is kept in @object. */
static inline void *key_target(const struct key *key, const void *object)
{
	return (char *)object + key->offset;
}

static inline size_t *list_count(const struct key *key, const void *object)
{
	return (size_t *)((char *)object + key->count);
}

/* The first item, NULL of an empty list that is not embedded. */
void *list_items(const struct key *key, const void *object);

static inline void *list_item(const struct key *key, const void *object, size_t index)
{
	return (char *)list_items(key, object) + index * key->item_size;
}

#endif
