#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What checks add up to, against a model that keeps the whole history and counts it anew at every step, written from
the promises alone: rise and fall as HAProxy means them; six changes in one era are flapping, which ends with it."""
import os
import random
import subprocess
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("CHECK", os.path.join(ROOT, "build", "tests", "reference", "check"))
SEED = int(os.environ.get("XDP_CANARY_SEED", time.time_ns()))
HISTORIES = 200
STEPS = 300
CHANGES = 6


class History:
    """A backend since it was first looked at. An era begins with the change that it is opened for."""

    def __init__(self, up, flapping):
        self.up, self.held = up, flapping
        self.results = []  # since the last change
        self.changes = CHANGES if flapping else 0
        self.era = None  # that changes are counted in; None: those that are counted will open one

    def result(self, rise, fall, passed):
        self.results.append(passed)
        wanted = fall if self.up else rise
        against = 0
        for earlier in reversed(self.results):
            if earlier == self.up:
                break
            against += 1
        if against < wanted:
            return False
        self.up, self.results = passed, []
        self.changes += 1
        self.held = self.held or self.changes >= CHANGES
        return True

    def look(self, era):
        """@era: its number; 0: none is open."""
        if self.era is None:
            if era:
                self.era = era
            elif self.held:  # stored by somebody before, and the era has ended since
                return self.release()
            return False
        if era == self.era:
            return False
        self.era = era or None
        return self.release()

    def release(self):
        was_held = self.held
        self.changes, self.held = 0, False
        return was_held


class Program:
    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(self, *words):
        print(*(int(word) if isinstance(word, bool) else word for word in words), file=self.process.stdin, flush=True)
        return [int(word) for word in self.process.stdout.readline().split()]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class CheckTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        print(f"{cls.__name__}: seed {SEED}", flush=True)

    def setUp(self):
        self.random = random.Random(f"{SEED}{self.id()}")
        self.ask = Program()
        self.addCleanup(self.ask.close)

    def same(self, model, changed, answer, trace):
        self.assertEqual([changed, model.up, model.held], answer, trace[-40:])

    def test_rise_fall_and_damping_are_those_of_the_model(self):
        held = released = 0
        for _ in range(HISTORIES):
            rise, fall = self.random.choice([(1, 1), (1, 2), (2, 3), (3, 1), (5, 5)])
            likely, stays = self.random.choice([.05, .5, .95]), self.random.choice([.5, .9, .99])
            model = History(self.random.random() < .5, self.random.random() < .2)
            trace = [("begin", model.up, model.held)]
            self.same(model, False, self.ask("begin", model.up, model.held), trace)
            era, passed = self.random.choice([0, 7]), True
            for _ in range(STEPS):
                if self.random.random() < .1:
                    if self.random.random() > stays:
                        era = self.random.choice([0, 0, era + 1])
                    trace.append(("era", era))
                    changed = model.look(era)
                    released += changed
                else:
                    passed = self.random.random() < likely if self.random.random() > stays else passed
                    if self.random.random() < .1:
                        passed = not passed
                    trace.append(("result", rise, fall, passed))
                    changed = model.result(rise, fall, passed)
                self.same(model, changed, self.ask(*trace[-1]), trace)
                held += model.held
        self.assertTrue(held and released)  # else nothing was tried

    def test_a_backend_falls_and_rises_after_so_many_results_in_a_row_and_no_fewer(self):
        self.ask("begin", 1, 0)
        seen = [self.ask("result", 2, 3, passed)[1] for passed in (0, 0, 1, 0, 0, 0, 1, 0, 1, 1)]
        self.assertEqual([1, 1, 1, 1, 1, 0, 0, 0, 0, 1], seen)

    def test_the_sixth_change_of_an_era_holds_it_down_until_that_era_has_ended(self):
        self.ask("begin", 1, 0)
        for change in range(1, 7):
            answer = self.ask("result", 1, 1, change % 2 == 0)
            self.assertEqual([1, change % 2 == 0, change == 6], answer[:3])
            self.assertEqual(0, self.ask("era", 3)[0])
        self.assertEqual([0, 1, 1], self.ask("result", 1, 1, 1)[:3])  # whatever its checks say
        self.assertEqual([1, 1, 0], self.ask("era", 0)[:3])
        self.assertEqual([1, 0, 0], self.ask("result", 1, 1, 0)[:3])  # counted from the beginning again

    def test_changes_of_different_eras_are_not_flapping(self):
        self.ask("begin", 1, 0)
        for era in range(1, 20):
            self.assertEqual([1, 0], self.ask("result", 1, 1, era % 2 == 0)[::2][:2])
            self.ask("era", era)
            self.ask("era", 0)

    def test_checks_are_spread_evenly_over_the_interval(self):
        for count in (10, 100, 4000):
            interval = 2_000_000
            phases = sorted(self.ask("phase", index, interval)[0] for index in range(count))
            self.assertGreaterEqual(phases[0], 0)
            self.assertLess(phases[-1], interval)
            gaps = [after - before for before, after in zip(phases, phases[1:] + [phases[0] + interval])]
            # The three-gap theorem: of the golden ratio none is more than phi^2 times the mean, but for rounding.
            self.assertLess(max(gaps), 2.7 * interval / count)

    def test_a_backend_is_asked_once_an_interval_at_its_phase(self):
        for _ in range(300):
            interval = self.random.choice([1, 2, 10, 1000, 2_000_000])
            phase, now = self.random.randrange(interval), self.random.randrange(1 << 40)
            first = self.ask("next", now, interval, phase)[0]
            self.assertEqual(phase, first % interval)
            self.assertTrue(interval / 2 < first - now <= interval * 3 / 2 + 1, (now, interval, phase, first))
            late = first + self.random.randrange(interval // 2 or 1)  # the loop was busy
            self.assertEqual(first + interval, self.ask("next", late, interval, phase)[0])


if __name__ == "__main__":
    unittest.main()
