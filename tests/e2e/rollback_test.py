#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A canary that breaks is rolled back by itself, whatever breaks; one that is harmless is not.

Every scenario of rollout_lab.py in a lab of its own. Sizes are such that a failure is missed less
than once in 10,000 runs (rollback_power.py computes it); alpha is so small for the harmless ones
that they fail even less often. scripts/rollback-table tries the same again and again.
"""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import side_by_side  # noqa: E402
from box import SEED, why_not  # noqa: E402
from rollback_power import power  # noqa: E402
from rollout_lab import FAILURES, SCENARIOS, run_failure, run_harmless  # noqa: E402

ALPHA_OF_HARMLESS = 1e-5
MUCH_LONGER = 60  # seconds to a rollback: no test of speed, but of its being no chance event


@unittest.skipIf(why_not(), why_not())
class Rollback(unittest.TestCase):
    def result(self, run, name, **options):
        result = run(name, f"{SEED}{name}", **options)
        print(json.dumps(result), flush=True)
        return result

    def check_rolled_back(self, name):
        result = self.result(run_failure, name)
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
        result = self.result(run_harmless, name, alpha=ALPHA_OF_HARMLESS)
        self.assertEqual((result["state"], result["exit"], result["no_room"]), ("succeeded", 0, 0), result)
        self.assertGreater(result["connections"]["ok"], 1000, result)
        return result

    def check_quiet(self, result):
        """Servers that are well give their clients hardly any event of a failure."""
        for name in ("connect_failure", "syn_repeated", "quit", "silent", "retransmission"):
            self.assertLess(sum(result["events"][name]), 0.1 * result["clients"], name)

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
        # Two windows began with shares, and the next one after the hour.
        self.assertGreaterEqual(result["windows"][-1], 2, result)

    # ---- what does not

    def test_promise_9_a_harmless_canary_is_not_rolled_back(self):
        self.check_quiet(self.check_not_rolled_back("healthy"))

    def test_promise_9_a_flash_crowd_of_new_clients_rolls_nothing_back(self):
        result = self.check_not_rolled_back("flash-crowd")
        self.assertGreater(result["clients"], 2500, result)

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
        self.assertEqual(tested, set(SCENARIOS))


if __name__ == "__main__":
    side_by_side.main()
