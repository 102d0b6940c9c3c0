/* SPDX-License-Identifier: GPL-2.0-only */
/* Records of rollouts, as history, clients and export show them. */
#ifndef XDP_CANARY_ROLLOUT_RECORDS_H
#define XDP_CANARY_ROLLOUT_RECORDS_H

#include "cli/cli.h"
#include "store/rollouts.h"

/* The rollout of --id, else the service's last one, closed or not; an error where there is none. */
int rollout_chosen(struct cli *cli, struct control *control, const char *service,
		   struct stored_rollout *out);
json_t *rollout_to_json(const struct stored_rollout *rollout);
json_t *rollout_events_to_json(const struct rollout_record *records, size_t count);
const char *rollout_client_format(const struct rollout_client *client, char out[ADDRESS_TEXT_SIZE]);

#endif
