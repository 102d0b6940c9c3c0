#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The loaded program, `explain -f` and the independent reference agree on every client.

Random configurations (seed printed, XDP_CANARY_SEED repeats one) with live shares and pins, 100,000 decisions in all, are
asked of the kernel's program, of the configuration with nothing loaded, and of tests/reference/decide.py.
"""
import json
import os
import random
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "reference")]
import make_config  # noqa: E402
from lab import Lab  # noqa: E402

PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
REFERENCE = os.path.join(ROOT, "tests", "reference", "decide.py")
SEED = int(os.environ.get("XDP_CANARY_SEED", random.SystemRandom().randrange(1 << 32)))
DECISIONS = 100000
CONFIGURATIONS = 4
SERVICES = 5
COMPARED = ("client", "cohort", "reason", "rule", "hash", "share_ppm", "enters_at_ppm", "backend")

# INTERFACE, "The decision, exactly": client, h, enters_at_ppm
VECTORS = (("198.51.100.7", "198.51.100.7", 2634844476, 613473), ("::ffff:198.51.100.7", "198.51.100.7", 2634844476, 613473),
           ("203.0.113.9", "203.0.113.9", 259160423, 60341),
           ("2001:db8:1:2:3::4", "2001:db8:1:2::/64", 4243239534, 987957),
           ("2001:db8:1:2::", "2001:db8:1:2::/64", 4243239534, 987957))
VECTOR_CONFIG = """\
version: 1
interfaces: [ { name: eth0 } ]
services:
  - name: shop
    vips: [ "192.0.2.10:80/tcp", "[2001:db8:ffff::10]:80/tcp" ]
    release: v1
    steer: l2
    cohorts:
      - { name: stable, backends: [ { address: 10.0.0.1, mac: "02:00:00:00:00:01", interface: eth0 } ] }
      - { name: canary, backends: [ { address: 10.0.0.2, mac: "02:00:00:00:00:02", interface: eth0 } ] }
"""


def answers(text):
    return [json.loads(line) for line in text.splitlines()]


class Decision(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(Lab(backends=0))

    def command(self, *words):
        return self.lab.run("lb", [PROGRAM, *map(str, words)]).stdout

    def make(self, seed, clients):
        directory = os.path.join(self.lab.directory, "config-%d" % seed)
        made = subprocess.run(["/usr/bin/python3", make_config.__file__, "--seed", str(seed), "--out", directory,
                               "--interface", "eth0", "--services", str(SERVICES), "--clients", str(clients)],
                              check=True, capture_output=True, text=True)
        with open(os.path.join(directory, "secret")) as source:
            self.write_secret(source.read())
        return directory, made.stdout.split()

    def write_secret(self, text):
        path = os.path.join(self.lab.state, "secret")
        if os.path.exists(path):
            os.unlink(path)
        os.makedirs(self.lab.state, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(text)

    def reference(self, directory, service, live):
        files = ["--pins", os.path.join(directory, "pins.json"), "--shares", os.path.join(directory, "shares.json")]
        with open(os.path.join(directory, "clients.txt")) as clients:
            return answers(subprocess.run(
                ["/usr/bin/python3", REFERENCE, os.path.join(directory, "config.yaml"), service, "--secret-file",
                 os.path.join(directory, "secret"), *(files if live else [])],
                stdin=clients, check=True, capture_output=True, text=True).stdout)

    def set_live(self, directory):
        with open(os.path.join(directory, "shares.json")) as file:
            for share in json.load(file):
                self.command("rollout", "set", share["service"], "%dppm" % share["share_ppm"], "--rule", share["rule"],
                             "--cohort", share["cohort"])
        with open(os.path.join(directory, "pins.json")) as file:
            for pin in json.load(file):
                self.command("client", "pin", pin["service"], pin["client"], pin["cohort"])
        time.sleep(make_config.UDP_DRAIN_SECONDS + 0.5)  # until then unknown UDP flows are the origin's

    def compare(self, service, got, expected):
        self.assertEqual(len(got), len(expected))
        for one, other in zip(got, expected):
            self.assertEqual({key: one[key] for key in COMPARED}, {key: other[key] for key in COMPARED},
                             "service %s, flow %s, seed %d" % (service, one["flow"], SEED))

    def test_program_file_and_reference_agree_on_100000_decisions(self):
        clients = DECISIONS // (CONFIGURATIONS * SERVICES)
        print("seed %d" % SEED)
        compared, reasons = 0, set()
        for number in range(CONFIGURATIONS):
            with Lab(backends=0) as self.lab:
                directory, services = self.make((SEED + number) % (1 << 32), clients)
                config = os.path.join(directory, "config.yaml")
                listed = os.path.join(directory, "clients.txt")
                for service in services:
                    got = answers(self.command("explain", service, "-j", "-f", config, "--input", listed))
                    self.compare(service, got, self.reference(directory, service, False))
                self.command("apply", "-f", config)
                self.set_live(directory)
                for service in services:
                    got = answers(self.command("explain", service, "-j", "--input", listed))
                    self.compare(service, got, self.reference(directory, service, True))
                    compared += len(got)
                    reasons.update(answer["reason"] for answer in got)
        self.assertGreaterEqual(compared, DECISIONS)
        print("%d decisions compared, reasons: %s" % (compared, ", ".join(sorted(reasons))))

    def test_vectors_of_the_contract(self):
        config = os.path.join(self.lab.directory, "vectors.yaml")
        with open(config, "w") as file:
            file.write(VECTOR_CONFIG)
        self.write_secret("000102030405060708090a0b0c0d0e0f\n")
        self.command("apply", "-f", config)
        for client, key, h, enters in VECTORS:
            for source in ([], ["-f", config]):
                answer = json.loads(self.command("explain", "shop", client, "-j", *source))
                self.assertEqual((answer["client"], answer["hash"], answer["enters_at_ppm"]), (key, h, enters))


if __name__ == "__main__":
    unittest.main(verbosity=2)
