#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""How surely the sizes of rollback_test.py show each failure: one line a scenario.

The guard's E is computed here anew, from the definition: events of distinct clients are drawn from the canary's and the
control's, E is the mean over 12 ratios of the likelihood ratio, and it has to reach (i + 1)(i + 2) / alpha_m in window
i for a metric that has one ninth of alpha. The power is summed exactly over all counts of events (binomial), at one
single look, SECONDS after the break; the guard looks all the time, so it is a lower bound. Pessimistic are: the number
of clients in the canary (its quantile of one in a million), events of healthy clients, and the part of the flows that
show the failure.
"""

import math
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rollout_lab import CLIENTS, END_WAIT, FAILURES, FLOWS, SEGMENT_PART, population  # noqa: E402

ALPHA, METRICS, MARGIN = 0.01, 9, 1.1
CONTROL_FACTOR = 4
SECONDS = END_WAIT / 3
QUANTILE = 1e-6

# Of each failure: the part of the canary's flows that show it in its metric; seconds from a flow's beginning until they
# do; seconds in which it is broken (of a window; it crashes 2 s of 10); the part of healthy clients with such an event.
ASSUMED = {
    "refuses": (1, 3.5, SECONDS, 0.03),
    "hangs": (1, 3, SECONDS, 0.03),
    "resets": (0.3, 3, SECONDS, 0.03),
    "slower": (0.9, 1, SECONDS, 0.3),
    "closes": (0.5, 3, SECONDS, 0.03),
    "stalls": (0.7, 7, SECONDS, 0.03),
    "loses": (0.08, 2, SECONDS, 0.03),
    "crashes": (1, 3.5, 4 + 3.5, 0.03),
    "breaks-for-a-segment": (1, 3, SECONDS, 0.03),
    "breaks-an-hour-in": (1, 3.5, 9, 0.03),  # of the window of 10 s
}
WINDOWS = {"breaks-an-hour-in": 5}  # the last one that it may be seen in


def log_binomial(n, p):
    """[ln P(k of n)]"""
    return [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) +
            (n - k) * math.log1p(-p) for k in range(n + 1)]


def quantile(n, p):
    """The greatest k with P(fewer than k of n) <= QUANTILE."""
    total = 0.0
    for k, log_p in enumerate(log_binomial(n, p)):
        total += math.exp(log_p)
        if total > QUANTILE:
            return k
    return n


def log_e(k, n, pi):
    def log_likelihood(psi):
        return k * math.log(psi) - n * math.log1p(pi * (psi - 1))

    terms = [log_likelihood(MARGIN * 2 ** (j / 2)) - log_likelihood(MARGIN) for j in range(1, 13)]
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms) / len(terms))


def arms(name):
    """(clients of the canary, of control's slice, pi)"""
    failure = FAILURES[name]
    clients = int(CLIENTS * SEGMENT_PART) if failure.only else CLIENTS
    share = float(failure.share[:-1]) / 100
    control = min(CONTROL_FACTOR * share, 1 - share)
    canaries = quantile(clients, share)
    return canaries, round(canaries * control / share), share / (share + control)


def part_with_event(rates, part, seconds):
    return sum(-math.expm1(-rate * part * seconds) for rate in rates) / len(rates)


def power(name):
    """(clients of the canary, part of them with an event, ln of E's threshold, probability that it is missed)"""
    part, lag, seconds, healthy = ASSUMED[name]
    canaries, controls, pi = arms(name)
    crowd = population(random.Random(1), range(CLIENTS), flows_per_second=FLOWS)
    p1 = part_with_event([client.rate for client in crowd], part, max(0, seconds - lag))
    p1 = 1 - (1 - p1) * (1 - healthy)
    window = WINDOWS.get(name, 2)
    threshold = math.log((window + 1) * (window + 2) * METRICS / ALPHA)
    of_control = log_binomial(controls, healthy)
    missed = 0.0
    for k, log_p in enumerate(log_binomial(canaries, p1)):
        # E falls as the control's events grow: so from the first that is too many, all are.
        few, many = 0, controls + 1
        while few < many:
            middle = (few + many) // 2
            if log_e(k, k + middle, pi) >= threshold:
                few = middle + 1
            else:
                many = middle
        missed += sum(math.exp(log_p + log_q) for log_q in of_control[few:])
    return canaries, p1, threshold, missed


def main():
    print(f"{'':22} {'canary':>6} {'with event':>10} {'ln E >=':>8} {'missed at most':>15}")
    for name in FAILURES:
        canaries, p1, threshold, missed = power(name)
        print(f"{name:22} {canaries:6} {p1:10.3f} {threshold:8.2f} {missed:15.2e}")


if __name__ == "__main__":
    main()
