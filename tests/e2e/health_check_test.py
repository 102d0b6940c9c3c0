#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Health checks with real servers: who is moved when one fails, who is not, and what is said of it.

A backend has two nginx, one at the VIP's port and one, PROBED, that the checks ask. Where only that
one stops the backend still serves, so a flow that breaks was moved, and by nobody but the checks.
b1, b2 and b3 are the control, b4 and b5 the canary. Needs root.
"""

import collections
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import Box, BoxTest, config, service, vip, wait_for  # noqa: E402
from lab import Lab  # noqa: E402

PROBED = 8080
STABLE, CANARY = ("b1", "b2", "b3"), ("b4", "b5")
CONNECTIONS = 60
MANY = 4000
CHECK = {"type": "http", "port": PROBED, "path": "/", "interval": "200ms", "timeout": "2s", "rise": 2, "fall": 2}


class CheckedTest(BoxTest):
    def start(self, *, daemon=True, probed=STABLE + CANARY, **keys):
        self.lab = self.enterContext(Lab(backends=len(STABLE + CANARY)))
        self.servers = {role: self.lab.start_nginx(role) for role in self.lab.backends}
        self.probed = {role: self.lab.start_nginx(role, port=PROBED) for role in probed}
        self.role_of = {self.lab.address(role): role for role in self.lab.backends}
        self.box = Box(self.lab)
        self.box.start(self.policy(**keys))
        if daemon:
            self.box.daemon()

    def policy(self, stable=STABLE, canary=CANARY, **keys):
        """Health checks are switched off by health_check=None."""
        keys = {"health_check": CHECK, "share": "40%", **keys}
        if keys["health_check"] is None:
            del keys["health_check"]
        backends = {cohort: [self.lab.address(role) for role in roles]
                    for cohort, roles in (("stable", stable), ("canary", canary))}
        return config(service("shop", [vip(self.lab.vip4)], **backends, **keys))

    # ---- what happens to servers ----

    def fail(self, *roles):
        for role in roles:
            self.lab.stop(self.probed.pop(role))

    def recover(self, *roles):
        for role in roles:
            self.probed[role] = self.lab.start_nginx(role, port=PROBED)

    # ---- what is said of them ----

    def listed(self):
        """{role: its entry of `backend list`}"""
        return {self.role_of[entry["backend"]]: entry for entry in self.box.json("backend", "list")["backends"]}

    def down(self):
        return {role for role, entry in self.listed().items() if entry["health"] == "down"}

    def wait_until_down(self, *roles, seconds=15):
        wait_for(lambda: self.down() == set(roles), seconds, lambda: f"{self.down()}: {self.box.daemon_log()}")

    def epoch(self):
        return self.box.explain("shop", [self.lab.clients(1)[0]])[0]["epoch"]

    def decided(self, count=300):
        """[(cohort, reason, role)] of new flows, as the loaded program decides."""
        return [(answer["cohort"], answer["reason"], self.role_of[answer["backend"]])
                for answer in self.box.explain("shop", self.lab.clients(count))]

    def serving(self):
        return {role for _, _, role in self.decided()}

    def findings(self, *ids):
        findings = json.loads(self.box.run("-j", "doctor", check=False).stdout)["findings"]
        return {(entry["id"], entry["severity"], entry["object"]) for entry in findings if entry["id"] in ids}

    # ---- flows ----

    def connect(self, count=CONNECTIONS):
        """[(role, connection)]: each has had an answer, by which its backend is known."""
        connections = [self.lab.connect(source, self.lab.vip4) for source in self.lab.clients(count)]
        for connection in connections:
            self.addCleanup(connection.close)
        return [(connection.get().backend, connection) for connection in connections]

    def ask_again(self, connections):
        """{role: [who answered the next request on it, None: nobody]}"""
        answers = collections.defaultdict(list)
        for role, connection in connections:
            answers[role].append(connection.get().backend)
        return answers

    def check_stays(self, answers, *roles):
        for role in roles:
            self.assertTrue(answers[role])
            self.assertEqual({role}, set(answers[role]), role)


class Moving(CheckedTest):
    def test_a_dead_backends_flows_are_moved_at_once_nobody_elses(self):
        """Promise 6, and that health is no epoch."""
        self.start()
        epoch, connections = self.epoch(), self.connect()
        self.assertEqual(set(STABLE + CANARY), {role for role, _ in connections})
        self.fail("b1")
        self.wait_until_down("b1")
        answers = self.ask_again(connections)
        self.check_stays(answers, "b2", "b3", "b4", "b5")
        self.assertEqual({None}, set(answers["b1"]))  # others do not know those connections
        self.assertEqual(set(STABLE + CANARY) - {"b1"}, self.serving())
        moved = self.connect()
        self.assertNotIn("b1", {role for role, _ in moved})
        self.recover("b1")
        self.wait_until_down()
        others = [(role, connection) for role, connection in connections if role != "b1"]
        self.check_stays(self.ask_again(others), "b2", "b3", "b4", "b5")
        self.check_stays(self.ask_again(moved), "b2", "b3", "b4", "b5")  # none moves when it comes back
        self.assertEqual(set(STABLE + CANARY), self.serving())
        self.assertEqual(epoch, self.epoch())

    def test_a_backend_that_hangs_loses_its_flows_while_the_others_work(self):
        """The machine is gone, not only its server."""
        self.start(health_check={**CHECK, "timeout": "500ms"})
        connections = self.connect()
        self.lab.run("b2", ["ip", "link", "set", "eth0", "down"])
        self.wait_until_down("b2")
        answers = self.ask_again(connections)
        self.check_stays(answers, "b1", "b3", "b4", "b5")
        self.assertEqual({None}, set(answers["b2"]))
        results = self.lab.load(self.lab.clients(200), self.lab.vip4, concurrency=32)
        self.check_all_ok(results)

    def test_a_dead_canary_falls_back_to_control_and_says_so(self):
        self.start()
        epoch, before = self.epoch(), self.decided()
        self.fail("b4")
        self.wait_until_down("b4")
        self.assertEqual({"b5"}, {role for cohort, _, role in self.decided() if cohort == "canary"})
        self.fail("b5")
        self.wait_until_down("b4", "b5")
        after = self.decided()
        fallen = [now for was, now in zip(before, after) if was[0] == "canary"]
        self.assertEqual({("stable", "cohort_down")}, {(cohort, reason) for cohort, reason, _ in fallen})
        self.assertEqual([was for was in before if was[0] == "stable"],
                         [now for was, now in zip(before, after) if was[0] == "stable"])
        said = self.box.run("backend", "list")
        self.assertIn("services/shop/cohorts/canary: no backend passes its checks", said.stderr)
        self.assertIn("cohort_down", said.stderr)
        self.assertEqual(1, self.box.daemon_log().count("cohorts/canary: no backend passes its checks"))
        self.assertIn(("cohort_down", "error", "shop/canary"), self.findings("cohort_down"))
        self.assertEqual(0, self.cohort_state("canary", "serving"))
        self.assertEqual(2, self.cohort_state("canary", "down"))
        self.recover("b4", "b5")
        self.wait_until_down()
        self.assertEqual(before, self.decided())
        self.assertIn("cohorts/canary: serves again", self.box.daemon_log())
        self.assertEqual((set(), epoch), (self.findings("cohort_down"), self.epoch()))

    def cohort_state(self, cohort, state):
        return self.box.metrics()["cohort_backends", f'cohort="{cohort}"', 'service="shop"', f'state="{state}"']

    def test_a_dead_control_keeps_its_ring_and_alarms(self):
        """Better a chance than none: here the servers still serve."""
        self.start()
        epoch, before, connections = self.epoch(), self.decided(), self.connect()
        self.fail(*STABLE)
        self.wait_until_down(*STABLE)
        wait_for(lambda: self.decided() == before, 5, self.decided)
        results = self.lab.load(self.lab.clients(200), self.lab.vip4, concurrency=32)
        self.check_all_ok(results)
        self.assertEqual(set(STABLE + CANARY), {result.backend for result in results})
        # Those that failed before the last one did lost their flows to the rest; the last one lost none.
        self.check_stays(self.ask_again(connections), "b4", "b5")
        self.assertEqual({False}, {entry["serving"] for role, entry in self.listed().items() if role in STABLE})
        self.assertIn("no backend of the control passes its checks", self.box.run("backend", "list").stderr)
        self.assertIn("no backend of the control passes its checks", self.box.daemon_log())
        self.assertIn(("cohort_down", "error", "shop/stable"), self.findings("cohort_down"))
        self.assertEqual((0, 3), (self.cohort_state("stable", "serving"), self.cohort_state("stable", "down")))
        self.assertNotIn(("drop", "no_backend"), self.box.reasons())
        self.recover("b2")
        self.wait_until_down("b1", "b3")
        self.assertEqual({"b2", "b4", "b5"}, self.serving())
        self.assertEqual(epoch, self.epoch())

    def test_a_control_that_is_wished_down_is_no_backend_whatever_its_checks_say(self):
        self.start()
        for role in STABLE:
            self.box.run("backend", "set", "shop", self.lab.address(role), "down")
        self.box.run("rollout", "set", "shop", "0%")
        self.assertEqual({"no_backend"}, {answer["reason"] for answer in
                                          self.box.explain("shop", self.lab.clients(20))})

    def test_a_wish_and_the_checks_must_both_allow_it(self):
        self.start()
        b1 = self.lab.address("b1")
        self.fail("b1")
        self.wait_until_down("b1")
        for wish in ("draining", "down", "up"):
            self.box.run("backend", "set", "shop", b1, wish)
            self.assertEqual((wish, "down", False), tuple(self.listed()["b1"][key]
                                                          for key in ("wish", "health", "serving")))
            self.assertNotIn("b1", self.serving())
        self.box.run("backend", "set", "shop", b1, "down")
        self.recover("b1")
        self.wait_until_down()
        self.assertNotIn("b1", self.serving())
        self.box.run("backend", "set", "shop", b1, "up")
        self.assertIn("b1", self.serving())


class Damping(CheckedTest):
    QUICK = {**CHECK, "interval": "50ms", "rise": 1, "fall": 1}

    def flap(self, role, changes):
        """Ends as it began where @changes is even."""
        for change in range(changes):
            (self.recover if change % 2 else self.fail)(role)
            wait_for(lambda: self.listed()[role]["flapping"] or (role in self.down()) == (change % 2 == 0), 10,
                     self.box.daemon_log)

    def test_a_backend_that_changes_six_times_in_an_era_is_held_down_until_that_has_ended(self):
        self.start(health_check=self.QUICK, affinity={"drain": "6s"})
        self.flap("b1", 5)
        self.assertFalse(self.listed()["b1"]["flapping"])
        self.recover("b1")
        wait_for(lambda: self.listed()["b1"]["flapping"], 10, self.box.daemon_log)
        held = time.monotonic()
        self.assertNotIn("b1", self.serving())
        self.assertIn("flapping", self.box.run("backend", "list").stdout)
        self.assertIn(("flapping", "warning", f"shop/{self.lab.address('b1')}"), self.findings("flapping"))
        since = self.listed()["b1"]["since"]
        for _ in range(2):  # whatever its checks say meanwhile, nothing changes, and the era is not made longer
            self.fail("b1")
            self.recover("b1")
            time.sleep(.3)
            self.assertNotIn("b1", self.serving())
        self.assertEqual(since, self.listed()["b1"]["since"])
        wait_for(lambda: not self.listed()["b1"]["flapping"], 20, self.box.daemon_log)
        self.assertGreater(time.monotonic() - held, 4)
        wait_for(lambda: "b1" in self.serving(), 5, self.box.daemon_log)
        self.assertIn("is no longer held down", self.box.daemon_log())

    def test_a_backend_that_is_held_down_for_flapping_is_shown_down_whatever_its_checks_find(self):
        self.start(health_check=self.QUICK, affinity={"drain": "5s"})
        self.flap("b1", 6)  # its server answers again
        wait_for(lambda: self.listed()["b1"]["flapping"], 10, self.box.daemon_log)
        for _ in range(5):
            self.assertEqual(("down", False, True), tuple(self.listed()["b1"][key]
                                                          for key in ("health", "serving", "flapping")))
            time.sleep(.1)
        self.assertIn("flapping", self.box.run("backend", "list").stdout)
        wait_for(lambda: not self.listed()["b1"]["flapping"], 20, self.box.daemon_log)
        self.assertEqual("up", self.listed()["b1"]["health"])

    def test_who_flaps_is_held_down_by_the_next_daemon_too(self):
        self.start(health_check=self.QUICK)
        self.flap("b1", 6)
        wait_for(lambda: self.listed()["b1"]["flapping"], 10, self.box.daemon_log)
        self.box.stop_daemon()
        self.box.daemon()
        time.sleep(2.5)
        self.assertTrue(self.listed()["b1"]["flapping"])
        self.assertNotIn("b1", self.serving())


class Keeping(CheckedTest):
    def test_apply_keeps_what_checks_found(self):
        self.start()
        self.fail("b1", "b4")
        self.wait_until_down("b1", "b4")
        self.box.apply(self.policy(holdout="5%"))
        self.assertEqual({"b2", "b3", "b5"}, self.serving())
        self.box.apply(self.policy(stable=("b1", "b2")))
        self.assertEqual({"b2", "b5"}, self.serving())
        time.sleep(2)  # the daemon has seen it, too
        self.assertEqual({"b1", "b4"}, self.down())

    def test_what_was_found_of_a_backend_that_left_is_forgotten_without_a_daemon_too(self):
        self.start()
        self.fail("b1", "b4")
        self.wait_until_down("b1", "b4")
        self.box.stop_daemon()
        self.box.apply(self.policy(stable=("b2", "b3")))
        self.box.apply(self.policy())
        self.assertEqual({"b4"}, self.down())
        self.assertIn("b1", self.serving())

    def test_without_a_health_check_every_backend_counts_as_healthy(self):
        self.start()
        self.fail("b1")
        self.wait_until_down("b1")
        self.box.apply(self.policy(health_check=None))
        self.assertEqual((set(), set(STABLE + CANARY)), (self.down(), self.serving()))
        self.box.stop_daemon()
        self.box.apply(self.policy())
        self.assertEqual(set(), self.down())  # never checked since

    def test_while_no_daemon_runs_the_last_that_was_found_holds_and_doctor_says_so(self):
        self.start()
        self.fail("b1")
        self.wait_until_down("b1")
        self.assertEqual(set(), self.findings("checks"))
        self.box.stop_daemon()
        self.recover("b1")
        time.sleep(1)
        self.assertEqual({"b1"}, self.down())
        self.assertEqual({("checks", "warning", "shop")}, self.findings("checks"))
        self.fail("b1")
        self.box.forget_pins()  # a boot
        self.box.daemon()
        wait_for(self.box.is_attached, 5, self.box.daemon_log)
        self.assertNotIn("b1", self.serving())
        self.recover("b1")
        self.wait_until_down()

    def test_health_that_was_stored_and_not_shown_is_shown_by_the_next_daemon(self):
        """A writer died in between. sqlite3 stands in for it."""
        self.start(daemon=False, health_check={**CHECK, "interval": "1h"}, probed=())
        database = os.path.join(self.box.state, "state.db")
        self.lab.run("lb", ["sqlite3", database, "INSERT INTO checks VALUES "
                            f"('shop', '{self.lab.address('b1')}', 'down', 0, 1)"])
        self.assertIn("b1", self.serving())
        self.box.daemon()
        self.assertNotIn("b1", self.serving())

    def test_what_is_found_while_another_writes_is_written_afterwards(self):
        self.start()
        with self.box.locked():
            self.fail("b1")
            time.sleep(2)
            self.assertEqual(set(), self.down())
            self.assertTrue(self.box.serves_metrics())
        self.wait_until_down("b1", seconds=3)

    def test_a_metrics_port_that_is_taken_keeps_nobody_from_being_checked(self):
        self.start(daemon=False)
        blocker = self.lab.start_nginx("lb", port=9977)
        self.box.daemon(wait=False)
        self.fail("b1")
        self.wait_until_down("b1")
        self.lab.stop(blocker)


class Asking(CheckedTest):
    def test_the_type_port_status_and_body_decide(self):
        self.start(daemon=False, probed=())
        for role, answer in (("b1", {}), ("b2", {"status": 503}), ("b4", {"text_body": "starting"})):
            self.probed[role] = self.lab.start_nginx(role, port=PROBED, **answer)
        self.box.daemon()
        for check, down in (({}, {"b2", "b3", "b5"}), ({"expect_status": "200,503"}, {"b3", "b5"}),
                            ({"expect_body": "b1"}, {"b2", "b3", "b4", "b5"})):
            self.box.apply(self.policy(health_check={**CHECK, **check}))
            self.wait_until_down(*down)
        self.box.apply(self.policy(health_check={"type": "tcp", "interval": "200ms", "port": PROBED}))
        self.wait_until_down("b3", "b5")
        self.box.apply(self.policy(health_check={"type": "tcp", "interval": "200ms"}))  # at the VIP's port
        self.wait_until_down()

    def test_the_first_check_is_at_once_and_what_is_asked_anew_too(self):
        slow = {**CHECK, "interval": "1h", "fall": 1}
        self.start(probed=STABLE, health_check=slow)
        self.wait_until_down("b4", "b5", seconds=5)
        self.box.apply(self.policy(health_check={**slow, "port": 81}))
        self.wait_until_down(*STABLE, "b4", "b5", seconds=5)

    def test_failures_are_counted(self):
        self.start(probed=("b1", "b2", "b3", "b4"))
        self.wait_until_down("b5")

        def failures(role):
            return self.box.metrics()["check_failures_total", f'backend="{self.lab.address(role)}"',
                                      'service="shop"']
        wait_for(lambda: failures("b5") >= CHECK["fall"], 5)
        before = failures("b5")
        wait_for(lambda: failures("b5") > before, 5)
        self.assertEqual(0, failures("b1"))
        # However the daemon ends, the counter goes on where it was.
        for how in (signal.SIGKILL, signal.SIGTERM):
            before = failures("b5")
            self.box.daemon_process.send_signal(how)
            self.box.daemon_process.wait()
            self.box.daemon()
            self.assertGreaterEqual(failures("b5"), before)
            self.assertGreater(before, 0)
            wait_for(lambda: failures("b5") > before, 5)
        self.assertIn(f"{self.lab.address('b5')} of canary is down: ", self.box.daemon_log())

    def up(self, role):
        return self.box.metrics()["backend_up", f'backend="{self.lab.address(role)}"', 'cohort="stable"',
                                  'service="shop"']

    def test_backend_up_is_what_serves(self):
        self.start()
        self.fail("b1")
        self.wait_until_down("b1")
        self.assertEqual((0, 1), (self.up("b1"), self.up("b2")))
        self.fail("b2", "b3")
        self.wait_until_down("b1", "b2", "b3")
        self.assertEqual(0, self.up("b3"))  # though it keeps its clients


class Many(BoxTest):
    def test_thousands_are_checked_from_one_thread_and_change_in_few_writes(self):
        """A whole network of addresses, all of which are one server's."""
        lab = self.enterContext(Lab(backends=1))
        lab.run("b1", ["ip", "route", "add", "local", "10.60.0.0/16", "dev", "lo"])
        lab.run("lb", ["ip", "route", "add", "10.60.0.0/16", "via", lab.address("b1")])
        backends = [f"10.60.{number // 250}.{number % 250 + 1}" for number in range(MANY)]
        check = {"type": "http", "port": PROBED, "path": "/", "interval": "4s", "timeout": "3s", "rise": 1, "fall": 1}
        box = Box(lab)
        box.start(config(service("shop", [vip(lab.vip4)], backends[:-100], backends[-100:], health_check=check)))
        server = lab.start_nginx("b1", port=PROBED)
        daemon = box.daemon()

        def healthy():
            return sum(entry["health"] == "up" for entry in box.json("backend", "list")["backends"])

        def failed():
            return sum(value for key, value in box.metrics().items() if key[0] == "check_failures_total")

        time.sleep(5)
        self.assertEqual((MANY, 0), (healthy(), failed()))
        lab.stop(server)
        most = 0
        deadline = time.monotonic() + 60
        while healthy() and time.monotonic() < deadline:
            most = max(most, len(os.listdir(f"/proc/{daemon.pid}/fd")))
            self.assertTrue(box.serves_metrics())
        self.assertEqual(0, healthy(), box.daemon_log()[-2000:])
        self.assertLess(most, 4096 + 512)
        lab.start_nginx("b1", port=PROBED)
        wait_for(lambda: healthy() == MANY, 60, lambda: box.daemon_log()[-2000:])
        with open(f"/proc/{daemon.pid}/status") as status:
            self.assertIn("Threads:\t1\n", status.read())


if __name__ == "__main__":
    unittest.main()
