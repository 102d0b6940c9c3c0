// SPDX-License-Identifier: GPL-2.0-only
/*
 * sd-event asks the kernel for all that is ready before each single thing that it dispatches: with
 * thousands of ready sockets each costs as much as there are others. So sockets have an epoll set
 * of their own, which is one source of the loop, and of it one is taken at a time: what a callback
 * ends cannot be in anybody's hands.
 */
#include "probe/internal.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#define AT_A_TIME 64 /* then others on the loop have their turn */

static int on_some(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct epoll_event ready;

	(void)source;
	(void)events;
	(void)data;
	for (int i = 0; i < AT_A_TIME && epoll_wait(fd, &ready, 1, 0) > 0; i++) {
		struct probe_watch *watch = ready.data.ptr;

		watch->ready(watch, ready.events);
	}
	return 0;
}

int poll_new(struct probe_engine *engine)
{
	engine->sockets = epoll_create1(EPOLL_CLOEXEC);
	if (engine->sockets < 0)
		return -errno;
	return sd_event_add_io(engine->event, &engine->some, engine->sockets, EPOLLIN, on_some,
			       engine);
}

void poll_free(struct probe_engine *engine)
{
	sd_event_source_disable_unref(engine->some);
	if (engine->sockets >= 0)
		close(engine->sockets);
}

int watch_begin(struct probe_engine *engine, struct probe_watch *watch, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = watch};

	watch->fd = fd;
	if (!epoll_ctl(engine->sockets, EPOLL_CTL_ADD, fd, &event))
		return 0;
	watch->fd = -1;
	return -errno;
}

void watch_end(struct probe_engine *engine, struct probe_watch *watch)
{
	/* One that was closed has left by itself, and another may have its number: not in this set,
	 * for whoever adds one has first been told that the other is gone. */
	if (watch->fd >= 0)
		epoll_ctl(engine->sockets, EPOLL_CTL_DEL, watch->fd, NULL);
	watch->fd = -1;
}
