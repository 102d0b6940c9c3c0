// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state as JSON and back, by one table of its members, so that what is written is what is read.
 * Numbers of 64 bits are the signed ones of the same bits.
 */
#include "rollout/machine.h"

#include "util/text.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

enum member_type { MEMBER_U64, MEMBER_U32, MEMBER_ENUM, MEMBER_BOOL, MEMBER_TEXT };

struct state_member {
	const char *name;
	enum member_type type;
	size_t offset;
	size_t size;			     /* of a text its room, of an enum how many there are */
	const char *(*word)(uint32_t value); /* of an enum; never NULL below size */
};

static const char *phase_word(uint32_t value)
{
	return rollout_phase_name(value);
}

static const char *wait_word(uint32_t value)
{
	return value == WAIT_NOTHING ? "nothing" : rollout_wait_name(value);
}

static const char *verdict_word(uint32_t value)
{
	return verdict_name(value);
}

static const char *stage_word(uint32_t value)
{
	static const char *const words[ROLLOUT_STAGES] = {
		[STAGE_BEFORE] = "before",
		[STAGE_READY] = "ready",
		[STAGE_ON] = "on",
		[STAGE_AFTER] = "after",
	};

	return words[value];
}

static const char *pause_word(uint32_t value)
{
	static const char *const words[ROLLOUT_PAUSES] = {
		[PAUSE_NOT] = "not",	   [PAUSE_OPERATOR] = "operator",
		[PAUSE_FAILED] = "failed", [PAUSE_INVALID] = "invalid",
		[PAUSE_ASKED] = "asked",   [PAUSE_INCONCLUSIVE] = "inconclusive",
	};

	return words[value];
}

static const char *step_word(uint32_t value)
{
	static const char *const words[STEP_APPROVE + 1] = {
		[STEP_WEIGHT] = "weight",
		[STEP_PAUSE] = "pause",
		[STEP_ANALYSIS] = "analysis",
		[STEP_APPROVE] = "approve",
	};

	return words[value];
}

const char *rollout_step_name(enum step_kind kind)
{
	return step_word(kind);
}

#define AT(member)   offsetof(struct rollout_state, member)
#define SIZE(member) sizeof(((struct rollout_state *)0)->member)
#define U64(member)                                                                                \
	{                                                                                          \
#member, MEMBER_U64, AT(member), 0, NULL                                           \
	}
#define U32(member)                                                                                \
	{                                                                                          \
#member, MEMBER_U32, AT(member), 0, NULL                                           \
	}
#define BOOL(member)                                                                               \
	{                                                                                          \
#member, MEMBER_BOOL, AT(member), 0, NULL                                          \
	}
#define STRING(member)                                                                             \
	{                                                                                          \
#member, MEMBER_TEXT, AT(member), SIZE(member), NULL                               \
	}
#define ENUM(member, count, word)                                                                  \
	{                                                                                          \
#member, MEMBER_ENUM, AT(member), count, word                                      \
	}

/* clang-format off */
static const struct state_member members[] = {
	U64(id), U64(sequence), ENUM(phase, ROLLOUT_PHASES, phase_word),
	ENUM(stage, ROLLOUT_STAGES, stage_word), ENUM(pause, ROLLOUT_PAUSES, pause_word),
	ENUM(waiting_for, ROLLOUT_WAITS, wait_word), U32(step), U32(steps_count),
	ENUM(step_kind, STEP_APPROVE + 1, step_word), U32(begun), U32(reached), BOOL(is_over),
	BOOL(is_forced), STRING(cohort), U64(started_ns), U64(since_ns), U64(ended_ns),
	U64(last.real_ns), U64(last.monotonic_ns), U64(last.boot), U64(elapsed_ns), U64(step_ns),
	U64(patience_ns),  U32(window), U64(window_ns), U64(changed_ns),
	ENUM(verdict, VERDICTS, verdict_word), BOOL(has_verdict), U32(acknowledged), U64(call), U32(gates_open),
	U32(gates_asked), U64(gates_ns), STRING(by), STRING(why),
};
/* clang-format on */

#define MEMBERS (sizeof(members) / sizeof(members[0]))

_Static_assert(sizeof(enum rollout_phase) == sizeof(uint32_t), "enums are read as u32");

static json_t *member_to_json(const struct rollout_state *state, const struct state_member *member)
{
	const char *at = (const char *)state + member->offset;
	uint64_t wide;
	uint32_t narrow;

	switch (member->type) {
	case MEMBER_U64:
		memcpy(&wide, at, sizeof(wide));
		return json_integer((json_int_t)wide);
	case MEMBER_BOOL:
		return json_boolean(*(const bool *)at);
	case MEMBER_TEXT:
		return json_string(at);
	default:
		memcpy(&narrow, at, sizeof(narrow));
		return member->word ? json_string(member->word(narrow)) : json_integer(narrow);
	}
}

json_t *rollout_state_to_json(const struct rollout_state *state)
{
	json_t *json = json_object(), *shares = json_array();

	for (size_t i = 0; i < MEMBERS; i++)
		json_object_set_new(json, members[i].name, member_to_json(state, &members[i]));
	for (size_t i = 0; i < state->shares_count; i++) {
		const struct rollout_share *share = &state->shares[i];

		json_array_append_new(shares, json_pack("{s:s, s:I, s:I}", "rule", share->rule,
							"ppm", (json_int_t)share->ppm, "changed_ns",
							(json_int_t)share->changed_ns));
	}
	json_object_set_new(json, "shares", shares);
	json_object_set_new(json, "held", json_integer(state->held));
	return json;
}

static int number_from_json(const json_t *json, uint64_t limit, uint64_t *out)
{
	*out = json_integer_value(json);
	return json_is_integer(json) && (!limit || *out < limit) ? 0 : -EINVAL;
}

static int text_from_json(const json_t *json, char *out, size_t size)
{
	if (!json_is_string(json) || json_string_length(json) >= size)
		return -EINVAL;
	strcpy(out, json_string_value(json));
	return 0;
}

static int word_from_json(const json_t *json, const struct state_member *member, uint32_t *out)
{
	const char *text = json_string_value(json);

	for (*out = 0; text && *out < member->size; ++*out)
		if (!strcmp(member->word(*out), text))
			return 0;
	return -EINVAL;
}

static int member_from_json(const json_t *json, const struct state_member *member,
			    struct rollout_state *out)
{
	char *at = (char *)out + member->offset;
	uint64_t wide;
	uint32_t narrow;
	int error = 0;

	switch (member->type) {
	case MEMBER_U64:
		error = number_from_json(json, 0, &wide);
		memcpy(at, &wide, sizeof(wide));
		return error;
	case MEMBER_BOOL:
		*(bool *)at = json_is_true(json);
		return json_is_boolean(json) ? 0 : -EINVAL;
	case MEMBER_TEXT:
		return text_from_json(json, at, member->size);
	case MEMBER_ENUM:
		error = word_from_json(json, member, &narrow);
		break;
	default:
		error = number_from_json(json, 1ULL << 32, &wide);
		narrow = (uint32_t)wide;
	}
	if (!error)
		memcpy(at, &narrow, sizeof(narrow));
	return error;
}

static int shares_from_json(const json_t *list, struct rollout_state *out)
{
	const json_t *entry;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > RULES_MAX)
		return -EINVAL;
	json_array_foreach(list, i, entry)
	{
		struct rollout_share *share = &out->shares[i];
		uint64_t ppm;

		if (text_from_json(json_object_get(entry, "rule"), share->rule,
				   sizeof(share->rule)) ||
		    number_from_json(json_object_get(entry, "ppm"), 1000001, &ppm) ||
		    number_from_json(json_object_get(entry, "changed_ns"), 0, &share->changed_ns))
			return -EINVAL;
		share->ppm = (uint32_t)ppm;
	}
	out->shares_count = json_array_size(list);
	return 0;
}

/* Who wrote none knew the last reason only. */
static int held_from_json(const json_t *json, struct rollout_state *out)
{
	uint64_t held = out->pause ? 1u << out->pause : 0;
	int error = json ? number_from_json(json, 1 << ROLLOUT_PAUSES, &held) : 0;

	out->held = (uint32_t)held;
	return error;
}

int rollout_state_from_json(const json_t *json, struct rollout_state *out)
{
	int error = 0;

	*out = (struct rollout_state){0};
	for (size_t i = 0; i < MEMBERS && !error; i++)
		error = member_from_json(json_object_get(json, members[i].name), &members[i], out);
	if (!error)
		error = shares_from_json(json_object_get(json, "shares"), out);
	if (!error)
		error = held_from_json(json_object_get(json, "held"), out);
	if (error)
		*out = (struct rollout_state){0};
	return error;
}

static json_t *text_or_null(const char *text)
{
	return text[0] ? json_string(text) : json_null();
}

json_t *rollout_note_to_json(const struct rollout_note *note, const char *service, uint64_t id,
			     uint64_t clients_affected)
{
	char time[TEXT_VALUE_SIZE];

	return json_pack(
		"{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "event",
		note->event, "time", text_format_time(note->time_ns, time), "service", service,
		"id", (json_int_t)id, "step", note->step ? json_integer(note->step) : json_null(),
		"metric", text_or_null(note->metric), "log_e",
		isfinite(note->log_e) ? json_real(note->log_e) : json_null(), "clients_affected",
		clients_affected == UINT64_MAX ? json_null()
					       : json_integer((json_int_t)clients_affected),
		"before_ppm", note->has_shares ? json_integer(note->before_ppm) : json_null(),
		"after_ppm", note->has_shares ? json_integer(note->after_ppm) : json_null(), "by",
		note->by, "reason", text_or_null(note->reason));
}
