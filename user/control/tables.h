/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * From frozen memberships to the table that the kernel looks clients up in. The box has one table:
 * of every client the segments that rules name, and the groups, as numbers of classes and groups
 * (headers/abi.h). It is built anew when a membership or grouping has changed, from the memberships
 * and from the table that is shown, so that each new class is of one shown class: what was decided
 * on its clients before is known to the fold without any history.
 */
#ifndef XDP_CANARY_CONTROL_TABLES_H
#define XDP_CANARY_CONTROL_TABLES_H

#include "control/control_internal.h"

struct tables;

/*
 * Of this write: which table services are to use. Builds and writes it where it has to be new.
 * Names of segments have their numbers. Release it also after an error.
 */
int tables_begin(struct control *control, struct siphash_key secret, struct tables **out);
void tables_end(struct tables *tables);

/* How many services' views are to use another table than they do: each may begin an era. */
size_t tables_moving(const struct tables *tables);
/* Does the shown view (NULL: none) use the table that it is to use, if it uses one? */
bool tables_are_shown(const struct tables *tables, const struct view *view);
/* The classes of the table for the view of @service that is to follow @shown (NULL: none). Its
 * arrays live as long as the maps and @tables. */
void tables_classes(const struct tables *tables, const struct service *service,
		    const struct view *shown, struct client_classes *out);
/* Of the memberships and the grouping that decide on the service's clients. */
uint64_t tables_digest(const struct tables *tables, const struct service *service,
		       const struct view_numbers *numbers);

#endif
