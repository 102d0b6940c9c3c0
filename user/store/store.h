/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The state of a box in one SQLite file, STATE/state.db: revisions of the desired state, what
 * operators have changed live, which numbers the kernel's tables give to names, and who did what,
 * when and why.
 *
 * Writers hold the one lock (STATE/lock, flock) and one transaction; readers need neither. The
 * order of a write is: compile, fill a free view, store_commit(), publish, store_published(). After
 * a crash in between, the next writer sees services whose published epoch is behind and finishes
 * them.
 */
#ifndef XDP_CANARY_STORE_H
#define XDP_CANARY_STORE_H

#include "abi.h"
#include "segment/members.h"
#include "util/address.h"
#include "util/errors.h"

#include <stdbool.h>
#include <stdint.h>

struct store;

struct actor {
	const char *by;	     /* who */
	const char *command; /* what was typed, for the audit and the lock's holder */
	const char *reason;  /* why, "" if not said */
	const char *kills;   /* the service that it has just killed, "" for all; NULL: none */
};

/* ---- opening ---- */

/*
 * For reading; -ENOENT without an error where there is no state yet. Never creates a state. A
 * handle sees one moment, that of its opening, until it is closed: who wants to see changes opens
 * anew, which is cheap.
 */
int store_open_read(const char *directory, struct store **out, struct errors *errors);
/*
 * For writing: makes the directory (0750) and file, takes the lock (waits up to @wait_ms; then
 * -EBUSY with an error that names the holder's pid and command), begins a transaction.
 * store_close() without a commit takes all back. What is changed after a commit is a transaction of
 * its own, with a commit of its own.
 */
int store_open_write(const char *directory, uint64_t wait_ms, const struct actor *actor,
		     struct store **out, struct errors *errors);
int store_commit(struct store *store,
		 struct errors *errors); /* the lock is kept until store_close() */
void store_close(struct store *store);	 /* NULL is allowed */

/* ---- revisions: whole desired states, canonical YAML ---- */

struct revision {
	uint64_t number; /* 0: none yet */
	uint64_t time_ns;
	char *by, *reason, *command;
	char *config; /* NULL in lists */
};

/* @number 0: the last one. -ENOENT without an error where there is none. */
int store_revision(struct store *store, uint64_t number, struct revision *out,
		   struct errors *errors);
void revision_release(struct revision *revision);
/* Appends one and returns its number in *@number. */
int store_add_revision(struct store *store, const char *config, uint64_t *number,
		       struct errors *errors);
/* Newest first; limit 0: all. */
int store_history(struct store *store, uint64_t limit, struct revision **out, size_t *count,
		  struct errors *errors);
void history_release(struct revision *revisions, size_t count);

/* ---- live state: what commands changed, by names ---- */

struct live_share {
	char service[NAME_SIZE], rule[NAME_SIZE], cohort[NAME_SIZE];
	uint32_t ppm;
	uint64_t time_ns;
	char by[NAME_SIZE];
};

struct live_pin {
	char service[NAME_SIZE], cohort[NAME_SIZE];
	struct prefix client;
	uint64_t expires_ns; /* CLOCK_REALTIME; 0: never */
	uint64_t time_ns;
	char by[NAME_SIZE];
};

/* What an operator wishes of a backend, kept until changed. */
enum wish { WISH_UP, WISH_DRAINING, WISH_DOWN };
/* "up", "draining", "down". */
const char *wish_name(enum wish wish);
int wish_parse(const char *text, enum wish *out); /* or -EINVAL */

struct live_wish {
	char service[NAME_SIZE];
	struct address backend;
	enum wish wish;
	uint64_t time_ns;
	char by[NAME_SIZE];
};

/* What checks last found of a backend; one of which nothing is known counts as up. */
struct live_check {
	char service[NAME_SIZE];
	struct address backend;
	bool up;
	bool flapping; /* held down, whatever they find, until its era has ended */
	uint64_t time_ns;
};

enum latch { LATCH_NONE, LATCH_KILLED, LATCH_ABORTED, LATCH_ROLLED_BACK, LATCH_LEASE_EXPIRED };
/* "none", "killed", "aborted", "rolled_back", "lease_expired". */
const char *latch_name(enum latch latch);

struct live_service {
	char name[NAME_SIZE];
	uint32_t slot;	 /* its cell in the kernel */
	uint64_t epoch;	 /* the last that was committed */
	uint64_t digest; /* of that epoch */
	enum latch latch;
	char rollout_cohort[NAME_SIZE]; /* of its last rollout; "": it never had one */
	bool is_rolling;		/* that is running, paused or waiting */
	uint64_t followed; /* its id, where it is one of these or has succeeded; else 0 */
};

struct live_interface {
	char name[16];
	uint32_t slot; /* of its counters */
	bool attached; /* the operator's wish, kept over reboots */
};

struct live {
	struct live_share *shares;
	size_t shares_count;
	struct live_pin *pins;
	size_t pins_count;
	struct live_wish *wishes;
	size_t wishes_count;
	struct live_check *checks;
	size_t checks_count;
	struct live_service *services;
	size_t services_count;
	struct live_interface *interfaces;
	size_t interfaces_count;
	bool detached; /* `detach` without IF: stays over reboot and apply until `attach` */
};

/* Each list in the order of its names. */
int store_live(struct store *store, struct live *out, struct errors *errors);
void live_release(struct live *live);
const struct live_share *live_share_of(const struct live *live, const char *service,
				       const char *rule, const char *cohort);
struct live_service *live_service_of(const struct live *live, const char *service);
/* NULL: never wished, which is up. */
const struct live_wish *live_wish_of(const struct live *live, const char *service,
				     const struct address *backend);

static inline bool check_passes(const struct live_check *check)
{
	return check->up && !check->flapping;
}

/* NULL: never checked. */
const struct live_check *live_check_of(const struct live *live, const char *service,
				       const struct address *backend);

int store_set_share(struct store *store, const char *service, const char *rule, const char *cohort,
		    uint32_t ppm, struct errors *errors);
/* NULL stands for every rule or cohort. *@dropped (may be NULL) is how many there were. */
int store_drop_shares(struct store *store, const char *service, const char *rule,
		      const char *cohort, size_t *dropped, struct errors *errors);
/* Replaces a pin of the same client. Its time and who are the writer's, whatever @pin says. */
int store_set_pin(struct store *store, const struct live_pin *pin, struct errors *errors);
/* -ENOENT without an error where there is none. */
int store_drop_pin(struct store *store, const char *service, const struct prefix *client,
		   struct errors *errors);
/* @cohort NULL: every cohort's. */
int store_drop_pins(struct store *store, const char *service, const char *cohort,
		    struct errors *errors);
/* Its time and who are the writer's. */
int store_set_wish(struct store *store, const char *service, const struct address *backend,
		   enum wish wish, struct errors *errors);
/* What checks found. Its time is now. */
int store_set_check(struct store *store, const char *service, const struct address *backend,
		    bool up, bool flapping, struct errors *errors);
/* The backend is no longer checked. */
int store_drop_check(struct store *store, const char *service, const struct address *backend,
		     struct errors *errors);
/* -ENOENT with an error where there is no such service. */
int store_set_latch(struct store *store, const char *service, enum latch latch,
		    struct errors *errors);
/*
 * Adds the service with a free slot below @limit where it is new; -ENOSPC with an error when full.
 * @is_busy (may be NULL) tells of slots that are not to be given yet, for packets still reach who
 * had them.
 */
int store_add_service(struct store *store, const char *service, uint32_t limit,
		      bool (*is_busy)(uint32_t slot, const void *data), const void *data,
		      struct live_service *out, struct errors *errors);
/* -ENOENT with an error where there is no such service. */
int store_set_epoch(struct store *store, const char *service, uint64_t epoch, uint64_t digest,
		    struct errors *errors);
/* Its live data and numbers; history and audit stay. */
int store_remove_service(struct store *store, const char *service, struct errors *errors);
int store_set_attached(struct store *store, const char *interface, bool attached, uint32_t *slot,
		       struct errors *errors);
int store_forget_interface(struct store *store, const char *interface, struct errors *errors);
int store_set_detached(struct store *store, bool detached, struct errors *errors);

/* ---- numbers: which index of a kernel table belongs to a name ---- */

/*
 * Kinds of numbers. A name keeps its number as long as it is kept; store_number() gives a new name
 * the lowest free number below @limit (of its @scope), aligned to nothing; -ENOSPC with an error
 * when full.
 */
enum number_kind {
	NUMBER_RULE_GROUP, /* scope "", name SERVICE/RULE: groups of LANES_MAX rule counters */
	NUMBER_LANE,	/* scope SERVICE, name COHORT: its lane in those groups, below LANES_MAX */
	NUMBER_BACKEND, /* scope SERVICE, name ADDRESS: the service's own backend number */
	NUMBER_BACKEND_COUNTER, /* scope "", name SERVICE/ADDRESS */
	NUMBER_SEGMENT,		/* scope "", name SEGMENT: its bit, below SEGMENTS_MAX */
	NUMBER_TRACK, /* scope "", name SERVICE/ROLLOUT: its element of map `tracked_services` */
};

/* *@is_new (may be NULL) tells that the number was given just now: its counters must be zeroed
 * first. */
int store_number(struct store *store, enum number_kind kind, const char *scope, const char *name,
		 uint32_t limit, uint32_t *number, bool *is_new, struct errors *errors);
/* -ENOENT without an error: not numbered. */
int store_find_number(struct store *store, enum number_kind kind, const char *scope,
		      const char *name, uint32_t *number, struct errors *errors);
/*
 * Gives back every number of the scope (with @scope "": of names that start with @prefix) whose
 * name
 * @keep refuses. @prefix NULL: any name; @keep NULL: refuses all. @keep may read the store.
 */
int store_free_numbers(struct store *store, enum number_kind kind, const char *scope,
		       const char *prefix, bool (*keep)(const char *name, void *data), void *data,
		       struct errors *errors);

/* ---- notes: small texts by key, for whoever runs next ---- */

int store_set_note(struct store *store, const char *key, const char *text, struct errors *errors);
/* malloc()ed; -ENOENT without an error: there is none. */
int store_note(struct store *store, const char *key, char **out, struct errors *errors);
int store_drop_note(struct store *store, const char *key, struct errors *errors);

struct note {
	char *key, *text;
};

/* Those whose keys begin with @prefix, by their keys; *@out is malloc()ed. */
int store_notes(struct store *store, const char *prefix, struct note **out, size_t *count,
		struct errors *errors);
void notes_release(struct note *notes, size_t count);

/* ---- features: what was observed of clients in the last complete window ---- */

/* Of one client; the names are those of user/catalogue/features.h. */
struct client_features {
	struct member client;
	uint64_t packets, bytes, flows, active_seconds;
	double flows_per_day;
	double bytes_per_flow, mean_gap_seconds;	      /* NAN: unknown */
	double first_seen_age_seconds, last_seen_age_seconds; /* at the end of the window */
	uint64_t services;
};

struct features_window {
	uint64_t from_ns, to_ns; /* CLOCK_REALTIME */
	uint32_t sample;	 /* 1 in so many packets was counted */
	uint64_t clients;
};

/* -ENOENT without an error: no window was ever complete. */
int store_features_window(struct store *store, struct features_window *out, struct errors *errors);
/* Of exactly this client. -ENOENT without an error: it was not seen in that window. */
int store_features(struct store *store, const struct member *client, struct client_features *out,
		   struct errors *errors);
/*
 * Calls @each in the order of clients from @from to @to, both included (NULL: to the end); what
 * @each returns, if not 0, ends it and is returned.
 */
int store_each_features(struct store *store, const struct member *from, const struct member *to,
			int (*each)(const struct client_features *features, void *data), void *data,
			struct errors *errors);
/*
 * The next window, in parts that may be committed one by one: with @first what an earlier attempt
 * has left is dropped. Nobody sees them before store_show_features(), which puts them in the place
 * of the last window's, all at once.
 */
int store_stage_features(struct store *store, const struct client_features *features, size_t count,
			 bool first, struct errors *errors);
int store_show_features(struct store *store, const struct features_window *window,
			struct errors *errors);

/* ---- memberships: who was in a segment when that was last computed ---- */

struct membership {
	char segment[NAME_SIZE];
	uint64_t version;    /* 1, 2, ... of the segment, whatever its definition was */
	uint64_t time_ns;    /* when it was computed */
	uint64_t definition; /* digest of the definition that it was computed of */
	uint64_t digest;     /* of the members */
	char *detail;	     /* JSON object of its kind: edges of bins, ...; "{}": nothing */
	size_t count;
	struct member *members; /* sorted; NULL where only the head was asked for */
};

/* Replaces the segment's. Version and time are given here: *@version (may be NULL) is the new one.
 */
int store_set_membership(struct store *store, const struct membership *membership,
			 uint64_t *version, struct errors *errors);
/* -ENOENT without an error: never computed. @with_members: else the head alone. */
int store_membership(struct store *store, const char *segment, bool with_members,
		     struct membership *out, struct errors *errors);
/* The heads of all, in the order of their names; *@out is malloc()ed. */
int store_memberships(struct store *store, struct membership **out, size_t *count,
		      struct errors *errors);
int store_drop_membership(struct store *store, const char *segment, struct errors *errors);
void membership_release(struct membership *membership);
void memberships_release(struct membership *memberships, size_t count);

/*
 * The same of a column that services group by: of each client the index of its text. texts: the
 * distinct ones, each ended by a zero, in the order of their indices.
 */
struct grouped_client {
	struct member client;
	uint32_t text;
	uint32_t reserved;
};

struct grouping {
	uint64_t version, time_ns, digest;
	char *texts;
	size_t texts_size, texts_count;
	struct grouped_client *clients; /* sorted by client */
	size_t count;
};

int store_set_grouping(struct store *store, const char *column, const struct grouping *grouping,
		       struct errors *errors);
/* -ENOENT without an error: never computed. @with_clients: else the head alone, without texts. */
int store_grouping(struct store *store, const char *column, bool with_clients, struct grouping *out,
		   struct errors *errors);
int store_drop_grouping(struct store *store, const char *column, struct errors *errors);
/* Names of all columns, in their order; malloc()ed array of malloc()ed. */
int store_groupings(struct store *store, char ***columns, size_t *count, struct errors *errors);
void grouping_release(struct grouping *grouping);

/* ---- models, as they were imported ---- */

struct stored_model {
	char name[NAME_SIZE];
	uint64_t time_ns;
	char *by;
	char *json; /* NULL in lists */
};

/* Replaces a model of that name. Its time and who are the writer's. */
int store_set_model(struct store *store, const char *name, const char *json, struct errors *errors);
/* -ENOENT without an error where there is none. */
int store_model(struct store *store, const char *name, struct stored_model *out,
		struct errors *errors);
void stored_model_release(struct stored_model *model);
/* In the order of their names. */
int store_models(struct store *store, struct stored_model **out, size_t *count,
		 struct errors *errors);
void stored_models_release(struct stored_model *models, size_t count);
/* -ENOENT without an error where there is none. */
int store_drop_model(struct store *store, const char *name, struct errors *errors);

/* ---- audit ---- */

struct audit_entry {
	uint64_t id, time_ns, revision;
	char *by, *command, *service, *before, *after,
		*reason; /* service "": of the box; before, after: JSON text */
};

/*
 * @before, @after: JSON text of what changed, or NULL. who and why are the writer's actor; the
 * revision is the last one at this moment, so a new revision is added before what it changed is
 * audited.
 */
int store_audit(struct store *store, const char *service, const char *before, const char *after,
		struct errors *errors);
/* Oldest first; @service NULL: all; @since_ns 0: all. */
int store_read_audit(struct store *store, const char *service, uint64_t since_ns,
		     struct audit_entry **out, size_t *count, struct errors *errors);
void audit_release(struct audit_entry *entries, size_t count);

#endif
