// SPDX-License-Identifier: GPL-2.0-only
/* The table of all commands: what INTERFACE promises, also what a later version will deliver. */
#include "cli/cli.h"

#define END                                                                                        \
	{                                                                                          \
		.name = NULL                                                                       \
	}

static const struct flag no_flags[] = {END};

static const struct flag apply_flags[] = {
	{.name = "-f", .value = "PATH", .many = true},
	{.name = "--dry-run"},
	{.name = "--check"},
	{.name = "--prune"},
	{.name = "--if-revision", .value = "N"},
	{.name = "--reset-shares"},
	{.name = "--restart-rollout"},
	{.name = "--reshuffle"},
	END,
};
static const struct flag diff_flags[] = {
	{.name = "-f", .value = "PATH", .many = true},
	{.name = "--check"},
	END,
};
static const struct flag get_flags[] = {
	{.name = "--revision", .value = "N"},
	{.name = "--effective"},
	END,
};
static const struct flag history_flags[] = {{.name = "--limit", .value = "N"}, END};
static const struct flag audit_flags[] = {{.name = "--since", .value = "TIME"}, END};
static const struct flag attach_flags[] = {{.name = "--try", .value = "DURATION"}, END};
static const struct flag upgrade_flags[] = {{.name = "--dry-run"}, END};
static const struct flag kill_flags[] = {{.name = "--all"}, END};
static const struct flag pin_flags[] = {{.name = "--for", .value = "DURATION"}, END};
static const struct flag classify_flags[] = {{.name = "-o", .value = "FILE"}, END};
static const struct flag import_flags[] = {{.name = "--skip-bad"}, {.name = "--replace"}, END};
static const struct flag list_flags[] = {
	{.name = "--where", .value = "SQL"},
	{.name = "--limit", .value = "N"},
	END,
};
static const struct flag export_flags[] = {
	{.name = "-o", .value = "FILE"},
	{.name = "--current"},
	END,
};
static const struct flag set_flags[] = {
	{.name = "--rule", .value = "RULE"},
	{.name = "--cohort", .value = "COHORT"},
	{.name = "--cut"},
	{.name = "--override"},
	END,
};
static const struct flag undo_flags[] = {
	{.name = "--to", .value = "REVISION"},
	{.name = "--reshuffle"},
	END,
};
static const struct flag stats_flags[] = {
	{.name = "--backends"},
	{.name = "--reasons"},
	{.name = "--interval", .value = "DURATION"},
	END,
};
static const struct flag explain_flags[] = {
	{.name = "--to", .value = "VIP"},
	{.name = "-f", .value = "PATH", .many = true},
	{.name = "--input", .value = "FILE"},
	END,
};
static const struct flag preview_flags[] = {{.name = "-f", .value = "PATH", .many = true}, END};
static const struct flag materialise_flags[] = {{.name = "--all"}, {.name = "--force"}, END};
static const struct flag replay_flags[] = {
	{.name = "--alpha", .value = "A"},
	{.name = "--beta", .value = "B"},
	{.name = "--margin", .value = "M"},
	{.name = "--promote-ratio", .value = "R"},
	END,
};
static const struct flag promote_flags[] = {{.name = "--full"}, END};
static const struct flag status_flags[] = {
	{.name = "--watch"},
	{.name = "--timeout", .value = "DURATION"},
	END,
};
static const struct flag rollout_export_flags[] = {
	{.name = "--id", .value = "N"},
	{.name = "-o", .value = "DIR"},
	END,
};
static const struct flag rollout_clients_flags[] = {
	{.name = "--id", .value = "N"},
	{.name = "--cohort", .value = "COHORT"},
	{.name = "--metric", .value = "METRIC"},
	END,
};
static const struct flag feedback_flags[] = {
	{.name = "--metric", .value = "METRIC"},
	{.name = "--service", .value = "SERVICE"},
	{.name = "--time", .value = "TIME"},
	END,
};
static const struct flag doctor_flags[] = {{.name = "--bundle", .value = "FILE"}, END};
static const struct flag daemon_flags[] = {{.name = "--once"}, END};

/* noun, verb, arguments, fewest and most words, flags, summary, function */
const struct command commands[] = {
	{"apply", NULL, "", 0, 0, apply_flags, "make the files the desired state", command_apply},
	{"diff", NULL, "", 0, 0, diff_flags, "files against the last revision, and what is live",
	 command_diff},
	{"get", NULL, "", 0, 0, get_flags, "the desired state as YAML", command_get},
	{"history", NULL, "", 0, 0, history_flags, "revisions", command_history},
	{"audit", NULL, "[S]", 0, 1, audit_flags, "who changed what, when and why", command_audit},
	{"attach", NULL, "[IF...]", 0, INTERFACES_MAX, attach_flags, "attach to interfaces",
	 command_attach},
	{"detach", NULL, "[IF...]", 0, INTERFACES_MAX, no_flags, "detach from interfaces",
	 command_detach},
	{"upgrade", NULL, "", 0, 0, upgrade_flags, "replace the program, keep the maps",
	 command_upgrade},
	{"kill", NULL, "S|--all", 0, 1, kill_flags, "every client of S to control, at once",
	 command_kill},
	{"service", "list", "", 0, 0, no_flags, "services and their shares", command_service_list},
	{"service", "show", "S", 1, 1, no_flags, "one service", command_service_show},
	{"backend", "list", "[S]", 0, 1, no_flags, "backends and their next hops",
	 command_backend_list},
	{"backend", "set", "S ADDRESS up|draining|down", 3, 3, no_flags, "the operator's wish",
	 command_backend_set},
	{"client", "pin", "S C COHORT", 3, 3, pin_flags, "pin a client to a cohort",
	 command_client_pin},
	{"client", "unpin", "S C", 2, 2, no_flags, "drop a pin", command_client_unpin},
	{"client", "pins", "[S]", 0, 1, no_flags, "all pins", command_client_pins},
	{"client", "import", "FILE.csv", 1, 1, import_flags, "attributes of clients from a CSV",
	 command_client_import},
	{"client", "list", "", 0, 0, list_flags, "clients of the catalogue", command_client_list},
	{"client", "show", "C", 1, 1, no_flags, "what is known of a client", command_client_show},
	{"client", "remove", "C", 1, 1, no_flags, "forget what is known of a client",
	 command_client_remove},
	{"features", "export", "", 0, 0, export_flags,
	 "what clients did in the last window, as CSV", command_features_export},
	{"features", "show", "C", 1, 1, no_flags, "what one client did in the last two windows",
	 command_features_show},
	{"model", "import", "NAME FILE", 2, 2, no_flags, "take a model that scripts/train.py wrote",
	 command_model_import},
	{"model", "list", "", 0, 0, no_flags, "models, and the segments that use them",
	 command_model_list},
	{"model", "show", "NAME", 1, 1, no_flags, "one model: classes, features, training",
	 command_model_show},
	{"model", "remove", "NAME", 1, 1, no_flags, "drop a model that no segment uses",
	 command_model_remove},
	{"model", "classify", "NAME", 1, 1, classify_flags,
	 "class and score of every client, as CSV", command_model_classify},
	{"model", "drift", "NAME", 1, 1, no_flags, "how far clients are from those of the training",
	 command_model_drift},
	{"segment", "list", "", 0, 0, no_flags, "segments, and how many clients are in each",
	 command_segment_list},
	{"segment", "show", "NAME", 1, 1, no_flags, "who is in a segment", command_segment_show},
	{"segment", "preview", "NAME", 1, 1, preview_flags,
	 "who would be in it if it were computed now", command_segment_preview},
	{"segment", "materialise", "NAME|--all", 0, 1, materialise_flags,
	 "compute anew who is in it", command_segment_materialise},
	{"feedback", "add", "C", 1, 1, feedback_flags, "what people report of a client",
	 command_feedback_add},
	{"feedback", "import", "FILE.csv", 1, 1, no_flags, "the same of many, from a CSV",
	 command_feedback_import},
	{"rollout", "set", "S PERCENT", 2, 2, set_flags, "the live share of a canary",
	 command_rollout_set},
	{"rollout", "reset", "S", 1, 1, no_flags, "drop live shares and latches",
	 command_rollout_reset},
	{"rollout", "start", "S", 1, 1, no_flags, "begin the steps of the file",
	 command_rollout_start},
	{"rollout", "pause", "S", 1, 1, no_flags, "hold it where it is", command_rollout_pause},
	{"rollout", "resume", "S", 1, 1, no_flags, "go on where it was", command_rollout_resume},
	{"rollout", "approve", "S", 1, 1, no_flags, "pass the approve step it stands at",
	 command_rollout_approve},
	{"rollout", "promote", "S", 1, 1, promote_flags, "skip the rest of the step",
	 command_rollout_promote},
	{"rollout", "abort", "S", 1, 1, no_flags, "its canary to control, and latched",
	 command_rollout_abort},
	{"rollout", "retry", "S", 1, 1, no_flags, "the one that went back, again from step 1",
	 command_rollout_retry},
	{"rollout", "undo", "S", 1, 1, undo_flags,
	 "the section of a service as an earlier revision had it", command_rollout_undo},
	{"rollout", "status", "[S]", 0, 1, status_flags, "steps, shares, verdicts",
	 command_rollout_status},
	{"rollout", "history", "S", 1, 1, no_flags, "what happened in its rollouts",
	 command_rollout_history},
	{"rollout", "export", "S", 1, 1, rollout_export_flags,
	 "all that is known of one rollout, as files", command_rollout_export},
	{"rollout", "clients", "S", 1, 1, rollout_clients_flags, "whom it touched",
	 command_rollout_clients},
	{"guard", "replay", "FILE", 1, 1, replay_flags, "what the guard says of recorded counts",
	 command_guard_replay},
	{"stats", NULL, "[S]", 0, 1, stats_flags, "counters", command_stats},
	{"explain", NULL, "S [CLIENT[:PORT]]", 1, 2, explain_flags,
	 "why a client goes where it goes", command_explain},
	{"doctor", NULL, "", 0, 0, doctor_flags, "what is wrong here, and what to do",
	 command_doctor},
	{"reasons", NULL, "", 0, 0, no_flags, "every action, reason and path", command_reasons},
	{"secret", "init", "", 0, 0, no_flags, "make the box's secret", command_secret_init},
	{"secret", "check", "", 0, 0, no_flags, "a fingerprint of the secret",
	 command_secret_check},
	{"daemon", NULL, "", 0, 0, daemon_flags,
	 "rollouts, leases, health checks, next hops, segments' refresh, metrics", command_daemon},
	{"top", NULL, "", 0, 0, no_flags, "", NULL},
	{"trace", NULL, "", 0, 0, no_flags, "", NULL},
};

const size_t commands_count = sizeof(commands) / sizeof(*commands);
