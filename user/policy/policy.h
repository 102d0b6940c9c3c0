/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Desired state as the configuration gives it: what `version: 1` means, with every default filled
 * in. Made by user/config, stored as a revision, compiled by user/policy/compile.c. Nothing here is
 * live state.
 */
#ifndef XDP_CANARY_POLICY_H
#define XDP_CANARY_POLICY_H

#include "abi.h"
#include "tracked.h"
#include "util/address.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum interface_mode { MODE_NATIVE, MODE_GENERIC, MODE_AUTO };
enum client_key { CLIENT_KEY_SOURCE, CLIENT_KEY_FLOW, CLIENT_KEY_QUIC, CLIENT_KEY_PAYLOAD };
enum balance { BALANCE_FLOW, BALANCE_CLIENT };
enum on_rollback { ON_ROLLBACK_CUT, ON_ROLLBACK_DRAIN };

/* Of another tool's hash (headers/split_hash.h). */
struct hash_options {
	uint32_t modulus;		    /* of haproxy-crc32 and nft-jhash, 1 to 65536 */
	uint32_t seed;			    /* of nft-jhash */
	char order[COHORTS_MAX][NAME_SIZE]; /* cohorts, in the order of their parts */
	size_t order_count;		    /* 0: the file's order */
};

struct interface {
	char name[16];
	enum interface_mode mode;
	struct position where; /* in the files; what they decide together is checked later */
};

struct vip {
	struct address address;
	uint16_t port;	  /* 0: any */
	uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
};

struct backend {
	struct address address;
	uint16_t weight; /* 0 to 1000 */
	bool has_mac;
	uint8_t mac[6];	    /* static next hop */
	struct address via; /* family 0: none */
	char interface[16]; /* "": by the route */
	bool has_server_id;
	uint8_t server_id_length; /* bytes, 1 to 8 */
	uint64_t server_id;	  /* of client key quic: its bytes, the first one the highest */
};

#define SERVER_ID_TEXT_SIZE 17

/* Privacy addresses change within the /64; but other tools hash the whole address. */
#define PREFIX6_DEFAULT(hash) ((hash) == HASH_XDP_CANARY ? 64 : 128)

/* What a service with client key `quic` or `payload` reads of a datagram. */
struct client_id {
	uint8_t quic_cid_length;       /* of the connection ids that servers issue, 1 to 20 */
	uint8_t quic_server_id_offset; /* in them, 0 to 19 */
	uint8_t quic_server_id_length; /* 1 to 8 */
	uint16_t payload_offset;       /* after the UDP header, 0 to 1400 */
	uint8_t payload_length;	       /* 1 to 16 */
};

struct affinity {
	uint64_t drain_ms;     /* 1 s to 30 d */
	uint64_t udp_drain_ms; /* 1 s to 1 h */
	enum on_rollback on_rollback;
};

struct cohort {
	char name[NAME_SIZE];
	char *version;
	bool has_slot;			   /* slot_ppm is not the default, floor(10^6 / canaries) */
	uint32_t slot_start_ppm, slot_ppm; /* of a canary */
	struct backend *backends;
	size_t backends_count;
};

struct rule {
	char name[NAME_SIZE];
	char segment[NAME_SIZE]; /* "": of the default rule */
	bool is_default;
	uint32_t base_ppm[COHORTS_MAX]; /* by cohort; [0], the control, is the rest to 100% */
};

/* ---- health checks of backends ---- */

enum check_type { CHECK_NONE, CHECK_TCP, CHECK_HTTP };

struct status_range {
	uint16_t first, last; /* 100 to 599 */
};

struct health_check {
	enum check_type type; /* CHECK_NONE: every backend counts as healthy */
	uint16_t port;	      /* 0: the port of the service's first VIP that has one */
	char *path;	      /* of http: "/" */
	char *host;	      /* of http, the Host header; NULL: the backend's address */
	struct status_range *expect_status; /* of http: 200-399 */
	size_t expect_status_count;
	char *expect_body; /* of http: a text that the body must hold; NULL: any body */
	uint64_t interval_ms, timeout_ms;
	uint32_t rise, fall; /* 1 to 100 */
};

/* ---- staged rollouts ---- */

#define STEPS_MAX	    64
#define ROLLOUT_METRICS_MAX 32
#define HOOKS_MAX	    16

enum step_kind { STEP_WEIGHT, STEP_PAUSE, STEP_ANALYSIS, STEP_APPROVE };

struct step {
	enum step_kind kind;
	struct position where;	 /* in the files */
	char segment[NAME_SIZE]; /* STEP_WEIGHT: the rule of that name; "": the default rule */
	bool has_weight;	 /* with a segment it may be left out: 100% */
	uint32_t weight_ppm;
	bool lower;	   /* the share may fall */
	uint64_t pause_ms; /* STEP_PAUSE; 0: until `resume` */
	uint64_t analysis_timeout_ms;
	char *approve_message;
};

/* "connect_failure", ... */
const char *kernel_metric_name(enum kernel_metric metric);
/* KERNEL_METRICS: none of that name. */
enum kernel_metric kernel_metric_by_name(const char *name);

enum metric_source { SOURCE_KERNEL, SOURCE_PROMETHEUS, SOURCE_COMMAND, SOURCE_FEEDBACK };

struct rollout_metric {
	char name[NAME_SIZE];
	struct position where;
	enum metric_source source;
	enum kernel_metric kernel; /* SOURCE_KERNEL */
	bool is_blind; /* of the kernel, which sees nothing: all VIPs of the service are UDP */
	double weight; /* (0, 1]; of those with an e-value, scaled to sum 1 by the judge */
	bool has_critical, critical;
	bool has_max_rate;
	uint32_t max_rate_ppm; /* p0 */
	/* SOURCE_PROMETHEUS: a threshold on query, or paired counts of both */
	char *url, *query, *query_control;
	bool has_min, has_max;
	double min, max;
	uint64_t interval_ms; /* SOURCE_PROMETHEUS, SOURCE_COMMAND */
	/* SOURCE_COMMAND */
	char **command;
	size_t command_count;
	uint64_t timeout_ms;
};

enum hook_event { HOOK_BEFORE_STEP, HOOK_AFTER_STEP, HOOK_ROLLBACK, HOOK_SUCCESS };

struct rollout_hook {
	enum hook_event on;
	char *url;
	uint64_t timeout_ms;
	uint32_t retries;
	bool gate; /* 2xx lets the step begin */
};

enum on_verdict { ON_VERDICT_ROLLBACK, ON_VERDICT_PAUSE };

struct guard_options {
	double alpha, beta;	      /* (0, .5] */
	double margin, promote_ratio; /* psi0: 1 to 1.5; psi1: 1.1 to 4 */
	uint32_t control_factor;      /* 1 to 16: size of the tracked control slice */
};

struct rollout {
	bool is_given; /* the file has the key */
	struct position where;
	char cohort[NAME_SIZE]; /* "": the first canary */
	struct step *steps;	/* 1 to STEPS_MAX */
	size_t steps_count;
	uint64_t bake_ms, settle_ms, max_duration_ms;
	enum on_verdict on_fail, on_inconclusive;
	double max_load;   /* 0: warn only */
	uint64_t lease_ms; /* 0: none */
	struct guard_options guard;
	struct rollout_metric *metrics; /* never empty: the nine kernel metrics by default */
	size_t metrics_count;
	bool has_metrics; /* the file names them */
	struct rollout_hook *hooks;
	size_t hooks_count;
};

/* Is there one whose PROMOTE can be waited for? */
bool rollout_has_critical(const struct rollout *rollout);

struct service {
	char name[NAME_SIZE];
	struct position where; /* in the files */
	struct vip *vips;
	size_t vips_count;
	bool enforce;
	char *release;
	char *salt; /* NULL: NAME/RELEASE */
	enum client_key client_key;
	bool has_prefix6; /* prefix6 is not the default of its hash, PREFIX6_DEFAULT() */
	uint8_t prefix4, prefix6;
	char *group_by; /* column of the catalogue whose clients share a hash, or NULL */
	enum split_hash hash;
	struct hash_options hash_options;
	struct client_id client_id;
	uint32_t holdout_ppm;
	enum balance balance;
	enum steer_method steer;
	struct address encap_source4, encap_source6; /* family 0: the interface's */
	uint8_t encap_ttl;
	struct affinity affinity;
	uint64_t unanswered_after_ms; /* 100 ms to 1 h: then a request counts as unanswered */
	uint64_t idle_timeout_ms;     /* of the servers, 1 s to 24 h */
	bool server_first;	      /* the server speaks first */
	struct health_check health_check;
	struct cohort cohorts[COHORTS_MAX];
	size_t cohorts_count;
	struct rule rules[RULES_MAX];
	size_t rules_count;
	struct rollout rollout;
};

struct limits {
	uint32_t services, vips, backends;
	uint32_t transition_flows; /* entries of the transition table, 8 bytes each */
	uint32_t segment_clients, segment_prefixes; /* of all segments together */
	uint32_t observed_clients;
	uint32_t tracked_clients;
};

/* ---- segments: named sets of clients ---- */

enum segment_kind {
	SEGMENT_CIDRS,
	SEGMENT_FILE,
	SEGMENT_WHERE,
	SEGMENT_BINS,
	SEGMENT_MODEL,
	SEGMENT_SAMPLE,
};

/* How the values of a feature are cut into bins, as pandas does. */
enum bin_method { BINS_CUT, BINS_QCUT, BINS_LOG, BINS_EDGES };

struct segment_bins {
	char *feature; /* a column of the catalogue, an observed feature, or a model's score */
	enum bin_method method;
	uint32_t count; /* of bins; with BINS_EDGES edges_count - 1 */
	double *edges;	/* BINS_EDGES: ascending */
	size_t edges_count;
	uint32_t *take; /* the bins whose clients are members, the lowest is 0 */
	size_t take_count;
	char *where; /* the population; NULL: all with a value */
};

struct segment {
	char name[NAME_SIZE];
	struct position position; /* in the files */
	char *description;
	enum segment_kind kind;
	struct prefix *cidrs;
	size_t cidrs_count;
	char *file;
	char *where; /* SQL expression over the columns of a client's row */
	struct segment_bins bins;
	struct segment_model {
		char name[NAME_SIZE];
		char *class_name;
	} model;
	struct segment_sample {
		uint32_t count; /* exactly so many, the lowest hashes first */
		char *where;	/* NULL: all */
	} sample;
	uint64_t refresh_ms; /* 0: never */
};

struct observe {
	bool is_on;	 /* the file has the key */
	uint32_t sample; /* packets: 1 in so many; SYNs are all counted */
	uint64_t window_ms;
};

struct policy {
	char *secret_file; /* NULL: STATE/secret */
	struct interface *interfaces;
	size_t interfaces_count;
	char *metrics_listen; /* HOST:PORT, or NULL: off */
	struct limits limits;
	struct observe observe;
	struct segment *segments; /* in the order of the file */
	size_t segments_count;
	struct service *services; /* in the order of the file */
	size_t services_count;
	char **files; /* names, for the positions */
	size_t files_count;
};

struct policy *policy_new(void); /* empty, with the defaults of the top level */
void policy_free(struct policy *policy);
/* @where with a file name that lives as long as the policy; no file where there is no memory. */
struct position policy_position(struct policy *policy, const struct position *where);

/* ADDRESS:PORT/PROTO, IPv6 in brackets, PORT `*` for any: the whole text, or -EINVAL. */
int vip_parse(const char *text, struct vip *out);
const char *vip_format(const struct vip *vip, char out[ADDRESS_TEXT_SIZE]); /* returns @out */

struct segment *policy_segment(const struct policy *policy, const char *name);
struct service *policy_service(const struct policy *policy, const char *name);
/* Its bytes in hex, as in the file; NULL where it has none. */
const char *server_id_format(const struct backend *backend, char out[SERVER_ID_TEXT_SIZE]);
int service_cohort(const struct service *service, const char *name); /* its index, or -ENOENT */
int service_rule(const struct service *service, const char *name);
/* The index of the canary that the service's rollout is about. */
size_t rollout_cohort(const struct service *service);
/* It asks for a sample now and then: a command, a threshold on a query. It has no e-value. */
bool metric_samples(const struct rollout_metric *metric);
/*
 * It can roll back by its e-value. An informational one does if the file asks for it by what only
 * acting metrics have.
 */
bool metric_acts(const struct rollout_metric *metric);
/* client_reset, response_size. */
bool metric_is_informational(const struct rollout_metric *metric);
struct rule *service_default_rule(const struct service *service);
/* The salt text in use; the result lives in @buffer where the file gives none. */
const char *service_salt(const struct service *service, char *buffer, size_t size);

#endif
