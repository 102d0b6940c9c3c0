# SPDX-License-Identifier: GPL-2.0-only
"""Crowds of HTTP clients, servers that break when they are told to, and a long way between them.

A program in C, build/tests/e2e/crowd (its sources are in crowd/), does the work.

    with Lab(backends=3) as lab:
        canary = Server(lab, "b3")
        crowd = Crowd(lab, population(random, lab.clients(2000), flows_per_second=400))
        canary.set("hang")                 # and, say, canary.set("hang", "10.50.64.0/18")
        report = crowd.report()
        report.bad                         # {address: Outcome} of those that saw a failure

Times are CLOCK_MONOTONIC in ns, time.monotonic_ns(), the same in all namespaces.
"""

import collections
import contextlib
import json
import math
import os
import time

from lab import NAMESPACES
from long_lived import ROOT, Program

CROWD = os.path.join(ROOT, "build", "tests", "e2e", "crowd")
PORT = 80
MODES = ("healthy", "refuse", "hang", "reset", "slow", "close", "stall", "crash", "error")
FAR_MS = 80
FAR_TABLE = "80"

# rate: connections a second; start, stop: seconds of the run; patience: seconds; keep, abort and abandon: percentages
# of the connections that ask several times, that leave within an answer, and that leave before it.
Client = collections.namedtuple("Client", "source rate start stop patience keep abort abandon")

# Of one client since the last mark. backends: names of those that answered; first_bad: ns, 0: all was well.
Outcome = collections.namedtuple("Outcome", "requests slow skipped backends first_bad longest connections")
FAILURES = ("refused", "reset", "closed", "no_connect", "no_answer", "no_end", "error")


class CrowdProgram(Program):
    """One of the programs of `crowd` in a role's namespace."""

    def __init__(self, lab, role, *words):
        if not os.access(CROWD, os.X_OK):
            raise AssertionError(f"{CROWD} is not built: make {os.path.relpath(CROWD, ROOT)}")
        self.lab = lab
        self.name = f"{role}: crowd {words[0]}"
        self.start(role, [CROWD, *words])


class Server(CrowdProgram):
    """On all addresses of a backend, whose role is its X-Backend; with @others one process is several."""

    def __init__(self, lab, role, *, others=(), port=PORT):
        backends = [f"{each}={NAMESPACES}/{lab.namespace_name(each)}" for each in (role, *others)]
        super().__init__(lab, role, "server", *(word for each in backends for word in ("--name", each)),
                         "--port", str(port), "0.0.0.0", "::")
        self.role = role
        self.line()

    def set(self, mode, only=None):
        """From now on it is so, for all clients or those of the prefix @only. "loss" is not of these: see Loss.
        Returns its report."""
        return self.ask(f"{mode} {only}" if only else mode)

    def report(self):
        """{now_ns, mode, crashes, accepted, requests, answered, failed}"""
        return self.ask("report")


class Loss:
    """A part of all TCP packets of a role's port is lost while the block lasts, in each direction."""

    def __init__(self, lab, role, percent=5, port=PORT):
        self.lab, self.role = lab, role
        lost = f"numgen random mod 1000 < {percent * 10} counter drop"
        self.rules = f"""table inet loss {{
            chain in {{ type filter hook input priority -200; tcp dport {port} {lost}; }}
            chain out {{ type filter hook output priority -200; tcp sport {port} {lost}; }}
        }}"""

    def __enter__(self):
        self.lab.run(self.role, ["nft", "-f", "-"], input=self.rules)
        return self

    def __exit__(self, *_):
        self.lab.run(self.role, ["nft", "delete", "table", "inet", "loss"])


class Arrivals:
    """Counts what comes to a role for the VIPs, before anything else sees it."""

    def __init__(self, lab, role):
        self.lab, self.role = lab, role
        lab.run(role, ["nft", "-f", "-"], input=f"""table inet arrivals {{
            counter packets_in {{ }}
            chain in {{
                type filter hook prerouting priority -300;
                ip daddr {lab.vip4} counter name packets_in
                ip6 daddr {lab.vip6} counter name packets_in
            }}
        }}""")

    def packets(self):
        text = self.lab.run(self.role, ["nft", "-j", "list", "counter", "inet", "arrivals",
                                        "packets_in"]).stdout
        counter, = [entry["counter"] for entry in json.loads(text)["nftables"]
                    if "counter" in entry]
        return counter["packets"]


class LongWay(CrowdProgram):
    """Clients of the IPv4 prefix @source have a round trip that is longer by @ms, as the balancer sees it."""

    def __init__(self, lab, source, ms=FAR_MS):
        near, gateway = lab.link("client"), lab.address("lb")
        for words in (["link", "add", "far0", "type", "veth", "peer", "name", "far1"],
                      ["link", "set", "far0", "up"], ["link", "set", "far1", "up"],
                      ["neigh", "add", gateway, "lladdr", lab.mac("lb"), "dev", "far0"],
                      ["rule", "add", "from", source, "to", lab.vip4, "lookup", FAR_TABLE],
                      ["route", "add", "default", "via", gateway, "dev", "far0", "onlink",
                       "table", FAR_TABLE]):
            lab.run("client", ["ip", *words])
        # A checksum that is left to the device would never be filled in.
        lab.run("client", ["ethtool", "-K", "far0", "tx", "off", "tso", "off", "gso", "off"])
        super().__init__(lab, "client", "delay", "--from", "far1", "--to", "eth0", "--source",
                         near["address"], "--next-hop", lab.mac("lb"), "--ms", str(ms))
        self.line()


class Report:
    def __init__(self, answer):
        self.now = answer["now_ns"]
        self.began = answer["began_ns"]
        self.no_room = answer["no_room"]  # connections that the program had no room for
        names = answer["backends"]
        self.clients = {}  # {source: Outcome} of those that did anything
        for source, requests, slow, skipped, backends, first_bad, longest, counts in answer["clients"]:
            served = {name for bit, name in enumerate(names) if backends >> bit & 1}
            connections = {name: count for name, count in zip(answer["outcomes"], counts) if count}
            self.clients[source] = Outcome(requests, slow, skipped, served, first_bad, longest,
                                           connections)

    @property
    def bad(self):
        """{source: Outcome} of those that saw a failure or a slow answer."""
        return {source: outcome for source, outcome in self.clients.items() if outcome.first_bad}

    @property
    def failed(self):
        """The sources that saw a failure."""
        return {source for source, outcome in self.clients.items()
                if outcome.connections.keys() & set(FAILURES)}

    def total(self, sources=None):
        """Connections by how they went, of these clients or all, and their "requests", "slow" and "skipped"."""
        total = collections.Counter()
        for source in self.clients if sources is None else sources:
            outcome = self.clients.get(source)
            if outcome:
                total.update(outcome.connections)
                total.update(requests=outcome.requests, slow=outcome.slow, skipped=outcome.skipped)
        return total

    def served_by(self, *backends):
        """The sources that one of them answered."""
        return {source for source, outcome in self.clients.items() if outcome.backends & set(backends)}


class Crowd(CrowdProgram):
    """@slow: an answer that takes so many seconds is a slow one. @path "/": a fixed path, not one that asks for between
    @least and @most bytes. @seconds: no connection begins later."""

    def __init__(self, lab, clients, *, port=PORT, slow=0.4, least=200, most=20000, seconds=300,
                 seed=0, path=None):
        path_of_sources = os.path.join(lab.directory, f"crowd-{time.monotonic_ns()}")
        with open(path_of_sources, "w") as file:
            file.writelines(source_line(client) for client in clients)
        super().__init__(lab, "client", "clients", "--sources", path_of_sources, "--to", lab.vip4,
                         "--port", str(port), "--slow-ms", str(round(slow * 1000)), "--least",
                         str(least), "--most", str(most), "--seconds", str(round(seconds)),
                         "--seed", str(seed), *(["--path", path] if path else []))

    def report(self):
        return Report(self.ask("report"))

    def mark(self):
        """Forgets what was counted so far. Returns when, ns."""
        return self.ask("mark")["now_ns"]

    def stop(self):
        report = self.report()
        super().stop()
        return report


def source_line(client):
    return (f"{client.source} {max(1, round(client.rate * 1000))} {round(client.start * 1000)} "
            f"{round(client.stop * 1000)} {round(client.patience * 1000)} {client.keep} "
            f"{client.abort} {client.abandon}\n")


def population(random, sources, *, flows_per_second, start=0, stop=3600, spread=1.0, patience=(4.5, 6.5),
               keep=20, abort=3, abandon=0, impatient=0.0):
    """Clients whose rates are log-normal with the standard deviation @spread of the logarithm, and sum up to
    @flows_per_second; none has more than a fiftieth of it. @impatient: the part that waits a quarter as long."""
    weights = [math.exp(random.gauss(0, spread)) for _ in sources]
    scale = flows_per_second / sum(weights)
    clients = []
    for source, weight in zip(sources, weights):
        wait = random.uniform(*patience)
        if random.random() < impatient:
            wait /= 4
        clients.append(Client(source, min(weight * scale, flows_per_second / 50), start, stop,
                              wait, keep, abort, abandon))
    return clients


def serve(lab, apart=True):
    """A healthy server on every backend: {role: Server}. Not @apart: one process is all of them, so that a busy machine
    keeps no backend waiting but all."""
    if apart:
        return {role: Server(lab, role) for role in lab.backends}
    first, *others = lab.backends
    return dict.fromkeys(lab.backends, Server(lab, first, others=others))


@contextlib.contextmanager
def broken(server, mode, only=None):
    """The server is so while the block lasts. @mode: one of MODES, or "loss" of 5% of the packets."""
    if mode == "loss":
        with Loss(server.lab, server.role):
            yield
        return
    server.set(mode, only)
    try:
        yield
    finally:
        server.set("healthy")
