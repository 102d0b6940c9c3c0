#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Promise 8 with real processes: the daemon that renews a lease is killed, and the kernel decides.

Real clients keep opening connections from one namespace to real servers in others. From lease + 100 ms after the kill on
none that begins may reach the canary; by `cut` those that are open leave it, by `drain` they live on. What the daemon says
when it is back, and what becomes of a lease over a boot, is asked of the commands.
"""
import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import BoxTest, wait_for  # noqa: E402

LEASE = 3  # seconds
RENEWED = LEASE / 3  # at the latest so long before the kill
GRACE = 0.1
CLIENTS = 40
CANARY = "b3"


class Lease(BoxTest):
    def leased(self, manner, lease="%ds" % LEASE):
        """A box whose rollout is under way, with a daemon, and clients that its canary has."""
        lab = self.lab_with()
        box = self.shop(lab, share="50%", affinity={"drain": "1h", "on_rollback": manner},
                        rollout={"lease": lease, "steps": [{"weight": "50%"}]})
        box.daemon()
        box.run("rollout", "start", "shop")
        cohorts = box.cohorts("shop", lab.clients(CLIENTS))
        return lab, box, [client for client, cohort in cohorts.items() if cohort == "canary"]

    def kill_daemon(self, box):
        box.daemon_process.send_signal(signal.SIGKILL)
        box.daemon_process.wait()
        return time.monotonic()

    def return_of_daemon(self, box):
        box.daemon()
        wait_for(lambda: self.state(box) == "lease_expired", 10, lambda: self.state(box))

    def last_cuts(self, box):
        with contextlib.closing(sqlite3.connect(os.path.join(box.state, "state.db"))) as store:
            return json.loads(store.execute("SELECT text FROM notes WHERE key = 'cuts/shop'").fetchone()[0])["cuts"]

    def state(self, box):
        return json.loads(box.run("-j", "rollout", "status", "shop", check=False).stdout)["state"]

    def reasons(self, box, clients):
        return {(answer["cohort"], answer["reason"], answer["rule"]) for answer in box.explain("shop", clients)}

    def new_flows_until(self, lab, clients, end):
        """[(when it was begun, who answered; None: it was broken)]"""
        seen = []
        while time.monotonic() < end:
            for client in clients:
                began = time.monotonic()
                result = lab.load([client], lab.vip4)[0]
                self.assertTrue(result.ok or result.error == "ECONNRESET", result)
                seen.append((began, result.backend if result.ok else None))
        return seen

    def check_unbroken(self, seen):
        self.assertNotIn(None, {backend for _, backend in seen})

    def open_connections(self, lab, clients):
        connections = [self.enterContext(lab.connect(client, lab.vip4, timeout=2)) for client in clients]
        self.assertEqual({connection.get().backend for connection in connections}, {CANARY})
        return connections

    def check_no_client_is_sent_to_the_canary_after_the_lease(self, lab, clients, killed, broken=0):
        """@broken: so many at most that live in the moment of the end."""
        seen = self.new_flows_until(lab, clients, killed + LEASE + 2)
        cut = [began - killed for began, backend in seen if not backend]
        self.assertLessEqual(len(cut), broken, cut)
        self.assertTrue(all(LEASE - RENEWED - GRACE <= began < LEASE + GRACE for began in cut), cut)
        late = [(round(began - killed, 3), backend) for began, backend in seen
                if began >= killed + LEASE + GRACE and backend == CANARY]
        self.assertEqual(late, [])
        early = {backend for began, backend in seen if began < killed + LEASE - RENEWED - GRACE}
        self.assertEqual(early, {CANARY})
        self.assertGreater(sum(began >= killed + LEASE + GRACE for began, _ in seen), len(clients))

    def check_what_happened_is_said(self, box, clients):
        self.assertEqual(self.reasons(box, clients), {("stable", "lease_expired", None)})
        self.return_of_daemon(box)
        self.assertIn("the lease of cohort `canary` ended at", box.daemon_log())
        self.assertEqual(box.json("service", "show", "shop")["latch"], "lease_expired")
        self.assertEqual(self.reasons(box, clients), {("stable", "lease_expired", None)})
        self.assertEqual(box.run("rollout", "status", "shop", check=False).returncode, 3)

    def test_promise_8_cut(self):
        lab, box, clients = self.leased("cut")
        connections = self.open_connections(lab, clients)
        self.check_unbroken(self.new_flows_until(lab, clients, time.monotonic() + 2 * LEASE))
        self.assertEqual({connection.get().backend for connection in connections}, {CANARY})  # it was renewed
        killed = self.kill_daemon(box)
        self.check_no_client_is_sent_to_the_canary_after_the_lease(lab, clients, killed, broken=1)
        for connection in connections:
            self.assertNotEqual(connection.get().backend, CANARY)
        self.check_what_happened_is_said(box, clients)
        self.assertNotIn(CANARY, {result.backend for result in lab.load(clients, lab.vip4)})
        # Only an operator lifts it.
        box.run("rollout", "reset", "shop")
        self.assertEqual({result.backend for result in lab.load(clients, lab.vip4)}, {CANARY})
        # Nor do flows of before come back then, by the ids of their connections: all rules are cut, not pins alone.
        self.assertEqual(self.last_cuts(box), [{"cohort": "canary"}])

    def test_promise_8_drain(self):
        lab, box, clients = self.leased("drain")
        connections = self.open_connections(lab, clients)
        self.check_unbroken(self.new_flows_until(lab, clients, time.monotonic() + 2 * LEASE))
        killed = self.kill_daemon(box)
        self.check_no_client_is_sent_to_the_canary_after_the_lease(lab, clients, killed)
        since = [self.enterContext(lab.connect(client, lab.vip4, timeout=2)) for client in clients]
        homes = [connection.get().backend for connection in since]
        self.assertNotIn(CANARY, homes)
        self.assertEqual({connection.get().backend for connection in connections}, {CANARY})
        self.check_what_happened_is_said(box, clients)
        self.assertEqual({connection.get().backend for connection in connections}, {CANARY})
        self.assertEqual([connection.get().backend for connection in since], homes)

    def test_a_daemon_that_is_back_in_time_renews(self):
        lab, box, clients = self.leased("cut")
        for _ in range(3):
            self.kill_daemon(box)
            time.sleep(RENEWED / 2)
            box.daemon()
            time.sleep(LEASE)
            self.assertEqual(self.state(box), "running")
        self.assertEqual({result.backend for result in lab.load(clients, lab.vip4)}, {CANARY})

    def test_a_command_that_comes_first_records_it(self):
        lab, box, clients = self.leased("cut")
        self.kill_daemon(box)
        time.sleep(LEASE + GRACE)
        self.assertEqual(box.json("service", "show", "shop")["latch"], "lease_expired")
        said = box.run("client", "pin", "shop", clients[0], "stable").stderr
        self.assertIn("the lease of cohort `canary` ended at", said)
        self.assertEqual(self.state(box), "lease_expired")
        audit = [entry["after"] for entry in box.json("audit", "shop")["entries"]]
        self.assertTrue([after for after in audit if after and after.get("latch") == "lease_expired"
                         and "lease_ended" in after], audit)
        box.run("client", "unpin", "shop", clients[0])
        self.assertEqual(self.reasons(box, clients), {("stable", "lease_expired", None)})

    def test_a_box_that_was_away_longer_than_the_lease_comes_back_latched(self):
        _, box, clients = self.leased("cut")
        box.run("detach")
        self.kill_daemon(box)
        box.forget_pins()
        time.sleep(LEASE + GRACE)
        self.return_of_daemon(box)
        self.assertEqual(self.reasons(box, clients), {("stable", "lease_expired", None)})

    def test_a_box_that_was_away_shorter_comes_back_running(self):
        _, box, clients = self.leased("cut", "1m")
        box.run("detach")
        self.kill_daemon(box)
        box.forget_pins()
        time.sleep(LEASE)
        box.daemon()
        wait_for(lambda: self.reasons(box, clients) == {("canary", "default", "default")}, 10)
        self.assertEqual(self.state(box), "running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
