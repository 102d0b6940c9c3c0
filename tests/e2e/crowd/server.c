// SPDX-License-Identifier: GPL-2.0-only
/*
 * The process that takes commands. A line on stdin is `MODE`, `MODE ADDRESS/BITS` (only for those
 * clients) or `report`; each is answered by a line of JSON once it is so. The end of stdin ends
 * both processes.
 */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_TRIES 5000 /* of a ms */

static const char *const mode_names[MODES] = {
	"healthy", "refuse", "hang", "reset", "slow", "close", "stall", "crash", "error",
};

struct supervisor {
	struct listening listening;
	pid_t child;   /* 0: none lives */
	uint64_t next; /* when the process dies or comes back, ns; 0: never */
	uint64_t crashes;
};

static void start(struct supervisor *supervisor)
{
	struct shared *shared = supervisor->listening.shared;
	const struct timespec ms = {.tv_nsec = MS};
	int tries;

	if (supervisor->child)
		return;
	atomic_store(&shared->listens, false);
	supervisor->child = fork();
	if (supervisor->child < 0)
		give_up("fork");
	if (!supervisor->child) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL))
			give_up("PR_SET_PDEATHSIG");
		serve_http(&supervisor->listening);
	}
	for (tries = 0; !atomic_load(&shared->listens); tries++) {
		if (tries == START_TRIES || waitpid(supervisor->child, NULL, WNOHANG))
			give_up("the server does not start");
		nanosleep(&ms, NULL);
	}
}

static void stop(struct supervisor *supervisor)
{
	if (!supervisor->child)
		return;
	kill(supervisor->child, SIGKILL);
	while (waitpid(supervisor->child, NULL, 0) < 0)
		if (errno != EINTR)
			give_up("waitpid");
	supervisor->child = 0;
}

static void crash_or_come_back(struct supervisor *supervisor, uint64_t now)
{
	if (supervisor->child) {
		stop(supervisor);
		supervisor->crashes++;
		supervisor->next = now + CRASH_DOWN;
	} else {
		start(supervisor);
		supervisor->next = now + CRASH_EVERY - CRASH_DOWN;
	}
}

/* "ADDRESS/BITS" */
static struct peers peers_of(char *text)
{
	char *slash = strchr(text, '/');
	struct peers peers = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};

	if (!slash)
		give_up(text);
	*slash = 0;
	peers.bits = (uint32_t)number_of(slash + 1);
	if (inet_pton(peers.family, text, peers.bytes) != 1 ||
	    peers.bits > (peers.family == AF_INET ? 32 : 128))
		give_up(text);
	return peers;
}

static void set_mode(struct supervisor *supervisor, enum mode mode, char *only)
{
	struct shared *shared = supervisor->listening.shared;

	atomic_store(&shared->mode, MODE_HEALTHY);
	shared->only = only ? peers_of(only) : (struct peers){0};
	atomic_store(&shared->mode, mode);
	supervisor->next = 0;
	if (mode == MODE_REFUSE)
		stop(supervisor);
	else
		start(supervisor);
	if (mode == MODE_CRASH)
		crash_or_come_back(supervisor, now_ns());
}

static void obey(struct supervisor *supervisor, char *line)
{
	struct shared *shared = supervisor->listening.shared;
	char *only = strchr(line, ' ');
	int mode;

	if (only)
		*only++ = 0;
	for (mode = 0; mode < MODES && strcmp(line, mode_names[mode]); mode++)
		;
	if (mode < MODES)
		set_mode(supervisor, (enum mode)mode, only);
	else if (strcmp(line, "report"))
		give_up(line);
	printf("{\"now_ns\":%llu,\"mode\":\"%s\",\"crashes\":%llu,\"accepted\":%llu,"
	       "\"requests\":%llu,\"answered\":%llu,\"failed\":%llu}\n",
	       (unsigned long long)now_ns(), mode_names[atomic_load(&shared->mode)],
	       (unsigned long long)supervisor->crashes, atomic_load(&shared->accepted),
	       atomic_load(&shared->requests), atomic_load(&shared->answered),
	       atomic_load(&shared->failed));
	fflush(stdout);
}

static int wait_ms(const struct supervisor *supervisor)
{
	uint64_t now = now_ns();

	if (!supervisor->next)
		return -1;
	return supervisor->next > now ? (int)((supervisor->next - now) / MS) + 1 : 0;
}

static void run(struct supervisor *supervisor)
{
	struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
	bool ended = false;
	const char *line;
	char text[256];

	while (!ended) {
		if (poll(&input, 1, wait_ms(supervisor)) < 0 && errno != EINTR)
			give_up("poll");
		while (input.revents && (line = command_line(&ended))) {
			snprintf(text, sizeof(text), "%s", line);
			obey(supervisor, text);
		}
		if (supervisor->next && now_ns() >= supervisor->next)
			crash_or_come_back(supervisor, now_ns());
	}
	stop(supervisor);
}

/* "NAME" or "NAME=NAMESPACE" */
static void add_backend(struct listening *listening, const char *text)
{
	struct backend *backend = &listening->backends[listening->backends_count++];
	const char *sign = strchr(text, '=');

	if (listening->backends_count > BACKENDS_MAX)
		give_up(text);
	snprintf(backend->name, sizeof(backend->name), "%.*s",
		 sign ? (int)(sign - text) : (int)strlen(text), text);
	backend->namespace = sign ? sign + 1 : NULL;
}

int server_main(char **argv)
{
	struct supervisor supervisor = {0};
	struct listening *listening = &supervisor.listening;
	const char *name, *value;
	int at = 0;

	while (next_option(argv, &at, &name, &value)) {
		if (!strcmp(name, "name"))
			add_backend(listening, value);
		else if (!strcmp(name, "port"))
			listening->port = (uint16_t)number_of(value);
		else
			give_up(name);
	}
	listening->addresses = argv + at;
	if (!listening->backends_count || !listening->port || !argv[at])
		give_up("server: name, port and addresses are needed");
	listening->shared = mmap(NULL, sizeof(*listening->shared), PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (listening->shared == MAP_FAILED || fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK))
		give_up("server");
	allow_many_files();
	start(&supervisor);
	puts("ready");
	fflush(stdout);
	run(&supervisor);
	return 0;
}
