/* SPDX-License-Identifier: GPL-2.0-only */
/* A child without rights, for command.c. */
#ifndef XDP_CANARY_PROBE_SPAWN_H
#define XDP_CANARY_PROBE_SPAWN_H

#include "probe/probe.h"

#include <sys/types.h>

/*
 * Runs @words (the last one is NULL) in a process group of the child's number: as nobody where we
 * are root, no_new_privs, bounded, stdin of /dev/null, nothing else of ours open. What it writes
 * comes from *@output, which does not block. It may use the CPU for @timeout_ms at most. -errno.
 */
int spawn(char *const *words, uint64_t timeout_ms, pid_t *child, int *output);
/* A child that was killed and that nobody cares for any more: it is waited for by the loop. */
void spawn_abandon(struct probe_engine *engine, pid_t child);

#endif
