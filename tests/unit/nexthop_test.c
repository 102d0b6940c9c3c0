// SPDX-License-Identifier: GPL-2.0-only
/*
 * user/nexthop against the real kernel. Every test has two network namespaces of its own, joined by
 * two veth pairs: ours, which this process moves into, and the peer's, kept by a child that sleeps
 * until the test ends. Both are gone with their last process, so nothing stays, whatever happens to
 * the test.
 *
 *   us0 10.1.0.1/24 fd01::1/64  ----  p0 10.1.0.2/24 fd01::2/64
 *   us1 10.2.0.1/24 fd02::1/64  ----  p1 10.2.0.2/24 fd02::2/64
 *
 * Nothing waits for a fixed time: what the kernel does by itself is awaited with a deadline.
 */

#include "nexthop/nexthop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_S 20

static const uint8_t us0_mac[] = {2, 0, 0, 0, 1, 1};
static const uint8_t p0_mac[] = {2, 0, 0, 0, 1, 2};
static const uint8_t p1_mac[] = {2, 0, 0, 0, 2, 2};
static const uint8_t other_mac[] = {2, 0, 0, 0, 0, 0x99};

struct fixture {
	const char *missing; /* why the namespaces could not be made; NULL: they were */
	pid_t peer;
	int peer_until_closed;
	struct errors *errors;
	struct next_hops *next_hops;
};

/* ---- the network ---- */

static int run(const char *format, va_list arguments)
{
	char command[2048];
	int length = vsnprintf(command, sizeof(command), format, arguments);

	assert_in_range(length, 1, sizeof(command) - 1);
	return system(command);
}

__attribute__((format(printf, 1, 2))) static bool succeeds(const char *format, ...)
{
	va_list arguments;
	int status;

	va_start(arguments, format);
	status = run(format, arguments);
	va_end(arguments);
	return status == 0;
}

/* In our namespace, by a shell. */
#define here(...) assert_true(succeeds(__VA_ARGS__))

/* In the peer's. */
static void there(const struct fixture *fixture, const char *command)
{
	here("nsenter --net=/proc/%d/ns/net sh -ec '%s'", fixture->peer, command);
}

/*
 * Of a new namespace: no duplicate address detection. Even so an IPv6 address is the kernel's own
 * only once a worker has made its local route.
 */
#define PREPARE                                                                                    \
	"set -e;"                                                                                  \
	"echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad;"                                     \
	"echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad;"                                         \
	"ip link set lo up;"                                                                       \
	"await_local() {"                                                                          \
	"  for try in $(seq 2000); do"                                                             \
	"    if ip route get $1 2> /dev/null | grep -q ^local; then return; fi; sleep 0.01;"       \
	"  done; return 1;"                                                                        \
	"};"

static void sleep_until_closed(int fd)
{
	char byte;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(fd, &byte, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static void start_peer(struct fixture *fixture)
{
	int until_closed[2], ready[2];
	char byte;

	assert_int_equal(pipe2(until_closed, O_CLOEXEC), 0);
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	fixture->peer = fork();
	assert_true(fixture->peer >= 0);
	if (!fixture->peer) {
		close(until_closed[1]);
		if (unshare(CLONE_NEWNET) || write(ready[1], "", 1) != 1)
			_exit(1);
		sleep_until_closed(until_closed[0]);
	}
	close(until_closed[0]);
	close(ready[1]);
	fixture->peer_until_closed = until_closed[1];
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

/* Failed neighbours are to be found failed soon, and changes of a MAC to be taken at once. */
static void hurry_neighbours(const char *interface)
{
	static const char *const families[] = {"ipv4", "ipv6"};

	for (int i = 0; i < 2; i++)
		here("cd /proc/sys/net/%s/neigh/%s && echo 100 > retrans_time_ms && "
		     "echo 0 > locktime",
		     families[i], interface);
}

static void build_network(struct fixture *fixture)
{
	start_peer(fixture);
	here(PREPARE "for i in 0 1; do n=$((i + 1));"
		     "  ip link add us$i address 02:00:00:00:0$n:01 type veth"
		     "    peer name p$i address 02:00:00:00:0$n:02 netns %d;"
		     "  ip link set us$i up;"
		     "  ip addr add 10.$n.0.1/24 dev us$i;"
		     "  ip addr add fd0$n::1/64 dev us$i nodad;"
		     "done",
	     fixture->peer);
	there(fixture, PREPARE "for i in 0 1; do n=$((i + 1));"
			       "  ip link set p$i up;"
			       "  ip addr add 10.$n.0.2/24 dev p$i;"
			       "  ip addr add fd0$n::2/64 dev p$i nodad;"
			       "  echo 1 > /proc/sys/net/ipv4/conf/p$i/arp_notify;"
			       "  echo 1 > /proc/sys/net/ipv6/conf/p$i/ndisc_notify;"
			       "  await_local fd0$n::2;"
			       "done");
	here(PREPARE "await_local fd01::1; await_local fd02::1");
	hurry_neighbours("us0");
	hurry_neighbours("us1");
}

static int setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));

	assert_non_null(fixture);
	*state = fixture;
	if (unshare(CLONE_NEWNET)) {
		fixture->missing = strerror(errno);
		return 0;
	}
	build_network(fixture);
	fixture->errors = errors_new();
	assert_int_equal(next_hops_open(&fixture->next_hops, fixture->errors), 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	if (!fixture->missing) {
		next_hops_close(fixture->next_hops);
		errors_free(fixture->errors);
		close(fixture->peer_until_closed);
		waitpid(fixture->peer, NULL, 0);
	}
	free(fixture);
	return 0;
}

static struct fixture *network(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->missing) {
		print_message("needs root and network namespaces: %s\n", fixture->missing);
		skip();
	}
	return fixture;
}

/* ---- queries ---- */

static struct address address(const char *text)
{
	struct address parsed;

	assert_int_equal(address_parse(text, &parsed), 0);
	return parsed;
}

static struct next_hop_query to(const char *text)
{
	return (struct next_hop_query){.address = address(text)};
}

static struct next_hop query(const struct fixture *fixture, struct next_hop_query asked)
{
	struct next_hop hop;

	assert_int_equal(next_hops_query(fixture->next_hops, &asked, &hop, fixture->errors), 0);
	assert_int_equal(errors_count(fixture->errors), 0);
	return hop;
}

static void expect_state(const struct fixture *fixture, struct next_hop_query asked,
			 enum next_hop_state state)
{
	assert_string_equal(next_hop_state_name(query(fixture, asked).state),
			    next_hop_state_name(state));
}

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec;
}

static bool readable(const struct fixture *fixture, int milliseconds)
{
	struct pollfd poll_fd = {.fd = next_hops_fd(fixture->next_hops), .events = POLLIN};

	return poll(&poll_fd, 1, milliseconds) == 1;
}

/* Waits until a change is told of, and for nothing else. */
static void await_change(const struct fixture *fixture)
{
	time_t deadline = now() + DEADLINE_S;

	while (now() < deadline)
		if (readable(fixture, 1000) && next_hops_changed(fixture->next_hops))
			return;
	fail_msg("no change was noticed in %d s", DEADLINE_S);
}

/* Asks again after each change until the answer has @state. */
static struct next_hop await_state(const struct fixture *fixture, struct next_hop_query asked,
				   enum next_hop_state state)
{
	time_t deadline = now() + DEADLINE_S;
	struct next_hop hop = query(fixture, asked);

	while (hop.state != state && now() < deadline) {
		await_change(fixture);
		hop = query(fixture, asked);
	}
	assert_string_equal(next_hop_state_name(hop.state), next_hop_state_name(state));
	return hop;
}

static void forget_changes(const struct fixture *fixture)
{
	while (next_hops_changed(fixture->next_hops))
		;
}

/*
 * That @command changes nothing that matters. The kernel may have news of its own at the same
 * moment, so it has some attempts; were the command's own message taken for a change, none would
 * succeed.
 */
static void expect_unnoticed(const struct fixture *fixture, const char *command)
{
	for (int attempt = 0; attempt < 100; attempt++) {
		forget_changes(fixture);
		here("%s", command);
		if (!next_hops_changed(fixture->next_hops))
			return;
	}
	fail_msg("taken for a change: %s", command);
}

static void assert_address(struct address actual, const char *expected)
{
	char text[ADDRESS_TEXT_SIZE];

	assert_int_not_equal(actual.family, 0);
	assert_string_equal(address_format(&actual, text), expected);
}

static void assert_mac(const uint8_t *actual, const uint8_t *expected)
{
	assert_memory_equal(actual, expected, 6);
}

/* ---- neighbours ---- */

static void unknown_neighbour_is_resolving_then_resolved(void **state)
{
	static const char *const peers[] = {"10.1.0.2", "fd01::2"};
	struct fixture *fixture = network(state);

	for (int i = 0; i < 2; i++) {
		struct next_hop hop;

		expect_state(fixture, to(peers[i]), NEXT_HOP_RESOLVING);
		hop = await_state(fixture, to(peers[i]), NEXT_HOP_RESOLVED);
		assert_string_equal(hop.interface, "us0");
		assert_mac(hop.mac, p0_mac);
		assert_mac(hop.source_mac, us0_mac);
		assert_int_equal(hop.mtu, 1500);
		assert_int_not_equal(hop.ifindex, 0);
		assert_int_equal(hop.gateway.family, 0);
		assert_address(hop.source4, "10.1.0.1");
		assert_address(hop.source6, "fd01::1");
	}
}

static void neighbour_in_any_usable_state_is_resolved(void **state)
{
	static const char *const usable[] = {"permanent", "noarp", "reachable",
					     "stale",	  "delay", "probe"};
	static const char *const neighbours[] = {"10.1.0.50", "fd01::50"};
	struct fixture *fixture = network(state);

	for (size_t i = 0; i < sizeof(usable) / sizeof(*usable); i++)
		for (int j = 0; j < 2; j++) {
			here("ip neigh replace %s lladdr 02:00:00:00:00:99 nud %s dev us0",
			     neighbours[j], usable[i]);
			struct next_hop hop = query(fixture, to(neighbours[j]));

			assert_int_equal(hop.state, NEXT_HOP_RESOLVED);
			assert_mac(hop.mac, other_mac);
			here("ip neigh del %s dev us0", neighbours[j]);
		}
}

static void stale_neighbour_is_probed_again(void **state)
{
	struct fixture *fixture = network(state);

	here("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 nud stale dev us0");
	expect_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	here("ip neigh show 10.1.0.2 dev us0 | grep -qE 'DELAY|PROBE|REACHABLE'");
}

static void neighbour_that_does_not_answer_is_failed_until_it_does(void **state)
{
	static const char *const neighbours[] = {"10.1.0.77", "fd01::77"};
	struct fixture *fixture = network(state);

	for (int i = 0; i < 2; i++) {
		await_state(fixture, to(neighbours[i]), NEXT_HOP_FAILED);
		for (int again = 0; again < 10; again++)
			expect_state(fixture, to(neighbours[i]), NEXT_HOP_FAILED);
	}
	there(fixture, "ip addr add 10.1.0.77/24 dev p0; ip addr add fd01::77/64 dev p0 nodad");
	for (int i = 0; i < 2; i++) {
		struct next_hop hop = query(fixture, to(neighbours[i]));
		time_t deadline = now() + DEADLINE_S;

		/* The kernel stops probing on its own, so ask again without news too. */
		for (; hop.state != NEXT_HOP_RESOLVED && now() < deadline;
		     hop = query(fixture, to(neighbours[i])))
			readable(fixture, 50);
		assert_int_equal(hop.state, NEXT_HOP_RESOLVED);
		assert_mac(hop.mac, p0_mac);
	}
}

static void change_of_a_neighbours_mac_is_noticed(void **state)
{
	struct fixture *fixture = network(state);

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	await_state(fixture, to("fd01::2"), NEXT_HOP_RESOLVED);
	forget_changes(fixture);
	there(fixture, "ip link set p0 address 02:00:00:00:00:99");
	for (int left = 2; left;) {
		await_change(fixture);
		left = 0;
		left += !!memcmp(query(fixture, to("10.1.0.2")).mac, other_mac, 6);
		left += !!memcmp(query(fixture, to("fd01::2")).mac, other_mac, 6);
	}
}

static void neighbour_that_goes_away_is_noticed_and_failed(void **state)
{
	struct fixture *fixture = network(state);

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	await_state(fixture, to("fd01::2"), NEXT_HOP_RESOLVED);
	there(fixture, "ip addr flush dev p0");
	here("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 nud probe dev us0;"
	     "ip neigh replace fd01::2 lladdr 02:00:00:00:01:02 nud probe dev us0");
	await_state(fixture, to("10.1.0.2"), NEXT_HOP_FAILED);
	await_state(fixture, to("fd01::2"), NEXT_HOP_FAILED);
}

static void deleted_neighbour_is_noticed_and_resolved_again(void **state)
{
	struct fixture *fixture = network(state);

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	forget_changes(fixture);
	here("ip neigh del 10.1.0.2 dev us0");
	assert_true(next_hops_changed(fixture->next_hops));
	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
}

static void neighbour_update_that_changes_no_answer_is_no_change(void **state)
{
	struct fixture *fixture = network(state);

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	/* Its MAC stays. */
	expect_unnoticed(fixture, "ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 "
				  "nud reachable dev us0");
	/* Nobody asked for it. */
	expect_unnoticed(fixture, "ip neigh replace 10.1.0.60 lladdr 02:00:00:00:01:60 "
				  "nud reachable dev us0;"
				  "ip neigh del 10.1.0.60 dev us0");
}

/* ---- routes ---- */

static void gateway_of_the_route_is_the_next_hop(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop hop;

	here("ip route add 10.9.0.0/24 via 10.1.0.2; ip route add fd09::/64 via fd02::2");
	hop = await_state(fixture, to("10.9.0.5"), NEXT_HOP_RESOLVED);
	assert_address(hop.gateway, "10.1.0.2");
	assert_mac(hop.mac, p0_mac);
	hop = await_state(fixture, to("fd09::5"), NEXT_HOP_RESOLVED);
	assert_address(hop.gateway, "fd02::2");
	assert_mac(hop.mac, p1_mac);
	assert_string_equal(hop.interface, "us1");
}

static void ipv4_route_may_have_an_ipv6_gateway(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop hop;

	here("ip route add 10.9.0.0/24 via inet6 fd02::2");
	hop = await_state(fixture, to("10.9.0.5"), NEXT_HOP_RESOLVED);
	assert_address(hop.gateway, "fd02::2");
	assert_mac(hop.mac, p1_mac);
}

static void one_of_several_paths_is_the_next_hop(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop hop;

	here("ip route add 10.9.0.0/24 nexthop via 10.1.0.2 nexthop via 10.2.0.2;"
	     "ip nexthop add id 1 via fd01::2 dev us0; ip nexthop add id 2 via fd02::2 dev us1;"
	     "ip nexthop add id 3 group 1/2; ip route add fd09::/64 nhid 3");
	hop = await_state(fixture, to("10.9.0.5"), NEXT_HOP_RESOLVED);
	assert_mac(hop.mac, strcmp(hop.interface, "us0") ? p1_mac : p0_mac);
	hop = await_state(fixture, to("fd09::5"), NEXT_HOP_RESOLVED);
	assert_mac(hop.mac, strcmp(hop.interface, "us0") ? p1_mac : p0_mac);
}

static void gateway_is_off_link_for_l2(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop_query asked = to("10.9.0.5"), asked6 = to("fd09::5");
	struct next_hop_query near = to("10.1.0.2");

	here("ip route add 10.9.0.0/24 via 10.1.0.2; ip route add fd09::/64 via fd01::2");
	asked.on_link = asked6.on_link = near.on_link = true;
	expect_state(fixture, asked, NEXT_HOP_OFF_LINK);
	expect_state(fixture, asked6, NEXT_HOP_OFF_LINK);
	await_state(fixture, near, NEXT_HOP_RESOLVED);
}

static void no_usable_route_is_no_route(void **state)
{
	static const char *const unreachable[] = {
		"192.0.2.1",  "2001:db8::1",		      /* no route at all */
		"10.20.0.1",  "fd20::1",		      /* unreachable */
		"10.21.0.1",  "fd21::1",		      /* blackhole */
		"10.22.0.1",  "fd22::1",		      /* prohibit */
		"10.1.0.255", "255.255.255.255", "224.0.0.9", /* not of one host */
	};
	struct fixture *fixture = network(state);

	here("set -e; n=20; for kind in unreachable blackhole prohibit; do"
	     "  ip route add $kind 10.$n.0.0/16; ip -6 route add $kind fd$n::/16; n=$((n + 1));"
	     "done");
	for (size_t i = 0; i < sizeof(unreachable) / sizeof(*unreachable); i++)
		expect_state(fixture, to(unreachable[i]), NEXT_HOP_NO_ROUTE);
}

static void route_that_encapsulates_is_no_route(void **state)
{
	struct fixture *fixture = network(state);

	if (!succeeds("ip route add 10.30.0.0/16 encap seg6 mode encap segs fd01::2 dev us0")) {
		print_message("this kernel has no SRv6\n");
		skip();
	}
	expect_state(fixture, to("10.30.0.1"), NEXT_HOP_NO_ROUTE);
}

static void own_address_is_local(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop_query out_of_us1 = to("10.1.0.1"), out_of_us1_6 = to("fd01::1");

	here("ip route add local 10.40.0.0/16 dev lo; ip -6 route add local fd40::/16 dev lo");
	expect_state(fixture, to("10.1.0.1"), NEXT_HOP_LOCAL);
	expect_state(fixture, to("fd01::1"), NEXT_HOP_LOCAL);
	expect_state(fixture, to("10.40.1.2"), NEXT_HOP_LOCAL);
	expect_state(fixture, to("fd40::2"), NEXT_HOP_LOCAL);
	out_of_us1.interface = out_of_us1_6.interface = "us1";
	expect_state(fixture, out_of_us1, NEXT_HOP_LOCAL);
	expect_state(fixture, out_of_us1_6, NEXT_HOP_LOCAL);
}

static void loopback_and_tunnels_have_no_ethernet(void **state)
{
	struct fixture *fixture = network(state);

	here("ip route add 10.41.0.0/16 dev lo");
	expect_state(fixture, to("10.41.0.1"), NEXT_HOP_NO_ETHERNET);
	if (!succeeds("ip tuntap add dev tun0 mode tun && ip link set tun0 up")) {
		print_message("this kernel has no tun devices\n");
		skip();
	}
	here("ip route add 10.42.0.0/16 dev tun0; ip -6 route add fd42::/16 dev tun0");
	expect_state(fixture, to("10.42.0.1"), NEXT_HOP_NO_ETHERNET);
	expect_state(fixture, to("fd42::1"), NEXT_HOP_NO_ETHERNET);
}

/* ---- what a query may give ---- */

static void static_mac_asks_no_neighbour(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop_query asked = to("10.1.0.88");
	struct next_hop hop;

	asked.mac = other_mac;
	hop = query(fixture, asked);
	assert_int_equal(hop.state, NEXT_HOP_RESOLVED);
	assert_mac(hop.mac, other_mac);
	assert_mac(hop.source_mac, us0_mac);
	here("! ip neigh show to 10.1.0.88 | grep -q .");

	/* With the interface as well, no route is needed. */
	for (int i = 0; i < 2; i++) {
		asked.address = address(i ? "2001:db8::1" : "192.0.2.1");
		asked.interface = "us1";
		hop = query(fixture, asked);
		assert_int_equal(hop.state, NEXT_HOP_RESOLVED);
		assert_string_equal(hop.interface, "us1");
	}
	here("ip link set us1 down");
	expect_state(fixture, asked, NEXT_HOP_NO_ROUTE);
}

static void via_replaces_the_route(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop_query asked = to("192.0.2.1");
	struct next_hop hop;

	here("ip route add 10.9.0.0/24 via 10.1.0.2");
	asked.on_link = true;
	asked.via = address("10.2.0.2");
	hop = await_state(fixture, asked, NEXT_HOP_RESOLVED);
	assert_address(hop.gateway, "10.2.0.2");
	assert_mac(hop.mac, p1_mac);

	asked.via = address("fd01::2"); /* of the other family */
	hop = await_state(fixture, asked, NEXT_HOP_RESOLVED);
	assert_address(hop.gateway, "fd01::2");
	assert_mac(hop.mac, p0_mac);

	asked.on_link = false;
	asked.via = address("10.9.0.5"); /* itself behind a gateway */
	expect_state(fixture, asked, NEXT_HOP_OFF_LINK);
	asked.via = address("10.1.0.1");
	expect_state(fixture, asked, NEXT_HOP_LOCAL);
}

static void interface_chooses_among_routes(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop_query asked = to("10.9.0.5"), asked6 = to("fd09::5");

	here("set -e; ip route add 10.9.0.0/24 via 10.1.0.2;"
	     "ip route add 10.9.0.0/24 via 10.2.0.2 metric 100;"
	     "ip route add fd09::/64 via fd01::2 metric 10;"
	     "ip route add fd09::/64 via fd02::2 metric 100");
	assert_mac(await_state(fixture, asked, NEXT_HOP_RESOLVED).mac, p0_mac);
	assert_mac(await_state(fixture, asked6, NEXT_HOP_RESOLVED).mac, p0_mac);
	asked.interface = asked6.interface = "us1";
	assert_mac(await_state(fixture, asked, NEXT_HOP_RESOLVED).mac, p1_mac);
	assert_mac(await_state(fixture, asked6, NEXT_HOP_RESOLVED).mac, p1_mac);

	asked.interface = "us7";
	expect_state(fixture, asked, NEXT_HOP_NO_ROUTE);
	asked.interface = "longer-than-any-interface";
	expect_state(fixture, asked, NEXT_HOP_NO_ROUTE);
	asked.interface = "us7";
	here("ip link add us7 type veth peer name p7");
	assert_true(next_hops_changed(fixture->next_hops));
}

static void sources_are_the_oldest_good_addresses(void **state)
{
	struct fixture *fixture = network(state);
	struct next_hop_query asked = {.mac = other_mac, .interface = "us7"};
	struct next_hop hop;

	asked.address = address("192.0.2.1");
	here("set -e; ip link add us7 type veth peer name p7; ip link set us7 up; ip link set p7 "
	     "up");
	hop = query(fixture, asked);
	assert_int_equal(hop.source4.family, 0);
	assert_int_equal(hop.source6.family, 0);

	here("set -e; ip addr add 169.254.7.1/16 dev us7 scope link;"
	     "ip addr add 10.7.0.1/24 dev us7; ip addr add 10.7.0.2/24 dev us7;"
	     "cd /proc/sys/net/ipv6/conf/us7; echo 1 > accept_dad; echo 1000 > dad_transmits;"
	     "ip addr add fd07::3/64 dev us7;"
	     "ip addr add fd07::2/64 dev us7 nodad preferred_lft 0;"
	     "ip addr add fd07::1/64 dev us7 nodad;"
	     "ip addr add fd07::4/64 dev us7 nodad");
	hop = query(fixture, asked);
	assert_address(hop.source4, "10.7.0.1");
	assert_address(hop.source6, "fd07::1");
}

/* ---- changes ---- */

static void change_of_a_route_is_noticed(void **state)
{
	struct fixture *fixture = network(state);

	here("ip route add 10.9.0.0/24 via 10.1.0.2; ip route add fd09::/64 via fd01::2");
	assert_mac(await_state(fixture, to("10.9.0.5"), NEXT_HOP_RESOLVED).mac, p0_mac);
	assert_mac(await_state(fixture, to("fd09::5"), NEXT_HOP_RESOLVED).mac, p0_mac);
	forget_changes(fixture);
	here("ip route change 10.9.0.0/24 via 10.2.0.2");
	assert_true(next_hops_changed(fixture->next_hops));
	assert_mac(await_state(fixture, to("10.9.0.5"), NEXT_HOP_RESOLVED).mac, p1_mac);
	forget_changes(fixture);
	here("ip -6 route change fd09::/64 via fd02::2");
	assert_true(next_hops_changed(fixture->next_hops));
	assert_mac(await_state(fixture, to("fd09::5"), NEXT_HOP_RESOLVED).mac, p1_mac);
	here("ip route del 10.9.0.0/24");
	assert_true(next_hops_changed(fixture->next_hops));
	expect_state(fixture, to("10.9.0.5"), NEXT_HOP_NO_ROUTE);
}

static void change_of_an_interface_is_noticed(void **state)
{
	static const char *const commands[] = {
		"ip link set us0 mtu 1400",
		"ip link set us0 address 02:00:00:00:00:99",
		"ip addr add 10.1.0.9/24 dev us0",
		"ip rule add to 10.1.0.2 table 7",
	};
	struct fixture *fixture = network(state);

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
		forget_changes(fixture);
		query(fixture, to("10.1.0.2"));
		here("%s", commands[i]);
		assert_true(readable(fixture, 0));
		assert_true(next_hops_changed(fixture->next_hops));
	}
	query(fixture, to("10.1.0.2"));
	here("ip addr add fd01::9/64 dev us0 nodad");
	await_change(fixture);
	here("ip link set us0 down");
	assert_true(next_hops_changed(fixture->next_hops));
	expect_state(fixture, to("10.1.0.2"), NEXT_HOP_NO_ROUTE);
}

static void message_about_an_unchanged_interface_is_no_change(void **state)
{
	struct fixture *fixture = network(state);

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	expect_unnoticed(fixture, "ip link set us0 alias something");
}

static void answer_is_never_older_than_an_unread_change(void **state)
{
	struct fixture *fixture = network(state);

	assert_int_equal(await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED).mtu, 1500);
	forget_changes(fixture);
	here("ip link set us0 mtu 1400");
	assert_int_equal(query(fixture, to("10.1.0.2")).mtu, 1400);
	here("ip link set us0 address 02:00:00:00:00:99");
	assert_mac(query(fixture, to("10.1.0.2")).source_mac, other_mac);
	here("ip addr add 10.1.0.4/25 dev us0; ip addr del 10.1.0.1/24 dev us0");
	assert_address(query(fixture, to("10.1.0.2")).source4, "10.1.0.4");
	/* Nor did the queries swallow the news. */
	assert_true(readable(fixture, 0));
	assert_true(next_hops_changed(fixture->next_hops));
}

static void lost_messages_count_as_a_change(void **state)
{
	struct fixture *fixture = network(state);
	FILE *batch;

	await_state(fixture, to("10.1.0.2"), NEXT_HOP_RESOLVED);
	forget_changes(fixture);
	/* Of a neighbour that nobody asked for: only their loss can matter. */
	batch = popen("ip -batch -", "w");
	assert_non_null(batch);
	for (int i = 0; i < 60000; i++)
		fprintf(batch,
			"neigh replace 10.1.0.60 lladdr 02:00:00:00:01:%02x nud reachable dev "
			"us0\n",
			i % 200);
	assert_int_equal(pclose(batch), 0);
	assert_true(next_hops_changed(fixture->next_hops));
	assert_mac(query(fixture, to("10.1.0.2")).mac, p0_mac);
}

/* ---- limits ---- */

static void ten_thousand_queries_take_seconds_at_the_most(void **state)
{
	struct fixture *fixture = network(state);
	time_t began;

	here("for i in $(seq 100 199); do"
	     "  echo neigh add 10.1.0.$i lladdr 02:00:00:00:01:99 nud permanent dev us0;"
	     "done | ip -batch -");
	began = now();
	for (int i = 0; i < 10000; i++) {
		struct next_hop_query asked = to("10.1.0.0");

		asked.address.bytes[3] = 100 + i % 100;
		assert_int_equal(query(fixture, asked).state, NEXT_HOP_RESOLVED);
	}
	assert_in_range(now() - began, 0, 5);
}

/* In a child that gave up root: 0 if what is known is told, and what is not is an error that says
 * so. */
static int unprivileged(void)
{
	struct next_hop_query known = to("10.1.0.2"), unknown = to("10.1.0.3");
	struct errors *errors = errors_new();
	struct next_hops *next_hops;
	struct next_hop hop;
	bool good;

	if (setgid(65534) || setuid(65534) || next_hops_open(&next_hops, errors))
		return 1;
	good = next_hops_query(next_hops, &known, &hop, errors) == 0 &&
	       hop.state == NEXT_HOP_RESOLVED && !memcmp(hop.mac, p0_mac, 6) &&
	       next_hops_query(next_hops, &unknown, &hop, errors) == -EPERM &&
	       errors_count(errors) == 1;
	next_hops_close(next_hops);
	errors_free(errors);
	return good ? 0 : 2;
}

static void without_privileges_known_neighbours_are_still_told(void **state)
{
	int status;
	pid_t child;

	network(state);
	here("ip neigh replace 10.1.0.2 lladdr 02:00:00:00:01:02 nud stale dev us0");
	fflush(NULL);
	child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(unprivileged());
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(unknown_neighbour_is_resolving_then_resolved),
		TEST(neighbour_in_any_usable_state_is_resolved),
		TEST(stale_neighbour_is_probed_again),
		TEST(neighbour_that_does_not_answer_is_failed_until_it_does),
		TEST(change_of_a_neighbours_mac_is_noticed),
		TEST(neighbour_that_goes_away_is_noticed_and_failed),
		TEST(deleted_neighbour_is_noticed_and_resolved_again),
		TEST(neighbour_update_that_changes_no_answer_is_no_change),
		TEST(gateway_of_the_route_is_the_next_hop),
		TEST(ipv4_route_may_have_an_ipv6_gateway),
		TEST(one_of_several_paths_is_the_next_hop),
		TEST(gateway_is_off_link_for_l2),
		TEST(no_usable_route_is_no_route),
		TEST(route_that_encapsulates_is_no_route),
		TEST(own_address_is_local),
		TEST(loopback_and_tunnels_have_no_ethernet),
		TEST(static_mac_asks_no_neighbour),
		TEST(via_replaces_the_route),
		TEST(interface_chooses_among_routes),
		TEST(sources_are_the_oldest_good_addresses),
		TEST(change_of_a_route_is_noticed),
		TEST(change_of_an_interface_is_noticed),
		TEST(message_about_an_unchanged_interface_is_no_change),
		TEST(answer_is_never_older_than_an_unread_change),
		TEST(lost_messages_count_as_a_change),
		TEST(ten_thousand_queries_take_seconds_at_the_most),
		TEST(without_privileges_known_neighbours_are_still_told),
	};

	return cmocka_run_group_tests_name("nexthop", tests, NULL, NULL);
}
