/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every subcommand gets and gives: the global flags, parsed; its own words and flags, parsed
 * by its table; a place for errors; a result as JSON, or text on stdout.
 *
 * A command prints its result once, at its end (cli_print() or text), and returns 0 or a negative
 * errno with at least one error added; main prints errors and warnings and chooses the exit status.
 */
#ifndef XDP_CANARY_CLI_H
#define XDP_CANARY_CLI_H

#include "control/control.h"
#include "util/errors.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EXIT_DONE      0
#define EXIT_FAILED    1 /* nothing changed */
#define EXIT_USAGE     2
#define EXIT_ROLLBACK  3
#define EXIT_DIFFERENT 4 /* --check found differences */

struct cli;

struct flag {
	const char *name;  /* "--dry-run", "-f" */
	const char *value; /* NULL: a switch; else what it takes, for usage: "PATH" */
	bool many;	   /* may stand several times, each with one value or more (-f PATH...) */
};

struct command {
	const char *noun, *verb;  /* verb NULL: the noun alone */
	const char *arguments;	  /* for usage: "S C COHORT" */
	int words_min, words_max; /* positional words after noun and verb */
	const struct flag *flags; /* ends with a flag without a name */
	const char *summary;
	int (*run)(struct cli *cli); /* NULL: of a later version */
};

struct cli {
	struct place place;
	struct actor actor;
	struct errors *errors;
	const struct command *command;
	bool json, quiet, verbose, color;
	char **words; /* positional */
	int words_count;
	const char **flag_values; /* pairs: flag name, value; ends with NULL */
	int flags_count;
	int status;	    /* a command may set EXIT_ROLLBACK or EXIT_DIFFERENT */
	json_t *document;   /* the result, until it is printed; NULL: none */
	bool printed_lines; /* of JSON, already */
	bool printed_whole; /* a document that the command has written itself */
};

/* The last value of a flag, "" for a switch that stands; NULL: it does not stand. */
const char *cli_flag(const struct cli *cli, const char *name);
/* All values of a flag; *@count of them. The array is malloc()ed. */
const char **cli_flag_all(const struct cli *cli, const char *name, size_t *count);

/* A wrong word or flag value: an error, and exit status EXIT_USAGE. Returns -EINVAL. */
int cli_usage(struct cli *cli, const char *object, const char *hint, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/*
 * @document (a reference is taken away) is the one JSON document of the command. It is printed at
 * the end, with the `errors` and `warnings` that there are by then; by cli_print_now() without.
 */
void cli_print_json(struct cli *cli, json_t *document);
void cli_print_now(struct cli *cli);
/* One object of a stream, on a line of its own. */
void cli_print_json_line(struct cli *cli, json_t *object);

/* A line for people: what was done. Nothing with -j or -q. */
void cli_say(const struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The start of what is printed in a colour (SGR @code: 1 bold, 31 red, 32 green), and its end; ""
 * without colours. */
const char *cli_color(const struct cli *cli, const char *code, char buffer[16]);
const char *cli_color_end(const struct cli *cli);

/* Text in columns: begin, then the cells row by row, then end, which prints and frees. */
struct table {
	const char *const *headers; /* ends with NULL */
	size_t columns;
	char **cells;
	size_t count, room;
};
void table_begin(struct table *table, const char *const *headers);
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_end(const struct cli *cli, struct table *table);

/* control_open(), control_open_write() with the command's place, errors and actor. */
int cli_open(struct cli *cli, struct control **out);
int cli_open_write(struct cli *cli, struct control **out);
/* The service that is named, or NULL with an error that lists near names. */
const struct service *cli_service(struct cli *cli, const struct control *control, const char *name);
/* JSON helpers: text or null, RFC 3339 UTC or null (0). */
json_t *json_text(const char *text);
json_t *json_time(uint64_t ns);
/* A time for people: local with offset. */
const char *cli_time(uint64_t ns, char *buffer);

/* The epoch that a service has now, or null; of the control's live state. */
json_t *json_epoch(const struct control *control, const char *service);
/* store_audit() with both sides as JSON, whose references it takes; null: there was, or is,
 * nothing. */
int cli_audit(struct control *control, const char *service, json_t *before, json_t *after);
/* An errors_add() for a name that does not exist among @names: says which are near, or which there
 * are. */
int cli_unknown(struct errors *errors, const char *object, const char *what, const char *name,
		const char *const *names, size_t count);

/* ---- options.c, report.c: for main ---- */

/* 0: run cli->command; 1: done (help or version was printed); or a negative errno with errors. */
int options_parse(struct cli *cli, int argc, char **argv);
/* Errors and warnings of a command that returned @result; the exit status. */
int cli_report(struct cli *cli, int result);
void cli_release(struct cli *cli);

/* The table of all commands (commands.c). */
extern const struct command commands[];
extern const size_t commands_count;

#define COMMAND(function) int function(struct cli *cli)
COMMAND(command_apply);
COMMAND(command_diff);
COMMAND(command_get);
COMMAND(command_history);
COMMAND(command_audit);
COMMAND(command_attach);
COMMAND(command_detach);
COMMAND(command_upgrade);
COMMAND(command_kill);
COMMAND(command_service_list);
COMMAND(command_service_show);
COMMAND(command_backend_list);
COMMAND(command_backend_set);
COMMAND(command_client_pin);
COMMAND(command_client_unpin);
COMMAND(command_client_pins);
COMMAND(command_model_import);
COMMAND(command_model_list);
COMMAND(command_model_show);
COMMAND(command_model_remove);
COMMAND(command_model_classify);
COMMAND(command_model_drift);
COMMAND(command_segment_list);
COMMAND(command_segment_show);
COMMAND(command_segment_preview);
COMMAND(command_segment_materialise);
COMMAND(command_client_import);
COMMAND(command_client_list);
COMMAND(command_client_show);
COMMAND(command_client_remove);
COMMAND(command_features_export);
COMMAND(command_features_show);
COMMAND(command_rollout_set);
COMMAND(command_rollout_reset);
COMMAND(command_rollout_start);
COMMAND(command_rollout_pause);
COMMAND(command_rollout_resume);
COMMAND(command_rollout_approve);
COMMAND(command_rollout_promote);
COMMAND(command_rollout_abort);
COMMAND(command_rollout_retry);
COMMAND(command_rollout_status);
COMMAND(command_rollout_history);
COMMAND(command_rollout_export);
COMMAND(command_rollout_clients);
COMMAND(command_feedback_add);
COMMAND(command_feedback_import);
COMMAND(command_rollout_undo);
COMMAND(command_guard_replay);
COMMAND(command_stats);
COMMAND(command_explain);
COMMAND(command_doctor);
COMMAND(command_reasons);
COMMAND(command_secret_init);
COMMAND(command_secret_check);
COMMAND(command_daemon);

#endif
