// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which spans are laid out as starts, and which as exact clients. Between two long spans there may
 * be a run of single clients; each of them is an entry unless the value that the last start gave is
 * its own. So a start in such a run pays where its value comes again: the addresses of a prefix, of
 * which every other one is a client, are a start and half as many entries.
 *
 * It is a register that holds one value, and that may be loaded before any span, at the cost of an
 * entry. The cheapest choice is found from left to right. A register that has just been of use at
 * span k was loaded there, or kept since the last span of the same value, for nothing is gained by
 * loading a value that it has already:
 *
 *   used[k] = min(1 + best[k - 1], used[p] + k - p - 1)     p: the last before k of its value
 *   best[k] = min(used[k], best[k - 1] + 1)                 or span k is an entry
 *
 * The tables so have at most as many starts and entries as the prefixes that the spans were made of
 * have ends, and clients.
 */
#include "segment/layout_internal.h"

#include "hash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LOADED UINT32_MAX

struct step {
	uint32_t used, best;
	uint32_t kept_from; /* step, or LOADED */
	uint32_t best_at;   /* the step whose register best[] has */
};

struct run {
	struct step *steps; /* [0]: before the run */
	uint32_t *slots;    /* open addressing by value: step + 1 of its last span; 0: free */
	size_t room;
};

static int run_reserve(struct run *run, size_t count)
{
	size_t room = run->room ? run->room : 64;

	if (count <= run->room)
		return 0;
	while (room < count)
		room *= 2;
	free(run->steps);
	free(run->slots);
	run->steps = malloc(room * sizeof(*run->steps));
	run->slots = malloc(2 * room * sizeof(*run->slots));
	run->room = run->steps && run->slots ? room : 0;
	return run->room ? 0 : -ENOMEM;
}

/* Where the value's last step is noted, of @size slots; @values[k - 1] is of step k. */
static uint32_t *last_step(const struct run *run, size_t size, const uint32_t *values,
			   uint32_t first_value, uint32_t value)
{
	size_t slot = fmix64(value) & (size - 1);

	for (;; slot = (slot + 1) & (size - 1)) {
		uint32_t step = run->slots[slot];

		if (!step || (step > 1 ? values[step - 2] : first_value) == value)
			return &run->slots[slot];
	}
}

/* Fills in the steps of @count spans, of which the register may have @register_value before. */
static void run_forward(struct run *run, const uint32_t *values, size_t count,
			uint32_t register_value)
{
	size_t size = 4, k;

	while (size < 2 * (count + 1))
		size *= 2;
	memset(run->slots, 0, size * sizeof(*run->slots));
	run->steps[0] = (struct step){0};
	*last_step(run, size, values, register_value, register_value) = 1;
	for (k = 1; k <= count; k++) {
		uint32_t *last = last_step(run, size, values, register_value, values[k - 1]);
		struct step *step = &run->steps[k], *before = step - 1;

		*step = (struct step){.used = before->best + 1, .kept_from = LOADED};
		if (*last && run->steps[*last - 1].used + (k - *last) <= step->used) {
			step->kept_from = *last - 1;
			step->used = run->steps[*last - 1].used + (k - *last);
		}
		step->best_at = step->used < before->best + 1 ? k : before->best_at;
		step->best = step->best_at == k ? step->used : before->best + 1;
		*last = k + 1;
	}
}

/* Roles of the steps up to @step, at which the register was of use. */
static void run_back(const struct run *run, uint8_t *roles, size_t step)
{
	while (step) {
		uint32_t before = run->steps[step].kept_from;

		roles[step - 1] = before == LOADED ? ROLE_START : ROLE_NOTHING;
		if (before == LOADED)
			before = run->steps[step - 1].best_at;
		memset(roles + before, ROLE_CLIENT, step - 1 - before);
		step = before;
	}
}

/* A run of single clients, and the long span behind it, where there is one. */
static int choose_run(struct run *run, const uint32_t *values, uint8_t *roles, size_t singles,
		      bool has_long, uint32_t register_value)
{
	size_t count = singles + has_long, last = count;
	int error = run_reserve(run, count + 2);

	if (error)
		return error;
	run_forward(run, values, count, register_value);
	if (!has_long) {
		last = run->steps[count].best_at;
		memset(roles + last, ROLE_CLIENT, count - last);
	}
	run_back(run, roles, last);
	return 0;
}

int choose_backgrounds(const uint32_t *values, uint8_t *roles, size_t count)
{
	struct run run = {0};
	uint32_t background = 0;
	size_t i = 0, end;
	int error = 0;

	while (i < count && !error) {
		for (end = i; end < count && roles[end] == ROLE_SINGLE; end++)
			;
		if (end - i < 2) { /* most are: one client in the midst of others' prefixes */
			if (end > i)
				roles[i] = values[i] == background ? ROLE_NOTHING : ROLE_CLIENT;
			if (end < count)
				roles[end] = values[end] == background ? ROLE_NOTHING : ROLE_START;
		} else {
			error = choose_run(&run, values + i, roles + i, end - i, end < count,
					   background);
		}
		if (end < count)
			background = values[end];
		i = end + 1;
	}
	free(run.steps);
	free(run.slots);
	return error;
}
