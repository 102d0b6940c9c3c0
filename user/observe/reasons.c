// SPDX-License-Identifier: GPL-2.0-only
/* Names and texts of the X-macro lists in headers/reasons.h. */
#include "observe/snapshot.h"

const char *reason_name(enum reason reason)
{
	static const char *const names[] = {
#define X(symbol, action, name, text) [REASON_##symbol] = name,
		FOR_EACH_REASON(X)
#undef X
	};

	return reason < REASONS ? names[reason] : "unknown";
}

const char *reason_text(enum reason reason)
{
	static const char *const texts[] = {
#define X(symbol, action, name, text) [REASON_##symbol] = text,
		FOR_EACH_REASON(X)
#undef X
	};

	return reason < REASONS ? texts[reason] : "unknown";
}

enum action reason_action(enum reason reason)
{
	static const enum action actions[] = {
#define X(symbol, action, name, text) [REASON_##symbol] = ACTION_##action,
		FOR_EACH_REASON(X)
#undef X
	};

	return actions[reason];
}

const char *action_name(enum action action)
{
	static const char *const names[] = {
		[ACTION_STEER] = "steer",
		[ACTION_PASS] = "pass",
		[ACTION_DROP] = "drop",
	};

	return names[action];
}

const char *path_name(enum flow_path path)
{
	static const char *const names[] = {
#define X(symbol, name, text) [PATH_##symbol] = name,
		FOR_EACH_PATH(X)
#undef X
	};

	return path < PATHS ? names[path] : "unknown";
}

const char *path_text(enum flow_path path)
{
	static const char *const texts[] = {
#define X(symbol, name, text) [PATH_##symbol] = text,
		FOR_EACH_PATH(X)
#undef X
	};

	return path < PATHS ? texts[path] : "unknown";
}
