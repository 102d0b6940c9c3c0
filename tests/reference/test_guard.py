#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The guard's statistics against the definitions, in decimals of 60 digits and by other ways than the program's:
likelihoods are multiplied as they stand, nothing is done in the log domain but the last logarithm; intervals are
checked by what they mean, not found again."""
import math
import os
import random
import subprocess
import time
import unittest
from decimal import Decimal, MAX_EMAX, MIN_EMIN, getcontext

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("GUARD", os.path.join(ROOT, "build", "tests", "reference", "guard"))
SEED = int(os.environ.get("XDP_CANARY_SEED", time.time_ns()))
ROUNDS = 200

getcontext().prec = 60
getcontext().Emax, getcontext().Emin = MAX_EMAX, MIN_EMIN
D = Decimal


def likelihood(strata, psi):
    """The chance of these arms of these events, given psi: q^k (1 - q)^(n - k)."""
    product = D(1)
    for k, n, pi in strata:
        pi = D(pi)
        if 0 < pi < 1:
            both = 1 - pi + pi * psi
            product *= (pi * psi / both) ** k * ((1 - pi) / both) ** (n - k)
    return product


def mean(values):
    values = list(values)
    return sum(values, D(0)) / len(values)


def halves(j):
    """2^(j/2)."""
    return D(2).sqrt() ** j if j >= 0 else 1 / D(2).sqrt() ** -j


def e_rollback(strata, psi0):
    return mean(likelihood(strata, psi0 * halves(j)) for j in range(1, 13)) / likelihood(strata, psi0)


def e_promote(strata, psi1):
    return likelihood(strata, D(1)) / likelihood(strata, psi1)


def e_ratio(strata):
    off = [D(text) for text in (".005", ".01", ".02", ".05", ".1", ".25", ".5")]
    return mean(likelihood(strata, 1 + sign * by) for by in off for sign in (1, -1)) / likelihood(strata, D(1))


def e_absolute(k, n, p0):
    def p(j):
        odds = p0 / (1 - p0) * halves(j)
        return odds / (1 + odds)
    return mean((p(j) / p0) ** k * ((1 - p(j)) / (1 - p0)) ** (n - k) for j in range(1, 13))


def power(base, exponent):
    return D(1) if exponent == 0 else base ** exponent  # also of 0: decimal has no 0 ** 0


def e_certify(k, n, p0):
    return mean(power(part, k) * ((1 - p0 * part) / (1 - p0)) ** (n - k)
                for part in (D(0), D(1) / 8, D(1) / 4, D(1) / 2))


class Guard(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    @classmethod
    def tearDownClass(cls):
        cls.process.stdin.close()
        cls.process.stdout.close()
        cls.process.wait()

    def setUp(self):
        print("XDP_CANARY_SEED=%d" % SEED)
        self.random = random.Random("%d %s" % (SEED, self.id()))

    def ask(self, question, number, *rest):
        self.process.stdin.write(" ".join([question, repr(float(number))] + [str(word) for word in rest]) + "\n")
        self.process.stdin.flush()
        return [float(word) for word in self.process.stdout.readline().split()]

    def ask_strata(self, question, number, strata):
        words = [word for k, n, pi in strata for word in (k, n, repr(pi))]
        return self.ask(question, number, len(strata), *words)

    def strata(self, most):
        """Of all sizes, some without anything to say, psi anywhere from 1/50 to 50."""
        psi = math.exp(self.random.uniform(-4, 4))
        result = []
        for _ in range(self.random.randint(1, 8)):
            pi = self.random.choice([0.0, 1.0, 0.5, 1e-6, 1 - 1e-6, self.random.random(),
                                     self.random.random() ** 6])
            n = int(math.exp(self.random.uniform(0, math.log(most))))
            q = pi * psi / (1 - pi + pi * psi)
            k = min(n, max(0, round(self.random.gauss(n * q, math.sqrt(n * q * (1 - q))))))
            result.append((self.random.choice([k, k, k, 0, n]), n, pi))
        return result

    def compare(self, got, e, about):
        self.assertGreater(e, 0)
        expected = float(e.ln())
        # What is lost: the last digits of the greatest logarithm that went in.
        self.assertAlmostEqual(got[0], expected, delta=1e-9 * max(1, abs(expected)), msg=about)

    def test_rollback_and_promote_and_sample_ratio(self):
        for _ in range(ROUNDS):
            strata = self.strata(10 ** 4)
            psi0 = self.random.choice([1.0, 1.1, 1.5, self.random.uniform(.5, 4)])
            about = "%r at %r" % (strata, psi0)
            self.compare(self.ask_strata("rollback", psi0, strata), e_rollback(strata, D(psi0)), about)
            self.compare(self.ask_strata("promote", psi0, strata), e_promote(strata, D(psi0)), about)
            self.compare(self.ask_strata("ratio", 0, strata), e_ratio(strata), about)

    def test_a_milliard_of_events(self):
        for _ in range(ROUNDS // 10):
            strata = [(k * 10 ** 5, n * 10 ** 5, pi) for k, n, pi in self.strata(10 ** 4)]
            # 60 digits do for 10^9 factors, and exponents of decimals are as large as need be.
            self.compare(self.ask_strata("rollback", 1, strata), e_rollback(strata, D(1)), repr(strata))
            self.compare(self.ask_strata("promote", 2, strata), e_promote(strata, D(2)), repr(strata))

    def test_the_interval_holds_what_the_events_do_not_speak_against(self):
        checked = 0
        for _ in range(ROUNDS):
            strata, alpha = self.strata(10 ** 4), self.random.choice([.5, .05, .01, 1e-6])
            told = [stratum for stratum in strata if 0 < stratum[2] < 1]
            (low, high), (psi,) = self.ask_strata("interval", alpha, strata), self.ask_strata("psi", 0, strata)
            if not told:
                self.assertEqual((low, high), (0, math.inf), strata)
                self.assertTrue(math.isnan(psi), strata)
                continue
            grid = mean(likelihood(told, halves(j)) for j in range(-12, 13))

            def inside(at):
                return grid / likelihood(told, at) < 1 / D(alpha)

            k, n = sum(stratum[0] for stratum in told), sum(stratum[1] for stratum in told)
            # Beyond the grid's ends the interval may reach further than a double does.
            self.assertTrue(low == 0 if k == 0 else low > 0 or inside(D("1e-320")), strata)
            self.assertTrue(high == math.inf if k == n else high < math.inf or inside(D("1e308")), strata)
            for end, other in ((low, 1 - 1e-7), (high, 1 + 1e-7)):
                if 1e-300 < end < 1e300:  # below, a double has fewer digits
                    self.assertTrue(inside(D(end) * (2 - D(other))), "%r in %r" % (end, strata))
                    self.assertFalse(inside(D(end) * D(other)), "%r in %r" % (end, strata))
                    checked += 1
            if 0 < k < n:
                best = likelihood(told, D(psi))
                for other in (.99, .9999, 1.0001, 1.01):
                    self.assertGreater(best, likelihood(told, D(psi) * D(other)), "%r of %r" % (psi, strata))
            elif not k:
                self.assertEqual(psi, 0)
            else:
                self.assertEqual(psi, math.inf)
        self.assertGreater(checked, ROUNDS / 2)

    def test_absolute_limits(self):
        for _ in range(ROUNDS):
            n = int(math.exp(self.random.uniform(0, math.log(10 ** 5))))
            p0 = self.random.choice([.001, .01, .5, .99, self.random.random(), self.random.random() ** 6])
            p = min(1, p0 * math.exp(self.random.uniform(-2, 2)))
            k = self.random.choice([0, n, min(n, round(n * p)), min(n, round(n * p))])
            about = "%d of %d, p0 %r" % (k, n, p0)
            self.compare(self.ask("absolute", p0, k, n), e_absolute(k, n, D(p0)), about)
            self.compare(self.ask("certify", p0, k, n), e_certify(k, n, D(p0)), about)

    def test_thresholds_spend_the_level_over_all_windows(self):
        spent = D(0)
        for window in range(1000):
            (threshold,) = self.ask("threshold", .01, window)
            self.assertAlmostEqual(threshold, math.log((window + 1) * (window + 2) / .01), places=12)
            spent += 1 / D(threshold).exp()
        # 1 - 1/1001 of it in a thousand windows, the rest in all that follow.
        self.assertAlmostEqual(float(spent), .01 * (1 - 1 / 1001), places=12)


if __name__ == "__main__":
    unittest.main()
