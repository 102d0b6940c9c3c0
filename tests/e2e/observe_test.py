#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Clients observed in a lab: what features say of real traffic is what was on the wire.

A window lasts an hour or more, so tests do not wait for its end: they move its beginning into the
past, in the pinned map (struct box, headers/abi.h).
"""

import collections
import csv
import io
import json
import os
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import Box, BoxTest, wait_for  # noqa: E402
from wire import Capture, parse  # noqa: E402

FEATURES = ["packets", "bytes", "flows", "active_seconds", "flows_per_day", "bytes_per_flow",
            "mean_gap_seconds", "first_seen_age_seconds", "last_seen_age_seconds", "services"]
COUNTS = ("packets", "bytes", "flows")
HOUR = 3600
SINCE_OFFSET = 44  # of observed_since in struct box
SYN, ACK = 2, 16


def bpftool(*words):
    return subprocess.run(["bpftool", "-j", *words], check=True, capture_output=True, text=True,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"}).stdout


def age_window(box, seconds):
    """The running window began so much earlier."""
    path = os.path.join(box.pins, "maps", "box")
    value = bytes(int(byte, 16) for byte in json.loads(
        bpftool("map", "lookup", "pinned", path, "key", "0", "0", "0", "0"))["value"])
    since, = struct.unpack_from("<I", value, SINCE_OFFSET)
    value = bytearray(value)
    struct.pack_into("<I", value, SINCE_OFFSET, since - seconds)
    bpftool("map", "update", "pinned", path, "key", "0", "0", "0", "0",
            "value", *(f"{byte:#x}" for byte in value))


def table(text):
    """{client: {feature: number or None}}"""
    rows = csv.DictReader(io.StringIO(text))
    assert rows.fieldnames == ["client", *FEATURES], rows.fieldnames
    return {row["client"]: {name: float(row[name]) if row[name] else None for name in FEATURES}
            for row in rows}


def counts(rows):
    return {client: tuple(int(row[name]) for name in COUNTS) for client, row in rows.items()}


class Watched:
    """What clients sent to the VIPs, seen at their own interface."""

    def __init__(self, lab):
        self.lab = lab
        self.capture = Capture(lab, "client")
        self.sums = collections.defaultdict(lambda: [0, 0, 0])

    def counts(self):
        vips = (self.lab.vip4, self.lab.vip6)
        for frame in self.capture.frames():
            packet = parse(frame)
            if not packet.headers or packet.headers[0].destination not in vips:
                continue
            if packet.tcp_flags is None:
                continue
            sums = self.sums[packet.headers[0].source]
            sums[0] += 1
            sums[1] += len(frame)
            sums[2] += packet.tcp_flags & (SYN | ACK) == SYN
        return {client: tuple(sums) for client, sums in self.sums.items()}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.capture.close()


class ObserveTest(BoxTest):
    def observed(self, *, observe=None, limits=None, **keys):
        lab = self.lab_with()
        box = Box(lab)
        self.config = {"version": 1, "interfaces": [{"name": "eth0"}],
                       "limits": limits or {"observed_clients": 65536},
                       "observe": observe or {"sample": 1, "window": "1h"},
                       "services": [self.shop_service(lab, **keys)]}
        box.start(self.config)
        return lab, box

    def export(self, box, *words):
        return table(box.run("features", "export", *words).stdout)

    def browse(self, lab, clients=20, **options):
        for family, vip in ((4, lab.vip4), (6, lab.vip6)):
            self.check_all_ok(lab.load(lab.clients(clients, family), vip, requests=3, **options))

    def refuses(self, box, words, *texts):
        done = box.run(*words, check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done)
        for text in texts:
            self.assertIn(text, done.stderr)


class Counts(ObserveTest):
    def test_unsampled_features_are_what_was_on_the_wire(self):
        lab, box = self.observed()
        with Watched(lab) as watched:
            begun = time.time()
            self.browse(lab)
            time.sleep(2.1)
            self.browse(lab, clients=5)
            sent = watched.counts()
            took = time.time() - begun
        rows = self.export(box, "--current")
        self.assertEqual(counts(rows), sent)
        self.assertEqual(len(rows), 40)
        for row in rows.values():
            self.assertEqual(row["services"], 1)
            self.assertAlmostEqual(row["bytes_per_flow"], row["bytes"] / row["flows"])
            self.assertLessEqual(0, row["last_seen_age_seconds"])
            self.assertLessEqual(row["last_seen_age_seconds"], row["first_seen_age_seconds"])
            self.assertLessEqual(row["first_seen_age_seconds"], took + 2)
        came_again = rows[lab.clients(1)[0]]
        self.assertGreaterEqual(came_again["active_seconds"], 2)
        self.assertAlmostEqual(came_again["mean_gap_seconds"],
                               (came_again["first_seen_age_seconds"] -
                                came_again["last_seen_age_seconds"]) /
                               (came_again["active_seconds"] - 1))

    def test_every_start_of_a_flow_counts_whatever_the_sample(self):
        lab, box = self.observed(observe={"sample": 65536, "window": "1h"})
        with Watched(lab) as watched:
            self.browse(lab)
            sent = watched.counts()
        rows = self.export(box, "--current")
        self.assertEqual({client: row["flows"] for client, row in rows.items()},
                         {client: sums[2] for client, sums in sent.items()})

    def test_json_csv_file_and_show_agree(self):
        lab, box = self.observed()
        self.browse(lab)
        box.run("detach")  # so that it stands still
        rows = self.export(box, "--current")
        path = os.path.join(lab.directory, "features.csv")
        said = box.json("features", "export", "--current", "-o", path)
        self.assertEqual((said["cmd"], said["file"], said["clients"], said["window"]),
                         ("features export", path, len(rows), "running"))
        with open(path) as file:
            self.assertEqual(counts(table(file.read())), counts(rows))
        lines = [json.loads(line)
                 for line in box.run("-j", "features", "export", "--current").stdout.splitlines()]
        self.assertEqual([list(line) for line in lines], [["client", *FEATURES]] * len(rows))
        self.assertEqual({line["client"]: tuple(line[name] for name in COUNTS) for line in lines},
                         counts(rows))
        for client in (lab.clients(1)[0], lab.clients(1, 6)[0]):
            shown = box.json("features", "show", client)
            self.assertEqual((shown["client"], shown["complete"]), (client, None))
            self.assertEqual(list(shown["running"]), ["from", "to", "sample", "features"])
            self.assertEqual({name: shown["running"]["features"][name] for name in COUNTS},
                             {name: rows[client][name] for name in COUNTS})
            self.assertIn("bytes_per_flow", box.run("features", "show", client).stdout)

    def test_metrics_say_how_many_and_what_found_no_room(self):
        lab, box = self.observed()
        box.daemon()
        self.browse(lab)
        values = box.metrics()
        self.assertEqual((values["observed_clients",], values["observe_overflow_total",]), (40, 0))

    def test_what_finds_no_room_is_overflow_and_nothing_is_silent(self):
        lab, box = self.observed(limits={"observed_clients": 16})
        box.daemon()
        with Watched(lab) as watched:
            self.browse(lab)
            sent = watched.counts()
        rows, values = self.export(box, "--current"), box.metrics()
        self.assertGreater(values["observe_overflow_total",], 0)
        self.assertEqual(sum(row["packets"] for row in rows.values()) +
                         values["observe_overflow_total",],
                         sum(packets for packets, *_ in sent.values()))
        self.assertEqual(values["observed_clients",], len(rows))
        self.assertLessEqual(len(rows), 16)
        self.assertTrue(all(counts(rows)[client] == sent[client] for client in rows))


class Windows(ObserveTest):
    def test_a_complete_window_is_the_running_one_at_its_end(self):
        lab, box = self.observed()
        self.browse(lab)
        box.run("detach")
        running = self.export(box, "--current")
        age_window(box, HOUR - 60)
        box.run("daemon", "--once")
        self.refuses(box, ["features", "export"], "no window is complete yet", "1h")
        age_window(box, 60)
        box.run("daemon", "--once")
        complete = self.export(box)
        self.assertEqual(counts(complete), counts(running))
        self.assertEqual(self.export(box, "--current"), {})
        for row in complete.values():
            self.assertAlmostEqual(row["flows_per_day"], row["flows"] * 24, delta=row["flows"])
        shown = box.json("features", "show", lab.clients(1)[0])
        self.assertEqual(shown["running"]["features"], None)
        self.assertEqual(shown["complete"]["sample"], 1)

    def test_a_window_replaces_the_one_before_and_remembers_since_when_clients_are_known(self):
        lab, box = self.observed()
        self.browse(lab)
        age_window(box, HOUR)
        box.run("daemon", "--once")
        before = self.export(box)
        time.sleep(2)
        self.browse(lab, clients=5)
        box.run("detach")
        current = self.export(box, "--current")
        age_window(box, HOUR)
        box.run("daemon", "--once")
        after = self.export(box)
        self.assertEqual((len(before), len(after)), (40, 10))
        self.assertEqual(counts(after), counts(current))
        for rows in (current, after):
            for client, row in rows.items():
                self.assertGreaterEqual(row["first_seen_age_seconds"],
                                        before[client]["first_seen_age_seconds"] + 1)

    def test_a_restart_of_the_daemon_loses_nothing_of_the_window(self):
        lab, box = self.observed()
        with Watched(lab) as watched:
            box.daemon()
            self.browse(lab)
            box.stop_daemon()
            self.browse(lab, clients=10)
            box.daemon()
            self.browse(lab, clients=5)
            box.run("detach")
            sent = watched.counts()
        self.assertEqual(counts(self.export(box, "--current")), sent)
        age_window(box, HOUR)
        # It looks for the window's end when it looks at the box: after a command, or 15 s.
        wait_for(lambda: box.run("features", "export", check=False).returncode == 0, 40)
        self.assertEqual(counts(self.export(box)), sent)
        self.assertIn("40 clients", box.daemon_log())

    def test_the_daemon_waits_for_a_writer_and_then_takes_the_whole_window(self):
        lab, box = self.observed()
        box.daemon()
        self.browse(lab)
        box.run("detach")
        sent = counts(self.export(box, "--current"))
        with box.locked():
            age_window(box, HOUR)
            time.sleep(3)
            self.refuses(box, ["features", "export"], "no window is complete yet")
        wait_for(lambda: box.run("features", "export", check=False).returncode == 0, 40)
        self.assertEqual(counts(self.export(box)), sent)

    def test_a_window_that_nobody_takes_is_told(self):
        lab, box = self.observed()
        self.browse(lab, clients=1)
        self.assertEqual(box.run("features", "export", "--current").stderr, "")
        age_window(box, HOUR + 3600)
        for words in (["features", "export", "--current"], ["features", "show", lab.clients(1)[0]]):
            told = box.run(*words).stderr
            self.assertIn("over for 1h", told)
            self.assertIn("daemon", told)
        box.run("daemon", "--once")
        self.assertEqual(box.run("features", "export").stderr, "")
        self.assertAlmostEqual(self.export(box)[lab.clients(1)[0]]["flows_per_day"], 3 * 12,
                               delta=0.1)

    def test_switched_off_and_on_it_begins_anew(self):
        lab, box = self.observed()
        self.browse(lab)
        box.apply({key: value for key, value in self.config.items() if key != "observe"})
        self.browse(lab)
        self.refuses(box, ["features", "export", "--current"], "does not observe", "observe: {}")
        self.refuses(box, ["features", "show", lab.clients(1)[0]], "does not observe")
        box.apply(self.config)
        self.assertEqual(self.export(box, "--current"), {})
        self.browse(lab, clients=3)
        self.assertEqual(len(self.export(box, "--current")), 6)

    def test_another_sample_keeps_the_window_another_form_of_clients_begins_it_anew(self):
        lab, box = self.observed(client={"prefix6": 64})
        self.browse(lab)
        self.assertEqual(len(self.export(box, "--current")), 21)  # all IPv6 ones are of one /64
        self.config["observe"]["sample"] = 4
        self.assertEqual(box.apply(self.config)["warnings"], [])
        self.assertEqual(len(self.export(box, "--current")), 21)
        self.config["services"][0]["client"] = {"prefix6": 128}
        warnings = box.apply(self.config)["warnings"]
        self.assertIn("begins anew", json.dumps(warnings))
        self.assertEqual(self.export(box, "--current"), {})


class Refusals(ObserveTest):
    def test_what_is_not_there_is_said_with_what_to_do(self):
        lab = self.lab_with()
        box = self.shop(lab)
        for words in (["features", "export"], ["features", "export", "--current"],
                      ["features", "show", "198.51.100.7"]):
            self.refuses(box, words, "does not observe its clients", "observe: {}")

    def test_a_client_that_was_not_seen_and_a_file_that_cannot_be_written(self):
        lab, box = self.observed()
        self.browse(lab, clients=1)
        self.refuses(box, ["features", "show", "198.51.100.99"], "seen in neither window")
        self.refuses(box, ["features", "export", "--current", "-o", "/nowhere/at/all"],
                     "/nowhere/at/all", "cannot write")
        self.assertEqual(box.run("features", "show", "10.0.0.300", check=False).returncode, 2)


if __name__ == "__main__":
    unittest.main()
