#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""apply: what it changes, what it keeps, what it refuses; and writers that meet, wait, or die.

Needs root; what stops a writer at a chosen place needs gdb.
"""

import copy
import os
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_box import BoxTest, PROGRAM, config, service, wait_for  # noqa: E402


def with_share(share, **keys):
    return service(rules=[{"default": True, "allocate": {"canary": share}}], **keys)


class ApplyTest(BoxTest):
    def refuses(self, value, *texts):
        self.refused(["apply", "-f", self.box.write(value, "refused.yaml")], *texts)


class Changes(ApplyTest):
    def test_the_first_apply_loads_and_publishes(self):
        document = self.applied()
        self.assertEqual(
            {"cmd": "apply", "changed": True, "revision": 1, "dry_run": False, "warnings": [],
             "restarted": [], "segments": [], "groupings": [],
             "services": [{"service": "api", "action": "added", "epoch": 1, "kept_live": []}]},
            document)
        self.assertEqual(("kernel", 1), (self.box.explain()["source"], self.box.epoch()))
        self.assertEqual(0o750, os.stat(self.box.state).st_mode & 0o777)

    def test_no_change_is_no_revision_and_no_epoch(self):
        self.applied()
        before = self.box.memory()
        document = self.applied()
        self.assertEqual((False, 1, "unchanged"), (document["changed"], document["revision"],
                                                   document["services"][0]["action"]))
        self.assertEqual(before, self.box.memory())

    def test_no_change_restores_what_the_kernel_lost(self):
        self.applied()
        self.box("attach")
        shutil.rmtree(self.box.pins, ignore_errors=True)
        wait_for(lambda: not self.box.attached())
        self.assertFalse(self.applied()["changed"])
        self.assertEqual((["v0"], 1), (self.box.attached(), self.box.epoch()))

    def test_only_the_service_that_changed_gets_an_epoch(self):
        self.applied(service("api"), service("web", 11))
        document = self.applied(service("api"), service("web", 11, holdout="1%"))
        self.assertEqual([("api", "unchanged", 1), ("web", "changed", 2)],
                         [(entry["service"], entry["action"], entry["epoch"])
                          for entry in document["services"]])
        self.assertEqual((1, 2), (self.box.epoch("api"), self.box.epoch("web")))
        self.assertEqual(["", "api", "web", "web"],
                         [entry["service"] for entry in self.box("-j", "audit").json["entries"]])

    def test_check_and_dry_run_change_nothing(self):
        self.applied()
        path = self.box.write(config(with_share("6%")))
        same = self.box.write(config(), "same.yaml")
        before = self.box.memory()
        document = self.succeeds(self.box("-j", "apply", "-f", path, "--dry-run")).json
        self.assertEqual((True, True, 1, "changed"), (document["changed"], document["dry_run"],
                         document["revision"], document["services"][0]["action"]))
        self.assertIn("would be changed", self.box("apply", "-f", path, "--dry-run").out)
        self.succeeds(self.box("apply", "-f", path, "--check"), status=4)
        self.succeeds(self.box("apply", "-f", same, "--check"))
        self.assertEqual(before, self.box.memory())

    def test_a_dry_run_on_an_empty_box_makes_nothing(self):
        path = self.box.write(config())
        self.succeeds(self.box("apply", "-f", path, "--dry-run"))
        self.assertFalse(os.path.exists(self.box.state) or os.path.exists(self.box.pins))

    def test_if_revision_fails_unless_it_is_that_one(self):
        self.applied()
        path = self.box.write(config(with_share("6%")))
        self.refused(["apply", "-f", path, "--if-revision", "2"], "is 1, not 2")
        self.refused(["apply", "-f", path, "--if-revision", "x"], "--if-revision", status=2)
        self.succeeds(self.box("apply", "-f", path, "--if-revision", "1"))

    def test_promise_12_bad_input_changes_nothing(self):
        self.applied()
        unknown = service()
        unknown["cohorts"][0]["backends"][0]["wieght"] = 1
        for value, text in ((config(unknown), "wieght"),
                            (config(service(), service("web")), "192.0.2.10:443/tcp"),
                            (config(with_share("101%")), "101%"),
                            ("version: 1\nversion: 1\n", "version"), ("", "refused.yaml")):
            with self.subTest(text):
                self.refuses(value, text)
        self.refused(["apply", "-f", self.box.directory + "/none.yaml"], "none.yaml")

    def test_all_errors_are_reported_at_once(self):
        value = config(with_share("101%"), interfaces=["nope0"], secrets="x")
        errors = self.box.apply(value).json["errors"]
        self.assertEqual(2, len(errors))
        self.assertFalse(os.path.exists(self.box.state))

    def test_an_interface_that_is_not_there_is_refused(self):
        self.applied()
        self.refuses(config(with_share("6%"), interfaces=["v0", "nope0"]), "interfaces/nope0")

    def test_what_cannot_be_attached_leaves_everything_as_it_was(self):
        self.applied()
        self.box("attach")
        self.box.ip("link", "add", "bridge0", "type", "bridge")
        self.refuses(config(with_share("6%"), interfaces=["v0", "v2", "bridge0"]), "bridge0")

    def test_removing_needs_prune(self):
        self.applied(service("api"), service("web", 11), interfaces=["v0", "v2"])
        self.refuses(config(service("web", 11)), "services/api", "interfaces/v2", "--prune")

    def test_prune_removes_live_data_and_keeps_history_and_audit(self):
        self.applied(service("api"), service("web", 11), interfaces=["v0", "v2"])
        self.box("attach")
        self.box("rollout", "set", "api", "7%")
        self.box("client", "pin", "api", "198.51.100.7", "canary")
        self.box("kill", "api")
        path = self.box.write(config(service("web", 11)))
        document = self.succeeds(self.box("-j", "apply", "-f", path, "--prune")).json
        self.assertEqual([("web", "unchanged"), ("api", "removed")],
                         [(entry["service"], entry["action"]) for entry in document["services"]])
        self.assertIsNone(document["services"][1]["epoch"])
        self.assertEqual(["v0"], self.box.attached())
        self.fails(self.box("kill", "api"), 1, "`api`", "web")
        self.assertEqual(2, len(self.box("-j", "history").json["revisions"]))
        audit = self.box("-j", "audit", "api").json["entries"]
        self.assertEqual(5, len(audit))
        self.assertEqual({"service": None}, audit[-1]["after"])
        self.applied(service("web", 11), service("api"))
        self.assertEqual((50000, 50000, False), self.box.shares()["default"]["canary"])
        self.assertEqual("default", self.box.explain()["reason"])
        self.assertEqual([], self.box("-j", "client", "pins").json["pins"])

    def test_a_new_service_in_the_place_of_a_killed_one_is_not_killed(self):
        self.applied()
        self.box("kill", "api")
        path = self.box.write(config(service("web", 11)))
        self.succeeds(self.box("apply", "-f", path, "--prune"))
        self.assertEqual("default", self.box.explain(name="web")["reason"])
        self.applied(service("web", 11), service("next", 12))
        self.assertEqual("default", self.box.explain(name="next")["reason"])

    def test_a_change_of_limits_is_stored_and_warned_of(self):
        self.applied()
        document = self.applied(limits={"services": 32, "vips": 64, "backends": 256})
        self.assertEqual(["limits/services"], [entry["object"] for entry in document["warnings"]])
        self.assertEqual(32, self.box("-j", "get").json["config"]["limits"]["services"])
        self.assertEqual([], self.applied(with_share("6%"), limits={
            "services": 32, "vips": 64, "backends": 256})["warnings"])

    def test_a_next_hop_that_is_not_known_is_a_warning(self):
        value = service()
        value["cohorts"][1]["backends"] = [{"address": "203.0.113.1"}]
        document = self.applied(value)
        self.assertEqual(["services/api/backends/203.0.113.1"],
                         [entry["object"] for entry in document["warnings"]])
        answer = self.box("apply", "-f", self.box.write(config(value)))
        self.assertIn("warning: services/api/backends/203.0.113.1", answer.err)


class Live(ApplyTest):
    """What operators set, and what an apply makes of it."""

    def test_a_live_share_stays_while_the_base_does(self):
        self.applied()
        self.box("rollout", "set", "api", "7%")
        epoch = self.box.epoch()
        document = self.applied()
        self.assertEqual([{"rule": "default", "cohort": "canary", "base_ppm": 50000,
                           "live_ppm": 70000}], document["services"][0]["kept_live"])
        self.assertEqual(epoch, self.box.epoch())
        value = service()
        value["cohorts"][0]["backends"].pop()
        self.assertEqual(1, len(self.applied(value)["services"][0]["kept_live"]))
        self.assertEqual(70000, self.box.share())
        answer = self.box("apply", "-f", self.box.write(config(value)))
        self.assertIn("keeps its live share, 7%", answer.out)

    def test_a_changed_base_wins_and_the_audit_tells(self):
        self.applied()
        self.box("rollout", "set", "api", "7%")
        document = self.applied(with_share("6%"))
        self.assertEqual([], document["services"][0]["kept_live"])
        self.assertEqual((60000, 60000, False), self.box.shares()["default"]["canary"])
        entry = self.box("-j", "audit", "api").json["entries"][-1]
        self.assertEqual((70000, None), (entry["before"]["live/default/canary"],
                                         entry["after"]["live/default/canary"]))

    def test_reset_shares_drops_those_of_all_services(self):
        self.applied(service("api"), service("web", 11))
        for name in ("api", "web"):
            self.box("rollout", "set", name, "7%")
        document = self.succeeds(self.box.apply(config(service("api"), service("web", 11)),
                                                "--reset-shares")).json
        self.assertEqual((True, 1), (document["changed"], document["revision"]))
        self.assertEqual((50000, 50000), (self.box.share("api"), self.box.share("web")))

    def test_a_new_release_drops_live_shares_and_latch(self):
        self.applied()
        self.box("rollout", "set", "api", "7%")
        self.box("kill", "api")
        document = self.applied(service(release="v2"))
        self.assertEqual([], document["services"][0]["kept_live"])
        self.assertIsNone(self.box("-j", "service", "show", "api").json["latch"])
        self.assertEqual((50000, 50000, False), self.box.shares()["default"]["canary"])
        self.assertEqual("default", self.box.explain()["reason"])

    def test_nothing_but_a_new_release_lifts_a_latch(self):
        self.applied()
        self.box("kill", "api")
        self.applied(with_share("100%"))
        self.assertEqual("killed", self.box.explain()["reason"])

    def test_a_share_of_a_cohort_that_is_gone_is_dropped(self):
        value = service()
        value["cohorts"].append({"name": "second", "backends": [
            {"address": "10.0.10.9", "mac": "02:00:00:00:00:09", "interface": "v0"}]})
        value["cohorts"][1]["slot"] = value["cohorts"][2]["slot"] = "50%"
        self.applied(value)
        self.box("rollout", "set", "api", "9%", "--cohort", "second")
        self.box("client", "pin", "api", "198.51.100.7", "second")
        value = copy.deepcopy(value)
        value["cohorts"].pop()
        document = self.applied(value)
        self.assertEqual([], document["services"][0]["kept_live"])
        self.assertIn("198.51.100.7", document["warnings"][0]["message"])
        self.assertEqual([], self.box("-j", "client", "pins").json["pins"])
        entry = self.box("-j", "audit", "api").json["entries"][-1]
        self.assertEqual((90000, "second"), (entry["before"]["live/default/second"],
                                             entry["before"]["pin/198.51.100.7"]))

    def test_a_canary_with_a_live_share_keeps_a_backend(self):
        self.applied(with_share("0%"))
        self.box("rollout", "set", "api", "7%")
        value = with_share("0%")
        value["cohorts"][1]["backends"] = []
        self.refuses(config(value), "no backends", "7%")
        self.box("rollout", "set", "api", "0%")
        self.applied(value)

    def test_a_live_share_above_its_new_slot_is_refused(self):
        self.applied()
        self.box("rollout", "set", "api", "100%")
        value = service()
        value["cohorts"][1]["slot"] = "40%"
        self.refuses(config(value), "100%", "slot, 40%")
        self.succeeds(self.box.apply(config(value), "--reset-shares"))
        self.assertEqual(50000, self.box.share())

    def test_a_new_salt_is_refused_while_a_share_is_under_way(self):
        self.applied()
        for value in (service(salt="other"), service(release="v2")):
            self.refuses(config(value), "salt", "5%", "--reshuffle")
        self.succeeds(self.box.apply(config(service(salt="other")), "--reshuffle"))
        self.refuses(config(service(salt="other", release="v2")), "release", "5%", "--reshuffle")

    def test_a_new_salt_is_taken_at_nothing_and_at_everything(self):
        self.applied()
        self.box("rollout", "set", "api", "0%")
        self.applied(service(salt="second"))
        self.box("rollout", "set", "api", "100%")
        self.applied(service(salt="third"))

    def test_a_moved_slot_is_refused_while_a_share_is_under_way(self):
        self.applied()
        narrow = service()
        narrow["cohorts"][1]["slot"] = "40%"
        second = service()
        second["cohorts"].append({"name": "second"})
        for value in (narrow, second):
            self.refuses(config(value), "slot of cohort `canary`", "--reshuffle")
        self.succeeds(self.box.apply(config(second), "--reshuffle"))

    def test_a_changed_client_key_is_taken(self):
        self.applied()
        self.applied(service(client={"key": "flow", "prefix4": 24}))


class Writers(BoxTest):
    """One lock; a writer that dies is finished or withdrawn by the next; kill needs none of it."""

    def stopped_writer(self):
        """An apply that holds the lock: it waits for a next hop, and is stopped."""
        value = service()
        value["cohorts"][1]["backends"] = [{"address": "10.0.99.99"}]
        process = self.box.start("apply", "-f", self.box.write(config(value), "slow.yaml"))
        lock = os.path.join(self.box.state, "lock")
        wait_for(lambda: os.path.exists(lock) and os.path.getsize(lock))
        with open(lock, encoding="utf-8") as stream:
            pid = int(stream.read().split()[0])
        wait_for(lambda: self.box("-j", "history").json["revisions"][0]["revision"] == 2)
        os.kill(pid, signal.SIGSTOP)
        return process, pid

    def test_who_waits_in_vain_is_told_pid_and_command(self):
        self.applied()
        process, pid = self.stopped_writer()
        answer = self.box("rollout", "set", "api", "7%", "--wait", "100ms")
        self.fails(answer, 1, f"pid {pid}", "apply -f", "100ms")
        self.assertEqual(2, self.box("-j", "get").json["revision"])
        os.kill(pid, signal.SIGCONT)
        waiting = self.box("rollout", "set", "api", "7%")
        self.succeeds(waiting)
        self.assertEqual(0, process.wait())

    def test_kill_does_not_wait_for_the_lock(self):
        self.applied()
        _, pid = self.stopped_writer()
        self.succeeds(self.box("kill", "api", timeout=5))
        self.assertEqual("killed", self.box.explain()["reason"])
        self.assertEqual("killed", self.box("-j", "service", "show", "api").json["latch"])
        os.kill(pid, signal.SIGCONT)
        self.succeeds(self.box("rollout", "reset", "api"))
        self.assertEqual("default", self.box.explain()["reason"])
        entries = self.box("-j", "audit", "api").json["entries"]
        self.assertEqual([{"killed": True}, None], [entry["after"] for entry in entries[-2:]])

    def test_kill_works_with_the_state_deleted(self):
        self.applied()
        shutil.rmtree(self.box.state)
        self.succeeds(self.box("kill", "api"))
        self.assertFalse(os.path.exists(self.box.state))
        self.assertNotEqual(0, self.box("kill", "apo").status)

    def test_kill_works_with_the_state_destroyed(self):
        self.applied()
        path = os.path.join(self.box.state, "state.db")
        with open(path, "rb") as stream:
            good = stream.read()
        for name in ("state.db-wal", "state.db-shm"):
            os.unlink(os.path.join(self.box.state, name))
        with open(path, "wb") as stream:
            stream.write(b"no database" * 1000)
        self.fails(self.box("get"), 1, self.box.state)
        self.succeeds(self.box("kill", "api"))
        with open(path, "wb") as stream:
            stream.write(good)
        self.assertEqual("killed", self.box.explain()["reason"])

    def test_a_kill_during_a_write_stands(self):
        self.applied()
        self.at("publication_show", "rollout", "set", "api", "50%", then=lambda: self.succeeds(
            self.box("kill", "api")))
        self.assertEqual("killed", self.box.explain()["reason"])
        self.refused(["rollout", "set", "api", "7%"], "killed")

    def test_a_lost_state_does_not_take_the_services_away(self):
        self.applied()
        os.unlink(os.path.join(self.box.state, "state.db"))
        self.succeeds(self.box("attach", "v0"))
        self.succeeds(self.box("kill", "api"))
        self.applied()
        self.assertEqual((1, "killed"), (self.box.epoch() and 1, self.box.explain()["reason"]))

    # ---- writers that die

    def at(self, function, *words, then=None):
        """Runs a command up to the call of @function, then @then, or else kills it there."""
        gdb = shutil.which("gdb")
        if not gdb:
            self.skipTest("needs gdb")
        script = [f"break {function}", "run"]
        script += ["shell touch " + self.box.directory + "/reached"] if then else []
        script += ["shell while ! test -e " + self.box.directory + "/go; do sleep .02; done",
                   "continue"] if then else ["kill"]
        argv = [gdb, "-q", "-batch", "-nx", "-ex", "set debuginfod enabled off"]
        for line in script:
            argv += ["-ex", line]
        process = subprocess.Popen(
            self.box.inside(*argv, "--args", PROGRAM, *words), env=self.box.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.box.processes.append(process)
        if then:
            wait_for(lambda: os.path.exists(self.box.directory + "/reached"), 30)
            then()
            open(self.box.directory + "/go", "w", encoding="ascii").close()
        text, _ = process.communicate(timeout=60)
        self.assertIn("Breakpoint 1, ", text)

    def test_a_writer_that_dies_before_the_commit_was_never_there(self):
        self.applied()
        before = self.box.memory()
        path = self.box.write(config(with_share("100%")))
        self.at("store_commit", "apply", "-f", path)
        self.assertEqual(before, self.box.memory())
        self.succeeds(self.box("rollout", "set", "api", "6%"))

    def test_a_writer_that_dies_before_it_publishes_is_finished_by_the_next(self):
        self.applied()
        path = self.box.write(config(with_share("100%")))
        self.at("publication_show", "apply", "-f", path)
        self.assertEqual((2, 1), (self.box("-j", "get").json["revision"], self.box.epoch()))
        self.assertEqual("stable", self.box.explain()["cohort"])
        document = self.succeeds(self.box.apply(config(with_share("100%")))).json
        self.assertEqual((False, 2), (document["changed"], document["services"][0]["epoch"]))
        self.assertEqual(("canary", 2), (self.box.explain()["cohort"], self.box.epoch()))

    def test_a_cut_whose_writer_died_is_finished_by_the_next(self):
        self.applied(with_share("60%"))
        clients = [f"198.51.100.{number}" for number in range(1, 30)]
        taken = [client for client in clients
                 if self.box.explain(client)["cohort"] == "canary"][:5]
        self.assertTrue(taken)
        self.at("publication_show", "rollout", "set", "api", "0%", "--cut")
        self.assertEqual("canary", self.box.explain(taken[0])["cohort"])
        self.succeeds(self.box("rollout", "set", "api", "0%"))
        for client in taken:
            answer = self.box.explain(client)
            self.assertEqual(("stable", "stable"), (answer["cohort"], answer["live"]["cohort"]))

    def test_a_writer_that_dies_before_it_prunes_is_finished_by_the_next(self):
        self.applied(service("api"), service("web", 11))
        self.box("rollout", "set", "api", "7%")
        path = self.box.write(config(service("web", 11)))
        self.at("store_remove_service", "apply", "--prune", "-f", path)
        self.succeeds(self.box("apply", "-f", path))
        self.applied(service("web", 11), service("api"))
        self.assertEqual((50000, 50000, False), self.box.shares()["default"]["canary"])


if __name__ == "__main__":
    unittest.main()
