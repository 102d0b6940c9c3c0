// SPDX-License-Identifier: GPL-2.0-only
/*
 * Preloaded into ngtcp2's example programs, which neither put an id of the server into connection
 * ids nor let the client choose its addresses. Does what the environment says:
 *
 *   QUIC_SERVER_ID      hex: stands in every connection id that the server issues,
 *   QUIC_SERVER_ID_OFFSET   so many bytes from its begin
 *   QUIC_CID_LENGTH     whatever random bytes are asked for in just that number are such an id
 *   QUIC_SOURCES        "10.50.0.1 4000 10.50.0.2 4001": where the first internet socket is bound
 *                       to, whatever was asked for, and then the second one
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

int gnutls_rnd(int level, void *data, size_t length);

static size_t number(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : 0;
}

/* The original is random in every byte; ours stays so but for the server's id. */
int gnutls_rnd(int level, void *data, size_t length)
{
	int (*original)(int, void *, size_t) = dlsym(RTLD_NEXT, "gnutls_rnd");
	const char *id = getenv("QUIC_SERVER_ID");
	size_t offset = number("QUIC_SERVER_ID_OFFSET");
	unsigned char *cid = data;
	int error = original(level, data, length);

	if (error || !id || length != number("QUIC_CID_LENGTH"))
		return error;
	for (; offset < length && sscanf(id, "%2hhx", &cid[offset]) == 1; offset++)
		id += 2;
	return 0;
}

/* Moves @text on, behind the address and port that it begins with. NULL: there is none. */
static struct addrinfo *next_source(const char **text)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_DGRAM};
	struct addrinfo *found = NULL;
	char host[64], port[8];
	int length = 0;

	if (sscanf(*text, "%63s %7s%n", host, port, &length) != 2 ||
	    getaddrinfo(host, port, &hints, &found))
		return NULL;
	*text += length;
	return found;
}

int bind(int fd, const struct sockaddr *address, socklen_t size)
{
	int (*original)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "bind");
	static const char *rest;
	static int asked;
	struct addrinfo *source;
	int result;

	if (!asked++)
		rest = getenv("QUIC_SOURCES");
	if (!rest || (address->sa_family != AF_INET && address->sa_family != AF_INET6))
		return original(fd, address, size);
	source = next_source(&rest);
	if (!source) {
		errno = EADDRNOTAVAIL;
		return -1;
	}
	result = original(fd, source->ai_addr, source->ai_addrlen);
	freeaddrinfo(source);
	return result;
}
