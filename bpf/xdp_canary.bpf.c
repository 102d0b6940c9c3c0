// SPDX-License-Identifier: GPL-2.0-only
/*
 * xdp-canary's data path: from a packet on the NIC to the stable or the canary backend of the
 * service it is for.
 *
 * What a packet may see of a service's policy is one view, compiled by user space and reached from
 * a single word (headers/abi.h). There is no table of connections, but one of the flows that begin
 * while a service's epochs disagree on them (affinity.h). Traffic
 * that is not for a VIP is passed on untouched; every packet is counted under one named reason
 * (headers/reasons.h).
 */
#include "packet.h"

#include "parse.h"
#include "service.h"
#include "client.h"
#include "classes.h"
#include "cohort.h"
#include "backend.h"
#include "affinity.h"
#include "observe.h"
#include "track.h"
#include "count.h"
#include "steer.h"
#include "explain.h"

/* What becomes of a packet that is not steered. */
static __always_inline int verdict_of(enum reason reason)
{
	return action_of(reason) == ACTION_PASS ? XDP_PASS : XDP_DROP;
}

/* A service that is not enforced drops nothing. */
static __always_inline enum reason without_backend(const struct packet *p)
{
	return p->view->flags & VIEW_ENFORCE ? REASON_NO_BACKEND : REASON_NOT_ENFORCED;
}

/* The stages up to the backend. GO_ON: there is one. */
static __always_inline enum reason decide(struct packet *p)
{
	enum reason fate = parse(p->ctx, &p->headers);

	if (fate != GO_ON)
		return fate;
	forget(p->headers.l3_offset, p->headers.l3_length);
	forget(p->headers.vlan_tags, p->headers.l3_length);
	forget(p->headers.dont_fragment, p->headers.l3_length);
	fate = find_service(p);
	if (fate != GO_ON)
		return fate;
	identify_client(p);
	forget(p->notes, p->token);
	if (!p->quiet)
		observe(p);
	find_class(p);
	forget(p->notes, p->token);
	decide_cohort(p);
	forget(p->notes, p->token);
	forget(p->cohort, p->token);
	forget(p->decision, p->token);
	if (!p->quiet)
		track(p);
	choose_backend(p);
	forget(p->notes, p->token);
	hold_affinity(p);
	forget(p->notes, p->token);
	forget(p->path, p->token);
	if (p->notes & FELL_BACK)
		p->decision = REASON_COHORT_DOWN;
	return p->backend ? GO_ON : without_backend(p);
}

/* The stages after it: the reason under which the packet is counted, and *@verdict. */
static __always_inline enum reason steer(struct packet *p, int *verdict)
{
	enum reason fate;

	if (!(p->view->flags & VIEW_ENFORCE)) {
		count_decision(p);
		*verdict = XDP_PASS;
		return REASON_NOT_ENFORCED;
	}
	*verdict = XDP_DROP;
	fate = route_packet(p);
	if (fate == REASON_TOO_BIG)
		*verdict = answer_too_big(p);
	if (fate != GO_ON)
		return fate;
	if (rewrite(p))
		return REASON_NO_HEADROOM;
	count_decision(p);
	*verdict = transmit(p);
	return p->decision;
}

SEC("xdp.frags")
int xdp_canary(struct xdp_md *ctx)
{
	struct packet packet = {.ctx = ctx};
	enum reason reason;
	int verdict;

	if (count_seen(&packet))
		return XDP_PASS;
	reason = decide(&packet);
	if (reason == GO_ON)
		reason = steer(&packet, &verdict);
	else
		verdict = verdict_of(reason);
	count_reason(&packet, reason);
	return verdict;
}

/* Decides like xdp_canary(), tells all of it, and changes nothing but the packet that it is run on.
 */
SEC("xdp.frags")
int xdp_canary_explain(struct xdp_md *ctx)
{
	struct packet packet = {.ctx = ctx, .quiet = 1};
	struct packet *p = &packet;
	enum reason reason;

	reason = decide(p);
	if (reason == GO_ON)
		reason = p->view->flags & VIEW_ENFORCE ? route_packet(p) : REASON_NOT_ENFORCED;
	explain(p, reason == GO_ON ? p->decision : reason);
	return XDP_PASS;
}

char _license[] SEC("license") = "GPL";
