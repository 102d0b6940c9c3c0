// SPDX-License-Identifier: GPL-2.0-only
/* What a history begins with, and its packets, each of which the model judges. */
#include "affinity_history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct run_totals run_totals;

/* ---- a service at the beginning ---- */

void history_add_backend(struct history *history, size_t cohort)
{
	unsigned int tries, id;

	if (service_of(history)->cohorts[cohort].backends_count >= CANARY_POOL)
		return;
	for (tries = 0; tries < 40; tries++) {
		struct model_backend *backend;

		id = below(history, MODEL_BACKENDS);
		backend = &history->model.backends[id];
		if (backend->is_used && backend->in_file)
			continue;
		backend->is_used = backend->in_file = true;
		subject_add_backend(&history->subject, cohort, id,
				    in_percent(history, 80) ? 100 : 1 + below(history, 300));
		tell(history, "  backend %u added to cohort %zu\n", id, cohort);
		return;
	}
}

uint32_t history_random_share(struct history *history, size_t cohort)
{
	uint32_t slot = service_of(history)->cohorts[cohort].slot_ppm;

	switch (below(history, 4)) {
	case 0:
		return 0;
	case 1:
		return slot;
	default:
		return below(history, slot + 1);
	}
}

bool history_random_hash(struct history *history)
{
	static const uint32_t moduli[] = {100, 100, 7, 65536};
	struct service *service = service_of(history);
	struct hash_options *options = &service->hash_options, before = *options;
	enum split_hash hash = service->hash;
	size_t first = below(history, COHORTS_MAX), i;

	if (in_percent(history, 70)) {
		service->hash = below(history, 4);
		options->modulus = moduli[below(history, 4)];
		options->seed = below(history, 3);
	}
	/* The file's order, from any cohort on, of which some may not be there. */
	options->order_count = in_percent(history, 50) ? COHORTS_MAX : 0;
	for (i = 0; i < options->order_count; i++)
		strcpy(options->order[i], service->cohorts[(first + i) % COHORTS_MAX].name);
	tell(history, "  hash %d, modulus %u, seed %u, parts from %zu on\n", service->hash,
	     options->modulus, options->seed, options->order_count ? first : 0);
	return service->hash != hash || options->modulus != before.modulus ||
	       options->seed != before.seed;
}

void history_random_service(struct history *history)
{
	static const uint64_t drains[] = {4000, 20000, 60000, 3600000};
	static const uint64_t udp_drains[] = {2000, 10000, 30000, 90000};
	struct lab_service *real = history->subject.real;
	struct service *service = service_of(history);
	size_t cohort, count;

	lab_set_cohorts(real, 2 + below(history, 3));
	for (cohort = 0; cohort < service->cohorts_count; cohort++)
		for (count = 1 + below(history, 4); count; count--)
			history_add_backend(history, cohort);
	for (cohort = 1; cohort < service->cohorts_count; cohort++)
		lab_set_share(real, cohort, history_random_share(history, cohort));
	real->salt64 = random_next(&history->random) | 1;
	real->plan.drain_ms = drains[below(history, 4)];
	real->plan.udp_drain_ms = udp_drains[below(history, 4)];
	service->affinity.on_rollback =
		in_percent(history, 50) ? ON_ROLLBACK_CUT : ON_ROLLBACK_DRAIN;
	history->model.takes_all = service->affinity.on_rollback == ON_ROLLBACK_CUT;
	service->balance = in_percent(history, 30) ? BALANCE_CLIENT : BALANCE_FLOW;
	service->holdout_ppm = in_percent(history, 25) ? below(history, 500000) : 0;
	if (in_percent(history, 30))
		history_random_hash(history);
	switch (below(history, 6)) {
	case 0:
		service->client_key = CLIENT_KEY_QUIC;
		service->client_id.quic_cid_length = 8;
		service->client_id.quic_server_id_offset = 1;
		service->client_id.quic_server_id_length = 2;
		break;
	case 1:
	case 2:
		service->client_key = CLIENT_KEY_FLOW;
		break;
	default:
		break;
	}
	history->model.drain = jiffies_of(real->plan.drain_ms);
	history->model.udp_drain = jiffies_of(real->plan.udp_drain_ms);
	history->model.margin = jiffies_of(WRITERS_MARGIN_MS) + 2;
	history->model.late = jiffies_of(WRITERS_LATE_MS) + 2 + (1 << LEASE_UDP_SHIFT);
	history->model.has_server_ids = service->client_key == CLIENT_KEY_QUIC;
	tell(history,
	     "history %llu: %zu cohorts, drain %lld, udp_drain %lld jiffies, key %d, balance %d, "
	     "holdout %u\n",
	     (unsigned long long)history->index, service->cohorts_count,
	     (long long)history->model.drain, (long long)history->model.udp_drain,
	     service->client_key, service->balance, service->holdout_ppm);
}

/* ---- flows ---- */

static enum flow_kind random_kind(struct history *history, unsigned int number)
{
	if (number < FLOWS / 2)
		return FLOW_TCP;
	if (history->model.has_server_ids && number % 2)
		return FLOW_NAMED;
	return in_percent(history, 50) ? FLOW_QUIC : FLOW_UDP;
}

void history_client(const struct history *history, unsigned int client, int family,
		    char out[ADDRESS_TEXT_SIZE])
{
	snprintf(out, ADDRESS_TEXT_SIZE, family == 4 ? "198.18.%u.%u" : "2001:db8:%x:%x::7",
		 place_of(history) + 1, client + 1);
}

void history_random_flow(struct history *history, unsigned int number)
{
	static const char *const kinds[] = {"tcp", "quic", "udp", "named"};
	struct flow *flow = &history->flows[number];
	unsigned int client = below(history, CLIENTS), place = place_of(history);
	int family = in_percent(history, 65) ? 4 : 6;
	uint16_t port = 1024 + 4096 * number + below(history, 4096); /* no two flows' */
	char source[ADDRESS_TEXT_SIZE], vip[ADDRESS_TEXT_SIZE];

	flow->promised.kind = random_kind(history, number);
	flow->promised.at = NOWHERE;
	history_client(history, client, family, source);
	vip_of_place(place, family, vip);
	flow->plan = flow->promised.kind == FLOW_TCP ? packet_tcp(source, port, vip, 80)
						     : packet_udp(source, port, vip, 53);
	snprintf(flow->name, sizeof(flow->name), "%s %s:%u", kinds[flow->promised.kind], source,
		 port);
}

enum tcp_segment { SEGMENT, START, END };

/* A short header with the id that the flow's server issued, or a version 1 Initial. */
static void write_quic(struct flow *flow, bool starts, struct frame *frame)
{
	uint8_t *payload = frame->bytes + packet_l4_offset(&flow->plan) + 8;

	memset(payload, 0, 16);
	payload[0] = starts ? 0xc0 : 0x40;
	if (starts) {
		payload[4] = 1;
		payload[5] = 8;
	} else if (flow->promised.kind == FLOW_NAMED && flow->promised.at != NOWHERE) {
		store16(payload + 2, 0xa500 + flow->promised.at);
	}
}

static void build(struct flow *flow, enum tcp_segment segment, struct frame *frame)
{
	bool starts = segment == START;

	flow->plan.tcp_flags = starts ? FLAG_SYN : FLAG_ACK;
	if (segment == END)
		flow->plan.tcp_flags = flow->plan.source_port % 2 ? FLAG_FIN | FLAG_ACK : FLAG_RST;
	flow->plan.payload = flow->promised.kind != FLOW_TCP && starts ? QUIC_INITIAL : 32;
	packet_build(&flow->plan, frame);
	if (flow->promised.kind != FLOW_TCP)
		write_quic(flow, starts, frame);
}

static void broken(const struct world *world, struct history *history, const char *what);

/* The current decision, which must be by the first rule whose segment holds the client, and by its
 * group's token. */
static struct decision decide(struct world *world, struct history *history, struct flow *flow,
			      const struct frame *frame, int64_t *now)
{
	const struct lab_service *service = history->subject.real;
	const struct address *client = &flow->plan.source;
	uint8_t expected = client_rule(&history->clients, service, client), rule;
	struct decision decision = world_decide(world, &history->subject, frame, now, &rule);
	bool is_grouped = service->group_column &&
			  client_text(&history->clients, service->group_column, client);

	decision.rule = service->rule_names[expected];
	if (rule != RULE_NONE && rule != expected)
		broken(world, history, "it was not the first rule that holds the client");
	if ((is_grouped || service->service.client_key == CLIENT_KEY_SOURCE) &&
	    decision.token != client_token(&history->clients, service, client))
		broken(world, history, "a client has another token than its group, or itself");
	return decision;
}

static void note_decision(struct world *world, struct history *history, struct flow *flow)
{
	static struct frame frame;

	build(flow, SEGMENT, &frame);
	flow->promised.decisions[history->model.epochs_count - 1] =
		decide(world, history, flow, &frame, NULL);
}

void history_note_decisions(struct world *world, struct history *history)
{
	int i;

	for (i = 0; i < FLOWS; i++)
		note_decision(world, history, &history->flows[i]);
}

static uint64_t evicted(const struct world *world, const struct history *history)
{
	return lab_affinity_counter(world->real, history->subject.real).evicted - history->evicted;
}

/* Where an entry was given up for want of room, and counted, its flow may go to the origin. */
static void broken(const struct world *world, struct history *history, const char *what)
{
	if (evicted(world, history)) {
		history->is_over = true;
		run_totals.excused++;
		return;
	}
	fflush(history->trace);
	fprintf(stderr,
		"%s\n%s\nrepeat with XDP_CANARY_SEED of this run and XDP_CANARY_HISTORY=%llu\n",
		history->told, what, (unsigned long long)history->index);
	fail();
}

static void send_one(struct world *world, struct history *history, struct flow *flow,
		     enum tcp_segment segment)
{
	static const char *const names[] = {"segment", "start", "end"};
	static struct frame frame;
	struct observation seen = {.starts = segment == START, .ends = segment == END};
	const char *why, *path;

	build(flow, segment, &frame);
	seen.has_room = world_has_room(world, &history->subject);
	seen.now = decide(world, history, flow, &frame, &seen.before);
	path = world_path(world, &frame);
	seen.went = world_send(world, &frame);
	seen.after = world_now(world, &history->subject);
	tell(history,
	     "%lld %s %s -> %d by %s (was %d, decided %d of cohort %d, reason %d, rule %u)\n",
	     (long long)seen.before, flow->name, names[segment], seen.went, path, flow->promised.at,
	     seen.now.backend, seen.now.cohort, seen.now.reason, seen.now.rule);
	why = model_judge(&history->model, &flow->promised, &seen);
	if (why)
		broken(world, history, why);
	note_decision(world, history, flow);
	run_totals.packets++;
	run_totals.starved += !seen.has_room;
}

static enum tcp_segment random_segment(struct history *history, const struct flow *flow)
{
	const struct promised_flow *promised = &flow->promised;

	if (promised->kind == FLOW_UDP)
		return SEGMENT;
	if (promised->at == NOWHERE || !promised->is_open)
		return promised->at == NOWHERE || in_percent(history, 60) ? START : SEGMENT;
	if (promised->kind == FLOW_TCP && in_percent(history, 12))
		return END;
	return in_percent(history, 15) ? START : SEGMENT;
}

void history_send_some(struct world *world, struct history *history)
{
	uint32_t percent = 10 + below(history, 80);
	int i;

	for (i = 0; i < FLOWS && !history->is_over; i++) {
		struct flow *flow = &history->flows[below(history, FLOWS)];

		if (in_percent(history, percent))
			send_one(world, history, flow, random_segment(history, flow));
	}
}
