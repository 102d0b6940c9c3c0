#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The laboratory of broken servers itself, before anything is concluded from it.

Each way to break, while a fixed quarter of the clients is steered to the server that breaks: the
clients see the failure that its name says, and nobody else sees any.
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side_by_side  # noqa: E402
from box import Box, BoxTest, config, service, vip, wait_for  # noqa: E402
from crowd import Arrivals, Crowd, LongWay, broken, population, serve  # noqa: E402
from lab import Lab  # noqa: E402

CLIENTS, FLOWS = 500, 400
PATIENCE = 0.6
HALF, PREFIX = "10.50.1.0/24", "10.50.1."  # of the clients, those from 255 to 510

# How connections end that a server breaks so; those that had begun before, or wanted to leave, aside.
SEEN = {
    "refuse": {"refused"}, "hang": {"no_answer"}, "reset": {"reset"}, "close": {"closed", "reset"},
    "stall": {"no_end"}, "error": {"error"}, "crash": {"refused"},
}
# A connection that is at rest or under way when its process is killed, or asks again when it is to hang.
ALSO = {"refuse": {"reset", "closed"}, "crash": {"reset", "closed"}}


class LabTest(BoxTest):
    """A box with a quarter of the clients in the canary, and a crowd."""

    def setUp(self):
        super().setUp()
        self.lab = self.enterContext(Lab(backends=3))
        self.servers = serve(self.lab)
        self.box = Box(self.lab)
        b1, b2, b3 = map(self.lab.address, self.lab.backends)
        self.box.start(config(service("shop", [vip(self.lab.vip4)], [b1, b2], [b3], "25%")))

    def crowd_of(self, clients=CLIENTS, flows=FLOWS, **options):
        self.clients = self.lab.clients(clients)
        cohorts = self.box.cohorts("shop", self.clients)
        self.canaries = {source for source in self.clients if cohorts[source] == "canary"}
        crowd = population(self.random, self.clients, flows_per_second=flows,
                           patience=(PATIENCE, PATIENCE), spread=0.3)
        return Crowd(self.lab, crowd, seed=self.random.randrange(1 << 32), **options)

    def check_slower(self, report, slow, part):
        """More than @part of those clients had slow answers, and ten times as many as of the others, some of whom a busy
        machine keeps waiting, too. Returns the longest times of the former, ns."""
        self.assertEqual(report.failed - slow, set())
        others = set(report.clients) - slow
        parts = [len(report.bad.keys() & sources) / len(sources) for sources in (slow, others)]
        self.assertGreater(parts[0], max(part, 10 * parts[1]))
        return [report.clients[source].longest for source in report.bad.keys() & slow]


class Broken(LabTest):
    def settled(self, crowd):
        """A report of a while in which nobody sees a failure."""
        def calm():
            crowd.mark()
            time.sleep(0.5)
            report = crowd.report()
            return None if report.bad else report
        return wait_for(calm, 15, "failures that did not end")

    def report_while(self, crowd, mode, seconds=1, only=None):
        with broken(self.servers["b3"], mode, only):
            crowd.mark()
            time.sleep(seconds + PATIENCE)
            return crowd.report()

    def check_seen(self, mode, report, canaries):
        """Those who should see it do, as what it is; nobody else sees anything."""
        self.assertEqual(set(report.bad) - canaries, set(), mode)
        of_them = report.total(canaries)
        asked = {source for source in canaries if source in report.clients}
        self.assertGreater(len(set(report.bad)), 0.5 * len(asked), (mode, of_them))
        allowed = SEEN[mode] | ALSO.get(mode, set()) | {"aborted", "requests", "slow", "skipped"}
        self.assertGreater(sum(of_them[name] for name in SEEN[mode]), 0.5 * len(asked), of_them)
        if mode != "crash":
            self.assertEqual({name for name in of_them if of_them[name]} - allowed - {"ok"}, set(),
                             mode)

    def test_each_way_to_break_is_seen_as_what_it_is_by_the_canarys_clients_alone(self):
        crowd = self.crowd_of()
        for mode in SEEN:
            self.settled(crowd)
            self.check_seen(mode, self.report_while(crowd, mode), self.canaries)
        report = self.settled(crowd)
        self.assertEqual(report.served_by("b3") - self.canaries, set())
        self.assertEqual(report.served_by("b1", "b2") & self.canaries, set())
        self.assertGreater(len(report.served_by("b3")), 0.15 * len(self.canaries))

    def test_a_server_that_breaks_for_one_prefix_is_well_for_all_others(self):
        crowd = self.crowd_of()
        meant = {source for source in self.canaries if source.startswith(PREFIX)}
        self.assertGreater(len(meant), 20)
        for mode in ("hang", "reset", "error"):
            self.settled(crowd)
            self.check_seen(mode, self.report_while(crowd, mode, only=HALF), meant)

    def test_slow_answers_come_half_a_second_later(self):
        crowd = self.crowd_of(slow=0.4)
        self.settled(crowd)
        report = self.report_while(crowd, "slow")
        self.assertGreater(min(self.check_slower(report, self.canaries, 0.4)), 0.5e9)

    def test_lost_packets_are_sent_again(self):
        crowd = self.crowd_of(slow=0.15)
        time.sleep(1)
        self.check_slower(self.report_while(crowd, "loss", seconds=2), self.canaries, 0.1)

    def test_a_process_that_crashes_comes_back_and_crashes_again(self):
        crowd = self.crowd_of(clients=100, flows=50)
        self.settled(crowd)
        server = self.servers["b3"]
        self.assertEqual(server.set("crash")["crashes"], 1)
        wait_for(lambda: server.report()["crashes"] == 2, 13)
        server.set("healthy")

    def test_arrivals_count_every_packet_and_none_of_others(self):
        crowd = self.crowd_of(clients=100, flows=50)
        arrivals = Arrivals(self.lab, "b3")
        wait_for(lambda: arrivals.packets() > 50)
        counted = self.box.backend_packets("shop")[self.lab.address("b3")]
        self.assertLessEqual(arrivals.packets(), counted + 200)
        self.box.run("rollout", "set", "shop", "0%", "--cut")
        before = wait_for(lambda: self.rests(arrivals))
        time.sleep(1)
        self.assertEqual(arrivals.packets(), before)
        crowd.stop()

    @staticmethod
    def rests(arrivals):
        before = arrivals.packets()
        time.sleep(0.1)
        return before if arrivals.packets() == before else None


class Clients(LabTest):
    def test_rates_and_manners_are_those_that_were_asked_for(self):
        clients = self.lab.clients(200)
        value = population(random.Random(1), clients, flows_per_second=400, keep=0, abort=25)
        value[0] = value[0]._replace(rate=170, keep=0, abort=0, abandon=50)
        crowd = Crowd(self.lab, value, seed=self.random.randrange(1 << 32))
        time.sleep(1)
        began = crowd.mark()
        time.sleep(4)
        report = crowd.stop()
        seconds = (report.now - began) / 1e9
        heavy = report.total([clients[0]])
        connections = heavy["ok"] + heavy["abandoned"] + heavy["skipped"]
        self.check_rate(connections, 170 * seconds)
        self.check_share(heavy["abandoned"], connections, 0.5)
        others = report.total(clients[1:])
        self.check_rate(others["ok"] + others["aborted"],
                        sum(client.rate for client in value[1:]) * seconds)
        self.assertEqual(report.bad, {})
        # Only answers that do not come in one piece with their head can be left in the middle.
        self.assertLess(others["aborted"], 0.30 * others["ok"])
        self.assertGreater(others["aborted"], 0.10 * others["ok"])

    def check_rate(self, events, expected):
        """Poisson's."""
        self.assertLess(abs(events - expected), 5 * expected ** 0.5 + 1, (events, expected))

    def test_the_long_way_is_as_long_as_it_says_and_only_for_its_clients(self):
        LongWay(self.lab, HALF, ms=80)
        crowd = self.crowd_of(flows=200, slow=0.15)
        time.sleep(3)
        report = crowd.stop()
        # Two round trips: that of the handshake and that of the request.
        far = {source for source in self.clients if source.startswith(PREFIX)}
        self.assertGreater(min(self.check_slower(report, far, 0.5)), 0.16e9)


if __name__ == "__main__":
    side_by_side.main()
