// SPDX-License-Identifier: GPL-2.0-only
/*
 * One function a metric family, in the order of the contract. A family is written whole before the
 * next one begins, as the format asks.
 */
#include "observe/metrics.h"

#include "allocation.h"
#include "datapath/observed.h"
#include "observe/affinity.h"
#include "observe/baseline.h"
#include "observe/rollouts.h"
#include "observe/segments.h"
#include "util/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define PREFIX "xdp_canary_"

struct page {
	FILE *out;
	struct control *control;
	const struct snapshot *snapshot;
	const struct affinity_state *affinity; /* of each service of the snapshot */
	const struct segment_head *segments;   /* of each segment of the policy */
	struct daemon_facts *facts;
};

static void family(struct page *page, const char *name, const char *type, const char *help)
{
	fprintf(page->out, "# HELP " PREFIX "%s %s\n# TYPE " PREFIX "%s %s\n", name, help, name,
		type);
}

static void build_info(struct page *page)
{
	struct utsname kernel = {.release = "unknown"};

	uname(&kernel);
	family(page, "build_info", "gauge",
	       "Version of this program, the kernel and the layout of the maps.");
	fprintf(page->out, PREFIX "build_info{version=\"%s\",kernel=\"%s\",program=\"abi-%u\"} 1\n",
		VERSION, kernel.release, ABI_VERSION);
}

/* ---- counters of rules ---- */

enum rule_field { FIELD_PACKETS, FIELD_BYTES, FIELD_FLOWS, FIELD_FINS, FIELD_RSTS };

static uint64_t field_of(const struct rule_counter *counter, enum rule_field field)
{
	switch (field) {
	case FIELD_PACKETS:
		return counter->packets;
	case FIELD_BYTES:
		return counter->bytes;
	case FIELD_FLOWS:
		return counter->syns;
	case FIELD_FINS:
		return counter->fins;
	default:
		return counter->rsts;
	}
}

static void rule_counters(struct page *page, const char *name, const char *help,
			  enum rule_field field)
{
	size_t i, rule, cohort;

	family(page, name, "counter", help);
	for (i = 0; i < page->snapshot->services_count; i++) {
		const struct service_snapshot *service = &page->snapshot->services[i];

		for (rule = 0; rule <= service->rules_count; rule++)
			for (cohort = 0; cohort < service->service->cohorts_count; cohort++)
				fprintf(page->out,
					PREFIX
					"%s{service=\"%s\",cohort=\"%s\",rule=\"%s\"} %" PRIu64
					"\n",
					name, service->service->name,
					service->service->cohorts[cohort].name,
					service->rules[rule].rule ? service->rules[rule].rule->name
								  : "-",
					field_of(&service->rules[rule].cohorts[cohort], field));
	}
}

/* ---- backends ---- */

/* Calls @write for each backend; @index counts them through the service. */
static void each_backend(struct page *page,
			 void (*write)(struct page *page, const struct service_snapshot *service,
				       const struct cohort *cohort, const struct backend *backend,
				       size_t index))
{
	size_t i, cohort, backend;

	for (i = 0; i < page->snapshot->services_count; i++) {
		const struct service_snapshot *service = &page->snapshot->services[i];
		size_t index = 0;

		for (cohort = 0; cohort < service->service->cohorts_count; cohort++) {
			const struct cohort *c = &service->service->cohorts[cohort];

			for (backend = 0; backend < c->backends_count; backend++, index++)
				write(page, service, c, &c->backends[backend], index);
		}
	}
}

static void backend_row(struct page *page, const char *name, const struct service_snapshot *service,
			const struct cohort *cohort, const struct backend *backend, uint64_t value)
{
	char address[ADDRESS_TEXT_SIZE];

	fprintf(page->out, PREFIX "%s{service=\"%s\",cohort=\"%s\",backend=\"%s\"} %" PRIu64 "\n",
		name, service->service->name, cohort->name,
		address_format(&backend->address, address), value);
}

static void backend_packets(struct page *page, const struct service_snapshot *service,
			    const struct cohort *cohort, const struct backend *backend,
			    size_t index)
{
	backend_row(page, "backend_packets_total", service, cohort, backend,
		    index < service->backends_count ? service->backends[index].packets : 0);
}

static void backend_bytes(struct page *page, const struct service_snapshot *service,
			  const struct cohort *cohort, const struct backend *backend, size_t index)
{
	backend_row(page, "backend_bytes_total", service, cohort, backend,
		    index < service->backends_count ? service->backends[index].bytes : 0);
}

/* What a backend takes: new flows; its old ones alone; nothing. */
enum backend_state { STATE_SERVING, STATE_DRAINING, STATE_DOWN, BACKEND_STATES };

/*
 * @index: of the backend in the service. One without a weight takes no new flows. A control that
 * keeps its clients though no backend passes its checks has, all the same, none that serves.
 */
static enum backend_state state_of(const struct page *page, const struct service_snapshot *service,
				   const struct backend *backend, size_t index)
{
	const struct live_check *check = backend_check(page->control, service->service, backend);
	uint8_t health = index < service->backends_count
				 ? service->health[index]
				 : backend_health(page->control, service->service, backend);

	if ((health & BACKEND_DOWN) || (check && !check_passes(check)))
		return STATE_DOWN;
	return health || !backend->weight ? STATE_DRAINING : STATE_SERVING;
}

static void backend_up(struct page *page, const struct service_snapshot *service,
		       const struct cohort *cohort, const struct backend *backend, size_t index)
{
	backend_row(page, "backend_up", service, cohort, backend,
		    state_of(page, service, backend, index) == STATE_SERVING);
}

static void backend_wish(struct page *page, const struct service_snapshot *service,
			 const struct cohort *cohort, const struct backend *backend, size_t index)
{
	static const uint64_t values[] = {[WISH_UP] = 2, [WISH_DRAINING] = 1, [WISH_DOWN] = 0};
	const struct live_wish *wish =
		live_wish_of(&page->control->live, service->service->name, &backend->address);

	(void)index;
	backend_row(page, "backend_wish", service, cohort, backend,
		    values[wish ? wish->wish : WISH_UP]);
}

/* Those that left the file keep their flows until the era ends. */
static void cohort_rows(struct page *page, const struct service_snapshot *service,
			const struct affinity_state *affinity)
{
	static const char *const names[] = {
		[STATE_SERVING] = "serving", [STATE_DRAINING] = "draining", [STATE_DOWN] = "down"};
	size_t cohort, i, state, index = 0;

	for (cohort = 0; cohort < service->service->cohorts_count; cohort++) {
		const struct cohort *c = &service->service->cohorts[cohort];
		size_t counts[BACKEND_STATES] = {[STATE_DRAINING] = affinity->gone[cohort]};

		for (i = 0; i < c->backends_count; i++, index++)
			counts[state_of(page, service, &c->backends[i], index)]++;
		for (state = 0; state < BACKEND_STATES; state++)
			fprintf(page->out,
				PREFIX
				"cohort_backends{service=\"%s\",cohort=\"%s\",state=\"%s\"} %zu\n",
				service->service->name, c->name, names[state], counts[state]);
	}
}

static void backends(struct page *page)
{
	size_t i;

	family(page, "backend_packets_total", "counter", "Packets steered to the backend.");
	each_backend(page, backend_packets);
	family(page, "backend_bytes_total", "counter", "Bytes steered to the backend.");
	each_backend(page, backend_bytes);
	family(page, "backend_up", "gauge", "1: the backend serves.");
	each_backend(page, backend_up);
	family(page, "backend_wish", "gauge",
	       "What the operator wishes of the backend: 2 up, 1 draining, 0 down.");
	each_backend(page, backend_wish);
	family(page, "cohort_backends", "gauge",
	       "Backends of the cohort by state; draining: they take no new flows.");
	for (i = 0; i < page->snapshot->services_count; i++)
		cohort_rows(page, &page->snapshot->services[i], &page->affinity[i]);
}

/* ---- reasons ---- */

static void reasons(struct page *page)
{
	size_t i, reason;

	family(page, "reasons_total", "counter",
	       "Packets by what became of them and why; they sum to those seen.");
	for (reason = 0; reason < REASONS; reason++)
		fprintf(page->out,
			PREFIX "reasons_total{action=\"%s\",reason=\"%s\"} %" PRIu64 "\n",
			action_name(reason_action(reason)), reason_name(reason),
			page->snapshot->reasons[reason]);
	family(page, "decisions_total", "counter", "Packets by the reason of their cohort.");
	for (i = 0; i < page->snapshot->services_count; i++)
		for (reason = 0; reason < STEER_REASONS; reason++)
			fprintf(page->out,
				PREFIX "decisions_total{service=\"%s\",reason=\"%s\"} %" PRIu64
				       "\n",
				page->snapshot->services[i].service->name, reason_name(reason),
				(uint64_t)page->snapshot->services[i].decisions.packets[reason]);
	family(page, "seen_packets_total", "counter", "Packets that the program was handed.");
	for (i = 0; i < page->snapshot->interfaces_count; i++)
		fprintf(page->out, PREFIX "seen_packets_total{interface=\"%s\"} %" PRIu64 "\n",
			page->snapshot->interfaces[i].name,
			(uint64_t)page->snapshot->interfaces[i].counters.seen);
}

/* ---- affinity ---- */

/* Of @slot's counters of this name; NULL without memory. */
static struct told_path *told_path(struct daemon_facts *facts, uint32_t slot, const char *service,
				   uint64_t since_ns)
{
	struct told_path *told;

	if (slot >= facts->told_count) {
		told = reallocarray(facts->told, slot + 1, sizeof(*told));
		if (!told)
			return NULL;
		memset(told + facts->told_count, 0, (slot + 1 - facts->told_count) * sizeof(*told));
		facts->told = told;
		facts->told_count = slot + 1;
	}
	told = &facts->told[slot];
	if (told->since_ns != since_ns || strcmp(told->service, service)) {
		*told = (struct told_path){.since_ns = since_ns};
		snprintf(told->service, sizeof(told->service), "%s", service);
	}
	return told;
}

uint64_t never_falling(struct daemon_facts *facts, uint32_t slot, const char *service,
		       uint64_t since_ns, uint64_t packets)
{
	struct told_path *told = told_path(facts, slot, service, since_ns);

	if (!told)
		return packets;
	if (packets > told->packets)
		told->packets = packets;
	return told->packets;
}

static uint64_t current_path(struct page *page, const struct service_snapshot *service)
{
	uint64_t packets = current_path_packets(service);

	if (!service->live)
		return packets;
	return never_falling(page->facts, service->live->slot, service->service->name,
			     page->snapshot->since_ns, packets);
}

static void service_row(struct page *page, const char *name, const char *service, uint64_t value)
{
	fprintf(page->out, PREFIX "%s{service=\"%s\"} %" PRIu64 "\n", name, service, value);
}

static void paths(struct page *page)
{
	size_t i, path;

	family(page, "path_total", "counter",
	       "Packets by how their backend was found while policies change.");
	for (i = 0; i < page->snapshot->services_count; i++) {
		const struct service_snapshot *service = &page->snapshot->services[i];

		for (path = 0; path < PATHS; path++)
			fprintf(page->out,
				PREFIX "path_total{service=\"%s\",path=\"%s\"} %" PRIu64 "\n",
				service->service->name, path_name(path),
				path == PATH_CURRENT ? current_path(page, service)
						     : (uint64_t)service->affinity.paths[path]);
	}
	family(page, "key_fallback_total", "counter",
	       "Packets that were decided by their source, for they had no such client key.");
	for (i = 0; i < page->snapshot->services_count; i++) {
		const struct service_snapshot *service = &page->snapshot->services[i];

		fprintf(page->out,
			PREFIX "key_fallback_total{service=\"%s\",key=\"quic\"} %" PRIu64
			       "\n" PREFIX
			       "key_fallback_total{service=\"%s\",key=\"payload\"} %" PRIu64 "\n",
			service->service->name, (uint64_t)service->affinity.fallback_quic,
			service->service->name, (uint64_t)service->affinity.fallback_payload);
	}
}

static void transitions(struct page *page)
{
	const struct snapshot *snapshot = page->snapshot;
	size_t i;

	family(page, "in_transition", "gauge",
	       "1: some flows may be kept where they were decided before the last changes.");
	for (i = 0; i < snapshot->services_count; i++)
		service_row(page, "in_transition", snapshot->services[i].service->name,
			    page->affinity[i].in_transition);
	family(page, "era_total", "counter", "Transitions that have begun.");
	for (i = 0; i < snapshot->services_count; i++)
		service_row(page, "era_total", snapshot->services[i].service->name,
			    page->affinity[i].eras);
	family(page, "transition_entries", "gauge",
	       "Flows that began in the open transition and are recorded.");
	for (i = 0; i < snapshot->services_count; i++)
		service_row(page, "transition_entries", snapshot->services[i].service->name,
			    page->affinity[i].entries);
	family(page, "transition_evicted_total", "counter",
	       "Records of flows that had to go for others': limits.transition_flows is too low.");
	for (i = 0; i < snapshot->services_count; i++)
		service_row(page, "transition_evicted_total", snapshot->services[i].service->name,
			    snapshot->services[i].affinity.evicted);
}

/* ---- shares ---- */

enum share_kind { SHARE_SET, SHARE_BASE, SHARE_ACTUAL };

static int share_of(struct page *page, enum share_kind kind,
		    const struct service_snapshot *snapshot, size_t rule, size_t cohort,
		    uint32_t *ppm)
{
	const struct service *service = snapshot->service;

	switch (kind) {
	case SHARE_SET:
		*ppm = cohort ? effective_share(page->control, service, rule, cohort)
			      : effective_control_share(page->control, service, rule);
		return 0;
	case SHARE_BASE:
		*ppm = service->rules[rule].base_ppm[cohort];
		return 0;
	default:
		return actual_share(page->control, snapshot, rule, cohort, ACTUAL_FLOWS, ppm);
	}
}

static void shares(struct page *page, const char *name, const char *help, enum share_kind kind)
{
	size_t i, rule, cohort;
	uint32_t ppm;

	family(page, name, "gauge", help);
	for (i = 0; i < page->snapshot->services_count; i++) {
		const struct service_snapshot *snapshot = &page->snapshot->services[i];
		const struct service *service = snapshot->service;

		for (rule = 0; rule < service->rules_count; rule++)
			for (cohort = 0; cohort < service->cohorts_count; cohort++)
				if (!share_of(page, kind, snapshot, rule, cohort, &ppm))
					fprintf(page->out,
						PREFIX "%s{service=\"%s\",rule=\"%s\",cohort=\"%"
						       "s\"} %.6f\n",
						name, service->name, service->rules[rule].name,
						service->cohorts[cohort].name, ppm / (double)PPM);
	}
}

static void segment_hits(struct page *page)
{
	size_t i;

	family(page, "segment_hits_total", "counter",
	       "Packets that a rule of the segment decided, in all services.");
	for (i = 0; i < page->snapshot->segments_count; i++)
		fprintf(page->out, PREFIX "segment_hits_total{segment=\"%s\"} %" PRIu64 "\n",
			page->snapshot->segments[i].name, page->snapshot->segments[i].packets);
}

/* ---- the box ---- */

static void versions(struct page *page)
{
	size_t i;

	family(page, "epoch", "gauge", "Number of the service's policy in force.");
	for (i = 0; i < page->snapshot->services_count; i++)
		fprintf(page->out, PREFIX "epoch{service=\"%s\"} %" PRIu64 "\n",
			page->snapshot->services[i].service->name,
			page->snapshot->services[i].live ? page->snapshot->services[i].live->epoch
							 : 0);
	family(page, "revision", "gauge", "Number of the desired state in force.");
	fprintf(page->out, PREFIX "revision %" PRIu64 "\n", page->control->revision.number);
	family(page, "policy_digest_info", "gauge", "Equal on boxes that decide alike.");
	for (i = 0; i < page->snapshot->services_count; i++)
		fprintf(page->out,
			PREFIX "policy_digest_info{service=\"%s\",digest=\"%08" PRIx64 "\"} 1\n",
			page->snapshot->services[i].service->name,
			page->snapshot->services[i].digest >> 32);
}

static void interfaces(struct page *page)
{
	size_t i;

	family(page, "attached", "gauge", "1: the program is attached to the interface.");
	for (i = 0; i < page->snapshot->interfaces_count; i++)
		fprintf(page->out, PREFIX "attached{interface=\"%s\"} %d\n",
			page->snapshot->interfaces[i].name,
			page->snapshot->interfaces[i].state != NOT_ATTACHED);
	family(page, "native", "gauge", "1: attached in native mode.");
	for (i = 0; i < page->snapshot->interfaces_count; i++)
		fprintf(page->out, PREFIX "native{interface=\"%s\"} %d\n",
			page->snapshot->interfaces[i].name,
			page->snapshot->interfaces[i].state == ATTACHED_NATIVE);
}

static void observed(struct page *page)
{
	const struct datapath *datapath = page->control->datapath;
	struct observe_counter counters = {0};
	uint64_t clients = 0;

	if (datapath && !observed_counters(datapath, &counters, page->control->errors) &&
	    observed_is_on(datapath))
		clients = observed_clients(datapath, &counters);
	family(page, "observed_clients", "gauge", "Clients that have a record of what they do.");
	fprintf(page->out, PREFIX "observed_clients %" PRIu64 "\n", clients);
	family(page, "observe_overflow_total", "counter",
	       "Packets of clients for whom there was no record, estimated as theirs are: "
	       "limits.observed_clients is too low.");
	fprintf(page->out, PREFIX "observe_overflow_total %" PRIu64 "\n",
		(uint64_t)counters.packets);
}

static void daemon_facts(struct page *page)
{
	int id;

	family(page, "store_errors_total", "counter",
	       "Times that the store or the maps could not be read or written.");
	fprintf(page->out, PREFIX "store_errors_total %" PRIu64 "\n", page->facts->store_errors);
	family(page, "daemon_last_loop_timestamp_seconds", "gauge",
	       "When the daemon last went round its loop.");
	fprintf(page->out, PREFIX "daemon_last_loop_timestamp_seconds %.3f\n",
		page->facts->last_loop_ns / 1e9);
	family(page, "map_bytes", "gauge", "Kernel memory of the elements of a BPF map.");
	for (id = 0; page->control->datapath && id < MAPS; id++)
		fprintf(page->out, PREFIX "map_bytes{map=\"%s\"} %" PRIu64 "\n",
			page->control->datapath->maps[id].name,
			map_bytes(&page->control->datapath->maps[id], map_is_per_cpu(id)));
}

static void render(struct page *page)
{
	build_info(page);
	rule_counters(page, "packets_total", "Packets steered, or decided where enforce is false.",
		      FIELD_PACKETS);
	rule_counters(page, "bytes_total", "Bytes of them, link header and IP packet.",
		      FIELD_BYTES);
	rule_counters(page, "flows_total", "New flows: TCP SYNs and QUIC Initials.", FIELD_FLOWS);
	rule_counters(page, "fins_total", "TCP FINs from clients.", FIELD_FINS);
	rule_counters(page, "rsts_total", "TCP RSTs from clients.", FIELD_RSTS);
	backends(page);
	reasons(page);
	paths(page);
	transitions(page);
	shares(page, "share_set_ratio", "Share in force.", SHARE_SET);
	shares(page, "share_base_ratio", "Share that the file gives.", SHARE_BASE);
	shares(page, "share_actual_ratio",
	       "Part of the new flows that the rule decided since its service last changed.",
	       SHARE_ACTUAL);
	segment_hits(page);
	versions(page);
	interfaces(page);
	segment_metrics(page->out, page->control->policy, page->segments, time_now_ns());
	observed(page);
	daemon_facts(page);
}

int metrics_render(struct control *control, struct daemon_facts *facts, char **out, size_t *length)
{
	struct page page = {.control = control, .facts = facts};
	struct affinity_state *affinity = NULL;
	struct segment_head *segments = NULL;
	struct snapshot snapshot;
	int error = snapshot_read(control, NULL, &snapshot);

	if (error)
		return error;
	error = affinity_read(control, &snapshot, &affinity);
	if (!error)
		error = segment_heads(control, &segments);
	page.snapshot = &snapshot;
	page.affinity = affinity;
	page.segments = segments;
	page.out = error ? NULL : open_memstream(out, length);
	if (page.out) {
		render(&page);
		error = rollout_metrics(page.out, control);
		if (facts->write_more)
			facts->write_more(facts->data, page.out);
		if (fclose(page.out) && !error)
			error = -errno;
	} else {
		error = error ? error : -ENOMEM;
	}
	segment_heads_release(segments, control->policy->segments_count);
	free(affinity);
	snapshot_release(&snapshot);
	return error;
}

void daemon_facts_release(struct daemon_facts *facts)
{
	free(facts->told);
	*facts = (struct daemon_facts){0};
}
