// SPDX-License-Identifier: GPL-2.0-only
/*
 * The checks of a service's rollout: its cohort, and that its steps go one way within what the
 * rules, slots and backends allow. First what follows from other values is filled in. Where a rule
 * or cohort has an error itself, nothing is said about the steps that are about it.
 */
#include "config/check_rollout.h"
#include "config/check_split.h"

#include "allocation.h"
#include "policy/load.h"
#include "policy/split.h"
#include "util/text.h"

#include <stdio.h>
#include <string.h>

/* ---- the cohort ---- */

static bool cohorts_are_known(const struct check *check, const struct service *service)
{
	for (size_t i = 0; i < service->cohorts_count; i++)
		if (!check_place(check, &service->cohorts[i], "name"))
			return false;
	return service->cohorts_count > 1;
}

static void report_no_cohort(struct check *check, const struct service *service,
			     const struct path *path)
{
	const char *names[CANARIES_MAX], *nearest;
	char hint[NAME_SIZE + 32] = "name a canary of the service, or remove the key";
	const struct rollout *rollout = &service->rollout;

	for (size_t i = 1; i < service->cohorts_count; i++)
		names[i - 1] = service->cohorts[i].name;
	nearest = text_nearest(rollout->cohort, names, service->cohorts_count - 1);
	if (nearest)
		snprintf(hint, sizeof(hint), "did you mean %s?", nearest);
	check_report(check, check_place(check, rollout, "cohort"), path, "cohort", hint,
		     "%s is no cohort of the service", rollout->cohort);
}

/* NULL: it is not known which cohort the steps are about. */
static const struct cohort *settle_cohort(struct check *check, struct service *service,
					  const struct path *path)
{
	struct rollout *rollout = &service->rollout;
	const struct place *place = check_place(check, rollout, "cohort");
	int index = *rollout->cohort ? service_cohort(service, rollout->cohort) : 1;

	if (!check_is_good(check, rollout, "cohort") || !cohorts_are_known(check, service))
		return NULL;
	if (index < 0) {
		report_no_cohort(check, service, path);
		return NULL;
	}
	if (!index) {
		check_report(check, place, path, "cohort", "name a canary, or remove the key",
			     "%s is the control, which has what the canaries leave",
			     rollout->cohort);
		return NULL;
	}
	if (index == 1)
		rollout->cohort[0] = 0; /* the default need not be written */
	return &service->cohorts[index];
}

/*
 * Between two releases the canary may stand empty (INTERFACE, section 6.7): then the rollout cannot
 * start, but its steps need not be taken out of the file.
 */
static void check_backends(struct check *check, const struct service *service,
			   const struct cohort *cohort, const struct path *path)
{
	const struct place *place = check_place(check, &service->rollout, "cohort");
	char object[PATH_SIZE];

	if (cohort->backends_count || !check_is_good(check, cohort, "backends"))
		return;
	if (!place)
		place = check_place(check, service, "rollout");
	if (place)
		errors_warn(check->errors, &place->where, path_format(path, object),
			    "give the cohort a backend before the rollout is started",
			    "cohort %s has no backend, the rollout cannot start", cohort->name);
}

/* ---- steps ---- */

/* The way through the steps. */
struct walk {
	const struct service *service;
	const struct cohort *cohort;
	size_t canary;
	uint32_t share[RULES_MAX];	      /* of the canary, by rule, up to here */
	const struct step *set_by[RULES_MAX]; /* NULL: the rule's base share */
	bool is_shown;			      /* some rule has a share above 0 */
	bool is_unguarded;		      /* some rule has no control, and was warned of */
	bool is_heavy;			      /* a step's load was warned of */
};

static struct path step_path(const struct check *check, const struct step *step,
			     const struct path *steps)
{
	const struct place *place = places_find(check->places, step, "");

	return (struct path){.parent = steps, .index = place ? place->index : 0};
}

static const struct rule *find_rule(const struct service *service, const char *name)
{
	int index = service_rule(service, name);

	return index < 0 ? NULL : &service->rules[index];
}

static bool rules_are_known(const struct check *check, const struct service *service)
{
	for (size_t i = 0; i < service->rules_count; i++)
		if (!*service->rules[i].name || !check_is_good(check, &service->rules[i], ""))
			return false;
	return check_is_good(check, service, "rules");
}

static void report_no_rule(struct check *check, const struct service *service,
			   const struct step *step, const struct path *path)
{
	const char *names[RULES_MAX], *nearest;
	char hint[NAME_SIZE + 64];

	for (size_t i = 0; i < service->rules_count; i++)
		names[i] = service->rules[i].name;
	nearest = text_nearest(step->segment, names, service->rules_count);
	if (nearest)
		snprintf(hint, sizeof(hint), "did you mean %s?", nearest);
	else
		snprintf(hint, sizeof(hint), "add `- { segment: NAME }` to the service's `rules`");
	check_report(check, check_place(check, step, "segment"), path, "segment", hint,
		     "there is no rule \"%s\"", step->segment);
}

/*
 * A step on a segment alone is one at 100%; one on the default rule does not name it. NULL: it is
 * not known which rule the step is about.
 */
static const struct rule *settle_step(struct check *check, const struct service *service,
				      struct step *step, const struct path *path)
{
	const struct rule *rule;

	if (!check_is_good(check, step, "segment") || !check_is_good(check, step, "weight"))
		return NULL;
	if (!places_find(check->places, step, "weight"))
		step->weight_ppm = PPM;
	if (!rules_are_known(check, service))
		return NULL;
	rule = *step->segment ? find_rule(service, step->segment) : service_default_rule(service);
	if (!rule && *step->segment)
		report_no_rule(check, service, step, path);
	if (rule && rule->is_default)
		step->segment[0] = 0;
	step->has_weight = !*step->segment || step->weight_ppm != PPM;
	return rule;
}

static const struct place *weight_place(const struct check *check, const struct step *step)
{
	const struct place *place = check_place(check, step, "weight");

	return place ? place : check_place(check, step, "segment");
}

/* What the canaries of a rule have together where this one has @share_ppm. */
static uint64_t canaries_ppm(const struct walk *walk, const struct rule *rule, uint32_t share_ppm)
{
	uint64_t sum = share_ppm;

	for (size_t i = 1; i < walk->service->cohorts_count; i++)
		if (i != walk->canary)
			sum += rule->base_ppm[i];
	return sum;
}

static void check_step_share(struct check *check, const struct walk *walk, const struct step *step,
			     const struct rule *rule, const struct path *path)
{
	const struct place *place = weight_place(check, step);
	const struct cohort *cohort = walk->cohort;
	char share[TEXT_VALUE_SIZE], slot[TEXT_VALUE_SIZE];

	text_format_percent(step->weight_ppm, share);
	if (!check_is_good(check, cohort, "slot"))
		return;
	if (step->weight_ppm > cohort->slot_ppm)
		check_report(check, place, path, "weight", "lower the share, or widen the slot",
			     "%s is more than the slot of cohort %s, %s", share, cohort->name,
			     text_format_percent(cohort->slot_ppm, slot));
	else if (canaries_ppm(walk, rule, step->weight_ppm) > PPM)
		check_report(check, place, path, "weight",
			     "lower the share, or what `allocate` gives other canaries",
			     "%s and the other canaries' shares of rule %s are more than 100%% "
			     "together",
			     share, rule->name);
	else
		check_split_share(check, walk->service, step->weight_ppm, place, path, "weight");
}

/*
 * A share below that of a step before is refused; below the base share, which may be what the last
 * rollout came to, it is only likely a mistake.
 */
static void check_direction(struct check *check, const struct walk *walk, const struct step *step,
			    size_t rule, const struct path *path)
{
	static const char hint[] = "add `lower: true` to the step if that is meant";
	const struct place *place = weight_place(check, step);
	const char *name = walk->service->rules[rule].name;
	const struct step *set_by = walk->set_by[rule];
	char before[TEXT_VALUE_SIZE], after[TEXT_VALUE_SIZE], object[PATH_SIZE];

	if (step->lower || step->weight_ppm >= walk->share[rule] || !place ||
	    !check_is_good(check, step, "lower"))
		return;
	text_format_percent(walk->share[rule], before);
	text_format_percent(step->weight_ppm, after);
	if (set_by)
		check_report(check, place, path, "weight", hint,
			     "the share of rule %s falls from %s (step %zu) to %s", name, before,
			     (size_t)(set_by - walk->service->rollout.steps) + 1, after);
	else
		errors_warn(check->errors, &place->where, path_format(path, object), hint,
			    "the share of rule %s falls from %s, its base share, to %s", name,
			    before, after);
}

static bool has_max_rate(const struct rollout *rollout)
{
	for (size_t i = 0; i < rollout->metrics_count; i++)
		if (rollout->metrics[i].has_max_rate)
			return true;
	return false;
}

/* Where the canaries have all of a rule there is no control to compare with. */
static void check_guarded(struct check *check, struct walk *walk, const struct step *step,
			  const struct rule *rule, const struct path *path)
{
	const struct place *place = weight_place(check, step);
	char object[PATH_SIZE];

	if (!place || walk->is_unguarded || has_max_rate(&walk->service->rollout) ||
	    canaries_ppm(walk, rule, step->weight_ppm) < PPM)
		return;
	walk->is_unguarded = true;
	errors_warn(check->errors, &place->where, path_format(path, object),
		    "give a metric a `max_rate`, or stop below 100%",
		    "leaves rule %s no control to compare with: armed: none, nothing would roll it "
		    "back",
		    rule->name);
}

static uint64_t weight_of(const struct cohort *cohort)
{
	uint64_t weight = 0;

	for (size_t i = 0; i < cohort->backends_count; i++)
		weight += cohort->backends[i].weight;
	return weight;
}

/*
 * What a step would put on a canary's backend, with the file's weights. What the rules of segments
 * decide is not known here: the default rule is taken to decide all, and their steps for light.
 */
static void check_load(struct check *check, struct walk *walk, const struct step *step,
		       const struct rule *rule, const struct path *path)
{
	const struct place *place = weight_place(check, step);
	const struct cohort *control = &walk->service->cohorts[0];
	double max_load = walk->service->rollout.max_load, none = 0, load;
	char object[PATH_SIZE], share[TEXT_VALUE_SIZE], limit[64] = "";

	if (walk->is_heavy || !rule->is_default || !place ||
	    step->weight_ppm <= walk->share[rule - walk->service->rules] ||
	    !walk->cohort->backends_count || !check_is_good(check, walk->cohort, "backends") ||
	    !check_is_good(check, control, "backends") ||
	    !check_is_good(check, &walk->service->rollout, "max_load"))
		return;
	load = rollout_load(&step->weight_ppm, &none, 1, weight_of(walk->cohort),
			    weight_of(control));
	if (!load_is_heavy(load, max_load))
		return;
	walk->is_heavy = true;
	if (max_load > 0)
		snprintf(limit, sizeof(limit), ", more than max_load, %g: it would wait", max_load);
	errors_warn(check->errors, &place->where, path_format(path, object),
		    max_load > 0 ? "give the cohort backends or weight, or raise `max_load`"
				 : "give the cohort backends or weight, or let steps wait for them "
				   "with `max_load`",
		    "at %s a backend of %s would carry %.3g times what one of %s did at 0%%, if "
		    "the default rule decided all traffic%s",
		    text_format_percent(step->weight_ppm, share), walk->cohort->name, load,
		    control->name, limit);
}

static void check_weight(struct check *check, struct walk *walk, struct step *step,
			 const struct path *path)
{
	const struct rule *rule = settle_step(check, walk->service, step, path);
	size_t index;

	if (!rule)
		return;
	index = rule - walk->service->rules;
	if (walk->cohort)
		check_step_share(check, walk, step, rule, path);
	if (walk->cohort && check_is_good(check, rule, "allocate")) {
		check_direction(check, walk, step, index, path);
		check_guarded(check, walk, step, rule, path);
		check_load(check, walk, step, rule, path);
	}
	walk->share[index] = step->weight_ppm;
	walk->set_by[index] = step;
	walk->is_shown |= step->weight_ppm > 0;
}

/* An analysis waits until every critical metric lets the share pass. */
static void check_analysis(struct check *check, const struct walk *walk, const struct step *step,
			   const struct path *path)
{
	const struct place *place = check_place(check, step, "analysis");
	const struct rollout *rollout = &walk->service->rollout;
	char object[PATH_SIZE];

	if (!place)
		return;
	path_format(path, object);
	if (!walk->is_shown && walk->cohort)
		errors_warn(check->errors, &place->where, object,
			    "put it after a step that gives the canary a share",
			    "the canary has no share here, there is nothing to analyse");
	if (!rollout_has_critical(rollout) && check_is_good(check, rollout, "metrics"))
		errors_warn(check->errors, &place->where, object,
			    "write `critical: true` at a metric, or use `pause`",
			    "waits for nothing, no metric is critical");
}

static void check_step(struct check *check, struct walk *walk, struct step *step,
		       const struct path *steps)
{
	struct path path = step_path(check, step, steps);
	const struct place *lower = check_place(check, step, "lower");

	if (!check_is_good(check, step, "")) {
		/* The next steps may be about what this one was to do. */
		walk->cohort = NULL;
		return;
	}
	if (step->kind == STEP_WEIGHT)
		check_weight(check, walk, step, &path);
	else if (lower && step->lower)
		check_report(check, lower, &path, "lower", "remove it",
			     "goes with `weight` only, this step changes no share");
	if (step->kind == STEP_ANALYSIS)
		check_analysis(check, walk, step, &path);
}

static void check_steps(struct check *check, struct service *service, const struct cohort *cohort,
			const struct path *path)
{
	struct rollout *rollout = &service->rollout;
	struct path steps = {.parent = path, .text = "steps"};
	struct walk walk = {.service = service, .cohort = cohort};

	if (!places_find(check->places, rollout, "steps"))
		check_report(check, check_place(check, service, "rollout"), path, "steps",
			     "give at least one, such as `- weight: 10%`", "is missing");
	walk.canary = cohort ? (size_t)(cohort - service->cohorts) : 0;
	for (size_t i = 0; i < service->rules_count && cohort; i++) {
		walk.share[i] = service->rules[i].base_ppm[walk.canary];
		walk.is_shown |= walk.share[i] > 0;
	}
	for (size_t i = 0; i < rollout->steps_count; i++)
		check_step(check, &walk, &rollout->steps[i], &steps);
}

/* ---- the rest ---- */

/* A rollout that takes its time as the file says must be able to end before it is cut short. */
static void check_duration(struct check *check, const struct service *service,
			   const struct path *path)
{
	const struct rollout *rollout = &service->rollout;
	const struct place *place = check_place(check, rollout, "max_duration");
	struct path step = {.parent = path, .text = "max_duration"};
	char least_text[TEXT_VALUE_SIZE], most_text[TEXT_VALUE_SIZE], object[PATH_SIZE];
	uint64_t least = 0;

	if (!place)
		place = places_find(check->places, service, "rollout");
	if (!check_is_good(check, rollout, "max_duration") ||
	    !check_is_good(check, rollout, "steps") || !check_is_good(check, rollout, "bake") ||
	    !check_is_good(check, rollout, "settle"))
		return;
	for (size_t i = 0; i < rollout->steps_count; i++) {
		if (rollout->steps[i].kind == STEP_WEIGHT)
			least += rollout->settle_ms + rollout->bake_ms;
		else if (rollout->steps[i].kind == STEP_PAUSE)
			least += rollout->steps[i].pause_ms;
	}
	if (least <= rollout->max_duration_ms)
		return;
	errors_warn(check->errors, &place->where, path_format(&step, object),
		    "raise max_duration, or shorten `bake` and the pauses",
		    "the steps take %s at least, but after %s the rollout is inconclusive",
		    text_format_duration(least, least_text),
		    text_format_duration(rollout->max_duration_ms, most_text));
}

static void check_hooks(struct check *check, const struct rollout *rollout, const struct path *path)
{
	struct path hooks = {.parent = path, .text = "hooks"};

	for (size_t i = 0; i < rollout->hooks_count; i++) {
		const struct rollout_hook *hook = &rollout->hooks[i];
		const struct place *place = check_place(check, hook, "gate");
		struct path step = {.parent = &hooks, .index = i};

		if (place && hook->gate && check_place(check, hook, "on") &&
		    hook->on != HOOK_BEFORE_STEP && hook->on != HOOK_AFTER_STEP)
			check_report(check, place, &step, "gate",
				     "remove it, or write `on: before_step`",
				     "goes with steps only, nothing waits for this hook");
	}
}

void check_rollout(struct check *check, struct service *service, const struct path *path)
{
	struct path step = {.parent = path, .text = "rollout"};
	const struct cohort *cohort;

	if (!service->rollout.is_given)
		return;
	check_metrics(check, service, &step);
	cohort = settle_cohort(check, service, &step);
	if (cohort)
		check_backends(check, service, cohort, &step);
	check_steps(check, service, cohort, &step);
	check_duration(check, service, &step);
	check_hooks(check, &service->rollout, &step);
}
