// SPDX-License-Identifier: GPL-2.0-only
/* The programs of flows, by name. */
#include "flows.h"

#include <string.h>

static const struct program {
	const char *name;
	int (*main)(char **argv);
	const char *usage;
} programs[] = {
	{"client", client_main, "--sources FILE --to ADDRESS... --port N [--udp yes] ..."},
	{"server", server_main, "--name NAME --port N [--udp yes] ADDRESS..."},
	{"tap", tap_main, "--interface NAME --port N ADDRESS..."},
	{"flood", flood_main, "--interface NAME --mac MAC --port N --count N --rate N ADDRESS"},
	{"toggle", toggle_main, "--count N PROGRAM SERVICE BACKEND"},
	{"time", time_main, "PROGRAM WORD..."},
};

int main(int argc, char **argv)
{
	const struct program *program;

	for (program = programs; program < programs + sizeof(programs) / sizeof(*programs);
	     program++)
		if (argc > 2 && !strcmp(argv[1], program->name))
			return program->main(argv + 2);
	for (program = programs; program < programs + sizeof(programs) / sizeof(*programs);
	     program++)
		fprintf(stderr, "usage: flows %s %s\n", program->name, program->usage);
	return 2;
}
