// SPDX-License-Identifier: GPL-2.0-only
/* stats: counters as totals since the maps were made, or, with --interval, as rates a second over
 * it. */
#include "cli/cli.h"
#include "observe/snapshot.h"
#include "util/text.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* How numbers are shown: as they are, or divided by the interval. */
struct scale_by {
	double seconds; /* 0: totals */
};

static json_t *number(struct scale_by by, uint64_t value)
{
	return by.seconds > 0 ? json_real(value / by.seconds) : json_integer(value);
}

static json_t *cohort_to_json(struct scale_by by, const char *name,
			      const struct rule_counter *counter)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "cohort", name, "packets",
			 number(by, counter->packets), "bytes", number(by, counter->bytes), "syns",
			 number(by, counter->syns), "fins", number(by, counter->fins), "rsts",
			 number(by, counter->rsts));
}

static json_t *rules_to_json(struct scale_by by, const struct service_snapshot *service)
{
	json_t *rules = json_array();
	size_t rule, cohort;

	for (rule = 0; rule <= service->rules_count; rule++) {
		const struct rule_snapshot *snapshot = &service->rules[rule];
		json_t *cohorts = json_array();

		for (cohort = 0; cohort < service->service->cohorts_count; cohort++)
			json_array_append_new(
				cohorts, cohort_to_json(by, service->service->cohorts[cohort].name,
							&snapshot->cohorts[cohort]));
		json_array_append_new(
			rules, json_pack("{s:o, s:o}", "rule",
					 json_text(snapshot->rule ? snapshot->rule->name : NULL),
					 "cohorts", cohorts));
	}
	return rules;
}

static json_t *backends_to_json(struct scale_by by, const struct service_snapshot *service)
{
	char address[ADDRESS_TEXT_SIZE];
	json_t *backends = json_array();
	size_t cohort, i, index = 0;

	for (cohort = 0; cohort < service->service->cohorts_count; cohort++) {
		const struct cohort *c = &service->service->cohorts[cohort];

		for (i = 0; i < c->backends_count && index < service->backends_count; i++, index++)
			json_array_append_new(
				backends,
				json_pack("{s:s, s:s, s:o, s:o}", "backend",
					  address_format(&c->backends[i].address, address),
					  "cohort", c->name, "packets",
					  number(by, service->backends[index].packets), "bytes",
					  number(by, service->backends[index].bytes)));
	}
	return backends;
}

static json_t *services_to_json(struct scale_by by, const struct snapshot *snapshot)
{
	json_t *services = json_array();
	size_t i;

	for (i = 0; i < snapshot->services_count; i++) {
		const struct service_snapshot *service = &snapshot->services[i];

		json_array_append_new(
			services,
			json_pack("{s:s, s:I, s:o, s:o}", "service", service->service->name,
				  "epoch", (json_int_t)(service->live ? service->live->epoch : 0),
				  "rules", rules_to_json(by, service), "backends",
				  backends_to_json(by, service)));
	}
	return services;
}

static json_t *reasons_to_json(struct scale_by by, const struct snapshot *snapshot)
{
	json_t *reasons = json_array();
	size_t i;

	for (i = 0; i < REASONS; i++)
		json_array_append_new(reasons, json_pack("{s:s, s:s, s:o}", "action",
							 action_name(reason_action(i)), "reason",
							 reason_name(i), "packets",
							 number(by, snapshot->reasons[i])));
	return reasons;
}

static json_t *snapshot_to_json(struct scale_by by, const struct snapshot *snapshot)
{
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "cmd", "stats", "time",
			 json_time(snapshot->time_ns), "since", json_time(snapshot->since_ns),
			 "interval_seconds", by.seconds > 0 ? json_real(by.seconds) : json_null(),
			 "services", services_to_json(by, snapshot), "reasons",
			 reasons_to_json(by, snapshot), "packets_seen", number(by, snapshot->seen));
}

/* ---- for people ---- */

static void print_number(struct scale_by by, uint64_t value)
{
	if (by.seconds > 0)
		printf(" %14.1f", value / by.seconds);
	else
		printf(" %14llu", (unsigned long long)value);
}

static void print_service(struct scale_by by, const struct service_snapshot *service, bool backends)
{
	char address[ADDRESS_TEXT_SIZE];
	size_t rule, cohort, i, index = 0;

	printf("%s  epoch %llu\n  %-20s %-16s %14s %14s %14s %14s %14s\n", service->service->name,
	       (unsigned long long)(service->live ? service->live->epoch : 0), "rule", "cohort",
	       "packets", "bytes", "syns", "fins", "rsts");
	for (rule = 0; rule <= service->rules_count; rule++)
		for (cohort = 0; cohort < service->service->cohorts_count; cohort++) {
			const struct rule_counter *counter = &service->rules[rule].cohorts[cohort];

			if (!service->rules[rule].rule && !counter->packets)
				continue;
			printf("  %-20s %-16s",
			       service->rules[rule].rule ? service->rules[rule].rule->name : "-",
			       service->service->cohorts[cohort].name);
			print_number(by, counter->packets);
			print_number(by, counter->bytes);
			print_number(by, counter->syns);
			print_number(by, counter->fins);
			print_number(by, counter->rsts);
			printf("\n");
		}
	for (cohort = 0; backends && cohort < service->service->cohorts_count; cohort++) {
		const struct cohort *c = &service->service->cohorts[cohort];

		for (i = 0; i < c->backends_count && index < service->backends_count;
		     i++, index++) {
			printf("  %-20s %-16s", address_format(&c->backends[i].address, address),
			       c->name);
			print_number(by, service->backends[index].packets);
			print_number(by, service->backends[index].bytes);
			printf("\n");
		}
	}
}

static void print_snapshot(struct scale_by by, const struct snapshot *snapshot, bool backends,
			   bool reasons)
{
	char time[TEXT_VALUE_SIZE];
	size_t i;

	if (by.seconds > 0)
		printf("a second, over %.1f s\n", by.seconds);
	else if (snapshot->since_ns)
		printf("since %s\n", cli_time(snapshot->since_ns, time));
	else
		printf("nothing is loaded: run `xdp-canary attach`\n");
	for (i = 0; i < snapshot->services_count; i++)
		print_service(by, &snapshot->services[i], backends);
	for (i = 0; i < REASONS; i++)
		if (reasons || snapshot->reasons[i]) {
			printf("%-6s %-16s", action_name(reason_action(i)), reason_name(i));
			print_number(by, snapshot->reasons[i]);
			printf("\n");
		}
	printf("%-23s", "seen");
	print_number(by, snapshot->seen);
	printf("\n");
}

/* Two readings of one control, @milliseconds apart; what is left is what happened between. */
static int read_rates(struct control *control, const char *only, uint64_t milliseconds,
		      struct snapshot *out, struct scale_by *by)
{
	struct snapshot before;
	int error = snapshot_read(control, only, &before);

	if (error)
		return error;
	poll(NULL, 0, milliseconds);
	error = snapshot_read(control, only, out);
	if (!error) {
		by->seconds = (out->time_ns - before.time_ns) / 1e9;
		snapshot_subtract(out, &before);
	}
	snapshot_release(&before);
	return error;
}

int command_stats(struct cli *cli)
{
	const char *only = cli->words_count ? cli->words[0] : NULL,
		   *interval = cli_flag(cli, "--interval");
	struct scale_by by = {0};
	struct control *control;
	struct snapshot snapshot;
	uint64_t milliseconds = 0;
	int error;

	if (interval &&
	    (text_duration(interval, &milliseconds) || !milliseconds || milliseconds > 3600000))
		return cli_usage(cli, "--interval", "give a duration of 1ms to 1h, like 5s",
				 "%s is none", interval);
	error = cli_open(cli, &control);
	if (error)
		return error;
	if (only && !cli_service(cli, control, only))
		error = -ENOENT;
	if (!error)
		error = interval ? read_rates(control, only, milliseconds, &snapshot, &by)
				 : snapshot_read(control, only, &snapshot);
	if (error)
		goto out;
	if (cli->json)
		cli_print_json(cli, snapshot_to_json(by, &snapshot));
	else
		print_snapshot(by, &snapshot, cli_flag(cli, "--backends"),
			       cli_flag(cli, "--reasons"));
	snapshot_release(&snapshot);
out:
	control_close(control);
	return error;
}
