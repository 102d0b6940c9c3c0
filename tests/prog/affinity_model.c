// SPDX-License-Identifier: GPL-2.0-only
/* Judging packets by what their flows were promised. Pure. */
#include "affinity_model.h"

#define LONG_AGO (INT64_MIN / 2)

struct model_totals model_totals;

void model_begin(struct model *model, const struct epoch *epoch)
{
	bool has_control = false;
	int i;

	for (i = 0; i < MODEL_BACKENDS; i++) {
		const struct model_backend *backend = &model->backends[i];

		model->backends[i].cohorts[model->epochs_count] = backend->cohort;
		has_control |= backend->in_file && !backend->cohort && !backend->health;
	}
	model->was_without_control |= !has_control;
	model->epochs[model->epochs_count++] = *epoch;
}

int64_t model_last_change(const struct model *model)
{
	int i;

	for (i = model->epochs_count - 1; i > 0; i--)
		if (model->epochs[i].is_view || model->epochs[i].is_lease)
			return model->epochs[i].to;
	return LONG_AGO;
}

void model_note_writer(struct model *model, int64_t from, int64_t to, int64_t second)
{
	int64_t end = model_last_change(model) + model->drain;

	if (from <= end + model->late && to + second + model->margin >= end)
		model->kept_open = to + second + model->margin;
}

/* A datagram of no known start is held for the shorter of both. */
static int64_t drain_of(const struct model *model, const struct promised_flow *flow)
{
	if (flow->kind == FLOW_TCP || model->has_server_ids || model->drain < model->udp_drain)
		return model->drain;
	return model->udp_drain;
}

/*
 * Until when the flow is promised where it is. Long ago: it was silent while the decision differed
 * for so long that it might have left, and nobody can tell that it did not.
 */
static int64_t deadline_of(const struct model *model, const struct promised_flow *flow, int64_t now)
{
	int64_t drain = drain_of(model, flow), since = now;
	bool differs = false;
	int i;

	for (i = 0; i < model->epochs_count; i++) {
		const struct epoch *epoch = &model->epochs[i];

		if (flow->decisions[i].backend != flow->at) {
			since = differs ? since : epoch->from;
			differs = true;
			continue;
		}
		if (differs && i > flow->seen && epoch->to - since >= drain - model->margin)
			return LONG_AGO;
		differs = false;
	}
	return (differs ? since : now) + drain;
}

/* The writer may have begun another era in the last moments of the one that held the flow. */
static bool was_given_up(const struct model *model, int64_t deadline)
{
	int i;

	for (i = model->epochs_count - 1; i > 0; i--)
		if (model->epochs[i].is_view && model->epochs[i].to >= deadline - model->margin)
			return true;
	return false;
}

enum standing {
	STAYS,	/* promised */
	LEAVES, /* its client was cut, or its canary killed */
	MOVES,	/* its backend is down: to the current decision */
	EITHER,
};

enum ban { NOT_BANNED, MAYBE_BANNED, BANNED };

struct verdict {
	enum ban ban;
	enum excuse why; /* of MAYBE_BANNED */
};

static const struct verdict not_banned = {NOT_BANNED, 0}, banned = {BANNED, 0};

static struct verdict maybe(enum excuse why)
{
	return (struct verdict){MAYBE_BANNED, why};
}

/* Did the flow's client get another place in the hash space in epoch @index? */
static bool is_rehashed(const struct model *model, const struct promised_flow *flow, int index)
{
	return model->epochs[index].rehashes ||
	       flow->decisions[index].token != flow->decisions[index - 1].token;
}

/* Who was kept by a cut cannot be told any more once clients have other hashes: then nobody is. */
static bool rehashed_since(const struct model *model, const struct promised_flow *flow, int cut)
{
	while (++cut < model->epochs_count)
		if (is_rehashed(model, flow, cut))
			return true;
	return false;
}

static bool cuts_any(const struct epoch *epoch)
{
	int rule;

	for (rule = 0; rule < MODEL_RULES; rule++)
		if (epoch->cuts[rule])
			return true;
	return false;
}

/*
 * Was the flow's client one of those of a rule when epoch @index cut any of @cohorts in it? Of one
 * that came to the rule, or left it, in the same step it may be either.
 */
static enum ban is_concerned(const struct model *model, const struct promised_flow *flow, int index,
			     uint8_t cohorts)
{
	uint8_t before = flow->decisions[index - 1].rule, now = flow->decisions[index].rule;
	const struct epoch *epoch = &model->epochs[index];

	if (before == now)
		return epoch->cuts[now] & cohorts ? BANNED : NOT_BANNED;
	return (epoch->cuts[before] | epoch->cuts[now]) & cohorts ? MAYBE_BANNED : NOT_BANNED;
}

#define ALL_CANARIES ((uint8_t)~1u)

static bool is_by_rule(const struct decision *decision)
{
	return decision->reason == REASON_RULE;
}

/* What cut @index did to a flow at a backend of @cohort whose client it concerned. */
static struct verdict ban_of_cut(const struct model *model, const struct promised_flow *flow,
				 int index, int cohort, const struct decision *now)
{
	const struct decision *then = &flow->decisions[index];
	bool is_pinned = now->reason == REASON_OVERRIDE;
	int i;

	if (is_pinned && now->cohort == cohort)
		return not_banned;
	if (is_concerned(model, flow, index, 1 << cohort) == MAYBE_BANNED)
		return maybe(EXCUSE_CUT_JOINED);
	if (!is_by_rule(then) || (!is_by_rule(now) && !is_pinned))
		return maybe(EXCUSE_CUT_PINNED);
	if (then->cohort == cohort) /* kept */
		return rehashed_since(model, flow, index) ? maybe(EXCUSE_CUT_REHASHED) : not_banned;
	for (i = index + 1; i < model->epochs_count; i++)
		if (flow->decisions[i].cohort == cohort)
			return maybe(EXCUSE_CUT_RETURNED);
	return banned;
}

/*
 * Later cuts of the canary say anew who is kept; and an id is followed again to the canary where
 * that is the decision again.
 */
static struct verdict ban_of_kill(const struct model *model, const struct promised_flow *flow,
				  int index, int cohort, const struct decision *now)
{
	int i;

	if (flow->kind == FLOW_NAMED && now->cohort == cohort)
		return maybe(EXCUSE_CUT_NAMED);
	for (i = index + 1; i < model->epochs_count; i++)
		if (is_concerned(model, flow, i, 1 << cohort))
			return maybe(EXCUSE_CUT_THRICE);
	return banned;
}

/* Not: it was another cohort's since epoch @since, or its cohort left and came back. */
static bool was_always_of(const struct model *model, const struct model_backend *backend, int since)
{
	for (; since < model->epochs_count; since++)
		if (backend->cohorts[since] != backend->cohort)
			return false;
	return backend->cohort != COHORT_LEFT;
}

static bool was_killed(const struct model *model, const struct promised_flow *flow)
{
	int i;

	for (i = 1; i < model->epochs_count; i++)
		if (!model->epochs[i].is_view && !model->epochs[i].is_lease && i > flow->bound &&
		    model->backends[flow->at].cohorts[i])
			return true;
	return false;
}

/* After a cut its client got another hash, or any backend another cohort: then not all of it holds.
 */
static bool is_cut_undone(const struct model *model, const struct promised_flow *flow)
{
	int i, id;

	for (i = 1; i < model->epochs_count; i++) {
		bool lifts = model->epochs[i].lifts_kill || model->epochs[i].takes;

		if (!lifts && !cuts_any(&model->epochs[i]))
			continue;
		if ((lifts || is_concerned(model, flow, i, ALL_CANARIES)) &&
		    rehashed_since(model, flow, i))
			return true;
		for (id = 0; id < MODEL_BACKENDS; id++)
			if (model->backends[id].is_used &&
			    !was_always_of(model, &model->backends[id], i - 1))
				return true;
	}
	return false;
}

static bool has_shifts(const struct model *model)
{
	int i;

	for (i = 0; i < model->epochs_count; i++)
		if (model->epochs[i].shifts)
			return true;
	return false;
}

/*
 * Of three cuts of a canary that each keep more the first is forgotten; where parts shift, of two
 * of which the second one keeps more at both ends.
 */
static bool is_cut_thrice(const struct model *model, const struct promised_flow *flow)
{
	int cuts[COHORTS_MAX] = {0}, i, cohort, remembered = has_shifts(model) ? 1 : 2;

	for (i = 1; i < model->epochs_count; i++)
		for (cohort = 1; cohort < COHORTS_MAX; cohort++)
			if (is_concerned(model, flow, i, 1 << cohort) &&
			    ++cuts[cohort] > remembered)
				return true;
	return false;
}

/* A flow at control: a cut of what it had before the era may have sent it there. */
static struct verdict ban_at_control(const struct model *model, const struct promised_flow *flow)
{
	if (was_killed(model, flow))
		return maybe(EXCUSE_KILLED);
	if (is_cut_undone(model, flow))
		return maybe(EXCUSE_CUT_UNDONE);
	if (is_cut_thrice(model, flow))
		return maybe(EXCUSE_CUT_THRICE);
	return not_banned;
}

/* What a cut, or the end of a kill, in epoch @index did to a flow that is at a canary. */
static struct verdict ban_of_epoch(const struct model *model, const struct promised_flow *flow,
				   int index, const struct observation *seen)
{
	const struct model_backend *at = &model->backends[flow->at];
	const struct epoch *epoch = &model->epochs[index];
	bool is_later = index <= flow->bound; /* the flow came there later */
	bool concerns = at->cohort > 0 && is_concerned(model, flow, index, 1 << at->cohort);

	if (is_later && concerns && rehashed_since(model, flow, index))
		return maybe(EXCUSE_CUT_REHASHED);
	if (!was_always_of(model, at, flow->bound))
		return maybe(EXCUSE_CUT_MOVED);
	if (is_later && is_by_rule(&flow->decisions[flow->bound]))
		return not_banned;
	if (is_later) /* by a pin: it is not told from one that the rule sent */
		return maybe(EXCUSE_CUT_PINNED);
	if (epoch->lifts_kill || epoch->takes == at->cohort)
		return ban_of_kill(model, flow, index, at->cohort, &seen->now);
	if (concerns)
		return ban_of_cut(model, flow, index, at->cohort, &seen->now);
	return not_banned;
}

static struct verdict ban_of(const struct model *model, const struct promised_flow *flow,
			     const struct observation *seen)
{
	struct verdict worst = not_banned;
	int i;

	if (!model->backends[flow->at].cohort)
		return ban_at_control(model, flow);
	for (i = 1; i < model->epochs_count; i++) {
		const struct epoch *epoch = &model->epochs[i];
		struct verdict found;

		if (!epoch->lifts_kill && !epoch->takes && !cuts_any(epoch))
			continue;
		found = ban_of_epoch(model, flow, i, seen);
		if (found.ban == BANNED &&
		    seen->after >= epoch->from + drain_of(model, flow) - model->margin)
			found = maybe(EXCUSE_CUT_LATE);
		if (found.ban == BANNED && i <= flow->again)
			found = maybe(EXCUSE_CUT_RETURNED);
		if (found.ban > worst.ban)
			worst = found;
	}
	return worst;
}

static bool is_whole(const struct model *model)
{
	int i;

	for (i = 0; i < MODEL_BACKENDS; i++)
		if (model->backends[i].is_used && (model->backends[i].health & BACKEND_DOWN))
			return false;
	return true;
}

/*
 * A flow that is taken from a canary goes to what control had before the era, and where that does
 * not serve to the decision. So does one whose origin is down.
 */
static bool had_control(const struct model *model)
{
	int i, id;

	for (id = 0; id < MODEL_BACKENDS; id++) /* it has given a canary what it had */
		for (i = 0; i < model->epochs_count; i++)
			if (!model->backends[id].cohorts[i] && model->backends[id].cohort)
				return false;
	return !model->was_without_control && is_whole(model);
}

/* That could have taken the flow's client from somewhere. */
static bool has_cuts(const struct model *model, const struct promised_flow *flow)
{
	int i;

	for (i = 1; i < model->epochs_count; i++)
		if ((!model->epochs[i].is_view && !model->epochs[i].is_lease) ||
		    model->epochs[i].takes || is_concerned(model, flow, i, ALL_CANARIES))
			return true;
	return is_cut_undone(model, flow);
}

/* In this era; flows of before are at the end of their drain. */
static bool took_blindly(const struct model *model)
{
	int i;

	for (i = model->epochs_count - 1; i > 0; i--) {
		const struct epoch *epoch = &model->epochs[i];

		if (epoch->takes_blindly)
			return true;
		if (epoch->from >= epoch[-1].to + model->drain + model->late)
			return false;
	}
	return false;
}

/* Is nobody to be at the canary of the backend? */
static bool is_taken(const struct model *model, const struct model_backend *at)
{
	return at->cohort &&
	       (model->is_killed || (model->takes_all && model->leased == at->cohort));
}

/* Counted where it would have to be elsewhere than is decided. */
static enum standing excused(const struct promised_flow *flow, const struct observation *seen,
			     enum excuse why)
{
	if (seen->now.backend != flow->at)
		model_totals.excuses[why]++;
	return EITHER;
}

static enum standing standing_of(const struct model *model, const struct promised_flow *flow,
				 const struct observation *seen)
{
	const struct model_backend *at = &model->backends[flow->at];
	int64_t deadline = deadline_of(model, flow, seen->after);
	struct verdict verdict = ban_of(model, flow, seen);

	if (flow->is_free) /* datagrams are at home where they were sent since */
		return verdict.ban == BANNED && flow->kind == FLOW_TCP
			       ? LEAVES
			       : excused(flow, seen, EXCUSE_FREE);
	if (is_taken(model, at) || verdict.ban == BANNED)
		return LEAVES;
	if (took_blindly(model) ||
	    (!seen->has_room &&
	     (flow->kind != FLOW_TCP || has_cuts(model, flow) || !had_control(model))))
		return excused(flow, seen, EXCUSE_NO_ROOM);
	/* Of a client that was cut and came back an id is not told from one of before. */
	if (flow->kind == FLOW_NAMED && has_cuts(model, flow) && at->cohort)
		return excused(flow, seen, EXCUSE_CUT_NAMED);
	if (seen->after >= deadline)
		return excused(flow, seen, EXCUSE_DRAINED);
	if (was_given_up(model, deadline))
		return excused(flow, seen, EXCUSE_GIVEN_UP);
	if (verdict.ban == MAYBE_BANNED)
		return excused(flow, seen, verdict.why);
	return at->health & BACKEND_DOWN ? MOVES : STAYS;
}

/* Of datagrams without a start it is not more than udp_drain; of one that had, the era. */
static int64_t longest_hold(const struct model *model, const struct promised_flow *flow)
{
	return flow->kind == FLOW_UDP ? drain_of(model, flow) : model->drain;
}

/* What holds of any packet, whatever its flow was promised. An id, and what a cut took from it, are
 * known until there is another view, although the era is over. */
static const char *judge_place(const struct model *model, const struct promised_flow *flow,
			       const struct observation *seen)
{
	const struct model_backend *to = &model->backends[seen->went];

	if (seen->went == NOWHERE) /* of an id only the backend is known, not who else decides */
		return seen->now.backend == NOWHERE ||
				       (flow->kind == FLOW_NAMED && !is_whole(model))
			       ? NULL
			       : "it was dropped";
	if (!to->is_used)
		return "it went to a backend that never was";
	if (to->health & BACKEND_DOWN)
		return "it went to a backend that is down";
	if (model->is_killed && to->cohort)
		return "the service is killed, and it went to a canary";
	if (is_taken(model, to))
		return "the canary's lease has ended, by cut, and it went there";
	if (model->takes_all && model->latched && to->cohort == model->latched)
		return "the canary is latched, by cut, and it went there";
	if (seen->starts && !flow->is_open && flow->kind != FLOW_NAMED && to->cohort > 0 &&
	    (to->cohort == model->leased || to->cohort == model->latched))
		return "a new flow went to a canary whose lease has ended, or that is latched";
	if (seen->before >= model_last_change(model) + longest_hold(model, flow) + model->late &&
	    seen->before >= model->kept_open && seen->went != seen->now.backend &&
	    flow->kind != FLOW_NAMED)
		return "the drain is over, and it did not follow the decision";
	return NULL;
}

static void bind(const struct model *model, struct promised_flow *flow,
		 const struct observation *seen)
{
	flow->is_free = seen->went == NOWHERE;
	if (!flow->is_free)
		flow->at = seen->went;
	flow->bound = flow->again = model->epochs_count - 1;
	flow->is_open = true;
	flow->record = LONG_AGO;
}

/* Until when the table surely has what the SYN wrote: its decision changed in this very era. */
static void expect_record(const struct model *model, struct promised_flow *flow,
			  const struct observation *seen)
{
	int i;

	for (i = model->epochs_count - 1; i > 0; i--)
		if (model->epochs[i].is_view &&
		    flow->decisions[i].backend != flow->decisions[i - 1].backend)
			break;
	if (i <= 0 || flow->kind == FLOW_NAMED) /* whose decisions are its id's */
		return;
	flow->record = model->epochs[i].from + model->drain - model->margin;
	if (seen->after >= flow->record)
		flow->record = LONG_AGO;
}

static const char *judge_start(const struct model *model, struct promised_flow *flow,
			       const struct observation *seen)
{
	bool is_new = !flow->is_open || flow->at == NOWHERE;
	enum standing standing = is_new ? EITHER : standing_of(model, flow, seen);

	if (standing == STAYS && seen->after < flow->record && seen->has_room)
		return seen->went == flow->at ? NULL : "a repeated SYN moved a handshake";
	if (standing == LEAVES && seen->went == flow->at && seen->went != seen->now.backend)
		return "a repeated SYN went where its flow was taken from";
	if (seen->has_room && !flow->is_free && seen->went != seen->now.backend &&
	    (seen->went != flow->at || (is_new && seen->after < flow->record)))
		return "a SYN did not follow the decision";
	if (is_new || seen->went != flow->at || seen->went == seen->now.backend) {
		bool was_there =
			!is_new && !flow->is_free && standing != LEAVES && seen->went == flow->at;
		int64_t record = was_there ? flow->record : LONG_AGO;
		int bound = flow->bound, again = flow->again;

		bind(model, flow, seen);
		if (was_there) { /* the same handshake, for all that is known */
			flow->record = record;
			flow->bound = bound;
			if (standing == STAYS)
				flow->again = again;
		} else {
			expect_record(model, flow, seen);
			flow->is_free |=
				took_blindly(model) ||
				(!seen->has_room && (has_cuts(model, flow) || !had_control(model)));
		}
	}
	return NULL;
}

/* TCP does not outlive it, and begins again; datagrams go on where they are sent. */
static void taken_away(const struct model *model, struct promised_flow *flow,
		       const struct observation *seen)
{
	if (flow->kind == FLOW_UDP && seen->has_room)
		bind(model, flow, seen);
	else
		flow->is_free = true;
}

static bool is_reruled(const struct promised_flow *flow, int epoch)
{
	return flow->decisions[epoch].rule != flow->decisions[epoch - 1].rule;
}

static bool is_regrouped(const struct promised_flow *flow, int epoch)
{
	return flow->decisions[epoch].token != flow->decisions[epoch - 1].token;
}

/* In the time of one drain. */
static bool has_changed(const struct model *model, const struct promised_flow *flow,
			const struct observation *seen,
			bool (*is_changed)(const struct promised_flow *flow, int epoch))
{
	int i;

	for (i = model->epochs_count - 1; i > 0; i--)
		if (model->epochs[i].to > seen->before - model->drain && is_changed(flow, i))
			return true;
	return false;
}

static void count_stay(const struct model *model, const struct promised_flow *flow,
		       const struct observation *seen)
{
	if (seen->now.backend == flow->at)
		return;
	model_totals.stays++;
	model_totals.stays_reruled += has_changed(model, flow, seen, is_reruled);
	model_totals.stays_regrouped += has_changed(model, flow, seen, is_regrouped);
}

static const char *judge_segment(const struct model *model, struct promised_flow *flow,
				 const struct observation *seen)
{
	int was = flow->at;
	bool was_taken;

	if (was == NOWHERE) {
		bind(model, flow, seen);
		return NULL;
	}
	switch (standing_of(model, flow, seen)) {
	case STAYS:
		count_stay(model, flow, seen);
		return seen->went == was ? NULL : "a flow left a live backend before its time";
	case LEAVES:
		model_totals.leaves++;
		model_totals.leaves_reruled += has_changed(model, flow, seen, is_reruled);
		taken_away(model, flow, seen);
		if (seen->went == NOWHERE ||
		    model->backends[seen->went].cohort != model->backends[was].cohort ||
		    (seen->went != was && seen->went == seen->now.backend) || !had_control(model))
			return NULL;
		return "a flow is at the canary that it was taken from";
	case MOVES:
		model_totals.moves++;
		if (seen->went != seen->now.backend && flow->kind != FLOW_NAMED)
			return "a flow of a dead backend did not follow the decision";
		taken_away(model, flow, seen);
		return NULL;
	case EITHER:
		break;
	}
	if (flow->is_free)
		return NULL;
	/* It may be here for it was cut, or for its origin is down. */
	was_taken =
		flow->kind != FLOW_UDP && (!had_control(model) || ban_of(model, flow, seen).ban);
	if (seen->went != was)
		bind(model, flow, seen);
	flow->is_free |= was_taken;
	return NULL;
}

const char *model_judge(const struct model *model, struct promised_flow *flow,
			const struct observation *seen)
{
	const char *broken = judge_place(model, flow, seen);

	if (broken)
		return broken;
	if (flow->is_free && seen->before >= model_last_change(model) + model->drain + model->late)
		bind(model, flow, seen);
	broken = seen->starts ? judge_start(model, flow, seen) : judge_segment(model, flow, seen);
	if (seen->went == flow->at)
		flow->seen = model->epochs_count - 1;
	if (seen->ends)
		flow->is_open = false;
	return broken;
}
