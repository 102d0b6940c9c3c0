/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Values as the contract writes them: percents, durations, sizes, names, times. Pure. Every parser
 * takes the whole text or nothing, and numbers are decimal: 010, 0x10, 10abc, " 10" are errors.
 */
#ifndef XDP_CANARY_TEXT_H
#define XDP_CANARY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Results: 0; -EINVAL not of the form; -ERANGE out of range or finer than the unit. */

/* Decimal integer without sign, leading zero or space, in [minimum, maximum]. */
int text_integer(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *out);
/* "3.5", "-1", "1e6": a decimal number without leading zeros or space, finite. */
int text_real(const char *text, double *out);
/* "5%", "0.01%", "100ppm", "5" (a bare number is a percentage): 0 to 1000000 ppm; finer than 1 ppm:
 * -ERANGE. */
int text_percent(const char *text, uint32_t *ppm);
/* "30s", "1h30m", units ms s m h d w, each at most once, greatest first. In milliseconds. */
int text_duration(const char *text, uint64_t *milliseconds);
/* [a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])? */
bool text_is_name(const char *text);
/* RFC 3339 ("2030-01-02T03:04:05Z", with offset too), or "-15m" before @now. Nanoseconds since
 * 1970, to 2262. */
int text_time(const char *text, uint64_t now_ns, uint64_t *ns);

#define TEXT_VALUE_SIZE 48
/* Shortest form that parses back to the same number. Returns @out. */
const char *text_format_real(double number, char out[TEXT_VALUE_SIZE]);
/* Shortest form that parses back: "5%", "0.0001%". Returns @out. */
const char *text_format_percent(uint32_t ppm, char out[TEXT_VALUE_SIZE]);
/* "1h30m", "30d" (never weeks), "0s"; parses back. */
const char *text_format_duration(uint64_t milliseconds, char out[TEXT_VALUE_SIZE]);
/* RFC 3339 UTC with Z, whole seconds. */
const char *text_format_time(uint64_t ns, char out[TEXT_VALUE_SIZE]);
/* Local time with offset, for terminals. */
const char *text_format_local_time(uint64_t ns, char out[TEXT_VALUE_SIZE]);

uint64_t time_now_ns(void);	 /* CLOCK_REALTIME */
uint64_t monotonic_now_ns(void); /* CLOCK_MONOTONIC */

/* Levenshtein neighbour of @text among @words (for "did you mean"), or NULL when none is close. */
const char *text_nearest(const char *text, const char *const *words, size_t count);

/*
 * A malloc()ed copy that is one line of valid UTF-8, for messages, JSON and logs: control
 * characters and bytes that are no UTF-8 become \xNN. NULL without memory.
 */
char *text_printable(const char *text);

#endif
