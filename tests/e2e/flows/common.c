// SPDX-License-Identifier: GPL-2.0-only
/* What the programs of flows, and those of ../crowd, share. */
#include "flows.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

/* FNV-1a. */
uint64_t hash_bytes(uint64_t hash, const void *data, size_t length)
{
	const uint8_t *byte = data;

	while (length--)
		hash = (hash ^ *byte++) * 0x100000001b3ULL;
	return hash;
}

uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ULL;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

void give_up(const char *what)
{
	fprintf(stderr, "%s: %s%s%s\n", program_invocation_short_name, what, errno ? ": " : "", errno ? strerror(errno) : "");
	exit(2);
}

struct address address_of(const char *text, uint16_t port)
{
	struct address address = {.length = sizeof(struct sockaddr_in)};
	struct sockaddr_in *v4 = (struct sockaddr_in *)&address.storage;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address.storage;

	errno = 0;
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons(port);
	} else if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons(port);
		address.length = sizeof(*v6);
	} else {
		give_up(text);
	}
	return address;
}

/* -1 and errno where the socket cannot be bound to @local. */
int open_socket(int family, int type, const struct address *local)
{
	int on = 1, error, file = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (file < 0)
		give_up("socket");
	if (setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)))
		give_up("SO_REUSEADDR");
	/* :: and 0.0.0.0 may be two sockets. */
	if (family == AF_INET6 && setsockopt(file, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)))
		give_up("IPV6_V6ONLY");
	if (!bind(file, (const struct sockaddr *)&local->storage, local->length))
		return file;
	error = errno;
	close(file);
	errno = error;
	return -1;
}

void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		give_up("RLIMIT_NOFILE");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		give_up("RLIMIT_NOFILE");
}

void watch(int poll, int file, uint32_t events, void *pointer)
{
	struct epoll_event event = {.events = events, .data.ptr = pointer};

	if (epoll_ctl(poll, EPOLL_CTL_ADD, file, &event))
		give_up("epoll_ctl");
}

uint64_t number_of(const char *text)
{
	char *end;
	uint64_t number = strtoull(text, &end, 10);

	errno = 0;
	if (end == text || *end)
		give_up(text);
	return number;
}

bool next_option(char **argv, int *at, const char **name, const char **value)
{
	if (!argv[*at] || strncmp(argv[*at], "--", 2))
		return false;
	errno = 0;
	if (!argv[*at + 1])
		give_up(argv[*at]);
	*name = argv[*at] + 2;
	*value = argv[*at + 1];
	*at += 2;
	return true;
}

const char *command_line(bool *ended)
{
	static char text[256];
	static size_t used, taken;
	ssize_t got;
	char *end;

	memmove(text, text + taken, used -= taken);
	taken = 0;
	end = memchr(text, '\n', used);
	if (!end) {
		got = read(STDIN_FILENO, text + used, sizeof(text) - used);
		*ended = !got || (got < 0 && errno != EAGAIN && errno != EINTR);
		used += got > 0 ? (size_t)got : 0;
		end = memchr(text, '\n', used);
	}
	if (!end)
		return NULL;
	*end = 0;
	taken = (size_t)(end - text) + 1;
	return text;
}
