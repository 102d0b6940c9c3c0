// SPDX-License-Identifier: GPL-2.0-only
/*
 * Values as the contract writes them, to and from text. Every parser looks at the form of the whole
 * text before it looks at the size of a number: -EINVAL is always "not of this form", -ERANGE
 * always "of this form, but too large, too small or too fine". Results are stored only on success.
 */
#include "util/text.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_SECOND	1000000000ULL
#define NS_PER_MS	1000000ULL
#define PPM_MAX		1000000U
#define NAME_LENGTH_MAX 63

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* What a number is once it does not fit; UINT64_MAX itself is refused along with its successors. */
#define TOO_LARGE UINT64_MAX

static uint64_t append_digit(uint64_t value, char digit)
{
	uint64_t result;

	if (__builtin_mul_overflow(value, 10, &result) ||
	    __builtin_add_overflow(result, (uint64_t)(digit - '0'), &result))
		return TOO_LARGE;
	return result;
}

/*
 * The decimal number that @text begins with: no sign, no leading zero. Returns its end, or NULL
 * where there is none. *@value is TOO_LARGE where 64 bits do not hold it.
 */
static const char *read_number(const char *text, uint64_t *value)
{
	*value = 0;
	if (!is_digit(*text) || (text[0] == '0' && is_digit(text[1])))
		return NULL;
	for (; is_digit(*text); text++)
		*value = append_digit(*value, *text);
	return text;
}

int text_integer(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *out)
{
	uint64_t value;
	const char *end = read_number(text, &value);

	if (!end || *end)
		return -EINVAL;
	if (value == TOO_LARGE || value < minimum || value > maximum)
		return -ERANGE;
	*out = value;
	return 0;
}

static const char *skip_digits(const char *text)
{
	while (is_digit(*text))
		text++;
	return text;
}

int text_real(const char *text, double *out)
{
	const char *begin = text + (*text == '-'), *end;
	uint64_t whole;
	double value;

	end = read_number(begin, &whole);
	if (!end)
		return -EINVAL;
	if (*end == '.') {
		begin = end + 1;
		end = skip_digits(begin);
		if (end == begin)
			return -EINVAL;
	}
	if (*end == 'e' || *end == 'E') {
		begin = end + 1 + (end[1] == '+' || end[1] == '-');
		end = skip_digits(begin);
		if (end == begin)
			return -EINVAL;
	}
	if (*end)
		return -EINVAL;
	/* The form is C's too, and no program of ours has another locale. */
	value = strtod(text, NULL);
	if (isinf(value))
		return -ERANGE;
	*out = value ? value : 0; /* there is one zero */
	return 0;
}

int text_percent(const char *text, uint32_t *ppm)
{
	const char *fraction = NULL, *fraction_end = NULL, *end;
	unsigned int places; /* decimal places from the unit down to 1 ppm */
	uint64_t value;

	end = read_number(text, &value);
	if (!end)
		return -EINVAL;
	if (*end == '.') {
		fraction = ++end;
		while (is_digit(*end))
			end++;
		fraction_end = end;
		if (fraction == fraction_end)
			return -EINVAL;
	}
	if (!strcmp(end, "ppm"))
		places = 0;
	else if (!strcmp(end, "%") || !*end)
		places = 4;
	else
		return -EINVAL;

	for (; places; places--)
		value = append_digit(value, fraction < fraction_end ? *fraction++ : '0');
	for (; fraction < fraction_end; fraction++) {
		if (*fraction != '0')
			return -ERANGE;
	}
	if (value > PPM_MAX)
		return -ERANGE;
	*ppm = value;
	return 0;
}

static const struct duration_unit {
	const char *name;
	uint64_t milliseconds;
	bool is_written; /* text_format_duration() uses it: 30d reads better than 4w2d */
} duration_units[] = {
	{"w", 7 * 24 * 3600 * 1000ULL, false},
	{"d", 24 * 3600 * 1000ULL, true},
	{"h", 3600 * 1000ULL, true},
	{"m", 60 * 1000ULL, true},
	{"s", 1000, true},
	{"ms", 1, true},
};
#define DURATION_UNITS (sizeof(duration_units) / sizeof(duration_units[0]))

/* What 64 bits of nanoseconds hold, so that callers need not check. */
#define DURATION_MS_MAX (UINT64_MAX / NS_PER_MS)

int text_duration(const char *text, uint64_t *milliseconds)
{
	uint64_t total = 0, number, part;
	bool too_long = false;
	size_t unit = 0;

	do {
		size_t length;

		text = read_number(text, &number);
		if (!text)
			return -EINVAL;
		length = strcspn(text, "0123456789");
		while (unit < DURATION_UNITS && (strlen(duration_units[unit].name) != length ||
						 strncmp(duration_units[unit].name, text, length)))
			unit++;
		if (unit == DURATION_UNITS)
			return -EINVAL;
		if (number == TOO_LARGE ||
		    __builtin_mul_overflow(number, duration_units[unit].milliseconds, &part) ||
		    __builtin_add_overflow(total, part, &total))
			too_long = true;
		text += length;
		unit++;
	} while (*text);

	if (too_long || total > DURATION_MS_MAX)
		return -ERANGE;
	*milliseconds = total;
	return 0;
}

static bool is_name_end(char c)
{
	return (c >= 'a' && c <= 'z') || is_digit(c);
}

bool text_is_name(const char *text)
{
	size_t length = strnlen(text, NAME_LENGTH_MAX + 1);

	if (!length || length > NAME_LENGTH_MAX)
		return false;
	if (!is_name_end(text[0]) || !is_name_end(text[length - 1]))
		return false;
	for (size_t i = 0; i < length; i++) {
		if (!is_name_end(text[i]) && text[i] != '_' && text[i] != '-')
			return false;
	}
	return true;
}

/* Exactly @count digits; advances *@text. -1 where they are not there. */
static int read_digits(const char **text, int count)
{
	int value = 0;

	for (; count; count--, (*text)++) {
		if (!is_digit(**text))
			return -1;
		value = value * 10 + (**text - '0');
	}
	return value;
}

static bool read_character(const char **text, const char *allowed)
{
	if (!**text || !strchr(allowed, **text))
		return false;
	(*text)++;
	return true;
}

static int days_in_month(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* RFC 3339's full-date "T" partial-time, but for the fraction of a second. */
static int read_date_time(const char **text, struct tm *fields)
{
	int year, month, day, hour, minute, second;

	year = read_digits(text, 4);
	if (year < 0 || !read_character(text, "-"))
		return -EINVAL;
	month = read_digits(text, 2);
	if (month < 1 || month > 12 || !read_character(text, "-"))
		return -EINVAL;
	day = read_digits(text, 2);
	if (day < 1 || day > days_in_month(year, month) || !read_character(text, "Tt"))
		return -EINVAL;
	hour = read_digits(text, 2);
	if (hour < 0 || hour > 23 || !read_character(text, ":"))
		return -EINVAL;
	minute = read_digits(text, 2);
	if (minute < 0 || minute > 59 || !read_character(text, ":"))
		return -EINVAL;
	second = read_digits(text, 2);
	/* :60 is a leap second; as in POSIX it is the same instant as the next second. */
	if (second < 0 || second > 60)
		return -EINVAL;

	*fields = (struct tm){.tm_year = year - 1900,
			      .tm_mon = month - 1,
			      .tm_mday = day,
			      .tm_hour = hour,
			      .tm_min = minute,
			      .tm_sec = second};
	return 0;
}

/* Optional "." digits. *@too_fine: something is left below a nanosecond. */
static int read_fraction(const char **text, uint64_t *ns, bool *too_fine)
{
	uint64_t scale = NS_PER_SECOND / 10;

	*ns = 0;
	if (**text != '.')
		return 0;
	(*text)++;
	if (!is_digit(**text))
		return -EINVAL;
	for (; is_digit(**text); (*text)++) {
		if (!scale && **text != '0')
			*too_fine = true;
		*ns += scale * (uint64_t)(**text - '0');
		scale /= 10;
	}
	return 0;
}

/* "Z" or "+HH:MM" to the end of the text; seconds east of UTC. */
static int read_zone(const char **text, int *offset)
{
	int sign, hours, minutes;

	*offset = 0;
	if (read_character(text, "Zz"))
		return **text ? -EINVAL : 0;
	sign = **text == '-' ? -1 : 1;
	if (!read_character(text, "+-"))
		return -EINVAL;
	hours = read_digits(text, 2);
	if (hours < 0 || hours > 23 || !read_character(text, ":"))
		return -EINVAL;
	minutes = read_digits(text, 2);
	if (minutes < 0 || minutes > 59 || **text)
		return -EINVAL;
	*offset = sign * (hours * 3600 + minutes * 60);
	return 0;
}

int text_time(const char *text, uint64_t now_ns, uint64_t *ns)
{
	bool too_fine = false;
	uint64_t fraction, ago;
	struct tm fields;
	time_t seconds;
	int offset, error;

	if (*text == '-') {
		error = text_duration(text + 1, &ago);
		if (error)
			return error;
		if (ago > now_ns / NS_PER_MS)
			return -ERANGE;
		*ns = now_ns - ago * NS_PER_MS;
		return 0;
	}

	error = read_date_time(&text, &fields);
	if (!error)
		error = read_fraction(&text, &fraction, &too_fine);
	if (!error)
		error = read_zone(&text, &offset);
	if (error)
		return error;

	/* Times are kept as signed 64-bit nanoseconds in the store: 1970 to 2262. */
	seconds = timegm(&fields) - offset;
	if (too_fine || seconds < 0 || (uint64_t)seconds >= INT64_MAX / NS_PER_SECOND)
		return -ERANGE;
	*ns = (uint64_t)seconds * NS_PER_SECOND + fraction;
	return 0;
}

const char *text_format_real(double number, char out[TEXT_VALUE_SIZE])
{
	/* 17 digits tell every double from its neighbours; most need fewer. */
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(out, TEXT_VALUE_SIZE, "%.*g", digits, number);
		if (strtod(out, NULL) == number)
			break;
	}
	return out;
}

const char *text_format_percent(uint32_t ppm, char out[TEXT_VALUE_SIZE])
{
	uint32_t whole = ppm / 10000, fraction = ppm % 10000;
	int places = 4;

	if (!fraction) {
		snprintf(out, TEXT_VALUE_SIZE, "%u%%", whole);
		return out;
	}
	for (; fraction % 10 == 0; fraction /= 10)
		places--;
	snprintf(out, TEXT_VALUE_SIZE, "%u.%0*u%%", whole, places, fraction);
	return out;
}

const char *text_format_duration(uint64_t milliseconds, char out[TEXT_VALUE_SIZE])
{
	size_t used = 0;

	snprintf(out, TEXT_VALUE_SIZE, "0s");
	for (size_t i = 0; i < DURATION_UNITS && milliseconds; i++) {
		const struct duration_unit *unit = &duration_units[i];
		uint64_t number = milliseconds / unit->milliseconds;

		if (!unit->is_written || !number)
			continue;
		milliseconds %= unit->milliseconds;
		used += (size_t)snprintf(out + used, TEXT_VALUE_SIZE - used, "%llu%s",
					 (unsigned long long)number, unit->name);
	}
	return out;
}

const char *text_format_time(uint64_t ns, char out[TEXT_VALUE_SIZE])
{
	time_t seconds = (time_t)(ns / NS_PER_SECOND);
	struct tm fields;

	gmtime_r(&seconds, &fields);
	strftime(out, TEXT_VALUE_SIZE, "%Y-%m-%dT%H:%M:%SZ", &fields);
	return out;
}

const char *text_format_local_time(uint64_t ns, char out[TEXT_VALUE_SIZE])
{
	time_t seconds = (time_t)(ns / NS_PER_SECOND);
	struct tm fields;
	size_t used;
	long minutes;

	tzset();
	localtime_r(&seconds, &fields);
	used = strftime(out, TEXT_VALUE_SIZE, "%Y-%m-%dT%H:%M:%S", &fields);
	/* strftime's %z has no colon, which RFC 3339 wants. */
	minutes = labs(fields.tm_gmtoff) / 60;
	snprintf(out + used, TEXT_VALUE_SIZE - used, "%c%02ld:%02ld",
		 fields.tm_gmtoff < 0 ? '-' : '+', minutes / 60, minutes % 60);
	return out;
}

static uint64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t time_now_ns(void)
{
	return now_ns(CLOCK_REALTIME);
}

uint64_t monotonic_now_ns(void)
{
	return now_ns(CLOCK_MONOTONIC);
}

/* Longer words are no slips of the finger. */
#define NEAREST_LENGTH_MAX 64

static size_t minimum(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * Levenshtein's distance, with the exchange of two neighbours as one step (optimal string
 * alignment), for `wieght` is as close to `weight` as a wrong letter. Rows i - 2, i - 1 and i of
 * the usual table take turns.
 */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
	size_t rows[3][NEAREST_LENGTH_MAX + 1];

	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= a_length; i++) {
		size_t *row = rows[i % 3], *above = rows[(i - 1) % 3], *second = rows[(i + 1) % 3];

		row[0] = i;
		for (size_t j = 1; j <= b_length; j++) {
			row[j] = above[j - 1] + (a[i - 1] != b[j - 1]);
			row[j] = minimum(row[j], minimum(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = minimum(row[j], second[j - 2] + 1);
		}
	}
	return rows[a_length % 3][b_length];
}

const char *text_nearest(const char *text, const char *const *words, size_t count)
{
	size_t length = strnlen(text, NEAREST_LENGTH_MAX + 1);
	const char *nearest = NULL;
	size_t limit;

	if (length > NEAREST_LENGTH_MAX)
		return NULL;
	/* One slip in three letters, at most three. */
	limit = minimum((length + 1) / 3, 3) + 1;
	for (size_t i = 0; i < count; i++) {
		size_t word_length = strnlen(words[i], NEAREST_LENGTH_MAX + 1), distance;

		if (word_length > NEAREST_LENGTH_MAX)
			continue;
		distance = edit_distance(text, length, words[i], word_length);
		if (distance < limit) {
			limit = distance;
			nearest = words[i];
		}
	}
	return nearest;
}

/* Bytes of the UTF-8 character that @text begins with; 0: invalid, or a control character. */
static size_t printable_length(const unsigned char *text)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t length;
	uint32_t code;

	if (text[0] < 0x80)
		return text[0] >= 0x20 && text[0] != 0x7f;
	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		length = 2;
	else if (text[0] >= 0xe0 && text[0] <= 0xef)
		length = 3;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		length = 4;
	else
		return 0;
	code = text[0] & (0x7fU >> length);
	for (size_t i = 1; i < length; i++) {
		if ((text[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (text[i] & 0x3f);
	}
	if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return code < 0xa0 ? 0 : length;
}

char *text_printable(const char *text)
{
	const unsigned char *from = (const unsigned char *)text;
	char *out = malloc(4 * strlen(text) + 1), *to = out;

	if (!out)
		return NULL;
	while (*from) {
		size_t length = printable_length(from);

		if (!length) {
			to += sprintf(to, "\\x%02x", *from++);
			continue;
		}
		memcpy(to, from, length);
		to += length;
		from += length;
	}
	*to = 0;
	return out;
}
