// SPDX-License-Identifier: GPL-2.0-only
#include "catalogue/cell.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS_MAX    19 /* of a 64-bit integer */
#define FINITE_LENGTH 300
#define EXACT_MAX     (1LL << 53)
#define NUMBER_MAX    400 /* bytes of what may be a number at all */

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static const char *skip_digits(const char *at)
{
	while (is_digit(*at))
		at++;
	return at;
}

/* The end of the part before the point, or NULL: it has a leading zero. */
static const char *skip_whole(const char *at)
{
	if (*at == '0' && is_digit(at[1]))
		return NULL;
	return skip_digits(at);
}

/* Where the number that begins at @at ends; NULL: it is none. */
static const char *skip_real(const char *at)
{
	const char *begin = *at == '-' ? at + 1 : at;
	const char *end = skip_whole(begin);
	bool has_digits = end > begin;

	if (!end)
		return NULL;
	if (*end == '.') {
		if (!is_digit(end[1]))
			return NULL;
		end = skip_digits(end + 1);
		has_digits = true;
	}
	if (!has_digits || (*end != 'e' && *end != 'E'))
		return has_digits ? end : NULL;
	end += end[1] == '+' || end[1] == '-' ? 2 : 1;
	return is_digit(*end) ? skip_digits(end) : NULL;
}

/* An integer within 64 bits that ends at @end. */
static bool read_integer(const char *text, const char *end, int64_t *out)
{
	bool negative = *text == '-';
	const char *digits = text + negative;
	uint64_t value = 0;

	if (end - digits > DIGITS_MAX)
		return false;
	for (; digits < end; digits++)
		value = value * 10 + (uint64_t)(*digits - '0');
	if (value > (uint64_t)INT64_MAX + negative)
		return false;
	*out = negative ? (int64_t)-value : (int64_t)value;
	return true;
}

static bool is_large_integer(int64_t integer)
{
	return integer < -EXACT_MAX || integer > EXACT_MAX;
}

enum attribute_type cell_type(const char *text, uint32_t length, bool *is_large)
{
	const char *digits = *text == '-' ? text + 1 : text, *end;
	int64_t integer;

	*is_large = false;
	if (!length)
		return ATTRIBUTE_EMPTY;
	if ((!is_digit(*digits) && *digits != '.') || length > NUMBER_MAX)
		return ATTRIBUTE_TEXT;
	end = skip_whole(digits);
	if (end == text + length) {
		if (digits > text && *digits == '0')
			return ATTRIBUTE_REAL; /* the negative zero */
		if (!read_integer(text, end, &integer))
			return ATTRIBUTE_TEXT;
		*is_large = is_large_integer(integer);
		return ATTRIBUTE_INTEGER;
	}
	if (!end || skip_real(text) != text + length)
		return ATTRIBUTE_TEXT;
	/* What has neither an exponent nor this many digits is surely finite. */
	if (length <= FINITE_LENGTH && !memchr(text, 'e', length) && !memchr(text, 'E', length))
		return ATTRIBUTE_REAL;
	return isfinite(strtod(text, NULL)) ? ATTRIBUTE_REAL : ATTRIBUTE_TEXT;
}

struct attribute_value cell_value(const char *text, uint32_t length, enum attribute_type type)
{
	struct attribute_value value = {.type = type, .text = text, .length = length};

	if (!length)
		value.type = ATTRIBUTE_EMPTY;
	else if (type == ATTRIBUTE_INTEGER)
		read_integer(text, text + length, &value.integer);
	else if (type == ATTRIBUTE_REAL)
		value.real = strtod(text, NULL);
	return value;
}
