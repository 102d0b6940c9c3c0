#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The examples of docs/examples run as their pages have them, and keep what the pages promise.

Each class types the commands of a page in a platform of its own (walkthrough.py), and then asks the
loaded program of every client what its decision is, and real HTTP servers whom they serve. Who has
to be in a segment is computed by pandas, from what the clients were told to do, not observed to.
"""
import contextlib
import importlib.util
import io
import json
import math
import os
import shlex
import sys
import unittest
import xml.etree.ElementTree as ElementTree

import numpy
import pandas

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as labs  # noqa: E402
import walkthrough  # noqa: E402

EXAMPLES = os.path.join(walkthrough.ROOT, "docs", "examples")
SIGMAS = 5  # 1 right share in 2 million would be taken for a wrong one
SERVED = 40  # clients of each cohort that ask a real server
DECISION = ["cohort", "rule", "segment", "segment_source", "holdout", "source"]  # of explain
ONE_IN = 16  # packets are counted: observe.sample of the configurations


def why_not():
    if not os.access(walkthrough.PROGRAM, os.X_OK):
        return f"{walkthrough.PROGRAM} is not built"
    return labs.missing_requirements()


def address_of(client):
    """One of the client's addresses."""
    return client.partition("/")[0] + ("7" if "/" in client else "")


_platforms = {}  # by the first page that was walked in it


def platform_of(page):
    """It is there until the end of the module, so that another page can go on in it."""
    if page not in _platforms:
        platform = walkthrough.Platform()
        platform.__enter__()
        unittest.addModuleCleanup(platform.__exit__)
        platform.walked = {}
        _platforms[page] = platform
    return _platforms[page]


class Walk:
    """Pages were walked. Classes come in the order of their names: who goes on in a platform has a
    later one than who began."""

    PAGES = ()  # the first ones may have been walked before; the last is what is tested

    @classmethod
    def setUpClass(cls):
        if why_not():
            raise unittest.SkipTest(why_not())
        cls.platform = platform_of(cls.PAGES[0])
        for name in cls.PAGES:
            page = walkthrough.Page(os.path.join(EXAMPLES, name))
            if name not in cls.platform.walked:
                cls.platform.walked[name] = walkthrough.walk(cls.platform, page)
            cls.page, cls.outputs = page, cls.platform.walked[name]
        cls.clients = cls.table("clients.csv").set_index("client", drop=False)
        cls.traffic = cls.table("traffic.csv").set_index("client", drop=False)
        cls.decisions = cls.explain(sorted(set(cls.clients.client) | set(cls.traffic.client)))

    # ---- asking

    @classmethod
    def made(cls, name):
        return os.path.join(cls.platform.directory, "build", "examples", name)

    @classmethod
    def table(cls, name):
        return pandas.read_csv(cls.made(name), float_precision="round_trip")

    @classmethod
    def json(cls, words):
        return json.loads(cls.platform.type("lb", "xdp-canary -j " + words))

    @classmethod
    def explain(cls, clients):
        """The loaded program's decision on each, as a table."""
        with open(cls.made("asked"), "w") as file:
            file.write("\n".join(clients) + "\n")
        text = cls.platform.type("lb", "xdp-canary -j explain api --input build/examples/asked")
        rows = map(json.loads, text.splitlines())
        return pandas.DataFrame([[row[key] for key in DECISION] for row in rows], columns=DECISION,
                                index=pandas.Index(clients, name="client"))

    def decided_by(self, rule, decisions=None):
        """Clients whose decision this rule gave."""
        decisions = self.decisions if decisions is None else decisions
        return set(decisions.index[decisions["rule"] == rule])

    def in_canary(self, clients, decisions=None):
        decisions = self.decisions if decisions is None else decisions
        return set(clients) & set(decisions.index[decisions["cohort"] == "canary"])

    def assert_share(self, share, clients, decisions=None, sizes=None):
        """Of @clients this part is in the canary, up to chance. @sizes of those drawn together."""
        clients = set(clients)
        sizes = numpy.array([1] * len(clients) if sizes is None else sizes)
        self.assertEqual(len(clients), sizes.sum())
        deviation = math.sqrt(share * (1 - share) * (sizes ** 2).sum())
        count = len(self.in_canary(clients, decisions))
        self.assertLessEqual(abs(count - share * len(clients)), SIGMAS * deviation,
                             f"{count} of {len(clients)} clients at {share:.2%}")

    # ---- of every page

    def test_the_page_prints_what_it_says(self):
        found = [line for step, output in zip(self.page.steps, self.outputs)
                 for line in walkthrough.differences(self.page, step, output)]
        self.assertEqual([], found, "\n".join(["see scripts/examples --update", *found]))

    def test_the_configuration_on_the_page_is_what_runs(self):
        self.assertEqual([], walkthrough.parts_that_are_in_no_file(self.page))

    def test_real_servers_serve_those_whom_explain_says(self):
        asked = {}
        for cohort in ("stable", "canary"):
            for is_ipv6 in (False, True):
                mine = [client for client in self.decisions.index[self.decisions.cohort == cohort]
                        if (":" in client) == is_ipv6]
                self.assertGreaterEqual(len(mine), SERVED // 4, (cohort, is_ipv6))
                asked.update((address_of(client), cohort) for client in
                             mine[::max(1, len(mine) // (SERVED // 2))])
        # A flow that lives on an earlier decision is none of these: their ports are new.
        self.assertEqual(asked, self.platform.served_by(list(asked)))


class Random(Walk, unittest.TestCase):
    """random.md"""

    PAGES = ("random.md",)

    @classmethod
    def configured(cls, *changes):
        """random.yaml with these texts replaced is in force."""
        with open(os.path.join(EXAMPLES, "random.yaml")) as file:
            text = file.read()
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        with open(cls.made("changed.yaml"), "w") as file:
            file.write(text)
        cls.platform.type("lb", "xdp-canary apply --reshuffle -f build/examples/changed.yaml")

    def test_the_share_is_a_tenth_of_all_who_are_neither_sampled_nor_held_out(self):
        self.assert_share(0.1, self.decided_by("default"))

    def test_a_fiftieth_is_held_out_and_never_in_the_canary(self):
        held_out = set(self.decisions.index[self.decisions.holdout])
        count = len(self.decisions)
        self.assertLessEqual(abs(len(held_out) - 0.02 * count),
                             SIGMAS * math.sqrt(0.02 * 0.98 * count))
        self.platform.type("lb", "xdp-canary rollout set api 100%")
        everybody = self.explain(list(self.clients.client))
        self.platform.type("lb", "xdp-canary rollout set api 10%")
        self.assertEqual(set(self.clients.client) - held_out,
                         self.in_canary(self.clients.client, everybody))

    def test_a_sample_is_exactly_so_many_and_a_larger_one_keeps_them(self):
        nobody_held_out = ("holdout: 2%", "holdout: 0%")
        everybody = list(self.clients.client)
        self.addCleanup(self.configured, ("count: 100", "count: 200"))
        self.configured(nobody_held_out)
        hundred = self.explain(everybody)
        self.configured(nobody_held_out, ("count: 100", "count: 200"))
        two_hundred = self.explain(everybody)
        members = [self.decided_by("first-hundred", decisions)
                   for decisions in (hundred, two_hundred)]
        self.assertEqual([100, 200], [len(clients) for clients in members])
        self.assertLess(members[0], members[1])
        self.assertEqual(members[1], self.in_canary(members[1], two_hundred))


class Behaviour(Walk, unittest.TestCase):
    """behaviour.md"""

    PAGES = ("behaviour.md",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        called = cls.traffic[cls.traffic.flows > 0]
        cls.quarter = pandas.qcut(called.flows, 4, labels=False)
        cls.called = called

    def test_flows_are_exact_and_packets_within_the_error_of_sampling(self):
        self.platform.type("lb", "xdp-canary features export -o build/examples/features.csv")
        seen = self.table("features.csv").set_index("client")
        self.assertEqual([], sorted(set(self.called.flows.items()) ^ set(seen.flows.items()))[:10])
        sent = self.called.flows * self.called.packets_per_flow
        data = sent - self.called.flows  # SYNs are all counted
        error = (seen.packets[sent.index] - sent).sum()
        self.assertLessEqual(abs(error), SIGMAS * math.sqrt(data.sum() * (ONE_IN - 1)))
        self.assertFalse((seen.packets[sent.index] == sent).all(), "nothing was sampled")

    def test_quarters_are_those_of_pandas(self):
        for number in (0, 1):
            self.assertEqual(set(self.quarter.index[self.quarter == number]),
                             self.decided_by(f"light-q{number + 1}"))

    def test_the_first_quarter_is_in_the_canary_and_half_of_the_second(self):
        first = self.decided_by("light-q1")
        self.assertEqual(first, self.in_canary(first))
        self.assert_share(0.5, self.decided_by("light-q2"))
        self.assertEqual(set(), self.in_canary(self.decided_by("default")))

    def test_equal_width_puts_nearly_all_in_one_bin_and_the_shares_are_those_of_pandas(self):
        flows = self.called.flows
        cuts = {"equal-width": pandas.cut(flows, 10, labels=False),
                "light-q1": self.quarter,
                # What of the window's length does not divide out.
                "by-hand": pandas.cut(flows, [0, 2, 10, 100, 10000], labels=False)}
        for segment, bins in cuts.items():
            counts = bins.value_counts()
            shown = self.json(f"segment show {segment}")
            self.assertEqual([counts.get(number, 0) for number in range(len(shown["bins"]))],
                             [part["clients"] for part in shown["bins"]], segment)
            if segment == "equal-width":
                self.assertGreater(shown["bins"][0]["share_ppm"], 999000)

    def test_explain_names_segment_rule_and_source(self):
        decision = self.decisions.loc[min(self.decided_by("light-q1"))]
        self.assertEqual(("light-q1", "light-q1", "bins:flows_per_day qcut 4 [0]", "kernel"),
                         tuple(decision[["rule", "segment", "segment_source", "source"]]))

    def test_what_clients_do_later_changes_no_membership(self):
        self.platform.type("client", "docs/examples/traffic --once build/examples/traffic.csv "
                           "192.0.2.10:443")
        now = self.explain(list(self.decisions.index))
        decides = ["rule", "cohort"]
        self.assertTrue((now[decides] == self.decisions[decides]).all(axis=None))


class Interest(Walk, unittest.TestCase):
    """interest.md"""

    PAGES = ("interest.md",)
    UPGRADED = "198.18.241.182"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        known = cls.clients.copy()
        known.loc[cls.UPGRADED, "plan"] = "enterprise"
        cls.enterprise = set(known.index[known.plan == "enterprise"])
        cls.buyers = set(known.query("purchases > 0 and tenure_days >= 30").index)
        others = cls.clients[cls.clients.plan != "enterprise"]  # readers are as they were before it
        cls.readers = set(others.index[pandas.qcut(others.pages_browsed, 10, labels=False) >= 8])

    def sizes_of_apps(self, clients):
        return self.clients.loc[list(clients)].app.value_counts().to_numpy()

    def test_rules_hold_the_clients_that_pandas_finds_and_the_first_one_decides(self):
        self.assertEqual(self.enterprise, self.decided_by("enterprise"))
        self.assertEqual(self.buyers - self.enterprise, self.decided_by("buyers"))
        self.assertEqual(self.readers - self.buyers - self.enterprise, self.decided_by("readers"))

    def test_shares_of_each_segment_are_as_set(self):
        for rule, share in (("buyers", 0.5), ("readers", 0.2)):
            clients = self.decided_by(rule)
            self.assert_share(share, clients, sizes=self.sizes_of_apps(clients))

    def test_the_enterprise_plan_is_never_in_the_canary(self):
        self.assertEqual(set(), self.in_canary(self.enterprise))
        served = self.platform.served_by([address_of(client) for client in
                                          sorted(self.enterprise)[::40]])
        self.assertEqual({"stable"}, set(served.values()))

    def test_the_addresses_of_an_app_are_in_one_cohort(self):
        decided = self.decisions.join(self.clients.app, how="inner")
        decided = decided[decided["rule"] == "buyers"]
        cohorts = decided.groupby("app").cohort.nunique()
        self.assertGreater(decided.app.value_counts().max(), 5)
        self.assertEqual({1}, set(cohorts))

    def test_an_import_alone_moves_nobody(self):
        client = min(self.decided_by("buyers"))
        with open(self.made("moved.csv"), "w") as file:
            file.write(f"client,plan\n{client},enterprise\n")
        before = self.explain([client])
        self.platform.type("lb", "xdp-canary client import build/examples/moved.csv")
        self.assertEqual("buyers", self.explain([client])["rule"][client])
        self.platform.type("lb", "xdp-canary segment materialise enterprise")
        self.assertEqual("enterprise", self.explain([client])["rule"][client])
        with open(self.made("moved.csv"), "w") as file:
            file.write(f"client,plan\n{client},{self.clients.plan[client]}\n")
        self.platform.type("lb", "xdp-canary client import build/examples/moved.csv\n"
                           "xdp-canary segment materialise enterprise")
        self.assertEqual(before["rule"][client], self.explain([client])["rule"][client])


class Learned(Walk, unittest.TestCase):
    """learned.md"""

    PAGES = ("learned.md",)

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.classes = cls.table("classes.csv").set_index("client")
        cls.adopters = set(cls.classes.index[cls.classes["class"] == 1])
        cls.enterprise = set(cls.clients.index[cls.clients.plan == "enterprise"])

    def test_rules_hold_those_whom_the_model_classifies_so(self):
        keenest = set(self.classes.index[self.classes.score > 0.8])
        self.assertEqual(self.enterprise, self.decided_by("enterprise"))
        self.assertEqual(keenest - self.enterprise, self.decided_by("keenest"))
        self.assertEqual(self.adopters - keenest - self.enterprise, self.decided_by("adopters"))

    def test_shares_of_each_segment_are_as_set(self):
        keenest = self.decided_by("keenest")
        self.assertEqual(keenest, self.in_canary(keenest))
        self.assert_share(0.25, self.decided_by("adopters"))
        self.assertEqual(set(), self.in_canary(self.decided_by("default") | self.enterprise))

    def test_the_model_says_of_every_client_what_scikit_learn_says(self):
        """Trained once more, by the command of the page, in this process."""
        step, = (step for step in self.page.steps if step.command.startswith("scripts/train.py"))
        spec = importlib.util.spec_from_file_location(
            "train", os.path.join(walkthrough.ROOT, "scripts", "train.py"))
        train = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(train)
        with contextlib.chdir(self.platform.directory), contextlib.redirect_stdout(io.StringIO()):
            words = shlex.split(step.command.replace("\\\n", " "))
            arguments = train.parse_arguments(words[1:])
            arguments.plot, arguments.output = None, "build/examples/again.json"
            model, features, classes = train.train(arguments)
            table = train.read_features(arguments.features, arguments.prefix4, arguments.prefix6,
                                        arguments.exclude)
        matrix = numpy.column_stack([feature.integers(table[feature.name])
                                     for feature in features])
        predicted = pandas.Series([int(classes[index]) for index in model.predict(matrix)],
                                  table.index)
        score = pandas.Series(model.predict_proba(matrix)[:, -1], table.index)
        self.assertEqual(predicted.to_dict(), self.classes["class"].to_dict())
        self.assertEqual(score.to_dict(), self.classes.score.to_dict())

    def test_the_model_finds_adopters_better_than_chance(self):
        """Among those whom the training kept back."""
        labels = self.table("labels.csv").set_index("client").adopter
        with open(self.made("adopters.json")) as file:
            kept_back = json.load(file)["training"]["evaluation"]["classes"]
        found, = (entry for entry in kept_back if entry["class"] == "1")
        self.assertGreater(found["precision"], 2 * labels.mean())
        self.assertGreater(found["recall"], 0.2)

    def test_the_model_sees_in_the_kernel_what_it_saw_in_training(self):
        drift = self.json("model drift adopters")
        self.assertGreater(len(drift["features"]), 5)
        for feature in drift["features"]:
            self.assertLess(feature["psi"], 0.1, feature)

    def test_explain_names_the_model(self):
        decision = self.decisions.loc[min(self.decided_by("adopters"))]
        self.assertEqual(("adopters", "adopters", "model:adopters=1", "kernel"),
                         tuple(decision[["rule", "segment", "segment_source", "source"]]))

    def test_there_is_a_plot_of_importances_shares_and_bins(self):
        for path in (self.made("adopters.svg"), os.path.join(EXAMPLES, "adopters.svg")):
            root = ElementTree.parse(path).getroot()
            self.assertEqual("{http://www.w3.org/2000/svg}svg", root.tag)
            with open(path) as file:
                text = file.read()
            for word in ("importances", "shares of the classes", "pages_browsed",
                         "share of clients in each bin"):
                self.assertIn(word, text)


class Together(Walk, unittest.TestCase):
    """README.md, on the box of learned.md"""

    PAGES = ("learned.md", "README.md")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.enterprise = set(cls.clients.index[cls.clients.plan == "enterprise"])
        cls.held_out = set(cls.decisions.index[cls.decisions.holdout])

    def test_the_enterprise_plan_is_never_in_the_canary_whatever_the_others_have(self):
        self.platform.type("lb", "for rule in staff light-q1 light-q2 adopters default; do "
                           "xdp-canary rollout set api 100% --rule $rule; done")
        everybody = self.explain(list(self.decisions.index))
        self.assertEqual(set(self.decisions.index) - self.enterprise - self.held_out,
                         self.in_canary(everybody.index, everybody))
        served = self.platform.served_by([address_of(client) for client in
                                          sorted(self.enterprise)[::40]])
        self.assertEqual({"stable"}, set(served.values()))
        self.platform.type("lb", "xdp-canary rollout set api 50% --rule adopters\n"
                           "xdp-canary rollout set api 0%")

    def test_each_step_took_whom_the_page_says(self):
        for rule, share in (("staff", 1), ("light-q1", 1), ("light-q2", 1), ("adopters", 0.5),
                            ("default", 0), ("enterprise", 0)):
            clients = self.decided_by(rule) - self.held_out
            self.assertTrue(clients, rule)
            self.assert_share(share, clients)

    def test_light_quarters_are_of_those_who_do_not_pay_for_enterprise(self):
        called = self.traffic[self.traffic.flows > 0].join(self.clients.plan)
        others = called[called.plan.notna() & (called.plan != "enterprise")]
        quarter = pandas.qcut(others.flows, 4, labels=False)
        for number in (0, 1):
            self.assertEqual(set(quarter.index[quarter == number]) - self.held_out,
                             self.decided_by(f"light-q{number + 1}"))

    def test_staff_are_known_by_their_prefixes(self):
        staff = {client for client in self.traffic.client
                 if client.startswith(("198.51.100.", "2001:db8:5:"))}
        self.assertEqual(staff - self.held_out, self.decided_by("staff"))
        sources = set(self.decisions.segment_source[list(staff - self.held_out)])
        self.assertEqual({"cidrs:198.51.100.0/24", "cidrs:2001:db8:5::/48"}, sources)


if __name__ == "__main__":
    unittest.main()
