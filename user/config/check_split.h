/* SPDX-License-Identifier: GPL-2.0-only */
/* Of a service whose clients are split by another tool's hash, and the keys that go with it. */
#ifndef XDP_CANARY_CHECK_SPLIT_H
#define XDP_CANARY_CHECK_SPLIT_H

#include "config/check.h"

/* prefix6 where the file does not say it: it depends on the hash. */
void settle_prefix6(const struct check *check, struct service *service);
/* Instead of slots. */
void settle_parts(struct check *check, struct service *service, const struct path *cohorts);
void check_split(struct check *check, struct service *service, const struct path *path);
/* Can the tool be told the share that stands at @place as @key of @path? NULL: nothing is said. */
void check_split_share(struct check *check, const struct service *service, uint32_t share_ppm,
		       const struct place *place, const struct path *path, const char *key);

#endif
