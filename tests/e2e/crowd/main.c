// SPDX-License-Identifier: GPL-2.0-only
/* The programs of crowd, by name. */
#include "crowd.h"

#include <string.h>

static const struct program {
	const char *name;
	int (*main)(char **argv);
	const char *usage;
} programs[] = {
	{"clients", clients_main, "--sources FILE --to ADDRESS --port N ..."},
	{"server", server_main, "--name NAME[=NAMESPACE]... --port N ADDRESS..."},
	{"delay", delay_main, "--from INTERFACE --to INTERFACE --source MAC --next-hop MAC --ms N"},
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
		fprintf(stderr, "usage: crowd %s %s\n", program->name, program->usage);
	return 2;
}
