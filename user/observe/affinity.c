// SPDX-License-Identifier: GPL-2.0-only
/* Views say whether an era is open; its table and lines are read where one is. */
#include "observe/affinity.h"

#include <errno.h>
#include <stdlib.h>

/* Packets write them meanwhile. */
static uint64_t count_entries(const struct datapath *datapath, const struct view *view)
{
	const struct transition_line *lines =
		map_part(datapath, MAP_TRANSITION, struct transition_line, view->transition_base,
			 view->transition_lines);
	uint64_t count = 0;
	uint32_t line, way;

	for (line = 0; line < view->transition_lines; line++)
		for (way = 0; way < TRANSITION_WAYS; way++) {
			uint64_t entry = __atomic_load_n(&lines[line].ways[way], __ATOMIC_RELAXED);

			count += entry_is_of_era(entry, view->pins_first, view->era);
		}
	return count;
}

static void count_gone(const struct datapath *datapath, const struct view *view,
		       size_t gone[COHORTS_MAX])
{
	uint32_t number;

	for (number = 0; number < view->backends_count; number++) {
		const struct backend_line *line = datapath_backend(datapath, view, number);

		if ((line->flags & BACKEND_GONE) && line->cohort < COHORTS_MAX)
			gone[line->cohort]++;
	}
}

static void read_state(const struct datapath *datapath, const struct view *view, uint64_t now,
		       struct affinity_state *out)
{
	out->eras = view->eras;
	out->in_transition = era_is_open(view, now);
	if (!out->in_transition)
		return;
	out->entries = count_entries(datapath, view);
	count_gone(datapath, view, out->gone);
}

int affinity_read(const struct control *control, const struct snapshot *snapshot,
		  struct affinity_state **out)
{
	uint64_t now = 0;
	bool asked = false;
	size_t i;

	*out = calloc(snapshot->services_count + 1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	for (i = 0; i < snapshot->services_count; i++) {
		const struct view *view =
			control_view(control, snapshot->services[i].service->name);

		if (!view)
			continue;
		if ((view->flags & VIEW_TRANSITION) && !asked) {
			datapath_jiffies(control->datapath, &now, NULL); /* else it stays 0 */
			asked = true;
		}
		read_state(control->datapath, view, now, &(*out)[i]);
	}
	return 0;
}
