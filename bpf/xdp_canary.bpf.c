// SPDX-License-Identifier: GPL-2.0-only
/*
 * xdp-canary's data path: from a packet on the NIC to the stable or the canary backend of the service it is for.
 *
 * The program keeps no state of connections. What a packet may see of a service's policy is one immutable view,
 * compiled by user space and reached from a single word (headers/abi.h). Traffic that is not for a VIP is
 * passed on untouched; every packet is counted under one named reason (headers/reasons.h).
 */
#include "packet.h"

#include "parse.h"
#include "service.h"
#include "client.h"
#include "cohort.h"
#include "backend.h"
#include "count.h"
#include "steer.h"
#include "explain.h"

/* What becomes of a packet that is not steered. */
static __always_inline int verdict_of(enum reason reason)
{
	return action_of(reason) == ACTION_PASS ? XDP_PASS : XDP_DROP;
}

/* Stages fill what later ones read: only the explaining variant, which tells all, needs the rest to be zero. */
static __always_inline void begin(struct packet *p, struct xdp_md *ctx)
{
	if (explaining)
		*p = (struct packet){ 0 };
	p->ctx = ctx;
	p->headers.vlan_tags = 0;
	p->headers.tcp_flags = 0;
	p->view_rule = NULL;
}

SEC("xdp.frags")
int xdp_canary(struct xdp_md *ctx)
{
	struct packet packet;
	struct packet *p = &packet;
	enum reason reason;
	int verdict;

	begin(p, ctx);
	if (count_seen(p))
		return XDP_PASS;
	reason = parse(ctx, &p->headers);
	if (reason != GO_ON)
		goto not_steered;
	reason = find_service(p);
	if (reason != GO_ON)
		goto not_steered;
	identify_client(p);
	decide_cohort(p);
	reason = choose_backend(p);
	if (reason != GO_ON)
		goto not_steered;
	if (!(p->view->flags & VIEW_ENFORCE)) {
		count_decision(p);
		reason = REASON_NOT_ENFORCED;
		goto not_steered;
	}
	reason = route_packet(p);
	if (reason == REASON_TOO_BIG && !explaining) {
		verdict = answer_too_big(p);
		goto out;
	}
	if (reason != GO_ON)
		goto not_steered;
	reason = p->decision;
	if (explaining)
		goto not_steered;
	if (rewrite(p)) {
		reason = REASON_NO_HEADROOM;
		goto not_steered;
	}
	count_decision(p);
	verdict = transmit(p);
	goto out;

not_steered:
	verdict = verdict_of(reason);
out:
	if (explaining)
		explain(p, reason);
	else
		count_reason(p, reason);
	return verdict;
}

char _license[] SEC("license") = "GPL";
