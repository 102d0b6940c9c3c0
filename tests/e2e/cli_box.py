# SPDX-License-Identifier: GPL-2.0-only
"""A box to type commands at: a network namespace, a bpffs and a state directory of its own.

    with Box() as box:
        box.apply(config())
        box("rollout", "set", "api", "5%")

Everything that a box makes is named after its process and goes with it. $XDP_CANARY names the
program to test, build/xdp-canary where it is not set.
"""

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import itertools
import time
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab  # noqa: E402
import web_stub  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
CLIENT = "198.51.100.23"
SECRET = "000102030405060708090a0b0c0d0e0f"  # with it CLIENT is beyond the shares that tests give

_boxes = itertools.count()


def why_not():
    """Why no box can be made here; None: it can."""
    if os.geteuid() != 0:
        return "needs root"
    if not os.access(PROGRAM, os.X_OK):
        return f"{PROGRAM} is not built"
    for program in ("ip", "nsenter", "mount", "umount"):
        if not shutil.which(program):
            return f"needs {program}"
    return None


def service(name="api", number=10, **keys):
    """One service with a control and a canary, whose backends need nobody to resolve them."""
    number_of_backend = itertools.count(1)

    def backend():
        last = next(number_of_backend)
        return {"address": f"10.0.{number}.{last}", "mac": f"02:00:00:00:{number:02x}:{last:02x}",
                "interface": "v0"}

    value = {
        "name": name,
        "vips": [f"192.0.2.{number}:443/tcp"],
        "release": "v1",
        "steer": "l2",
        "cohorts": [{"name": "stable", "backends": [backend(), backend()]},
                    {"name": "canary", "backends": [backend()]}],
        "rules": [{"default": True, "allocate": {"canary": "5%"}}],
    }
    value.update(keys)
    return value


def config(*services, interfaces=("v0",), **keys):
    value = {
        "version": 1,
        "interfaces": [{"name": name} for name in interfaces],
        "limits": {"services": 16, "vips": 64, "backends": 256},
        "services": list(copy.deepcopy(services)) or [service()],
    }
    value.update(keys)
    return value


class Answer:
    """What a command answered."""

    def __init__(self, process):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def json(self):
        return json.loads(self.out)

    def __repr__(self):
        return f"status {self.status}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Box:
    def __init__(self, interfaces=("v0", "v2")):
        self.namespace = f"xc-cli-{os.getpid()}-{next(_boxes)}"
        self.directory = tempfile.mkdtemp(prefix="xc-cli-")
        self.state = os.path.join(self.directory, "state")
        self.bpffs = os.path.join(self.directory, "bpf")
        self.pins = os.path.join(self.bpffs, "box")
        self.processes = []
        try:
            self._make(interfaces)
        except BaseException:
            self.close()
            raise

    def _make(self, interfaces):
        os.mkdir(self.bpffs)
        subprocess.run(["mount", "-t", "bpf", "bpf", self.bpffs], check=True)
        subprocess.run(["ip", "netns", "add", self.namespace], check=True)
        self.ip("link", "set", "lo", "up")
        for name in interfaces:
            self.add_interface(name)
        self.ip("address", "add", "10.0.0.1/16", "dev", interfaces[0])

    def add_interface(self, name):
        self.ip("link", "add", name, "type", "veth", "peer", "name", f"p-{name}")
        self.ip("link", "set", name, "up")
        self.ip("link", "set", f"p-{name}", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()
        subprocess.run(["ip", "netns", "delete", self.namespace], stderr=subprocess.DEVNULL)
        subprocess.run(["umount", self.bpffs], stderr=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)

    # ---- running things

    def inside(self, *words):
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *words]

    def receiver(self):
        """Whom hooks can post to, inside."""
        return web_stub.Receiver(types.SimpleNamespace(namespace=lambda role: lab.in_namespace(self.namespace)))

    def ip(self, *words):
        return subprocess.run(self.inside("ip", *words), check=True, capture_output=True,
                              text=True).stdout

    def argv(self, *words):
        return self.inside(PROGRAM, *map(str, words))

    @property
    def environment(self):
        environment = {key: value for key, value in os.environ.items()
                       if key not in ("SUDO_USER", "NO_COLOR")}
        return {**environment, "XDP_CANARY_STATE": self.state, "XDP_CANARY_PINS": self.pins}

    def __call__(self, *words, **options):
        options = {"env": self.environment, "timeout": 60, **options}
        return Answer(subprocess.run(self.argv(*words), capture_output=True, text=True, **options))

    def start(self, *words):
        process = subprocess.Popen(self.argv(*words), env=self.environment, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.processes.append(process)
        return process

    # ---- files

    def write(self, value, name="box.yaml"):
        """YAML is a superset of JSON; text is written as it is."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(value if isinstance(value, str) else json.dumps(value, indent=1))
        return path

    def settle_secret(self):
        """So that the same clients are drawn in every run."""
        path = os.path.join(self.state, "secret")
        if not os.path.exists(path):
            os.makedirs(self.state, mode=0o750, exist_ok=True)
            with open(path, "w", encoding="ascii", opener=lambda name, flags: os.open(
                    name, flags, 0o600)) as stream:
                stream.write(SECRET + "\n")

    def apply(self, value, *flags):
        return self("-j", "apply", "-f", self.write(value), *flags)

    # ---- what is in force

    def memory(self):
        """All that can be read of the desired and live state: equal where nothing changed."""
        answers = [self("-j", *words.split()) for words in
                   ("get", "service list", "client pins", "history", "audit")]
        return [(answer.status, answer.out) for answer in answers] + [self.attached(), self.epoch()]

    def attached(self):
        """Names of interfaces that have an XDP program."""
        links = json.loads(self.ip("-j", "-d", "link", "show"))
        return sorted(link["ifname"] for link in links if "xdp" in link)

    def explain(self, client=CLIENT, name="api"):
        """The loaded program's own answer."""
        return self("-j", "explain", name, client).json

    def epoch(self, name="api"):
        answer = self("-j", "explain", name, CLIENT)
        return answer.json.get("epoch") if answer.status == 0 else None

    def shares(self, name="api"):
        """{rule: {cohort: (effective, base, live)}}"""
        show = self("-j", "service", "show", name).json
        return {rule["rule"]: {cohort["cohort"]: (cohort["set_ppm"], cohort["base_ppm"],
                                                  cohort["live"])
                               for cohort in rule["cohorts"]} for rule in show["rules"]}

    def share(self, name="api", rule="default", cohort="canary"):
        return self.shares(name)[rule][cohort][0]


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.02)


class BoxTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if why_not():
            raise unittest.SkipTest(why_not())

    def setUp(self):
        self.box = Box()
        self.addCleanup(self.box.close)

    def succeeds(self, answer, status=0):
        self.assertEqual(status, answer.status, answer)
        return answer

    def fails(self, answer, status, *texts):
        """With this exit status, every text in one of its errors, and nothing on stdout."""
        self.assertEqual(status, answer.status, answer)
        for text in texts:
            self.assertIn(text, answer.err, answer)
        self.assertEqual("", answer.out)

    def refused(self, words, *texts, status=1):
        """The same, and everything is as it was."""
        before = self.box.memory()
        self.fails(self.box(*words), status, *texts)
        self.assertEqual(before, self.box.memory())

    def applied(self, *services, **keys):
        self.box.settle_secret()
        return self.succeeds(self.box.apply(config(*services, **keys))).json
