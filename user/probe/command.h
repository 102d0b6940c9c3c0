/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A program of the user's that says pass or fail. It is run without a shell and without rights: as
 * nobody where we are root, with no way to gain any, in a process group of its own, which ends with
 * it.
 */
#ifndef XDP_CANARY_PROBE_COMMAND_H
#define XDP_CANARY_PROBE_COMMAND_H

#include "probe/probe.h"

enum command_result {
	COMMAND_PASSED, /* exit status 0 */
	COMMAND_FAILED, /* 1 */
	COMMAND_NODATA, /* 2; and whatever else became of it */
};

/*
 * @text: why there is no data, else what it wrote first (stdout and stderr): one line, "" where it
 * wrote nothing. It lives until the callback returns.
 */
typedef void (*command_done)(void *data, enum command_result result, const char *text);

/*
 * @words: the program, looked for in a PATH of the system's directories whatever ours is, and its
 * arguments.
 * @timeout_ms: from its turn on; then SIGTERM, and a second later SIGKILL. -ENOMEM. *@out is valid
 * until @done is called.
 */
int probe_command(struct probe_engine *engine, char *const *words, size_t count,
		  uint64_t timeout_ms, command_done done, void *data, struct probe **out);

#endif
