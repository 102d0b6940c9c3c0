/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of key tables share: how a line of a table is written, and the units in it. */
#ifndef XDP_CANARY_SCHEMA_TABLES_H
#define XDP_CANARY_SCHEMA_TABLES_H

#include "config/schema.h"

#define FIELD(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define GIVEN(type, member) .given = offsetof(type, member)
#define LIST(type, member, item_type)                                                              \
	.offset = offsetof(type, member), .size = sizeof(((type *)0)->member),                     \
	.count = offsetof(type, member##_count), .item_size = sizeof(item_type)
#define SCHEMA(table) .keys = (table), .keys_count = sizeof(table) / sizeof((table)[0])
#define KEYS_FIT(table)                                                                            \
	_Static_assert(sizeof(table) / sizeof((table)[0]) <= SCHEMA_KEYS_MAX, #table)

#define TEXT_MAX       255
#define EXPRESSION_MAX 4095
#define CIDRS_MAX      1048576
#define BINS_MAX       1024
#define CLIENTS_MAX    16777216 /* that a limit of clients can allow */
#define PATH_MAX_BYTES 4095
#define WHOLE	       1000000 /* 100% in ppm */
#define SECOND	       1000ULL /* ms */
#define HOUR	       (3600 * SECOND)
#define DAY	       (24 * HOUR)
#define SERVER_ID_MAX  sizeof(((struct backend *)0)->server_id) /* bytes */

/* Keys of later parts are known by name alone. */
#define UNDELIVERED(key_name, key_part)                                                            \
	{                                                                                          \
		.name = (key_name), .type = VALUE_MAP, .part = (key_part)                          \
	}

extern const struct schema health_check_schema; /* struct health_check */
extern const struct schema rollout_schema;	/* struct rollout */

#endif
