#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What an operator sees of transitions: metrics, explain of live flows, and that the daemon tidies.

Connections are kept alive by HTTP, to real servers; which one answers is what they say. Needs root.
"""

import collections
import json
import os
import socket
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import Box, BoxTest, Traffic, config, endpoint, service, vip, wait_for  # noqa: E402

SHOP = 'service="shop"'
MAC = "02:00:00:00:99:03"
CONNECTIONS = 100
LIMITS = {"services": 16, "vips": 64, "backends": 256}  # maps that are quick to dump
PATHS = ("current", "syn_recorded", "syn_kept", "syn_cleared", "entry", "origin", "backend_down",
         "banned", "server_id")


class TransitionTest(BoxTest):
    """b1 and b2 are stable, b3 is the canary, until a test says otherwise."""

    def start(self, *, share="0%", drain="1h", daemon=True, **options):
        self.lab = self.lab_with(**options)
        self.files = {"share": share, "affinity": {"drain": drain, "udp_drain": "1s"}}
        self.box = Box(self.lab)
        self.box.start(config(self.shop_service(self.lab, **self.files), limits=LIMITS))
        if daemon:
            self.box.daemon()

    def apply(self, *but, **keys):
        """The shop with other keys, without the backends @but."""
        shop = self.shop_service(self.lab, **{**self.files, **keys})
        for cohort in shop["cohorts"]:
            cohort["backends"] = [backend for backend in cohort["backends"]
                                  if backend["address"] not in map(self.lab.address, but)]
        self.box.apply(config(shop, limits=LIMITS))

    def connections(self, count=CONNECTIONS):
        """Of as many clients, each asked once: {connection: backend}"""
        opened = [self.enterContext(self.lab.connect(client, self.lab.vip4))
                  for client in self.lab.clients(count)]
        return {connection: self.asked(connection) for connection in opened}

    def asked(self, connection):
        result = connection.get()
        self.assertTrue(result.ok, result)
        return result.backend

    def check_stayed(self, connections):
        self.assertEqual({connection: self.asked(connection) for connection in connections},
                         connections)

    # ---- what is told ----

    def values(self, name):
        """{labels but the service: value} of the shop"""
        return {tuple(label for label in labels if label != SHOP): value
                for (metric, *labels), value in self.box.metrics().items()
                if metric == name and SHOP in labels}

    def value(self, name):
        return self.values(name)[()]

    def paths(self):
        return {label[len('path="'):-1]: value
                for (label,), value in self.values("path_total").items()}

    def states(self, cohort):
        """(serving, draining, down)"""
        rows = self.values("cohort_backends")
        return tuple(rows[f'cohort="{cohort}"', f'state="{state}"']
                     for state in ("serving", "draining", "down"))

    def look_again(self):
        """The daemon's next look at the box is now."""
        self.lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])

    def maps(self, name):
        path = os.path.join(self.box.pins, "maps", name)
        return json.loads(self.lab.run("lb", ["bpftool", "-j", "map", "dump", "pinned",
                                              path]).stdout)

    def shown_view(self):
        """Which of the two views of the only service is shown."""
        return self.maps("cells")[0]["formatted"]["value"]["view"]

    def backend_numbers(self):
        """Addresses that have a number in the store."""
        with sqlite3.connect(f"file:{self.box.state}/state.db?mode=ro", uri=True) as store:
            return store.execute("SELECT name FROM numbers WHERE scope = 'shop'").fetchall()


class Metrics(TransitionTest):
    def test_a_transition_shows_from_its_first_change_until_drain_after_its_last(self):
        self.start(drain="4s")
        self.assertEqual((self.value("in_transition"), self.value("era_total"),
                          self.value("transition_entries")), (0, 0, 0))
        connections = self.connections(20)
        self.box.run("rollout", "set", "shop", "50%")
        self.assertEqual((self.value("in_transition"), self.value("era_total")), (1, 1))
        time.sleep(2)
        began = time.monotonic()
        self.box.run("rollout", "set", "shop", "100%")
        returned = time.monotonic()
        self.connections(20)
        entries = self.value("transition_entries")
        if time.monotonic() < began + 3:  # else this machine is too slow to look
            self.assertEqual((self.value("in_transition"), entries), (1, 20))
            self.check_stayed(connections)
        wait_for(lambda: not self.value("in_transition"), 10)
        self.assertGreaterEqual(time.monotonic(), began + 4)
        self.assertLess(time.monotonic(), returned + 4.5)
        self.assertEqual((self.value("era_total"), self.value("transition_entries")), (1, 0))
        self.box.run("rollout", "set", "shop", "50%")
        self.assertEqual((self.value("in_transition"), self.value("era_total")), (1, 2))

    def test_every_packet_of_a_service_has_one_path(self):
        self.start()
        kept = self.connections()
        self.check_paths({"current"})
        self.box.run("rollout", "set", "shop", "50%")
        self.check_stayed(kept)
        new = self.connections()
        self.assertIn("b3", set(new.values()))
        self.check_stayed(new)
        paths = self.check_paths({"current", "origin", "syn_recorded", "entry"})
        canaries = sum(backend == "b3" for backend in new.values())
        self.assertEqual(paths["syn_recorded"], canaries)
        self.assertEqual(self.value("transition_entries"), canaries)
        self.assertEqual(self.value("transition_evicted_total"), 0)
        self.box.run("kill", "shop")
        for connection, backend in new.items():
            if backend == "b3":
                connection.sock.settimeout(0.1)
                self.assertFalse(connection.get().ok)  # its server is elsewhere now
                break
        self.check_paths({"current", "origin", "syn_recorded", "entry", "banned"})

    def check_paths(self, expected):
        """Those, and no others, have packets: as many as decisions were made."""
        def read():
            before, page, after = self.box.stats(), self.box.metrics(), self.box.stats()
            return page if before["packets_seen"] == after["packets_seen"] else None

        page = wait_for(read)
        of = collections.defaultdict(dict)
        for (name, *labels), value in page.items():
            if name in ("path_total", "decisions_total"):
                of[name][labels[0].split('"')[1]] = value
        self.assertEqual(set(of["path_total"]), set(PATHS))
        self.assertEqual({path for path, value in of["path_total"].items() if value}, expected)
        self.assertEqual(sum(of["path_total"].values()), sum(of["decisions_total"].values()))
        return of["path_total"]

    def test_counters_never_fall_while_packets_come(self):
        """Nor does the one of the current path, which follows from others that grow meanwhile."""
        self.start()
        kept = self.connections(20)
        self.box.run("rollout", "set", "shop", "100%")
        last, looks = {}, 0
        with Traffic(self.lab, self.lab.clients(400)[100:], self.lab.vip4) as traffic:
            traffic.wait_for_more(100)
            while len(traffic.results) < 3000 or looks < 50:
                now = {key: value for key, value in self.box.metrics().items()
                       if key[0].endswith("_total")}
                fallen = {key: (last[key], now[key]) for key in last if now[key] < last[key]}
                self.assertFalse(fallen)
                last, looks = now, looks + 1
        self.check_all_ok(traffic.results)
        self.check_stayed(kept)

    def test_wishes_show_as_they_are_and_as_what_is_served(self):
        self.start(share="50%")
        b1, b2 = map(self.lab.address, ("b1", "b2"))

        def told(backend):
            labels = (f'backend="{backend}"', 'cohort="stable"')
            return self.values("backend_wish")[labels], self.values("backend_up")[labels]

        self.assertEqual((told(b1), told(b2)), ((2, 1), (2, 1)))
        self.assertEqual((self.states("stable"), self.states("canary")), ((2, 0, 0), (1, 0, 0)))
        for wish, expected, states in (("draining", (1, 0), (1, 1, 0)), ("down", (0, 0), (1, 0, 1)),
                                       ("up", (2, 1), (2, 0, 0))):
            self.box.run("backend", "set", "shop", b1, wish)
            self.assertEqual((told(b1), told(b2)), (expected, (2, 1)), wish)
            self.assertEqual(self.states("stable"), states, wish)
        self.assertEqual(self.states("canary"), (1, 0, 0))

    def test_wishes_show_when_nothing_is_loaded(self):
        self.start(share="50%", daemon=False)
        self.box.run("backend", "set", "shop", self.lab.address("b1"), "down")
        self.box.run("detach")
        self.box.forget_pins()
        page = self.told_once()
        self.assertEqual(page["backend_wish"][self.lab.address("b1")], 0)
        self.assertEqual(page["backend_up"], {self.lab.address("b1"): 0, self.lab.address("b2"): 1,
                                              self.lab.address("b3"): 1})

    def told_once(self):
        """{metric: {backend: value}} of a daemon that has just restored the box."""
        self.box.daemon()
        page = collections.defaultdict(dict)
        for (name, *labels), value in self.box.metrics().items():
            if name in ("backend_up", "backend_wish"):
                page[name][labels[0].split('"')[1]] = value
        return page

    def test_a_backend_without_a_weight_or_in_no_file_any_more_is_draining(self):
        self.start()
        self.connections(20)
        b1, b3 = self.lab.address("b1"), self.lab.address("b3")
        self.apply(stable=[{"address": b1, "weight": 0}, self.lab.address("b2")])
        self.assertEqual(self.states("stable"), (1, 1, 0))
        self.apply("b1")
        self.assertEqual(self.states("stable"), (1, 1, 0))
        self.assertFalse([labels for labels in self.values("backend_up")
                          if f'backend="{b1}"' in labels])
        self.apply("b2", stable=[b3, self.lab.address("b2")], canary=[b1])
        self.assertEqual((self.states("stable"), self.states("canary")), ((1, 1, 0), (1, 0, 0)))

    def test_datagrams_without_the_client_key_count_as_decided_by_their_source(self):
        self.lab = self.lab_with(ports=())
        self.box = Box(self.lab)
        b1, b2, b3 = (self.lab.address(role) for role in self.lab.backends)
        backends = [{"address": address, "server_id": f"0{number}"}
                    for number, address in enumerate((b1, b2, b3))]
        self.box.start(config(
            service("keyed", [vip(self.lab.vip4, 53, "udp")], [b1, b2], [b3], client={
                "key": "payload", "payload_offset": 4, "payload_length": 8}),
            service("quick", [vip(self.lab.vip4, 443, "udp")], backends[:2], backends[2:], client={
                "key": "quic", "quic_cid_length": 8, "quic_server_id_length": 1}),
            limits=LIMITS))
        self.box.daemon()
        with self.lab.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for payload in (b"short", b"x" * 12, b"x" * 20, b"", b"x" * 11):
                sock.sendto(payload, (self.lab.vip4, 53))
            for _ in range(4):
                sock.sendto(b"\x40" + b"\xff" * 40, (self.lab.vip4, 443))
        wait_for(lambda: sum(value for (name, *_), value in self.box.metrics().items()
                             if name == "packets_total") == 9)
        found = {tuple(label.split('"')[1] for label in labels): value
                 for (name, *labels), value in self.box.metrics().items()
                 if name == "key_fallback_total"}
        self.assertEqual(found, {("payload", "keyed"): 3, ("quic", "keyed"): 0,
                                 ("payload", "quick"): 0, ("quic", "quick"): 4})


class Tidying(TransitionTest):
    """The daemon shows a service without the era that is over."""

    def test_an_era_that_is_over_is_tidied_away_once_and_the_audit_says_nothing_of_it(self):
        self.start(drain="2s", daemon=False)
        b1 = self.lab.address("b1")
        self.connections(20)
        self.apply("b1")
        told = self.records()
        self.assertIn((b1,), self.backend_numbers())
        self.box.daemon()
        time.sleep(1)
        shown = self.shown_view()
        self.look_again()
        time.sleep(0.5)
        self.assertEqual(self.shown_view(), shown)  # it is still open
        time.sleep(2)
        self.look_again()
        wait_for(lambda: self.shown_view() != shown, 8, self.box.daemon_log)
        wait_for(lambda: (b1,) not in self.backend_numbers(), 8)
        shown = self.shown_view()
        for _ in range(3):
            self.look_again()
            time.sleep(0.5)
            self.assertEqual(self.shown_view(), shown)
        self.assertEqual((self.value("in_transition"), self.value("era_total")), (0, 1))
        self.assertEqual(self.records(), told)
        self.assertEqual(self.box.metrics()["store_errors_total",], 0)
        self.check_all_ok(self.lab.load(self.lab.clients(100), self.lab.vip4))
        self.check_counters_add_up(self.box)

    def records(self):
        return [self.box.run("-j", *words.split()).stdout
                for words in ("history", "audit", "service list", "get --effective")]

    def test_without_being_told_it_looks_within_16_seconds(self):
        self.start(drain="1s")
        self.connections(5)
        self.apply("b1")
        shown = self.shown_view()
        wait_for(lambda: self.shown_view() != shown, 20, self.box.daemon_log)

    def test_tidying_under_load_loses_no_packet_and_moves_no_flow(self):
        self.start(drain="1s", share="50%", daemon=False)
        kept = self.connections()
        with Traffic(self.lab, self.lab.clients(400)[200:], self.lab.vip4) as traffic:
            for share in ("30%", "70%", "0%"):
                self.box.run("rollout", "set", "shop", share)
                traffic.wait_for_more(100)
                self.box.run("rollout", "set", "shop", "50%")
                time.sleep(1.1)
                shown = self.shown_view()
                self.box.run("daemon", "--once", timeout=20)
                self.assertNotEqual(self.shown_view(), shown)
                traffic.wait_for_more(100)
        self.check_all_ok(traffic.results)
        self.check_stayed(kept)  # the share is what it was, so every epoch agrees on them
        self.check_counters_add_up(self.box)

    def test_a_pin_that_will_end_by_itself_keeps_nobody_else_in_transition(self):
        self.start(drain="1s")
        client = self.lab.clients(1)[0]
        self.box.run("client", "pin", "shop", client, "canary", "--for", "1h")
        self.assertEqual(self.value("in_transition"), 1)
        wait_for(lambda: not self.value("in_transition"), 8)
        self.assertEqual(self.value("era_total"), 1)


class NextHops(TransitionTest):
    def test_a_backend_that_left_is_followed_to_its_new_mac_while_it_has_flows(self):
        self.start()
        connections = self.connections()
        self.assertEqual(set(connections.values()), {"b1", "b2"})
        self.apply("b1")
        self.check_stayed(connections)
        self.lab.run("b1", ["sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1"])
        self.lab.run("b1", ["ip", "link", "set", "eth0", "address", MAC])
        wait_for(lambda: self.mac_of("b1") == MAC, 5, self.box.daemon_log)
        self.check_stayed(connections)
        new = self.connections()
        self.assertEqual(set(new.values()), {"b2"})
        self.check_counters_add_up(self.box)

    def mac_of(self, role):
        """That the backend's line has, in the view that is shown."""
        address = [int(byte) for byte in self.lab.address(role).split(".")]
        view = self.maps("views")[self.shown_view() - 1]["formatted"]["value"]
        lines = [entry["formatted"]["value"] for entry in self.maps("backends")]
        for line in lines[view["backends"]:view["backends"] + view["backends_count"]]:
            if line["address"][:4] == address:
                return line["next_hop"].to_bytes(8, "little")[:6].hex(":")
        return None

    def test_one_that_left_and_is_off_keeps_the_daemon_from_nothing_and_busy_with_nothing(self):
        self.start()
        self.connections(20)
        self.apply("b1")
        self.lab.run("b1", ["ip", "link", "set", "eth0", "down"])
        self.look_again()
        wait_for(lambda: self.mac_of("b1") in (None, "00:00:00:00:00:00"), 15,
                 self.box.daemon_log)
        self.check_all_ok(self.lab.load(self.lab.clients(50), self.lab.vip4))
        self.assertEqual(self.box.metrics()["store_errors_total",], 0)
        self.assertLessEqual(self.writers(5), 2)

    def writers(self, seconds):
        """How many took the lock, who leave their names in it."""
        path, end, times = f"{self.box.state}/lock", time.monotonic() + seconds, set()
        while time.monotonic() < end:
            times.add(os.stat(path).st_mtime_ns)
            time.sleep(0.02)
        return len(times) - 1


class Explain(TransitionTest):
    def explained(self, connections):
        """The answer for each connection."""
        flows = [endpoint(connection.source, connection.port) for connection in connections]
        return dict(zip(connections, self.box.explain("shop", flows), strict=True))

    def test_a_live_flow_is_told_where_it_is_and_a_new_one_where_it_would_go(self):
        self.start(daemon=False)
        kept = self.connections()
        for answer in self.explained(kept).values():
            self.assertEqual((answer["path"], answer["live"]), ("current", None))
        self.box.run("rollout", "set", "shop", "100%")
        new = self.connections(20)
        seen = collections.Counter()
        for connections, path, new_path in ((kept, "origin", "syn_recorded"),
                                            (new, "entry", "syn_kept")):
            for connection, answer in self.explained(connections).items():
                live = answer["live"]
                role = connections[connection]
                self.assertEqual((live["backend"], live["path"]), (self.lab.address(role), path))
                self.assertEqual(live["cohort"], "canary" if role == "b3" else "stable")
                self.assertEqual((answer["cohort"], answer["backend"], answer["path"]),
                                 ("canary", self.lab.address("b3"), new_path))
                seen[path] += 1
        self.assertEqual(seen, {"origin": len(kept), "entry": 20})
        self.check_stayed({**kept, **new})  # asking has changed nothing
        connection = next(iter(kept))
        text = self.box.run("explain", "shop", endpoint(connection.source, connection.port)).stdout
        self.assertIn("path      syn_recorded: ", text)
        self.assertRegex(text, rf"live .*{self.lab.address(kept[connection])} \(stable\), origin: "
                               r".*; for another 59m\d+s at least")

    def test_a_new_quic_connection_is_asked_of_by_its_first_packet(self):
        self.lab = self.lab_with(ports=())
        self.box = Box(self.lab)
        backends = [{"address": self.lab.address(role), "server_id": f"0{role[1:]}"}
                    for role in self.lab.backends]
        self.box.start(config(service(
            "shop", [vip(address, 443, "udp") for address in (self.lab.vip4, self.lab.vip6)],
            backends[:2], backends[2:], "0%", client={
                "key": "quic", "quic_cid_length": 8, "quic_server_id_length": 1})))
        clients = self.lab.clients(20) + self.lab.clients(20, 6)
        before = self.box.explain("shop", clients)
        self.assertEqual({answer["path"] for answer in before}, {"current"})
        self.box.run("rollout", "set", "shop", "100%")
        for was, answer in zip(before, self.box.explain("shop", clients), strict=True):
            self.assertEqual((answer["cohort"], answer["path"], answer["outcome"]),
                             ("canary", "syn_recorded", "default"))
            self.assertEqual((answer["live"]["backend"], answer["live"]["path"]),
                             (was["backend"], "origin"))

    def test_a_flow_of_a_cohort_that_left_the_file_is_told_with_none(self):
        self.start(share="100%", daemon=False)
        kept = self.connections(20)
        self.assertEqual(set(kept.values()), {"b3"})
        shop = self.shop_service(self.lab, **{**self.files, "share": "0%"})
        shop["cohorts"][1] = {"name": "next", "backends": []}
        shop["rules"] = [{"default": True, "allocate": {"next": "0%"}}]
        self.box.apply(config(shop, limits=LIMITS))
        self.check_stayed(kept)
        for answer in self.explained(kept).values():
            live = answer["live"]
            self.assertEqual((live["cohort"], live["backend"], live["path"]),
                             (None, self.lab.address("b3"), "origin"))
            self.assertEqual(answer["cohort"], "stable")
        connection = next(iter(kept))
        text = self.box.run("explain", "shop", endpoint(connection.source, connection.port)).stdout
        self.assertIn(f"goes to {self.lab.address('b3')} (no cohort of the file), origin: ", text)


if __name__ == "__main__":
    unittest.main()
