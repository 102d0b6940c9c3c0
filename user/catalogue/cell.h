/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a field of a CSV is. Pure. Digits that are no number to anybody who wrote them stay text,
 * because a text can be brought back from no number: a leading zero (a postcode), more than 64 bits
 * (an identifier).
 *
 *   empty    nothing
 *   integer  -?(0|[1-9][0-9]*) within 64 bits, but `-0`
 *   real     -?(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)? that a double has room for
 *   text     anything else
 */
#ifndef XDP_CANARY_CELL_H
#define XDP_CANARY_CELL_H

#include "store/attributes.h"

/* The type of its own, and whether it is an integer that no double is equal to. @text ends in a
 * zero behind its @length bytes. */
enum attribute_type cell_type(const char *text, uint32_t length, bool *is_large);
/* Its value in a column of @type, which is at least as wide as its own. It has the text of the
 * cell, which must stay. */
struct attribute_value cell_value(const char *text, uint32_t length, enum attribute_type type);

#endif
