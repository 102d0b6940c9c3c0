// SPDX-License-Identifier: GPL-2.0-only
/*
 * rollout export: all that is known of one rollout, in files that other programs read:
 *
 *   config.yaml     the desired state that it was started with
 *   rollout.json    what it was, its steps, its last verdicts
 *   events.json     section 4's events
 *   audit.json      who changed what of the service meanwhile
 *   counts.csv      time,window,metric,rule,k,n,pi: for guard replay
 *   clients.csv     client,cohort,metric,time: each client's first event of a metric
 *
 * Each file is written under another name first, so that none is ever half there.
 */
#include "cli/rollout_records.h"
#include "cli/rollout_view.h"
#include "config/config.h"
#include "util/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct export
{
	struct cli *cli;
	struct control *control;
	struct stored_rollout rollout;
	const char *directory;
};

/* ---- files ---- */

static int cannot_write(const struct export *export, const char *path, int code)
{
	return errors_add_code(export->cli->errors, code, path,
			       "give a directory that you may write to with -o",
			       "cannot be written: %s", strerror(code));
}

/* Clients' addresses may be in it, and the directory may be open to all. */
static FILE *create_file(const char *path)
{
	int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
	FILE *stream = file < 0 ? NULL : fdopen(file, "w");

	if (!stream && file >= 0)
		close(file);
	return stream;
}

static int write_file(const struct export *export, const char *name,
		      int (*write)(const struct export *export, FILE *stream))
{
	char path[PATH_MAX], next[PATH_MAX];
	FILE *stream;
	int error;

	if (snprintf(path, sizeof(path), "%s/%s", export->directory, name) >= PATH_MAX ||
	    snprintf(next, sizeof(next), "%s/.%s.%d", export->directory, name, (int)getpid()) >=
		    PATH_MAX)
		return cannot_write(export, export->directory, ENAMETOOLONG);
	unlink(next); /* of one that died and had our process's number */
	stream = create_file(next);
	if (!stream)
		return cannot_write(export, path, errno);
	error = write(export, stream);
	if (ferror(stream) && !error)
		error = cannot_write(export, path, EIO);
	if (fclose(stream) && !error)
		error = cannot_write(export, path, errno);
	if (!error && rename(next, path))
		error = cannot_write(export, path, errno);
	if (error)
		unlink(next);
	return error;
}

static int dump(json_t *json, FILE *stream)
{
	int error = json && !json_dumpf(json, stream, JSON_INDENT(1)) ? 0 : -ENOMEM;

	putc('\n', stream);
	json_decref(json);
	return error;
}

/* ---- what is in them ---- */

static int write_config(const struct export *export, FILE *stream)
{
	struct revision revision;
	int error = store_revision(export->control->store, export->rollout.revision, &revision,
				   export->cli->errors);

	if (error)
		return error;
	fputs(revision.config, stream);
	revision_release(&revision);
	return 0;
}

static json_t *step_to_json(const struct step *step)
{
	json_t *json = json_pack("{s:s}", "kind", step_kind_name(step));

	switch (step->kind) {
	case STEP_WEIGHT:
		if (step->segment[0])
			json_object_set_new(json, "segment", json_string(step->segment));
		json_object_set_new(json, "weight_ppm", json_integer(step->weight_ppm));
		break;
	case STEP_PAUSE:
		json_object_set_new(json, "seconds",
				    step->pause_ms ? json_real((double)step->pause_ms / 1000)
						   : json_null());
		break;
	case STEP_ANALYSIS:
		json_object_set_new(json, "timeout_seconds",
				    json_real((double)step->analysis_timeout_ms / 1000));
		break;
	default:
		json_object_set_new(json, "message", json_text(step->approve_message));
	}
	return json;
}

static json_t *steps_to_json(const struct export *export)
{
	struct revision revision;
	struct policy *policy = NULL;
	struct service *service = NULL;
	json_t *steps = json_array();

	if (!store_revision(export->control->store, export->rollout.revision, &revision, NULL)) {
		policy = config_parse(revision.config, strlen(revision.config), "then", NULL);
		revision_release(&revision);
	}
	if (policy)
		service = policy_service(policy, export->rollout.service);
	for (size_t i = 0; service && i < service->rollout.steps_count; i++)
		json_array_append_new(steps, step_to_json(&service->rollout.steps[i]));
	policy_free(policy);
	return steps;
}

static int write_rollout(const struct export *export, FILE *stream)
{
	json_t *judgement = json_loads(export->rollout.judgement, 0, NULL);
	json_t *json = json_pack("{s:s}", "service", export->rollout.service);

	json_object_update_new(json, rollout_to_json(&export->rollout));
	json_object_set_new(json, "steps", steps_to_json(export));
	json_object_set_new(json, "judgement", judgement ? judgement : json_null());
	return dump(json, stream);
}

static int write_events(const struct export *export, FILE *stream)
{
	struct rollout_record *records;
	size_t count;
	int error =
		store_rollout_events(export->control->store, export->rollout.service,
				     export->rollout.id, 0, &records, &count, export->cli->errors);

	if (error)
		return error;
	error = dump(rollout_events_to_json(records, count), stream);
	rollout_records_release(records, count);
	return error;
}

static json_t *parsed(const char *text)
{
	json_t *value = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;

	return value ? value : json_null();
}

static int write_audit(const struct export *export, FILE *stream)
{
	uint64_t ended_ns = export->rollout.ended_ns;
	struct audit_entry *entries;
	json_t *list = json_array();
	size_t count;
	int error =
		store_read_audit(export->control->store, export->rollout.service,
				 export->rollout.started_ns, &entries, &count, export->cli->errors);

	for (size_t i = 0; !error && i < count; i++) {
		const struct audit_entry *entry = &entries[i];

		if (ended_ns && entry->time_ns > ended_ns)
			continue;
		json_array_append_new(
			list, json_pack("{s:o, s:o, s:o, s:I, s:o, s:o, s:o}", "time",
					json_time(entry->time_ns), "by", json_text(entry->by),
					"command", json_text(entry->command), "revision",
					(json_int_t)entry->revision, "before",
					parsed(entry->before), "after", parsed(entry->after),
					"reason", json_text(entry->reason)));
	}
	if (!error)
		audit_release(entries, count);
	if (error)
		json_decref(list);
	return error ? error : dump(list, stream);
}

static int write_counts(const struct export *export, FILE *stream)
{
	char time[TEXT_VALUE_SIZE], pi[TEXT_VALUE_SIZE];
	struct rollout_count *counts;
	size_t count;
	int error = store_rollout_counts(export->control->store, export->rollout.service,
					 export->rollout.id, &counts, &count, export->cli->errors);

	if (error)
		return error;
	fputs("time,window,metric,rule,k,n,pi\n", stream);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, "%s,%" PRIu32 ",%s,%s,%" PRIu64 ",%" PRIu64 ",%s\n",
			text_format_time(counts[i].time_ns, time), counts[i].window,
			counts[i].metric, counts[i].rule, counts[i].k, counts[i].n,
			text_format_real(counts[i].pi, pi));
	free(counts);
	return 0;
}

static int write_clients(const struct export *export, FILE *stream)
{
	char client[ADDRESS_TEXT_SIZE], time[TEXT_VALUE_SIZE];
	struct rollout_client *clients;
	size_t count;
	int error = store_rollout_clients(export->control->store, export->rollout.service,
					  export->rollout.id, NULL, NULL, &clients, &count,
					  export->cli->errors);

	if (error)
		return error;
	fputs("client,cohort,metric,time\n", stream);
	for (size_t i = 0; i < count; i++)
		fprintf(stream, "%s,%s,%s,%s\n", rollout_client_format(&clients[i], client),
			clients[i].cohort, clients[i].metric,
			text_format_time(clients[i].time_ns, time));
	free(clients);
	return 0;
}

/* ---- the command ---- */

static const struct {
	const char *name;
	int (*write)(const struct export *export, FILE *stream);
} files[] = {
	{"config.yaml", write_config}, {"rollout.json", write_rollout},
	{"events.json", write_events}, {"audit.json", write_audit},
	{"counts.csv", write_counts},  {"clients.csv", write_clients},
};

#define FILES (sizeof(files) / sizeof(files[0]))

/* Clients' addresses are in it. */
static int make_directory(const struct export *export)
{
	if (!mkdir(export->directory, 0750) || errno == EEXIST)
		return 0;
	return cannot_write(export, export->directory, errno);
}

static void print_export(const struct export *export)
{
	struct cli *cli = export->cli;
	json_t *names = json_array();

	for (size_t i = 0; i < FILES; i++)
		json_array_append_new(names, json_string(files[i].name));
	cli_say(cli, "%s: rollout %" PRIu64 " is in %s", export->rollout.service,
		export->rollout.id, export->directory);
	if (cli->json)
		cli_print_json(cli, json_pack("{s:s, s:s, s:I, s:s, s:O}", "cmd", "rollout export",
					      "service", export->rollout.service, "id",
					      (json_int_t) export->rollout.id, "directory",
					      export->directory, "files", names));
	json_decref(names);
}

int command_rollout_export(struct cli *cli)
{
	struct export export = {.cli = cli, .directory = cli_flag(cli, "-o")};
	char directory[NAME_SIZE + 32];
	int error = cli_open(cli, &export.control);

	if (!error)
		error = rollout_chosen(cli, export.control, cli->words[0], &export.rollout);
	if (!error && !export.directory) {
		snprintf(directory, sizeof(directory), "%s-rollout-%" PRIu64,
			 export.rollout.service, export.rollout.id);
		export.directory = directory;
	}
	if (!error)
		error = make_directory(&export);
	for (size_t i = 0; i < FILES && !error; i++)
		error = write_file(&export, files[i].name, files[i].write);
	if (!error)
		print_export(&export);
	stored_rollout_release(&export.rollout);
	control_close(export.control);
	return error;
}
