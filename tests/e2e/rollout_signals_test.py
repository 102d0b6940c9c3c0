#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What a rollout listens to besides the kernel: load, hooks, Prometheus, commands, feedback.

Written from the contract. The crowd is healthy in most of them, so that what happens comes of what is
said to the rollout.
"""

import contextlib
import csv
import http.client
import http.server
import json
import os
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side_by_side  # noqa: E402
from box import ASKER, SEED, wait_for, why_not  # noqa: E402
from rollout_lab import ENDED, SERVICE, RolloutLab, pause, steps  # noqa: E402
from web_stub import HANG, PrometheusStub, Receiver  # noqa: E402

CLIENTS, FLOWS = 800, 200
FAILING = 3  # samples in a row
HOLDS = 2.5  # seconds after which something that waits is taken to go on waiting


@unittest.skipIf(why_not(), why_not())
class SignalTest(unittest.TestCase):
    def setUp(self):
        self.lab = self.enterContext(RolloutLab(f"{SEED}{self.id()}"))

    ANALYSIS = steps("5%", {"analysis": {"timeout": "5m"}}, "50%")

    def start(self, rollout, **options):
        """With the crowd on its way. Bakes for a second."""
        self.rollout = {"steps": steps("5%", "50%"), "bake": "1s", "settle": "500ms", **rollout}
        self.lab.start(self.rollout, self.lab.population(self.lab.sources(CLIENTS), FLOWS), **options)

    def status(self):
        return self.lab.status()[1]

    def metric(self, name):
        """None: nothing was judged yet."""
        return {metric["metric"]: metric for metric in self.status()["metrics"]}.get(name)

    def wait_for_verdict(self, name, *verdicts, seconds=20):
        wait_for(lambda: (self.metric(name) or {}).get("verdict") in verdicts, seconds,
                 lambda: f"not {verdicts}: {self.metric(name)}")

    def share(self):
        return self.status()["rules"][0]["set_ppm"]

    def check_holds(self, condition, seconds=HOLDS):
        """Whatever happens, it stays so."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            status = self.status()
            self.assertTrue(condition(status), status)

    def check_rolled_back(self, metric):
        self.lab.wait_for_state("rolled_back")
        exit_status, status = self.lab.status()
        self.assertEqual(exit_status, 3)
        self.assertEqual((status["last_event"]["event"], status["last_event"]["metric"]),
                         ("rollback", metric), status)
        self.assertEqual(self.share(), 0)

    def export(self):
        """(rows of counts.csv, rows of clients.csv, guard replay's verdicts)"""
        directory = os.path.join(self.lab.lab.directory, "export")
        self.lab.box.run("rollout", "export", SERVICE, "-o", directory)

        def rows(name):
            with open(os.path.join(directory, name), newline="") as file:
                return list(csv.DictReader(file))

        replay = self.lab.box.run("-j", "guard", "replay", os.path.join(directory, "counts.csv"), check=False)
        return (rows("counts.csv"), rows("clients.csv"),
                {entry["metric"]: entry["verdict"] for entry in json.loads(replay.stdout)})

    def check_succeeds(self):
        self.lab.wait_for_state(*ENDED)
        exit_status, status = self.lab.status()
        self.assertEqual((status["state"], exit_status), ("succeeded", 0), status)


class Load(SignalTest):
    """One canary backend beside two of control: at 50% it has as much as each of them had at 0%."""

    def test_a_step_waits_while_the_canarys_backends_would_carry_more_than_max_load(self):
        self.start({"max_load": 0.5})
        self.lab.wait_for_step(2, "max_load")
        self.check_holds(lambda status: status["rules"][0]["set_ppm"] == 50000)
        value = self.lab.configuration({**self.rollout})
        value["services"][0]["cohorts"][1]["backends"][0]["weight"] = 300
        self.lab.box.apply(value)
        self.check_succeeds()
        self.assertEqual(self.share(), 500000)

    def test_without_max_load_it_only_warns(self):
        self.start({"steps": steps("5%", "60%")})
        self.check_succeeds()
        said = [event["reason"] for event in self.lab.box.json("rollout", "history", SERVICE)["events"]
                if event["event"] == "step"]
        self.assertEqual(["weight 5%", "weight 60%; a canary backend carries 1.2 times what one of the control did "
                          "at 0%"], said)


class Health(SignalTest):
    CHECK = {"type": "tcp", "interval": "500ms", "timeout": "400ms", "rise": 2, "fall": 2}

    def test_a_canary_without_backends_is_rolled_back_and_meanwhile_its_clients_are_served_by_control(self):
        # Nothing that the kernel sees could do it: one informational metric.
        self.start({"steps": steps("25%", pause(600)), "metrics": [{"name": "client_reset"}]},
                   health_check=self.CHECK)
        self.lab.wait_for_step(2, "pause")
        self.lab.canary.set("refuse")
        status = self.lab.wait_for_state("rolled_back")
        self.assertIn("backend", status["last_event"]["reason"])
        self.lab.crowd.mark()
        time.sleep(1)
        self.assertEqual(self.lab.crowd.report().failed, set())

    def test_one_backend_of_two_that_is_down_rolls_nothing_back(self):
        value = self.lab.configuration({"steps": steps("25%", pause(600))}, health_check=self.CHECK)
        dead = {"address": self.lab.lab.address("b3").rpartition(".")[0] + ".99", "mac": "02:00:00:00:99:99",
                "interface": "eth0"}
        value["services"][0]["cohorts"][1]["backends"].append(dead)
        self.lab.box.start(value)
        self.lab.box.daemon()
        self.lab.start_crowd(self.lab.population(self.lab.sources(CLIENTS), FLOWS))
        wait_for(lambda: [entry["serving"] for entry in self.lab.box.json("backend", "list", SERVICE)["backends"]
                          if entry["backend"] == dead["address"]] == [False], 10)
        self.lab.box.run("rollout", "start", SERVICE)
        self.lab.wait_for_step(2, "pause")
        self.check_holds(lambda status: status["state"] == "running", 4)


class Limits(SignalTest):
    def test_at_100_percent_a_limit_guards_and_the_canarys_counts_are_shown_and_exported(self):
        self.start({"steps": steps("100%", pause(600)), "metrics": [{"name": "connect_failure", "max_rate": "1%"}]})
        self.lab.wait_for_step(2, "pause")
        wait_for(lambda: (self.metric("connect_failure") or {"canary": {"clients": 0}})["canary"]["clients"] > 100, 20)
        self.assertIn("no control is left", self.metric("sample_ratio")["reason"])
        self.assertEqual(self.metric("connect_failure")["control"], {"clients": 0, "events": 0})
        self.lab.canary.set("refuse")
        self.check_rolled_back("connect_failure")
        metric = self.metric("connect_failure")
        self.assertIn(f"{metric['canary']['events']} of {metric['canary']['clients']} clients of the canary",
                      metric["reason"])
        counts, _, verdicts = self.export()
        counts = [row for row in counts if row["metric"] == "connect_failure"]
        self.assertEqual({("default", "1")}, {(row["rule"], row["pi"]) for row in counts})
        self.assertGreaterEqual(sum(int(row["k"]) for row in counts), metric["canary"]["events"])
        self.assertEqual("NODATA", verdicts["connect_failure"])  # a file of counts has no limits


class Hooks(SignalTest):
    def hook(self, receiver, **keys):
        return {"url": receiver.url + "/hook", "timeout": "500ms", "retries": 0, **keys}

    def test_a_gate_that_says_no_holds_the_step_until_it_says_yes(self):
        with Receiver(self.lab.lab, answer=503) as receiver:
            self.start({"hooks": [self.hook(receiver, on="before_step", gate=True)]})
            self.lab.wait_for(lambda status: status["step"]["waiting_for"] == "hook", 10, "no gate")
            self.check_holds(lambda status: status["rules"][0]["set_ppm"] == 0)
            self.assertEqual(self.status()["state"], "waiting")
            receiver.answer = 204
            self.lab.wait_for_step(1, seconds=30)
            self.check_succeeds()
            self.assertEqual(receiver.problems, [])
            self.assertEqual({(event["service"], event["id"]) for event in receiver.events},
                             {(SERVICE, self.status()["id"])})

    def start_with_gate(self, receiver):
        """Until the first step has begun, for which the gate opens."""
        self.start({"steps": steps("25%", "50%"), "hooks": [self.hook(receiver, on="before_step", gate=True)]})
        self.wait_for_share(250000)

    def wait_for_share(self, ppm):
        self.lab.wait_for(lambda status: status["rules"][0]["set_ppm"] == ppm, 30, f"not {ppm} ppm")

    def check_rolled_back_while_at_the_gate(self, answer):
        """The gate opens for the first step and is @answer from then on."""
        with Receiver(self.lab.lab) as receiver:
            self.start_with_gate(receiver)
            receiver.answer = answer
            self.lab.wait_for(lambda status: status["step"]["waiting_for"] == "hook", 30, "gate")
            self.lab.canary.set("refuse")
            self.check_rolled_back("connect_failure")

    def test_a_gate_that_says_no_does_not_disarm_the_rollback(self):
        self.check_rolled_back_while_at_the_gate(500)

    def test_a_gate_that_never_answers_does_not_disarm_the_rollback(self):
        self.check_rolled_back_while_at_the_gate(HANG)

    def test_a_gate_that_is_down_does_not_disarm_the_rollback(self):
        with Receiver(self.lab.lab) as receiver:
            self.start_with_gate(receiver)
        self.lab.wait_for(lambda status: status["step"]["waiting_for"] == "hook", 30, "gate")
        self.lab.canary.set("refuse")
        self.check_rolled_back("connect_failure")
        wait_for(lambda: sum(value for key, value in self.lab.box.metrics().items()
                             if key[0] == "hook_failures_total") > 0, 5)

    def test_rollback_and_success_are_posted_as_the_events_that_they_are(self):
        with Receiver(self.lab.lab) as receiver:
            self.start({"steps": steps("25%", pause(8)),
                        "hooks": [self.hook(receiver, on="rollback"), self.hook(receiver, on="success")]})
            self.check_succeeds()
            wait_for(lambda: receiver.of("succeeded"), 10, "nothing was posted")
            self.assertEqual(receiver.of("rollback"), [])
            self.lab.box.run("rollout", "start", SERVICE)
            self.lab.wait_for_step(2, "pause")
            self.lab.canary.set("refuse")
            self.check_rolled_back("connect_failure")
            event, = wait_for(lambda: receiver.of("rollback"), 10, "nothing was posted")
            self.assertEqual(event, self.status()["last_event"])
            self.assertEqual((event["service"], event["metric"], event["by"], event["before_ppm"], event["after_ppm"]),
                             (SERVICE, "connect_failure", "guard", 250000, 0))
            self.assertEqual(receiver.problems, [])

    def test_a_hook_that_is_no_gate_holds_nothing(self):
        with Receiver(self.lab.lab, answer=HANG) as receiver:
            self.start({"hooks": [self.hook(receiver, on=on) for on in
                                  ("before_step", "after_step", "success")]})
            self.check_succeeds()


class Prometheus(SignalTest):
    BAD, BAD_OF_CONTROL = 'errors{version="v2"}', 'errors{version="v1"}'

    def errors(self, **keys):
        return {"name": "errors", "source": "prometheus", "url": "http://127.0.0.1:9090", "query": self.BAD,
                "interval": "1s", **keys}

    def metrics(self, **keys):
        return [{"name": "connect_failure"}, self.errors(**keys)]

    def test_three_samples_beyond_the_threshold_roll_back(self):
        with PrometheusStub(self.lab.lab) as prometheus:
            prometheus.values[self.BAD] = 0.001
            self.start({"steps": steps("5%", pause(600), "50%"), "metrics": self.metrics(max=0.01)})
            self.lab.wait_for_step(2, "pause")
            bad = 2 * ([0.5] * (FAILING - 1) + [0.0])  # never three in a row
            prometheus.values[self.BAD] = lambda: bad.pop(0) if bad else 0.0
            wait_for(lambda: not bad, 30, "it does not ask")
            self.check_holds(lambda status: status["state"] == "running")
            prometheus.values[self.BAD] = 0.5
            self.check_rolled_back("errors")

    def test_a_value_below_the_minimum_rolls_back(self):
        with PrometheusStub(self.lab.lab) as prometheus:
            prometheus.values[self.BAD] = 0.2
            self.start({"steps": steps("5%", pause(600)), "metrics": self.metrics(min=0.9)})
            self.check_rolled_back("errors")

    def check_never_promotes(self, prometheus, values):
        """@values: and what status says of each"""
        for value, why in values:
            prometheus.values[self.BAD] = value
            self.check_holds(lambda status: status["rules"][0]["set_ppm"] <= 50000 and
                             status["state"] in ("running", "waiting"), 6)
            metric = self.metric("errors")
            self.assertEqual(metric["verdict"], "NODATA", value)
            self.assertIn(why, metric["reason"])

    def test_no_data_and_errors_of_the_query_never_promote_and_never_roll_back(self):
        with PrometheusStub(self.lab.lab) as prometheus:
            prometheus.values[self.BAD] = 0.0
            self.start({"metrics": self.metrics(max=0.01), "steps": self.ANALYSIS})
            self.lab.wait_for_step(2, "analysis")
            self.wait_for_verdict("errors", "PROMOTE")  # each answer counts, also where it is asked each second
            self.check_never_promotes(prometheus, ((None, "no series"), (ValueError("unclosed bracket"), "unclosed bracket"),
                                                   ("NaN", "gives NaN"), (HANG, "timed out")))
            self.assertEqual(self.status()["step"]["index"], 2)

    def test_a_server_that_is_down_is_no_data_and_the_kernels_metrics_stay_armed(self):
        self.start({"steps": steps("25%", pause(600)), "metrics": self.metrics(max=0.01)})
        self.wait_for_verdict("errors", "NODATA")
        self.lab.wait_for(lambda status: status["rules"][0]["set_ppm"] == 250000, 30, "not at 25%")
        self.lab.canary.set("refuse")
        self.check_rolled_back("connect_failure")

    def test_paired_counts_that_differ_roll_back_and_equal_ones_do_not(self):
        with PrometheusStub(self.lab.lab) as prometheus:
            began = time.monotonic()

            def counter(rate):
                return lambda: int((time.monotonic() - began) * rate)

            # The control's followed clients are four times as many.
            prometheus.values.update({self.BAD: counter(10), self.BAD_OF_CONTROL: counter(200)})
            self.start({"steps": steps("5%", pause(600)), "metrics": self.metrics(query_control=self.BAD_OF_CONTROL)})
            self.lab.wait_for_step(2, "pause")
            self.check_holds(lambda status: status["state"] == "running", 5)
            began -= 1000  # counters do not fall
            prometheus.values[self.BAD] = lambda: 10000 + int((time.monotonic() - began - 1000) * 100)
            self.check_rolled_back("errors")
            status = self.status()
            self.assertGreater(status["last_event"]["log_e"], 5)
            # Nobody knows whose requests they were.
            self.assertIsNone(status["last_event"]["clients_affected"])
            metric = self.metric("errors")
            self.assertEqual([None, None], [metric[arm]["clients"] for arm in ("canary", "control")])
            self.assertGreater(metric["canary"]["events"], 0)
            counts, _, verdicts = self.export()
            self.assertEqual({"-"}, {row["rule"] for row in counts if row["metric"] == "errors"})
            self.assertEqual("ROLLBACK", verdicts["errors"])

    def test_a_real_prometheus_that_scrapes_the_servers_rolls_back(self):
        with self.real_prometheus():
            bad, all_of = ('sum(rate(answers_total{version="v2",code="500"}[5s]))',
                           'sum(rate(answers_total{version="v2"}[5s]))')
            self.start({"steps": steps("50%", pause(600)), "metrics": [
                {"name": "connect_failure"},
                {**self.errors(max=0.1), "name": "http-5xx", "query": f"{bad} / {all_of}"}]})
            self.lab.wait_for_step(2, "pause")
            self.wait_for_verdict("http-5xx", "CONTINUE", "PROMOTE")
            self.lab.canary.set("error")
            self.check_rolled_back("http-5xx")

    @contextlib.contextmanager
    def real_prometheus(self):
        """A real one in the balancer's namespace; what it scrapes there tells what the servers answered."""
        lab, servers = self.lab.lab, self.lab.servers

        class Exporter(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                lines = []
                for role, server in servers.items():
                    report, version = server.report(), "v2" if role == "b3" else "v1"
                    for code, count in ((200, report["answered"] - report["failed"]), (500, report["failed"])):
                        labels = f'version="{version}",backend="{role}",code="{code}"'
                        lines.append(f"answers_total{{{labels}}} {count}\n")
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write("".join(["# TYPE answers_total counter\n"] + lines).encode())

            def log_message(self, *_):
                pass

        with lab.namespace("lb"):
            server = http.server.HTTPServer(("127.0.0.1", 9100), Exporter)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        path = os.path.join(lab.directory, "prometheus.yml")
        with open(path, "w") as file:
            json.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [
                {"job_name": "servers", "static_configs": [{"targets": ["127.0.0.1:9100"]}]}]}, file)
        log = self.enterContext(open(os.path.join(lab.directory, "prometheus.log"), "w"))
        process = lab.popen("lb", ["prometheus", f"--config.file={path}", "--log.level=error",
                                   f"--storage.tsdb.path={lab.directory}/tsdb",
                                   "--web.listen-address=127.0.0.1:9090"], stdout=log, stderr=log)
        try:
            wait_for(self.prometheus_is_ready, 30, "Prometheus does not start")
            yield
        finally:
            lab.stop(process)
            server.shutdown()
            server.server_close()
            thread.join()

    def prometheus_is_ready(self):
        with contextlib.suppress(OSError), self.lab.lab.namespace("lb"):
            connection = http.client.HTTPConnection("127.0.0.1", 9090, 2, ASKER)
            with contextlib.closing(connection):
                connection.request("GET", "/-/ready")
                return connection.getresponse().status == 200
        return False


class Commands(SignalTest):
    """A program that does what a file says, and tells who it is."""

    def setUp(self):
        super().setUp()
        directory = os.path.join(self.lab.lab.directory, "command")
        os.mkdir(directory)
        os.chmod(directory, 0o777)
        self.script, self.does, self.told = (os.path.join(directory, name) for name in ("check", "does", "told"))
        with open(self.script, "w") as file:
            file.write(f'#!/bin/sh\necho "$(id -u) $*" >>{self.told}\n. {self.does}\n')
        os.chmod(self.script, 0o755)
        self.do("exit 0")

    def do(self, text):
        path = self.does + ".new"
        with open(path, "w") as file:
            file.write(text + "\n")
        os.chmod(path, 0o644)
        os.rename(path, self.does)

    def metrics(self, **keys):
        return [{"name": "connect_failure"},
                {"name": "check", "source": "command", "command": [self.script, "a b", "$HOME;"], "interval": "1s",
                 "timeout": "500ms", **keys}]

    def test_three_failures_in_a_row_roll_back(self):
        self.start({"steps": steps("5%", pause(600)), "metrics": self.metrics()})
        self.lab.wait_for_step(2, "pause")
        self.check_holds(lambda status: status["state"] == "running", 4)
        self.do("exit 1")
        self.check_rolled_back("check")
        with open(self.told) as file:
            told = {line.rstrip("\n") for line in file}
        self.assertEqual(len(told), 1, told)
        user, words = told.pop().split(" ", 1)
        self.assertNotEqual(user, "0")
        self.assertEqual(words, "a b $HOME;")  # no shell has read it

    def test_no_data_never_promotes(self):
        self.do("exit 2")
        self.start({"metrics": self.metrics(), "steps": self.ANALYSIS})
        self.lab.wait_for_step(1)
        self.check_holds(lambda status: status["rules"][0]["set_ppm"] <= 50000 and
                         status["state"] in ("running", "waiting"), 6)
        self.assertEqual(self.metric("check")["verdict"], "NODATA")
        self.do("sleep 60")
        self.check_holds(lambda status: status["rules"][0]["set_ppm"] <= 50000 and
                         status["state"] in ("running", "waiting"), 5)


class Feedback(SignalTest):
    METRIC = "complaints"

    def begin(self):
        self.start({"steps": steps("25%", pause(600)),
                    "metrics": [{"name": "connect_failure"}, {"name": self.METRIC, "source": "feedback"}]})
        self.lab.wait_for_step(2, "pause")
        time.sleep(1)
        canaries = self.lab.in_canary()
        return sorted(canaries), sorted(set(self.lab.sources_of_crowd) - canaries)

    def import_of(self, clients, time_text=""):
        path = os.path.join(self.lab.lab.directory, "feedback.csv")
        with open(path, "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["client", "metric", "time", "service"])
            for client in clients:
                rows.writerow([client, self.METRIC, time_text or time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                               SERVICE])
        self.lab.box.run("feedback", "import", path)

    def test_complaints_of_the_canarys_clients_roll_back(self):
        canaries, _ = self.begin()
        self.import_of(canaries[:40])
        self.check_rolled_back(self.METRIC)

    def test_who_complained_is_exported_and_what_was_counted_can_be_replayed(self):
        canaries, others = self.begin()
        self.import_of(canaries[:40] + others[:3])
        self.check_rolled_back(self.METRIC)
        self.assertEqual(self.status()["last_event"]["clients_affected"], 40)
        touched = self.lab.box.json("rollout", "clients", SERVICE, "--metric", self.METRIC, "--cohort", "canary")
        self.assertEqual(sorted(canaries[:40]), sorted(entry["client"] for entry in touched["clients"]))
        counts, clients, verdicts = self.export()
        complained = [(row["client"], row["cohort"]) for row in clients if row["metric"] == self.METRIC]
        self.assertEqual(len(complained), len(set(complained)))
        self.assertLessEqual({(client, "canary") for client in canaries[:40]}, set(complained))
        self.assertEqual(set(others[:3]), {client for client, cohort in complained if cohort != "canary"})
        counts = [row for row in counts if row["metric"] == self.METRIC]
        self.assertEqual((40, 43), tuple(sum(int(row[key]) for row in counts) for key in "kn"))
        self.assertEqual("ROLLBACK", verdicts[self.METRIC])

    def test_complaints_of_one_client_count_once_and_those_of_both_arms_alike_roll_nothing_back(self):
        canaries, others = self.begin()
        for _ in range(30):
            self.lab.box.run("feedback", "add", canaries[0], "--metric", self.METRIC, "--service", SERVICE)
        self.import_of([canaries[1]] * 300)
        self.import_of(others[:90] + canaries[2:30])
        self.check_holds(lambda status: status["state"] == "running", 5)
        metric = self.metric(self.METRIC)
        self.assertEqual(metric["canary"]["events"], 30)
        self.assertGreater(metric["control"]["events"], 0)


if __name__ == "__main__":
    side_by_side.main()
