#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What goes on when something fails: bad files, killed processes, a locked or a lost store.

HTTP traffic runs all the while, and what it saw is the judge.
"""

import contextlib
import copy
import glob
import json
import os
import signal
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import Box, BoxTest, Traffic, config, service, vip  # noqa: E402
from wire import Capture  # noqa: E402

SHARE = 0.3
ROUNDS = 3  # of all broken files
POSITION = r"(?m)^%s:\d+:\d+: "


def broken_files(good):
    """{what is wrong: (text of a file, whether its error has a line)}; @good is not changed."""
    def changed(change):
        value = copy.deepcopy(good)
        change(value, value["services"][0])
        return json.dumps(value, indent=1)

    text = json.dumps(good, indent=1)
    in_file = {
        "not closed": text[:-9],
        "not YAML": "version: 1\n\tservices: []\n",
        "binary": "version: 1\nservices: \x00\x01\n",
        "unknown key": changed(lambda box, shop: shop.update(steering="l2")),
        "duplicate key": text.replace('"version": 1', '"version": 1, "version": 1'),
        "wrong type": changed(lambda box, shop: shop.update(vips="10.80.0.10:80/tcp")),
        "other version": changed(lambda box, shop: box.update(version=2)),
        "octal number": text.replace('"version": 1', '"version": 01'),
        "alias cycle": "version: 1\nservices: &all [ *all ]\n",
        "VIP twice": changed(lambda box, shop: shop["vips"].append(shop["vips"][0])),
        "too much": changed(lambda box, shop: allocate(shop, "100.1%")),
        "too fine": changed(lambda box, shop: allocate(shop, "0.00001%")),
        "unknown cohort": changed(lambda box, shop: allocate(shop, "1%", "canery")),
        "backend twice": changed(lambda box, shop: shop["cohorts"][1]["backends"].append(
            shop["cohorts"][0]["backends"][0])),
        "canary without backends": changed(lambda box, shop: shop["cohorts"][1].update(
            backends=[])),
        "control without backends": changed(lambda box, shop: shop["cohorts"][0].update(
            backends=[])),
    }
    of_the_box = {
        "no such interface": changed(lambda box, shop: box["interfaces"].append({"name": "eth9"})),
        "new salt": changed(lambda box, shop: shop.update(salt="other")),
        "service is gone": changed(lambda box, shop: box["services"].pop()),
        "live share of no backends": changed(lambda box, shop: box["services"][1]["cohorts"][1]
                                             .update(backends=[])),
    }
    return {**{what: (value, True) for what, value in in_file.items()},
            **{what: (value, False) for what, value in of_the_box.items()}}


def allocate(shop, share, cohort="canary"):
    shop["rules"][0]["allocate"] = {cohort: share}


def counters(stats):
    """{path: value} of all that counts up."""
    found = {}

    def walk(value, path):
        if isinstance(value, dict):
            name = "/".join(str(value[key]) for key in ("service", "rule", "cohort", "backend",
                                                        "action", "reason") if key in value)
            for key, part in value.items():
                walk(part, f"{path}/{name}/{key}")
        elif isinstance(value, list):
            for part in value:
                walk(part, path)
        elif isinstance(value, int):
            found[path] = value

    walk({key: stats[key] for key in ("services", "reasons", "packets_seen")}, "")
    return found


class BadInput(BoxTest):
    """Promise 12: a clear error with file, line and what to do, and nothing has changed."""

    def memory(self, box):
        return [box.run("-j", *words.split()).stdout for words in
                ("get", "get --effective", "history", "audit", "service list", "service show shop",
                 "client pins", "explain shop 10.50.0.1")]

    def check_refused(self, box, what, text, has_line):
        path = box.write(text, "broken.yaml")
        done = box.run("apply", "-f", path, check=False)
        self.assertEqual(done.returncode, 1, (what, done))
        self.assertEqual(done.stdout, "", what)
        for line in done.stderr.splitlines():
            self.assertGreaterEqual(line.count(": "), 2, (what, line))  # object: what: what to do
        self.assertTrue(done.stderr, what)
        if has_line:
            self.assertRegex(done.stderr, POSITION % path, what)

    def test_promise_12_broken_files_are_refused_in_a_loop_under_load_and_nothing_changes(self):
        lab = self.lab_with()
        box = Box(lab)
        b1, b2, b3 = map(lab.address, lab.backends)
        good = config(self.shop_service(lab),
                      service("spare", [vip(lab.vip4, 8080)], [b1, b2], [b3], "0%"))
        box.start(good)
        box.run("rollout", "set", "shop", "40%")
        box.run("rollout", "set", "spare", "10%")
        before, last = self.memory(box), counters(box.stats())
        files = broken_files(good)
        self.assertGreaterEqual(len(files), 10)
        with Traffic(lab, lab.clients(100), lab.vip4) as traffic:
            for _ in range(ROUNDS):
                for what, (text, has_line) in files.items():
                    self.check_refused(box, what, text, has_line)
                    now = counters(box.stats())
                    self.assertEqual([path for path in last if now.get(path, -1) < last[path]], [],
                                     what)
                    last = now
                traffic.wait_for_more(100)
        self.assertEqual(self.memory(box), before)
        self.check_all_ok(traffic.results)
        self.check_sticky(traffic.results)
        self.check_counters_add_up(box)


class NoProcess(BoxTest):
    """The kernel alone carries the traffic."""

    def processes(self, box):
        """Those of the program in the balancer's namespace."""
        found = []
        pids = box.lab.run("lb", ["ip", "netns", "pids", box.lab.namespace_name("lb")]).stdout
        for pid in pids.split():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline") as file:
                found += [pid] if "xdp-canary" in file.read() else []
        return found

    def test_traffic_goes_on_when_all_commands_have_ended_and_the_daemon_is_killed(self):
        lab = self.lab_with()
        box = self.shop(lab)
        daemon = box.daemon()
        self.assertEqual(self.processes(box), [str(daemon.pid)])
        with Traffic(lab, lab.clients(100), lab.vip4) as traffic:
            traffic.wait_for_more(200)
            os.kill(daemon.pid, signal.SIGKILL)
            self.assertEqual(daemon.wait(), -signal.SIGKILL)
            self.assertEqual(self.processes(box), [])
            traffic.wait_for_more(500)
        self.check_all_ok(traffic.results)
        for destination in (lab.vip4, lab.vip6):
            self.check_split(box, "shop", destination, share=SHARE)


class Kill(BoxTest):
    """Promise 7: after the command has returned no packet goes to the canary."""

    CONNECTIONS = 40

    def connect_all(self, lab, sources):
        """{source: a connection, used once}, and the sources that the canary serves."""
        connections, in_canary = {}, set()
        for source in sources:
            connections[source] = self.enterContext(lab.connect(source, lab.vip4, timeout=2))
            result = connections[source].get()
            self.assertTrue(result.ok, result)
            if result.backend == "b3":
                in_canary.add(source)
        return connections, in_canary

    def check_kill(self, lab, box, seconds, *words):
        """Kills under load, within @seconds."""
        connections, in_canary = self.connect_all(lab, lab.clients(self.CONNECTIONS))
        self.assertTrue(in_canary)
        capture = self.enterContext(Capture(lab, "switch", "b3"))
        with Traffic(lab, lab.clients(200), lab.vip4, timeout=2) as traffic:
            traffic.wait_for_more(300)
            self.assertTrue(self.for_vip(lab, capture))
            began = time.monotonic()
            box.run("kill", *words)
            self.assertLess(time.monotonic() - began, seconds)
            counted = box.backend_packets("shop")[lab.address("b3")]
            self.for_vip(lab, capture)  # those that were on their way through the switch
            traffic.wait_for_more(300)
            self.check_connections(connections, in_canary)
            traffic.wait_for_more(300)
        self.assertEqual(self.for_vip(lab, capture), [])
        self.assertEqual(box.backend_packets("shop")[lab.address("b3")], counted)
        self.check_only_control(lab, box)

    def for_vip(self, lab, capture):
        return [packet for packet in capture.packets(settle=0.02)
                if packet.headers and packet.headers[0].destination == lab.vip4]

    def check_connections(self, connections, in_canary):
        """The canary's are cut at once; those of control live on."""
        for source, connection in connections.items():
            result = connection.get()
            if source in in_canary:
                self.assertEqual(result.error, "ECONNRESET")
            else:
                self.assertTrue(result.ok, result)

    def check_only_control(self, lab, box):
        results = lab.load(lab.clients(300), lab.vip4, concurrency=64)
        self.check_all_ok(results)
        self.assertEqual({result.backend for result in results}, {"b1", "b2"})
        answer, = box.explain("shop", lab.clients(1))
        self.assertEqual((answer["cohort"], answer["reason"]), ("stable", "killed"))

    def check_reset(self, lab, box, members):
        box.run("rollout", "reset", "shop")
        results = lab.load(lab.clients(300), lab.vip4, concurrency=64)
        self.check_all_ok(results)
        self.assertEqual(self.check_sticky(results), members)

    def members(self, lab):
        results = lab.load(lab.clients(300), lab.vip4, concurrency=64)
        self.check_all_ok(results)
        return self.check_sticky(results)

    def test_kill_takes_all_clients_pinned_ones_too_and_reset_gives_them_back(self):
        lab = self.lab_with()
        box = self.shop(lab)
        pinned = next(client for client, cohort in box.cohorts("shop", lab.clients(40)).items()
                      if cohort == "stable")
        box.run("client", "pin", "shop", pinned, "canary")
        members = self.members(lab)
        self.assertIn(pinned, members)
        self.check_kill(lab, box, 5, "shop")
        self.check_reset(lab, box, members)
        self.check_kill(lab, box, 5, "--all")
        self.check_reset(lab, box, members)

    def test_kill_waits_for_nobody_who_holds_the_writer_lock(self):
        lab = self.lab_with()
        box = self.shop(lab)
        members = self.members(lab)
        with box.locked():
            self.check_kill(lab, box, 2, "shop")
            self.assertEqual(box.run("--wait", "100ms", "rollout", "reset", "shop",
                                     check=False).returncode, 1)
            self.check_only_control(lab, box)
        done = box.run("rollout", "set", "shop", "50%", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("rollout reset", done.stderr)
        self.check_only_control(lab, box)
        self.check_reset(lab, box, members)

    def test_kill_works_while_another_process_keeps_the_database_locked(self):
        lab = self.lab_with()
        box = self.shop(lab)
        members = self.members(lab)
        database = sqlite3.connect(os.path.join(box.state, "state.db"), isolation_level=None)
        with contextlib.closing(database):
            database.execute("BEGIN EXCLUSIVE")
            # It is done and said at once; recording it is given up soon.
            self.check_kill(lab, box, 4, "shop")
        self.check_reset(lab, box, members)

    def test_kill_works_without_a_store_and_holds_when_there_is_one_again(self):
        lab = self.lab_with()
        box = self.shop(lab)
        members = self.members(lab)
        for path in glob.glob(os.path.join(box.state, "state.db*")):
            os.unlink(path)
        done = box.run("kill", "shop")
        self.assertIn("shop", done.stdout)
        results = lab.load(lab.clients(300), lab.vip4, concurrency=64)
        self.check_all_ok(results)
        self.assertEqual({result.backend for result in results}, {"b1", "b2"})
        box.apply(config(self.shop_service(lab)))
        self.check_only_control(lab, box)
        self.check_reset(lab, box, members)


if __name__ == "__main__":
    unittest.main()
