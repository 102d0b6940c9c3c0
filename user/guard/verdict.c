// SPDX-License-Identifier: GPL-2.0-only
/* The words of verdicts. */
#include "guard/verdict.h"

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {
#define X(symbol, name) [VERDICT_##symbol] = name,
		FOR_EACH_VERDICT(X)
#undef X
	};

	return names[verdict];
}

const char *armed_name(enum armed armed)
{
	static const char *const names[] = {
		[ARMED_RELATIVE] = "relative",
		[ARMED_ABSOLUTE] = "absolute",
		[ARMED_NONE] = "none",
	};

	return names[armed];
}
