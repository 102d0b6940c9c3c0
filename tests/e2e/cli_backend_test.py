#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What operators wish of backends, and shares that are cut: `backend set`, `rollout set --cut`.

Each test has a box of its own, with real maps and a real program (cli_box.py). What becomes of
live flows is in affinity_test.py. Needs root.
"""

import json
import os
import re
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_box import BoxTest, config, service, wait_for  # noqa: E402

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
STABLE, OTHER, CANARY = "10.0.1.1", "10.0.1.2", "10.0.2.1"
CLIENTS = [f"198.51.100.{number}" for number in range(1, 101)]


def api(**keys):
    return service("api", cohorts=[
        {"name": "stable", "backends": [{"address": STABLE}, {"address": OTHER}]},
        {"name": "canary", "backends": [{"address": CANARY}]}], **keys)


class WishTest(BoxTest):
    def set(self, address, wish, *flags):
        return self.succeeds(self.box("-j", "backend", "set", "api", address, wish, *flags)).json

    def backends(self):
        """{address: what `backend list` says}"""
        answer = self.succeeds(self.box("-j", "backend", "list", "api")).json
        return {backend["backend"]: backend for backend in answer["backends"]}

    def explained(self):
        """{client: what the loaded program does with a flow of its}"""
        path = self.box.write("\n".join(CLIENTS) + "\n", "clients")
        answer = self.succeeds(self.box("-j", "explain", "api", "--input", path))
        return dict(zip(CLIENTS, map(json.loads, answer.out.splitlines()), strict=True))

    def serving(self):
        """Where it sends new flows."""
        return {answer["backend"] for answer in self.explained().values()}

    def living(self):
        """{client: backend} of flows that began before the era."""
        return {client: answer["live"]["backend"] for client, answer in self.explained().items()}


class Wishes(WishTest):
    def test_a_backend_that_is_down_or_draining_gets_no_new_flows_until_it_is_up(self):
        self.applied(api())
        self.assertEqual({STABLE, OTHER}, self.serving() - {CANARY})
        for wish in ("down", "draining"):
            self.assertEqual("up", self.set(STABLE, wish)["before"])
            self.assertNotIn(STABLE, self.serving())
            self.set(STABLE, "up")
            self.assertIn(STABLE, self.serving())
            self.set(OTHER, wish)
            self.set(OTHER, "up")

    def test_it_says_what_it_did(self):
        self.applied(api())
        answer = self.set(STABLE, "draining")
        epoch = answer.pop("epoch")
        self.assertEqual({"cmd": "backend set", "service": "api", "cohort": "stable",
                          "backend": STABLE, "before": "up", "after": "draining"}, answer)
        self.assertEqual(self.box.epoch(), epoch)
        said = self.succeeds(self.box("backend", "set", "api", STABLE, "up"))
        self.assertIn(f"{STABLE} (stable): draining -> up", said.out)

    def test_the_list_has_wish_and_since(self):
        self.applied(api())
        self.assertIsNone(self.backends()[STABLE]["since"])
        self.set(STABLE, "down")
        listed = self.backends()
        self.assertEqual(("down", "up", False), tuple(
            listed[STABLE][key] for key in ("wish", "health", "serving")))
        self.assertRegex(listed[STABLE]["since"], TIME)
        self.assertEqual(("up", True), (listed[OTHER]["wish"], listed[OTHER]["serving"]))
        self.assertIn("down", self.box("backend", "list").out)

    def test_a_wish_survives_apply_and_a_boot(self):
        self.applied(api())
        self.set(STABLE, "down")
        self.applied(api(holdout="1%"))
        self.assertNotIn(STABLE, self.serving())
        shutil.rmtree(self.box.pins, ignore_errors=True)
        self.succeeds(self.box("attach"))
        wait_for(lambda: self.box.attached())
        self.assertEqual("down", self.backends()[STABLE]["wish"])
        self.assertNotIn(STABLE, self.serving())

    def test_it_is_audited_once(self):
        self.applied(api())
        for _ in range(2):
            self.set(STABLE, "down", "--by", "ann", "--reason", "disk")
        entries = [entry for entry in self.box("-j", "audit", "api").json["entries"]
                   if entry["by"] == "ann"]
        self.assertEqual([("disk", {f"wish/{STABLE}": "up"}, {f"wish/{STABLE}": "down"})],
                         [(entry["reason"], entry["before"], entry["after"])
                          for entry in entries])

    def test_a_cohort_without_a_backend_that_serves_is_warned_of(self):
        self.applied(api())
        answer = self.succeeds(self.box("backend", "set", "api", CANARY, "down"))
        self.assertIn("cohort_down", answer.err)
        self.set(STABLE, "draining")
        answer = self.succeeds(self.box("backend", "set", "api", OTHER, "draining"))
        self.assertIn("for want of others", answer.err)
        self.assertEqual({STABLE, OTHER}, self.serving())
        self.set(STABLE, "down")
        answer = self.succeeds(self.box("backend", "set", "api", OTHER, "down"))
        self.assertIn("no_backend", answer.err)
        self.assertEqual("no_backend", self.box.explain()["reason"])
        self.set(STABLE, "up")
        self.assertEqual({STABLE}, self.serving())

    def test_wrong_words_change_nothing(self):
        self.applied(api())
        self.refused(["backend", "set", "api", "10.0.1", "down"], "`10.0.1`", status=2)
        self.refused(["backend", "set", "api", STABLE, "off"], "up, draining or down", status=2)
        self.refused(["backend", "set", "api", "10.0.1.3", "down"], "`10.0.1.3`")
        self.refused(["backend", "set", "apo", STABLE, "down"], "`apo`")

    def test_another_services_backend_of_that_address_is_not_meant(self):
        other = service("web", 11, cohorts=api()["cohorts"])
        self.applied(api(), other)
        self.set(STABLE, "down")
        self.assertEqual(["up"], [backend["wish"] for backend in self.succeeds(
            self.box("-j", "backend", "list", "web")).json["backends"]
            if backend["backend"] == STABLE])

    def test_wishes_go_with_their_service(self):
        self.applied(api(), service("web", 11))
        self.set(STABLE, "down")
        self.succeeds(self.box.apply(config(service("web", 11)), "--prune"))
        self.applied(api(), service("web", 11))
        self.assertEqual("up", self.backends()[STABLE]["wish"])

    def test_a_wish_holds_that_was_made_while_nothing_was_loaded(self):
        self.applied(api())
        shutil.rmtree(self.box.pins, ignore_errors=True)
        self.set(STABLE, "down")
        self.succeeds(self.box("attach"))
        self.assertNotIn(STABLE, self.serving())


class Cuts(WishTest):
    def test_a_cut_is_said_and_audited(self):
        self.applied(api())
        self.succeeds(self.box("rollout", "set", "api", "40%"))
        answer = self.succeeds(self.box("-j", "rollout", "set", "api", "10%", "--cut")).json
        self.assertEqual((400000, 100000, True),
                         (answer["before_ppm"], answer["after_ppm"], answer["cut"]))
        entry = self.box("-j", "audit", "api").json["entries"][-1]
        self.assertEqual({"live/default/canary": 100000, "cut": True}, entry["after"])
        answer = self.succeeds(self.box("-j", "rollout", "set", "api", "5%")).json
        self.assertFalse(answer["cut"])

    def test_who_was_cut_stays_away_from_the_canary_though_pins_and_cohorts_change(self):
        self.applied(api())
        self.succeeds(self.box("rollout", "set", "api", "60%"))
        self.succeeds(self.box("detach"))
        shutil.rmtree(self.box.pins, ignore_errors=True)  # a calm box with that share
        self.succeeds(self.box("attach"))
        cut = [client for client, answer in self.explained().items()
               if answer["backend"] == CANARY]
        self.assertGreater(len(cut), 20)
        self.succeeds(self.box("rollout", "set", "api", "0%", "--cut"))
        self.assertNotIn(CANARY, self.living().values())
        self.succeeds(self.box("client", "pin", "api", cut[0], "stable"))
        self.assertNotIn(CANARY, self.living().values())
        renamed = api(release="v2")
        renamed["cohorts"][1]["name"] = "other"
        renamed["rules"] = [{"default": True, "allocate": {"other": "0%"}}]
        self.applied(renamed)
        self.assertNotIn(CANARY, self.living().values())

    def test_clients_that_were_not_cut_keep_their_flows(self):
        self.applied(api())
        self.succeeds(self.box("rollout", "set", "api", "60%"))
        self.succeeds(self.box("detach"))
        shutil.rmtree(self.box.pins, ignore_errors=True)
        self.succeeds(self.box("attach"))
        before = {client: answer["backend"] for client, answer in self.explained().items()}
        self.succeeds(self.box("rollout", "set", "api", "100%", "--cut"))
        self.assertEqual(before, self.living())
        self.succeeds(self.box("rollout", "set", "api", "60%"))
        anew = api(release="v2", rules=[{"default": True, "allocate": {"canary": "60%"}}])
        self.succeeds(self.box.apply(config(anew), "--reshuffle"))
        self.assertEqual(before, self.living())

    def test_a_backend_that_left_keeps_its_number_while_its_flows_live(self):
        self.applied(api())
        before = {client: answer["backend"] for client, answer in self.explained().items()}
        left = api()
        left["cohorts"][0]["backends"] = [{"address": STABLE}]
        self.applied(left)
        self.set(STABLE, "draining")  # in place
        self.set(STABLE, "up")
        left["cohorts"][0]["backends"] += [{"address": "10.0.1.7"}, {"address": "10.0.1.8"}]
        self.applied(left)
        self.assertEqual(before, self.living())

    def test_many_cuts_in_one_era_are_all_done(self):
        self.applied(api())
        for number in range(260):  # more than an entry has numbers for
            self.succeeds(self.box("rollout", "set", "api", f"{20 + number % 2}%", "--cut"))
        self.assertEqual(210000, self.box.share())


if __name__ == "__main__":
    unittest.main()
