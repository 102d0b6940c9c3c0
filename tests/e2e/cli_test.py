#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The commands, typed: words and flags, what each prints and does, exit statuses, JSON documents.

Each test has a box of its own, with real maps and a real program (cli_box.py). What becomes of an
apply is in cli_apply_test.py. Needs root.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_box import Box, BoxTest, CLIENT, config, service, wait_for  # noqa: E402

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")


class Words(BoxTest):
    def test_no_command_is_a_usage_error(self):
        self.fails(self.box(), 2, "no command")

    def test_an_unknown_command_names_a_near_one(self):
        self.fails(self.box("aply"), 2, "did you mean `apply`")
        self.fails(self.box("rollout", "sett", "api", "5"), 2, "did you mean `set`")
        self.fails(self.box("rollout"), 2, "rollout")

    def test_an_unknown_flag_names_a_near_one(self):
        self.fails(self.box("apply", "-f", "x", "--dryrun"), 2, "did you mean `--dry-run`")
        self.fails(self.box("get", "--dry-run"), 2, "--dry-run")
        self.fails(self.box("get", "--jason"), 2, "no such flag")

    def test_flags_may_stand_anywhere(self):
        path = self.box.write(config())
        self.succeeds(self.box("-f", path, "apply", "-q"))
        self.succeeds(self.box("--reason", "because", "rollout", "--rule", "default", "set",
                               "--cohort=canary", "api", "7%", "-j"))
        self.assertEqual(70000, self.box.share())

    def test_two_dashes_end_the_flags(self):
        self.fails(self.box("service", "show", "--", "-j"), 1, "`-j`")

    def test_a_flag_takes_several_files_and_may_repeat(self):
        paths = [self.box.write({"version": 1, "interfaces": [{"name": "v0"}]}, "a.yaml"),
                 self.box.write({"services": [service("api")]}, "b.yaml"),
                 self.box.write({"services": [service("web", 11)]}, "c.yaml")]
        answer = self.box("-j", "apply", "-f", *paths[:2], "-f", paths[2])
        self.assertEqual(["api", "web"],
                         [entry["service"] for entry in self.succeeds(answer).json["services"]])

    def test_missing_and_surplus_words_are_usage_errors(self):
        self.fails(self.box("rollout", "set", "api"), 2, "S PERCENT")
        self.fails(self.box("get", "api"), 2, "api")
        self.fails(self.box("apply"), 2, "-f")
        self.fails(self.box("apply", "-f"), 2, "-f", "value")

    def test_what_a_later_version_has_is_not_available(self):
        for words in (["top"], ["trace"]):
            with self.subTest(words):
                self.fails(self.box(*words), 1, "not available in this version")

    def test_errors_are_one_json_document_with_j(self):
        self.box.apply(config())
        for words, status in ((["frob"], 2), (["get", "--frob"], 2), (["service", "show", "x"], 1),
                              (["top"], 1), (["rollout", "set", "api", "x"], 2)):
            answer = self.box(*words, "-j")
            with self.subTest(words):
                self.assertEqual(status, answer.status)
                error = answer.json["errors"][0]
                self.assertEqual({"file", "line", "column", "object", "message", "hint"},
                                 set(error))
                self.assertEqual("", answer.err)

    def test_warnings_stand_beside_the_errors_of_the_document_with_j(self):
        steps = {"steps": [{"weight": "1%"}]}  # below its base share, which is warned of
        self.applied(service(rollout=steps))
        answer = self.box.apply(config(service(rollout=steps, release="v2")))
        self.assertEqual((1, "", ["errors", "warnings"]), (answer.status, answer.err, list(answer.json)))
        for entries, text in (("errors", "salt"), ("warnings", "falls from 5%")):
            self.assertEqual({"file", "line", "column", "object", "message", "hint"}, set(answer.json[entries][0]))
            self.assertIn(text, answer.json[entries][0]["message"])
        answer = self.box("apply", "-f", self.box.write(config(service(rollout=steps, release="v2"))))
        self.assertEqual((1, ""), (answer.status, answer.out))
        self.assertIn("warning: ", answer.err)

    def test_errors_of_files_say_where(self):
        path = self.box.write("version: 1\nservices:\n  - nmae: api\n")
        self.fails(self.box("apply", "-f", path), 1, f"{path}:3:5: ")
        error = self.box("-j", "apply", "-f", path).json["errors"][0]
        self.assertEqual((path, 3, 5), (error["file"], error["line"], error["column"]))

    def test_help_and_version(self):
        self.assertIn("rollout set S PERCENT", self.succeeds(self.box("-h")).out)
        helped = self.succeeds(self.box("client", "pin", "-h")).out
        self.assertIn("S C COHORT", helped)
        self.assertNotIn("unpin", helped)
        helped = self.succeeds(self.box("daemon", "-h")).out
        for task in ("rollouts", "leases", "health checks", "next hops", "refresh", "metrics"):
            self.assertIn(task, helped)
        self.assertRegex(self.succeeds(self.box("-V")).out, r"^xdp-canary \S+\n$")

    def test_state_and_pins_come_from_the_environment_or_flags(self):
        self.applied()
        bare = {"PATH": os.environ["PATH"]}
        answer = self.box("--state", self.box.state, "--pins", self.box.pins, "get", env=bare)
        self.assertEqual(self.box("get").out, self.succeeds(answer).out)
        self.fails(self.box("get", "--state", self.box.directory + "/other"), 1, "nothing was")

    def test_wrong_values_of_global_flags_are_usage_errors(self):
        self.fails(self.box("get", "--wait", "10"), 2, "--wait")
        self.fails(self.box("get", "--color", "blue"), 2, "--color")

    def test_quiet_says_nothing_when_all_is_well(self):
        path = self.box.write(config())
        answer = self.succeeds(self.box("-q", "apply", "-f", path))
        self.assertEqual(("", ""), (answer.out, answer.err))

    def test_color_only_where_it_is_asked_for(self):
        self.applied()
        self.assertNotIn("\033", self.box("service", "list").out)
        self.assertIn("\033[1m", self.box("service", "list", "--color", "always").out)

    def test_writing_to_a_full_disk_is_a_failure(self):
        self.applied()
        with open("/dev/full", "w") as full:
            process = subprocess.run(self.box.argv("get"), env=self.box.environment, stdout=full,
                                     stderr=subprocess.PIPE, text=True)
        self.assertEqual(1, process.returncode)
        self.assertIn("stdout", process.stderr)


class Reading(BoxTest):
    def test_every_reading_command_works_on_an_empty_box(self):
        for words in ("service list", "backend list", "client pins", "history", "audit", "reasons",
                      "stats"):
            with self.subTest(words):
                self.succeeds(self.box(*words.split()))
                document = self.succeeds(self.box("-j", *words.split())).json
                self.assertEqual(words, document["cmd"])
        self.assertFalse(os.path.exists(self.box.state))

    def test_get_gives_yaml_that_apply_takes_back_unchanged(self):
        self.fails(self.box("get"), 1, "nothing was applied")
        self.applied(service("api"), service("web", 11, holdout="1%"))
        text = self.succeeds(self.box("get")).out
        answer = self.succeeds(self.box("-j", "apply", "-f", self.box.write(text)))
        self.assertFalse(answer.json["changed"])
        self.assertEqual(text, self.box("get").out)

    def test_get_json(self):
        self.applied()
        document = self.box("-j", "get").json
        self.assertEqual({"cmd", "revision", "config"}, set(document))
        self.assertEqual(1, document["revision"])
        self.assertEqual("api", document["config"]["services"][0]["name"])

    def test_get_of_an_older_revision(self):
        self.applied()
        first = self.box("get").out
        self.applied(service(holdout="2%"))
        self.assertNotEqual(first, self.box("get").out)
        self.assertEqual(first, self.succeeds(self.box("get", "--revision", "1")).out)
        self.assertEqual(1, self.box("-j", "get", "--revision", "1").json["revision"])
        self.fails(self.box("get", "--revision", "3"), 1, "no revision 3")
        self.fails(self.box("get", "--revision", "x"), 2, "--revision")

    def test_get_effective_has_the_live_shares(self):
        self.applied()
        self.box("rollout", "set", "api", "12%")
        rules = self.box("-j", "get", "--effective").json["config"]["services"][0]["rules"]
        self.assertEqual({"canary": "12%"}, rules[0]["allocate"])
        rules = self.box("-j", "get").json["config"]["services"][0]["rules"]
        self.assertEqual({"canary": "5%"}, rules[0]["allocate"])
        self.fails(self.box("get", "--effective", "--revision", "7"), 2, "--effective")

    def test_history(self):
        self.applied()
        self.succeeds(self.box("apply", "-f", self.box.write(config(service(holdout="1%"))),
                               "--by", "ann", "--reason", "more of them"))
        revisions = self.box("-j", "history").json["revisions"]
        self.assertEqual([2, 1], [entry["revision"] for entry in revisions])
        self.assertEqual(("ann", "more of them"), (revisions[0]["by"], revisions[0]["reason"]))
        self.assertIn("apply -f", revisions[0]["command"])
        self.assertRegex(revisions[0]["time"], TIME)
        self.assertEqual(1, len(self.box("-j", "history", "--limit", "1").json["revisions"]))
        self.assertIn("ann", self.box("history").out)

    def test_audit(self):
        self.applied(service("api"), service("web", 11))
        self.succeeds(self.box("rollout", "set", "api", "7", "--by", "bob", "--reason", "why not"))
        entries = self.box("-j", "audit", "api").json["entries"]
        self.assertEqual({"id", "time", "by", "command", "service", "revision", "before", "after",
                          "reason"}, set(entries[0]))
        self.assertEqual({"api"}, {entry["service"] for entry in entries})
        self.assertEqual(("bob", "why not", 1), (entries[-1]["by"], entries[-1]["reason"],
                                                 entries[-1]["revision"]))
        self.assertEqual(({"live/default/canary": 50000}, {"live/default/canary": 70000}),
                         (entries[-1]["before"], entries[-1]["after"]))
        self.assertEqual(["", "api", "web", "api"],
                         [entry["service"] for entry in self.box("-j", "audit").json["entries"]])
        self.assertEqual([], self.box("-j", "audit", "--since",
                                      "2100-01-01T00:00:00Z").json["entries"])
        self.assertEqual(4, len(self.box("-j", "audit", "--since", "-15m").json["entries"]))
        self.fails(self.box("audit", "--since", "yesterday"), 2, "--since")

    def test_who_is_the_login_user_then_sudo_user_then_the_user(self):
        self.applied()
        with open("/proc/self/loginuid", encoding="ascii") as stream:
            if int(stream.read()) != 0xffffffff:
                self.skipTest("somebody is logged in")
        self.box("rollout", "set", "api", "7", env={**self.box.environment, "SUDO_USER": "eve"})
        self.box("rollout", "set", "api", "8")
        self.assertEqual(["eve", "root"],
                         [entry["by"] for entry in self.box("-j", "audit").json["entries"]][-2:])

    def test_service_list_and_show(self):
        self.applied(service(holdout="1%", client={"prefix6": 56}))
        entry = self.box("-j", "service", "list").json["services"][0]
        self.assertEqual({"service", "release", "epoch", "enforce", "steer", "vips", "latch",
                          "rules"}, set(entry))
        self.assertEqual(("api", "v1", True, "l2", ["192.0.2.10:443/tcp"], None),
                         tuple(entry[key] for key in ("service", "release", "enforce", "steer",
                                                      "vips", "latch")))
        self.assertEqual(
            [{"rule": "default", "segment": None, "cohorts": [
                {"cohort": "stable", "base_ppm": 950000, "set_ppm": 950000, "live": False},
                {"cohort": "canary", "base_ppm": 50000, "set_ppm": 50000, "live": False}]}],
            entry["rules"])
        show = self.box("-j", "service", "show", "api").json
        self.assertEqual("service show", show["cmd"])
        self.assertEqual(entry, {key: show[key] for key in entry})
        self.assertEqual(("api/v1", 10000, {"key": "source", "prefix4": 32, "prefix6": 56,
                                            "group_by": None,
                                            "quic_cid_length": None, "quic_server_id_offset": None,
                                            "quic_server_id_length": None, "payload_offset": None,
                                            "payload_length": None}),
                         (show["salt"], show["holdout_ppm"], show["client"]))
        self.assertEqual({"drain_seconds": 3600, "udp_drain_seconds": 30, "on_rollback": "cut"},
                         show["affinity"])
        self.assertEqual([None, {"start_ppm": 0, "width_ppm": 1000000}],
                         [cohort["slot"] for cohort in show["cohorts"]])
        self.assertEqual([{"backend": "10.0.10.3", "weight": 100, "server_id": None}],
                         show["cohorts"][1]["backends"])
        self.assertIn("api/v1", self.box("service", "show", "api").out)

    def test_service_show_tells_quic_server_ids_and_drains(self):
        value = service(vips=["192.0.2.10:443/udp"], affinity={"drain": "90m"},
                        client={"key": "quic", "quic_cid_length": 8})
        for number, backend in enumerate(backend for cohort in value["cohorts"]
                                         for backend in cohort["backends"]):
            backend["server_id"] = "0a%02x" % number
        self.applied(value)
        show = self.box("-j", "service", "show", "api").json
        self.assertEqual(("quic", 8, 1, 2), tuple(show["client"][key] for key in (
            "key", "quic_cid_length", "quic_server_id_offset", "quic_server_id_length")))
        self.assertEqual(5400, show["affinity"]["drain_seconds"])
        self.assertEqual("0a00", show["cohorts"][0]["backends"][0]["server_id"])
        out = self.box("service", "show", "api").out
        for part in ("client key quic", "server id 0a00", "drain 1h30m, of UDP 30s"):
            self.assertIn(part, out)

    def test_an_unknown_service_names_a_near_one(self):
        self.fails(self.box("service", "show", "api"), 1, "nothing was applied")
        self.applied()
        for words in (["service", "show", "apj"], ["backend", "list", "apj"],
                      ["client", "pins", "apj"], ["client", "pin", "apj", CLIENT, "canary"],
                      ["client", "unpin", "apj", CLIENT], ["rollout", "set", "apj", "5"],
                      ["rollout", "reset", "apj"], ["kill", "apj"]):
            with self.subTest(words):
                self.fails(self.box(*words), 1, "`apj`", "did you mean `api`")

    def test_backend_list(self):
        value = service()
        value["cohorts"][1]["backends"] = [{"address": "10.0.77.7", "weight": 0},
                                           {"address": "203.0.113.1"}]
        self.applied(value)
        backends = self.box("-j", "backend", "list", "api").json["backends"]
        self.assertEqual({"service", "cohort", "backend", "weight", "wish", "health", "serving",
                          "flapping", "next_hop", "idle_seconds", "since"}, set(backends[0]))
        self.assertEqual(
            [("10.0.10.1", True, "resolved"), ("10.0.10.2", True, "resolved"),
             ("10.0.77.7", False, "failed"), ("203.0.113.1", True, "no_route")],
            [(entry["backend"], entry["serving"],
              entry["next_hop"].replace("resolving", "failed")) for entry in backends])
        self.assertEqual(backends, self.box("-j", "backend", "list").json["backends"])

    def test_next_hops_are_unknown_where_nothing_is_loaded(self):
        self.applied()
        backends = self.box("-j", "--pins", self.box.bpffs + "/none", "backend",
                            "list").json["backends"]
        self.assertEqual({"unknown"}, {entry["next_hop"] for entry in backends})

    def test_reasons_have_texts(self):
        document = self.box("-j", "reasons").json
        self.assertIn({"action": "drop", "reason": "no_backend"},
                      [{key: entry[key] for key in ("action", "reason")}
                       for entry in document["reasons"]])
        self.assertIn("current", [entry["path"] for entry in document["paths"]])
        self.assertTrue(all(entry["text"] for entry in document["reasons"] + document["paths"]))

    def test_diff(self):
        self.applied()
        self.box("rollout", "set", "api", "7%", "--by", "ann")
        same = self.box.write(config())
        other = service()
        other["cohorts"][0]["backends"][0]["weight"] = 50
        other["rules"][0]["allocate"]["canary"] = "6%"
        document = self.succeeds(self.box("-j", "diff", "-f", same, "--check")).json
        self.assertEqual([], document["desired"])
        live = document["live"][0]
        self.assertRegex(live.pop("time"), TIME)
        self.assertEqual({"service": "api", "rule": "default", "cohort": "canary",
                          "base_ppm": 50000, "live_ppm": 70000, "by": "ann"}, live)
        path = self.box.write(config(other), "other.yaml")
        document = self.succeeds(self.box("-j", "diff", "-f", path)).json
        self.assertEqual(
            [{"path": "services/api/cohorts/stable/backends/10.0.10.1/weight", "before": 100,
              "after": 50},
             {"path": "services/api/rules/default/allocate/canary", "before": "5%",
              "after": "6%"}], document["desired"])
        self.assertEqual(60000, document["live"][0]["base_ppm"])
        self.assertEqual(4, self.box("diff", "-f", path, "--check").status)
        self.assertEqual(3, len(self.box("diff", "-f", path).out.splitlines()))
        self.fails(self.box("diff"), 2, "-f")


class Interfaces(BoxTest):
    def test_attach_before_the_first_apply_needs_a_name(self):
        self.fails(self.box("attach"), 2, "must be named")
        document = self.succeeds(self.box("-j", "attach", "v0")).json
        self.assertEqual({"cmd": "attach", "interfaces": [{"interface": "v0", "mode": "native"}]},
                         document)
        self.assertEqual(["v0"], self.box.attached())

    def test_the_first_apply_attaches_nothing_and_attach_takes_the_files_interfaces(self):
        self.applied(interfaces=["v0", "v2"])
        self.assertEqual([], self.box.attached())
        self.succeeds(self.box("attach"))
        self.assertEqual(["v0", "v2"], self.box.attached())

    def test_an_attached_box_attaches_what_is_new_in_the_file(self):
        self.succeeds(self.box("attach", "v0"))
        self.applied(interfaces=["v0", "v2"])
        self.assertEqual(["v0", "v2"], self.box.attached())

    def test_an_unknown_interface_attaches_none(self):
        self.applied()
        self.refused(["attach", "v0", "nope0"], "interfaces/nope0")

    def test_detach_says_where_packets_go_now(self):
        self.applied()
        self.box("attach")
        answer = self.succeeds(self.box("detach"))
        self.assertIn("no rollback", answer.out)
        self.assertEqual([], self.box.attached())
        self.assertEqual([], self.succeeds(self.box("-j", "detach")).json["interfaces"])

    def test_a_detached_box_stays_so_over_apply_until_attach(self):
        self.applied()
        self.box("attach")
        self.box("detach")
        self.applied(service(holdout="1%"), interfaces=["v0", "v2"])
        self.assertEqual([], self.box.attached())
        self.box("attach", "v2")
        self.assertEqual(["v2"], self.box.attached())

    def test_detach_of_one_leaves_the_others(self):
        self.applied(interfaces=["v0", "v2"])
        self.box("attach")
        self.succeeds(self.box("detach", "v0"))
        self.applied(service(holdout="1%"), interfaces=["v0", "v2"])
        self.assertEqual(["v2"], self.box.attached())
        self.refused(["detach", "v0"], "v0", "not attached")

    def test_a_try_ends_by_itself(self):
        self.applied()
        answer = self.succeeds(self.box("attach", "v0", "--try", "2s"))
        self.assertIn("unless", answer.out)
        self.assertEqual(["v0"], self.box.attached())
        wait_for(lambda: not self.box.attached())
        wait_for(lambda: self.box("-j", "audit").json["entries"][-1]["by"] == "attach --try")
        self.applied(service(holdout="1%"))
        self.assertEqual([], self.box.attached())

    def test_a_plain_attach_ends_a_try(self):
        self.applied()
        self.succeeds(self.box("attach", "v0", "--try", "2s"))
        self.succeeds(self.box("attach"))
        time.sleep(2.5)
        self.assertEqual(["v0"], self.box.attached())

    def test_a_second_try_counts_from_anew(self):
        self.applied()
        self.succeeds(self.box("attach", "v0", "--try", "2s"))
        self.succeeds(self.box("attach", "v0", "--try", "4s"))
        time.sleep(2.5)
        self.assertEqual(["v0"], self.box.attached())
        wait_for(lambda: not self.box.attached())

    def test_what_is_attached_to_stay_is_not_put_on_trial(self):
        self.applied()
        self.succeeds(self.box("attach"))
        answer = self.succeeds(self.box("attach", "v0", "--try", "200ms"))
        self.assertIn("attached already", answer.err)
        time.sleep(0.6)
        self.assertEqual(["v0"], self.box.attached())

    def test_a_try_needs_a_duration(self):
        self.applied()
        for duration in ("0s", "10", "soon"):
            self.refused(["attach", "--try", duration], "--try", status=2)

    def test_attach_after_a_boot_restores_everything(self):
        self.applied()
        self.succeeds(self.box("attach"))
        self.box("rollout", "set", "api", "100%")
        self.box("kill", "api")
        epoch = self.box.epoch()
        # A boot: links and maps are gone, the state is not.
        shutil.rmtree(self.box.pins, ignore_errors=True)
        wait_for(lambda: not self.box.attached())
        self.succeeds(self.box("attach"))
        self.assertEqual(["v0"], self.box.attached())
        self.assertEqual(("killed", epoch), (self.box.explain()["reason"], self.box.epoch()))
        self.succeeds(self.box("rollout", "reset", "api"))
        self.assertEqual("default", self.box.explain()["reason"])


class Kill(BoxTest):
    def test_kill_sends_every_client_to_control_and_latches(self):
        self.applied(service("api"), service("web", 11))
        for name in ("api", "web"):
            self.box("rollout", "set", name, "100%")
        self.assertEqual("canary", self.box.explain()["cohort"])
        document = self.succeeds(self.box("-j", "kill", "api")).json
        self.assertEqual({"cmd": "kill", "services": ["api"]}, document)
        answer = self.box.explain()
        self.assertEqual(("stable", "killed"), (answer["cohort"], answer["reason"]))
        self.assertEqual("canary", self.box.explain(name="web")["cohort"])
        self.assertEqual("killed", self.box("-j", "service", "show", "api").json["latch"])
        self.assertEqual((0, 50000, True), self.box.shares()["default"]["canary"])

    def test_kill_all(self):
        self.applied(service("api"), service("web", 11))
        document = self.succeeds(self.box("-j", "kill", "--all")).json
        self.assertEqual(["api", "web"], sorted(document["services"]))
        self.assertEqual("killed", self.box.explain(name="web")["reason"])

    def test_kill_needs_one_name_or_all(self):
        self.applied()
        self.refused(["kill"], "kill", status=2)
        self.refused(["kill", "api", "--all"], "kill", status=2)

    def test_an_unknown_service_lists_those_that_there_are(self):
        self.applied(service("api"), service("web", 11))
        self.refused(["kill", "something"], "`something`", "api, web")

    def test_nothing_loaded_is_an_error(self):
        self.fails(self.box("kill", "api"), 1, "nothing is loaded")

    def test_it_is_audited_with_who_and_why(self):
        self.applied()
        self.box("kill", "api", "--by", "ann", "--reason", "smoke")
        entry = self.box("-j", "audit", "api").json["entries"][-1]
        self.assertEqual(("ann", "smoke", {"killed": True}),
                         (entry["by"], entry["reason"], entry["after"]))

    def test_only_reset_lifts_it(self):
        self.applied()
        self.box("rollout", "set", "api", "100%")
        self.box("kill", "api")
        self.applied()
        self.applied(service(holdout="1%"))
        self.refused(["rollout", "set", "api", "100%"], "rollout reset", "killed")
        self.assertEqual("killed", self.box.explain()["reason"])
        document = self.succeeds(self.box("-j", "rollout", "reset", "api")).json
        self.assertEqual(("killed", 1), (document["latch"], document["dropped"]))
        self.assertIsNone(self.box("-j", "service", "show", "api").json["latch"])
        self.assertEqual((50000, 50000, False), self.box.shares()["default"]["canary"])
        self.assertEqual("default", self.box.explain()["reason"])

    def test_pinned_clients_go_to_control_too(self):
        self.applied()
        self.box("client", "pin", "api", CLIENT, "canary")
        self.assertEqual("canary", self.box.explain()["cohort"])
        self.box("kill", "api")
        self.assertEqual("stable", self.box.explain()["cohort"])
        self.box("rollout", "reset", "api")
        self.assertEqual("canary", self.box.explain()["cohort"])


class Clients(BoxTest):
    def setUp(self):
        super().setUp()
        self.applied(service(client={"prefix4": 24, "prefix6": 56}))

    def pins(self):
        return [(pin["client"], pin["cohort"]) for pin in
                self.box("-j", "client", "pins").json["pins"]]

    def test_a_pin_decides_whatever_the_share(self):
        self.assertEqual("stable", self.box.explain()["cohort"])
        document = self.succeeds(self.box("-j", "client", "pin", "api", CLIENT, "canary")).json
        self.assertEqual(("198.51.100.0/24", "canary", None),
                         tuple(document[key] for key in ("client", "cohort", "expires")))
        answer = self.box.explain()
        self.assertEqual(("canary", "override", True),
                         tuple(answer[key] for key in ("cohort", "reason", "pinned")))
        self.succeeds(self.box("client", "unpin", "api", CLIENT))
        self.assertEqual("stable", self.box.explain()["cohort"])

    def test_a_client_is_reduced_to_the_services_key(self):
        for typed in ("203.0.113.9", "2001:db8:1:2:3::4", "::ffff:192.0.2.77", "10.0.0.0/8"):
            self.succeeds(self.box("client", "pin", "api", typed, "canary"))
        self.assertEqual({"203.0.113.0/24", "2001:db8:1::/56", "192.0.2.0/24", "10.0.0.0/8"},
                         {client for client, _ in self.pins()})

    def test_a_pin_replaces_the_clients_older_one(self):
        self.box("client", "pin", "api", "203.0.113.9", "canary")
        self.box("client", "pin", "api", "203.0.113.77", "stable")
        self.assertEqual([("203.0.113.0/24", "stable")], self.pins())

    def test_a_pin_ends_after_its_time(self):
        document = self.succeeds(self.box("-j", "client", "pin", "api", CLIENT, "canary", "--for",
                                          "2s")).json
        self.assertRegex(document["expires"], TIME)
        self.assertEqual("canary", self.box.explain()["cohort"])
        wait_for(lambda: self.box.explain()["cohort"] == "stable")
        self.assertEqual([], self.pins())

    def test_the_list_has_who_and_when(self):
        self.box("client", "pin", "api", CLIENT, "canary", "--by", "ann", "--for", "1h")
        pin = self.box("-j", "client", "pins", "api").json["pins"][0]
        self.assertEqual({"service", "client", "cohort", "expires", "by", "time"}, set(pin))
        self.assertEqual("ann", pin["by"])
        self.assertIn("198.51.100.0/24", self.box("client", "pins").out)

    def test_pins_outlive_apply_and_longer_keys(self):
        self.box("client", "pin", "api", CLIENT, "canary")
        self.applied(service(client={"prefix4": 16}, holdout="1%"))
        self.assertEqual([("198.51.0.0/16", "canary")], self.pins())
        self.succeeds(self.box("client", "unpin", "api", CLIENT))
        self.assertEqual([], self.pins())

    def test_what_cannot_be_pinned_is_refused(self):
        self.refused(["client", "pin", "api", CLIENT, "cnary"], "did you mean `canary`")
        self.refused(["client", "pin", "api", "10.0.0.1/24", "canary"], "10.0.0.1/24", status=2)
        self.refused(["client", "pin", "api", "10.0.0", "canary"], "10.0.0", status=2)
        self.refused(["client", "pin", "api", CLIENT, "canary", "--for", "0s"], "--for", status=2)
        self.refused(["client", "unpin", "api", CLIENT], "198.51.100.0/24", "not pinned")


class Shares(BoxTest):
    def test_set_changes_the_live_share_and_says_what_it_was(self):
        self.applied()
        document = self.succeeds(self.box("-j", "rollout", "set", "api", "100%")).json
        epoch = document.pop("epoch")
        self.assertEqual({"cmd": "rollout set", "service": "api", "rule": "default",
                          "cohort": "canary", "before_ppm": 50000, "after_ppm": 1000000,
                          "cut": False, "paused_rollout": None}, document)
        self.assertEqual((epoch, "canary"), (self.box.epoch(), self.box.explain()["cohort"]))
        self.assertEqual({"stable": (0, 950000, False), "canary": (1000000, 50000, True)},
                         self.box.shares()["default"])
        self.assertIn("100% -> 0.01%", self.box("rollout", "set", "api", "100ppm").out)
        self.assertEqual(100, self.box.share())

    def test_what_cannot_be_set_is_refused(self):
        value = service()
        value["cohorts"][1]["slot"] = "30%"
        value["cohorts"].append({"name": "empty"})
        self.applied(value)
        self.refused(["rollout", "set", "api", "31%"], "slot, 30%")
        self.refused(["rollout", "set", "api", "5%", "--cohort", "empty"], "no backends")
        self.refused(["rollout", "set", "api", "5%", "--cohort", "stable"], "control")
        self.refused(["rollout", "set", "api", "5%", "--cohort", "canry"], "`canary`")
        self.refused(["rollout", "set", "api", "5%", "--rule", "defualt"], "`default`")
        for share in ("101%", "0.00001%", "x", "010%"):
            self.refused(["rollout", "set", "api", share], share, status=2)
        self.succeeds(self.box("rollout", "set", "api", "0", "--cohort", "empty"))

    def test_reset_brings_the_files_shares_back(self):
        self.applied()
        self.box("rollout", "set", "api", "9%")
        document = self.succeeds(self.box("-j", "rollout", "reset", "api")).json
        self.assertEqual((1, None), (document["dropped"], document["latch"]))
        self.assertEqual(50000, self.box.share())
        epoch = self.box.epoch()
        self.succeeds(self.box("rollout", "reset", "api"))
        self.assertEqual(epoch, self.box.epoch())


class Secrets(BoxTest):
    def test_init_makes_it_once(self):
        document = self.succeeds(self.box("-j", "secret", "init")).json
        path = os.path.join(self.box.state, "secret")
        self.assertEqual(path, document["file"])
        self.assertRegex(document["fingerprint"], r"^[0-9a-f]{16}$")
        self.assertEqual((0o600, 0o750), (os.stat(path).st_mode & 0o777,
                                          os.stat(self.box.state).st_mode & 0o777))
        with open(path, encoding="ascii") as stream:
            text = stream.read()
        self.assertRegex(text, r"^[0-9a-f]{32}\n$")
        self.fails(self.box("secret", "init"), 1, path, "already")
        with open(path, encoding="ascii") as stream:
            self.assertEqual(text, stream.read())

    def test_check_agrees_on_boxes_that_agree_and_never_shows_it(self):
        self.fails(self.box("secret", "check"), 1, "secret init")
        self.box("secret", "init")
        first = self.succeeds(self.box("-j", "secret", "check")).json["fingerprint"]
        secret = os.path.join(self.box.state, "secret")
        with Box() as other:
            os.mkdir(other.state)
            shutil.copy(secret, other.state)
            answer = other("secret", "check")
            self.assertIn(first, answer.out)
            with open(secret, encoding="ascii") as stream:
                self.assertNotIn(stream.read().strip(), answer.out + answer.err)
            other("secret", "init")

    def test_another_secret_than_the_loaded_programs_is_refused(self):
        self.applied()
        with open(os.path.join(self.box.state, "secret"), "w", encoding="ascii") as stream:
            stream.write("00112233445566778899aabbccddeeff\n")
        self.refused(["rollout", "set", "api", "50%"], "secret")


if __name__ == "__main__":
    unittest.main()
