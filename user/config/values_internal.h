/* SPDX-License-Identifier: GPL-2.0-only */
/* What the files of values share: a type's operations, and what parsers complain with. */
#ifndef XDP_CANARY_CONFIG_VALUES_INTERNAL_H
#define XDP_CANARY_CONFIG_VALUES_INTERNAL_H

#include "config/values.h"

struct value_type_operations {
	int (*parse)(const struct key *key, const struct scalar *scalar, void *target,
		     struct complaint *complaint);
	json_t *(*render)(const struct key *key, const void *target);
	void (*expected)(const struct key *key, char *out, size_t size);
};

extern const struct value_type_operations address_operations, prefix_operations, mac_operations,
	vip_operations, listen_operations, server_id_operations, url_operations,
	statuses_operations;

/* "TEXT FORMAT..." as *@complaint's what; returns -EINVAL. */
int complain(struct complaint *complaint, const char *text, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* C0, DEL or C1 in UTF-8. */
bool has_control_characters(const char *text);
/* HOST: an address, IPv6 in brackets, or a host's name. */
bool value_is_host(const char *text);
/* A copy of @text in place of the string at @target; -ENOMEM. */
int store_string(void *target, const char *text);

#endif
