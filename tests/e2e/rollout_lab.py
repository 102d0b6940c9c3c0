#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Rollouts in a lab: a canary that breaks, or one that is harmless though it may not look so.

    with RolloutLab(seed, clients=2000) as lab:
        lab.start(steps("5%", "25%", "50%"))
        lab.wait_for_step(1)
        with broken(lab.canary, "hang"):
            print(lab.wait_for_end())

As a program it runs one of SCENARIOS and prints what came of it, as a line of JSON:

    rollout_lab.py [--clients N] [--flows N] [--alpha A] [--share P] [--seed N] SCENARIO
"""

import argparse
import collections
import csv
import ipaddress
import json
import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import SEED, Box, config, service, vip, wait_for  # noqa: E402
from crowd import Arrivals, Client, Crowd, LongWay, broken, population, serve  # noqa: E402
from lab import Lab, LabError  # noqa: E402

SERVICE = "shop"
CLIENTS, FLOWS = 2000, 300  # of a scenario; flows a second
PATIENCE = (4.5, 6.5)  # seconds that a client waits
AFFECTED_SLOW = 0.15  # seconds; an answer that takes longer is one that the client noticed
SEGMENT, SEGMENT_PREFIX = "partners", "10.50.64.0/18"
SEGMENT_PART = 0.4  # of the clients, in scenarios that have it
ENDED = ("succeeded", "rolled_back", "aborted", "killed", "lease_expired")
STEP_WAIT, END_WAIT = 60, 60


def steps(*values):
    """"5%" is a weight, ("partners", "5%") that of a segment; mappings are as they stand in the file."""
    def step(value):
        if isinstance(value, str):
            return {"weight": value}
        return {"segment": value[0], "weight": value[1]} if isinstance(value, tuple) else value

    return [step(value) for value in values]


def pause(seconds):
    return {"pause": {"duration": f"{seconds}s"}}


class RolloutLab:
    """Two stable servers and a canary, a box whose daemon runs, and a crowd. @apart: of crowd.serve()."""

    def __init__(self, seed=SEED, apart=True):
        self.apart = apart
        self.random = random.Random(seed)
        self.lab = Lab(backends=3)
        self.crowd = None  # the last one
        self.crowds = []

    def __enter__(self):
        self.lab.__enter__()
        try:
            self.servers = serve(self.lab, self.apart)
            self.canary = self.servers["b3"]
            self.box = Box(self.lab)
            self.arrivals = Arrivals(self.lab, "b3")
        except BaseException:
            self.lab.close()
            raise
        return self

    def __exit__(self, *error):
        self.lab.__exit__(*error)

    # ---- the box ----

    def service(self, rollout, segments=(), **keys):
        """The service with a rollout of short times. @segments: names, each a rule before the default one."""
        b1, b2, b3 = map(self.lab.address, self.lab.backends)
        value = service(SERVICE, [vip(self.lab.vip4)], [b1, b2], [b3], "0%",
                        unanswered_after="2s", idle_timeout="5s")
        value["rules"] = [{"segment": name} for name in segments] + value["rules"]
        value["rollout"] = {"bake": "3s", "settle": "1s", "max_duration": "1h", "lease": "30s",
                            **rollout}
        return {**value, **keys}

    def configuration(self, rollout, segments=(), **keys):
        value = config(self.service(rollout, segments, **keys))
        if segments:
            value["segments"] = [{"name": name, "cidrs": [SEGMENT_PREFIX]} for name in segments]
        return value

    def run(self, rollout, segments=(), *, environment=None, **keys):
        """Applies it, starts the daemon; the rollout is not started."""
        self.box.start(self.configuration(rollout, segments, **keys))
        self.box.daemon(environment=environment)

    def start(self, rollout, crowd, segments=(), *, slow=AFFECTED_SLOW, **options):
        """Begins with the crowd, of crowd.Client, on its way."""
        self.run(rollout, segments, **options)
        self.start_crowd(crowd, slow=slow)
        self.box.run("rollout", "start", SERVICE)

    def status(self):
        """(exit status, what `rollout status` says)"""
        done = self.box.run("-j", "rollout", "status", SERVICE, check=False)
        if done.returncode not in (0, 3):
            raise LabError(f"rollout status: {done.returncode}: {done.stdout}{done.stderr}")
        return done.returncode, json.loads(done.stdout)

    def wait_for(self, condition, seconds, problem):
        """The status for which @condition holds. LabError with the last one, if none does."""
        last = {}

        def holds():
            nonlocal last
            last = self.status()[1]
            return last if condition(last) else None

        return wait_for(holds, seconds, lambda: f"{problem}: {json.dumps(last)}\n"
                        f"{self.box.daemon_log()}")

    def wait_for_step(self, index, waiting_for=None, seconds=STEP_WAIT):
        """Until it stands at that step (from 1 on), and, if given, waits there for that."""
        return self.wait_for(lambda status: status["state"] not in ("idle",) and
                             status["step"]["index"] == index and
                             (not waiting_for or status["step"]["waiting_for"] == waiting_for),
                             seconds, f"step {index} was not reached")

    def wait_for_state(self, *states, seconds=END_WAIT):
        return self.wait_for(lambda status: status["state"] in states, seconds,
                             f"not {' or '.join(states)}")

    # ---- the crowd ----

    def sources(self, count, segment=0):
        """@count addresses, @segment of which are of the segment."""
        network = ipaddress.ip_network(SEGMENT_PREFIX)
        return (self.lab.clients(count - segment) +
                [str(network[number]) for number in range(1, segment + 1)])

    def start_crowd(self, clients, **options):
        self.sources_of_crowd = [client.source for client in clients]
        self.crowd = Crowd(self.lab, clients, seed=self.random.randrange(1 << 32), **options)
        self.crowds.append(self.crowd)

    def population(self, sources, flows, **options):
        return population(self.random, sources, flows_per_second=flows,
                          **{"patience": PATIENCE, **options})

    def in_canary(self):
        """The clients of the crowd that are steered to the canary now."""
        cohorts = self.box.cohorts(SERVICE, self.sources_of_crowd)
        return {source for source, cohort in cohorts.items() if cohort == "canary"}


# ---- scenarios of canaries that break ----

# breaks: one of crowd.MODES, or "loss"; share: at which it does. best: metrics of which one is to be what rolls it back
# (SIGNALS' table). only: it breaks for that prefix. hours: so many windows (sped up) it is well before.
Failure = collections.namedtuple("Failure", "breaks best share only hours", defaults=("5%", None, 0))
TIMES = {"establish_time", "respond_time", "last_byte_time"}
FAILURES = {
    "refuses": Failure("refuse", {"connect_failure"}),
    "hangs": Failure("hang", {"unanswered", "quit"}),
    "resets": Failure("reset", {"unanswered", "silent"}, share="25%"),
    "slower": Failure("slow", {"last_byte_time", "respond_time"}, share="25%"),
    "closes": Failure("close", {"unanswered"}),
    "stalls": Failure("stall", {"quit", "silent"}),
    "loses": Failure("loss", {"retransmission", "syn_repeated", *TIMES}, share="25%"),
    "crashes": Failure("crash", {"connect_failure"}, share="25%"),
    "breaks-for-a-segment": Failure("hang", {"unanswered", "quit"}, share="10%", only=SEGMENT_PREFIX),
    "breaks-an-hour-in": Failure("refuse", {"connect_failure"}, share="25%", hours=1),
}
HOUR_MS = 10000  # what stands for the hour of a window where it is sped up
CALM = 0.3  # seconds in which nothing more may come to the canary once packets under way have arrived


def rollout_of(failure, alpha):
    """Its steps have a long pause where it breaks."""
    guard = {"alpha": alpha}
    if failure.only:
        return {"steps": steps((SEGMENT, failure.share), failure.share, pause(600), "50%"),
                "guard": guard}
    before = [share for share in ("5%", "25%") if float(share[:-1]) <= float(failure.share[:-1])]
    return {"steps": steps(*before, pause(600), "50%"), "guard": guard}


def run_failure(name, seed, clients=CLIENTS, flows=FLOWS, alpha=0.01, share=None):
    """@share: at which it breaks, if it is not to be the scenario's own."""
    failure = FAILURES[name]
    failure = failure._replace(share=share or failure.share)
    with RolloutLab(seed) as lab:
        rollout = rollout_of(failure, alpha)
        segments = [SEGMENT] if failure.only else []
        hour = {"XDP_CANARY_WINDOW_MS": str(HOUR_MS)} if failure.hours else {}
        sources = lab.sources(clients, round(clients * SEGMENT_PART) if failure.only else 0)
        lab.start(rollout, lab.population(sources, flows), segments, environment=hour)
        at = lab.wait_for_step(len(rollout["steps"]) - 1, "pause")
        time.sleep(1.2 + failure.hours * HOUR_MS / 1000)  # settled, and healthy flows were seen
        in_canary = lab.in_canary()
        canaries = canaries_meant(failure, in_canary)
        before = lab.crowd.report()
        lab.crowd.mark()
        with broken(lab.canary, failure.breaks, failure.only):
            began = time.monotonic()
            lab.wait_for_state(*ENDED)
            took = time.monotonic() - began
            exit_status, status = lab.status()
            time.sleep(CALM)
            counted = lab.arrivals.packets()
            time.sleep(PATIENCE[1])
            more = lab.arrivals.packets() - counted
            report = lab.crowd.stop()
        return summary(lab, failure, status, {
            "scenario": name, "seed": seed, "clients": clients, "flows_per_second": flows,
            "alpha": alpha, "share": failure.share, "exit": exit_status, "seconds": round(took, 2),
            "canary_clients": len(canaries),
            "saw": len(set(report.bad) & canaries),
            "saw_outside": sorted(report.failed - in_canary),  # but for what a busy machine makes late
            "arrivals_after": more, "step": at["step"]["index"],
            "bad_before": len(before.bad), "connections": dict(report.total()),
        })


def canaries_meant(failure, canaries):
    network = ipaddress.ip_network(failure.only or "0.0.0.0/0")
    return {source for source in canaries if ipaddress.ip_address(source) in network}


def summary(lab, failure, status, values):
    event = status["last_event"] or {}
    return dict(values, state=status["state"], armed=status["armed"], verdict=status["verdict"],
                metric=event.get("metric"), log_e=event.get("log_e"),
                affected=event.get("clients_affected"), after_ppm=event.get("after_ppm"),
                reason=event.get("reason"), event=event.get("event"),
                windows=windows_of(lab) if failure and failure.hours else None,
                events={metric["metric"]: [metric[arm] and metric[arm]["events"] for arm in ("canary", "control")]
                        for metric in status["metrics"]})


def windows_of(lab):
    """The windows of which the rollout has counts."""
    directory = os.path.join(lab.lab.directory, "export")
    lab.box.run("rollout", "export", SERVICE, "-o", directory)
    with open(os.path.join(directory, "counts.csv"), newline="") as file:
        return sorted({int(row["window"]) for row in csv.DictReader(file)})


# ---- scenarios of canaries that are harmless ----

def start_healthy(lab, clients, flows, alpha):
    lab.start({"steps": steps("5%", "25%", "50%"), "guard": {"alpha": alpha}},
              lab.population(lab.sources(clients), flows))


def start_flash_crowd(lab, clients, flows, alpha):
    """Ten times the flows for four seconds, by clients that were never seen before and of whom many do not wait."""
    few = clients // 2
    sources = lab.sources(few + 4 * clients)
    lab.start({"steps": steps("5%", "25%", pause(8), "50%"), "guard": {"alpha": alpha}},
              lab.population(sources[:few], flows / 3))
    lab.wait_for_step(3, "pause")
    lab.start_crowd(lab.population(sources[few:], 9 * flows / 3, stop=4, spread=0.3, abandon=10, impatient=0.3),
                    slow=AFFECTED_SLOW)


def start_far_clients(lab, clients, flows, alpha):
    """A fifth of the clients is 80 ms further away. They are a segment that gets half of the canary first, so that the
    canary is slower than stable in all that is not compared within the segment; half of them come later on."""
    far = clients // 5
    LongWay(lab.lab, SEGMENT_PREFIX)
    sources = lab.sources(clients, far)
    near, early, late = (sources[:-far], sources[-far:-far // 2], sources[-far // 2:])
    crowd = (lab.population(near, flows * 0.8) + lab.population(early, flows * 0.1) +
             lab.population(late, flows * 0.1, start=10))
    lab.start({"steps": steps((SEGMENT, "50%"), "5%", "25%"), "guard": {"alpha": alpha}}, crowd,
              [SEGMENT], slow=1)


def start_unequal(lab, clients, flows, alpha):
    """One client of the first canaries has 30% of all flows and leaves every fifth without waiting for its answer; the
    others' rates differ by more than a hundred times."""
    sources = lab.sources(clients)
    lab.run({"steps": steps("5%", "25%", "50%"), "guard": {"alpha": alpha}})
    answers = lab.box.explain(SERVICE, sources)
    heavy = next(answer["client"] for answer in answers if (answer["enters_at_ppm"] or 1e6) <= 50000)
    others = lab.population([source for source in sources if source != heavy], flows * 0.7, spread=1.8)
    lab.start_crowd([Client(heavy, flows * 0.3, 0, 3600, PATIENCE[1], 0, 3, 20), *others],
                    slow=AFFECTED_SLOW)
    lab.box.run("rollout", "start", SERVICE)


HARMLESS = {"healthy": start_healthy, "flash-crowd": start_flash_crowd,
            "far-clients": start_far_clients, "unequal-traffic": start_unequal}


def run_harmless(name, seed, clients=CLIENTS, flows=FLOWS, alpha=0.01, share=None):
    """@share has no meaning here: they have all shares."""
    assert share is None
    with RolloutLab(seed, apart=False) as lab:
        HARMLESS[name](lab, clients, flows, alpha)
        lab.wait_for_state(*ENDED, seconds=END_WAIT + STEP_WAIT)
        exit_status, status = lab.status()
        reports = [crowd.stop() for crowd in lab.crowds]
        total = sum((report.total() for report in reports), collections.Counter())
        return summary(lab, None, status, {
            "scenario": name, "seed": seed, "clients": sum(len(report.clients) for report in reports),
            "flows_per_second": flows,
            "alpha": alpha, "exit": exit_status, "no_room": sum(report.no_room for report in reports),
            "greatest_log_e": max((metric["log_e"] for metric in status["metrics"]
                                   if metric["log_e"] is not None), default=None),
            "connections": dict(total)})


SCENARIOS = {**{name: run_failure for name in FAILURES}, **{name: run_harmless for name in HARMLESS}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--flows", type=float, default=FLOWS)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--share", help="at which a failure begins, say 5%%")
    parser.add_argument("--seed", type=int, default=SEED)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    result = SCENARIOS[options.scenario](options.scenario, options.seed, options.clients, options.flows,
                                         options.alpha, options.share)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
