// SPDX-License-Identifier: GPL-2.0-only
/* The text of a path, from the steps that lead there. Pure. */
#include "config/path.h"

#include <stdio.h>

/* A step may hold whatever stands in the file: no more than this of it is shown. */
#define STEP_SHOWN 64

static size_t format_steps(const struct path *path, char out[PATH_SIZE])
{
	size_t used = path->parent ? format_steps(path->parent, out) : 0;
	int length;

	if (!path->text)
		length = snprintf(out + used, PATH_SIZE - used, "[%zu]", path->index);
	else
		length = snprintf(out + used, PATH_SIZE - used, "%s%.*s", used ? "/" : "",
				  STEP_SHOWN, path->text);
	used += length > 0 ? length : 0;
	return used < PATH_SIZE ? used : PATH_SIZE - 1;
}

const char *path_format(const struct path *path, char out[PATH_SIZE])
{
	out[0] = 0;
	if (path)
		format_steps(path, out);
	return out;
}
