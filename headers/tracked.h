/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flows of the clients that a rollout follows: those of the canary and of a matched slice of
 * control. One record a flow and one a client, in arrays, found by keyed hashes; and counters of
 * distinct clients' first occurrences, by window.
 *
 * An event counts once for each client in each window. Whether it has is a bit in the client's word
 * `seen`, which is changed by compare and swap alone: who sets the bit adds to the stratum, so that
 * a first is counted exactly once, on however many CPUs it happens. User space begins a window by
 * storing its number; the client's word follows with the client's next event.
 *
 * Life of a client's record:  free -> busy (the program, by compare and swap, as the only one that
 *                             claims a place of those clients: see `claiming`)
 *                             busy -> token (the program, when all else is filled in)
 *                             seen -> TRACK_CLOSED, then token -> dying (user space: nothing counts
 *                             in it any more, no packet finds it)
 *                             dying -> free (user space, zeroed, after a grace period)
 * Life of a flow's:           free -> busy -> tag (the program, at a SYN)
 *                             tag -> dying -> free (user space alike)
 *                             tag -> free (the program, at a RST), tag -> busy (a SYN takes the
 *                             place of a flow that is over)
 */
#ifndef XDP_CANARY_TRACKED_H
#define XDP_CANARY_TRACKED_H

#include "abi.h"

#define TRACKED_SERVICES_MAX 256 /* that are followed at once */

enum track_arm { TRACK_CONTROL, TRACK_CANARY, TRACK_ARMS };

/* What the kernel can tell of a client's flows (docs/architecture.md, "Tracking"). */
enum kernel_metric {
	METRIC_CONNECT_FAILURE,
	METRIC_SYN_REPEATED,
	METRIC_UNANSWERED,
	METRIC_QUIT,
	METRIC_SILENT,
	METRIC_RETRANSMISSION,
	METRIC_ESTABLISH_TIME,
	METRIC_RESPOND_TIME,
	METRIC_LAST_BYTE_TIME,
	METRIC_CLIENT_RESET,  /* informational */
	METRIC_RESPONSE_SIZE, /* informational */
	KERNEL_METRICS,
	METRIC_NOT_KERNEL = KERNEL_METRICS
};

/* Bits of a client's firsts in a window: those of the metrics (1 << enum kernel_metric), and: */
enum track_first {
	FIRST_SIGHT = 1 << 16, /* any packet */
	FIRST_FLOW = 1 << 17,  /* a packet of a flow that counts */
	FIRST_ENDED = 1 << 18, /* the first such flow has ended */
	FIRST_AWAY = 1 << 19,  /* a flow found no room: nothing of the client counts any more */
};
#define FIRST_METRICS ((1u << KERNEL_METRICS) - 1)

/* Whose samples are kept by bucket. */
enum track_sample {
	SAMPLE_ESTABLISH_TIME,
	SAMPLE_RESPOND_TIME,
	SAMPLE_LAST_BYTE_TIME,
	SAMPLE_RESPONSE_SIZE,
	TRACK_SAMPLES
};
#define TRACK_TIMES SAMPLE_RESPONSE_SIZE /* the samples before it are times */

/* The metric whose bit says that a client's first sample in the window was taken. */
pure_inline __u32 metric_of_sample(__u32 sample)
{
	return sample == SAMPLE_RESPONSE_SIZE ? METRIC_RESPONSE_SIZE
					      : METRIC_ESTABLISH_TIME + sample;
}

/*
 * Times: two buckets an octave of milliseconds, by their upper edges 1 2 3 4 6 8 12 16 24 32 ...
 * 49152, the last one open; sizes: log2 of bytes, 0 with 1.
 */
#define TRACK_BUCKETS 32

/* floor(log2(@value)); 0 of 0. BPF has no instruction for it. */
pure_inline __u32 log2_of(__u32 value)
{
	__u32 log = 0;

	for (int bits = 16; bits; bits >>= 1) {
		__u32 is_larger = !!(value >> bits);

		value >>= bits * is_larger;
		log += bits * is_larger;
	}
	return log;
}

/* Of a time in ms: the first bucket whose upper edge is not below it. */
pure_inline __u32 time_bucket(__u32 ms)
{
	__u32 octave, bucket;

	if (ms <= 2)
		return ms == 2;
	octave = log2_of(ms - 1); /* ms is in (2^octave, 2 * 2^octave] */
	bucket = 2 * octave + (ms > 3u << (octave - 1));
	return bucket < TRACK_BUCKETS ? bucket : TRACK_BUCKETS - 1;
}

/* The upper edge in ms of a bucket of times but the last, which has none. */
pure_inline __u32 time_bucket_edge(__u32 bucket)
{
	if (!bucket)
		return 1;
	return bucket & 1 ? 2u << (bucket / 2) : 3u << (bucket / 2 - 1);
}

pure_inline __u32 size_bucket(__u32 bytes)
{
	return log2_of(bytes);
}

/* ---- places ---- */

/*
 * A record is in one of TRACK_CHOICES sets of TRACK_WAYS each, which follow from its key. It is put
 * into the first set of those with most room, where more than half counts as half and one: so while
 * there is room nearly all are found in the first lines that are looked at, and none is turned away
 * before seven in ten records are taken (balanced allocations: Azar et al., 1994; 0.73 simulated
 * with 2^18 records, where OBSERVED_PLACES single places turn the first one away at 0.08).
 */
#define TRACK_WAYS    4
#define TRACK_CHOICES 4
#define TRACK_PLACES  (TRACK_CHOICES * TRACK_WAYS)

/* Place @number (0 to TRACK_PLACES - 1) of a key, of @sets: another part of the key each set. */
pure_inline __u32 tracked_place(__u64 key, int number, __u32 sets)
{
	int choice = number / TRACK_WAYS;

	return scale((choice ? rotate_left(key, 16 * choice) : key) >> 32, sets) * TRACK_WAYS +
	       number % TRACK_WAYS;
}

/* How much a set with @count free records is worth to who looks for one. */
pure_inline __u32 room_worth(__u32 count)
{
	return count > TRACK_WAYS / 2 + 1 ? TRACK_WAYS / 2 + 1 : count;
}

/* ---- the clock ---- */

/*
 * Flows have their times in milliseconds of the kernel's clock of jiffies, 32 bits of them, which
 * go around in 49 days: times are compared by their difference. @per_jiffy: ms of a jiffy << 16.
 */
pure_inline __u32 track_ms(__u64 jiffies, __u32 per_jiffy)
{
	return jiffies * per_jiffy >> 16;
}

/* Flows that began longer ago than this count no more: half of the clock's range is not reached. */
#define TRACK_AGE_MAX_MS (1u << 30)

/* ---- flows ---- */

enum flow_flag {
	FLOW_ESTABLISHED = 1 << 0, /* a segment that is neither SYN nor RST was seen */
	FLOW_PENDING = 1 << 1,	   /* a request waits for its answer */
	FLOW_ANSWERED = 1 << 2,	   /* and this one has begun to get it */
	FLOW_FAST_OPEN = 1 << 3,   /* the SYN had data */
	FLOW_LONE = 1 << 4,	   /* the last advance of the ACK was by one */
	FLOW_FIN = 1 << 5,	   /* the client said goodbye; quiet_end: when */
	FLOW_EXPIRED = 1 << 6,	   /* began before what counts: it never counts again */
};
/* Above them FLOW_FIRST_IN(window): the client's first that counts, in that window. 0: it is not.
 */
#define FLOW_FIRST_MASK	      0xff00u
#define FLOW_FIRST_IN(window) (0x8000u | ((window)&0x7f) << 8)

/* What the sweep has told of a flow. */
enum flow_told {
	TOLD_CONNECT_FAILURE = 1 << 0,
	TOLD_UNANSWERED = 1 << 1,
	TOLD_GIVEN_UP = 1 << 2,
};

/* One cache line. Writer: the program; of told, and tag as above, the sweep. */
struct tracked_flow {
	__u32 tag; /* of the flow's key, or enum tracked_flow_tag */
	__u32 isn, snd_max;
	__u32 hole_lo, hole_hi; /* lost before this box; equal: none */
	__u32 ack0, ack_max;
	__u32 t_syn, t_est, t_req, t_adv, t_last; /* ms; t_syn: of the first SYN */
	__u32 quiet_end; /* of the last long gap, 0: none; once FLOW_FIN is set, of the FIN */
	__u32 client;	 /* its record */
	__u16 quiet_len; /* ms; the most: 65.5 s */
	__u16 flags;	 /* enum flow_flag */
	__u8 nsyn;
	__u8 told;  /* enum flow_told */
	__u8 nresp; /* exchanges that were answered */
	__u8 arm;
} cache_aligned;
BUILD_CHECK(sizeof(struct tracked_flow) == CACHE_LINE);

enum tracked_flow_tag {
	TRACKED_FLOW_FREE,
	TRACKED_FLOW_DYING,
	TRACKED_FLOW_BUSY,
	TRACKED_FLOW_TAGS
};

pure_inline __u32 tracked_flow_tag(__u64 key)
{
	return (__u32)key < TRACKED_FLOW_TAGS ? (__u32)key + TRACKED_FLOW_TAGS : (__u32)key;
}

/* ---- which flows count ---- */

/*
 * How old in ms a flow may be at @now that counts, given @count_from of its service (both jiffies);
 * negative: none counts yet. The most is TRACK_AGE_MAX_MS.
 */
pure_inline __s32 track_age(__u64 now, __u64 count_from, __u32 per_jiffy)
{
	if (now < count_from)
		return -1;
	if ((now - count_from) * per_jiffy >> 16 >= TRACK_AGE_MAX_MS)
		return TRACK_AGE_MAX_MS;
	return track_ms(now, per_jiffy) - track_ms(count_from, per_jiffy);
}

pure_inline int is_flow_counted(const struct tracked_flow *flow, __u32 t, __s32 age)
{
	return age >= 0 && !(flow->flags & FLOW_EXPIRED) && t - flow->t_syn <= (__u32)age;
}

/* RFC 9293, 3.4: sequence numbers compare modulo 2^32. */
pure_inline int is_after(__u32 a, __u32 b)
{
	return (__s32)(a - b) > 0;
}

/* ---- clients ---- */

struct tracked_client {
	__u64 tag;	 /* tracked_client_tag() of its token, or enum observed_tag */
	__u64 high, low; /* the address, host order; IPv4 at ::ffff:0:0/96 */
	__u64 seen;	 /* window << 32 | bits of its firsts; or TRACK_CLOSED */
	__u64 before;	 /* what seen was in the window before: user space may be late to tell */
	__u32 claiming;	 /* a CPU claims a place for a client whose first place this is */
	__u32 told;	 /* bits of metrics that user space told of in told_window; its own words */
	__u16 told_window; /* low half */
	__u8 track;	   /* of the service */
	__u8 rule, arm;	   /* as it was assigned in the window of seen */
	__u8 reserved[11];
} cache_aligned;
BUILD_CHECK(sizeof(struct tracked_client) == CACHE_LINE);

#define TRACK_CLOSED (~0ULL)

pure_inline __u32 seen_window(__u64 seen)
{
	return seen >> 32;
}

/* What a client has had in @window of its word @seen: of an earlier window, nothing. */
pure_inline __u64 seen_in(__u64 seen, __u32 window)
{
	return seen_window(seen) == window ? seen : (__u64)window << 32;
}

/* @salt: of the service. */
pure_inline __u64 tracked_client_tag(__u64 token, __u64 salt)
{
	return observed_tag(fmix64(token ^ salt));
}

/* ---- counters ---- */

/* One rule's part of a window, of one arm. Distinct clients. */
struct track_stratum {
	__u32 clients, ended, sights; /* FIRST_FLOW, FIRST_ENDED, FIRST_SIGHT */
	__u32 away;		      /* FIRST_AWAY; and packets of clients without a record */
	__u32 events[KERNEL_METRICS];
	__u32 reserved;
	__u32 samples[TRACK_SAMPLES][TRACK_BUCKETS]; /* each client's first of the window */
} cache_aligned;
BUILD_CHECK(sizeof(struct track_stratum) == 9 * CACHE_LINE);

#define TRACK_BANKS 2 /* the window of an even number has the first one */

enum tracked_service_flag {
	TRACK_OPEN = 1 << 0,
	TRACK_SERVER_FIRST = 1 << 1, /* a flow is pending from its establishment */
};

#define TRACK_SUSPENDED (~0ULL)

/* Of one service that is followed. Writer of the first two lines: user space, in place. */
struct tracked_service {
	__u64 count_from; /* jiffies: flows that began earlier do not count; TRACK_SUSPENDED */
	__u64 clock;	  /* not 0: this service's clock stands at so many jiffies, for the replay
			     of recorded traffic */
	__u64 salt;	  /* of its clients' tags: another with each opening */
	__u32 window;	  /* number of the running one, from 1 on */
	__u32 unanswered_after, idle_timeout; /* ms */
	__u32 flags;			      /* enum tracked_service_flag */
	__u32 service;		/* in map `track_samples`: service * LANES_MAX + lane */
	__u8 lanes[TRACK_ARMS]; /* of the arms' cohorts */
	__u8 prefix4, prefix6;	/* of its clients' addresses */
	__u8 reserved[16];
	__u32 counters[RULES_MAX]; /* in map `track_events`: of each rule, + lane */

	struct track_stratum strata[TRACK_BANKS][RULES_MAX][TRACK_ARMS];
} cache_aligned;
BUILD_CHECK(__builtin_offsetof(struct tracked_service, counters) == CACHE_LINE);
BUILD_CHECK(__builtin_offsetof(struct tracked_service, strata) == 2 * CACHE_LINE);

/* Since the maps were made: firsts of all windows, of one rule and cohort. */
struct track_event_counter {
	__u64 firsts[KERNEL_METRICS];
	__u64 reserved;
};

/* Since the maps were made: all samples of a service's cohort, and who found no room. */
struct track_sample_counter {
	__u64 buckets[TRACK_TIMES][TRACK_BUCKETS];
	__u64 sums[TRACK_TIMES]; /* ms */
	__u64 away;
};

/* ---- what decides (docs/architecture.md, "Tracking"; ms) ---- */

#define QUIET_LEAST	1500 /* a gap that is remembered */
#define QUIET_RECENT	1000 /* it ended less than so long before a goodbye */
#define QUIT_LEAST	4000 /* a client that waited so long, and went */
#define QUIT_MOST	45000
#define ANSWER_LEAST	65    /* bytes that end a quiet time */
#define CONNECT_ONE_SYN 1500  /* without an ACK after the only SYN */
#define CONNECT_ANY	3000  /* or after the first of several */
#define GIVEN_UP_AFTER	1000  /* pending so long after the FIN */
#define SILENT_GRACE	15000 /* on top of the servers' idle timeout */
#define TRACK_LINGER	15000 /* a flow is kept so long after its FIN's last packet */
#define TRACK_SWEPT	2000  /* by then the sweep has been there */

/* A flow that is over and of which there is nothing more to tell: its record may be taken. */
pure_inline int is_flow_over(const struct tracked_flow *flow, __u32 t, __u32 idle_timeout)
{
	if (!(flow->flags & FLOW_FIN))
		return t - flow->t_last > idle_timeout + SILENT_GRACE + TRACK_SWEPT;
	if ((flow->flags & FLOW_PENDING) && !(flow->told & TOLD_GIVEN_UP))
		return t - flow->quiet_end > GIVEN_UP_AFTER + TRACK_SWEPT;
	return t - flow->quiet_end > GIVEN_UP_AFTER;
}

#endif
