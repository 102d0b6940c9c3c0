#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""guard replay: verdicts of recorded counts as the guard's description has them, and what is refused and where. No box
is needed."""

import json
import math
import os
import random
import subprocess
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
SEED = int(os.environ.get("XDP_CANARY_SEED", time.time_ns()))
HEADER = "time,window,metric,rule,k,n,pi"
TIME = "2030-01-02T03:04:05Z"


def log_mean(values):
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values) / len(values))


def model(rows, alpha=.01, beta=.05, margin=1, ratio=2):
    """The description, look by look, in Python: {metric: (verdict, ln E of the last window)}."""
    def likelihood(strata, psi):
        return sum(k * math.log(psi) - n * math.log(1 + pi * (psi - 1)) for k, n, pi in strata if 0 < pi < 1)

    metrics = list(dict.fromkeys(row[1] for row in rows))
    said = {}
    for metric in metrics:
        windows, events, verdict = {}, 0, None
        for window, name, rule, k, n, pi in rows:
            if name != metric:
                continue
            stratum = windows.setdefault(window, {}).setdefault((rule, pi), [0, 0, pi])
            stratum[0] += k
            stratum[1] += n
            events += n if 0 < pi < 1 else 0
            strata = list(windows[window].values())
            e = log_mean([likelihood(strata, margin * 2 ** (j / 2)) for j in range(1, 13)]) - likelihood(strata, margin)
            factor = (window + 1) * (window + 2)
            if e >= math.log(factor * len(metrics) / alpha):
                verdict = "ROLLBACK"
            elif verdict != "ROLLBACK" and likelihood(strata, 1) - likelihood(strata, ratio) >= math.log(factor / beta):
                verdict = "PROMOTE"
        last = list(windows[max(windows)].values())
        e = log_mean([likelihood(last, margin * 2 ** (j / 2)) for j in range(1, 13)]) - likelihood(last, margin)
        said[metric] = verdict or ("CONTINUE" if events else "NODATA"), e
    return said


class Replay(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.file = os.path.join(directory.name, "counts.csv")

    def run_on(self, text, *flags):
        with open(self.file, "w") as file:
            file.write(text)
        return subprocess.run([PROGRAM, "guard", "replay", self.file, *flags], capture_output=True, text=True)

    def replay(self, rows, *flags):
        lines = [HEADER] + ["%s,%s,%s,%s,%s,%s,%r" % ((TIME,) + row) for row in rows]
        return self.run_on("\n".join(lines) + "\n", *flags)

    def results(self, rows, *flags):
        answer = self.replay(rows, "-j", *flags)
        self.assertEqual(answer.stderr, "")
        return {result["metric"]: result for result in json.loads(answer.stdout)}, answer.returncode

    def test_e_and_interval_are_those_of_the_description(self):
        results, status = self.results([(0, "unanswered", "default", 20, 100, .05)], "--alpha", "0.05")
        self.assertEqual(status, 3)
        self.assertEqual(list(results["unanswered"]), ["metric", "log_e", "psi", "interval", "verdict"])
        self.assertAlmostEqual(results["unanswered"]["log_e"], 12.089642, places=6)
        self.assertAlmostEqual(results["unanswered"]["psi"], 4.75, places=9)
        self.assertAlmostEqual(results["unanswered"]["interval"][0], 1.88694, places=5)
        self.assertAlmostEqual(results["unanswered"]["interval"][1], 10.36611, places=5)
        self.assertEqual(results["unanswered"]["verdict"], "ROLLBACK")

    def test_the_interval_is_at_1_minus_alpha_and_alpha_is_1_percent(self):
        results, _ = self.results([(0, "m", "default", 20, 100, .05)])
        given, _ = self.results([(0, "m", "default", 20, 100, .05)], "--alpha", ".01")
        self.assertEqual(results, given)
        self.assertLess(results["m"]["interval"][0], 1.88694)
        self.assertGreater(results["m"]["interval"][1], 10.36611)

    def test_rows_are_increments_and_another_pi_is_another_stratum(self):
        whole, _ = self.results([(0, "m", "default", 12, 140, .05), (0, "m", "staff", 3, 40, .01)])
        parts, _ = self.results([(0, "m", "default", 4, 60, .05), (0, "m", "staff", 3, 40, .01),
                                 (0, "m", "default", 8, 80, .05)])
        self.assertEqual(whole, parts)
        two, _ = self.results([(0, "m", "default", 3, 40, .01), (0, "m", "default", 9, 100, .05)])
        self.assertAlmostEqual(two["m"]["log_e"], 1.477580, places=6)

    def test_windows_are_never_multiplied_and_each_has_its_threshold(self):
        # ln E 6.774 each: over ln 2/.01 = 5.3 in window 0 alone; two windows are not 13.5.
        rows = [(window, "m", "default", 30, 60, .25) for window in (3, 4)]
        results, status = self.results(rows)
        self.assertEqual((results["m"]["verdict"], status), ("CONTINUE", 0))
        self.assertAlmostEqual(results["m"]["log_e"], 6.774226, places=6)
        results, status = self.results([(0, "m", "default", 30, 60, .25)] + rows)
        self.assertEqual((results["m"]["verdict"], status), ("ROLLBACK", 3))

    def test_what_crossed_in_any_look_stays_crossed(self):
        rows = [(0, "m", "default", 30, 60, .25), (0, "m", "default", 100, 1000, .25), (1, "m", "default", 25, 100, .25)]
        results, status = self.results(rows)
        self.assertLess(results["m"]["log_e"], 0)
        self.assertEqual((results["m"]["verdict"], status), ("ROLLBACK", 3))

    def test_metrics_share_alpha(self):
        one = (0, "a", "default", 30, 60, .25)
        self.assertEqual(self.results([one])[1], 3)
        # ln(2 * 5 / .01) = 6.9
        results, status = self.results([one] + [(0, name, "default", 15, 60, .25) for name in "bcde"])
        self.assertEqual((results["a"]["verdict"], status), ("CONTINUE", 0))

    def test_promotion_and_no_data(self):
        results, status = self.results([(0, "good", "default", 40, 160, .25), (0, "few", "default", 2, 8, .25),
                                        (0, "none", "default", 0, 0, .25), (0, "all", "staff", 50, 50, 1.0)])
        self.assertEqual({name: result["verdict"] for name, result in results.items()},
                         {"good": "PROMOTE", "few": "CONTINUE", "none": "NODATA", "all": "NODATA"})
        self.assertEqual(status, 0)
        self.assertIsNone(results["none"]["psi"])
        self.assertIsNone(results["all"]["interval"][1])
        results, _ = self.results([(0, "good", "default", 40, 160, .25)], "--promote-ratio", "1.2")
        self.assertEqual(results["good"]["verdict"], "CONTINUE")

    def test_margin_forgives_a_little(self):
        row = (0, "m", "default", 20, 100, .05)
        self.assertAlmostEqual(self.results([row], "--margin", "1.5")[0]["m"]["log_e"], 6.449343, places=6)

    def test_random_files_against_a_model(self):
        print("XDP_CANARY_SEED=%d" % SEED)
        rng, said = random.Random(SEED), set()
        for _ in range(60):
            psi, alpha, beta = rng.choice([1, 1, 1.5, 4]), rng.choice([.01, .1]), rng.choice([.05, .3])
            margin, ratio = rng.choice([1, 1.25]), rng.choice([1.5, 2])
            pis = {(window, rule): rng.choice([.01, .2, .5, 1.0, rng.random()])
                   for window in range(5) for rule in ("default", "staff")}
            rows = []
            for _ in range(rng.randint(1, 60)):
                # Reports come late: an earlier window goes on.
                window = min(4, max(0, len(rows) // 12 - rng.choice([0, 0, 0, 1])))
                rule, n = rng.choice(["default", "staff"]), rng.randint(0, 40)
                pi = pis[window, rule]
                q = pi * psi / (1 - pi + pi * psi)
                rows.append((window, rng.choice(["a", "b"]), rule, sum(rng.random() < q for _ in range(n)), n, pi))
            results, status = self.results(rows, "--alpha", repr(alpha), "--beta", repr(beta), "--margin", repr(margin),
                                           "--promote-ratio", repr(ratio))
            expected = model(rows, alpha, beta, margin, ratio)
            self.assertEqual(list(results), list(expected))
            for metric, (verdict, log_e) in expected.items():
                self.assertEqual(results[metric]["verdict"], verdict, rows)
                self.assertAlmostEqual(results[metric]["log_e"], log_e, places=7)
                said.add(verdict)
            self.assertEqual(status, 3 if any(verdict == "ROLLBACK" for verdict, _ in expected.values()) else 0)
        self.assertGreaterEqual(len(said), 3)

    def test_for_people_there_is_a_table(self):
        answer = self.replay([(0, "unanswered", "default", 20, 100, .05), (0, "huge", "default", 10**9, 2 * 10**9, .25)])
        self.assertEqual(answer.returncode, 3)
        lines = [line.split() for line in answer.stdout.splitlines()]
        self.assertEqual(lines[0], ["METRIC", "VERDICT", "WINDOW", "E", "PSI", "FROM", "TO"])
        self.assertEqual(lines[1][:5], ["unanswered", "ROLLBACK", "0", "1.78e+05", "4.75"])
        self.assertRegex(lines[2][3], r"^1e\+\d{9}$")

    def test_columns_stand_in_any_order(self):
        answer = self.run_on("pi,n,k,rule,metric,window,time\r\n.05,100,20,default,m,0,%s\r\n" % TIME, "-j")
        self.assertAlmostEqual(json.loads(answer.stdout)[0]["log_e"], 12.089642, places=6)

    def refused(self, text, where, *words):
        answer = self.run_on(text, "-j")
        self.assertEqual(answer.returncode, 1, text)
        error = json.loads(answer.stdout)["errors"][0]
        self.assertEqual((error["line"], error["column"], error["object"]), where, error)
        for word in words:
            self.assertIn(word, error["message"])
        plain = self.run_on(text)
        self.assertTrue(plain.stderr.startswith("%s:%d:%d: %s: " % ((self.file,) + where)), plain.stderr)
        self.assertEqual(plain.stdout, "")

    def test_bad_files_are_refused_where_they_are_bad(self):
        def row(**cells):
            values = dict(zip(HEADER.split(","), (TIME, "0", "m", "default", "1", "2", "0.5")), **cells)
            return HEADER + "\n" + ",".join(values.values()) + "\n"

        self.assertEqual(self.run_on(row()).returncode, 0)
        self.refused(row(time="yesterday"), (2, 1, "time"), "yesterday")
        self.refused(row(time="-15m"), (2, 1, "time"))
        self.refused(row(window="-1"), (2, 22, "window"))
        self.refused(row(window="1.5"), (2, 22, "window"))
        self.refused(row(metric=""), (2, 24, "metric"), "empty")
        self.refused(row(rule="x" * 300), (2, 26, "rule"), "too long")
        self.refused(row(k="3"), (2, 34, "k"), "more than n")
        self.refused(row(k="-1"), (2, 34, "k"))
        self.refused(row(n="1e3"), (2, 36, "n"))
        self.refused(row(n="9223372036854775808"), (2, 36, "n"))
        for pi in ("1.1", "-0.1", "nan", "5%", "0x1", ""):
            self.refused(row(pi=pi), (2, 38, "pi"))
        self.refused(row()[:-5] + "\n", (2, 1, "row"), "6 fields")
        self.refused(row(metric='"m'), (2, 24, "row"), "never closed")
        self.refused(HEADER[:-3] + "\n", (1, 1, "header"), "`pi` is missing")
        self.refused(HEADER + ",extra\n", (1, 32, "header"), "extra")
        self.refused(HEADER.replace("rule", "k") + "\n", (1, 22, "header"), "twice")
        big = "%s,0,m,default,0,9223372036854775807,0.5\n" % TIME
        self.refused(HEADER + "\n" + big + big, (3, 36, "n"), "63 bits")

    def test_files_without_rows(self):
        self.assertEqual(self.run_on("").returncode, 1)
        answer = self.run_on(HEADER + "\n", "-j")
        self.assertEqual((answer.returncode, json.loads(answer.stdout)), (0, []))
        answer = subprocess.run([PROGRAM, "guard", "replay", self.file + ".not"], capture_output=True, text=True)
        self.assertEqual(answer.returncode, 1)
        self.assertIn("cannot be read", answer.stderr)

    def test_levels_out_of_range_are_a_wrong_usage(self):
        good = HEADER + "\n"
        for flag, values in {"--alpha": ["0", "0.6", "-1", "x", ""], "--beta": ["0", "1"],
                             "--margin": ["0.99", "1.6"], "--promote-ratio": ["1", "5"]}.items():
            for value in values:
                answer = self.run_on(good, flag, value)
                self.assertEqual(answer.returncode, 2, (flag, value))
                self.assertIn(flag, answer.stderr)
        answer = self.run_on(good, "--alpha", "0.5", "--beta", ".5", "--margin", "1.5", "--promote-ratio", "4")
        self.assertEqual(answer.returncode, 0)

    def test_a_million_rows(self):
        """Memory is that of the strata, not of the rows."""
        text = HEADER + "\n" + ("%s,0,m,default,1,4,0.25\n" % TIME) * 1000000
        answer = self.run_on(text, "-j")
        self.assertEqual(json.loads(answer.stdout)[0]["verdict"], "PROMOTE")


if __name__ == "__main__":
    unittest.main()
