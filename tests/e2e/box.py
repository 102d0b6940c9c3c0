# SPDX-License-Identifier: GPL-2.0-only
"""The real program as the balancer of a lab, and what its tests check again and again.

    with Lab(backends=3) as lab:
        box = Box(lab)
        box.start(config(service("shop", [vip(lab.vip4)], stable=["10.40.0.11"], ...)))
        box.run("rollout", "set", "shop", "10%")

A box has a state and pins of its own, and a secret that follows from the seed. $XDP_CANARY names
the program to test, $XDP_CANARY_SEED repeats a run.
"""

import collections
import contextlib
import fcntl
import hashlib
import http.client
import json
import math
import os
import random
import re
import shutil
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as labs  # noqa: E402
from lab import ASKER, Lab  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
SEED = int(os.environ.get("XDP_CANARY_SEED", random.SystemRandom().randrange(1 << 32)))
METRIC = re.compile(r"xdp_canary_(\w+)(?:\{(.*)\})? ([-+0-9.e]+)$")
LABEL = re.compile(r'\w+="[^"]*"')
SIGMAS = 5  # a share is judged by: 1 in 2 million right ones would be taken for wrong


def why_not():
    """Why these tests cannot run here; None: they can."""
    if not os.access(PROGRAM, os.X_OK):
        return f"{PROGRAM} is not built"
    return labs.missing_requirements()


def vip(address, port=80, protocol="tcp"):
    return f"[{address}]:{port}/{protocol}" if ":" in address else f"{address}:{port}/{protocol}"


def endpoint(address, port):
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def service(name, vips, stable, canary, share="30%", **keys):
    """@stable, @canary: addresses, or mappings with more of a backend."""
    def backends(values):
        return [value if isinstance(value, dict) else {"address": value} for value in values]

    return {"name": name, "vips": vips, "release": "v2", "steer": "l2",
            "cohorts": [{"name": "stable", "backends": backends(stable)},
                        {"name": "canary", "backends": backends(canary)}],
            "rules": [{"default": True, "allocate": {"canary": share}}], **keys}


def config(*services, interfaces=("eth0",), **keys):
    """@interfaces: names, or mappings."""
    return {"version": 1, "services": list(services),
            "interfaces": [entry if isinstance(entry, dict) else {"name": entry}
                           for entry in interfaces], **keys}


class Box:
    def __init__(self, lab, name="box"):
        self.lab = lab
        self.state = os.path.join(lab.directory, f"{name}-state")
        self.pins = os.path.join(lab.bpffs, name)
        self.daemon_process = None
        self.write_secret(hashlib.md5(b"%d" % SEED).hexdigest())

    def write_secret(self, text):
        os.makedirs(self.state, mode=0o750, exist_ok=True)
        path = os.path.join(self.state, "secret")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text + "\n")

    # ---- commands ----

    @property
    def environment(self):
        return {"XDP_CANARY_STATE": self.state, "XDP_CANARY_PINS": self.pins}

    def run(self, *words, check=True, timeout=60, program=PROGRAM):
        return self.lab.run("lb", [program, *words], check=check, timeout=timeout,
                            environment=self.environment)

    def json(self, *words):
        return json.loads(self.run("-j", *words).stdout)

    def write(self, value, name="box.yaml"):
        """@value: YAML as it stands, or what becomes JSON, which is YAML too."""
        path = os.path.join(self.lab.directory, name)
        with open(path, "w") as file:
            file.write(value if isinstance(value, str) else json.dumps(value, indent=1))
        return path

    def apply(self, value, *flags):
        return self.json("apply", "-f", self.write(value), *flags)

    def start(self, value):
        self.apply(value)
        self.run("attach")

    def stats(self):
        return self.json("stats")

    def two_stats(self, seconds=1):
        """Two readings, one after the other; if it can be had in that time, two between which no packet came: then
        none was in the program, which counts it first as seen and then under its reason."""
        deadline = time.monotonic() + seconds
        while True:
            before, after = self.stats(), self.stats()
            if before["packets_seen"] == after["packets_seen"] or time.monotonic() > deadline:
                return before, after

    def flows(self, name):
        """{cohort: SYNs} of a service, all rules together."""
        return self.rule_counters(name, "syns")

    def rule_counters(self, name, field):
        counts = collections.Counter()
        for entry in self.json("stats", name)["services"][0]["rules"]:
            for cohort in entry["cohorts"]:
                counts[cohort["cohort"]] += cohort[field]
        return counts

    def backend_packets(self, name):
        """{address: packets}"""
        return {entry["backend"]: entry["packets"]
                for entry in self.json("stats", name)["services"][0]["backends"]}

    def reasons(self):
        """{(action, reason): packets} of those that occurred."""
        return {(entry["action"], entry["reason"]): entry["packets"]
                for entry in self.stats()["reasons"] if entry["packets"]}

    def explain(self, name, clients, *flags):
        """The loaded program's answers. @clients: addresses, with a port or without."""
        path = self.write("\n".join(clients) + "\n", f"clients-{threading.get_ident()}")
        text = self.run("-j", "explain", name, "--input", path, *flags).stdout
        return [json.loads(line) for line in text.splitlines()]

    def cohorts(self, name, clients):
        """{client: cohort}"""
        return dict(zip(clients, (answer["cohort"] for answer in self.explain(name, clients))))

    def next_hops(self, name):
        """{backend: MAC that its packets get}, of the backends that some of 100 clients have."""
        return {answer["backend"]: answer["next_hop"] and answer["next_hop"]["mac"]
                for answer in self.explain(name, self.lab.clients(100))}

    def is_attached(self, interface="eth0"):
        """As the kernel says."""
        return "xdp" in self.lab.run("lb", ["ip", "link", "show", interface]).stdout

    # ---- processes and files ----

    def daemon(self, *, environment=None, wait=True, **options):
        """Starts the daemon; returns once it serves metrics (not @wait: at once)."""
        log = open(os.path.join(self.state, "daemon.log"), "a")
        with log:
            process = self.lab.popen("lb", [PROGRAM, "daemon"], stdout=log, stderr=log,
                                     environment={**self.environment, **(environment or {})},
                                     **options)
        self.daemon_process = process
        if wait:
            self.wait_for_metrics()
        return process

    def daemon_log(self):
        with open(os.path.join(self.state, "daemon.log")) as file:
            return file.read()

    def stop_daemon(self):
        return self.lab.stop(self.daemon_process)

    def wait_for_metrics(self, port=9977, seconds=10):
        wait_for(lambda: self.serves_metrics(port), seconds,
                 lambda: f"no metrics at port {port}: {self.daemon_log()}")

    def serves_metrics(self, port=9977):
        try:
            return self.fetch(port=port)[0] == 200
        except OSError:
            return False

    def fetch(self, path="/metrics", method="GET", port=9977, timeout=5):
        """(status, headers, body) of an HTTP request in the balancer's namespace."""
        with self.lab.namespace("lb"):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout, ASKER)
            with contextlib.closing(connection):
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.headers, answer.read().decode()

    def metrics(self, port=9977):
        """{(name without prefix, label="value", ...): value}, the labels sorted."""
        status, _, text = self.fetch(port=port)
        if status != 200:
            raise AssertionError(f"{status}: {text}")
        values = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                name, labels, value = METRIC.match(line).groups()
                values[(name, *sorted(LABEL.findall(labels or "")))] = float(value)
        return values

    def forget_pins(self):
        """The kernel side is gone, as after a boot; the state stays."""
        shutil.rmtree(self.pins)

    @contextlib.contextmanager
    def locked(self):
        """Another process (for flock, another open file) holds the writer lock."""
        with open(os.path.join(self.state, "lock"), "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class Traffic:
    """HTTP from a thread of its own, all of @sources again and again, until the block is left."""

    def __init__(self, lab, sources, destination, **options):
        self.results = []
        self._load = lambda: lab.load(sources, destination, concurrency=16, **options)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error = None

    def _run(self):
        try:
            while not self._stop.is_set():
                self.results.extend(self._load())
        except BaseException as error:
            self._error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        if self._error:
            raise self._error

    def wait_for_more(self, count, seconds=20):
        goal = len(self.results) + count
        wait_for(lambda: len(self.results) >= goal or self._error, seconds, "no traffic")


def wait_for(condition, seconds=10, problem="waited in vain"):
    """@problem: a text, or a function that makes one."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(problem() if callable(problem) else problem)
        time.sleep(0.02)
    return value


@unittest.skipIf(why_not(), why_not())
class BoxTest(unittest.TestCase):
    """Each test makes its lab and box by self.lab_with(); the nginx of a role says which it is."""

    @classmethod
    def setUpClass(cls):
        print(f"{cls.__name__}: seed {SEED}", flush=True)

    def setUp(self):
        self.random = random.Random(f"{SEED}{self.id()}")

    def lab_with(self, backends=3, *, ports=(80,), **options):
        """A lab that is gone when the test is, with an nginx for each of @ports on each backend."""
        lab = self.enterContext(Lab(backends=backends, **options))
        for role in lab.backends:
            for port in ports:
                lab.start_nginx(role, port=port)
        return lab

    def shop(self, lab, box=None, **keys):
        """A box with the service `shop`: b1 and b2 are stable, b3 is the canary."""
        box = box or Box(lab)
        box.start(config(self.shop_service(lab, **keys)))
        return box

    def shop_service(self, lab, **keys):
        """IPv6 clients are told apart by the whole address: all that the lab has are of one /64."""
        b1, b2, b3 = (lab.address(role) for role in ("b1", "b2", "b3"))
        return service(**{"name": "shop", "vips": [vip(lab.vip4), vip(lab.vip6)],
                          "stable": [b1, b2], "canary": [b3], "client": {"prefix6": 128}, **keys})

    # ---- checks ----

    def check_all_ok(self, results):
        bad = [result for result in results if not result.ok]
        self.assertFalse(bad[:3], f"{len(bad)} of {len(results)} requests failed")
        self.assertTrue(results)

    def check_share(self, part, whole, share, what=""):
        """@part of @whole independent clients or flows were drawn with probability @share."""
        sigma = math.sqrt(whole * share * (1 - share))
        self.assertLessEqual(abs(part - whole * share), SIGMAS * sigma + 1,
                             f"{what}: {part} of {whole}, the share is {share}")

    def check_as_explained(self, box, name, results, destination):
        """Every request was served by the very backend that the program says its flow has."""
        flows = [endpoint(result.source, result.port) for result in results]
        answers = box.explain(name, flows, "--to", destination)
        for result, answer in zip(results, answers, strict=True):
            role = result.backend
            families = [box.lab.address(role), box.lab.address(role, 6)]
            self.assertIn(answer["backend"], families, (result, answer))

    def check_sticky(self, results, canaries=("b3",)):
        """No client saw both cohorts. Returns the clients of the canary."""
        seen = collections.defaultdict(set)
        for result in results:
            seen[result.source].add(result.backend in canaries)
        both = [client for client, cohorts in seen.items() if len(cohorts) > 1]
        self.assertFalse(both[:3], f"{len(both)} clients saw both cohorts")
        return {client for client, cohorts in seen.items() if cohorts == {True}}

    def check_split(self, box, name, destination, *, share, port=80, clients=600, requests=3,
                    backends=("b1", "b2", "b3"), canaries=("b3",)):
        """Loads a VIP and checks all that is promised of a split. Returns the results."""
        lab = box.lab
        sources = lab.clients(clients, 6 if ":" in destination else 4)
        before = sum(box.flows(name).values())
        results = lab.load(sources, destination, port, requests=requests, concurrency=64,
                           timeout=2)
        self.check_all_ok(results)
        self.assertEqual(len(results), clients * requests)
        self.assertEqual(sum(box.flows(name).values()) - before, len(results))  # no SYN was lost
        in_canary = self.check_sticky(results, canaries)
        self.check_share(len(in_canary), clients, share, f"{name} at {destination}")
        self.assertEqual({result.backend for result in results}, set(backends))
        self.check_as_explained(box, name, results, vip(destination, port))
        return results

    def check_counters_add_up(self, box):
        """One reason for each packet, and none was dropped. Whatever was seen before a reading has its reason in the
        next one; where no packet came in between, the two are equal."""
        before, stats = box.two_stats()
        reasons = [sum(entry["packets"] for entry in each["reasons"]) for each in (before, stats)]
        self.assertLessEqual(before["packets_seen"], reasons[1])
        self.assertLessEqual(reasons[0], stats["packets_seen"])
        if before["packets_seen"] == stats["packets_seen"]:
            self.assertEqual(reasons[1], stats["packets_seen"])
        self.assertEqual([entry for entry in stats["reasons"]
                          if entry["action"] == "drop" and entry["packets"]], [])
