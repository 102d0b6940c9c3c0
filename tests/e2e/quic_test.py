#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Real QUIC clients and servers, with the real program in between.

A connection lives in one server, and every server has files of its own: who got one of them, whole
and right in every byte, was with that server from the first packet to the last. Where a test wants
to do something to a running download, it makes the servers slow and waits until the client has got
so many bytes more.
"""

import collections
import os
import re
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import quic as quics  # noqa: E402
from box import BoxTest, config, endpoint, vip, wait_for  # noqa: E402
from quic import CLIENT_PORT, INITIAL, PORT, RETRY, SHORT, ZERO_RTT  # noqa: E402
from quic import Quic, wait_for_more  # noqa: E402
from wire import Capture  # noqa: E402

FAMILIES = (4, 6)
SERVER_IDS = {"b1": "00", "b2": "b2", "b3": "ff", "b4": "04"}  # repeated to an id's length
UNKNOWN_ID = "abcd"
AT_ONCE = 8  # short downloads
MOVED_AFTER = "--change-local-addr=300ms"  # from when the handshake is confirmed
# From which backend's client to which one's: of the same cohort, and of the other, both ways.
MOVES = (("b1", "b2"), ("b1", "b3"), ("b3", "b2"))


@unittest.skipIf(quics.missing_requirements(), quics.missing_requirements())
class QuicTest(BoxTest):
    """The service is `shop`: b1 and b2 are stable, b3 is the canary, where nothing else is said."""

    def start(self, key="quic", *, backends=3, offset=1, id_length=2, issued=None, flags=(),
              **keys):
        """Makes self.lab, self.quic, self.box, and a server with @flags on each backend.

        @issued: {role: hex}, of servers that issue other ids than the policy says.
        """
        self.lab = self.lab_with(backends, ports=())
        self.quic = Quic(self.lab, self.random.random())
        self.key, self.offset, self.id_length = key, offset, id_length
        self.issued = {**{role: self.server_id(role) for role in self.lab.backends},
                       **(issued or {})}
        for role in self.lab.backends:
            self.quic.start_server(role, *flags, server_id=self.issued[role], offset=offset)
        self.box = self.shop(self.lab, **self.keys(**keys))

    def server_id(self, role):
        return SERVER_IDS[role] * self.id_length

    def keys(self, stable=("b1", "b2"), canary=("b3",), share="30%", **keys):
        """Of the service."""
        client = {"key": self.key, "prefix6": 128}
        if self.key == "quic":
            client["quic_cid_length"] = quics.CID_LENGTH
            if (self.offset, self.id_length) != (1, 2):  # the defaults
                client["quic_server_id_offset"] = self.offset
                client["quic_server_id_length"] = self.id_length
        return {"vips": [vip(self.lab.vip4, PORT, "udp"), vip(self.lab.vip6, PORT, "udp")],
                "stable": list(map(self.backend, stable)),
                "canary": list(map(self.backend, canary)),
                "client": client, "share": share, **keys}

    def backend(self, role):
        more = {"server_id": self.server_id(role)} if self.key == "quic" else {}
        return {"address": self.lab.address(role), **more}

    def apply(self, **keys):
        self.box.apply(config(self.shop_service(self.lab, **self.keys(**keys))))

    def set_share(self, *words):
        self.box.run("rollout", "set", "shop", *words)

    # ---- clients ----

    def explained(self, sources):
        """{source: what the program says of its connections, with the backend's role}"""
        roles = {self.lab.address(role): role for role in self.lab.backends}
        flows = [endpoint(source, CLIENT_PORT) for source in sources]
        answers = self.box.explain("shop", flows, "--to",
                                   vip(self.destination(sources[0]), PORT, "udp"))
        return {source: {**answer, "role": roles[answer["backend"]]}
                for source, answer in zip(sources, answers, strict=True)}

    def by_role(self, family):
        """{role: clients that it has}"""
        sources = collections.defaultdict(list)
        for source, answer in self.explained(self.lab.clients(200, family)).items():
            sources[answer["role"]].append(source)
        return sources

    def some_of_each(self, count):
        """{client: its role}, @count of each role and family."""
        return {source: role for family in FAMILIES
                for role, sources in self.by_role(family).items() for source in sources[:count]}

    def moves(self):
        """[(client, another one, role of the first, role of the other)], of MOVES."""
        moves = []
        for family in FAMILIES:
            clients = self.by_role(family)
            moves += [(clients[here].pop(), clients[there].pop(), here, there)
                      for here, there in MOVES]
        return moves

    def destination(self, source):
        return self.lab.vip6 if ":" in source else self.lab.vip4

    def download(self, source, *arguments, **options):
        return self.quic.download(source, self.destination(source), *arguments, **options)

    def names(self, sources):
        """{client: role that served it}, each over a short connection of its own."""
        served = {}
        for first in range(0, len(sources), AT_ONCE):
            some = [self.download(source, "name") for source in sources[first:first + AT_ONCE]]
            served.update((download.source, download.finish()) for download in some)
        return served

    def start_slow(self, sources):
        """Downloads that run, and go on to do so."""
        self.quic.slow()
        downloads = [self.download(source) for source in sources]
        wait_for_more(downloads)
        return downloads

    def finish(self, downloads):
        """{client: role that served it}"""
        self.quic.fast()
        return {download.source: download.finish() for download in downloads}

    # ---- what was sent ----

    def captures(self):
        """{role: capture of the last hop to it}"""
        return {role: self.enterContext(Capture(self.lab, "switch", role))
                for role in self.lab.backends}

    def from_clients(self, capture):
        """[(source, header)] of the datagrams since the last call."""
        return [(packet.headers[0].source, quics.parse(packet.payload))
                for packet in capture.packets() if packet.destination_port == PORT]

    def wait_for_packets(self, capture, source):
        wait_for(lambda: source in dict(self.from_clients(capture)), 20, f"nothing from {source}")

    def check_ids(self, connection_ids, role):
        """All of them were issued by @role."""
        self.assertTrue(connection_ids)
        self.assertEqual({len(one) for one in connection_ids}, {quics.CID_LENGTH})
        self.assertEqual({one[self.offset:self.offset + self.id_length].hex()
                          for one in connection_ids}, {self.issued[role]})

    def metric(self, name, **labels):
        """Of the service, all that have @labels together. Needs the daemon."""
        wanted = {'service="shop"', *(f'{label}="{value}"' for label, value in labels.items())}
        return sum(value for (family, *its), value in self.box.metrics().items()
                   if family == name and wanted <= set(its))


class Laboratory(QuicTest):
    """What the other tests rely on."""

    def test_servers_put_their_id_into_every_connection_id_that_they_issue(self):
        self.start("source", offset=3, id_length=4)
        captures = self.captures()
        for family in FAMILIES:
            for role, clients in self.by_role(family).items():
                download = self.download(clients[0], "name", verbose=True)
                self.assertEqual(download.finish(), role)
                headers = [quics.parse(packet.payload) for packet in captures[role].packets()
                           if packet.source_port == PORT]
                self.check_ids({header.source_id for header in headers if header.source_id}, role)
                issued = re.findall(r"frm rx .*NEW_CONNECTION_ID.* cid=0x(\w+)", download.log)
                self.check_ids({bytes.fromhex(text) for text in issued}, role)

    def test_a_client_behind_a_nat_that_changes_its_address_is_seen_at_the_new_one_only(self):
        """With key source that address decides; the server there knows nothing of the client."""
        self.start("source")
        moves = self.moves()
        downloads = self.start_slow([move[0] for move in moves])
        self.quic.nat({source: other for source, other, *_ in moves})
        captures = self.captures()
        for source, other, _, there in moves:
            self.wait_for_packets(captures[there], other)
        seen = {source for capture in captures.values()
                for source, _ in self.from_clients(capture)}
        self.assertFalse(seen & {move[0] for move in moves})
        for download in downloads:
            download.stop()


class Steering(QuicTest):
    """New connections, and how they are counted."""

    def check_connections(self, key):
        self.start(key)
        roles = self.some_of_each(10)
        self.assertEqual(self.names(list(roles)), roles)
        self.check_counters_add_up(self.box)

    def test_with_key_source_each_connection_is_at_the_backend_that_explain_names(self):
        self.check_connections("source")

    def test_with_key_quic_each_connection_is_at_the_backend_that_explain_names(self):
        self.check_connections("quic")

    def check_flows(self, key):
        """Retries and 0-RTT make more packets, not all of which are Initials."""
        self.start(key, flags=["--validate-addr"])
        captures = self.captures()
        initials = collections.Counter()
        for family in FAMILIES:
            for role in self.names(self.lab.clients(16, family)).values():
                self.assertIsNotNone(role)
        self.resume(self.by_role(4)["b1"][0], "b1")
        for role, capture in captures.items():
            cohort = "canary" if role == "b3" else "stable"
            initials[cohort] += sum(header.kind == INITIAL
                                    for _, header in self.from_clients(capture))
        self.assertGreaterEqual(sum(initials.values()), 2 * 34)
        self.assertEqual(self.box.flows("shop"), initials)
        self.box.daemon()
        for cohort, count in initials.items():
            self.assertEqual(self.metric("flows_total", cohort=cohort), count)

    def resume(self, source, role, *flags):
        """A connection that is resumed, with datagrams of 0-RTT only."""
        path = os.path.join(self.lab.directory, "session")
        upload = os.path.join(self.lab.directory, "upload")
        with open(upload, "wb") as file:
            file.write(self.random.randbytes(10000))
        session = [f"--session-file={path}", f"--tp-file={path}.parameters"]
        self.assertEqual(self.download(source, "name", *session).finish(), role)
        again = self.download(source, "name", *session, f"--data={upload}", "--http-method=POST",
                              *flags)
        self.assertEqual(again.finish(), role)

    def test_with_key_source_flows_total_counts_the_initials_of_each_cohort(self):
        self.check_flows("source")

    def test_with_key_quic_flows_total_counts_the_initials_of_each_cohort(self):
        self.check_flows("quic")

    def test_with_key_quic_initial_and_0_rtt_go_by_source_whatever_server_their_id_names(self):
        """The client makes up the id of its first packets: here one that names b3."""
        self.start()
        captures = self.captures()
        elsewhere = "01" + self.server_id("b3") + 15 * "02"
        for family in FAMILIES:
            clients = self.by_role(family)
            self.resume(clients["b1"][0], "b1", f"--dcid={elsewhere}")
            packets = self.from_clients(captures["b1"])
            self.assertEqual({header.kind for _, header in packets
                              if header.destination_id.hex() == elsewhere}, {INITIAL, ZERO_RTT})
            self.assertEqual(self.from_clients(captures["b3"]), [])

    def test_with_key_quic_a_retried_connection_is_at_the_backend_that_explain_names(self):
        self.start(flags=["--validate-addr"])
        captures = self.captures()
        for family in FAMILIES:
            for role, clients in self.by_role(family).items():
                self.assertEqual(self.download(clients[0], "name").finish(), role)
                kinds = [quics.parse(packet.payload).kind for packet in captures[role].packets()
                         if packet.source_port == PORT]
                self.assertIn(RETRY, kinds)


class ServerIds(QuicTest):
    """Client key quic: what the ids in a client's packets do."""

    def check_moved(self, moves, captures):
        """Only @moves' backends saw these clients, at the new address too. Returns their ids."""
        ids = collections.defaultdict(set)
        for role, capture in captures.items():
            packets = self.from_clients(capture)
            allowed = {address for move in moves if move[2] == role for address in move[:2]}
            new = {move[1] for move in moves if move[2] == role}
            seen = {source for source, _ in packets}
            self.assertLessEqual(seen, allowed, role)
            self.assertLessEqual(new, seen, role)
            for source, header in packets:
                if header.kind == SHORT:
                    ids[source].add(header.destination_id)
        for source, other, here, _ in moves:
            self.check_ids(ids[other], here)
        return ids

    def check_nat(self, **layout):
        self.start(**layout)
        moves = self.moves()
        downloads = self.start_slow([move[0] for move in moves])
        captures = self.captures()
        self.quic.nat({source: other for source, other, *_ in moves})
        wait_for_more(downloads)
        self.check_moved(moves, captures)
        self.assertEqual(self.finish(downloads), {source: here for source, _, here, _ in moves})
        self.check_counters_add_up(self.box)

    def test_a_download_stays_at_its_backend_when_a_nat_changes_the_clients_address(self):
        self.check_nat()

    def test_a_server_id_may_be_8_bytes_at_the_end_of_the_connection_id(self):
        self.check_nat(offset=10, id_length=8)

    def test_a_server_id_may_be_1_byte_at_the_begin_of_the_connection_id(self):
        self.check_nat(offset=0, id_length=1)

    def test_a_download_stays_at_its_backend_when_the_client_goes_to_another_address(self):
        """It takes a new connection id with it, so that nobody knows it again."""
        self.start()
        moves = self.moves()
        captures = self.captures()
        self.quic.slow()
        downloads = [self.download(source, "big", MOVED_AFTER, then=(other, CLIENT_PORT))
                     for source, other, *_ in moves]
        for _, other, *_ in moves:
            wait_for(lambda: self.quic.is_bound("client", other, CLIENT_PORT), 20,
                     f"{other} is not bound")
        wait_for_more(downloads)
        ids = self.check_moved(moves, captures)
        for source, other, *_ in moves:
            self.assertTrue(ids[source])
            self.assertFalse(ids[source] & ids[other])
        self.assertEqual(self.finish(downloads), {source: here for source, _, here, _ in moves})

    def test_a_download_survives_address_after_address(self):
        self.start()
        moves = self.moves()
        downloads = self.start_slow([move[0] for move in moves])
        others = {4: self.lab.clients(400)[200:], 6: self.lab.clients(400, 6)[200:]}
        for _ in range(5):
            self.quic.nat({source: others[6 if ":" in source else 4].pop()
                           for source, *_ in moves})
            wait_for_more(downloads)
        self.assertEqual(self.finish(downloads), {source: here for source, _, here, _ in moves})

    def test_ids_of_no_known_server_fall_back_to_source_and_are_counted(self):
        self.start(issued={"b1": UNKNOWN_ID})
        captures = self.captures()
        self.box.daemon()
        for family in FAMILIES:
            clients = self.by_role(family)
            for role in ("b2", "b3", "b1"):
                before = self.metric("key_fallback_total", key="quic")
                some = clients[role][:4]
                self.assertEqual(self.names(some), dict.fromkeys(some, role))
                packets = self.from_clients(captures[role])
                unknown = [source for source, header in packets if header.kind != INITIAL]
                self.assertGreater(len(unknown), 4 * 2)
                self.assertEqual(self.metric("key_fallback_total", key="quic") - before,
                                 len(unknown) if role == "b1" else 0)
        self.check_counters_add_up(self.box)

    def test_a_long_download_from_a_server_of_unknown_ids_is_whole(self):
        self.start(issued={"b1": UNKNOWN_ID})
        clients = [self.by_role(family)["b1"][0] for family in FAMILIES]
        downloads = [self.download(client) for client in clients]
        self.assertEqual([download.finish() for download in downloads], ["b1", "b1"])


class Transitions(QuicTest):
    """Policies change under running downloads."""

    AFFINITY = {"affinity": {"drain": "10m"}}

    def clients_by_share(self, family, share_ppm):
        """(clients that are in the canary at that share, and that are not)"""
        inside, outside = [], []
        for source, answer in self.explained(self.lab.clients(100, family)).items():
            (inside if answer["enters_at_ppm"] <= share_ppm else outside).append(source)
        return inside, outside

    def some(self, inside, outside, count):
        """Takes @count of both."""
        taken = inside[:count] + outside[:count]
        del inside[:count], outside[:count]
        return taken

    def check_share_up_and_down(self, key):
        """0 -> 50 -> 0, and connections that begin at each share stay where they began."""
        self.start(key, share="0%", **self.AFFINITY)
        pools = [self.clients_by_share(family, 500000) for family in FAMILIES]
        downloads, canary = [], set()
        for share in ("0%", "50%", "0%"):
            self.set_share(share)
            if downloads:
                wait_for_more(downloads)
            for inside, outside in pools:
                canary |= set(inside[:1]) if share == "50%" else set()
                downloads += self.start_slow(self.some(inside, outside, 1))
            wait_for_more(downloads)
        served = self.finish(downloads)
        for source, role in served.items():
            self.assertIn(role, ["b3"] if source in canary else ["b1", "b2"], source)
        self.assertEqual(len(canary), len(FAMILIES))
        self.check_counters_add_up(self.box)

    def test_with_key_source_downloads_go_on_while_the_share_goes_0_50_0(self):
        self.check_share_up_and_down("source")

    def test_with_key_quic_downloads_go_on_while_the_share_goes_0_50_0(self):
        self.check_share_up_and_down("quic")

    def test_promise_6_with_key_quic_a_handshake_that_is_under_way_goes_on(self):
        """The server answers the Initial after the share was raised."""
        self.start(share="0%", **self.AFFINITY)
        servers = self.quic.servers
        clients = [inside[:3] for inside, _ in (self.clients_by_share(family, 500000)
                                                for family in FAMILIES)]
        captures = self.captures()
        for role in ("b1", "b2"):
            servers[role].send_signal(signal.SIGSTOP)
        downloads = [self.download(source, "name") for some in clients for source in some]
        seen = set()

        def have_come():
            for capture in captures.values():
                seen.update(source for source, _ in self.from_clients(capture))
            return len(seen) == len(downloads)

        wait_for(have_come, 20, lambda: f"no Initial but of {seen}")
        self.set_share("100%")
        for role in ("b1", "b2"):
            servers[role].send_signal(signal.SIGCONT)
        for download in downloads:
            self.assertIsNotNone(download.finish(), download)
        others = {bytes.fromhex(self.issued[role]) for role in ("b1", "b2")}
        self.assertFalse([header for _, header in self.from_clients(captures["b3"])
                          if header.destination_id[1:3] in others])

    def check_backends_are_added(self, key):
        self.start(key, backends=4, stable=["b1"], canary=["b3"], share="50%", **self.AFFINITY)
        roles = self.some_of_each(2)
        downloads = self.start_slow(list(roles))
        self.apply(stable=["b1", "b2"], canary=["b3", "b4"], share="50%", **self.AFFINITY)
        wait_for_more(downloads)
        clients, new = self.lab.clients(300)[200:], {"b2", "b4"}
        while new:
            self.assertTrue(clients, f"no new connection is at {new}")
            new -= set(self.names([clients.pop() for _ in range(AT_ONCE)]).values())
        wait_for_more(downloads)
        self.assertEqual(self.finish(downloads), roles)

    def test_with_key_source_downloads_go_on_while_backends_are_added(self):
        self.check_backends_are_added("source")

    def test_with_key_quic_downloads_go_on_while_backends_are_added(self):
        self.check_backends_are_added("quic")

    def check_backends_are_removed(self, key):
        self.start(key, backends=4, canary=["b3", "b4"], share="50%", **self.AFFINITY)
        roles = self.some_of_each(2)
        downloads = self.start_slow(list(roles))
        self.apply(stable=["b1"], canary=["b3"], share="50%", **self.AFFINITY)
        self.assertLessEqual(set(self.names(self.lab.clients(216)[200:]).values()), {"b1", "b3"})
        wait_for_more(downloads)
        self.assertEqual(self.finish(downloads), roles)

    def test_with_key_source_downloads_go_on_at_backends_that_are_removed(self):
        self.check_backends_are_removed("source")

    def test_with_key_quic_downloads_go_on_at_backends_that_are_removed(self):
        self.check_backends_are_removed("quic")

    def test_with_key_quic_a_client_whose_address_changes_in_a_transition_stays(self):
        self.start(share="0%", **self.AFFINITY)
        pools = [self.clients_by_share(family, 500000) for family in FAMILIES]
        self.set_share("50%")
        sources, addresses = [], {}
        for inside, outside in pools:
            for here, there in ((inside, outside), (outside, inside)):
                sources.append(here.pop())
                addresses[sources[-1]] = there.pop()
        downloads = self.start_slow(sources)
        self.quic.nat(addresses)
        wait_for_more(downloads)
        self.set_share("0%")
        wait_for_more(downloads)
        roles = list(self.finish(downloads).values())
        self.assertEqual([role == "b3" for role in roles], [True, False] * len(FAMILIES))

    def test_with_key_quic_connections_stay_when_the_transition_is_long_over(self):
        self.start(share="50%", affinity={"drain": "3s", "udp_drain": "1s"})
        roles = self.some_of_each(2)
        downloads = self.start_slow(list(roles))
        self.box.daemon()
        self.set_share("0%")
        for value in (1, 0):
            wait_for(lambda: self.metric("in_transition") == value, 20,
                     f"in_transition does not become {value}")
        wait_for_more(downloads)
        self.assertEqual(self.finish(downloads), roles)


class Removal(QuicTest):
    """What takes a connection from its backend, whatever its ids say."""

    def start_at(self, role, **keys):
        """A slow download of a client of @role. Returns it and captures."""
        self.start(**keys)
        download, = self.start_slow([self.by_role(4)[role][0]])
        return download, self.captures()

    def check_gone(self, download, captures, role):
        """Its packets go to somebody else, and none any more to @role."""
        others = [capture for other, capture in captures.items() if other != role]

        def is_elsewhere():
            return any(download.source in dict(self.from_clients(other)) for other in others)

        wait_for(is_elsewhere, 20, "nothing came to the other backends")
        self.from_clients(captures[role])  # those until then
        wait_for(is_elsewhere, 20, "nothing more came to the other backends")
        self.assertEqual(self.from_clients(captures[role]), [])

    def test_promise_7_kill_takes_connections_from_the_canary_at_once(self):
        download, captures = self.start_at("b3")
        self.box.run("kill", "shop")
        self.check_gone(download, captures, "b3")
        download.stop()

    def test_promise_7_a_cut_takes_connections_from_the_canary_at_once(self):
        download, captures = self.start_at("b3")
        self.set_share("0%", "--cut")
        self.check_gone(download, captures, "b3")
        download.stop()

    def test_a_backend_that_is_down_gets_nothing_until_it_is_up_again(self):
        download, captures = self.start_at("b1")
        address = self.lab.address("b1")
        self.box.run("backend", "set", "shop", address, "down")
        self.check_gone(download, captures, "b1")
        self.box.run("backend", "set", "shop", address, "up")
        wait_for_more([download])
        self.assertEqual(self.finish([download]), {download.source: "b1"})

    def test_a_backend_that_is_draining_keeps_its_connections_and_gets_no_new_ones(self):
        download, _ = self.start_at("b1")
        clients = self.by_role(4)["b1"][1:1 + AT_ONCE]
        self.box.run("backend", "set", "shop", self.lab.address("b1"), "draining")
        self.assertEqual(set(self.names(clients).values()), {"b2"})
        wait_for_more([download])
        self.assertEqual(self.finish([download]), {download.source: "b1"})


if __name__ == "__main__":
    unittest.main()
