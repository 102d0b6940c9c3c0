#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Models from end to end without a kernel: scripts/train.py trains and writes one, the real binary
imports it and classifies a catalogue of 100,000 clients, and every class and every bit of every
score is what scikit-learn's own predict() and predict_proba() say of them.
"""
import contextlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import tempfile
import time
import types
import unittest

try:
    import numpy
    import pandas
    import matplotlib  # train.py draws with it
    from sklearn.tree import DecisionTreeClassifier
except ImportError as error:
    raise unittest.SkipTest("needs python3-pandas, python3-sklearn, python3-matplotlib: %s" % error)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.environ.get("XDP_CANARY", os.path.join(ROOT, "build", "xdp-canary"))
TRAIN = os.path.join(ROOT, "scripts", "train.py")
SEED = int(os.environ.get("XDP_CANARY_SEED", time.time_ns())) % 2**32
CLIENTS = 100000
EXACT = 2**53


def load_train():
    spec = importlib.util.spec_from_file_location("train", TRAIN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


train = load_train()


def address(number):
    return "10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)


class State:
    """A box's state directory, with a catalogue."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="xc-train-")

    def close(self):
        shutil.rmtree(self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def __call__(self, *words, json_output=False):
        return subprocess.run([PROGRAM, *(["-j"] if json_output else []), *words], text=True,
                              capture_output=True, timeout=300,
                              env={**os.environ, "XDP_CANARY_STATE": self.path("state"),
                                   "XDP_CANARY_PINS": self.path("pins")})

    def write(self, name, content):
        """JSON, or a table of cells."""
        if isinstance(content, pandas.DataFrame):
            content.to_csv(self.path(name))
        else:
            with open(self.path(name), "w", encoding="utf-8") as stream:
                stream.write(content if isinstance(content, str) else json.dumps(content))
        return self.path(name)

    def fill(self, table):
        """The catalogue from a table of cells."""
        answer = self("client", "import", self.write("catalogue.csv", table), "--replace")
        assert answer.returncode == 0, answer.stderr


def cells_of(table):
    """Numbers and texts as cells of a CSV; NaN and None are empty."""
    def cell(value):
        if value is None or value != value:
            return ""
        if isinstance(value, (float, numpy.floating)):
            return repr(float(value))
        return str(value)
    out = table.apply(lambda column: column.map(cell))
    out.index = pandas.Index([address(number) for number in range(len(out))], name="client")
    return out


def integers_of(table, features):
    """What the trees compare, from the cells, without train.py: (rows, features)"""
    columns = []
    for feature in features:
        cells = table[feature["name"]]
        missing = (cells == "").to_numpy()
        if feature["equals"] is not None:
            column = (cells == feature["equals"]).to_numpy().astype(numpy.int64)
        elif feature["scale_log2"] == 0:
            # Whole cells as integers, whatever a double would make of them.
            column = numpy.array([int(cell) if cell and "." not in cell and "e" not in cell
                                  else int(numpy.floor(float(cell or 0))) for cell in cells])
        else:
            numbers = numpy.array([float(cell or 0) for cell in cells])
            column = numpy.floor(numbers * 2.0 ** feature["scale_log2"]).astype(numpy.int64)
        columns.append(numpy.where(missing, feature["fill"], column))
    return numpy.column_stack(columns)


# ---- data that models are trained with, and more of its kind

def mixed(rng, size):
    """What a catalogue has: skewed counts, reals, texts, missing ones."""
    table = pandas.DataFrame({
        "visits": rng.lognormal(3, 2, size), "count": rng.poisson(4, size).astype(object),
        "plan": rng.choice(["free", "pro", "a, \"quoted\" one", "enterprise"], size),
        "rate": rng.random(size), "balance": rng.normal(0, 1e6, size)})
    chance = numpy.log(table["visits"]) > 3
    label = chance & (table["plan"] != "free") ^ (rng.random(size) < 0.1)
    for name in table.columns:
        table[name] = table[name].astype(object).where(rng.random(size) > 0.1, None)
    return table, label.astype(int)


def plain(rng, size):
    table = pandas.DataFrame(rng.integers(-1000, 100000, (size, 6)), columns=list("abcdef"))
    label = (table["a"] > 30000) ^ (table["b"] > 60000) ^ (rng.random(size) < 0.2)
    return table, label.astype(int)


def five(rng, size):
    table = pandas.DataFrame(rng.integers(0, 3000, (size, 5)), columns=list("abcde"))
    label = (table["a"] // 1000 + table["b"] // 1500) % 5
    return table, label.where(rng.random(size) > 0.3, rng.integers(0, 5, size))


def skewed(rng, size):
    table = pandas.DataFrame({
        "hits": numpy.floor(rng.pareto(0.7, size) * 10).clip(0, 2**40).astype(numpy.int64),
        "volume": numpy.floor(rng.lognormal(10, 4, size)).clip(0, 2**50).astype(numpy.int64),
        "rare": (rng.random(size) < 0.01) * rng.integers(1, 100, size)})
    return table, ((table["hits"] > 100) | (rng.random(size) < 0.05)).astype(int)


def large(rng, size):
    """Beyond 2^24, where float32 tells neighbours no longer apart."""
    spans = numpy.array([2**25, 2**31, 2**40, EXACT])
    table = pandas.DataFrame(rng.integers(-spans, spans, (size, 4), endpoint=True),
                             columns=["bits25", "bits31", "bits40", "bits53"])
    label = (table["bits25"] > 2**24) ^ (table["bits53"] > EXACT // 3) ^ (rng.random(size) < 0.1)
    return table, label.astype(int)


def tied(rng, size):
    """Small integers and noise: leaves of a few clients each, and forests that are in two minds."""
    table = pandas.DataFrame(rng.integers(0, 8, (size, 4)), columns=list("abcd"))
    return table, pandas.Series(rng.integers(0, 2, size))


MODELS = {
    "tree of depth 16": (plain, 20000, ["--model", "tree", "--depth", "16", "--min-leaf", "1"]),
    "forest of 128 trees of depth 16": (plain, 20000, ["--trees", "128", "--depth", "16",
                                                       "--min-leaf", "2"]),
    "five classes": (five, 10000, ["--trees", "32", "--depth", "12"]),
    "skewed": (skewed, 10000, ["--trees", "32", "--balance"]),
    "integers above 2^24": (large, 10000, ["--trees", "32", "--depth", "16", "--min-leaf", "1"]),
    "reals, texts, missing values": (mixed, 10000, ["--trees", "32", "--depth", "10"]),
    "ties": (tied, 2000, ["--trees", "10", "--depth", "16", "--min-leaf", "1"]),
    "ties of a tree": (tied, 2000, ["--model", "tree", "--depth", "5", "--min-leaf", "1"]),
}


def thresholds_of(model, document):
    """Every distinct threshold of each feature's name, as integers."""
    out = {}
    for tree in document["trees"]:
        for feature, threshold in zip(tree["feature"], tree["threshold"]):
            if feature is not None and document["features"][feature]["equals"] is None:
                out.setdefault(feature, set()).add(threshold)
    return {feature: sorted(values) for feature, values in out.items()}


def put_neighbours(table, model, document):
    """Into the first rows: t - 1, t, t + 1 of every threshold of every feature. How many they are."""
    count = 0
    for feature, thresholds in thresholds_of(model, document).items():
        entry = document["features"][feature]
        values = sorted({value + step for value in thresholds for step in (-1, 0, 1)
                         if -EXACT <= value + step <= EXACT})
        assert len(values) <= len(table), "more neighbours than clients"
        scaled = [value if entry["scale_log2"] == 0 else numpy.ldexp(float(value),
                                                                    -entry["scale_log2"])
                  for value in values]
        table.iloc[:len(values), table.columns.get_loc(entry["name"])] = \
            pandas.Series(scaled, dtype=object).to_numpy()
        count += len(values)
    return count


class Agreement(unittest.TestCase):
    def agree(self, name):
        make, size, options = MODELS[name]
        seed = SEED + list(MODELS).index(name)
        rng = numpy.random.default_rng(seed)
        state = State()
        self.addCleanup(state.close)
        table, label = make(rng, size)
        label.index = pandas.Index([address(number) for number in range(size)], name="client")
        with contextlib.redirect_stdout(io.StringIO()):
            model, _, classes = train.train(train.parse_arguments([
                "--features", state.write("features.csv", cells_of(table)),
                "--labels", state.write("labels.csv", label.to_frame("label")),
                "-o", state.path("model.json"), "--seed", str(seed % 2**32), *options]))
        with open(state.path("model.json"), encoding="utf-8") as stream:
            document = json.load(stream)
        self.assertEqual(len(document["vectors"]), 1000)

        clients, _ = make(rng, CLIENTS)
        clients = clients.astype(object)
        neighbours = put_neighbours(clients, model, document)
        clients.iloc[-200::2] = None  # nothing is known of these
        cells = cells_of(clients)
        state.fill(cells)
        answer = state("model", "import", "m", state.path("model.json"))
        self.assertEqual(answer.returncode, 0, answer.stderr)
        began = time.monotonic()
        answer = state("model", "classify", "m", "-o", state.path("out.csv"))
        seconds = time.monotonic() - began
        self.assertEqual(answer.returncode, 0, answer.stderr)

        matrix = integers_of(cells, document["features"])
        known = (cells != "").any(axis=1).to_numpy()
        expected = numpy.array(classes, object)[model.predict(matrix)]
        scores = model.predict_proba(matrix)[:, -1]
        found = pandas.read_csv(state.path("out.csv"), dtype=str, keep_default_na=False,
                                index_col="client").loc[cells.index]
        wrong = (found["class"].to_numpy() != expected) & known
        self.assertEqual(wrong.sum(), 0, "%s: seed %d: %s" % (name, SEED, cells[wrong][:3]))
        self.assertTrue((found["class"][~known] == "").all())
        self.assertEqual(found["score"][known].map(float).to_numpy().tobytes(),
                         scores[known].tobytes())
        print("%s: %d clients, %d neighbours of thresholds, %d nodes: no difference (%.1f s)"
              % (name, len(cells), neighbours, sum(len(tree["leaf"]) for tree in document["trees"]),
                 seconds), flush=True)


def make_agreement(name):
    def test(self):
        self.agree(name)
    return test


for _name in MODELS:
    setattr(Agreement, "test_" + "".join(c if c.isalnum() else "_" for c in _name),
            make_agreement(_name))


class Training(unittest.TestCase):
    """What train.py does before and after scikit-learn."""

    def setUp(self):
        self.state = State()
        self.addCleanup(self.state.close)
        rng = numpy.random.default_rng(SEED)
        table, label = mixed(rng, 2000)
        self.cells = cells_of(table)
        self.label = pandas.DataFrame({"liked": label.to_numpy()}, index=self.cells.index)

    def run_train(self, *options, features=None, labels=None):
        """As a command would be, but without its second and a half of imports."""
        words = ["--features", *(features or [self.state.write("features.csv", self.cells)]),
                 "--labels", labels or self.state.write("labels.csv", self.label),
                 "-o", self.state.path("model.json"), *options]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = train.main(words)
            except SystemExit as end:
                status = end.code
        return types.SimpleNamespace(returncode=status, stdout=out.getvalue(),
                                     stderr=err.getvalue())

    def trained(self, *options, **inputs):
        answer = self.run_train(*options, **inputs)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        with open(self.state.path("model.json"), encoding="utf-8") as stream:
            return answer.stdout, json.load(stream)

    def test_it_runs_and_says_how_it_is_used(self):
        answer = subprocess.run([TRAIN, "--help"], text=True, capture_output=True)
        self.assertEqual((answer.returncode, answer.stderr), (0, ""))
        for part in ("usage: train.py", "--features", "example:", "xdp-canary model import"):
            self.assertIn(part, answer.stdout)

    def test_a_threshold_is_the_greatest_integer_that_goes_left(self):
        rng = numpy.random.default_rng(SEED)
        spans = 2.0 ** rng.integers(0, 53, 20000)
        thresholds = numpy.concatenate([(rng.random(20000) * 2 - 1) * spans,
                                        numpy.floor(spans) + 0.5, spans, -spans])
        found = train.integer_thresholds(thresholds)
        self.assertTrue((found.astype(numpy.float32).astype(float) <= thresholds).all())
        self.assertTrue(((found + 1).astype(numpy.float32).astype(float) > thresholds).all())
        rounded = numpy.floor(thresholds).astype(numpy.int64)
        small = numpy.abs(thresholds) < 2**24
        self.assertTrue((found == rounded)[small].all())
        self.assertFalse((found == rounded).all())  # a floor is wrong beyond

    def test_leaves_are_the_same_of_counts_and_of_fractions(self):
        rng = numpy.random.default_rng(SEED)
        matrix, codes = rng.integers(0, 50, (1000, 3)), rng.integers(0, 3, 1000)
        model = DecisionTreeClassifier(max_depth=6, random_state=0).fit(matrix, codes)
        value = model.tree_.value
        counts = value if value[0].sum() > 1.5 else \
            value * model.tree_.weighted_n_node_samples[:, None, None]
        fractions = counts / counts.sum(axis=2, keepdims=True)
        leaves = model.apply(matrix)
        for kind in (counts, fractions):
            found = train.leaf_probabilities(types.SimpleNamespace(value=kind))
            self.assertEqual(found[leaves].tobytes(), model.predict_proba(matrix).tobytes())

    def test_deciles_are_those_of_numpy_and_tell_ties_apart(self):
        rng = numpy.random.default_rng(SEED)
        values = rng.integers(0, 10**6, 5000)
        found = train.deciles(values)
        self.assertEqual(found["edges"], [int(numpy.floor(edge)) for edge in
                                          numpy.quantile(values, numpy.arange(1, 10) / 10)])
        self.assertEqual(found["counts"], numpy.histogram(
            values, [-1, *(numpy.array(found["edges"]) + 0.5), 10**6])[0].tolist())
        for ones in (1, 50, 99):
            self.assertEqual(train.deciles(numpy.repeat([0, 1], [100 - ones, ones])),
                             {"edges": [0], "counts": [100 - ones, ones]})
        self.assertEqual(train.deciles(numpy.full(9, 7)), {"edges": [], "counts": [9]})

    def test_the_evaluation_is_of_clients_that_were_kept_back(self):
        text, document = self.trained("--test", "0.3", "--trees", "8")
        training = document["training"]
        self.assertEqual((training["rows"], training["test_rows"]), (1400 - 0, 600))
        evaluation = training["evaluation"]
        confusion = numpy.array(evaluation["confusion"])
        self.assertEqual(confusion.sum(), 600)
        self.assertAlmostEqual(evaluation["accuracy"], numpy.trace(confusion) / 600)
        self.assertAlmostEqual(evaluation["baseline"], confusion.sum(axis=1).max() / 600)
        for index, entry in enumerate(evaluation["classes"]):
            hits = confusion[index, index]
            precision, recall = hits / confusion[:, index].sum(), hits / confusion[index].sum()
            self.assertAlmostEqual(entry["precision"], precision)
            self.assertAlmostEqual(entry["recall"], recall)
            self.assertAlmostEqual(entry["f1"], 2 * precision * recall / (precision + recall))
        self.assertGreater(evaluation["accuracy"], evaluation["baseline"] + 0.1)
        for part in ("accuracy  %.4f" % evaluation["accuracy"], "always `0`: %.4f"
                     % evaluation["baseline"], "confusion", "importance", "precision"):
            self.assertIn(part, text)

    def test_the_same_seed_gives_the_same_model_and_plot(self):
        models = []
        for plot in ("a.svg", "b.svg", "c.png"):
            _, document = self.trained("--trees", "4", "--plot", self.state.path(plot))
            document["training"].pop("time")
            models.append(document)
        self.assertEqual(models[0], models[1])
        with open(self.state.path("a.svg"), "rb") as a, open(self.state.path("b.svg"), "rb") as b:
            self.assertEqual(a.read(), b.read())
        with open(self.state.path("c.png"), "rb") as stream:
            self.assertEqual(stream.read(4), b"\x89PNG")
        self.assertNotEqual(self.trained("--trees", "4", "--seed", "1")[1]["trees"],
                            models[0]["trees"])

    def test_what_client_list_prints_trains_the_same_model_as_the_csv(self):
        self.state.fill(self.cells)
        listed = self.state("client", "list", json_output=True).stdout
        models = [self.trained("--trees", "4", features=features)[1] for features in
                  (None, [self.state.write("clients.json", listed)])]
        for document in models:
            document["training"].pop("time")
        self.assertEqual(*models)

    def test_clients_are_joined_in_the_form_of_the_box(self):
        features = "client,n\n" + "".join("2001:db8:0:%x::/64,%d\n" % (i, i) for i in range(40))
        labels = "client,y\n" + "".join("2001:db8:0:%x::5,%d\n" % (i, i > 20) for i in range(40))
        inputs = {"features": [self.state.write("f.csv", features)],
                  "labels": self.state.write("l.csv", labels)}
        _, document = self.trained("--model", "tree", **inputs)
        self.assertEqual(document["training"]["rows"] + document["training"]["test_rows"], 40)
        answer = self.run_train("--prefix6", "128", **inputs)
        self.assertIn("0 clients have both features and a label", answer.stderr)

    def test_bad_input_is_refused_in_a_line(self):
        few = self.state.write("few.csv", "client,y\n10.0.0.1,1\n10.0.0.2,0\n")
        same = self.state.write("same.csv", "client,y\n" + "".join(
            "%s,1\n" % client for client in self.cells.index))
        other = self.state.write("other.csv", "name,y\nx,1\n")
        twice = self.state.write("twice.csv", "client,y\n10.0.0.1,1\n10.0.0.1,0\n")
        for inputs, text in (
                ({"labels": few}, "2 clients have both features and a label: too few"),
                ({"labels": same}, "same.csv: has 1 classes: 2 to 64 can be learned"),
                ({"labels": other}, "other.csv: has no column `client`: its columns are name, y"),
                ({"labels": twice}, "twice.csv: client 10.0.0.1 has several labels"),
                ({"labels": self.state.path("absent.csv")}, "absent.csv: cannot be read"),
                ({"features": [self.state.write("bad.csv", "client,a\nnobody,1\n")]},
                 "bad.csv: `nobody` is no address or prefix"),
                ({"features": [self.state.write("bad.json", "{}")]},
                 "bad.json: cannot be read: it is not what")):
            answer = self.run_train(**inputs)
            self.assertEqual((answer.returncode, answer.stderr.count("\n")), (1, 1), answer.stderr)
            self.assertIn(text, answer.stderr)
            self.assertFalse(os.path.exists(self.state.path("model.json")))
        for options in (["--trees", "129"], ["--depth", "17"], ["--plot", "plot.gif"]):
            self.assertEqual(self.run_train(*options).returncode, 2)


if __name__ == "__main__":
    print("XDP_CANARY_SEED=%d" % SEED, flush=True)
    unittest.main()
