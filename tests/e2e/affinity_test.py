#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Live flows while what decides changes: thousands of them, real servers, the real program.

Every flow sends numbered records all the time and checks what the server got of them (flows/), so a
byte that is lost, or a segment that reaches another backend, breaks it. No backend answers a
segment of a connection that it does not have but with a RST, and RSTs are counted too.
Each test has a lab of its own. $XDP_CANARY_CONNECTIONS (2000) and $XDP_CANARY_TOGGLES (10000) make
a run smaller.
"""

import collections
import itertools
import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import PROGRAM, SEED, Box, BoxTest, config, service, vip  # noqa: E402
from builds import another_build  # noqa: E402
from lab import Lab  # noqa: E402
from long_lived import (FLOWS, NS, OPEN, PORT, Flows, Tap, Toggler, prepare,  # noqa: E402
                        serve, stop_all, tcp_counters, timed)

CONNECTIONS = int(os.environ.get("XDP_CANARY_CONNECTIONS", 2000))
TOGGLES = int(os.environ.get("XDP_CANARY_TOGGLES", 10000))
UPGRADES = 40
NAMELESS = "?"  # the client's word for a backend that has not answered
OPENING = "connecting"
NEWCOMERS = 200
SLACK = 1.5  # seconds: within them after drain every flow has sent another record, and a jiffy
FLOOD = 300000  # SYNs
RATE = 50000  # of them in a second


def now():
    return time.monotonic_ns()


def sleep_until(when):
    time.sleep(max(0, when - now()) / NS)


class AffinityTest(BoxTest):
    """Backends are named by role. self.files: those of the file; self.resting: those of them that
    take no new flows by the operator's wish; self.share: the live one, in ppm."""

    def start(self, backends, *, stable, canary, share="0%", udp=False, flows=CONNECTIONS,
              interval=0.4, again=False, limits=None, **affinity):
        """A lab with @backends servers, a box with the service `shop` and long-lived flows."""
        self.lab = self.enterContext(Lab(backends=backends))
        self.addCleanup(stop_all, self.lab)
        prepare(self.lab)
        serve(self.lab, udp=udp)
        self.box = Box(self.lab)
        self.udp = udp
        self.affinity = affinity
        self.limits = limits
        self.base = share
        self.resting = set()
        self.ports = itertools.count(20000, 10)
        self.files = {"stable": stable.split(), "canary": canary.split()}
        self.share = ppm(share)
        self.box.start(self.policy())
        half = flows // 2
        self.sources = self.lab.clients(flows - half) + self.lab.clients(half, 6)
        self.enters = {source: answer["enters_at_ppm"] for source, answer in
                       zip(self.sources, self.box.explain("shop", self.sources))}
        self.flows = Flows(self.lab, self.sources, udp=udp, interval=interval, again=again,
                           silence=2 if udp else 20, seed=SEED)
        report = self.flows.wait_for_records(1)
        self.check_unbroken(report)
        self.check_cohorts(report)
        return report

    def policy(self, **keys):
        protocols = ("tcp", "udp") if self.udp else ("tcp",)
        vips = [vip(address, PORT, protocol) for protocol in protocols
                for address in (self.lab.vip4, self.lab.vip6)]
        stable, canary = ([self.lab.address(role) for role in self.files[cohort]]
                          for cohort in ("stable", "canary"))
        shop = service("shop", vips, stable, canary, self.base, client={"prefix6": 128},
                       affinity=self.affinity, **keys)
        return config(shop, **({"limits": self.limits} if self.limits else {}))

    # ---- what an operator does; each returns when it began, ns ----

    def run_command(self, *words):
        began = now()
        self.box.run(*words)
        return began

    def set_share(self, share):
        self.share = ppm(share)
        return self.run_command("rollout", "set", "shop", share)

    def set_backend(self, role, wish):
        self.resting -= {role}
        if wish != "up":
            self.resting |= {role}
        return self.run_command("backend", "set", "shop", self.lab.address(role), wish)

    def set_files(self, *, stable, canary, **keys):
        self.files = {"stable": stable.split(), "canary": canary.split()}
        began = now()
        self.box.apply(self.policy(**keys))
        return began

    # ---- who is where ----

    def in_canary(self, share):
        """The clients that a share of so many ppm takes."""
        return {source for source, enters in self.enters.items() if enters <= share}

    def serving(self, cohort):
        return set(self.files[cohort]) - self.resting

    def canaries(self):
        """Of the current decision: those clients whose new flows go to the canary."""
        return self.in_canary(self.share) if self.serving("canary") else set()

    def newcomers(self, count=NEWCOMERS, records=3):
        """The report of short flows, each ended in good order, from some of the clients."""
        sources = self.random.sample(self.sources, min(count, len(self.sources)))
        flows = Flows(self.lab, sources, udp=self.udp, records=records, interval=0.02,
                      first_port=next(self.ports), seed=SEED)
        return flows.result()

    # ---- checks ----

    def check_unbroken(self, report, *but):
        """No flow broke but those of the backends @but."""
        broken = {name: count["count"] for name, count in report.broken.items()}
        for name in but:
            broken.pop(name, None)
        unknown = [entry for entry in report.breakages if entry.backend not in but]
        if but and set(broken) == {NAMELESS} and {entry.state for entry in unknown} == {OPENING}:
            # No answer yet said whose they were. A handshake is short: few are caught in it.
            if len(unknown) <= 3 + sum(report.broken[name]["count"] for name in but
                                       if name in report.broken) // 10:
                broken = {}
        self.assertFalse(broken, f"of {len(report.flows)} flows; the first ones: {unknown[:3]}")

    def check_cohorts(self, report, doubtful=()):
        """Every flow is on a backend of the current decision's cohort that takes new flows."""
        canaries = self.canaries()
        self.check_unbroken(report, *doubtful)
        for flow in report.flows:
            if flow.state != "broken":
                cohort = "canary" if flow.source in canaries else "stable"
                self.assertIn(flow.backend, self.serving(cohort),
                              f"{cohort}, enters at {self.enters[flow.source]} ppm, "
                              f"share {self.share}: {flow}")

    def check_newcomers(self, doubtful=()):
        """New flows follow the current decision, and every backend gets some."""
        report = self.newcomers()
        self.check_cohorts(report, doubtful)
        self.assertEqual({flow.state for flow in report.flows} - {"broken"}, {"finished"})
        canaries = self.canaries()
        expected = collections.Counter("canary" if flow.source in canaries else "stable"
                                       for flow in report.flows)
        for cohort, count in expected.items():
            roles = self.serving(cohort) - set(doubtful)
            if count >= 20 * len(roles):  # none by chance: 1 in 10^8
                self.assertLessEqual(roles, set(report.backends.values()))

    def check_stayed(self, before, after, *but):
        """The flows of @before are the very same ones, but those that were on @but."""
        for flow in before.flows:
            if flow.backend in but:
                continue
            same = after.of[flow.source]
            self.assertEqual((same.backend, same.port, same.since),
                             (flow.backend, flow.port, flow.since))

    def check_good_end(self, flows, *but):
        """Each connection is ended in good order, with every byte accounted for."""
        report = flows.finish()
        self.check_unbroken(report, *but)
        self.assertEqual({flow.state for flow in report.flows} - ({"broken"} if but else set()),
                         {"finished"})
        return report

    def check_no_resets(self):
        """No segment came to a host that has not its connection: it answers with a RST. One that
        was sent again may come after the connection's end, in good order as that was."""
        counters = {role: tcp_counters(self.lab, role) for role in ["client"] + self.lab.backends}
        again = sum(counter["RetransSegs"] for counter in counters.values())
        resets = {role: counter["OutRsts"] for role, counter in counters.items()}
        self.assertLessEqual(sum(resets.values()), again, f"segments went astray: {resets}")

    def metric(self, name, **labels):
        """The sum of all series of the name that have these labels."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        values = [value for (series, *have), value in self.box.metrics().items()
                  if series == name and wanted <= set(have)]
        self.assertTrue(values, f"no {name} with {labels}")
        return sum(values)


def ppm(share):
    return round(float(share.rstrip("%")) * 10000)


# Before a step: 2 records of every flow, and newcomers who follow the step before.
CAMPAIGN = (
    ("set_share", "5%"),
    ("set_share", "25%"),
    ("set_files", {"stable": "b1 b2 b3 b6", "canary": "b4 b5 b7"}),
    ("set_share", "50%"),
    ("set_backend", "b1", "draining"),
    ("set_files", {"stable": "b1 b2 b6", "canary": "b4 b7"}),
    ("set_share", "25%"),
    ("set_backend", "b1", "up"),
    ("set_backend", "b7", "draining"),
    ("set_share", "0%"),
    ("set_files", {"stable": "b1 b2 b3", "canary": "b4 b5 b7"}),
)
# Those that the next round begins with.
BACK = (
    ("set_backend", "b7", "up"),
    ("set_files", {"stable": "b1 b2 b3", "canary": "b4 b5"}),
    ("set_share", "1%"),
)


class LongLived(AffinityTest):
    """2,000 connections, and everything changes."""

    KEYS = {"stable": "b1 b2 b3", "canary": "b4 b5", "share": "1%", "drain": "1h",
            "limits": {"transition_flows": 1 << 20}}

    def step(self, name, *arguments, doubtful=()):
        if isinstance(arguments[0], dict):
            getattr(self, name)(**arguments[0])
        else:
            getattr(self, name)(*arguments)
        self.check_newcomers(doubtful)

    def check_metrics(self):
        """One transition, in which flows were kept by their entry and by the origin, and nothing
        was evicted."""
        self.assertEqual(self.metric("in_transition", service="shop"), 1)
        self.assertEqual(self.metric("era_total", service="shop"), 1)
        self.assertEqual(self.metric("transition_evicted_total", service="shop"), 0)
        self.assertGreater(self.metric("transition_entries", service="shop"), 0)
        for path in ("current", "syn_recorded", "entry", "origin"):
            self.assertGreater(self.metric("path_total", service="shop", path=path), 0, path)

    def test_promise_6_no_connection_breaks_while_shares_and_backends_change(self):
        before = self.start(7, **self.KEYS)
        self.box.daemon()
        for step in CAMPAIGN:
            self.step(*step)
            self.check_unbroken(self.flows.wait_for_records(2))
        after = self.flows.report()
        self.check_unbroken(after)
        self.check_stayed(before, after)
        self.check_metrics()
        self.check_no_resets()
        self.check_counters_add_up(self.box)
        report = self.check_good_end(self.flows)
        print(f"{len(report.flows)} connections, {report.records} records, {len(CAMPAIGN)} changes:"
              f" none broken; {report.retransmitted} segments sent again")

    def test_promise_6_10000_toggles_of_a_backend_break_only_its_own_connections(self):
        toggled = "b2"
        before = self.start(7, again=True, **self.KEYS)
        self.box.daemon()
        churn = Flows(self.lab, self.random.sample(self.sources, 100), records=4, again=True,
                      interval=0.1, first_port=40000, seed=SEED)
        toggler = Toggler(self.box, "shop", self.lab.address(toggled), TOGGLES, PROGRAM)
        changes = 0
        for step in itertools.cycle(CAMPAIGN + BACK):
            self.step(*step, doubtful=[toggled])
            self.check_unbroken(self.flows.wait_for_records(1), toggled)
            changes += 1
            if not toggler.runs() and changes >= len(CAMPAIGN):
                break
        toggles = toggler.result()
        self.assertEqual((toggles["commands"], toggles["failed"]), (TOGGLES, 0))
        self.check_unbroken(self.flows.wait_for_records(1), toggled)  # the last that broke are back
        calm = self.flows.report()
        after = self.flows.wait_for_records(3)
        self.assertEqual(after.broken, calm.broken, "it is up and nothing changes")
        self.check_stayed(before, after, toggled)
        self.assertIn(toggled, after.broken, "it never was down")
        self.assertEqual({flow.state for flow in after.flows} - set(OPEN), set())
        churned = churn.report()
        self.check_unbroken(churned, toggled)
        self.assertGreater(churned.finished, 100)
        self.check_metrics()
        self.check_counters_add_up(self.box)
        for flows in (churn, self.flows):
            report = self.check_good_end(flows, toggled)
        print(f"{toggles['commands']} toggles in {toggles['seconds']:.1f} s (slowest "
              f"{1000 * toggles['slowest_seconds']:.0f} ms), {changes} other changes; "
              f"{report.records} records, {report.broken[toggled]['count']} connections of the "
              f"backend broken, {churned.finished} short ones ended well")

    def test_promise_6_upgrades_in_a_transition_break_no_connection(self):
        before = self.start(5, **self.KEYS)
        builds = [another_build(os.path.join(self.lab.directory, "tree")), PROGRAM]
        self.set_share("50%")
        tags = set()
        for number in range(UPGRADES):
            answer = json.loads(self.box.run("upgrade", "-j", program=builds[number % 2]).stdout)
            tags.update(interface["after"] for interface in answer["interfaces"])
            if number % 10 == 0:
                self.check_newcomers()
        self.assertEqual(len(tags), 2, "it was not two builds that took turns")
        after = self.flows.wait_for_records(2)
        self.check_unbroken(after)
        self.check_stayed(before, after)
        self.check_no_resets()
        self.check_good_end(self.flows)

    def test_promise_6_promotion_of_servers_moves_no_flow(self):
        """They go from canary to stable, once with another canary left, once as the release."""
        before = self.start(4, stable="b1 b2", canary="b3 b4", share="50%", drain="1h")
        self.set_files(stable="b1 b2 b3", canary="b4")
        self.check_unbroken(self.flows.wait_for_records(2))
        self.check_newcomers()
        self.set_share("100%")
        self.check_newcomers()
        self.base, self.share = "0%", 0
        self.set_files(stable="b3 b4", canary="", release="v3")
        self.check_unbroken(self.flows.wait_for_records(2))
        self.check_newcomers()
        self.check_stayed(before, self.flows.report())
        self.check_no_resets()
        self.check_good_end(self.flows)

    def test_promise_6_a_canary_that_is_down_falls_back_and_its_return_moves_no_flow(self):
        before = self.start(4, stable="b1 b2", canary="b3 b4", share="50%", drain="1h",
                            again=True)
        for role in ("b3", "b4"):
            self.set_backend(role, "down")
        down = self.flows.wait_for_records(2)
        self.check_unbroken(down, "b3", "b4")
        self.check_stayed(before, down, "b3", "b4")
        self.assertEqual(set(down.backends.values()), {"b1", "b2"})
        self.check_newcomers()
        for role in ("b3", "b4"):
            self.set_backend(role, "up")
        up = self.flows.wait_for_records(2)
        self.assertEqual(up.broken, down.broken)
        self.check_stayed(down, up)
        self.check_newcomers()


class Drain(AffinityTest):
    """After drain, flows follow the current decision, and not before."""

    DRAIN = 3

    def check_leaves_after_drain(self, what, change, leaving):
        """@leaving: those flows whose current decision @change makes another."""
        before = self.flows.report()
        self.assertTrue(leaving and len(leaving) < len(self.sources), what)
        began = change()
        self.check_newcomers()
        report = self.flows.report()
        if report.now < began + self.DRAIN * NS:  # else this machine is too slow to look
            self.assertEqual(report.broken, before.broken, what)
        sleep_until(now() + (self.DRAIN + SLACK) * NS)
        after = self.flows.wait_for_records(2)
        new = after.breakages[len(before.breakages):]
        self.assertEqual({entry.source for entry in new}, leaving, what)
        self.assertEqual(len(new), len(leaving), what)
        self.assertGreaterEqual(min(entry.when for entry in new), began + self.DRAIN * NS, what)
        for source, flow in after.of.items():
            self.assertEqual(flow.attempts, before.of[source].attempts + (source in leaving), what)
        now_on = self.canaries()
        for source in leaving:
            cohort = "canary" if source in now_on else "stable"
            self.assertIn(after.of[source].backend, self.serving(cohort), what)
        calm = self.flows.wait_for_records(2)
        self.assertEqual(calm.broken, after.broken, what)
        return calm

    def test_promise_6_flows_stay_for_drain_and_then_follow_the_current_decision(self):
        report = self.start(4, stable="b1 b2 b4", canary="b3", share="30%", again=True,
                            drain=f"{self.DRAIN}s")
        report = self.check_leaves_after_drain(
            "a lowered share", lambda: self.set_share("10%"),
            self.in_canary(300000) - self.in_canary(100000))
        report = self.check_leaves_after_drain(
            "a raised share", lambda: self.set_share("40%"),
            self.in_canary(400000) - self.in_canary(100000))
        report = self.check_leaves_after_drain(
            "draining", lambda: self.set_backend("b1", "draining"), report.on("b1"))
        self.resting -= {"b1"}
        report = self.check_leaves_after_drain(
            "removed", lambda: self.set_files(stable="b4", canary="b3"), report.on("b2"))
        self.check_counters_add_up(self.box)


class Cut(AffinityTest):
    """Promise 7: who is taken from the canary is so when the command has returned."""

    def watch(self, *roles):
        self.taps = [Tap(self.lab, role) for role in roles]

    def check_gone(self, returned, taken):
        """Nothing that clients sent after the command had returned came to the canary."""
        for tap in self.taps:
            seen = tap.seen()
            self.assertTrue(seen, "the tap sees nothing")
            late = [entry for source, entry in seen.items() if source in taken and
                    # What does not say when it was sent may have been under way.
                    (entry.sent > returned or entry.bare > returned + NS // 10)]
            self.assertFalse(late[:3], f"{len(late)} of {len(taken)} clients, returned {returned}")

    def check_cut(self, taken, canaries, *words):
        """Runs @words; @taken: the clients that they take from the canary's backends @canaries."""
        before = self.flows.report()
        live = before.on(*canaries) & taken
        self.assertTrue(live)
        packets = self.box.rule_counters("shop", "packets")["canary"]
        returned = timed(self.box, PROGRAM, *words)
        told = self.box.rule_counters("shop", "packets")["canary"]
        self.assertGreater(packets, 0)
        after = self.flows.wait_for_records(3)
        self.check_gone(returned, taken)
        if taken == set(self.sources):
            self.assertEqual(self.box.rule_counters("shop", "packets")["canary"], told)
        # Each of them broke once, and its next connection held; nobody else noticed.
        new = after.breakages[len(before.breakages):]
        self.assertEqual(sorted(entry.source for entry in new), sorted(live))
        self.assertLessEqual({entry.backend for entry in new}, set(canaries))
        self.assertEqual({after.of[source].backend for source in live} - self.serving("stable"),
                         set())
        kept = before.on(*canaries) - live
        self.assertEqual(after.on(*canaries), kept)
        for source, flow in after.of.items():
            if source not in live:
                self.assertEqual((flow.backend, flow.port),
                                 (before.of[source].backend, before.of[source].port))
        return after

    def test_promise_7_after_a_cut_no_packet_of_its_clients_goes_to_the_canary(self):
        self.start(5, stable="b1 b2 b3", canary="b4 b5", share="50%", drain="1h",
                   again=True)
        self.watch("b4", "b5")
        self.flows.wait_for_records(2)
        # From calm, to a share that leaves some in the canary.
        self.share = ppm("30%")
        self.check_cut(self.in_canary(500000) - self.in_canary(300000), ["b4", "b5"],
                       "rollout", "set", "shop", "30%", "--cut")
        self.check_newcomers()
        # Lowered gently, so that flows linger; the cut takes them too.
        lingering = self.flows.report()
        self.set_share("20%")
        self.check_newcomers()
        self.assertEqual(self.flows.wait_for_records(2).broken, lingering.broken)
        self.share = ppm("5%")
        self.check_cut(self.in_canary(500000) - self.in_canary(50000), ["b4", "b5"],
                       "rollout", "set", "shop", "5%", "--cut")
        self.check_newcomers()
        # Raised again, newcomers are in the canary; then all of them out of it.
        self.set_share("40%")
        self.flows.wait_for_records(2)
        self.check_newcomers()
        self.share = 0
        self.check_cut(set(self.sources), ["b4", "b5"], "rollout", "set", "shop", "0%", "--cut")
        self.check_newcomers()
        calm = self.flows.report()
        self.assertEqual(self.flows.wait_for_records(2).broken, calm.broken)
        self.check_counters_add_up(self.box)

    def test_promise_7_after_a_kill_in_a_transition_no_packet_goes_to_the_canary(self):
        self.start(5, stable="b1 b2 b3", canary="b4 b5", share="40%", drain="1h", again=True)
        self.watch("b4", "b5")
        pinned = sorted(self.sources, key=self.enters.get)[-3:]
        for source in pinned:
            self.box.run("client", "pin", "shop", source, "canary")
        newcomers = Flows(self.lab, pinned, again=True, first_port=15000)
        self.assertLessEqual(set(newcomers.wait_for_records(2).backends.values()), {"b4", "b5"})
        self.set_share("10%")  # the rest of the 40% linger
        before = self.flows.wait_for_records(2)
        self.check_unbroken(before)
        self.share = 0
        self.check_cut(set(self.sources), ["b4", "b5"], "kill", "shop")
        self.check_newcomers()
        self.assertLessEqual(set(newcomers.wait_for_records(2).backends.values()),
                             {"b1", "b2", "b3"})
        # Lifted: the file's share holds for new flows, and nobody is moved.
        killed = self.flows.report()
        self.box.run("rollout", "reset", "shop")
        self.share = ppm("40%")
        for source in pinned:
            self.enters[source] = 0
        self.check_newcomers()
        lifted = self.flows.wait_for_records(2)
        self.assertEqual(lifted.broken, killed.broken)
        self.check_stayed(killed, lifted)
        self.check_counters_add_up(self.box)


class Datagrams(AffinityTest):
    """UDP: no start of a flow can be seen, so for udp_drain all flows are the origin's; after it
    they follow the current decision, though the service's TCP flows stay for much longer. A later
    change in the same era does not send them back to what was decided before it began."""

    DRAIN = 3

    def start(self, *backends, **keys):
        report = super().start(*backends, udp=True, flows=min(CONNECTIONS, 1000), drain="1h",
                               udp_drain=f"{self.DRAIN}s", **keys)
        self.wait_for_drain()
        self.origin = self.canaries(), {name: self.serving(name) for name in self.files}
        return report

    def wait_for_drain(self):
        sleep_until(now() + (self.DRAIN + SLACK) * NS)

    def check_moved(self, before, moved, what, began):
        """Since @before these flows have moved, once, none earlier than @began, and no datagram
        was lost. Returns the report."""
        after = self.flows.wait_for_records(2)
        self.check_unbroken(after)
        self.assertEqual([flow for flow in after.flows if flow.lost][:3], [], what)
        moves = {source: flow.moves - before.of[source].moves for source, flow in after.of.items()}
        self.assertEqual({source for source, count in moves.items() if count}, moved, what)
        self.assertLessEqual(set(moves.values()), {0, 1}, what)
        if moved:
            self.assertGreaterEqual(min(after.of[source].moved for source in moved), began, what)
        return after

    def check_follows_after_drain(self, what, change, leaving):
        before = self.flows.report()
        self.assertTrue(leaving and len(leaving) < len(self.sources), what)
        canaries, serving = self.origin
        began = change()
        newcomers = self.newcomers()
        if newcomers.now < began + self.DRAIN * NS:  # else this machine is too slow to look
            self.check_unbroken(newcomers)
            for flow in newcomers.flows:  # an unknown flow belongs to the era's origin
                cohort = "canary" if flow.source in canaries else "stable"
                self.assertIn(flow.backend, serving[cohort], what)
        self.wait_for_drain()
        after = self.check_moved(before, leaving, what, began + self.DRAIN * NS)
        self.check_cohorts(after)
        self.check_newcomers()
        return after

    def check_move_at_once(self, what, change, leaving):
        """@change returns when it was done."""
        before = self.flows.report()
        self.assertTrue(leaving and len(leaving) < len(self.sources), what)
        done = change()
        return done, self.check_moved(before, leaving, what, 0)

    def test_promise_6_udp_flows_stay_for_udp_drain_and_then_follow_the_current_decision(self):
        self.start(4, stable="b1 b2 b4", canary="b3", share="10%")
        self.check_follows_after_drain("a raised share", lambda: self.set_share("50%"),
                                       self.in_canary(500000) - self.in_canary(100000))
        report = self.check_follows_after_drain(
            "a lowered share", lambda: self.set_share("25%"),
            self.in_canary(500000) - self.in_canary(250000))
        report = self.check_follows_after_drain(
            "draining", lambda: self.set_backend("b1", "draining"), report.on("b1"))
        _, report = self.check_move_at_once("down", lambda: self.set_backend("b2", "down"),
                                            report.on("b2"))
        self.assertEqual(set(report.backends.values()), {"b3", "b4"})
        self.check_counters_add_up(self.box)

    def test_promise_6_udp_flows_of_a_removed_backend_stay_for_udp_drain(self):
        report = self.start(3, stable="b1 b2", canary="b3", share="20%")
        self.check_follows_after_drain(
            "removed", lambda: self.set_files(stable="b1", canary="b3"), report.on("b2"))

    def test_promise_7_cut_and_kill_move_udp_flows_at_once(self):
        self.start(4, stable="b1 b2", canary="b3 b4", share="50%")
        taps = [Tap(self.lab, role) for role in ("b3", "b4")]
        for share, words in (("20%", ("rollout", "set", "shop", "20%", "--cut")),
                             ("0%", ("kill", "shop"))):
            if share == "0%":
                self.set_share("10%")  # the others are to stay for udp_drain: kill takes them too
            taken = self.flows.wait_for_records(2).on("b3", "b4") - self.in_canary(ppm(share))
            self.share = ppm(share)
            returned, _ = self.check_move_at_once(
                words[0], lambda: timed(self.box, PROGRAM, *words), taken)
            self.check_newcomers()
            for tap in taps:
                late = [entry for entry in tap.seen().values() if entry.sent > returned and
                        entry.source not in self.in_canary(self.share)]
                self.assertFalse(late[:3], f"{words}: {len(late)} clients, returned {returned}")
        self.check_counters_add_up(self.box)


class Flood(AffinityTest):
    def test_promise_10_spoofed_syns_in_a_transition_break_no_connection(self):
        """More of them than the whole table has room for, many times over."""
        before = self.start(3, stable="b1 b2", canary="b3", share="10%", drain="1h",
                            limits={"transition_flows": 65536})
        self.set_share("90%")
        # Those of clients between the shares hang on what their SYN wrote.
        recorded = Flows(self.lab, self.sources, interval=0.4, first_port=15000, seed=SEED)
        first = recorded.wait_for_records(2)
        self.check_cohorts(first)
        syns = sum(self.box.flows("shop").values())
        answer = self.lab.run("client", [
            FLOWS, "flood", "--interface", "eth0", "--mac", self.lab.mac("lb"), "--from-mac",
            self.lab.mac("client"), "--port", PORT, "--count", FLOOD, "--rate", RATE, "--seed",
            SEED, self.lab.vip4]).stdout
        arrived = sum(self.box.flows("shop").values()) - syns
        self.assertGreater(arrived, FLOOD / 2)
        for flows, report in ((self.flows, before), (recorded, first)):
            after = flows.wait_for_records(2)
            self.check_unbroken(after)
            self.check_stayed(report, after)
        self.check_no_resets()
        for flows in (self.flows, recorded):
            self.check_good_end(flows)
        print(f"{json.loads(answer)}, {arrived} counted: none of {2 * len(self.sources)} broken")


if __name__ == "__main__":
    unittest.main()
