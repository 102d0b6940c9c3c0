#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The model commands: what they take, refuse, remember and say. That classes are scikit-learn's is
tests/reference/test_train.py's.
"""
import copy
import csv
import io
import json
import os
import random
import subprocess
import unittest

try:
    import numpy
    import sklearn
except ImportError as error:
    raise unittest.SkipTest("needs python3-pandas and python3-sklearn: %s" % error)

from cli_box import ROOT, Box, BoxTest, config, service

CLIENTS = 3000


def address(number):
    return "10.1.%d.%d" % (number >> 8, number & 255)


def rows(seed, shift=0):
    """(client, visits, rate, plan): some cells are empty, one client has nothing at all."""
    rng = random.Random(seed)
    yield address(0), "", "", ""
    for number in range(1, CLIENTS):
        visits = int(rng.lognormvariate(3 + shift, 1))
        yield (address(number), rng.choice([visits, visits, visits, ""]),
               rng.choice([repr(rng.random()), ""]), rng.choice(["free", "pro", "a,b", ""]))


def table(lines, header):
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([header, *lines])
    return out.getvalue()


class ModelTest(BoxTest):
    @classmethod
    def setUpClass(cls):
        """One model, trained once: of visits, rate and plan, its classes are `no` and `yes, please`."""
        super().setUpClass()
        with Box() as box:
            clients = list(rows(1))
            labels = [(client, "yes, please" if visits != "" and visits > 20 and plan != "free" else "no")
                      for client, visits, _, plan in clients]
            subprocess.run(
                [os.path.join(ROOT, "scripts", "train.py"), "--model", "forest", "--trees", "5",
                 "--depth", "6", "-o", box.write("", "model.json"), "--features",
                 box.write(table(clients, ("client", "visits", "rate", "plan")), "clients.csv"),
                 "--labels", box.write(table(labels, ("client", "liked")), "labels.csv")],
                check=True, capture_output=True)
            with open(os.path.join(box.directory, "model.json"), encoding="utf-8") as stream:
                cls.model = json.load(stream)

    def fill(self, lines):
        path = self.box.write(table(lines, ("client", "visits", "rate", "plan")), "clients.csv")
        self.succeeds(self.box("client", "import", path, "--replace"))

    def import_model(self, name="adopters", model=None):
        return self.box("-j", "model", "import", name, self.box.write(model or self.model, "m.json"))

    def ready(self):
        self.fill(rows(2))
        return self.succeeds(self.import_model()).json

    def refused(self, words, *texts, status=1):
        before = self.box("-j", "model", "list").out
        super().refused(words, *texts, status=status)
        self.assertEqual(before, self.box("-j", "model", "list").out)

    def changed(self, change):
        model = copy.deepcopy(self.model)
        change(model)
        return self.box.write(model, "bad.json")


class Commands(ModelTest):
    def test_import_list_show_and_remove(self):
        imported = self.ready()
        self.assertEqual(["no", "yes, please"], imported["classes"])
        self.assertEqual((5, 1000, False), (imported["trees"], imported["vectors"],
                                            imported["replaced"]))
        self.succeeds(self.import_model("another"))
        listed = self.succeeds(self.box("-j", "model", "list")).json["models"]
        self.assertEqual(["adopters", "another"], [entry["model"] for entry in listed])
        self.assertEqual(listed[0]["digest"], listed[1]["digest"])
        shown = self.succeeds(self.box("-j", "model", "show", "adopters")).json
        self.assertEqual([feature["name"] for feature in self.model["features"]],
                         [feature["column"] for feature in shown["features"]])
        self.assertEqual(self.model["training"], shown["training"])
        text = self.succeeds(self.box("model", "show", "adopters")).out
        for part in ("classes: no, yes, please", "plan=pro", "accuracy: "):
            self.assertIn(part, text)
        self.assertIn("no, yes, please", self.succeeds(self.box("model", "list")).out)
        self.succeeds(self.box("model", "remove", "another"))
        self.fails(self.box("model", "show", "another"), 1, "models: there is no model `another`",
                   "adopters")

    def test_every_change_is_audited_with_what_was_before(self):
        digest = self.ready()["digest"]
        other = copy.deepcopy(self.model)
        other["training"]["note"] = "trained again"
        self.assertTrue(self.succeeds(self.import_model(model=other)).json["replaced"])
        self.succeeds(self.box("model", "remove", "adopters", "--reason", "not needed"))
        entries = [entry for entry in self.succeeds(self.box("-j", "audit")).json["entries"]
                   if entry["command"].startswith("model") or "model" in (entry["after"] or {})]
        self.assertEqual(3, len(entries))
        self.assertEqual([None, digest], [entries[0]["before"]["is"], entries[0]["after"]["is"]["digest"]])
        self.assertEqual(digest, entries[1]["before"]["is"]["digest"])
        self.assertNotEqual(digest, entries[1]["after"]["is"]["digest"])
        self.assertEqual((None, "not needed"), (entries[2]["after"]["is"], entries[2]["reason"]))

    def test_nothing_is_there_before_the_first_import(self):
        self.assertEqual([], self.succeeds(self.box("-j", "model", "list")).json["models"])
        for verb in ("show", "remove", "classify", "drift"):
            self.fails(self.box("model", verb, "adopters"), 1, "there is no model `adopters`",
                       "import one with")

    def test_a_model_that_a_segment_uses_stays(self):
        self.ready()
        segments = [{"name": "likely", "model": {"model": "adopters", "class": "yes, please"}},
                    {"name": "top", "bins": {"feature": "adopters.score", "qcut": 4, "take": [0]}}]
        for segment in segments:
            self.applied(service(), segments=[segment])
            self.refused(("model", "remove", "adopters"), "models/adopters",
                         "segments use it: " + segment["name"])
            self.assertEqual([segment["name"]],
                             self.box("-j", "model", "list").json["models"][0]["segments"])
        self.applied(service(), segments=segments)

        def rename(model):
            model["classes"][1] = "later"
            for vector in model["vectors"]:
                vector["class"] = vector["class"].replace("yes, please", "later")
        self.refused(("model", "import", "adopters", self.changed(rename)), "segments/likely",
                     "takes class `yes, please`, which the new model `adopters` has not")
        self.applied(service())
        self.succeeds(self.box("model", "remove", "adopters"))


class BadInput(ModelTest):
    def refused_import(self, path, *texts):
        self.refused(("model", "import", "adopters", path), *texts)

    def test_bad_models_change_nothing(self):
        self.ready()
        tree = next(index for index, tree in enumerate(self.model["trees"]) if tree["left"][0])
        inner = max(node for node, left in enumerate(self.model["trees"][tree]["left"])
                    if left is not None)

        def cycle(model):
            model["trees"][tree]["right"][inner] = 0

        def fraction(model):
            model["trees"][tree]["threshold"][inner] += 0.5

        def unknown_column(model):
            for feature in model["features"]:
                feature["name"] = feature["name"].replace("plan", "plam")

        def another_leaf(model):
            model["leaves"] = [[1 - leaf[0], 1 - leaf[1]] for leaf in model["leaves"]]
        self.refused_import(self.changed(cycle), "bad.json: trees[%d] node %d: " % (tree, inner),
                            "the tree has a cycle")
        self.refused_import(self.changed(fraction), "trees[%d].threshold[%d]: " % (tree, inner),
                            "is no integer")
        self.refused_import(self.changed(unknown_column), "the catalogue has no column `plam`",
                            "did you mean `plan`", "`flows_per_day`")
        self.refused_import(self.changed(another_leaf), "vectors[0]: features [", "the trees say `")
        self.refused_import(self.box.write('{"format":\n 1,,}', "bad.json"),
                            "bad.json:2:4: model: it is no JSON")
        self.refused_import(os.path.join(self.box.directory, "absent.json"), "absent.json: ",
                            "No such file")
        self.refused_import(self.box.directory, "is no file")
        self.refused(("model", "import", "Adopters", self.box.write(self.model, "m.json")),
                     "`Adopters` is no name", status=2)

    def test_a_column_that_is_gone_is_named(self):
        self.ready()
        path = self.box.write(table([(address(1), 3)], ("client", "visits")), "clients.csv")
        self.succeeds(self.box("client", "import", path, "--replace"))
        for verb in ("classify", "drift"):
            self.fails(self.box("model", verb, "adopters"), 1, "models/adopters",
                       "there is no column `")

    def test_a_file_that_cannot_be_written_is_refused(self):
        self.ready()
        path = os.path.join(self.box.directory, "absent", "out.csv")
        self.fails(self.box("model", "classify", "adopters", "-o", path), 1, path, "No such file")


class Classify(ModelTest):
    def test_csv_json_and_file_say_the_same(self):
        self.ready()
        text = self.succeeds(self.box("model", "classify", "adopters")).out
        answers = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual(["client", "class", "score"], list(answers[0]))
        self.assertEqual([client for client, *_ in rows(2)], [answer["client"] for answer in answers])
        self.assertEqual({"", "no", "yes, please"}, {answer["class"] for answer in answers})
        unknown = [answer for answer in answers if not answer["class"]]
        self.assertEqual([address(0), ""], [unknown[0]["client"], unknown[0]["score"]])
        self.assertEqual([row[0] for row in rows(2) if set(row[1:]) == {""}],
                         [answer["client"] for answer in unknown])
        lines = [json.loads(line) for line in
                 self.succeeds(self.box("-j", "model", "classify", "adopters")).out.splitlines()]
        self.assertEqual([(answer["client"], answer["class"] or None,
                           float(answer["score"]) if answer["score"] else None) for answer in answers],
                         [(line["client"], line["class"], line["score"]) for line in lines])
        path = os.path.join(self.box.directory, "out.csv")
        summary = self.succeeds(self.box("-j", "model", "classify", "adopters", "-o", path)).json
        with open(path, encoding="utf-8", newline="") as stream:
            self.assertEqual(text, stream.read())
        self.assertEqual([path], [os.path.join(self.box.directory, name)
                                  for name in os.listdir(self.box.directory) if "out.csv" in name])
        self.assertEqual((CLIENTS, len(unknown)), (summary["clients"], summary["unclassified"]))
        self.assertEqual([sum(answer["class"] == entry["class"] for answer in answers)
                          for entry in summary["classes"]],
                         [entry["clients"] for entry in summary["classes"]])


class Drift(ModelTest):
    def index_by_numpy(self, lines):
        """PSI of each feature, the model's integers made here."""
        lines = [line for line in lines if set(line[1:]) != {""}]
        out = {}
        for feature in self.model["features"]:
            column = ("client", "visits", "rate", "plan").index(feature["name"])
            cells = [line[column] for line in lines]
            values = [feature["fill"] if cell == "" else
                      int(cell == feature["equals"]) if feature["equals"] is not None else
                      int(numpy.floor(float(cell) * 2.0 ** feature["scale_log2"])) for cell in cells]
            edges, expected = feature["deciles"]["edges"], feature["deciles"]["counts"]
            actual = numpy.histogram(values, [-numpy.inf, *(numpy.array(edges) + 0.5), numpy.inf])[0]
            p, q = actual / actual.sum(), numpy.array(expected) / sum(expected)
            p, q = numpy.maximum(p, 1e-4), numpy.maximum(q, 1e-4)
            name = feature["name"] if feature["equals"] is None else "plan=" + feature["equals"]
            out[name] = ((p - q) * numpy.log(p / q)).sum()
        return out

    def drift(self, lines):
        lines = list(lines)
        self.fill(lines)
        answer = self.succeeds(self.box("-j", "model", "drift", "adopters")).json
        expected = self.index_by_numpy(lines)
        self.assertEqual(list(expected), [entry["feature"] for entry in answer["features"]])
        for entry in answer["features"]:
            self.assertAlmostEqual(expected[entry["feature"]], entry["psi"], delta=1e-12)
        return {entry["feature"]: (entry["psi"], entry["verdict"]) for entry in answer["features"]}

    def test_index_of_each_feature_as_numpy_computes_it(self):
        self.ready()
        calm = self.drift(rows(3))
        self.assertEqual({"calm"}, {verdict for _, verdict in calm.values()})
        drifted = self.drift(rows(4, shift=2))
        self.assertEqual("drifted", drifted["visits"][1])
        self.assertEqual("calm", drifted["rate"][1])
        others = self.drift((client, visits, rate, "free") for client, visits, rate, _ in rows(5))
        self.assertEqual({"drifted"}, {others["plan=" + text][1] for text in ("free", "pro", "a,b")})
        self.assertIn("drifted", self.succeeds(self.box("model", "drift", "adopters")).out)

    def test_without_clients_there_is_no_index(self):
        self.ready()
        self.fill([(address(0), "", "", "")])
        answer = self.succeeds(self.box("-j", "model", "drift", "adopters")).json
        self.assertEqual((0, {(None, "unknown")}), (answer["clients"], {
            (entry["psi"], entry["verdict"]) for entry in answer["features"]}))


if __name__ == "__main__":
    unittest.main()
