// SPDX-License-Identifier: GPL-2.0-only
#include "rollouts_fixture.h"

#include "probe/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVICE                                                                                    \
	"version: 1\n"                                                                             \
	"services:\n"                                                                              \
	"- name: api\n"                                                                            \
	"  vips: [ \"192.0.2.10:443/tcp\" ]\n"                                                     \
	"  release: v1\n"                                                                          \
	"  steer: l2\n"                                                                            \
	"  cohorts:\n"                                                                             \
	"  - { name: stable, backends: [ { address: 10.0.1.11 } ] }\n"                             \
	"  - { name: canary, backends: [ { address: 10.0.2.11 } ] }\n"                             \
	"  rules: [ { default: true, allocate: { canary: 0% } } ]\n"                               \
	"  rollout:\n"

void rollouts_box_apply(struct rollouts_box *box, const char *rollout)
{
	char text[4096] = SERVICE, url[64], *at = text + strlen(text);
	struct control *control;
	struct store *store;
	uint64_t number;

	snprintf(url, sizeof(url), "http://127.0.0.1:%u", box->probe->port);
	for (const char *c = rollout; *c; c++) {
		assert_true(at < text + sizeof(text) - sizeof(url));
		if (c[0] == '%' && c[1] == 's') {
			at = stpcpy(at, url);
			c++;
		} else {
			*at++ = *c;
		}
	}
	assert_int_equal(
		store_open_write(box->place.state, 0, &box->actor, &store, box->state.errors), 0);
	assert_int_equal(store_add_revision(store, text, &number, box->state.errors), 0);
	assert_int_equal(store_commit(store, box->state.errors), 0);
	store_close(store);
	assert_int_equal(control_open_write(&box->place, &box->actor, box->state.errors, &control),
			 0);
	assert_int_equal(control_publish(control), 0);
	control_close(control);
}

struct rollouts_box *rollouts_box_make(const char *rollout)
{
	struct rollouts_box *box = calloc(1, sizeof(*box));
	void *probe;

	probe_box_make(&probe);
	box->probe = probe;
	state_box_make(&box->state);
	box->place = (struct place){.state = box->state.directory, .pins = "/sys/fs/bpf/none"};
	box->actor = (struct actor){.by = "daemon", .command = "daemon", .reason = ""};
	rollouts_box_apply(box, rollout);
	box->rollouts = (struct rollouts){
		.event = box->probe->event,
		.place = &box->place,
		.actor = &box->actor,
		.counters = counters_new(),
	};
	assert_int_equal(
		control_open_following(&box->place, box->state.errors, &box->rollouts.control), 0);
	assert_true(probes_start(&box->rollouts) >= 0);
	return box;
}

void rollouts_box_remove(struct rollouts_box *box)
{
	void *probe = box->probe;

	probes_stop(&box->rollouts);
	counters_free(box->rollouts.counters);
	control_close(box->rollouts.control);
	probe_box_remove(&probe);
	errors_print(box->state.errors, stderr);
	state_box_remove(&box->state);
	free(box);
}

struct service *rollouts_box_service(struct rollouts_box *box)
{
	struct service *service;

	assert_int_equal(control_look_again(box->rollouts.control, box->state.errors), 0);
	service = policy_service(box->rollouts.control->policy, "api");
	assert_non_null(service);
	return service;
}

struct fetched {
	size_t count;
	char body[1024];
};

static void hear(void *data, const struct http_answer *answer)
{
	struct fetched *fetched = data;

	assert_true(answer->ok);
	snprintf(fetched->body, sizeof(fetched->body), "%s", answer->body);
	fetched->count++;
}

const char *rollouts_box_fetch(struct rollouts_box *box, const char *path, const char *body)
{
	static struct fetched fetched;
	const struct http_request request = {
		.url = probe_box_url(box->probe, path),
		.json = body,
		.timeout_ms = 30000,
	};
	struct probe *probe;

	fetched.count = 0;
	assert_int_equal(probe_http(box->probe->engine, &request, hear, &fetched, &probe), 0);
	probe_box_wait(box->probe, &fetched.count, 1);
	return fetched.body;
}
