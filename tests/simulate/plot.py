#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""guard.png of the CSV files that tests/simulate/simulate wrote: false alarms over the hours, delays against a test of
fixed size, and how soon a late onset is found.

    plot.py DIRECTORY
"""
import csv
import math
import os
import sys

try:
    import matplotlib
except ImportError:
    sys.exit("plot.py: needs python3-matplotlib (scripts/setup test)")
matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402


def rows(directory, name):
    with open(os.path.join(directory, name), newline="") as file:
        yield from csv.DictReader(file)


def grouped(rows_of_file, *keys):
    groups = {}
    for row in rows_of_file:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return groups


def plot_false_alarms(axes, directory):
    product = "firsts of the window"
    for (rollout, counting, alpha, runs), points in grouped(
            rows(directory, "false_alarms.csv"), "rollout", "counting", "alpha", "runs").items():
        hours = 120 if rollout == "five days" else 24
        points = [point for point in points if int(point["hour"]) <= hours]
        rates = [int(point["rolled_back"]) / int(runs) / float(alpha) for point in points]
        if not any(rates) and counting == product and int(runs) < 10000:
            continue
        # Nothing at all has no place on this axis: less than one run.
        axes.plot([int(point["hour"]) / hours for point in points],
                  [max(rate, 1 / int(runs) / float(alpha)) for rate in rates],
                  linestyle="-" if counting == product else "--",
                  label="%s, %s, \u03b1 %s" % (counting, rollout, alpha))
    axes.axhline(1, color="black", linewidth=1)
    axes.set(yscale="log", xlabel="part of the rollout", ylabel="false alarms / \u03b1",
             title="Nothing is wrong: rolled back by then")
    axes.legend(fontsize=6, loc="center right")


def plot_delays(axes, directory):
    for (pi,), points in grouped(rows(directory, "delays.csv"), "pi").items():
        axes.plot([float(point["psi"]) for point in points],
                  [float(point["first_window"]) / float(point["fixed"]) for point in points], marker="o",
                  label="\u03c0 = " + pi)
    axes.axhline(1.5, color="black", linewidth=1)
    axes.set(xlabel="\u03c8", ylabel="events / those of a test of fixed size", ylim=(0, 2),
             title="Events until ROLLBACK in the first window, \u03b1 = .01")
    axes.legend(fontsize=7)


def plot_late_onset(axes, directory):
    for (events, clients, metrics), points in grouped(
            rows(directory, "late_onset.csv"), "events", "clients", "metrics").items():
        minutes = sorted(float(point["minutes"]) for point in points)
        found = [value for value in minutes if math.isfinite(value)]
        axes.step(found, [(i + 1) / len(minutes) for i in range(len(found))], where="post",
                  label="%s events/h, %s clients, %s metric%s" % (events, clients, metrics, "s" if metrics != "1" else ""))
    axes.set(xscale="log", xlabel="minutes since the onset", ylabel="part of the rollouts rolled back", ylim=(0, 1.02),
             title="Three times the rate, from hour 3 on")
    axes.legend(fontsize=7)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    directory = sys.argv[1]
    figure, axes = pyplot.subplots(1, 3, figsize=(18, 5.5))
    plot_false_alarms(axes[0], directory)
    plot_delays(axes[1], directory)
    plot_late_onset(axes[2], directory)
    figure.tight_layout()
    path = os.path.join(directory, "guard.png")
    figure.savefig(path, dpi=110)
    print(path)


main()
