/* SPDX-License-Identifier: GPL-2.0-only */
/* Interfaces that a command attaches; those are taken back if it fails later. And `attach --try`.
 */
#ifndef XDP_CANARY_ATTACHMENTS_H
#define XDP_CANARY_ATTACHMENTS_H

#include "control/control.h"

struct attachments {
	char (*made)[16]; /* names; were not attached before */
	size_t count;
};

/* Attaches an interface as the policy says; already attached: nothing. */
int attachments_add(struct attachments *attachments, struct control *control, const char *name,
		    uint32_t slot);
void attachments_take_back(struct attachments *attachments, const struct control *control);
void attachments_release(struct attachments *attachments);

/* ---- trial.c: what `attach --try` leaves behind until a plain `attach` ---- */

#define TOKEN_SIZE 33

/*
 * Starts the watcher: a process that outlives the terminal and detaches after @milliseconds what is
 * on trial with this token. To be called before the store is opened, for it does that too. Returns
 * its pid or a negative errno.
 */
int trial_start(const struct place *place, uint64_t milliseconds, char token[TOKEN_SIZE],
		struct errors *errors);
/* Puts an interface on trial. */
int trial_add(const struct place *place, const char *interface, const char *token,
	      struct errors *errors);
bool trial_is_on(const struct place *place, const char *interface);
/* The interface stays as it is. */
void trial_end(const struct place *place, const char *interface);

#endif
