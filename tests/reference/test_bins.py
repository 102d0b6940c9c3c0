#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Bins and edges against pandas' cut and qcut: no bit differs.

numpy has a log1p of its own for AVX-512, a last bit off the C library's in a quarter of all values:
it is switched off here, so that numpy takes the C library's, as it does on every other machine.
"""
import os
import struct
import subprocess
import time
import unittest

os.environ["NPY_DISABLE_CPU_FEATURES"] = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"
try:
    import numpy
    import pandas
except ImportError as error:
    raise unittest.SkipTest("needs python3-pandas: %s" % error)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("BINS", os.path.join(ROOT, "build", "tests", "reference", "bins"))
SEED = int(os.environ.get("XDP_CANARY_SEED", time.time_ns()))
CUT, QCUT, LOG, EDGES = range(4)
ENODATA, EDOM, ERANGE, EINVAL = -61, -33, -34, -22
NO_BIN = 2**32 - 1


class Bins:
    """The program, kept running."""

    def __init__(self):
        self.process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()

    def __call__(self, method, bins, values, edges=()):
        values, edges = numpy.asarray(values, float), numpy.asarray(edges, float)
        self.process.stdin.write(struct.pack("4I", method, bins, len(edges), len(values))
                                 + edges.tobytes() + values.tobytes())
        self.process.stdin.flush()
        error, bins, edges = struct.unpack("iII", self._read(12))
        if error:
            return error
        return (numpy.frombuffer(self._read(8 * edges)),
                numpy.frombuffer(self._read(8 * bins), numpy.uint64),
                numpy.frombuffer(self._read(4 * len(values)), numpy.uint32))

    def _read(self, size):
        data = self.process.stdout.read(size)
        assert len(data) == size, "%s has died" % PROGRAM
        return data


def pandas_of(method, bins, values, edges=()):
    """(codes, edges) of pandas, None where it raises; a code is NaN where it finds no bin."""
    try:
        if method == QCUT:
            return pandas.qcut(values, bins, labels=False, retbins=True, duplicates="drop")
        if method == EDGES:
            return pandas.cut(values, edges, labels=False, retbins=True)
        values = numpy.log1p(values) if method == LOG else values
        return pandas.cut(values, bins, labels=False, retbins=True)
    except (ValueError, IndexError):
        return None


def columns(rng):
    """(name, values): what catalogues hold, and what nobody would."""
    size = int(rng.integers(1, 4000))
    few = int(rng.integers(1, 12))
    span = int(rng.integers(1, 62))
    scale = 10.0 ** rng.integers(-300, 300)
    steps = numpy.cumsum(rng.integers(0, 3, few))
    yield "uniform", rng.random(size)
    yield "normal", rng.normal(rng.normal(0, 100), 10, size)
    yield "skewed", rng.lognormal(0, 3, size)
    yield "pareto", numpy.floor(rng.pareto(1, size) * 10)
    yield "integers", rng.integers(-(2**span), 2**span, size).astype(float)
    yield "counts", rng.poisson(rng.random() * 5, size).astype(float)
    yield "ties", rng.choice(rng.random(few), size)
    yield "tied integers", rng.integers(0, few, size).astype(float)
    yield "nearly all zero", (rng.random(size) < 0.03) * rng.integers(1, 1000, size) * 1.0
    yield "powers of two", 2.0 ** rng.integers(0, 50, size) - 1
    yield "decimals", numpy.round(rng.random(size) * 10, 1)
    yield "any scale", rng.normal(0, 1, size) * scale
    yield "all scales", rng.normal(0, 1, size) * 10.0 ** rng.integers(-300, 300, size)
    yield "denormal", rng.integers(0, 2**span, size) * 5e-324
    yield "few denormals", rng.integers(0, few, size) * 5e-324
    yield "neighbours", (1 + steps * 2.0**-52) * scale
    yield "far neighbours", 2.0**53 + rng.integers(0, 50, size) * 2.0
    yield "constant", numpy.full(size, rng.normal(0, 1) * scale)
    yield "zeros of both signs", rng.choice([0.0, -0.0], size)
    yield "one value", rng.normal(0, 1, 1) * scale
    yield "two values", rng.normal(0, 1, 2) * scale
    yield "negative", -rng.lognormal(0, 2, size)
    yield "above -1", rng.random(size) * 2 - 0.999999
    yield "huge", rng.normal(0, 1, size) * 1e307
    yield "ends of the range", rng.choice([-1.7976931348623157e308, 1.7976931348623157e308, 0], few)
    yield "sorted", numpy.sort(rng.random(size))
    yield "evenly spaced", numpy.arange(size) * 0.1


class Pandas(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bins = Bins()

    @classmethod
    def tearDownClass(cls):
        cls.bins.close()

    def compare(self, name, method, bins, values, edges=()):
        """0, or how many values were compared."""
        expected = pandas_of(method, bins, values, edges)
        answer = self.bins(method, bins, values, edges)
        where = "%s: %s %d of %d values" % (name, ("cut", "qcut", "log", "edges")[method], bins, len(values))
        if expected is None or method != EDGES and not numpy.isfinite(expected[1]).all():
            self.assertIn(answer, (ERANGE, EDOM), where)  # pandas raises, or its edges are NaN
            return 0
        if method != EDGES and len(expected[1]) > 2 and (numpy.diff(expected[1]) <= 0).any():
            self.assertEqual(answer, ERANGE, where)  # denormal steps: pandas' edges do not ascend
            return 0
        if method == LOG and not numpy.isfinite(numpy.log1p(values)).all():
            self.assertEqual(answer, EDOM, where)
            return 0
        self.assertIsInstance(answer, tuple, where)
        codes, found = expected
        # Adding 0 takes the sign of a zero away: it depends on how zeros are sorted.
        self.assertEqual((found + 0.0).tobytes(), (answer[0] + 0.0).tobytes(), where)
        if len(found) == 1:
            self.assertTrue(numpy.isnan(codes).all(), where)
            self.assertTrue((answer[2] == NO_BIN).all(), where)
            return len(values)
        outside = numpy.isnan(codes)
        end = numpy.where((numpy.log1p(values) if method == LOG else values) <= found[0], 0, len(found) - 2)
        codes = numpy.where(outside, end, codes).astype(numpy.uint32)
        self.assertTrue((codes == answer[2]).all(), where)
        self.assertEqual(numpy.bincount(codes, minlength=len(found) - 1).tolist(),
                         answer[1].tolist(), where)
        return len(values)

    def test_random_and_nasty_columns(self):
        print("XDP_CANARY_SEED=%d" % SEED)
        rng, compared, refused = numpy.random.default_rng(SEED), 0, 0
        for _ in range(20):
            for name, values in columns(rng):
                for method in (CUT, QCUT, LOG):
                    for bins in (1, 2, 3, 4, 5, 10, int(rng.integers(6, 200))):
                        count = self.compare(name, method, bins, values)
                        compared += count
                        refused += not count
        print("%d values in bins, %d columns that pandas refuses too" % (compared, refused))
        self.assertGreater(compared, 1000000)

    def test_given_edges_and_what_lies_outside_of_them(self):
        rng, outside = numpy.random.default_rng(SEED), 0
        for _ in range(20):
            for name, values in columns(rng):
                values = values[numpy.isfinite(values)]
                spread = numpy.concatenate([rng.choice(values, int(rng.integers(1, 8))),
                                            rng.normal(values.mean() / 2, 1, 2)])
                edges = numpy.unique(spread[numpy.isfinite(spread)])
                if len(edges) < 2:
                    continue
                self.compare(name, EDGES, 0, values, edges)
                outside += ((values <= edges[0]) | (values > edges[-1])).sum()
        self.assertGreater(outside, 1000)
        self.compare("infinite edges", EDGES, 0, numpy.arange(10.0), [-numpy.inf, 3, numpy.inf])

    def test_the_column_of_the_interface_in_skewed_data(self):
        """Equal width holds 99.9% in one bin, quantiles do not: what the shares are shown for."""
        values = numpy.random.default_rng(SEED).lognormal(0, 4, 100000)
        for method in (CUT, QCUT, LOG):
            self.compare("skewed", method, 4, values)
        self.assertGreater(self.bins(CUT, 4, values)[1].max(), 99000)
        self.assertLess(self.bins(QCUT, 4, values)[1].max(), 26000)

    def test_what_has_no_bins_is_refused(self):
        for method in (CUT, QCUT, LOG):
            self.assertEqual(self.bins(method, 4, []), ENODATA)
            self.assertEqual(self.bins(method, 0, [1.0, 2.0]), EINVAL)
            for value in (numpy.inf, -numpy.inf, numpy.nan):
                self.assertEqual(self.bins(method, 4, [1.0, value]), EDOM)
        for value in (-1.0, -2.0):
            self.assertEqual(self.bins(LOG, 4, [1.0, value]), EDOM)
        for edges in ([1, 1], [2, 1], [1, 2, 2], [1, numpy.nan, 2], [1], []):
            self.assertEqual(self.bins(EDGES, 0, [1.0], edges), EINVAL)
        self.assertEqual(self.bins(EDGES, 0, [], [1, 2])[1].tolist(), [0])

    def test_a_million_values(self):
        values = numpy.random.default_rng(SEED).lognormal(0, 3, 1000000)
        for method in (CUT, QCUT, LOG):
            self.compare("a million", method, 10, values)


if __name__ == "__main__":
    with numpy.errstate(all="ignore"):
        unittest.main(warnings="ignore")
