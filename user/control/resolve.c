// SPDX-License-Identifier: GPL-2.0-only
/* Next hops of the backends in force: asked from the kernel, written where they differ. */
#include "control/control_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define AWAIT_STEP_MS 5

/* The next hop gives the outer source where the file does not; l2 has none. */
static bool source_is_given(const struct service *service, const struct backend *backend)
{
	if (service->steer == STEER_L2)
		return true;
	return (backend->address.family == 6 ? service->encap_source6 : service->encap_source4)
		       .family != 0;
}

int backend_next_hop(struct next_hops *next_hops, const struct service *service,
		     const struct backend *backend, struct next_hop *out, struct errors *errors)
{
	const struct next_hop_query query = {
		.address = backend->address,
		.via = backend->via,
		.interface = backend->interface,
		.mac = backend->has_mac ? backend->mac : NULL,
		.on_link = service->steer == STEER_L2,
	};
	int error = next_hops_query(next_hops, &query, out, errors);

	if (!error && out->state == NEXT_HOP_RESOLVED && !source_is_given(service, backend) &&
	    !(backend->address.family == 6 ? out->source6 : out->source4).family)
		out->state = NEXT_HOP_NO_SOURCE;
	return error;
}

static bool is_line_of(const struct backend_line *line, const struct backend *backend)
{
	size_t size = backend->address.family == 6 ? 16 : 4;

	return line && !memcmp(line->address, backend->address.bytes, size);
}

int settled_next_hop(struct control *control, struct next_hops *next_hops,
		     const struct service *service, const struct backend *backend,
		     const struct backend_line *shown, struct next_hop *out)
{
	for (;;) {
		int error = backend_next_hop(next_hops, service, backend, out, control->errors);

		if (error || out->state != NEXT_HOP_RESOLVING)
			return error;
		if (is_line_of(shown, backend)) {
			if (!(shown->next_hop & NEXT_HOP_VALID) || shown->ifindex != out->ifindex)
				return 0;
			memcpy(out->mac, &shown->next_hop, sizeof(out->mac));
			out->state = NEXT_HOP_RESOLVED;
			return 0;
		}
		if (control->patience_ms < AWAIT_STEP_MS)
			return 0;
		control->patience_ms -= AWAIT_STEP_MS;
		poll(NULL, 0, AWAIT_STEP_MS);
	}
}

struct refresh {
	struct control *control;
	struct next_hops *next_hops;
	struct next_hop_change *changes;
	size_t count, room;
	size_t unresolved;
	bool warn;
};

static int add_change(struct refresh *refresh, struct next_hop_change change)
{
	struct next_hop_change *grown;

	if (refresh->count == refresh->room) {
		refresh->room = refresh->room ? 2 * refresh->room : 16;
		grown = reallocarray(refresh->changes, refresh->room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		refresh->changes = grown;
	}
	refresh->changes[refresh->count++] = change;
	return 0;
}

static void warn_unresolved(struct refresh *refresh, const struct service *service,
			    const struct backend *backend, const struct next_hop *hop)
{
	char address[ADDRESS_TEXT_SIZE], object[NAME_SIZE + ADDRESS_TEXT_SIZE + 32];

	snprintf(object, sizeof(object), "services/%s/backends/%s", service->name,
		 address_format(&backend->address, address));
	errors_warn(refresh->control->errors, NULL, object,
		    "look at `ip route get` and `ip neigh`, or give it a `mac` and an `interface`",
		    "its next hop is not known (%s): its packets are dropped as no_next_hop",
		    next_hop_state_name(hop->state));
}

static int refresh_backend(struct refresh *refresh, const struct service *service,
			   const struct backend *backend, struct backend_line *line)
{
	bool own_source = source_is_given(service, backend);
	struct next_hop hop;
	int error = backend_next_hop(refresh->next_hops, service, backend, &hop,
				     refresh->control->errors);

	if (error)
		return error;
	if (hop.state != NEXT_HOP_RESOLVED) {
		refresh->unresolved++;
		if (refresh->warn)
			warn_unresolved(refresh, service, backend, &hop);
	}
	/* A neighbour that is being asked again keeps its old answer: it is most likely still
	 * right. */
	if (hop.state == NEXT_HOP_RESOLVING || next_hop_is_current(line, &hop, own_source))
		return 0;
	return add_change(refresh, (struct next_hop_change){line, hop, own_source});
}

/*
 * A backend that left the file has flows until the era ends. Where the file said its way that is as
 * it was; and nobody waits for one that does not answer, for most likely it was switched off.
 */
static int refresh_gone(struct refresh *refresh, const struct service *service,
			struct backend_line *line)
{
	struct backend backend = {.address.family = line->flags & BACKEND_IPV6 ? 6 : 4};
	bool own_source = source_is_given(service, &backend);
	struct next_hop hop;
	int error;

	if (line->flags & BACKEND_NO_FIB)
		return 0;
	memcpy(backend.address.bytes, line->address, sizeof(line->address));
	error = backend_next_hop(refresh->next_hops, service, &backend, &hop,
				 refresh->control->errors);
	if (error || hop.state == NEXT_HOP_RESOLVING || next_hop_is_current(line, &hop, own_source))
		return error;
	return add_change(refresh, (struct next_hop_change){line, hop, own_source});
}

static int refresh_all_gone(struct refresh *refresh, const struct service *service,
			    const struct view *view)
{
	uint32_t number;
	int error = 0;

	for (number = 0; number < view->backends_count && !error; number++) {
		struct backend_line *line =
			datapath_backend(refresh->control->datapath, view, number);

		if (line->flags & BACKEND_GONE)
			error = refresh_gone(refresh, service, line);
	}
	return error;
}

static int refresh_service(struct refresh *refresh, const struct service *service)
{
	struct control *control = refresh->control;
	const struct live_service *live = live_service_of(&control->live, service->name);
	const struct view *view = live ? datapath_view(control->datapath, live->slot) : NULL;
	char address[ADDRESS_TEXT_SIZE];
	size_t cohort, i;
	uint32_t number;
	int error = 0;

	if (!view || view->epoch != live->epoch)
		return 0;
	for (cohort = 0; cohort < service->cohorts_count && !error; cohort++)
		for (i = 0; i < service->cohorts[cohort].backends_count && !error; i++) {
			const struct backend *backend = &service->cohorts[cohort].backends[i];

			error = store_find_number(control->store, NUMBER_BACKEND, service->name,
						  address_format(&backend->address, address),
						  &number, control->errors);
			if (!error && number < view->backends_count)
				error = refresh_backend(
					refresh, service, backend,
					datapath_backend(control->datapath, view, number));
		}
	if (!error && (view->flags & VIEW_TRANSITION))
		error = refresh_all_gone(refresh, service, view);
	return error;
}

static int refresh_all(struct refresh *refresh)
{
	struct control *control = refresh->control;
	size_t i;
	int error = 0;

	for (i = 0; i < control->policy->services_count && !error; i++)
		error = refresh_service(refresh, &control->policy->services[i]);
	if (!error && refresh->count)
		error = next_hops_write(control->datapath, refresh->changes, refresh->count,
					control->errors);
	free(refresh->changes);
	return error;
}

int control_refresh_next_hops(struct control *control, struct next_hops *next_hops,
			      size_t *unresolved)
{
	struct refresh refresh = {.control = control, .next_hops = next_hops};
	int error = refresh_all(&refresh);

	*unresolved = refresh.unresolved;
	return error;
}

int control_await_next_hops(struct control *control, uint64_t milliseconds)
{
	struct refresh last = {.control = control, .warn = true};
	struct next_hops *next_hops;
	size_t unresolved;
	uint64_t waited;
	int error = next_hops_open(&next_hops, control->errors);

	if (error)
		return error;
	for (waited = 0;; waited += AWAIT_STEP_MS) {
		error = control_refresh_next_hops(control, next_hops, &unresolved);
		if (error || !unresolved || waited >= milliseconds)
			break;
		poll(NULL, 0, AWAIT_STEP_MS);
	}
	last.next_hops = next_hops;
	if (!error && unresolved)
		error = refresh_all(&last);
	next_hops_close(next_hops);
	return error;
}
