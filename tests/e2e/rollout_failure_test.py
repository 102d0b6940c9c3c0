#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A rollout while its daemon is killed, stopped or away, the kernel's side is lost, and people change things.

Written from the contract, sections 3 and 6. What the canary gets is judged at its own interface: a
packet counts by when it was sent.
"""

import copy
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side_by_side  # noqa: E402
from box import SEED, wait_for, why_not  # noqa: E402
from long_lived import NS, Tap  # noqa: E402
from rollout_lab import ENDED, SERVICE, RolloutLab, pause, steps  # noqa: E402

CLIENTS, FLOWS = 600, 200
LEASE = 3  # seconds
WITHIN = 0.1  # of the lease's end, decided by the kernel's clock
STAND = steps("25%", pause(600), "50%")  # a rollout that stands at its second step


@unittest.skipIf(why_not(), why_not())
class FailureTest(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(RolloutLab(f"{SEED}{self.id()}"))
        self.box = self.lab.box

    def begin(self, rollout=None, segments=(), **keys):
        """A rollout with traffic, which stands at its second step if it is not another one."""
        self.lab.lab.run("client", ["sysctl", "-qw", "net.ipv4.tcp_timestamps=2"])  # a Tap's clock
        self.rollout = {"steps": STAND, "bake": "1s", "settle": "500ms", "lease": f"{LEASE}s", **(rollout or {})}
        self.segments, self.keys = segments, keys
        sources = self.lab.sources(CLIENTS, CLIENTS // 3 if segments else 0)
        self.lab.start(self.rollout, self.lab.population(sources, FLOWS, keep=50), segments, **keys)
        if not rollout or "steps" not in rollout:
            self.lab.wait_for_step(2, "pause")
            time.sleep(0.5)

    def configuration(self):
        return copy.deepcopy(self.lab.configuration(self.rollout, self.segments, **self.keys))

    def status(self):
        return self.lab.status()[1]

    def kill_daemon(self, how=signal.SIGKILL):
        """Returns when, ns."""
        self.box.daemon_process.send_signal(how)
        self.box.daemon_process.wait()
        return time.monotonic_ns()

    def history(self):
        return self.box.json("rollout", "history", SERVICE)["events"]

    def steps_told(self, rollout):
        """Numbers of the steps that the history says have begun, of the rollout with that id."""
        return [event["step"] for event in self.history()
                if event.get("event") == "step" and event["id"] == rollout]

    def refused(self, *words, names=()):
        """Exit status 1, it says why, and nothing of the service has changed."""
        def memory():
            status = self.status()
            return [self.box.run("-j", "get").stdout, status["state"], status["id"], status["step"]["index"],
                    [rule["set_ppm"] for rule in status["rules"]]]

        before = memory()
        done = self.box.run(*words, check=False)
        self.assertEqual(done.returncode, 1, done)
        for name in names:
            self.assertIn(name, done.stderr)
        self.assertEqual(memory(), before)

    def packets_after(self, tap, moment_ns):
        """Sources that sent the canary anything later than that."""
        return {source: (seen.sent - moment_ns) / NS for source, seen in tap.seen().items()
                if seen.sent > moment_ns}


class Lease(FailureTest):
    def test_promise_8_when_the_daemon_is_killed_no_client_is_sent_to_the_canary_once_the_lease_has_ended(self):
        self.begin()
        tap = Tap(self.lab.lab, "b3")
        killed = self.kill_daemon()
        end = killed + int((LEASE + WITHIN) * NS)
        time.sleep(LEASE / 2)
        self.assertTrue(self.packets_after(tap, killed), "the lease ended too early")
        time.sleep(LEASE / 2 + WITHIN + 2)
        self.assertEqual(self.packets_after(tap, end), {})
        self.assertEqual(self.lab.in_canary(), set())
        reasons = self.box.reasons()
        self.assertGreater(reasons.get(("steer", "lease_expired"), 0), 0, reasons)
        self.lab.crowd.mark()
        time.sleep(1.5)
        report = self.lab.crowd.report()
        self.assertEqual((report.failed, report.served_by("b3")), (set(), set()))

    def test_when_the_daemon_returns_after_the_end_of_the_lease_it_says_so_and_the_latch_holds(self):
        self.begin()
        self.kill_daemon()
        time.sleep(LEASE + 0.5)
        self.box.daemon()
        self.lab.wait_for_state("lease_expired", seconds=10)
        exit_status, status = self.lab.status()
        self.assertEqual((exit_status, status["last_event"]["event"]), (3, "lease_expired"), status)
        self.assertEqual(status["rules"][0]["set_ppm"], 0)
        self.assertEqual(self.lab.in_canary(), set())
        value = self.configuration()
        value["services"][0]["cohorts"][0]["backends"][0]["weight"] = 50
        self.box.apply(value)
        self.assertEqual(self.lab.in_canary(), set())
        self.box.run("rollout", "retry", SERVICE)
        self.lab.wait_for_step(2, "pause")
        self.assertTrue(self.lab.in_canary())
        self.assertEqual(self.status()["id"], status["id"] + 1)

    def test_with_drain_live_flows_stay_when_the_lease_ends_and_no_new_one_goes_there(self):
        self.begin(affinity={"drain": "1h", "on_rollback": "drain"})
        source = sorted(self.lab.in_canary())[0]
        with self.lab.lab.connect(source, self.lab.lab.vip4) as live:
            self.assertEqual(live.get().backend, "b3")
            self.kill_daemon()
            time.sleep(LEASE + WITHIN + 0.5)
            self.assertEqual(live.get().backend, "b3")
            with self.lab.lab.connect(source, self.lab.lab.vip4) as new:
                self.assertIn(new.get().backend, ("b1", "b2"))
            self.assertEqual(live.get().backend, "b3")

    def test_with_cut_live_flows_go_too_when_the_lease_ends(self):
        self.begin()
        source = sorted(self.lab.in_canary())[0]
        with self.lab.lab.connect(source, self.lab.lab.vip4) as live:
            self.assertEqual(live.get().backend, "b3")
            self.kill_daemon()
            time.sleep(LEASE + WITHIN + 0.5)
            self.assertNotEqual(live.get().backend, "b3")

    def test_a_lease_is_renewed_for_as_long_as_the_daemon_lives(self):
        self.begin()
        deadline = time.monotonic() + 2.5 * LEASE
        while time.monotonic() < deadline:
            status = self.status()
            self.assertEqual(status["state"], "running")
            self.assertGreater(status["lease"]["remaining_seconds"], 0)
            self.assertLessEqual(status["lease"]["remaining_seconds"], LEASE)
        self.assertTrue(self.lab.in_canary())


class Return(FailureTest):
    def check_goes_on(self, before):
        status = self.lab.wait_for_step(2, "pause")
        self.assertEqual((status["id"], status["state"], status["step"]["since"]),
                         (before["id"], "running", before["step"]["since"]))
        self.assertEqual(status["rules"][0]["set_ppm"], 250000)
        self.assertEqual(self.steps_told(status["id"]), [1, 2])

    def test_killed_and_started_again_within_the_lease_it_goes_on_where_it_was(self):
        self.begin({"lease": "30s"})
        before, canaries = self.status(), self.lab.in_canary()
        for how in (signal.SIGKILL, signal.SIGTERM):
            self.kill_daemon(how)
            self.assertEqual(self.lab.in_canary(), canaries)
            self.box.daemon()
            time.sleep(1.5)
            self.check_goes_on(before)
        self.lab.canary.set("refuse")
        self.lab.wait_for_state("rolled_back")

    def test_a_rollout_whose_daemon_is_killed_again_and_again_takes_each_step_once(self):
        self.begin({"steps": steps("5%", "25%", "50%"), "lease": "30s"})
        rollout, deaths = self.status()["id"], 0
        deadline = time.monotonic() + 60
        while self.status()["state"] not in ENDED:
            self.assertLess(time.monotonic(), deadline, self.status())
            time.sleep(self.lab.random.uniform(0.1, 1.5))
            self.kill_daemon()
            deaths += 1
            self.box.daemon(wait=False)
            time.sleep(self.lab.random.uniform(0.5, 3))
        self.assertGreater(deaths, 2)
        self.assertEqual((self.status()["state"], self.status()["id"]), ("succeeded", rollout))
        self.assertEqual(self.steps_told(rollout), [1, 2, 3])
        self.assertEqual(self.status()["rules"][0]["set_ppm"], 500000)

    def reboot(self, seconds):
        """The kernel's side is gone for so long, and the daemon starts then."""
        self.kill_daemon(signal.SIGTERM)
        self.box.forget_pins()
        time.sleep(seconds)
        self.box.daemon()

    def test_a_boot_that_is_shorter_than_the_lease_finds_the_rollout_running(self):
        self.begin({"lease": "30s"})
        before = self.status()
        self.reboot(0.5)
        time.sleep(1)
        self.check_goes_on(before)
        self.assertTrue(self.lab.in_canary())

    def test_after_a_boot_that_was_longer_than_the_lease_it_has_expired(self):
        self.begin()
        self.reboot(LEASE + 0.5)
        self.lab.wait_for_state("lease_expired", seconds=10)
        self.assertEqual(self.lab.in_canary(), set())
        self.reboot(0)
        self.assertEqual(self.status()["state"], "lease_expired")
        self.assertEqual(self.lab.in_canary(), set())

    def test_without_a_daemon_a_rollout_does_not_start(self):
        self.begin()
        self.box.run("rollout", "abort", SERVICE)
        self.kill_daemon(signal.SIGTERM)
        for verb in ("start", "retry"):
            self.refused("rollout", verb, SERVICE, names=["daemon"])


class Apply(FailureTest):
    """Section 6, rule 6."""

    def changed(self, change):
        value = self.configuration()
        change(value["services"][0])
        return self.box.write(value, "changed.yaml")

    def test_while_it_runs_only_backends_weights_and_checks_change(self):
        self.begin({"steps": [{"segment": "partners", "weight": "25%"}, *STAND]}, ["partners"])
        self.lab.wait_for_step(3, "pause")
        for change in (lambda shop: shop.update(release="v3"), lambda shop: shop.update(holdout="1%"),
                       lambda shop: shop["vips"].append("10.80.0.10:8080/tcp"),
                       lambda shop: shop.update(affinity={"drain": "2h"}),
                       lambda shop: shop["rollout"].update(bake="2s"),
                       lambda shop: shop["rules"][-1].update(allocate={"canary": "1%"})):
            self.refused("apply", "-f", self.changed(change), names=[SERVICE, "rollout"])
        value = self.configuration()
        value["segments"][0]["cidrs"] = ["10.50.0.0/24"]
        self.refused("apply", "-f", self.box.write(value, "changed.yaml"), names=["partners"])
        before = self.status()["id"]
        self.box.run("apply", "-f", self.changed(
            lambda shop: shop["cohorts"][0]["backends"][0].update(weight=50)))
        self.box.run("apply", "-f", self.changed(
            lambda shop: shop.update(health_check={"type": "tcp", "interval": "1s"})))
        value = self.configuration()
        value["services"].append({**value["services"][0], "name": "other", "vips": ["10.80.0.10:8080/tcp"]})
        self.box.apply(value)
        self.assertEqual((self.status()["id"], self.status()["state"]), (before, "running"))

    def test_restart_rollout_aborts_it_and_starts_at_its_first_step(self):
        self.begin()
        before = self.status()["id"]
        self.box.run("apply", "-f", self.changed(lambda shop: shop["rollout"].update(bake="2s")),
                     "--restart-rollout")
        status = self.lab.wait_for_step(1)
        self.assertEqual(status["id"], before + 1)
        self.lab.wait_for_step(2, "pause")

    def test_a_share_is_refused_while_it_runs_unless_it_is_overridden(self):
        self.begin()
        self.refused("rollout", "set", SERVICE, "40%", names=["rollout"])
        self.box.run("rollout", "set", SERVICE, "40%", "--override")
        status = self.status()
        self.assertEqual((status["state"], status["rules"][0]["set_ppm"]), ("paused", 400000))
        self.lab.canary.set("refuse")
        self.lab.wait_for_state("rolled_back")


class Latches(FailureTest):
    """Section 6, rules 4, 5 and 8."""

    def check_at_control(self):
        self.assertEqual(self.lab.in_canary(), set())
        exit_status, status = self.lab.status()
        self.assertEqual((exit_status, status["rules"][0]["set_ppm"]), (3, 0))

    def check_latched(self):
        self.check_at_control()
        self.refused("rollout", "set", SERVICE, "10%", names=["rollout reset"])
        value = self.configuration()
        value["services"][0]["cohorts"][0]["backends"][0]["weight"] = 40 + self.lab.random.randrange(40)
        self.box.apply(value)
        self.check_at_control()
        self.kill_daemon()
        self.box.forget_pins()
        self.box.daemon()
        self.check_at_control()

    def test_aborted_it_stays_at_control_over_apply_and_boot_pins_too_until_it_is_retried(self):
        self.begin()
        pinned = sorted(set(self.lab.sources_of_crowd) - self.lab.in_canary())[0]
        self.box.run("client", "pin", SERVICE, pinned, "canary")
        canaries = self.lab.in_canary()
        self.assertIn(pinned, canaries)
        tap = Tap(self.lab.lab, "b3")
        self.box.run("rollout", "abort", SERVICE, "--reason", "test")
        aborted = time.monotonic_ns()
        time.sleep(1)
        self.assertEqual(self.packets_after(tap, aborted), {})
        self.assertEqual(self.status()["state"], "aborted")
        self.check_latched()
        self.box.run("rollout", "retry", SERVICE)
        self.lab.wait_for_step(2, "pause")
        self.assertEqual(self.lab.in_canary(), canaries)

    def test_killed_it_is_so_at_once_and_a_reset_lifts_it(self):
        self.begin()
        self.box.run("kill", SERVICE)
        self.lab.wait_for_state("killed", seconds=5)
        self.check_latched()
        self.box.run("rollout", "reset", SERVICE)
        self.assertEqual(self.lab.in_canary(), set())  # the file says 0%
        self.box.run("rollout", "set", SERVICE, "10%")
        self.assertTrue(self.lab.in_canary())

    def test_rolled_back_it_is_latched_and_a_new_release_lifts_it(self):
        self.begin()
        self.lab.canary.set("refuse")
        self.lab.wait_for_state("rolled_back")
        self.lab.canary.set("healthy")
        self.check_latched()
        value = self.configuration()
        value["services"][0].update(release="v3")
        self.box.apply(value)
        self.box.run("rollout", "set", SERVICE, "10%")
        self.assertTrue(self.lab.in_canary())

    def test_succeeded_it_keeps_its_share_without_a_lease_or_a_daemon(self):
        self.begin({"steps": steps("5%", "25%")})
        self.lab.wait_for_state("succeeded")
        canaries = self.lab.in_canary()
        self.assertTrue(canaries)
        self.kill_daemon()
        time.sleep(LEASE + 0.5)
        self.assertEqual(self.lab.in_canary(), canaries)
        self.assertEqual(self.lab.status()[0], 0)


class Verbs(FailureTest):
    def test_a_paused_rollout_holds_goes_on_where_it_was_and_stays_armed(self):
        self.begin({"steps": steps("5%", "25%", "50%"), "bake": "3s"})
        self.lab.wait_for_step(2)
        self.box.run("rollout", "pause", SERVICE)
        status = self.status()
        time.sleep(5)
        self.assertEqual((self.status()["state"], self.status()["step"]["index"]), ("paused", 2), status)
        self.box.run("rollout", "resume", SERVICE)
        self.lab.wait_for_step(3)
        self.box.run("rollout", "pause", SERVICE)
        self.lab.canary.set("refuse")
        self.lab.wait_for_state("rolled_back")

    def test_status_tells_the_actual_share_of_clients_as_of_flows(self):
        self.begin()

        def share():
            return self.status()["rules"][0]["actual_clients_ppm"]

        wait_for(share, 20, "no actual share of clients")
        time.sleep(4)  # until most clients were seen: four standard deviations of them
        self.assertAlmostEqual(share(), 250000, delta=70000)
        self.box.run("rollout", "abort", SERVICE)
        self.assertIsNone(share())

    def test_an_approve_gate_is_passed_by_approve_alone_and_does_not_disarm(self):
        self.begin({"steps": steps("5%", {"approve": {"message": "looks good?"}}, "25%", {"approve": {}}, "50%")})
        self.lab.wait_for_step(2, "approve")
        self.assertEqual(self.status()["state"], "waiting")
        self.refused("rollout", "promote", SERVICE)
        time.sleep(1.5)
        self.assertEqual(self.status()["step"]["index"], 2)
        self.box.run("rollout", "approve", SERVICE)
        self.lab.wait_for_step(4, "approve")
        self.lab.canary.set("refuse")
        self.lab.wait_for_state("rolled_back")

    def test_who_was_touched_and_what_was_seen_can_be_exported_and_replayed(self):
        self.begin()
        canaries = self.lab.in_canary()
        self.lab.canary.set("refuse")
        self.lab.wait_for_state("rolled_back")
        self.lab.canary.set("healthy")
        directory = os.path.join(self.lab.lab.directory, "export")
        self.box.run("rollout", "export", SERVICE, "-o", directory)
        with open(os.path.join(directory, "clients.csv")) as file:
            head, *rows = file.read().splitlines()
        self.assertTrue(head.startswith("client,cohort,metric,"), head)
        failing = {row.split(",")[0] for row in rows if ",canary,connect_failure," in row}
        self.assertTrue(failing, rows)
        self.assertLessEqual(failing, canaries)
        replay = self.box.run("-j", "guard", "replay", os.path.join(directory, "counts.csv"), check=False)
        self.assertEqual(replay.returncode, 3, replay)
        verdicts = {entry["metric"]: entry["verdict"] for entry in json.loads(replay.stdout)}
        self.assertEqual(verdicts["connect_failure"], "ROLLBACK")

    def test_the_watch_shows_each_step_and_ends_with_the_rollout(self):
        self.begin({"steps": steps("5%", "25%")})
        watch = self.box.run("rollout", "status", SERVICE, "--watch", "--timeout", "60s", timeout=70)
        self.assertEqual(watch.returncode, 0)
        for text in ("succeeded", "5", "25"):
            self.assertIn(text, watch.stdout)


if __name__ == "__main__":
    side_by_side.main()
