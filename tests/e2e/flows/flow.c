// SPDX-License-Identifier: GPL-2.0-only
/* One client's flow; see flow.h. */
#include "flow.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define AGAIN_AFTER (20 * MS)

static const char *const state_names[FLOW_STATES] = {
	[FLOW_IDLE] = "idle",	      [FLOW_CONNECTING] = "connecting",
	[FLOW_RESTING] = "resting",   [FLOW_ASKED] = "asked",
	[FLOW_ENDING] = "ending",     [FLOW_FAREWELL] = "farewell",
	[FLOW_FINISHED] = "finished", [FLOW_BROKEN] = "broken",
};

const char *flow_state_name(enum flow_state state)
{
	return state_names[state];
}

static bool tcp_info(const struct flow *flow, struct tcp_info *info)
{
	socklen_t length = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return flow->file >= 0 && !getsockopt(flow->file, IPPROTO_TCP, TCP_INFO, info, &length);
}

uint32_t flow_retransmitted(const struct flow *flow)
{
	struct tcp_info info;

	return tcp_info(flow, &info) ? info.tcpi_total_retrans : 0;
}

/* ---- the end of a connection ---- */

static void close_flow(struct flows *flows, struct flow *flow, enum flow_state state)
{
	if (!flows->settings.udp)
		flows->retransmitted += flow_retransmitted(flow);
	if (flow->file >= 0)
		close(flow->file);
	flow->file = -1;
	flow->state = state;
	flow->when = UINT64_MAX;
	if (!flows->settings.again)
		return;
	flow->state = FLOW_IDLE;
	flow->when = now_ns() + random_next(&flows->random) % AGAIN_AFTER;
}

static void count_broken(struct flows *flows, const char *name, uint64_t now)
{
	size_t i = 0;

	while (i < BACKENDS_MAX - 1 && *flows->backends[i].name &&
	       strcmp(flows->backends[i].name, name))
		i++;
	if (!flows->backends[i].broken++)
		flows->backends[i].first = now;
	flows->backends[i].last = now;
	snprintf(flows->backends[i].name, NAME_SIZE, "%s", name);
}

static void broken(struct flows *flows, struct flow *flow, const char *error)
{
	const char *name = *flow->backend ? flow->backend : "?";
	uint64_t now = now_ns();
	struct breakage *kept;

	if (flows->broken < BREAKAGES_KEPT) {
		kept = &flows->kept[flows->broken];
		*kept = (struct breakage){.when = now,
					  .flow = flow,
					  .port = flow->port,
					  .state = flow->state,
					  .records = flow->records,
					  .error = error};
		snprintf(kept->backend, NAME_SIZE, "%s", name);
	}
	flows->broken++;
	count_broken(flows, name, now);
	close_flow(flows, flow, FLOW_BROKEN);
}

static void broken_by_errno(struct flows *flows, struct flow *flow, int code)
{
	const char *name = strerrorname_np(code);

	broken(flows, flow, name ? name : "unknown error");
}

static void finish(struct flows *flows, struct flow *flow)
{
	flow->finished++;
	flows->finished++;
	close_flow(flows, flow, FLOW_FINISHED);
}

/* ---- sending ---- */

static uint64_t rest(struct flows *flows)
{
	uint64_t interval = flows->settings.interval;

	return now_ns() + interval / 2 + (interval ? random_next(&flows->random) % interval : 0);
}

/* Mostly small, one in 32 of several segments. */
static uint32_t draw_length(struct flows *flows)
{
	uint32_t most = flows->settings.largest, usual = most < 1200 ? most : 1200;
	uint64_t dice = random_next(&flows->random);

	most = dice & 31 ? usual : most;
	return (uint32_t)(sizeof(struct record) + (dice >> 32) % (most - sizeof(struct record)));
}

static bool is_last(const struct flows *flows, const struct flow *flow)
{
	uint32_t most = flows->settings.records;

	return flows->finishing || (most && flow->records + 1 >= most);
}

static void send_record(struct flows *flows, struct flow *flow)
{
	static union {
		struct record record;
		uint64_t words[RECORD_MAX / 8];
	} out;
	uint32_t length = draw_length(flows), i;
	ssize_t sent;

	for (i = sizeof(out.record) / 8; i < (length + 7) / 8; i++)
		out.words[i] = random_next(&flows->random);
	out.record = (struct record){
		.kind = is_last(flows, flow) ? RECORD_LAST : RECORD,
		.length = length,
		.number = flow->records + flow->lost + 1,
		.sent_ns = now_ns(),
	};
	sent = send(flow->file, &out, length, MSG_NOSIGNAL);
	if (sent != (ssize_t)length) {
		/* All that went before was answered, so the buffer is empty. */
		if (sent < 0)
			broken_by_errno(flows, flow, errno);
		else
			broken(flows, flow, "no room");
		return;
	}
	flow->bytes += length;
	flow->hash = hash_bytes(flow->hash, &out, length);
	flow->state = out.record.kind == RECORD_LAST ? FLOW_ENDING : FLOW_ASKED;
	flow->when = out.record.sent_ns + flows->settings.silence;
	if (flow->state == FLOW_ENDING && !flows->settings.udp)
		shutdown(flow->file, SHUT_WR);
}

/* ---- a connection begins ---- */

static void set_port(struct address *address, uint16_t port)
{
	/* At the same place in both families. */
	((struct sockaddr_in *)&address->storage)->sin_port = htons(port);
}

static void begin(struct flows *flows, struct flow *flow)
{
	const struct settings *settings = &flows->settings;
	const struct address *to = strchr(flow->text, ':') ? &settings->to6 : &settings->to4;
	struct address from = address_of(flow->text, 0);
	int family = to->storage.ss_family, buffer = 8 * RECORD_MAX;

	/* No port is used twice: a segment of the last connection is never taken for this one's. */
	flow->port = settings->first_port + flow->attempts++;
	set_port(&from, flow->port);
	flow->records = flow->got = flow->farewell = 0;
	flow->bytes = flow->cookie = flow->since = flow->moves = flow->lost = flow->moved = 0;
	flow->hash = HASH_START;
	memset(flow->backend, 0, sizeof(flow->backend));
	flow->file = open_socket(family, settings->udp ? SOCK_DGRAM : SOCK_STREAM, &from);
	if (flow->file < 0) {
		broken_by_errno(flows, flow, errno);
		return;
	}
	if (setsockopt(flow->file, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof(buffer)))
		give_up("SO_SNDBUFFORCE");
	flow->state = FLOW_CONNECTING;
	flow->when = now_ns() + settings->silence;
	if (connect(flow->file, (const struct sockaddr *)&to->storage, to->length) &&
	    errno != EINPROGRESS) {
		broken_by_errno(flows, flow, errno);
		return;
	}
	watch(flows->poll, flow->file, EPOLLIN | EPOLLOUT | EPOLLET, flow);
}

/* Who has answered the SYN; for an answer is not needed to know whose the connection was. */
static void name_by_segment_size(struct flow *flow)
{
	struct tcp_info info;
	int number;

	if (!tcp_info(flow, &info))
		return;
	number = (int)info.tcpi_snd_mss + MSS_TIMESTAMPS - MSS_BASE;
	if (number > 0 && number < BACKENDS_MAX)
		snprintf(flow->backend, sizeof(flow->backend), "b%d", number);
}

static void established(struct flows *flows, struct flow *flow)
{
	socklen_t length = sizeof(int);
	int error = 0;

	if (getsockopt(flow->file, SOL_SOCKET, SO_ERROR, &error, &length))
		error = errno;
	if (error) {
		broken_by_errno(flows, flow, error);
		return;
	}
	if (!flows->settings.udp)
		name_by_segment_size(flow);
	flow->since = now_ns();
	send_record(flows, flow);
}

/* ---- receiving ---- */

static void count_answer(struct flows *flows, struct flow *flow)
{
	flow->got = 0;
	flow->records++;
	flow->all_records++;
	flows->records++;
	if (flow->state == FLOW_ASKED) {
		flow->state = FLOW_RESTING;
		flow->when = rest(flows);
	} else if (flows->settings.udp) {
		finish(flows, flow);
	} else {
		flow->state = FLOW_FAREWELL;
	}
}

/* NULL: right. */
static const char *check_answer(const struct flow *flow, const struct answer *answer)
{
	if (answer->kind != ANSWER || !answer->cookie)
		return "not an answer";
	if (answer->number != flow->records + 1)
		return "another record answered";
	if (flow->cookie && answer->cookie != flow->cookie)
		return "another connection answered";
	if (*flow->backend && strcmp(flow->backend, answer->name))
		return "another backend answered";
	if (answer->bytes != flow->bytes)
		return "bytes lost or doubled";
	return answer->hash == flow->hash ? NULL : "bytes changed";
}

static void answered(struct flows *flows, struct flow *flow)
{
	const struct answer *answer = &flow->coming.answer;
	const char *wrong = check_answer(flow, answer);

	if (wrong) {
		broken(flows, flow, wrong);
		return;
	}
	flow->cookie = answer->cookie;
	memcpy(flow->backend, answer->name, NAME_SIZE - 1);
	count_answer(flows, flow);
}

static bool expects_data(const struct flow *flow)
{
	return flow->state == FLOW_ASKED || flow->state == FLOW_ENDING;
}

static void receive_stream(struct flows *flows, struct flow *flow)
{
	static uint8_t waste[1 << 16];
	bool farewell;
	ssize_t got;

	while (flow->file >= 0) {
		farewell = flow->state == FLOW_FAREWELL;
		got = recv(flow->file, farewell ? waste : flow->coming.bytes + flow->got,
			   farewell ? sizeof(waste) : sizeof(struct answer) - flow->got, 0);
		if (got < 0) {
			if (errno != EAGAIN)
				broken_by_errno(flows, flow, errno);
			return;
		}
		if (!got && farewell && flow->farewell == FAREWELL_BYTES) {
			finish(flows, flow);
		} else if (!got || !(farewell || expects_data(flow))) {
			broken(flows, flow, got ? "not asked for" : "closed");
		} else if (farewell) {
			flow->farewell += (uint32_t)got;
		} else {
			flow->got += (uint32_t)got;
			if (flow->got == sizeof(struct answer))
				answered(flows, flow);
		}
	}
}

static void receive_datagrams(struct flows *flows, struct flow *flow)
{
	struct answer *answer = &flow->coming.answer;
	ssize_t got;

	while (flow->file >= 0) {
		got = recv(flow->file, answer, sizeof(*answer), 0);
		if (got < 0) {
			if (errno != EAGAIN)
				broken_by_errno(flows, flow, errno);
			return;
		}
		if (got != sizeof(*answer) || answer->kind != ANSWER) {
			broken(flows, flow, "not an answer");
			return;
		}
		if (!expects_data(flow) || answer->number != flow->records + flow->lost + 1)
			continue; /* too late: it counts as lost */
		if (*flow->backend && strcmp(flow->backend, answer->name)) {
			flow->moves++;
			flow->moved = now_ns();
		}
		memcpy(flow->backend, answer->name, NAME_SIZE - 1);
		count_answer(flows, flow);
	}
}

void flow_event(struct flows *flows, struct flow *flow)
{
	if (flow->file < 0)
		return;
	if (flow->state == FLOW_CONNECTING)
		established(flows, flow);
	if (flows->settings.udp)
		receive_datagrams(flows, flow);
	else
		receive_stream(flows, flow);
}

void flow_tick(struct flows *flows, struct flow *flow, uint64_t now)
{
	if (now < flow->when)
		return;
	switch (flow->state) {
	case FLOW_IDLE:
		begin(flows, flow);
		return;
	case FLOW_RESTING:
		send_record(flows, flow);
		return;
	case FLOW_ASKED:
	case FLOW_ENDING:
		if (flows->settings.udp && !flows->settings.records) {
			flow->lost++;
			send_record(flows, flow);
			return;
		}
		/* fall through */
	case FLOW_CONNECTING:
	case FLOW_FAREWELL:
		broken(flows, flow, "silence");
		return;
	default:
		return;
	}
}
