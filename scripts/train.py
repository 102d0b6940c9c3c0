#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Trains a decision tree or a random forest that tells clients apart, and writes it as the JSON that
`xdp-canary model import` takes: segments of kind `model` are its classes, and segments of kind
`bins` can take bins of its score.
"""
import argparse
import datetime
import ipaddress
import json
import math
import os
import re
import sys

import numpy
import pandas
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split
from sklearn.tree import DecisionTreeClassifier

USAGE = """
input:
  FEATURES are CSV files with a header line and a column `client`: what `xdp-canary features export`
  writes, and any attributes or interests (`client import` takes the same files); or, with a name that
  ends in .json, what `xdp-canary -j client list` prints, which has all of it. Files are joined by
  client; a column that stands in several counts once, as the first file has it. A column whose cells
  are all numbers is a number, any other is text; an empty cell is no value. LABELS is a CSV file
  with a column `client` and one with the class (--label names it where there are several). Clients
  without a label are left out, and those without any feature, of whom nothing is known.

what the trees see:
  Integers, so that the classifier in C and scikit-learn see the same. A number is multiplied by a
  power of two (1 for whole numbers), which is exact, and rounded down. A text is one feature for each
  of its most frequent values: 1 where the client has it, else 0. What is missing is one less than
  the least of the column. All of that is written into the model.

output:
  The evaluation, of clients that were kept back from the training (--test), on standard output;
  the model, with thresholds that decide every integer as scikit-learn does, leaves with its
  probabilities, deciles of every feature (`model drift` compares with them), and 1,000 test vectors
  that `model import` replays.

example:
  xdp-canary features export -o features.csv
  scripts/train.py --features features.csv clients.csv --labels liked.csv \\
      --model forest --trees 128 --depth 16 -o adopters.json --plot adopters.svg
  xdp-canary model import adopters adopters.json
"""

FORMAT, VERSION = "xdp-canary-model", 1
TREES_MAX, DEPTH_MAX, FEATURES_MAX, CLASSES_MAX, TEXT_MAX = 128, 16, 256, 64, 256
VALUE_MAX = 2**53
REAL_BITS = 24  # of a real column's integers: as many as scikit-learn's float32 tells apart
VECTORS = 1000
NUMBER = re.compile(r"-?(?=[0-9.])(0|[1-9][0-9]*)?(\.[0-9]+)?([eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"-?[0-9]+")


class BadInput(Exception):
    """What to tell the user."""


# ---- tables

def canonical(text, prefix4, prefix6):
    """A client as the box writes it."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        raise BadInput("`%s` is no address or prefix" % text) from None
    if network.version == 6 and network.network_address.ipv4_mapped and network.prefixlen >= 96:
        network = ipaddress.ip_network("%s/%d" % (network.network_address.ipv4_mapped,
                                                  network.prefixlen - 96))
    longest = prefix4 if network.version == 4 else prefix6
    if network.prefixlen > longest:
        network = network.supernet(new_prefix=longest)
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def read_json(path):
    """What `client list -j` prints, numbers as they stand."""
    with open(path, encoding="utf-8") as stream:
        document = json.load(stream, parse_int=str, parse_float=str)
    try:
        rows = [{"client": row["client"], **row["attributes"], **row["features"]}
                for row in document["clients"]]
    except (KeyError, TypeError):
        raise ValueError("it is not what `xdp-canary -j client list` prints") from None
    return pandas.DataFrame(rows, dtype=object).fillna("")


def read_table(path, prefix4, prefix6):
    """Cells as text, indexed by client."""
    try:
        if path.endswith(".json"):
            table = read_json(path)
        else:
            table = pandas.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadInput("%s: cannot be read: %s" % (path, error)) from None
    if "client" not in table.columns:
        raise BadInput("%s: has no column `client`: its columns are %s"
                       % (path, ", ".join(table.columns)))
    try:
        table["client"] = [canonical(text, prefix4, prefix6) for text in table["client"]]
    except BadInput as error:
        raise BadInput("%s: %s" % (path, error)) from None
    return table.set_index("client")


def read_features(paths, prefix4, prefix6, exclude):
    tables = []
    seen = set(exclude)
    for path in paths:
        table = read_table(path, prefix4, prefix6)
        table = table[~table.index.duplicated()]
        table = table[[column for column in table.columns if column not in seen]]
        seen.update(table.columns)
        tables.append(table)
    return pandas.concat(tables, axis=1).fillna("")


def read_labels(path, label, prefix4, prefix6):
    """(name of the column, class of each client)"""
    table = read_table(path, prefix4, prefix6)
    if label is None and len(table.columns) == 1:
        label = table.columns[0]
    if label not in table.columns:
        raise BadInput("%s: say with --label which column has the class: %s"
                       % (path, ", ".join(table.columns)))
    column = table[label]
    column = column[column != ""]
    kinds = column.groupby(level=0).nunique()
    if (kinds > 1).any():
        raise BadInput("%s: client %s has several labels" % (path, kinds[kinds > 1].index[0]))
    return label, column[~column.index.duplicated()]


# ---- features as integers

def number_of(cell):
    """What `client import` makes of a cell: a double, or NaN where it stays a text or is empty."""
    if not NUMBER.fullmatch(cell):
        return math.nan
    if WHOLE.fullmatch(cell) and not -2**63 <= int(cell) < 2**63:
        return math.nan  # an identifier
    number = float(cell)
    return number if math.isfinite(number) else math.nan


def numbers_of(cells):
    """float64, each cell exactly as it stands."""
    return cells.map({cell: number_of(cell) for cell in cells.unique()}).to_numpy(numpy.float64)


def is_number(cells):
    return not any(math.isnan(number_of(cell)) for cell in cells.unique() if cell)


class Feature:
    """A column, or one text of it, as integers."""

    def __init__(self, name, equals=None, scale_log2=0, fill=-1):
        self.name, self.equals, self.scale_log2, self.fill = name, equals, scale_log2, fill

    @property
    def label(self):
        return self.name if self.equals is None else "%s=%s" % (self.name, self.equals)

    @staticmethod
    def scaled(numbers, scale_log2):
        with numpy.errstate(over="ignore"):
            scaled = numpy.floor(numpy.ldexp(numbers, scale_log2))
        return numpy.clip(scaled, -VALUE_MAX, VALUE_MAX)

    @classmethod
    def of_numbers(cls, name, numbers):
        """The scale, and what stands for a missing one, from the numbers that there are."""
        scale, known = 0, numbers[~numpy.isnan(numbers)]
        if (known != numpy.floor(known)).any():
            scale = REAL_BITS - math.frexp(numpy.abs(known).max())[1]
            scale = max(-64, min(64, scale))
        least = int(cls.scaled(known, scale).min())
        return cls(name, None, scale, max(least - 1, -VALUE_MAX))

    def integers(self, cells):
        """int64 of a column's cells, as xdp-canary computes them of the catalogue."""
        missing = (cells == "").to_numpy()
        if self.equals is not None:
            out = (cells == self.equals).to_numpy().astype(numpy.int64)
        else:
            numbers = numbers_of(cells)
            missing |= numpy.isnan(numbers)
            out = self.scaled(numpy.where(missing, 0, numbers), self.scale_log2).astype(numpy.int64)
        out[missing] = self.fill
        return out


def tells_apart(cells):
    """Any client from any other."""
    return (cells != "").any() and cells.nunique() > 1


def make_features(table, numeric, most_texts):
    """Of the columns; those in @numeric are numbers, any other is text."""
    features = []
    for name in table.columns:
        cells = table[name]
        known = cells[cells != ""]
        if not tells_apart(cells):
            continue
        if name in numeric:
            features.append(Feature.of_numbers(name, numbers_of(known)))
            continue
        counts = known.value_counts()
        for text in sorted(counts.index, key=lambda text: (-counts[text], text))[:most_texts]:
            if len(text.encode()) <= TEXT_MAX:
                features.append(Feature(name, text))
    if not features:
        raise BadInput("no column has several values: there is nothing to learn from")
    if len(features) > FEATURES_MAX:
        raise BadInput("%d features are more than %d: leave columns out with --exclude, or lower "
                       "--texts" % (len(features), FEATURES_MAX))
    return features


def deciles(integers):
    """Edges between integers, and how many values each bin has: bin = edges below the value.

    Where many values are equal to the greatest, the edge below it tells them apart still.
    """
    quantiles = numpy.floor(numpy.quantile(integers, numpy.arange(1, 10) / 10)).astype(numpy.int64)
    edges = numpy.unique(numpy.minimum(quantiles, integers.max() - 1))
    edges = edges[edges >= integers.min()]
    counts = numpy.bincount(numpy.searchsorted(edges, integers), minlength=len(edges) + 1)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


# ---- the model

def integer_thresholds(thresholds):
    """max{x : (double)(float)x <= t} of each t: what an integer is compared with."""
    low = numpy.full(len(thresholds), -VALUE_MAX, numpy.int64)  # goes left
    high = numpy.full(len(thresholds), VALUE_MAX + 1, numpy.int64)  # goes right
    while (high - low > 1).any():
        middle = (low + high) // 2
        left = middle.astype(numpy.float32).astype(numpy.float64) <= thresholds
        low, high = numpy.where(left, middle, low), numpy.where(left, high, middle)
    return low


def leaf_probabilities(tree):
    """Of every node. `value` holds counts before scikit-learn 1.3, fractions since."""
    value = tree.value[:, 0, :]
    if abs(value[0].sum() - 1) < 1e-9:  # the root of a tree with two classes has two samples or more
        return value
    return value / value.sum(axis=1, keepdims=True)


def trees_of(model):
    return [estimator.tree_ for estimator in getattr(model, "estimators_", [model])]


def export_trees(model):
    """(distinct leaves, trees) as the file has them."""
    leaves, trees = {}, []
    for tree in trees_of(model):
        is_leaf = tree.children_left < 0
        probabilities = leaf_probabilities(tree)
        thresholds = numpy.zeros(tree.node_count, numpy.int64)
        thresholds[~is_leaf] = integer_thresholds(tree.threshold[~is_leaf])

        def column(values, chosen=is_leaf):
            return [None if skip else value for value, skip in zip(values.tolist(), chosen)]
        trees.append({
            "feature": column(tree.feature),
            "threshold": column(thresholds),
            "left": column(tree.children_left),
            "right": column(tree.children_right),
            "leaf": [leaves.setdefault(tuple(row), len(leaves)) if leaf else None
                     for row, leaf in zip(probabilities.tolist(), is_leaf)],
        })
    return [list(leaf) for leaf in leaves], trees


def make_vectors(model, classes, matrix, rng):
    """Rows, every second one moved next to a threshold, and what scikit-learn says of them."""
    rows = matrix[rng.integers(0, len(matrix), VECTORS)].copy()
    trees = trees_of(model)
    for row in rows[::2]:
        tree = trees[rng.integers(len(trees))]
        inner = numpy.flatnonzero(tree.children_left >= 0)
        if len(inner):
            node = rng.choice(inner)
            threshold = int(integer_thresholds(tree.threshold[[node]])[0]) + int(rng.integers(-1, 2))
            row[tree.feature[node]] = max(-VALUE_MAX, min(VALUE_MAX, threshold))
    predicted, scores = model.predict(rows), model.predict_proba(rows)[:, -1]
    return [{"features": row, "class": classes[index], "score": score} for row, index, score
            in zip(rows.tolist(), predicted.tolist(), scores.tolist())]


def sort_classes(texts):
    """Numbers by their size, else by their characters; the score is of the last one."""
    try:
        return sorted(texts, key=lambda text: (float(text), text))
    except ValueError:
        return sorted(texts)


def fit(arguments, matrix, codes):
    options = {"max_depth": arguments.depth, "min_samples_leaf": arguments.min_leaf,
               "random_state": arguments.seed}
    if arguments.model == "tree":
        model = DecisionTreeClassifier(**options)
    else:
        model = RandomForestClassifier(n_estimators=arguments.trees, n_jobs=-1, **options)
    weights = None
    if arguments.balance:
        # Whole numbers, so that sums in the trees stay exact.
        counts = numpy.bincount(codes)
        weights = numpy.rint(counts.max() / counts).astype(numpy.int64)[codes]
    model.fit(matrix, codes, sample_weight=weights)
    if arguments.model == "forest":
        model.n_jobs = 1  # trees are added in their order
    return model


# ---- evaluation

def evaluate(model, classes, matrix, codes, train_codes):
    predicted = model.predict(matrix)
    numbers = list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        codes, predicted, labels=numbers, zero_division=0)
    majority = numpy.bincount(train_codes).argmax()
    return {
        "accuracy": float((predicted == codes).mean()),
        "baseline": float((codes == majority).mean()),
        "baseline_class": classes[majority],
        "classes": [{"class": text, "precision": float(precision[i]), "recall": float(recall[i]),
                     "f1": float(f1[i]), "rows": int(support[i]),
                     "predicted": int((predicted == i).sum())} for i, text in enumerate(classes)],
        "confusion": confusion_matrix(codes, predicted, labels=numbers).tolist(),
    }


def print_evaluation(result, features, importances, rows):
    print("%d clients to train, %d kept back to test" % rows)
    print("accuracy  %.4f   (always `%s`: %.4f)"
          % (result["accuracy"], result["baseline_class"], result["baseline"]))
    width = max(9, *(len(entry["class"]) for entry in result["classes"]))
    print("\n%-*s  precision   recall       f1     rows" % (width, "class"))
    for entry in result["classes"]:
        print("%-*s  %9.4f %8.4f %8.4f %8d" % (width, entry["class"], entry["precision"],
                                               entry["recall"], entry["f1"], entry["rows"]))
    print("\nconfusion: a row is the label, a column what was predicted")
    for entry, counts in zip(result["classes"], result["confusion"]):
        print("%-*s  %s" % (width, entry["class"], " ".join("%8d" % count for count in counts)))
    print("\nimportance  feature")
    for index in numpy.argsort(-importances, kind="stable"):
        print("%10.4f  %s" % (importances[index], features[index].label))


# ---- plot

def bin_shares(numbers, codes, count, method):
    """Share of all clients in each bin, by class: (bins, classes)."""
    if method == "qcut":
        bins = pandas.qcut(numbers, 4, labels=False, duplicates="drop")
    else:
        values = numpy.log1p(numbers) if method == "log" else numbers
        bins = pandas.cut(values, 4, labels=False)
    known = ~numpy.isnan(bins)
    shares = numpy.zeros((4, count))
    numpy.add.at(shares, (bins[known].astype(int), codes[known]), 1 / len(numbers))
    return shares


def draw(path, table, features, importances, classes, codes, result):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "xdp-canary"  # the same plot is the same file
    from matplotlib import pyplot

    best = numpy.argsort(-importances, kind="stable")
    numeric = [features[i].name for i in best if features[i].equals is None][:3]
    figure, axes = pyplot.subplots(1 + (len(numeric) > 0), 3, squeeze=False,
                                   figsize=(13, 4 + 4 * (len(numeric) > 0)))
    shown = best[:12][::-1]
    axes[0][0].barh([features[i].label for i in shown], importances[shown])
    axes[0][0].set_title("importances")
    places = numpy.arange(len(classes))
    total = sum(entry["rows"] for entry in result["classes"])
    axes[0][1].bar(places - 0.2, [entry["rows"] / total for entry in result["classes"]], 0.4,
                   label="labels")
    axes[0][1].bar(places + 0.2, [entry["predicted"] / total for entry in result["classes"]], 0.4,
                   label="predicted")
    axes[0][1].set_xticks(places, classes)
    axes[0][1].set_title("shares of the classes (test)")
    axes[0][1].legend()
    confusion = numpy.array(result["confusion"], float)
    confusion /= numpy.maximum(confusion.sum(axis=1, keepdims=True), 1)
    axes[0][2].imshow(confusion, vmin=0, vmax=1, cmap="Blues")
    axes[0][2].set_xticks(places, classes)
    axes[0][2].set_yticks(places, classes)
    axes[0][2].set_title("predicted, for each label")
    for axis, name in zip(axes[-1] if numeric else [], numeric):
        cells = table[name]
        known = (cells != "").to_numpy()
        numbers = numbers_of(cells[known])
        methods = ["cut", "qcut"] + (["log"] if (numbers > -1).all() else [])
        for place, method in enumerate(methods):
            shares = bin_shares(numbers, codes[known], len(classes), method)
            bottom = numpy.zeros(4)
            for index, text in enumerate(classes):
                axis.bar(numpy.arange(4) + 5 * place, shares[:, index], bottom=bottom,
                         color="C%d" % index, label=text if not place else None)
                bottom += shares[:, index]
        axis.set_xticks([1.5 + 5 * place for place in range(len(methods))],
                        ["%s: 4" % method for method in methods])
        axis.set_title("%s: share of clients in each bin" % name)
        axis.legend()
    for axis in axes[-1][len(numeric):] if numeric else []:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


# ---- the command

def parse_arguments(words):
    def number(least, most, kind=int):
        def parse(text):
            value = kind(text)
            if not least <= value <= most:
                raise argparse.ArgumentTypeError("%s is not between %s and %s" % (text, least, most))
            return value
        return parse

    parser = argparse.ArgumentParser(description=__doc__, epilog=USAGE,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", metavar="FEATURES", nargs="+", required=True,
                        help="files with the columns to learn from")
    parser.add_argument("--labels", metavar="LABELS", required=True, help="CSV file with the classes")
    parser.add_argument("--label", metavar="COLUMN", help="column of LABELS that has the class")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="the model, JSON")
    parser.add_argument("--plot", metavar="FILE",
                        help="bins, importances and shares: .png or .svg")
    parser.add_argument("--model", choices=("tree", "forest"), default="forest",
                        help="default: forest")
    parser.add_argument("--trees", metavar="N", type=number(1, TREES_MAX), default=64,
                        help="of a forest, 1 to %d; default: 64" % TREES_MAX)
    parser.add_argument("--depth", metavar="N", type=number(1, DEPTH_MAX), default=12,
                        help="levels of decisions, 1 to %d; default: 12" % DEPTH_MAX)
    parser.add_argument("--min-leaf", metavar="N", type=number(1, 10**9), default=5,
                        help="clients that a leaf has at least; default: 5")
    parser.add_argument("--balance", action="store_true",
                        help="weigh rare classes up, so that they are found more often")
    parser.add_argument("--texts", metavar="N", type=number(1, FEATURES_MAX), default=10,
                        help="values of a text column that are told apart; default: 10")
    parser.add_argument("--exclude", metavar="COLUMN", nargs="+", default=[],
                        help="columns of FEATURES to leave out, as what the label was made from")
    parser.add_argument("--test", metavar="PART", type=number(0.01, 0.9, float), default=0.25,
                        help="part of the clients that is kept back to test; default: 0.25")
    parser.add_argument("--seed", metavar="N", type=number(0, 2**32 - 1), default=0,
                        help="of all that is random; the same input and seed give the same model")
    parser.add_argument("--prefix4", metavar="BITS", type=number(8, 32), default=32,
                        help="the longest client.prefix4 of the box's services; default: 32")
    parser.add_argument("--prefix6", metavar="BITS", type=number(16, 128), default=64,
                        help="the longest client.prefix6 of the box's services; default: 64")
    arguments = parser.parse_args(words)
    if arguments.plot and not arguments.plot.endswith((".png", ".svg")):
        parser.error("--plot takes a name that ends in .png or .svg")
    return arguments


def joined(arguments):
    """(table of those that have features and a label, names of its columns of numbers, labels)"""
    prefixes = arguments.prefix4, arguments.prefix6
    label, labels = read_labels(arguments.labels, arguments.label, *prefixes)
    table = read_features(arguments.features, *prefixes, [label, *arguments.exclude])
    # By all clients, as `client import` sees the column: those with a label may lack its texts.
    numeric = {name for name in table.columns if is_number(table[name])}
    table = table.loc[table.index.intersection(labels.index).sort_values()]
    table = table[[name for name in table.columns if tells_apart(table[name])]]
    table = table[(table != "").any(axis=1)]
    if len(table) < 10:
        raise BadInput("%d clients have both features and a label: too few to train" % len(table))
    return table, numeric, labels.loc[table.index]


def split(codes, part, seed):
    """(rows to train, rows to test), each class in both where it has members enough."""
    rows = numpy.arange(len(codes))
    stratify = codes if numpy.bincount(codes).min() * min(part, 1 - part) >= 1 else None
    return train_test_split(rows, test_size=part, random_state=seed, stratify=stratify)


def write(path, document):
    part = "%s.%d.part" % (path, os.getpid())
    try:
        with open(part, "w", encoding="utf-8") as stream:
            json.dump(document, stream, separators=(",", ":"), allow_nan=False)
            stream.write("\n")
        os.replace(part, path)
    except OSError as error:
        raise BadInput("%s: cannot be written: %s" % (path, error.strerror)) from None
    finally:
        if os.path.exists(part):
            os.unlink(part)


def train(arguments):
    table, numeric, labels = joined(arguments)
    classes = sort_classes(labels.unique())
    if not 2 <= len(classes) <= CLASSES_MAX:
        raise BadInput("%s: has %d classes: 2 to %d can be learned"
                       % (arguments.labels, len(classes), CLASSES_MAX))
    codes = labels.map({text: index for index, text in enumerate(classes)}).to_numpy()
    train_rows, test_rows = split(codes, arguments.test, arguments.seed)
    features = make_features(table.iloc[train_rows], numeric, arguments.texts)
    matrix = numpy.column_stack([feature.integers(table[feature.name]) for feature in features])
    if len(numpy.unique(codes[train_rows])) < len(classes):
        raise BadInput("%s: a class has too few clients to be in the training and in the test"
                       % arguments.labels)
    model = fit(arguments, matrix[train_rows], codes[train_rows])
    result = evaluate(model, classes, matrix[test_rows], codes[test_rows], codes[train_rows])
    importances = model.feature_importances_
    print_evaluation(result, features, importances, (len(train_rows), len(test_rows)))
    leaves, trees = export_trees(model)
    write(arguments.output, {
        "format": FORMAT,
        "version": VERSION,
        "training": {
            "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "model": arguments.model, "depth": arguments.depth, "min_leaf": arguments.min_leaf,
            "balance": arguments.balance, "seed": arguments.seed, "scikit_learn": sklearn.__version__,
            "rows": len(train_rows), "test_rows": len(test_rows), "evaluation": result,
            "accuracy": result["accuracy"], "baseline": result["baseline"],
        },
        "classes": classes,
        "features": [{"name": feature.name, "equals": feature.equals,
                      "scale_log2": feature.scale_log2, "fill": feature.fill,
                      "importance": float(importances[i]),
                      "deciles": deciles(matrix[train_rows, i])}
                     for i, feature in enumerate(features)],
        "leaves": leaves,
        "trees": trees,
        "vectors": make_vectors(model, classes, matrix[test_rows],
                                numpy.random.default_rng(arguments.seed)),
    })
    if arguments.plot:
        draw(arguments.plot, table.iloc[train_rows], features, importances, classes,
             codes[train_rows], result)
    return model, features, classes


def main(words):
    try:
        train(parse_arguments(words))
    except BadInput as error:
        print("train.py: %s" % error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
