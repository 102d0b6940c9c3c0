#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The verbs of rollouts, what they refuse, and what status, history, export and clients say.

Without traffic no step that has given the canary a share ends by itself: NODATA never promotes. So a
rollout stands where a test wants it, and `promote` takes it on.
"""

import csv
import datetime
import fcntl
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_box import CLIENT, PROGRAM, BoxTest, config, service, wait_for  # noqa: E402

STEPS = [{"weight": "5%"}, {"pause": {}}, {"approve": {"message": "capacity checked?"}}, {"weight": "50%"},
         {"pause": {"duration": "1h"}}]
METRICS = [{"name": "connect_failure", "max_rate": "1%"}, {"name": "complaints", "source": "feedback"}]


def rolling(**keys):
    return service(rules=[{"default": True, "allocate": {"canary": "0%"}}],
                   rollout={"steps": STEPS, "bake": "0s", "settle": "0s", "lease": "5m", "metrics": METRICS, **keys})


class RolloutTest(BoxTest):
    def begin(self, *services, daemon=True, **keys):
        self.applied(*(services or [rolling(**keys)]))
        self.daemon = self.box.start("daemon") if daemon else None
        if daemon:
            wait_for(lambda: self.box("rollout", "start", "api").status == 0, 20)

    def stop_daemon(self):
        """Nobody but the test writes then."""
        self.daemon.terminate()
        self.daemon.wait()

    def status(self, name="api"):
        return json.loads(self.box("-j", "rollout", "status", name).out)

    def at(self, step, state="running", waiting_for=None):
        def is_there():
            status = self.status()
            return ((status["step"]["index"], status["state"]) == (step, state) and
                    (not waiting_for or status["step"]["waiting_for"] == waiting_for))
        wait_for(is_there, 20)

    def run_verb(self, *words, status=0):
        return self.succeeds(self.box("rollout", words[0], "api", *words[1:]), status)

    def refused_verb(self, *words_and_texts, words=1):
        verb, texts = words_and_texts[:words], words_and_texts[words:]

        def memory():
            status = self.status()
            return status["id"], status["state"], status["step"]["index"], status["rules"]

        before = memory()
        self.fails(self.box("rollout", verb[0], "api", *verb[1:]), 1, "services/api/rollout", *texts)
        self.assertEqual(before, memory())

    def events(self):
        return [(event["id"], event["event"], event["step"])
                for event in self.box("-j", "rollout", "history", "api").json["events"]]


class Verbs(RolloutTest):
    def test_a_rollout_from_its_start_to_its_end(self):
        self.begin()
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.at(1)
        self.run_verb("promote")
        self.at(2, "waiting", "pause")
        self.run_verb("resume")
        self.at(3, "waiting", "approve")
        self.assertEqual("capacity checked?", self.status()["reason"])
        self.refused_verb("promote", "rollout approve")
        self.refused_verb("promote", "--full", "rollout approve", words=2)
        self.run_verb("approve", "--reason", "yes")
        # Approved; but nothing is known of the canary, so somebody must want it.
        self.at(4)
        self.refused_verb("approve", "approve step")
        time.sleep(2)
        self.assertEqual(50000, self.status()["rules"][0]["set_ppm"])
        self.run_verb("promote")
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 500000, 20)
        self.run_verb("promote")
        self.at(5, "running", "pause")
        self.run_verb("promote")
        wait_for(lambda: self.status()["state"] == "succeeded", 20)
        status = self.status()
        self.assertEqual((500000, True), (status["rules"][0]["set_ppm"], status["rules"][0]["live"]))
        self.assertEqual({"seconds": 0, "remaining_seconds": None}, status["lease"])
        self.assertEqual("succeeded", status["last_event"]["event"])
        self.assertEqual([1, 2, 3, 4, 5], [step for _, event, step in self.events() if event == "step"])
        self.refused_verb("pause", "succeeded")
        # What has succeeded can still be taken back.
        self.run_verb("abort", status=0)
        self.assertEqual((0, "aborted"), (self.status()["rules"][0]["set_ppm"], self.status()["state"]))

    def test_pause_holds_and_resume_goes_on(self):
        self.begin()
        self.at(1)
        self.run_verb("pause", "--reason", "lunch", "--by", "ann")
        status = self.status()
        self.assertEqual(("paused", "lunch"), (status["state"], status["reason"]))
        self.assertEqual(("paused", "ann"), (status["last_event"]["event"], status["last_event"]["by"]))
        self.refused_verb("pause", "paused already")
        self.run_verb("resume")
        self.at(1)
        self.refused_verb("resume", "not paused")

    def test_without_a_daemon_a_verb_says_in_its_document_that_nothing_goes_on(self):
        self.begin()
        self.at(1)
        self.run_verb("pause")
        self.stop_daemon()
        answer = self.succeeds(self.box("-j", "rollout", "resume", "api"))
        self.assertEqual(("rollout resume", ""), (answer.json["cmd"], answer.err))
        self.assertIn("daemon is not running", answer.json["warnings"][0]["message"])
        self.assertNotIn("warnings", self.succeeds(self.box("-j", "rollout", "pause", "api")).json)
        self.assertIn("warning: ", self.box("rollout", "resume", "api").err)

    def test_a_watch_whose_time_is_over_says_so_in_its_last_line(self):
        self.begin()
        self.at(1)
        self.run_verb("pause")
        answer = self.box("-j", "rollout", "status", "api", "--timeout", "100ms")
        self.assertEqual((1, "", "paused"), (answer.status, answer.err, answer.json["state"]))
        self.assertIn("--timeout", answer.json["errors"][0]["message"])
        answer = self.box("-j", "rollout", "status", "api", "--watch", "--timeout", "100ms")
        first, last = [json.loads(line) for line in answer.out.splitlines()]
        self.assertEqual((1, "", "paused", ["errors"]), (answer.status, answer.err, first["state"], list(last)))

    def test_promote_full_begins_the_last_step_now(self):
        self.begin(steps=[{"weight": "5%"}, {"weight": "20%"}, {"weight": "40%"}, {"pause": {}}])
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.run_verb("promote", "--full")
        self.at(4, "waiting", "pause")
        self.assertEqual(400000, self.status()["rules"][0]["set_ppm"])

    def test_abort_is_at_once_also_without_a_daemon_and_retry_is_anew(self):
        self.begin()
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.succeeds(self.box("client", "pin", "api", CLIENT, "canary"))
        self.assertEqual("canary", self.box.explain()["cohort"])
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.run_verb("abort", "--reason", "smoke")
        self.assertEqual(("stable", "rolled_back"), (self.box.explain()["cohort"], self.box.explain()["reason"]))
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((3, "aborted", "smoke"), (answer.status, answer.json["state"], answer.json["reason"]))
        self.refused_verb("retry", "daemon")
        self.box.start("daemon")
        wait_for(lambda: self.box("rollout", "retry", "api").status == 0, 20)
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.assertEqual((2, "canary"), (self.status()["id"], self.box.explain()["cohort"]))

    def test_start_keeps_an_operators_share_until_step_1_and_says_that_it_falls(self):
        self.begin(daemon=False)
        self.succeeds(self.box("rollout", "set", "api", "20%"))
        self.box.start("daemon")
        answers = []
        wait_for(lambda: not answers.append(self.box("rollout", "start", "api")) and not answers[-1].status, 20)
        self.assertIn("falls from 20% to 5% as step 1 begins", answers[-1].err)
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] != 200000, 20)
        self.assertEqual(50000, self.status()["rules"][0]["set_ppm"])
        steps = [event for event in self.box("-j", "rollout", "history", "api").json["events"]
                 if event["event"] == "step"]
        self.assertEqual((200000, 50000), (steps[0]["before_ppm"], steps[0]["after_ppm"]))

    def test_a_rule_that_no_step_names_is_never_touched(self):
        api = rolling()
        api["rules"].insert(0, {"segment": "vip", "allocate": {"canary": "0%"}})
        self.applied(api, segments=[{"name": "vip", "cidrs": ["203.0.113.0/24"]}])
        self.box.start("daemon")
        self.succeeds(self.box("rollout", "set", "api", "10%", "--rule", "vip"))
        wait_for(lambda: self.box("rollout", "start", "api").status == 0, 20)
        for verb in ("retry", "start"):
            self.assertIn(("vip", 100000, True), self.shares())
            self.run_verb("abort")
            self.run_verb(verb)
        self.assertIn(("vip", 100000, True), self.shares())

    def shares(self):
        return [(rule["rule"], rule["set_ppm"], rule["live"]) for rule in self.status()["rules"]]

    def test_kill_ends_it_and_reset_closes_it(self):
        self.begin()
        self.at(1)
        self.fails(self.box("rollout", "reset", "api"), 1, "rollout 1 is under way")
        self.succeeds(self.box("kill", "api"))
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((3, "killed", "killed"),
                         (answer.status, answer.json["state"], answer.json["last_event"]["event"]))
        self.refused_verb("promote", "killed")
        self.succeeds(self.box("rollout", "reset", "api"))
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((1, "idle", None), (answer.status, answer.json["state"], answer.json["id"]))
        self.assertEqual(["killed"], [rollout["state"] for rollout in
                                      self.box("-j", "rollout", "history", "api").json["rollouts"]])
        self.run_verb("start")
        self.assertEqual(2, self.status()["id"])

    def succeeded(self):
        self.begin(steps=[{"weight": "5%"}])
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.run_verb("promote")
        wait_for(lambda: self.status()["state"] == "succeeded", 20)

    def test_a_kill_of_one_that_has_succeeded_takes_it_back_and_it_can_be_tried_again(self):
        self.succeeded()
        self.stop_daemon()
        self.succeeds(self.box("kill", "api"))
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((3, "killed", "killed"),
                         (answer.status, answer.json["state"], answer.json["last_event"]["event"]))
        self.box.start("daemon")
        wait_for(lambda: self.box("rollout", "retry", "api").status == 0, 20)
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.assertEqual((2, "running"), (self.status()["id"], self.status()["state"]))

    def test_who_killed_it_and_why_is_in_all_that_is_told_of_its_rollout(self):
        pager = self.enterContext(self.box.receiver())
        self.begin(hooks=[{"on": "rollback", "url": pager.url}])
        self.at(1)
        self.stop_daemon()
        self.succeeds(self.box("kill", "api", "--by", "bob", "--reason", "boom"))
        status = self.status()
        self.assertEqual(("boom", "bob", "boom"),
                         (status["reason"], *(status["last_event"][key] for key in ("by", "reason"))))
        event = self.box("-j", "rollout", "history", "api").json["events"][-1]
        self.assertEqual(("killed", "bob", "boom"), tuple(event[key] for key in ("event", "by", "reason")))
        self.box.start("daemon")
        wait_for(lambda: pager.of("killed"), 20)
        self.assertEqual(("bob", "boom"), tuple(pager.of("killed")[0][key] for key in ("by", "reason")))

    def test_a_kill_without_a_reason_has_words_of_its_own(self):
        self.begin()
        self.at(1)
        self.stop_daemon()
        self.succeeds(self.box("kill", "--all", "--by", "bob"))
        self.assertEqual(("bob", "the service was killed"),
                         tuple(self.status()["last_event"][key] for key in ("by", "reason")))

    def holding_the_lock(self):
        lock = self.enterContext(open(os.path.join(self.box.state, "lock"), "r+", encoding="utf-8"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def test_who_killed_it_is_known_though_another_had_the_lock_for_a_moment(self):
        self.begin(daemon=False)
        lock = self.holding_the_lock()
        kill = self.box.start("kill", "api", "--by", "bob", "--reason", "boom")
        self.assertIn("every client goes to control", kill.stdout.readline())
        lock.close()
        self.assertEqual(0, kill.wait())
        entry = self.box("-j", "audit", "api").json["entries"][-1]
        self.assertEqual(({"killed": True}, "bob", "boom"), (entry["after"], entry["by"], entry["reason"]))

    def test_a_kill_that_nobody_could_record_counts_at_once_and_the_next_writer_records_it(self):
        self.succeeded()
        lock = self.holding_the_lock()
        self.succeeds(self.box("kill", "api", "--by", "bob", "--reason", "boom"))
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((3, "killed"), (answer.status, answer.json["state"]))
        self.assertNotIn("killed", [event for _, event, _ in self.events()])
        fcntl.flock(lock, fcntl.LOCK_UN)
        self.succeeds(self.box("client", "pin", "api", CLIENT, "stable", "--by", "eve", "--reason", "else"))
        self.assertEqual("killed", self.events()[-1][1])
        # What the kill was for nobody has kept; it was not what the writer is for.
        self.assertEqual(("kill", "the service was killed"),
                         tuple(self.status()["last_event"][key] for key in ("by", "reason")))
        self.run_verb("retry")

    def said(self):
        """(rollout, event) of the lines in the daemon's log, as they come."""
        found = []
        for line in self.read_log():
            match = re.search(r"services/api/rollout: (\w+) of rollout (\d+)", line)
            if match:
                found.append((int(match[2]), match[1]))
        return found

    def read_log(self):
        with open(os.path.join(self.box.directory, "log"), encoding="utf-8") as stream:
            return stream.read().splitlines()

    def start_logging(self):
        with open(os.path.join(self.box.directory, "log"), "a", encoding="utf-8") as log:
            daemon = subprocess.Popen(self.box.argv("daemon"), env=self.box.environment, stderr=log)
        self.box.processes.append(daemon)
        return daemon

    def test_the_log_says_every_event_of_a_rollout(self):
        self.applied(rolling())
        daemon = self.start_logging()
        wait_for(lambda: self.box("rollout", "start", "api").status == 0, 20)
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.run_verb("pause", "--reason", "lunch", "--by", "ann")
        self.run_verb("resume")
        self.run_verb("promote")
        self.at(2, "waiting", "pause")
        happened = [(1, event) for event in ("started", "step", "paused", "resumed", "promoted", "step")]
        wait_for(lambda: self.said() == happened, 5)
        lines = [line for line in self.read_log() if " of rollout 1" in line]
        self.assertIn("step of rollout 1 at step 1, 0% to 5%, by guard: weight 5%", lines[1])
        self.assertIn("paused of rollout 1 at step 1, by ann: lunch", lines[2])
        # What happened while it was away, the next one says; nothing is said twice.
        time.sleep(1.5)
        daemon.terminate()
        daemon.wait()
        self.run_verb("abort")
        daemon = self.start_logging()
        happened.append((1, "aborted"))
        wait_for(lambda: self.said() == happened, 10)
        wait_for(lambda: self.box("rollout", "retry", "api").status == 0, 20)
        wait_for(lambda: (2, "step") in self.said(), 20)
        self.assertEqual(happened + [(2, "started"), (2, "step")], self.said())

    def test_the_journal_gets_the_fields_of_a_rollouts_events(self):
        self.applied(rolling())
        run = os.path.join(self.box.directory, "run")
        os.makedirs(os.path.join(run, "systemd/journal"))
        journal = self.enterContext(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        journal.bind(os.path.join(run, "systemd/journal/socket"))
        log = self.enterContext(open(os.path.join(self.box.directory, "log"), "w"))
        there = os.fstat(log.fileno())
        # A directory of its own in the place of /run.
        words = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" /run && shift && exec "$@"', "sh", run]
        daemon = subprocess.Popen(self.box.inside(*words, PROGRAM, "daemon"), stderr=log, env={
            **self.box.environment, "JOURNAL_STREAM": f"{there.st_dev}:{there.st_ino}"})
        self.box.processes.append(daemon)
        wait_for(lambda: self.box("rollout", "start", "api").status == 0, 20)
        self.run_verb("abort", "--reason", "enough")
        journal.settimeout(10)
        entry = {}
        while entry.get("EVENT") != "aborted":
            entry = dict(line.split("=", 1) for line in journal.recv(65536).decode().splitlines())
        self.assertEqual("api", entry["SERVICE"])
        self.assertEqual(("canary", "1", "1", "4"),
                         tuple(entry[name] for name in ("COHORT", "ROLLOUT", "REVISION", "PRIORITY")))
        self.assertEqual(self.box.epoch(), int(entry["EPOCH"]))
        self.assertIn("by ", entry["MESSAGE"])
        self.assertIn(": enough", entry["MESSAGE"])
        self.assertEqual([], self.read_log())

    def test_a_second_daemon_is_refused(self):
        self.begin()
        second = self.box.start("daemon")
        self.assertEqual(1, second.wait(20))
        self.assertIn("running already", second.stderr.read())

    def test_bad_words_change_nothing(self):
        self.applied(rolling(), service("web", 11))
        for verb in ("start", "retry"):
            self.refused(["rollout", verb, "api"], "services/api/rollout", "daemon")
        for verb in ("pause", "resume", "approve", "promote", "abort"):
            self.refused(["rollout", verb, "api"], "services/api/rollout", "none is running")
        for verb in ("start", "pause", "status", "history", "export", "clients"):
            self.refused(["rollout", verb, "apy"], "did you mean `api`" if verb not in ("export", "clients") else "apy")
        self.box.start("daemon")
        wait_for(lambda: "no steps" in self.box("rollout", "start", "web").err, 20)
        self.fails(self.box("rollout", "status", "api", "--timeout", "soon"), 2, "--timeout")
        self.fails(self.box("rollout", "status", "--watch"), 2, "no service is named")
        self.fails(self.box("rollout", "clients", "api", "--id", "x"), 2, "--id")
        self.fails(self.box("rollout", "export", "api"), 1, "there never was one")

    def test_a_canary_without_backends_is_not_rolled_out(self):
        empty = rolling()
        empty["cohorts"][1]["backends"] = []
        self.applied(empty)
        self.box.start("daemon")
        wait_for(lambda: "has no backends" in self.box("rollout", "start", "api").err, 20)


    def test_a_canary_whose_servers_are_not_there_yet_is_waited_for(self):
        self.applied(rolling())
        canary = "10.0.10.3"
        self.succeeds(self.box("backend", "set", "api", canary, "down"))
        self.box.start("daemon")
        wait_for(lambda: self.box("rollout", "start", "api").status == 0, 20)
        wait_for(lambda: self.status()["reason"] == "no backend of the canary is alive", 20)
        time.sleep(4)  # in which the guard looks, too
        self.assertEqual(("running", 0), (self.status()["state"], self.status()["rules"][0]["set_ppm"]))
        self.succeeds(self.box("backend", "set", "api", canary, "up"))
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.succeeds(self.box("backend", "set", "api", canary, "down"))
        wait_for(lambda: self.status()["state"] == "rolled_back", 20)


class Shown(RolloutTest):
    MEMBERS = ("cmd service id release state step cohort rules armed lease verdict reason metrics "
               "segment_refresh_waiting policy_digest last_event").split()

    def test_status_has_the_contracts_members(self):
        self.begin()
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        status = self.status()
        self.assertEqual(self.MEMBERS, list(status))
        self.assertEqual(["index", "count", "kind", "since", "waiting_for"], list(status["step"]))
        self.assertEqual((1, 5, "weight"), tuple(status["step"][key] for key in ("index", "count", "kind")))
        since = datetime.datetime.fromisoformat(status["step"]["since"].replace("Z", "+00:00"))
        self.assertLess(abs(since.timestamp() - time.time()), 30)
        self.assertEqual([{"rule": "default", "set_ppm": 50000, "actual_flows_ppm": None, "actual_packets_ppm": None,
                           "actual_clients_ppm": None, "base_ppm": 0, "live": True}],
                         [{**rule, "actual_clients_ppm": None} for rule in status["rules"]])
        self.assertEqual(300, status["lease"]["seconds"])
        self.assertTrue(0 < status["lease"]["remaining_seconds"] <= 300, status)
        self.assertEqual("event time service id step metric log_e clients_affected before_ppm after_ppm by "
                         "reason".split(), list(status["last_event"]))
        one = self.box("-j", "rollout", "status")  # all services: an object a line
        self.assertEqual("api", json.loads(one.out.splitlines()[0])["service"])

    def metrics(self):
        """{name and labels: value} of what the daemon exports."""
        page = subprocess.run(self.box.inside("curl", "-s", "http://127.0.0.1:9977/metrics"), capture_output=True,
                              text=True, check=True).stdout
        return {line.rpartition(" ")[0].removeprefix("xdp_canary_"): float(line.rpartition(" ")[2])
                for line in page.splitlines() if line and not line.startswith("#")}

    def test_status_and_metrics_name_the_same_policy(self):
        self.begin()
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        for verb in ((), ("pause",), ("abort",)):
            if verb:
                self.run_verb(*verb)
            self.assertIn(f'policy_digest_info{{service="api",digest="{self.status()["policy_digest"]}"}}',
                          self.metrics())

    def test_armed_is_never_unknown_and_metrics_say_what_status_says(self):
        self.begin(steps=[{"weight": "100%"}, {"pause": {}}], metrics=[{"name": "connect_failure"}])
        seen = set()

        def is_unarmed():
            seen.add(self.status()["armed"])
            return "none" in seen

        wait_for(is_unarmed, 20)
        self.assertLessEqual(seen, {"relative", "none"})  # of nobody in the canary it is compared, of all nothing is
        wait_for(lambda: self.status()["metrics"], 20)
        for verb in ((), ("pause",), ("abort",)):
            if verb:
                self.run_verb(*verb)
            status, metrics = self.status(), self.metrics()
            for name, label, value in (("verdict", "verdict", status["verdict"]), ("rollout_armed", "armed", status["armed"]),
                                       ("rollout_state", "state", status["state"])):
                rows = {row: number for row, number in metrics.items() if row.startswith(name + "{")}
                self.assertEqual(1, rows[f'{name}{{service="api",{label}="{value}"}}'], rows)
                self.assertEqual(1, sum(rows.values()), rows)

    def test_metrics_say_inconclusive_where_status_does(self):
        self.begin(max_duration="1s", steps=[{"weight": "5%"}, {"pause": {}}])
        wait_for(lambda: self.status()["state"] == "paused" and self.status()["metrics"], 20)
        self.assertEqual("INCONCLUSIVE", self.status()["verdict"])
        self.assertEqual(1, self.metrics()['verdict{service="api",verdict="INCONCLUSIVE"}'])

    def test_without_a_daemon_status_says_so_and_why_what_nobody_recorded_has_ended(self):
        self.begin(lease="1s")
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.assertNotIn("Daemon:", self.box("rollout", "status", "api").out)
        self.daemon.send_signal(signal.SIGSTOP)
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.assertIn("not running", self.box("rollout", "status", "api").out)
        wait_for(lambda: self.status()["state"] == "lease_expired", 20)
        self.assertEqual("the lease was not renewed in time", self.status()["reason"])
        shown = self.box("rollout", "status", "api")
        self.assertEqual(3, shown.status)
        self.assertIn("lease_expired, step 1 of 5, by lease", shown.out)
        self.assertNotIn("Daemon:", shown.out)

    def test_status_without_a_rollout_is_idle_and_fails(self):
        self.applied(rolling())
        answer = self.box("-j", "rollout", "status", "api")
        self.assertEqual((1, "idle", self.MEMBERS), (answer.status, answer.json["state"], list(answer.json)))
        self.assertEqual(1, self.box("rollout", "status", "api").status)

    def test_what_the_file_has_forgotten_is_still_shown(self):
        self.begin()
        self.at(1)
        self.run_verb("abort")
        without = rolling()
        del without["rollout"]
        self.applied(without)
        for words in (("api",), ()):
            answer = self.box("-j", "rollout", "status", *words)
            self.assertEqual((3, "aborted"), (answer.status, answer.json["state"]))
        self.run_verb("reset")
        self.fails(self.box("rollout", "status"), 1, "no service has a rollout")

    def test_watch_prints_each_change_and_ends_with_the_rollout(self):
        self.begin()
        self.at(1)
        lines = self.box.start("rollout", "status", "api", "--watch")
        objects = self.box.start("-j", "rollout", "status", "api", "--watch")
        time.sleep(1)
        self.run_verb("pause")
        time.sleep(1.5)
        self.run_verb("abort")
        self.assertEqual((3, 3), (lines.wait(20), objects.wait(20)))
        shown = lines.stdout.read().splitlines()
        self.assertIn("paused", shown[-2])
        self.assertIn("aborted", shown[-1])
        self.assertEqual(len(shown), len(set(shown)))
        # An object for each change, of a count or a reason too.
        states = [json.loads(line)["state"] for line in objects.stdout.read().splitlines()]
        self.assertEqual(["running", "paused", "aborted"], [state for state, _ in itertools.groupby(states)])

    def test_watch_draws_a_tree_on_a_terminal(self):
        self.begin()
        self.at(1)
        self.run_verb("pause")
        words = " ".join(self.box.argv("rollout", "status", "api", "--watch", "--timeout", "2s", "--color", "never"))
        done = subprocess.run(["script", "-qec", words, "/dev/null"], env=self.box.environment, text=True,
                              capture_output=True, timeout=60, check=False)
        self.assertEqual(1, done.returncode)
        self.assertIn("\033[H", done.stdout)
        last = done.stdout.split("\033[H")[-1]
        for text in ("paused, step 1 of 5", "STEPS", "⏸  1  weight 5%", "·  3  approve: capacity checked?", "EVENTS",
                     "default"):
            self.assertIn(text, last)
        self.assertIn("--timeout", done.stdout)

    def test_timeout_without_watch_waits_and_prints_once(self):
        self.begin()
        self.at(1)
        answer = self.box("-j", "rollout", "status", "api", "--timeout", "1s")
        self.assertEqual((1, "running"), (answer.status, json.loads(answer.out.splitlines()[0])["state"]))
        waiting = self.box.start("-j", "rollout", "status", "api", "--timeout", "1m")
        time.sleep(1)
        self.run_verb("abort")
        self.assertEqual(3, waiting.wait(20))
        self.assertEqual("aborted", json.loads(waiting.stdout.read())["state"])

    def test_export_has_everything_and_guard_replay_takes_its_counts(self):
        self.begin()
        wait_for(lambda: self.status()["rules"][0]["set_ppm"] == 50000, 20)
        self.run_verb("abort", "--reason", "smoke")
        directory = os.path.join(self.box.directory, "export")
        answer = self.succeeds(self.box("-j", "rollout", "export", "api", "-o", directory)).json
        self.assertEqual(sorted(answer["files"]), sorted(os.listdir(directory)))

        def read(name):
            with open(os.path.join(directory, name), encoding="utf-8") as stream:
                return stream.read()

        rollout = json.loads(read("rollout.json"))
        self.assertEqual((1, "aborted", 5), (rollout["id"], rollout["state"], len(rollout["steps"])))
        self.assertEqual({"kind": "weight", "weight_ppm": 50000}, rollout["steps"][0])
        self.assertEqual(["started", "step", "aborted"], [event["event"] for event in json.loads(read("events.json"))])
        self.assertEqual([{"live/default/canary": 50000}, {"latch": "aborted"}],
                         [entry["after"] for entry in json.loads(read("audit.json"))])
        self.assertIn("release: v1", read("config.yaml"))
        self.assertEqual(["client", "cohort", "metric", "time"], next(csv.reader(read("clients.csv").splitlines())))
        self.succeeds(self.box("guard", "replay", os.path.join(directory, "counts.csv")))
        self.fails(self.box("rollout", "export", "api", "-o", "/proc/none"), 1, "/proc/none")
        self.assertEqual([], self.box("-j", "rollout", "clients", "api").json["clients"])
        self.fails(self.box("rollout", "clients", "api", "--id", "7"), 1, "no rollout 7")


    def test_what_is_exported_is_not_for_all_to_read_wherever_it_goes(self):
        self.begin()
        directory = os.path.join(self.box.directory, "export")
        os.mkdir(directory)
        os.chmod(directory, 0o755)
        for name in ("clients.csv", "rollout.json"):
            with open(os.path.join(directory, name), "w", encoding="ascii"):
                os.chmod(os.path.join(directory, name), 0o644)
        answer = self.succeeds(self.box("-j", "rollout", "export", "api", "-o", directory, umask=0)).json
        self.assertEqual({0o640}, {os.stat(os.path.join(directory, name)).st_mode & 0o777
                                   for name in answer["files"]})
        self.assertEqual(sorted(answer["files"]), sorted(os.listdir(directory)))


class Feedback(RolloutTest):
    def write(self, *rows, header="client,metric,time,service"):
        return self.box.write("\n".join([header, *rows, ""]), "feedback.csv")

    def test_what_cannot_be_taken_is_refused_whole(self):
        self.applied(rolling(), service("web", 11))
        add = ["feedback", "add"]
        self.refused([*add, CLIENT, "--metric", "complaint"], "metric", "`complaint`", "source: feedback")
        self.refused([*add, CLIENT, "--metric", "connect_failure"], "`connect_failure`")
        self.refused([*add, CLIENT, "--metric", "complaints", "--service", "web"], "`complaints`")
        self.refused([*add, CLIENT, "--metric", "complaints", "--service", "wob"], "no service `wob`")
        self.refused([*add, "198.51.100.300", "--metric", "complaints"], "client")
        self.refused([*add, CLIENT, "--metric", "complaints", "--time", "2200-01-01T00:00:00Z"], "yet to come")
        self.refused([*add, CLIENT, "--metric", "complaints", "--time", "noon"], "no time")
        self.fails(self.box(*add, CLIENT), 2, "--metric")
        good = f"{CLIENT},complaints,,api"
        for bad, place in ((f"{CLIENT},complaint,,api", "3:19"), ("nobody,complaints,,api", "3:1"),
                           (f"{CLIENT},complaints,soon,api", "3:26"), (f"{CLIENT},complaints", "3:1"),
                           (f"{CLIENT},complaints,,wob", "3:27")):
            path = self.write(good, bad)
            if place == "3:19":
                place = f"3:{len(CLIENT) + 2}"
            self.fails(self.box("feedback", "import", path), 1, f"{path}:3:")
        self.fails(self.box("feedback", "import", self.write(good, header="client,what")), 1, "header")
        self.fails(self.box("feedback", "import", self.box.directory + "/none.csv"), 1, "cannot be read")

    def test_reports_are_taken_in_the_form_of_the_services_clients(self):
        self.applied(rolling())
        answer = self.succeeds(self.box("-j", "feedback", "add", "2001:db8:1:2:3::4", "--metric", "complaints",
                                        "--time", "-5m")).json
        self.assertEqual(("api", "2001:db8:1:2::", "complaints"),
                         (answer["service"], answer["client"].split("/")[0], answer["metric"]))
        at = datetime.datetime.fromisoformat(answer["time"].replace("Z", "+00:00"))
        self.assertLess(abs(at.timestamp() - (time.time() - 300)), 60)
        path = self.write(f"{CLIENT},complaints,2026-01-02T03:04:05Z,api", f"{CLIENT},complaints,,")
        self.assertEqual(2, self.succeeds(self.box("-j", "feedback", "import", path)).json["rows"])


if __name__ == "__main__":
    unittest.main()
