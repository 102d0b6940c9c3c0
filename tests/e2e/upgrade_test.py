#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""upgrade: the program is replaced under load, and no packet is lost or decided otherwise."""
import collections
import json
import os
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
from builds import another_build, build_of_layout, layout_version  # noqa: E402
from lab import Lab  # noqa: E402

PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
UPGRADES = 200
CLIENTS = 200

CONFIG = """\
version: 1
interfaces: [ { name: eth0 } ]
services:
  - name: shop
    vips: [ "%s:80/tcp" ]
    steer: l2
    cohorts:
      - { name: stable, backends: [ { address: %s } ] }
      - { name: canary, backends: [ { address: %s } ] }
    rules: [ { default: true, allocate: { canary: 30%% } } ]
"""


class Upgrade(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab(backends=2))
        for role in self.lab.backends:
            self.lab.start_nginx(role)
        path = os.path.join(self.lab.directory, "shop.yaml")
        with open(path, "w") as file:
            file.write(CONFIG % (self.lab.vip4, self.lab.address("b1"), self.lab.address("b2")))
        self.command("apply", "-f", path)
        self.command("attach")

    def command(self, *words, program=PROGRAM):
        return self.lab.run("lb", [program, *words]).stdout

    def other_build(self):
        return another_build(os.path.join(self.lab.directory, "tree"))

    def test_200_upgrades_under_load_lose_no_packet(self):
        builds = [PROGRAM, self.other_build()]
        clients, results, done = self.lab.clients(CLIENTS), [], threading.Event()

        def load():
            while not done.is_set():
                results.extend(self.lab.load(clients, self.lab.vip4, requests=2))
        before = json.loads(self.command("stats", "-j"))
        worker = threading.Thread(target=load)
        worker.start()
        tags = set()
        try:
            for number in range(UPGRADES):
                answer = json.loads(self.command("upgrade", "-j", program=builds[number % 2]))
                tags.update((interface["before"], interface["after"]) for interface in answer["interfaces"])
        finally:
            done.set()
            worker.join()
        after = json.loads(self.command("stats", "-j"))
        failed = [result for result in results if not result.ok]
        self.assertFalse(failed, "%d of %d requests failed, first: %s" % (len(failed), len(results), failed[:1]))
        served = collections.defaultdict(set)
        for result in results:
            served[result.source].add(result.backend)
        self.assertEqual({len(backends) for backends in served.values()}, {1}, "clients changed their cohort")
        self.assertEqual(len({tag for pair in tags for tag in pair}), 2, "it was not two builds that took turns")
        self.check_counters(before, after, len(results))
        print("%d upgrades, %d requests, %d packets: none lost"
              % (UPGRADES, len(results), after["packets_seen"] - before["packets_seen"]))

    def check_counters(self, before, after, requests):
        """TCP hides a lost packet by sending it again: every SYN that came was the first of its flow."""
        syns = sum(cohort["syns"] for rule in after["services"][0]["rules"] for cohort in rule["cohorts"])
        syns -= sum(cohort["syns"] for rule in before["services"][0]["rules"] for cohort in rule["cohorts"])
        self.assertEqual(syns, requests)
        self.assertEqual(after["packets_seen"], sum(reason["packets"] for reason in after["reasons"]))

    def test_a_dry_run_replaces_nothing(self):
        answer = json.loads(self.command("upgrade", "--dry-run", "-j", program=self.other_build()))
        self.assertTrue(answer["dry_run"])
        replaced = json.loads(self.command("upgrade", "-j"))["interfaces"][0]
        self.assertEqual(replaced["before"], replaced["after"])
        self.assertNotEqual(replaced["before"], answer["interfaces"][0]["after"])

    def test_maps_of_another_layout_are_refused_before_anything_is_replaced(self):
        version = layout_version()
        program = build_of_layout(os.path.join(self.lab.directory, "layout"), version + 1)
        refused = self.lab.run("lb", [program, "upgrade"], check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(f"layout {version}, this program's is {version + 1}", refused.stderr)
        self.assertTrue(all(result.ok for result in self.lab.load(self.lab.clients(50), self.lab.vip4)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
