# SPDX-License-Identifier: GPL-2.0-only
"""Thousands of long-lived flows, and witnesses of what became of them.

A program in C, build/tests/e2e/flows (its sources are in flows/), does the work: its client sends
numbered records over a flow from each of many addresses all the time, its server answers each
record with its name and the count and hash of all bytes that it got.

    with Lab(backends=3) as lab:
        prepare(lab)                      # before connections are made
        serve(lab)                        # on every backend
        flows = Flows(lab, lab.clients(2000))
        flows.wait_for_records(2)         # of every flow
        report = flows.report()

Clocks: all times are CLOCK_MONOTONIC in ns, time.monotonic_ns(), which is the same in all
namespaces. A Tap at a backend says when what it got was sent, so "after the command had returned"
needs no allowance for packets under way.
"""

import collections
import json
import os
import re
import select
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FLOWS = os.path.join(ROOT, "build", "tests", "e2e", "flows")
NS = 10 ** 9
MSS_BASE = 1300  # flows.h
PORT = 80

# Of one client, and of one connection that broke. backend: "" or "?": never known.
Flow = collections.namedtuple("Flow", "source port backend state since records all_records "
                                      "attempts finished moves lost moved")
Breakage = collections.namedtuple("Breakage", "when source port backend state records error")
Seen = collections.namedtuple("Seen", "source packets sent bare")  # by a tap, of one client

OPEN = ("resting", "asked")
_programs = []


class Program:
    """One of the programs of `flows` in a role's namespace; it answers in lines of JSON."""

    def __init__(self, lab, role, *words):
        if not os.access(FLOWS, os.X_OK):
            raise AssertionError(f"{FLOWS} is not built: make {os.path.relpath(FLOWS, ROOT)}")
        self.lab = lab
        self.name = f"{role}: flows {words[0]}"
        self.start(role, [FLOWS, *words])

    def start(self, role, argv):
        self.process = self.lab.popen(role, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        _programs.append(self)

    def line(self, seconds=60):
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            raise AssertionError(f"{self.name}: no answer in {seconds} s")
        text = self.process.stdout.readline()
        if not text:
            raise AssertionError(f"{self.name}: ended with {self.process.wait()}")
        return text

    def tell(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def ask(self, word="report"):
        self.tell(word)
        return json.loads(self.line())

    def stop(self):
        self.process.stdin.close()
        self.process.stdout.close()
        return self.lab.stop(self.process)


class Report:
    """What a client says of its flows."""

    def __init__(self, answer):
        self.now = answer["now_ns"]
        self.records = answer["records"]  # answered, of all connections
        self.finished = answer["finished"]
        self.retransmitted = answer["retransmitted"]
        self.broken = answer["broken"]  # {backend: {count, first_ns, last_ns}}
        self.breakages = [Breakage(*entry) for entry in answer["breakages"]]  # the first 8192
        self.flows = [Flow(*entry) for entry in answer["flows"]]

    @property
    def of(self):
        """{source: flow}"""
        return {flow.source: flow for flow in self.flows}

    @property
    def backends(self):
        """{source: backend}"""
        return {flow.source: flow.backend for flow in self.flows}

    def on(self, *backends):
        """The sources of those flows."""
        return {flow.source for flow in self.flows if flow.backend in backends}


class Flows:
    """A flow from each of @sources. The first port of a client is @first_port, then the next one.

    @records: after so many a connection is ended, by both halves in turn; 0: never. @again: after
    a connection that was ended or broke comes another one. @interval: between records, in seconds;
    half of it more or less. @silence: seconds without an answer, until a connection counts as
    broken, a datagram as lost.
    """

    def __init__(self, lab, sources, *, port=PORT, udp=False, records=0, again=False,
                 interval=0.25, silence=20.0, first_port=10000, rate=2000, seed=0):
        self.sources = list(sources)
        path = os.path.join(lab.directory, f"sources-{time.monotonic_ns()}")
        with open(path, "w") as file:
            file.writelines(f"{source}\n" for source in self.sources)
        self.program = Program(
            lab, "client", "client", "--sources", path, "--to", lab.vip4, "--to", lab.vip6,
            "--port", str(port), "--udp", yes(udp), "--again", yes(again),
            "--records", str(records), "--interval-ms", str(round(interval * 1000)),
            "--silence-ms", str(round(silence * 1000)), "--first-port", str(first_port),
            "--rate", str(rate), "--seed", str(seed))

    def report(self):
        return Report(self.program.ask())

    def wait_for_records(self, count, seconds=60):
        """Until each flow that is not broken for good has had @count more. Returns a report."""
        before = {flow.source: flow.all_records for flow in self.report().flows}
        deadline = time.monotonic() + seconds
        while True:
            report = self.report()
            waiting = [flow for flow in report.flows if flow.state != "broken" and
                       flow.all_records < before[flow.source] + count]
            if not waiting:
                return report
            if time.monotonic() > deadline:
                raise AssertionError(f"{len(waiting)} flows had not {count} records in {seconds} "
                                     f"s: {waiting[:3]}; broken: {report.broken}")
            time.sleep(0.1)

    def finish(self, seconds=60):
        """Every connection comes to its end. Returns the last report."""
        self.program.tell("finish")
        return self.result(seconds)

    def result(self, seconds=60):
        """The report of flows that end by themselves."""
        report = Report(json.loads(self.program.line(seconds)))
        self.program.stop()
        return report

    def stop(self):
        report = self.report()
        self.program.stop()
        return report


class Tap(Program):
    """What came for the VIPs at a backend's interface."""

    def __init__(self, lab, role, port=PORT):
        super().__init__(lab, role, "tap", "--interface", "eth0", "--port", str(port), lab.vip4,
                         lab.vip6)
        self.line()

    def seen(self):
        """{source: Seen}. sent: when the latest of its packets was sent, as far as packets say so;
        bare: when the last one came that does not say (a RST), or 0."""
        answer = self.ask()
        if answer["dropped"]:
            raise AssertionError(f"{self.name}: lost {answer['dropped']} packets")
        return {entry[0]: Seen(*entry) for entry in answer["clients"]}


class Toggler(Program):
    """Sets a backend down, up, down, ... by @count runs of the command line."""

    def __init__(self, box, service, backend, count, program):
        environment = [f"{name}={value}" for name, value in box.environment.items()]
        self.lab = box.lab
        self.name = "lb: toggle"
        self.start("lb", ["env", *environment, FLOWS, "toggle", "--count", str(count), program,
                          service, backend])

    def runs(self):
        return not select.select([self.process.stdout], [], [], 0)[0]

    def result(self, seconds=600):
        """{commands, failed, seconds, slowest_seconds}"""
        answer = json.loads(self.line(seconds))
        self.stop()
        return answer


def stop_all(lab):
    """All programs of a lab that is about to be closed."""
    for program in [program for program in _programs if program.lab is lab]:
        program.stop()
        _programs.remove(program)


def yes(value):
    return "yes" if value else "no"


def prepare(lab):
    """TCP's timestamps are the clock, and the backend's segment size its number (flows.h)."""
    lab.run("client", ["sysctl", "-qw", "net.ipv4.tcp_timestamps=2"])
    for role in lab.backends:
        advertised = ["advmss", str(MSS_BASE + int(role[1:]))]
        for ranges, family in ((lab.range4, 4), (lab.range6, 6)):
            lab.run(role, ["ip", f"-{family}", "route", "replace", ranges, "via",
                           lab.address("client", family), "dev", "eth0", *advertised])


def serve(lab, port=PORT, udp=False):
    """A server on every backend, at the VIPs."""
    servers = [Program(lab, role, "server", "--name", role, "--port", str(port), "--udp", yes(udp),
                       lab.vip4, lab.vip6) for role in lab.backends]
    for server in servers:
        server.line()
    return servers


def tcp_counters(lab, role):
    """Of @role's kernel: OutRsts (for a segment of a connection that it does not have), RetransSegs
    and so on."""
    text = lab.run(role, ["cat", "/proc/net/snmp"]).stdout
    names, values = re.findall(r"^Tcp: (.*)$", text, re.M)
    return dict(zip(names.split(), map(int, values.split())))


def timed(box, program, *words):
    """Runs a command in @box; returns when it had returned, ns."""
    done = box.lab.run("lb", [FLOWS, "time", program, *words], environment=box.environment)
    return int(done.stdout.splitlines()[-1])
