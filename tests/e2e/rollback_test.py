#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A canary that breaks is rolled back by itself, whatever breaks; one that is harmless is not.

Every scenario of rollout_lab.py, in a process and a lab of its own, some of them at a time; each
test waits for its own. Sizes are such that a failure is missed less than once in 10,000 runs
(rollback_power.py computes it), and alpha is so small for the harmless that they fail less often.
What was measured is in build/rollback-test.json.
"""

import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from box import PROGRAM, ROOT, SEED, why_not  # noqa: E402
from rollback_power import power  # noqa: E402
from rollout_lab import FAILURES, HARMLESS, SCENARIOS  # noqa: E402

AT_A_TIME = 4
TIMEOUT = 300
ALPHA, ALPHA_OF_HARMLESS = 0.01, 1e-5
MUCH_LONGER = 60  # seconds to a rollback: no test of speed, but of its being no chance event
RESULTS = os.path.join(ROOT, "build", "rollback-test.json")


class Runs:
    """All scenarios, AT_A_TIME of them at once, those that take longest first."""

    def __init__(self):
        self.processes = set()
        self.pool = concurrent.futures.ThreadPoolExecutor(AT_A_TIME)
        order = sorted(SCENARIOS, key=lambda name: name in FAILURES)
        self.futures = {name: self.pool.submit(self.run, name, number)
                        for number, name in enumerate(order)}

    def run(self, name, number):
        alpha = ALPHA if name in FAILURES else ALPHA_OF_HARMLESS
        process = subprocess.Popen(
            [sys.executable, os.path.join(HERE, "rollout_lab.py"), name, "--alpha", str(alpha),
             "--seed", str((SEED + number) % 2 ** 32)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "XDP_CANARY": PROGRAM,
                            "XDP_CANARY_SEED": str((SEED + number) % 2 ** 32)})
        self.processes.add(process)
        try:
            output, errors = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGTERM)  # it unwinds its lab
            output, errors = process.communicate()
        if process.returncode:
            raise AssertionError(f"{name}: status {process.returncode}\n{output}{errors}")
        return json.loads(output.splitlines()[-1])

    def close(self):
        self.pool.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        self.pool.shutdown()


@unittest.skipIf(why_not(), why_not())
class Rollback(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"{cls.__name__}: seed {SEED}", flush=True)
        cls.runs = Runs()
        cls.results = {}
        cls.addClassCleanup(cls.runs.close)

    @classmethod
    def tearDownClass(cls):
        os.makedirs(os.path.dirname(RESULTS), exist_ok=True)
        with open(RESULTS, "w") as file:
            json.dump(cls.results, file, indent=1)

    def result(self, name):
        result = self.results[name] = self.runs.futures[name].result()
        print(json.dumps(result), flush=True)
        return result

    def check_rolled_back(self, name):
        result = self.result(name)
        failure = FAILURES[name]
        self.assertEqual((result["state"], result["event"], result["exit"]),
                         ("rolled_back", "rollback", 3), result)
        self.assertEqual((result["verdict"], result["after_ppm"]), ("ROLLBACK", 0), result)
        self.assertIn(result["metric"], failure.best, result)
        self.assertGreater(result["log_e"], 0, result)
        self.assertLess(result["seconds"], MUCH_LONGER, result)
        self.check_who_saw_it(result)
        self.assertEqual(result["arrivals_after"], 0, result)
        return result

    def check_who_saw_it(self, result):
        """Clients of the canary alone, some and never more than it had; and the box says so, too."""
        self.assertEqual(result["saw_outside"], [], result)
        self.assertGreater(result["saw"], 0, result)
        self.assertLessEqual(result["saw"], result["canary_clients"], result)
        self.assertGreater(result["affected"], 0, result)
        self.assertLessEqual(result["affected"], result["canary_clients"], result)

    def check_not_rolled_back(self, name):
        result = self.result(name)
        self.assertEqual((result["state"], result["exit"], result["no_room"]), ("succeeded", 0, 0), result)
        connections = result["connections"]
        self.assertGreater(connections["ok"], 1000, result)
        return result

    # ---- what breaks

    def test_a_canary_that_refuses_is_rolled_back(self):
        self.check_rolled_back("refuses")

    def test_a_canary_that_accepts_and_hangs_is_rolled_back(self):
        self.check_rolled_back("hangs")

    def test_a_canary_that_resets_after_accept_is_rolled_back(self):
        self.check_rolled_back("resets")

    def test_a_canary_that_answers_half_a_second_later_is_rolled_back(self):
        self.check_rolled_back("slower")

    def test_a_canary_that_closes_at_accept_is_rolled_back(self):
        self.check_rolled_back("closes")

    def test_a_canary_that_stalls_in_the_middle_of_the_answer_is_rolled_back(self):
        self.check_rolled_back("stalls")

    def test_a_canary_that_loses_5_percent_of_packets_is_rolled_back(self):
        self.check_rolled_back("loses")

    def test_a_canary_that_crashes_every_10_seconds_is_rolled_back(self):
        self.check_rolled_back("crashes")

    def test_a_canary_that_breaks_for_one_segment_only_is_rolled_back(self):
        self.check_rolled_back("breaks-for-a-segment")

    def test_a_canary_that_breaks_an_hour_in_is_rolled_back(self):
        result = self.check_rolled_back("breaks-an-hour-in")
        # Windows begin with each share, and after the hour.
        self.assertGreaterEqual(result["windows"][-1], result["step"], result)

    # ---- what does not

    def test_promise_9_a_harmless_canary_is_not_rolled_back(self):
        self.check_not_rolled_back("healthy")

    def test_promise_9_a_flash_crowd_of_new_clients_rolls_nothing_back(self):
        result = self.check_not_rolled_back("flash-crowd")
        self.assertGreater(result["clients"], 5000, result)

    def test_promise_9_clients_that_are_further_away_roll_nothing_back(self):
        self.check_not_rolled_back("far-clients")

    def test_promise_9_clients_with_very_unequal_traffic_roll_nothing_back(self):
        result = self.check_not_rolled_back("unequal-traffic")
        self.assertGreater(result["connections"]["abandoned"], 100, result)

    # ---- the tests themselves

    def test_sizes_are_such_that_no_failure_is_missed_once_in_10000_runs(self):
        for name in FAILURES:
            self.assertLess(power(name)[-1], 1e-4, name)

    def test_every_scenario_has_its_test(self):
        with open(__file__, encoding="utf-8") as file:
            text = file.read()
        tested = {name for name in SCENARIOS if f'("{name}")' in text}
        self.assertEqual(tested, set(FAILURES) | set(HARMLESS))


if __name__ == "__main__":
    unittest.main()
