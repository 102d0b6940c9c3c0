// SPDX-License-Identifier: GPL-2.0-only
/*
 * rollout undo: the section of one service as an earlier revision had it, with everything else as
 * it is, becomes the desired state as by apply: a new revision, and the same refusals.
 */
#include "cli/apply.h"
#include "config/config.h"
#include "control/rollouts.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct undo {
	struct cli *cli;
	struct control *control;
	const char *service;
	uint64_t to;	 /* the revision */
	json_t *present; /* the desired state as a tree */
	json_t *section; /* of the service, in that revision */
};

static const char *object_of(const struct undo *undo, char object[NAME_SIZE + 16])
{
	snprintf(object, NAME_SIZE + 16, "services/%.*s", NAME_SIZE, undo->service);
	return object;
}

static int out_of_memory(const struct undo *undo)
{
	char object[NAME_SIZE + 16];

	return errors_add_code(undo->cli->errors, ENOMEM, object_of(undo, object),
			       "free some memory", "out of memory");
}

/* Its place in the tree's list of services, or -ENOENT. */
static int section_index(const json_t *tree, const char *service)
{
	const json_t *list = json_object_get(tree, "services"), *section;
	size_t i;

	json_array_foreach(list, i, section)
	{
		const char *name = json_string_value(json_object_get(section, "name"));

		if (name && !strcmp(name, service))
			return (int)i;
	}
	return -ENOENT;
}

/* A borrowed reference; NULL: it is not there. */
static json_t *section_of(const json_t *tree, const char *service)
{
	int index = section_index(tree, service);

	return index < 0 ? NULL : json_array_get(json_object_get(tree, "services"), index);
}

/* ---- which revision ---- */

static json_t *tree_of_text(const char *text, const char *name, struct errors *errors)
{
	struct policy *policy = config_parse_revision(text, name, errors);
	json_t *tree = policy ? config_to_json(policy) : NULL;

	policy_free(policy);
	return tree;
}

/* The service's section in a revision: a new reference, or NULL where it has none. */
static int read_section(const struct undo *undo, uint64_t number, json_t **out)
{
	struct revision revision = {0};
	char name[32];
	json_t *tree;
	int error = store_revision(undo->control->store, number, &revision, undo->cli->errors);

	*out = NULL;
	if (error == -ENOENT)
		return errors_add_code(undo->cli->errors, ENOENT, "--to",
				       "see `xdp-canary history`", "there is no revision %" PRIu64,
				       number);
	if (error)
		return error;
	snprintf(name, sizeof(name), "revision %" PRIu64, number);
	tree = tree_of_text(revision.config, name, undo->cli->errors);
	if (tree)
		*out = json_incref(section_of(tree, undo->service));
	json_decref(tree);
	revision_release(&revision);
	return tree ? 0 : -EINVAL;
}

/* The last revision in which the service was there, and otherwise than it is now. */
static int search_revision(struct undo *undo)
{
	const json_t *now = section_of(undo->present, undo->service);
	char object[NAME_SIZE + 16];

	for (uint64_t number = undo->control->revision.number - 1; number; number--) {
		json_t *section;
		int error = read_section(undo, number, &section);

		if (error)
			return error;
		if (section && !json_equal(section, now)) {
			undo->to = number;
			undo->section = section;
			return 0;
		}
		json_decref(section);
	}
	return errors_add_code(undo->cli->errors, ENOENT, object_of(undo, object),
			       "see `xdp-canary history`",
			       "no revision had it otherwise than it is now");
}

static int choose_revision(struct undo *undo)
{
	const char *text = cli_flag(undo->cli, "--to");
	char object[NAME_SIZE + 16];
	int error;

	if (!text)
		return search_revision(undo);
	if (text_integer(text, 1, INT64_MAX, &undo->to))
		return cli_usage(undo->cli, "--to", "see `xdp-canary history`",
				 "`%s` is no number of a revision", text);
	error = read_section(undo, undo->to, &undo->section);
	if (error || undo->section)
		return error;
	return errors_add_code(undo->cli->errors, ENOENT, object_of(undo, object),
			       "see `xdp-canary history`", "revision %" PRIu64 " did not have it",
			       undo->to);
}

/* ---- the change ---- */

static int check_rollout(const struct undo *undo)
{
	char object[NAME_SIZE + 16], hint[NAME_SIZE + 64];
	uint64_t id;
	int error = control_active_rollout(undo->control, undo->service, &id);

	if (error || !id)
		return error;
	snprintf(hint, sizeof(hint), "`rollout abort %s` first", undo->service);
	return errors_add_code(undo->cli->errors, EBUSY, object_of(undo, object), hint,
			       "cannot be undone while its rollout %" PRIu64 " is under way", id);
}

/* What is desired now, with that section. NULL with errors. */
static struct policy *make_policy(const struct undo *undo)
{
	json_t *services = json_object_get(undo->present, "services");
	int index = section_index(undo->present, undo->service);
	struct policy *policy;
	char name[48], *yaml;

	if (json_array_set(services, index, undo->section)) {
		out_of_memory(undo);
		return NULL;
	}
	yaml = config_tree_to_yaml(undo->present);
	if (!yaml) {
		out_of_memory(undo);
		return NULL;
	}
	snprintf(name, sizeof(name), "undo to revision %" PRIu64, undo->to);
	policy = config_parse(yaml, strlen(yaml), name, undo->cli->errors);
	free(yaml);
	return policy;
}

static int make_it_so(struct undo *undo)
{
	struct apply_request request = {
		.options = {.reshuffle = cli_flag(undo->cli, "--reshuffle")},
	};
	struct policy *policy = make_policy(undo);
	int error;

	if (!policy)
		return -EINVAL;
	request.head = json_pack("{s:s, s:s, s:I}", "cmd", "rollout undo", "service", undo->service,
				 "to_revision", (json_int_t)undo->to);
	error = apply_policy(undo->cli, undo->control, policy, &request);
	json_decref(request.head);
	if (!error)
		cli_say(undo->cli, "%s: as in revision %" PRIu64, undo->service, undo->to);
	return error;
}

int command_rollout_undo(struct cli *cli)
{
	struct undo undo = {.cli = cli, .service = cli->words[0]};
	int error = cli_open_write(cli, &undo.control);

	if (!error && !cli_service(cli, undo.control, undo.service))
		error = -ENOENT;
	if (!error)
		error = check_rollout(&undo);
	if (!error) {
		undo.present = config_to_json(undo.control->policy);
		error = undo.present ? choose_revision(&undo) : out_of_memory(&undo);
	}
	if (!error)
		error = make_it_so(&undo);
	json_decref(undo.section);
	json_decref(undo.present);
	control_close(undo.control);
	return error;
}
