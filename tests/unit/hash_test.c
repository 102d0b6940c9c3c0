// SPDX-License-Identifier: GPL-2.0-only
/* Hashes against published values, so that a box agrees with every other one, in any year. */
#include "hash.h"
#include "util/siphash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct siphash_key secret = {.k0 = 0x0706050403020100ULL, .k1 = 0x0f0e0d0c0b0a0908ULL};

static void siphash_is_siphash_1_3(void **state)
{
	(void)state;
	/* The first of the reference vectors: no byte, under the key 00 01 .. 0f. */
	assert_true(siphash13(secret, "", 0) == 0xabac0158050fc4dcULL);
	/* INTERFACE.md: salt64 of shop/v1. */
	assert_true(siphash13((struct siphash_key){0}, "shop/v1", 7) == 0xd7f1ff649337d369ULL);
}

/* The key that CPython makes of PYTHONHASHSEED: lcg_urandom() of its Python/bootstrap_hash.c. */
static struct siphash_key python_key(uint32_t seed)
{
	struct siphash_key key;
	uint8_t bytes[sizeof(key)];
	size_t i;

	for (i = 0; i < sizeof(bytes); i++) {
		seed = seed * 214013 + 2531011;
		bytes[i] = seed >> 16 & 0xff;
	}
	memcpy(&key, bytes, sizeof(key));
	return key;
}

/* Hashes of bytes(i * 167 + n * 13 for i < n) for n from 1 to 255, one a line. */
static FILE *start_python(uint32_t seed)
{
	char command[512];

	snprintf(
		command, sizeof(command),
		"PYTHONHASHSEED=%u python3 -c '"
		"import sys\n"
		"if sys.hash_info.algorithm == \"siphash13\":\n"
		"  for n in range(1, 256):\n"
		"    print(hash(bytes((i * 167 + n * 13) & 255 for i in range(n))) & (1 << 64) - 1)"
		"' 2>/dev/null",
		seed);
	return popen(command, "r");
}

static void siphash_is_cpythons(void **state)
{
	const uint32_t seed = 20240229;
	struct siphash_key key = python_key(seed);
	FILE *python = start_python(seed);
	unsigned long long theirs;
	uint8_t bytes[256];
	size_t size = 0, i;

	(void)state;
	assert_non_null(python);
	while (fscanf(python, "%llu", &theirs) == 1) {
		size++;
		for (i = 0; i < size; i++)
			bytes[i] = i * 167 + size * 13;
		/* To CPython -1 is an error; it says -2. */
		assert_int_equal(theirs, siphash13(key, bytes, size));
	}
	pclose(python);
	if (!size)
		skip(); /* no python3, or one older than 3.11 */
	assert_int_equal(size, 255);
}

static void whole_words_hash_like_bytes(void **state)
{
	const uint8_t bytes[37] = "0123456789abcdefghijklmnopqrstuvwxyz";
	uint64_t words[4], tail = 0;
	struct siphash_state sip;
	size_t length, i;

	(void)state;
	memcpy(words, bytes, sizeof(words));
	for (length = 0; length < sizeof(bytes); length++) {
		sip = siphash_begin(secret);
		for (i = 0; i < length / 8; i++)
			siphash_word(&sip, words[i]);
		tail = 0;
		memcpy(&tail, bytes + length / 8 * 8, length % 8);
		assert_true(siphash_end(&sip, tail, length) == siphash13(secret, bytes, length));
	}
}

static void tokens_are_those_of_the_interface(void **state)
{
	const uint8_t client4[4] = {198, 51, 100, 7};
	const uint8_t client6[16] = {0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 2};
	uint64_t salt64 = siphash13((struct siphash_key){0}, "shop/v1", 7);
	uint64_t token4 = siphash13(secret, client4, 4), token6 = siphash13(secret, client6, 16);

	(void)state;
	assert_true(token4 == 0xbea1e9d79020926aULL);
	assert_true(token6 == 0x459aebd6fc91e5f2ULL);
	assert_int_equal(client_hash(token4, salt64), 2634844476u);
	assert_int_equal(client_hash(token6, salt64), 4243239534u);
	assert_int_equal(client_hash(token4, HOLDOUT_SALT64), 3074974159u);
}

static void the_salt_of_the_holdout_is_its_texts(void **state)
{
	(void)state;
	assert_true(siphash13((struct siphash_key){0}, "xdp-canary/holdout", 18) == HOLDOUT_SALT64);
}

static void fmix64_is_murmurhash3s(void **state)
{
	(void)state;
	assert_true(fmix64(0) == 0);
	assert_true(fmix64(1) == 0xb456bcfc34c2cb2cULL);
}

static void scaling_covers_a_range_evenly(void **state)
{
	uint32_t size;

	(void)state;
	for (size = 1; size < 5000; size = 2 * size + 1) {
		assert_int_equal(scale(0, size), 0);
		assert_int_equal(scale(UINT32_MAX, size), size - 1);
		assert_int_equal(scale(1u << 31, 2 * size), size);
	}
}

static void every_part_of_a_flow_moves_its_word(void **state)
{
	uint64_t word = flow_word(1, 2, 3, 4);

	(void)state;
	assert_true(word != flow_word(2, 2, 3, 4));
	assert_true(word != flow_word(1, 3, 3, 4));
	assert_true(word != flow_word(1, 2, 4, 4));
	assert_true(word != flow_word(1, 2, 3, 5));
	assert_true(word != flow_word(1, 2, 4, 3));
	assert_true(flow_word(0, 1ULL << 32, 3, 4) != flow_word(0, 2ULL << 32, 3, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_is_siphash_1_3),
		cmocka_unit_test(siphash_is_cpythons),
		cmocka_unit_test(whole_words_hash_like_bytes),
		cmocka_unit_test(tokens_are_those_of_the_interface),
		cmocka_unit_test(the_salt_of_the_holdout_is_its_texts),
		cmocka_unit_test(fmix64_is_murmurhash3s),
		cmocka_unit_test(scaling_covers_a_range_evenly),
		cmocka_unit_test(every_part_of_a_flow_moves_its_word),
	};

	return cmocka_run_group_tests_name("unit/hash", tests, NULL, NULL);
}
