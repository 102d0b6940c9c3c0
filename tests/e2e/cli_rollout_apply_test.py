#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a rollout that is under way holds still: apply, shares, segments.

Needs root. Rollouts are rows of the store here, in each of their states: who runs them is tested
elsewhere.
"""

import json
import os
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_box import BoxTest, config, service, wait_for  # noqa: E402

ACTIVE = ("running", "paused", "waiting")
ENDED = ("succeeded", "aborted", "rolled_back", "killed", "lease_expired")
STAFF = {"name": "staff", "cidrs": ["198.51.100.0/24"]}
OTHERS = {"name": "others", "cidrs": ["203.0.113.0/24"]}
STEPS = {"steps": [{"weight": "1%"}, {"weight": "10%"}]}


def guarded(**keys):
    """A service with a rollout whose rules ask for `staff`."""
    value = service(rollout=STEPS, rules=[{"segment": "staff"}, {"default": True}])
    value.update(keys)
    return value


class RolloutTest(BoxTest):
    def apply_guarded(self, *more, **keys):
        self.applied(guarded(), *more, segments=[STAFF, OTHERS], **keys)

    def rollout(self, state, name="api", number=3):
        """As the store has it."""
        values = {"service": name, "id": number, "release": "v1", "cohort": "canary",
                  "revision": 1, "state": state, "machine": "{}", "judgement": "{}"}
        with sqlite3.connect(os.path.join(self.box.state, "state.db")) as store:
            columns = [row[1] for row in store.execute("PRAGMA table_info(rollouts)")]
            store.execute(
                f"INSERT OR REPLACE INTO rollouts ({', '.join(columns)}) "
                f"VALUES ({', '.join('?' * len(columns))})",
                [values.get(column, 0) for column in columns])
        store.close()

    def version(self, name):
        listed = self.box("-j", "segment", "list").json["segments"]
        return {entry["segment"]: entry["version"] for entry in listed}[name]

    def ends(self, name="api", number=3):
        self.rollout("succeeded", name, number)

    def refuses(self, value, *texts, flags=()):
        """The dry run says the same, and nothing changes."""
        path = self.box.write(value, "refused.yaml")
        texts = (*texts, "rollout 3 of service api is under way")
        self.refused(["apply", "-f", path, *flags], *texts)
        self.refused(["apply", "-f", path, "--dry-run", *flags], *texts)

    def config(self, *services, **keys):
        return config(*services, **{"segments": [STAFF, OTHERS], **keys})


class Apply(RolloutTest):
    def test_backends_weights_and_health_checks_may_change(self):
        self.apply_guarded()
        self.rollout("running")
        value = guarded()
        value["cohorts"][0]["backends"][0]["weight"] = 7
        value["cohorts"][1]["backends"].append(
            {"address": "10.0.10.9", "mac": "02:00:00:00:0a:09", "interface": "v0"})
        value["health_check"] = {"type": "tcp", "rise": 5}
        self.assertTrue(self.succeeds(self.box.apply(self.config(value))).json["changed"])
        del value["health_check"]
        self.assertTrue(self.succeeds(self.box.apply(self.config(value))).json["changed"])

    def test_everything_else_of_the_service_is_refused(self):
        self.apply_guarded()
        for state, change, path in (
                ("running", {"release": "v2"}, "services/api/release"),
                ("paused", {"holdout": "1%"}, "services/api/holdout"),
                ("waiting", {"vips": ["192.0.2.10:80/tcp"]}, "services/api/vips"),
                ("running", {"affinity": {"drain": "2h"}}, "services/api/affinity/drain"),
                ("running", {"rollout": {**STEPS, "bake": "1m"}}, "services/api/rollout/bake"),
                ("running", {"rollout": {"steps": STEPS["steps"][:1]}},
                 "services/api/rollout/steps[1]"),
                ("running", {"unanswered_after": "6s"}, "services/api/unanswered_after"),
                ("running", {"rules": [{"segment": "others"}, {"segment": "staff"},
                                       {"default": True}]}, "services/api/rules/others"),
                ("running", {"rules": [{"segment": "staff"},
                                       {"default": True, "allocate": {"canary": "1%"}}]},
                 "services/api/rules/default/allocate/canary")):
            with self.subTest(path):
                self.rollout(state)
                self.refuses(self.config(guarded(**change)), path)

    def test_the_rollout_cannot_be_taken_out_of_the_file(self):
        self.apply_guarded()
        self.rollout("running")
        value = guarded()
        del value["rollout"]
        self.refuses(self.config(value), "services/api/rollout")
        for flags in (["--prune"], ["--prune", "--restart-rollout"]):
            self.refuses(self.config(service("web", 11)), "cannot be removed", flags=flags)

    def test_the_rollout_of_a_service_that_was_pruned_is_history(self):
        web = service("web", 11)
        self.apply_guarded(web)
        self.rollout("aborted")
        self.succeeds(self.box.apply(self.config(web), "--prune"))
        self.succeeds(self.box.apply(self.config(guarded(), web)))
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((1, "idle", None), (answer.status, answer.json["state"], answer.json["id"]))
        self.box.start("daemon")
        wait_for(lambda: "only one that was aborted" in self.box("rollout", "retry", "api").err, 20)
        self.succeeds(self.box("rollout", "start", "api"))
        history = self.box("-j", "rollout", "history", "api").json["rollouts"]
        self.assertEqual([(3, "aborted"), (4, "running")], [(entry["id"], entry["state"]) for entry in history])

    def test_cohorts_may_not_change_but_for_their_backends(self):
        self.apply_guarded()
        self.rollout("running")
        value = guarded()
        value["cohorts"][1]["version"] = "v9"
        self.refuses(self.config(value), "services/api/cohorts/canary/version")
        value = guarded()
        value["cohorts"].append({"name": "next"})
        self.refuses(self.config(value), "services/api/cohorts/next")

    def test_segments_that_its_rules_use_keep_their_definition(self):
        self.apply_guarded()
        self.rollout("running")
        other = {"name": "staff", "cidrs": ["198.51.0.0/16"]}
        self.refuses(self.config(guarded(), segments=[other, OTHERS]), "segments/staff")
        described = {**STAFF, "description": "ours", "refresh": "1h"}
        self.succeeds(self.box.apply(self.config(guarded(), segments=[described, OTHERS])))
        others = {"name": "others", "cidrs": ["203.0.112.0/20"]}
        self.succeeds(self.box.apply(self.config(guarded(), segments=[described, others])))
        self.succeeds(self.box.apply(self.config(guarded(), segments=[described])))

    def test_the_form_of_clients_is_a_part_of_the_definition(self):
        """Another service's longer prefix would compute every membership anew."""
        self.applied(guarded(client={"prefix6": 48}), segments=[STAFF, OTHERS])
        self.rollout("running")
        self.refuses(self.config(guarded(client={"prefix6": 48}), service("web", 11)),
                     "segments/staff")

    def test_live_shares_stay(self):
        self.apply_guarded()
        self.rollout("running")
        self.refuses(self.config(guarded()), "live shares", flags=["--reset-shares"])

    def test_other_services_and_the_top_level_may_change(self):
        self.apply_guarded(service("web", 11))
        self.rollout("running")
        value = self.config(guarded(), service("web", 11, release="v2", holdout="3%"),
                            service("new", 12), limits={"services": 16, "vips": 64,
                                                        "backends": 256, "tracked_clients": 5})
        self.succeeds(self.box.apply(value, "--reshuffle"))
        value["services"] = [guarded()]
        self.succeeds(self.box.apply(value, "--prune"))

    def test_after_its_end_everything_may_change(self):
        self.apply_guarded()
        for number, state in enumerate(ENDED, start=3):
            with self.subTest(state):
                self.rollout(state, number=number)
                self.succeeds(self.box.apply(self.config(guarded(holdout=f"{number}%"))))

    def test_no_change_is_no_conflict(self):
        self.apply_guarded()
        self.rollout("running")
        self.assertFalse(self.succeeds(self.box.apply(self.config(guarded()))).json["changed"])


class Segments(RolloutTest):
    def test_materialise_is_refused_without_force(self):
        self.apply_guarded()
        for state in ACTIVE:
            self.rollout(state)
            self.refused(["segment", "materialise", "staff"], "segments/staff", "--force",
                         "rollout 3 of service api")
        self.refused(["segment", "materialise", "--all"], "segments/staff")
        self.succeeds(self.box("segment", "materialise", "others"))
        self.succeeds(self.box("segment", "materialise", "staff", "--force"))
        self.succeeds(self.box("segment", "materialise", "--all", "--force"))
        self.assertEqual((3, 3), (self.version("staff"), self.version("others")))
        self.ends()
        self.succeeds(self.box("segment", "materialise", "staff"))

    def test_a_grouping_is_held_too(self):
        csv = self.box.write("client,app\n203.0.113.1,a\n", "clients.csv")
        self.box.settle_secret()
        self.succeeds(self.box.apply(config()))
        self.succeeds(self.box("client", "import", csv))
        self.applied(service(rollout=STEPS, rules=[], client={"group_by": "app"}))
        self.rollout("running")
        self.refused(["segment", "materialise", "--all"], "groupings/app")
        self.succeeds(self.box("segment", "materialise", "--all", "--force"))

    def test_what_is_due_and_free_is_refreshed(self):
        refreshed = {**STAFF, "refresh": "1s"}
        free = {**OTHERS, "refresh": "1s"}
        self.applied(guarded(), segments=[refreshed, free], metrics={"listen": "off"})
        self.rollout("waiting")
        time.sleep(1.1)
        self.succeeds(self.box("daemon", "--once"))
        self.assertEqual((1, 2), (self.version("staff"), self.version("others")))


class Live(RolloutTest):
    """With a rollout that was really started, and a daemon that is there. It waits at its first
    step, so that nothing but these commands changes anything."""

    GATED = {"steps": [{"approve": {}}, {"weight": "10%"}]}

    def guarded(self, **keys):
        return guarded(**{"rollout": self.GATED, **keys})

    def begin(self, *segments):
        self.applied(self.guarded(), segments=list(segments or (STAFF, OTHERS)),
                     metrics={"listen": "off"})
        self.daemon = self.box.start("daemon")
        wait_for(lambda: self.box("rollout", "start", "api").status == 0)
        self.assertEqual([(1, True, False)], self.rollouts())

    def rollouts(self):
        """(id, is it under way, is it history) of each."""
        with sqlite3.connect(os.path.join(self.box.state, "state.db")) as store:
            rows = store.execute("SELECT id, state, closed_ns FROM rollouts ORDER BY id").fetchall()
        store.close()
        return [(number, state in ACTIVE, closed > 0) for number, state, closed in rows]

    def state(self):
        with sqlite3.connect(os.path.join(self.box.state, "state.db")) as store:
            row = store.execute("SELECT state FROM rollouts ORDER BY id DESC LIMIT 1").fetchone()
        store.close()
        return row[0]

    def apply_anew(self, *flags, **keys):
        return self.box.apply(self.config(self.guarded(**keys), metrics={"listen": "off"}), *flags)

    def latch(self):
        return self.box("-j", "service", "show", "api").json["latch"]

    def test_restart_aborts_and_begins_again_with_the_new_plan(self):
        self.begin()
        self.succeeds(self.box("rollout", "set", "api", "3%", "--override"))
        document = self.succeeds(self.apply_anew("--restart-rollout", holdout="1%")).json
        self.assertEqual([{"service": "api", "aborted": 1, "started": 2}], document["restarted"])
        self.assertEqual([(1, False, False), (2, True, False)], self.rollouts())
        self.assertEqual((None, 0, "1%"), (
            self.latch(), self.box.share(),
            self.box("-j", "get").json["config"]["services"][0]["holdout"]))

    def test_restart_of_a_new_release_closes_the_old_one(self):
        self.begin()
        self.succeeds(self.apply_anew("--restart-rollout", release="v2"))
        self.assertEqual([(1, False, True), (2, True, False)], self.rollouts())
        self.assertIsNone(self.latch())

    def test_restart_follows_rules_to_their_new_places(self):
        self.begin()
        self.succeeds(self.box("rollout", "set", "api", "3%", "--override"))
        rules = [{"segment": "others"}, {"segment": "staff"}, {"default": True}]
        self.succeeds(self.apply_anew("--restart-rollout", rules=rules))
        self.succeeds(self.apply_anew("--restart-rollout", rules=[]))
        self.assertEqual([False, False, True], [active for _, active, _ in self.rollouts()])

    def test_status_names_the_segments_that_wait(self):
        self.begin({**STAFF, "refresh": "1s"}, {**OTHERS, "refresh": "1s"})
        wait_for(lambda: self.waiting() == ["staff"])
        self.succeeds(self.box("rollout", "abort", "api"))
        self.assertEqual([], self.waiting())

    def test_refresh_waits_for_the_end_of_the_rollout(self):
        """Also where nothing else wakes the daemon."""
        self.begin({**STAFF, "refresh": "1s"}, OTHERS)
        wait_for(lambda: self.waiting() == ["staff"])
        time.sleep(1.5)
        self.assertEqual(1, self.version("staff"))
        self.succeeds(self.box("rollout", "abort", "api"))
        wait_for(lambda: self.version("staff") > 1, 30)
        self.daemon.terminate()
        _, log = self.daemon.communicate(timeout=10)
        self.assertNotIn("segments/staff", log)

    def waiting(self):
        return json.loads(self.box("-j", "rollout", "status", "api").out)[
            "segment_refresh_waiting"]

    def test_what_is_no_conflict_restarts_nothing(self):
        self.begin()
        document = self.succeeds(self.apply_anew(
            "--restart-rollout", health_check={"type": "tcp"})).json
        self.assertEqual(([], True), (document["restarted"], document["changed"]))
        self.assertEqual([(1, True, False)], self.rollouts())

    def test_a_dry_run_says_what_would_be_restarted(self):
        self.begin()
        before = self.box.memory()
        document = self.succeeds(self.apply_anew("--restart-rollout", "--dry-run",
                                                 holdout="1%")).json
        self.assertEqual([{"service": "api", "aborted": 1, "started": None}],
                         document["restarted"])
        self.assertEqual((before, [(1, True, False)]), (self.box.memory(), self.rollouts()))

    def test_a_rollout_without_a_plan_is_not_begun(self):
        self.begin()
        value = self.guarded()
        del value["rollout"]
        path = self.box.write(self.config(value), "refused.yaml")
        self.refused(["apply", "-f", path, "--restart-rollout"], "services/api/rollout",
                     "rollout 1 of service api is under way")
        self.assertEqual([(1, True, False)], self.rollouts())

    def test_restart_needs_the_daemon(self):
        self.begin()
        self.daemon.terminate()
        self.daemon.wait(timeout=10)
        path = self.box.write(self.config(self.guarded(holdout="1%")), "refused.yaml")
        self.refused(["apply", "-f", path, "--restart-rollout"], "daemon")
        self.assertEqual([(1, True, False)], self.rollouts())

    def test_set_is_refused_unless_it_pauses_the_rollout(self):
        self.begin()
        self.refused(["rollout", "set", "api", "7%"], "rollout 1 of the service is under way",
                     "--override")
        document = self.succeeds(self.box("-j", "rollout", "set", "api", "7%", "--override")).json
        self.assertEqual((1, 70000), (document["paused_rollout"], document["after_ppm"]))
        self.assertEqual(("paused", 70000), (self.state(), self.box.share()))

    def test_a_share_that_cannot_be_set_pauses_nothing(self):
        self.begin()
        self.refused(["rollout", "set", "api", "7%", "--override", "--rule", "no"], "no")
        self.assertNotEqual("paused", self.state())

    def test_reset_is_refused_until_the_rollout_ends(self):
        self.begin()
        self.refused(["rollout", "reset", "api"], "rollout abort")

    def test_reset_and_a_new_release_make_history_of_what_has_ended(self):
        self.applied(self.guarded(), segments=[STAFF, OTHERS])
        self.rollout("succeeded", number=1)
        self.succeeds(self.apply_anew(holdout="1%"))
        self.assertEqual([(1, False, False)], self.rollouts())
        self.succeeds(self.box("rollout", "reset", "api"))
        self.assertEqual([(1, False, True)], self.rollouts())
        self.rollout("aborted", number=2)
        self.succeeds(self.apply_anew(release="v2"))
        self.assertEqual([(1, False, True), (2, False, True)], self.rollouts())


class Undo(RolloutTest):
    def section(self, name="api"):
        services = self.box("-j", "get").json["config"]["services"]
        return [entry for entry in services if entry["name"] == name][0]

    def history(self):
        """Revisions 1 to 3 differ in api, 4 in web."""
        web = service("web", 11)
        for api, other in (("41", web), ("42", web), ("43", web),
                           ("43", service("web", 11, holdout="1%"))):
            value = service()
            value["cohorts"][0]["version"] = api
            self.applied(value, other)

    def test_the_section_before_the_present_one_comes_back(self):
        self.history()
        document = self.succeeds(self.box("-j", "rollout", "undo", "api")).json
        self.assertEqual(("rollout undo", "api", 2, True, 5), tuple(
            document[key] for key in ("cmd", "service", "to_revision", "changed", "revision")))
        self.assertEqual("42", self.section()["cohorts"][0]["version"])
        self.assertEqual("1%", self.section("web")["holdout"])
        # And once more: what was undone.
        self.assertEqual(4, self.box("-j", "rollout", "undo", "api").json["to_revision"])
        self.assertEqual("43", self.section()["cohorts"][0]["version"])

    def test_what_is_to_be_warned_of_is_warned_of_once(self):
        applied = self.applied(service(rollout=STEPS))
        self.assertTrue(applied["warnings"])  # its first step is below the base share
        self.applied(service())
        undone = self.succeeds(self.box("-j", "rollout", "undo", "api")).json
        said = [[(warning["object"], warning["message"]) for warning in document["warnings"]]
                for document in (applied, undone)]
        self.assertEqual(*said)
        answer = self.box("-j", "get", "--revision", "1")
        self.assertEqual((0, ""), (answer.status, answer.err))

    def test_a_revision_that_is_named_comes_back(self):
        self.history()
        answer = self.succeeds(self.box("rollout", "undo", "api", "--to", "1"))
        self.assertIn("api: as in revision 1", answer.out)
        self.assertEqual("41", self.section()["cohorts"][0]["version"])
        self.assertEqual("1%", self.section("web")["holdout"])
        document = self.box("-j", "rollout", "undo", "api", "--to", "5").json
        self.assertEqual((False, 5), (document["changed"], document["revision"]))

    def test_what_cannot_be_undone_is_said(self):
        self.applied()
        undo = ["rollout", "undo", "api"]
        self.refused(undo, "no revision had it otherwise")
        self.refused([*undo, "--to", "9"], "there is no revision 9")
        self.refused([*undo, "--to", "0"], "no number of a revision", status=2)
        self.refused(["rollout", "undo", "apy"], "api")
        self.applied(service(), service("web", 11))
        self.refused(["rollout", "undo", "web", "--to", "1"], "revision 1 did not have it")

    def test_undo_is_refused_while_a_rollout_is_under_way(self):
        self.history()
        for state in ACTIVE:
            self.rollout(state)
            self.refused(["rollout", "undo", "api"], "services/api", "rollout 3 is under way",
                         "rollout abort api")
        self.succeeds(self.box("rollout", "undo", "web"))
        self.ends()
        self.succeeds(self.box("rollout", "undo", "api"))

    def test_a_section_that_no_longer_fits_is_refused_whole(self):
        self.apply_guarded()
        self.applied(service())
        self.refused(["rollout", "undo", "api"], "there is no segment")

    def test_undo_refuses_what_apply_does(self):
        self.applied(service(salt="a"))
        self.succeeds(self.box.apply(config(service(salt="b")), "--reshuffle"))
        self.refused(["rollout", "undo", "api"], "salt changes", "--reshuffle")
        self.succeeds(self.box("rollout", "undo", "api", "--reshuffle"))
        self.assertEqual("a", self.section()["salt"])


if __name__ == "__main__":
    unittest.main()
