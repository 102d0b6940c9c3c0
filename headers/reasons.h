/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The list of record of what can happen to a packet and why. Counters, metrics, explain, `reasons`
 * and the documentation all come from these X-macros; nothing is counted that has no name here. The
 * numbers are part of the ABI of pinned maps: append, never reorder.
 */
#ifndef XDP_CANARY_REASONS_H
#define XDP_CANARY_REASONS_H

/* X(SYMBOL, action, "name", "text") */
#define FOR_EACH_REASON(X)                                                                         \
	X(RULE, STEER, "rule", "the first rule whose segment holds the client gave the cohort")    \
	X(DEFAULT, STEER, "default", "the service's default rule gave the cohort")                 \
	X(OVERRIDE, STEER, "override", "the client is pinned to the cohort")                       \
	X(HOLDOUT, STEER, "holdout", "the client is in the slice that never sees a canary")        \
	X(KILLED, STEER, "killed", "the service was killed: every client goes to control")         \
	X(ROLLED_BACK, STEER, "rolled_back", "the rollout was aborted or rolled back: control")    \
	X(LEASE_EXPIRED, STEER, "lease_expired", "the canary's lease ran out: control")            \
	X(COHORT_DOWN, STEER, "cohort_down", "the cohort has no backend that serves: control")     \
	X(NOT_IP, PASS, "not_ip", "neither IPv4 nor IPv6")                                         \
	X(NOT_VIP, PASS, "not_vip", "not for a VIP of this box")                                   \
	X(TRUNCATED, PASS, "truncated", "a header ends before it is whole")                        \
	X(FRAGMENT, PASS, "fragment", "an IP fragment: the ports are not in every one")            \
	X(ICMP, PASS, "icmp", "ICMP or ICMPv6")                                                    \
	X(NOT_ENFORCED, PASS, "not_enforced",                                                      \
	  "counted as decided, but the service says enforce: false")                               \
	X(UNSUPPORTED, PASS, "unsupported",                                                        \
	  "more VLAN tags or IPv6 extension headers than are parsed")                              \
	X(NO_BACKEND, DROP, "no_backend", "control has no backend with a weight")                  \
	X(NO_NEXT_HOP, DROP, "no_next_hop",                                                        \
	  "no MAC address or interface is known for the backend")                                  \
	X(TOO_BIG, DROP, "too_big",                                                                \
	  "does not fit the MTU once encapsulated; the sender was told if it can be")              \
	X(NO_HEADROOM, DROP, "no_headroom", "the driver left no room for the outer header")

/* X(SYMBOL, "name", "text"): how a flow's backend was found, while a service's policy is in
 * transition. */
#define FOR_EACH_PATH(X)                                                                           \
	X(CURRENT, "current", "the current decision")                                              \
	X(SYN_RECORDED, "syn_recorded", "an ambiguous SYN: its decision was recorded")             \
	X(SYN_KEPT, "syn_kept", "a repeated SYN kept the decision that was recorded")              \
	X(SYN_CLEARED, "syn_cleared", "an unambiguous SYN cleared an older record of its flow")    \
	X(ENTRY, "entry", "the flow's recorded decision")                                          \
	X(ORIGIN, "origin", "what was decided before the transition began")                        \
	X(BACKEND_DOWN, "backend_down", "the flow's backend is down: moved to the current one")    \
	X(BANNED, "banned", "the flow's backend was cut: moved to control")                        \
	X(SERVER_ID, "server_id", "the connection id named the backend")

enum action { ACTION_STEER, ACTION_PASS, ACTION_DROP };

enum reason {
#define X(symbol, action, name, text) REASON_##symbol,
	FOR_EACH_REASON(X)
#undef X
		REASONS
};

enum flow_path {
#define X(symbol, name, text) PATH_##symbol,
	FOR_EACH_PATH(X)
#undef X
		PATHS
};

/* The reasons with action STEER come first: they index a service's decision counters. */
#define STEER_REASONS (REASON_COHORT_DOWN + 1)

#endif
