// SPDX-License-Identifier: GPL-2.0-only
/*
 * One thread: libmicrohttpd's epoll descriptor is a source of the daemon's loop, so a page is
 * rendered between two other tasks and needs no lock.
 */
#include "daemon/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define CONNECTIONS_MAX		   64
#define CONNECTION_TIMEOUT_SECONDS 10

struct http {
	struct MHD_Daemon *server;
	sd_event_source *source;
	http_page page;
	void *data;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status,
			      const char *type, char *text, size_t length,
			      enum MHD_ResponseMemoryMode mode)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(length, text, mode);
	enum MHD_Result result;

	if (!response)
		return MHD_NO;
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned int status,
				   const char *text)
{
	return answer(connection, status, "text/plain; charset=utf-8", (char *)text, strlen(text),
		      MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result handle(void *data, struct MHD_Connection *connection, const char *url,
			      const char *method, const char *version, const char *upload,
			      size_t *upload_size, void **request)
{
	static int seen;
	struct http *http = data;
	size_t length;
	char *text;

	(void)version;
	(void)upload;
	if (!*request) { /* the head alone; the page comes with the next call */
		*request = &seen;
		return MHD_YES;
	}
	if (*upload_size) {
		*upload_size = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET\n");
	if (strcmp(url, "/metrics"))
		return answer_text(connection, MHD_HTTP_NOT_FOUND,
				   "xdp-canary: metrics are at /metrics\n");
	if (http->page(http->data, &text, &length))
		return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR,
				   "cannot read the state: see the daemon's log\n");
	return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text,
		      length, MHD_RESPMEM_MUST_FREE);
}

static int on_ready(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct http *http = data;

	(void)source;
	(void)fd;
	(void)events;
	MHD_run(http->server);
	return 0;
}

void http_tick(struct http *http)
{
	if (http)
		MHD_run(http->server);
}

/* HOST:PORT to a socket address. malloc()ed by getaddrinfo(). */
static struct addrinfo *resolve(const char *listen)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
				 .ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	char *copy = strdup(listen), *host = copy, *colon = copy ? strrchr(copy, ':') : NULL;

	if (!colon) {
		free(copy);
		return NULL;
	}
	*colon = '\0';
	if (*host == '[' && colon > host && colon[-1] == ']') {
		colon[-1] = '\0';
		host++;
	}
	hints.ai_flags &= strcmp(host, "localhost") ? ~0 : ~AI_NUMERICHOST;
	if (getaddrinfo(host, colon + 1, &hints, &found))
		found = NULL;
	free(copy);
	return found;
}

static int watch(struct http *http, sd_event *event)
{
	const union MHD_DaemonInfo *info =
		MHD_get_daemon_info(http->server, MHD_DAEMON_INFO_EPOLL_FD);

	if (!info)
		return -EIO;
	return sd_event_add_io(event, &http->source, info->epoll_fd, EPOLLIN, on_ready, http);
}

int http_start(sd_event *event, const char *listen, http_page page, void *data, struct http **out,
	       struct errors *errors)
{
	struct addrinfo *address = resolve(listen);
	struct http *http;
	unsigned int flags = MHD_USE_EPOLL;
	int error;

	if (!address)
		return errors_add(errors, NULL, "metrics.listen",
				  "write an address and a port: 127.0.0.1:9977",
				  "%s is no address to listen at", listen);
	http = calloc(1, sizeof(*http));
	if (!http) {
		freeaddrinfo(address);
		return -ENOMEM;
	}
	http->page = page;
	http->data = data;
	if (address->ai_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	http->server = MHD_start_daemon(flags, 0, NULL, NULL, handle, http, MHD_OPTION_SOCK_ADDR,
					address->ai_addr, MHD_OPTION_CONNECTION_LIMIT,
					CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
					CONNECTION_TIMEOUT_SECONDS, MHD_OPTION_END);
	freeaddrinfo(address);
	error = http->server ? watch(http, event) : -EADDRINUSE;
	if (error < 0) {
		errors_add_code(errors, -error, "metrics.listen", "see `ss -ltnp` for who has it",
				"cannot listen at %s", listen);
		http_stop(http);
		return error;
	}
	*out = http;
	return 0;
}

void http_stop(struct http *http)
{
	if (!http)
		return;
	sd_event_source_disable_unref(http->source);
	if (http->server)
		MHD_stop_daemon(http->server);
	free(http);
}
