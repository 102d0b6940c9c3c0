/* SPDX-License-Identifier: GPL-2.0-only */
/* What time alone changes: pins and eras that end; and what a boot or a lost interface took away.
 */
#ifndef XDP_CANARY_DAEMON_UPKEEP_H
#define XDP_CANARY_DAEMON_UPKEEP_H

#include "control/control.h"

/*
 * Brings the kernel's side to what the store says, and the store to what has ended; nothing is
 * written where nothing has. @control: open to write. *@restore_is_due: the kernel's side may be
 * that of before the start; false when it is no more.
 */
int bring_up_to_date(struct control *control, bool *restore_is_due);

#endif
