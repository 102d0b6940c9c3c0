// SPDX-License-Identifier: GPL-2.0-only
/* Services of a lab: described, compiled and published, with numbers that follow from their places.
 */
#include "lab.h"

#include "util/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <time.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GROUPS_PER_SERVICE (RULES_MAX + 1) /* of rule counters: one is that of no rule */
_Static_assert(GROUPS_PER_SERVICE == LAB_NAMES + 1, "each name has its own");

static void *grown(void *array, size_t count, size_t size)
{
	void *larger = reallocarray(array, count + 1, size);

	assert_non_null(larger);
	memset((char *)larger + count * size, 0, size);
	return larger;
}

struct lab_service *lab_add_service(struct lab *lab, const char *name, enum steer_method steer)
{
	static const char *const cohort_names[COHORTS_MAX] = {"stable", "canary", "canary-b",
							      "canary-c"};
	struct lab_service *service = calloc(1, sizeof(*service));
	size_t i;

	assert_non_null(service);
	lab->services = grown(lab->services, lab->services_count, sizeof(struct lab_service *));
	service->lab = lab;
	service->slot = lab->services_count;
	service->epoch = 1;
	service->plan = (struct transition_plan){.drain_ms = 3600000, .udp_drain_ms = 30000};
	lab->services[lab->services_count++] = service;
	service->service = (struct service){
		.enforce = true,
		.salt = strdup("shop/v1"),
		.prefix4 = 32,
		.prefix6 = 64,
		.hash_options.modulus = 100,
		.steer = steer,
		.encap_ttl = 64,
		.affinity = {.drain_ms = 3600000, .udp_drain_ms = 30000},
		.rules = {{.name = "default", .is_default = true}},
		.rules_count = 1,
	};
	snprintf(service->service.name, NAME_SIZE, "%s", name);
	for (i = 0; i < COHORTS_MAX; i++)
		strcpy(service->service.cohorts[i].name, cohort_names[i]);
	lab_set_cohorts(service, 2);
	return service;
}

void lab_set_cohorts(struct lab_service *service, size_t count)
{
	uint32_t width = 1000000 / (count - 1);
	size_t i;

	service->service.cohorts_count = count;
	for (i = 1; i < count; i++) {
		service->service.cohorts[i].slot_start_ppm = (i - 1) * width;
		service->service.cohorts[i].slot_ppm = width;
	}
}

void lab_add_vip(struct lab_service *service, const char *vip)
{
	struct service *s = &service->service;

	s->vips = grown(s->vips, s->vips_count, sizeof(*s->vips));
	assert_int_equal(vip_parse(vip, &s->vips[s->vips_count++]), 0);
}

void lab_mac(size_t cohort, size_t index, uint8_t mac[6])
{
	mac[0] = 0x02;
	mac[1] = 0xbe;
	mac[2] = cohort;
	mac[3] = 0;
	store16(mac + 4, index);
}

struct lab_backend *lab_add_backend(struct lab_service *service, size_t cohort, const char *address,
				    uint16_t weight, uint32_t ifindex)
{
	size_t index = service->service.cohorts[cohort].backends_count++;
	struct lab_backend *added;

	service->backends[cohort] = grown(service->backends[cohort], index, sizeof(*added));
	added = &service->backends[cohort][index];
	added->backend.address = address_of(address);
	added->backend.weight = weight;
	added->hop.state = ifindex ? NEXT_HOP_RESOLVED : NEXT_HOP_RESOLVING;
	added->hop.ifindex = ifindex;
	lab_mac(cohort, index, added->hop.mac);
	memcpy(added->hop.source_mac, LAB_MAC_OF_BOX, 6);
	added->hop.source4 = address_of("10.9.9.9");
	added->hop.source6 = address_of("fd00:9::9");
	return added;
}

void lab_add_pin(struct lab_service *service, const char *prefix, uint8_t cohort, uint64_t expires)
{
	service->pins = grown(service->pins, service->pins_count, sizeof(*service->pins));
	service->pins[service->pins_count++] = (struct pin){
		.client = prefix_of(prefix),
		.cohort = cohort,
		.expires = expires,
	};
}

void lab_set_share(struct lab_service *service, size_t cohort, uint32_t ppm)
{
	service->shares[service->service.rules_count - 1][cohort] = ppm;
}

/* The rules from @from on are those from @to on. */
static void move_rules(struct lab_service *service, size_t to, size_t from)
{
	size_t count = service->service.rules_count - from;

	memmove(service->service.rules + to, service->service.rules + from,
		count * sizeof(*service->service.rules));
	memmove(service->shares + to, service->shares + from, count * sizeof(*service->shares));
	memmove(service->rule_names + to, service->rule_names + from, count);
	memmove(service->rule_segments + to, service->rule_segments + from, count);
}

void lab_add_rule(struct lab_service *service, size_t at, uint8_t name, uint8_t segment)
{
	assert_in_range(service->service.rules_count, at + 1, RULES_MAX - 1);
	move_rules(service, at + 1, at);
	service->service.rules_count++;
	service->service.rules[at] = (struct rule){0};
	snprintf(service->service.rules[at].name, NAME_SIZE, "rule-%u", name);
	snprintf(service->service.rules[at].segment, NAME_SIZE, "segment-%u", segment);
	memset(service->shares[at], 0, sizeof(service->shares[at]));
	service->rule_names[at] = name;
	service->rule_segments[at] = segment;
}

void lab_remove_rule(struct lab_service *service, size_t at)
{
	assert_in_range(at, 0, service->service.rules_count - 2);
	move_rules(service, at, at + 1);
	service->service.rules_count--;
}

struct lab_service *lab_add_usual(struct lab *lab, enum steer_method steer, int family)
{
	struct lab_service *service = lab_add_service(lab, "shop", steer);
	char address[32];
	size_t cohort;

	lab_add_vip(service, LAB_VIP4 ":80/tcp");
	lab_add_vip(service, LAB_VIP4 ":53/udp");
	lab_add_vip(service, "[" LAB_VIP6 "]:80/tcp");
	lab_add_vip(service, "[" LAB_VIP6 "]:53/udp");
	for (cohort = 0; cohort < 2; cohort++) {
		snprintf(address, sizeof(address), family == 4 ? "10.0.%zu.11" : "fd00:%zu::11",
			 cohort);
		lab_add_backend(service, cohort, address, 100, LAB_INGRESS);
	}
	return service;
}

/* ---- compiling and publishing ---- */

/* What compile_view() needs besides the service. */
struct numbers {
	struct service service; /* with its backends */
	uint16_t numbers[2048];
	uint32_t counters[2048];
	uint8_t health[2048];
};

/* A backend keeps the number of its first publication. */
static size_t number_of(struct lab_service *service, const struct address *address)
{
	size_t i;

	for (i = 0; i < service->numbered_count; i++)
		if (address_equal(&service->numbered[i], address))
			return i;
	service->numbered = grown(service->numbered, i, sizeof(*address));
	service->numbered[i] = *address;
	service->numbered_count++;
	return i;
}

static void fill_backends(struct lab_service *service, struct numbers *numbers,
			  struct next_hop *hops)
{
	size_t cohort, i, count = 0;

	for (cohort = 0; cohort < service->service.cohorts_count; cohort++) {
		struct cohort *to = &numbers->service.cohorts[cohort];

		to->backends = calloc(to->backends_count + 1, sizeof(*to->backends));
		assert_non_null(to->backends);
		for (i = 0; i < to->backends_count; i++, count++) {
			const struct lab_backend *from = &service->backends[cohort][i];
			size_t number = number_of(service, &from->backend.address);

			to->backends[i] = from->backend;
			hops[number] = from->hop;
			numbers->numbers[count] = number;
			numbers->counters[count] = service->slot * 64 + number;
			numbers->health[count] = from->health;
		}
	}
}

void lab_compile(struct lab_service *service, struct lab_image *out)
{
	struct numbers *numbers = calloc(1, sizeof(*numbers));
	struct compile_input input = {
		.service = &numbers->service,
		.pins = service->pins,
		.pins_count = service->pins_count,
		.no_rule_group = service->slot * GROUPS_PER_SERVICE,
		.lanes = {0, 1, 2, 3},
		.backend_numbers = numbers->numbers,
		.backend_counters = numbers->counters,
		.backend_health = numbers->health,
		.rollout_cohort = service->rollout_cohort,
		.latched = service->latched,
		.is_lease_latch = service->is_lease_latch,
		.lease_ms = service->lease_ms,
		.tracked = service->tracked,
		.track = service->track,
		.control_factor = service->control_factor,
	};
	size_t i;

	numbers->service = service->service;
	out->hops = calloc(2048, sizeof(*out->hops));
	assert_non_null(out->hops);
	fill_backends(service, numbers, out->hops);
	memcpy(input.share_ppm, service->shares, sizeof(input.share_ppm));
	numbers->service.group_by = service->group_column ? "column" : NULL;
	if (service->group_column || service->service.rules_count > 1)
		input.segments_digest = service->lab->table_version;
	for (i = 0; i < service->service.rules_count; i++) {
		input.rule_groups[i] =
			service->slot * GROUPS_PER_SERVICE + 1 + service->rule_names[i];
		input.rule_segments[i] = service->rule_segments[i];
	}
	assert_int_equal(compile_view(&input, &out->image), 0);
	assert_int_equal(compile_rings(&input, &out->image), 0);
	if (service->salt64)
		out->image.view.salt64 = service->salt64;
	for (i = 0; i < service->service.cohorts_count; i++)
		free(numbers->service.cohorts[i].backends);
	free(numbers);
}

void lab_image_release(struct lab_image *image)
{
	view_image_release(&image->image);
	free(image->hops);
}

static size_t collect_vips(const struct lab *lab, struct vip_entry **out)
{
	size_t count = 0, i, j;

	*out = NULL;
	for (i = 0; i < lab->services_count; i++)
		for (j = 0; j < lab->services[i]->service.vips_count; j++) {
			*out = grown(*out, count, sizeof(**out));
			(*out)[count++] = (struct vip_entry){
				.vip = lab->services[i]->service.vips[j],
				.service = lab->services[i]->slot,
			};
		}
	return count;
}

static void check(struct lab *lab, int error)
{
	if (error)
		errors_print(lab->errors, stderr);
	assert_int_equal(error, 0);
}

/* The service's plan at this moment; NULL: it has no eras. Cuts are asked for once. */
static const struct transition_plan *plan_of(const struct publication *publication,
					     struct lab_service *service,
					     struct transition_plan *out)
{
	if (!service->has_eras)
		return NULL;
	*out = service->plan;
	out->now = publication_now(publication);
	out->hz = jiffies_hz();
	out->monotonic_ns = monotonic_now_ns();
	memset(service->plan.cuts, 0, sizeof(service->plan.cuts));
	service->plan.cut_all = false;
	service->plan.cut_pins = 0;
	service->plan.new_lease = false;
	return out;
}

static void stage(struct lab *lab, struct publication *publication, const struct lab_table *table,
		  struct lab_service *service)
{
	struct client_classes classes = lab_table_classes(lab, table, service);
	struct transition_plan plan;
	struct lab_image image;

	lab_compile(service, &image);
	check(lab, publication_stage(publication, service->slot, service->service.name,
				     &image.image, service->epoch++, image.hops,
				     plan_of(publication, service, &plan), &classes, lab->errors));
	lab_image_release(&image);
}

void lab_publish_health(struct lab *lab, struct lab_service *service)
{
	struct publication *publication;
	struct transition_plan plan;
	struct lab_table table;
	struct lab_image image;
	int error;

	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	lab_table_stay(lab, &table);
	lab_compile(service, &image);
	error = publication_stage_health(publication, service->slot, &image.image,
					 plan_of(publication, service, &plan));
	lab_image_release(&image);
	if (error == -EAGAIN)
		stage(lab, publication, &table, service);
	else
		check(lab, error);
	check(lab, publication_show(publication, lab->errors));
	lab_table_end(&table);
	publication_end(publication);
}

void lab_publish(struct lab *lab)
{
	struct publication *publication;
	struct vip_entry *vips;
	struct lab_table table;
	size_t i, count;

	check(lab, publication_begin(lab->datapath, &publication, lab->errors));
	publication_expect(publication, lab->services_count);
	lab_table_begin(lab, &table);
	for (i = 0; i < lab->services_count; i++)
		stage(lab, publication, &table, lab->services[i]);
	for (; i < lab->published; i++)
		check(lab, publication_stage_removal(publication, i));
	count = collect_vips(lab, &vips);
	check(lab, publication_stage_vips(publication, vips, count, lab->errors));
	free(vips);
	check(lab, publication_show(publication, lab->errors));
	lab_table_end(&table);
	publication_end(publication);
	lab->published = lab->services_count;
}

static void free_service(struct lab_service *service)
{
	size_t i;

	for (i = 0; i < COHORTS_MAX; i++)
		free(service->backends[i]);
	free(service->pins);
	free(service->numbered);
	free(service->service.vips);
	free(service->service.salt);
	free(service);
}

void lab_reset(struct lab *lab)
{
	size_t i;

	for (i = 0; i < lab->services_count; i++) {
		service_lift_kill(lab->datapath, i, service_kills(lab->datapath, i));
		free_service(lab->services[i]);
	}
	lab->services_count = 0;
	lab_remove_clients(lab);
}
