#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Segments as a user has them: applied, listed, previewed, computed anew, refreshed by the daemon.

No packet is sent here. Needs root. What a sample draws is held against tests/reference/decide.py,
what bins cut against pandas.
"""

import fcntl
import ipaddress
import os
import sqlite3
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "reference"))
import decide  # noqa: E402
from cli_box import BoxTest, SECRET, config, service, wait_for  # noqa: E402

CIDRS = {"name": "staff", "cidrs": ["198.51.100.0/24", "2001:db8:5::/48"]}
RULES = [{"segment": "staff", "allocate": {"canary": "50%"}}, {"default": True}]


def for_segments(*names):
    """Rules, the canary's share at 0% in each."""
    return [{"segment": name} for name in names] + [{"default": True}]


def client_key(client):
    """As the tables `clients` and `features` have it."""
    network = ipaddress.ip_network(client)
    if network.version == 4:
        return bytes(10) + b"\xff\xff" + network.network_address.packed + bytes(
            [96 + network.prefixlen])
    return network.network_address.packed + bytes([network.prefixlen])


class SegmentTest(BoxTest):
    def segments(self):
        listed = self.succeeds(self.box("-j", "segment", "list")).json["segments"]
        return {segment["segment"]: segment for segment in listed}

    def version(self, name):
        return self.segments()[name]["version"]

    def show(self, name):
        return self.succeeds(self.box("-j", "segment", "show", name)).json

    def preview(self, *words):
        return self.succeeds(self.box("-j", "segment", "preview", *words)).json

    def refuses(self, value, *texts):
        self.refused(["apply", "-f", self.box.write(value, "refused.yaml")], *texts)

    def memory(self):
        return self.box.memory() + [self.segments_without_age()]

    def segments_without_age(self):
        return {name: {key: value for key, value in segment.items() if key != "age_seconds"}
                for name, segment in self.segments().items()}

    def refused(self, words, *texts, status=1):
        before = self.memory()
        self.fails(self.box(*words), status, *texts)
        self.assertEqual(before, self.memory())

    def store(self):
        return sqlite3.connect(os.path.join(self.box.state, "state.db"))

    def observe(self, flows):
        """{client: flows} as what was observed of the last window."""
        with self.store() as database:
            database.execute("DELETE FROM features")
            database.executemany(
                "INSERT INTO features VALUES (?, ?, ?, ?, 1, ?, 1, 1, 1, 1, 1)",
                [(client_key(client), 10 * count, 100 * count, count, count / 7.0)
                 for client, count in flows.items()])

    def attribute(self, column, values):
        """{client: value} of a column of the catalogue."""
        path = self.box.write(f"client,{column}\n" + "".join(
            f"{client},{value}\n" for client, value in values.items()), "clients.csv")
        self.succeeds(self.box("client", "import", path))


class Apply(SegmentTest):
    def test_apply_computes_segments_and_says_so(self):
        self.box.settle_secret()
        value = config(service(rules=RULES), segments=[CIDRS])
        would = self.succeeds(self.box.apply(value, "--dry-run")).json
        self.assertEqual([("staff", "added", None, None)],
                         [(entry["segment"], entry["action"], entry["version"], entry["clients"])
                          for entry in would["segments"]])
        self.assertFalse(os.path.exists(self.box.state + "/state.db"))
        did = self.succeeds(self.box.apply(value)).json
        self.assertEqual([{"segment": "staff", "action": "added", "version": 1, "clients": 2,
                           "added": 2, "removed": 0, "changed": True}], did["segments"])
        self.assertIn("segment staff: would be computed",
                      self.box("apply", "--dry-run", "-f", self.box.write(
                          config(service(rules=RULES), segments=[
                              {**CIDRS, "cidrs": ["10.0.0.0/8"]}]))).out)
        audit = self.box("-j", "audit").json["entries"][-1]
        self.assertEqual(({"memberships/staff": None},
                          {"memberships/staff": {"version": 1, "clients": 2}}),
                         (audit["before"], audit["after"]))

    def test_a_membership_is_frozen_across_shares_and_apply(self):
        self.applied(service(rules=RULES), segments=[CIDRS])
        computed = self.segments()["staff"]["time"]
        time.sleep(1.1)
        self.succeeds(self.box("rollout", "set", "api", "70%", "--rule", "staff"))
        document = self.applied(service(rules=RULES), segments=[CIDRS])
        self.assertEqual("kept", document["segments"][0]["action"])
        more = [{"segment": "staff", "allocate": {"canary": "60%"}}, {"default": True}]
        described = {**CIDRS, "description": "ours", "refresh": "1h"}
        document = self.applied(service(rules=more), segments=[described])
        self.assertTrue(document["changed"])
        self.assertEqual("kept", document["segments"][0]["action"])
        self.assertEqual((1, computed), (self.version("staff"), self.segments()["staff"]["time"]))

    def test_another_definition_is_a_new_version(self):
        self.applied(service(rules=RULES), segments=[CIDRS])
        document = self.applied(service(rules=RULES),
                                segments=[{**CIDRS, "cidrs": ["198.51.100.0/24", "10.0.0.1"]}])
        self.assertEqual([{"segment": "staff", "action": "computed", "version": 2, "clients": 2,
                           "added": 1, "removed": 1, "changed": True}], document["segments"])
        # The form of the box's clients is a part of it.
        document = self.applied(service(rules=RULES, client={"prefix4": 16}),
                                segments=[{**CIDRS, "cidrs": ["198.51.100.0/24", "10.0.0.1"]}])
        self.assertEqual(("computed", 3), (document["segments"][0]["action"],
                                           document["segments"][0]["version"]))
        self.assertEqual(["10.0.0.0/16", "198.51.0.0/16"], self.show("staff")["examples"])

    def test_a_definition_that_goes_takes_its_membership_along(self):
        self.applied(service(rules=RULES), segments=[CIDRS])
        document = self.applied(service())
        self.assertEqual([("staff", "dropped")], [(entry["segment"], entry["action"])
                                                  for entry in document["segments"]])
        self.assertEqual({}, self.segments())
        with self.store() as database:
            self.assertEqual([], database.execute("SELECT segment FROM memberships").fetchall())
        document = self.applied(service(rules=RULES), segments=[CIDRS])
        self.assertEqual(1, document["segments"][0]["version"])

    def test_get_gives_back_what_apply_takes(self):
        os.makedirs(self.box.directory, exist_ok=True)
        with open(self.box.directory + "/list.txt", "w", encoding="ascii") as stream:
            stream.write("10.0.0.0/8\n")
        self.box.settle_secret()
        self.applied(
            service(rules=for_segments("staff", "listed", "some", "heavy")),
            observe={"sample": 4}, limits={"segment_clients": 1000},
            segments=[CIDRS, {"name": "listed", "file": "list.txt", "refresh": "1h"},
                      {"name": "some", "sample": {"count": 3, "where": "flows > 1"}},
                      {"name": "heavy", "description": "q4", "bins": {
                          "feature": "flows", "edges": [0, 0.5, 1e6], "take": [1, 0]}}])
        text = self.succeeds(self.box("get")).out
        self.assertIn(self.box.directory + "/list.txt", text)
        # From anywhere, and it is the same.
        again = self.box("-j", "apply", "-f", self.box.write(text, "again.yaml"), cwd="/")
        self.assertFalse(self.succeeds(again).json["changed"])
        self.assertEqual(text, self.box("get").out)

    def test_too_many_clients_name_the_segment_that_was_too_much(self):
        limits = {"segment_clients": 3, "segment_prefixes": 1, "services": 16, "vips": 64,
                  "backends": 256}
        segments = [{"name": "one", "cidrs": ["10.0.0.1", "10.0.0.2", "10.1.0.0/16"]},
                    {"name": "two", "cidrs": ["10.0.0.2", "10.0.0.3", "10.1.0.0/16"]}]
        rules = for_segments("one", "two")
        self.applied(service(rules=rules), segments=segments, limits=limits)
        third = {"name": "three", "cidrs": ["10.0.0.4"]}
        self.refuses(config(service(rules=rules), segments=[*segments, third], limits=limits),
                     "segments/three", "4 clients", "limits/segment_clients allows (3)")
        third["cidrs"] = ["10.2.0.0/16"]
        self.refuses(config(service(rules=rules), segments=[*segments, third], limits=limits),
                     "segments/three", "2 prefixes", "limits/segment_prefixes allows (1)")
        self.refuses(config(service(rules=rules), segments=segments,
                            limits={**limits, "segment_clients": 2}), "segments/two", "3 clients")

    def test_bad_segments_change_nothing(self):
        self.applied(service(rules=RULES), segments=[CIDRS])
        with open(self.box.directory + "/bad.txt", "w", encoding="ascii") as stream:
            stream.write("10.0.0.0/8\n# fine\n  10.0.0.300\n")
        for segment, *texts in (
                ({"file": "none.txt"}, "refused.yaml:", "segments/x", "none.txt", "No such file"),
                ({"file": "bad.txt"}, self.box.directory + "/bad.txt:3:3: segments/x"),
                ({"where": "plan = "}, "refused.yaml:", "segments/x/where", "plan ="),
                ({"where": "nobody = 1"}, "segments/x/where", "nobody"),
                ({"where": "1); DROP TABLE clients; --"}, "segments/x/where", "DROP TABLE"),
                ({"where": "load_extension('x')"}, "segments/x/where", "load_extension"),
                ({"bins": {"feature": "nothing", "cut": 2, "take": [0]}}, "segments/x/bins",
                 "nothing"),
                ({"model": {"model": "adopters", "class": "1"}}, "refused.yaml:", "adopters"),
                ({"cidrs": ["10.0.0.1/8"]}, "segments/x/cidrs[0]", "did you mean 10.0.0.0/8?"),
                ({}, "segments/x", "has none of")):
            with self.subTest(segment):
                self.refuses(config(service(rules=for_segments("staff", "x")),
                                    segments=[CIDRS, {"name": "x", **segment}]), *texts)
        self.refuses(config(service(rules=for_segments("stuff")), segments=[CIDRS]),
                     "refused.yaml:", "services/api/rules[0]/segment", "did you mean staff?")

    def test_an_unused_segment_is_computed_too(self):
        document = self.applied(service(), segments=[CIDRS])
        self.assertEqual(1, document["segments"][0]["version"])
        self.assertEqual([], self.show("staff")["rules"])


class Commands(SegmentTest):
    def test_a_list_says_who_asks_for_each(self):
        self.applied(service(rules=RULES), service("web", 11, rules=[
            {"name": "ours", "segment": "staff"}, {"default": True}]),
            segments=[{**CIDRS, "description": "ours", "refresh": "90m"}])
        listed = self.segments()["staff"]
        self.assertLess(listed.pop("age_seconds"), 60)
        self.assertIsNotNone(listed.pop("time"))
        self.assertIsNotNone(listed.pop("next_refresh"))
        self.assertEqual({"segment": "staff", "description": "ours", "kind": "cidrs",
                          "source": "cidrs:2 prefixes", "version": 1, "clients": 2,
                          "refresh_seconds": 5400,
                          "rules": [{"service": "api", "rule": "staff"},
                                    {"service": "web", "rule": "ours"}]}, listed)
        text = self.succeeds(self.box("segment", "list")).out
        self.assertRegex(text, r"staff +cidrs:2 prefixes +2 +1 .* 1h30m +api/staff, web/ours")

    def test_show_of_what_is_not_there_says_what_is(self):
        self.applied(service(rules=RULES), segments=[CIDRS])
        for words in (["show", "stff"], ["preview", "stff"], ["materialise", "stff"]):
            self.refused(["segment", *words], "there is no segment `stff`", "`staff`")
        self.refused(["segment", "materialise"], "it takes one of both", status=2)
        self.refused(["segment", "materialise", "staff", "--all"], "one of both", status=2)

    def test_a_preview_is_what_the_contract_says(self):
        clients = {f"203.0.113.{i}": i for i in range(1, 11)}
        self.applied(service(), segments=[{"name": "odd", "cidrs": ["203.0.113.0/29"]}])
        self.observe({**clients, "2001:db8:1:2::/64": 45})
        bins = {"name": "light", "bins": {"feature": "flows", "qcut": 2, "take": [0]}}
        value = config(service(), segments=[{"name": "odd", "cidrs": ["203.0.113.0/29"]}, bins])
        path = self.box.write(value, "other.yaml")
        before = self.memory()
        preview = self.preview("-f", path, "light")
        self.assertEqual(before, self.memory())
        expected = {"cmd": "segment preview", "segment": "light", "version": None, "clients": 6,
                    "ipv4": 6, "ipv6": 0, "flows_share_ppm": 210000, "packets_share_ppm": 210000,
                    "edges": [1, 6, 45], "overlaps": [{"segment": "odd", "clients": 6}],
                    "population": 11}
        self.assertEqual(expected, {key: preview[key] for key in expected})
        self.assertEqual([(0, 6, 545455, True), (1, 5, 454545, False)],
                         [(part["bin"], part["clients"], part["share_ppm"], part["taken"])
                          for part in preview["bins"]])
        self.assertTrue(set(preview["examples"]) <= set(list(clients)[:6]))
        self.assertEqual(5, len(preview["examples"]))
        # Applied, it is the same of the name alone, and of show.
        self.succeeds(self.box("apply", "-f", path))
        self.assertEqual({**expected, "version": 1},
                         {key: self.preview("light")[key] for key in expected})
        shown = self.show("light")
        for key in set(expected) - {"cmd", "version"}:
            self.assertEqual(expected[key], shown[key], key)
        text = self.succeeds(self.box("segment", "show", "light")).out
        self.assertIn("21% of the flows", text)
        self.assertRegex(text, r"\n0 +1 +6 +6 +54.5455% +yes\n1 +6 +45 +5 +45.4545%")

    def test_nothing_observed_is_unknown_not_nothing(self):
        self.applied(service(rules=RULES), segments=[CIDRS])
        preview = self.preview("staff")
        self.assertEqual((None, None, None, 1, 2), (
            preview["flows_share_ppm"], preview["packets_share_ppm"], preview["edges"],
            preview["ipv4"], preview["prefixes"]))
        self.assertIn("nothing was observed yet", self.box("segment", "preview", "staff").out)

    def test_only_materialise_sees_what_came_since(self):
        self.attribute("plan", {"10.0.0.1": "gold", "10.0.0.2": "gold", "10.0.0.3": "trial"})
        gold = {"name": "gold", "where": "plan = 'gold'"}
        self.applied(service(rules=for_segments("gold")), segments=[gold])
        self.attribute("plan", {"10.0.0.3": "gold", "10.0.0.1": "trial", "10.0.0.4": "gold"})
        self.applied(service(rules=for_segments("gold")), segments=[gold])
        self.assertEqual(["10.0.0.1", "10.0.0.2"], self.show("gold")["examples"])
        self.assertEqual(["10.0.0.2", "10.0.0.3", "10.0.0.4"], self.preview("gold")["examples"])
        did = self.succeeds(self.box("-j", "--by", "ann", "--reason", "new clients", "segment",
                                     "materialise", "gold")).json
        self.assertEqual([{"segment": "gold", "action": "computed", "version": 2, "clients": 3,
                           "added": 2, "removed": 1, "changed": True}], did["segments"])
        self.assertEqual(["10.0.0.2", "10.0.0.3", "10.0.0.4"], self.show("gold")["examples"])
        audit = self.box("-j", "audit").json["entries"][-1]
        self.assertEqual(("ann", "new clients", {"memberships/gold": {"version": 1, "clients": 2}},
                          {"memberships/gold": {"version": 2, "clients": 3}}),
                         (audit["by"], audit["reason"], audit["before"], audit["after"]))
        # The same clients again: a new version, but nothing that decides.
        epoch = self.box.epoch()
        did = self.succeeds(self.box("-j", "segment", "materialise", "--all", "--force")).json
        self.assertEqual((3, False), (did["segments"][0]["version"],
                                      did["segments"][0]["changed"]))
        self.assertEqual(([], epoch), (did["services"], self.box.epoch()))

    def test_memberships_and_groupings_survive_a_new_revision(self):
        self.applied(service())
        self.attribute("app", {"10.0.0.1": "mail", "10.0.0.2": "mail", "10.0.0.3": ""})
        grouped = service(client={"group_by": "app"})
        document = self.applied(grouped)
        self.assertEqual([("app", "added", 1, 2)], [
            (entry["column"], entry["action"], entry["version"], entry["clients"])
            for entry in document["groupings"]])
        self.attribute("app", {"10.0.0.4": "mail"})
        document = self.applied(service(client={"group_by": "app"}, holdout="1%"))
        self.assertEqual("kept", document["groupings"][0]["action"])
        did = self.succeeds(self.box("-j", "segment", "materialise", "--all")).json
        self.assertEqual((2, 3), (did["groupings"][0]["version"], did["groupings"][0]["clients"]))
        self.assertEqual(["api"], [entry["service"] for entry in did["services"]])
        self.assertEqual("dropped", self.applied(service())["groupings"][0]["action"])
        self.refuses(config(service(client={"group_by": "team"})), "team")

    def test_a_sample_is_the_lowest_hashes_of_the_contract(self):
        self.applied(service())
        clients = [f"10.{i % 7}.{i // 7}.{i * 37 % 251}" for i in range(200)]
        clients += [f"2001:db8:{i:x}:5::/64" for i in range(100)]
        self.attribute("plan", {client: "x" for client in clients})
        secret = bytes.fromhex(SECRET)
        salt = decide.siphash13(bytes(16), b"xdp-canary/sample/few")

        def hash_of(client):
            key = ipaddress.ip_network(client).network_address.packed
            return decide.fmix64(decide.siphash13(secret, key) ^ salt) >> 32

        in_order = sorted(clients, key=hash_of)
        for count in (1, 17, 150):
            self.applied(service(), segments=[{"name": "few", "sample": {"count": count}}])
            with self.store() as database:
                blob, = database.execute("SELECT members FROM memberships").fetchone()
            # struct member: high and low in the machine's order, length, padding.
            got = {int.from_bytes(blob[i:i + 8], sys.byteorder) << 64 |
                   int.from_bytes(blob[i + 8:i + 16], sys.byteorder)
                   for i in range(0, len(blob), 24)}
            self.assertEqual({int.from_bytes(client_key(client)[:16], "big")
                              for client in in_order[:count]}, got)

    def test_bins_are_those_of_pandas(self):
        try:
            import pandas
        except ImportError:
            self.skipTest("needs python3-pandas")
        self.applied(service())
        flows = {f"10.9.{i // 200}.{i % 200 + 1}": i * i % 977 + 1 for i in range(900)}
        self.observe(flows)
        values = pandas.Series(flows)
        for method, cut in (("cut", pandas.cut(values, 5, retbins=True)),
                            ("qcut", pandas.qcut(values, 5, retbins=True, duplicates="drop"))):
            counts = cut[0].value_counts(sort=False).tolist()
            preview = self.preview("-f", self.box.write(config(service(), segments=[
                {"name": "b", "bins": {"feature": "flows", method: 5, "take": [1, 4]}}])), "b")
            self.assertEqual(counts, [part["clients"] for part in preview["bins"]])
            self.assertEqual(counts[1] + counts[4], preview["clients"])
            self.assertEqual(cut[1].tolist(), preview["edges"])


# Who has more than four flows says yes: the smallest model there is, written by hand.
STUMP = {
    "format": "xdp-canary-model", "version": 1, "training": {}, "classes": ["no", "yes"],
    "features": [{"name": "flows", "equals": None, "scale_log2": 0, "fill": 0, "importance": 1.0,
                  "deciles": {"edges": [4], "counts": [1, 1]}}],
    "leaves": [[1.0, 0.0], [0.0, 1.0]],
    "trees": [{"feature": [0, None, None], "threshold": [4, None, None], "left": [1, None, None],
               "right": [2, None, None], "leaf": [None, 0, 1]}],
    "vectors": [{"features": [4], "class": "no", "score": 0.0},
                {"features": [5], "class": "yes", "score": 1.0}],
}


class Learned(SegmentTest):
    def test_a_class_of_a_model_is_a_segment(self):
        self.applied(service())
        self.observe({f"10.0.0.{i}": i for i in range(1, 9)})
        self.succeeds(self.box("model", "import", "adopters", self.box.write(STUMP, "m.json")))
        yes = {"name": "yes", "model": {"model": "adopters", "class": "yes"}}
        self.applied(service(rules=for_segments("yes")), segments=[
            yes, {"name": "sure", "bins": {"feature": "adopters.score", "cut": 2, "take": [1]}}])
        for name in ("yes", "sure"):
            shown = self.show(name)
            self.assertEqual((4, 8), (shown["clients"], shown["population"]))
            self.assertEqual(["10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"], shown["examples"])
        shown = self.show("yes")
        self.assertEqual([{"class": "no", "clients": 4, "share_ppm": 500000, "taken": False},
                          {"class": "yes", "clients": 4, "share_ppm": 500000, "taken": True}],
                         shown["classes"])
        # Half of the clients on either side, as in training: no drift at all.
        self.assertEqual([{"feature": "flows", "psi": 0.0}], shown["drift"])
        self.assertEqual("model:adopters=yes", shown["source"])

    def test_a_changed_behaviour_counts_when_it_is_computed_anew(self):
        self.applied(service())
        self.observe({f"10.0.0.{i}": i for i in range(1, 9)})
        self.succeeds(self.box("model", "import", "adopters", self.box.write(STUMP, "m.json")))
        yes = {"name": "yes", "model": {"model": "adopters", "class": "yes"}}
        self.applied(service(rules=for_segments("yes")), segments=[yes])
        self.observe({f"10.0.0.{i}": 9 - i for i in range(1, 9)})
        self.assertEqual("10.0.0.5", self.show("yes")["examples"][0])
        did = self.succeeds(self.box("-j", "segment", "materialise", "yes")).json["segments"][0]
        self.assertEqual((4, 4, 2), (did["added"], did["removed"], did["version"]))
        self.assertEqual("10.0.0.1", self.show("yes")["examples"][0])

    def test_a_class_that_the_model_lacks_is_refused(self):
        self.applied(service())
        self.succeeds(self.box("model", "import", "adopters", self.box.write(STUMP, "m.json")))
        for segment, *texts in (
                ({"model": {"model": "adopters", "class": "perhaps"}},
                 'model `adopters` has no class "perhaps"', "it has no, yes"),
                ({"model": {"model": "adopter", "class": "yes"}}, "adopter"),
                ({"bins": {"feature": "adopter.score", "cut": 2, "take": [0]}}, "adopter")):
            with self.subTest(segment):
                self.refuses(config(service(rules=for_segments("x")),
                                    segments=[{"name": "x", **segment}]), "segments/x", *texts)


class Explain(SegmentTest):
    def test_a_file_is_explained_with_its_segments(self):
        self.applied(service())
        self.attribute("plan", {"10.0.0.1": "gold"})
        with open(self.box.directory + "/list.txt", "w", encoding="ascii") as stream:
            stream.write("10.0.0.0/24\n")
        path = self.box.write(config(
            service(rules=[{"segment": "staff", "allocate": {"canary": "100%"}},
                           {"name": "first", "segment": "gold"}, {"segment": "listed"},
                           {"segment": "all"}, {"default": True}]),
            segments=[CIDRS, {"name": "gold", "where": "plan = 'gold'"},
                      {"name": "listed", "file": "list.txt"},
                      {"name": "all", "sample": {"count": 9}}]), "other.yaml")
        for client, rule, segment, source, reason, cohort in (
                ("198.51.100.7", "staff", "staff", "cidrs:198.51.100.0/24", "rule", "canary"),
                ("10.0.0.1", "first", "gold", "where:plan = 'gold'", "rule", "stable"),
                ("10.0.0.2", "listed", "listed", f"file:{self.box.directory}/list.txt", "rule",
                 "stable"),
                ("10.0.1.1", "default", None, None, "default", "stable")):
            answer = self.succeeds(self.box("-j", "explain", "-f", path, "api", client)).json
            self.assertEqual((rule, segment, source, reason, cohort), (
                answer["rule"], answer["segment"], answer["segment_source"], answer["reason"],
                answer["cohort"]))
        text = self.succeeds(self.box("explain", "-f", path, "api", "10.0.0.1")).out
        self.assertIn("segment   gold, where:plan = 'gold'", text)

    def test_what_cannot_be_computed_is_said(self):
        path = self.box.write(config(
            service(rules=for_segments("learned", "staff")),
            segments=[CIDRS, {"name": "learned", "model": {"model": "m", "class": "1"}}]))
        self.box.settle_secret()
        answer = self.succeeds(self.box("explain", "-f", path, "api", "198.51.100.7"))
        self.assertIn("segments/learned", answer.err)
        self.assertIn("passed over", answer.err)
        self.assertIn("segment   staff", answer.out)

    def test_services_and_doctor_name_the_segments_of_rules(self):
        self.applied(service(rules=for_segments("staff", "nobody")),
                     segments=[CIDRS, {"name": "nobody", "where": "flows > 1"}])
        rules = self.box("-j", "service", "show", "api").json["rules"]
        self.assertEqual([("staff", "staff"), ("nobody", "nobody"), ("default", None)],
                         [(rule["rule"], rule["segment"]) for rule in rules])
        findings = {(finding["id"], finding["object"])
                    for finding in self.box("-j", "doctor").json["findings"]}
        self.assertIn(("segment", "api/staff"), findings)
        self.assertIn(("segment_empty", "api/nobody"), findings)


class Refresh(SegmentTest):
    def setUp(self):
        super().setUp()
        self.list = self.box.directory + "/list.txt"
        self.write_list("10.0.0.0/8")

    def write_list(self, *lines):
        with open(self.list + ".new", "w", encoding="ascii") as stream:
            stream.write("".join(line + "\n" for line in lines))
        os.replace(self.list + ".new", self.list)

    def apply_listed(self, *more, **keys):
        self.applied(service(rules=for_segments("listed")), metrics={"listen": "off"}, segments=[
            {"name": "listed", "file": "list.txt", "refresh": "1s"}, *more], **keys)

    def test_the_daemon_computes_what_is_due(self):
        self.apply_listed({"name": "never", "file": "list.txt"})
        self.box.start("daemon")
        self.write_list("10.0.0.0/8", "10.0.0.1")
        wait_for(lambda: self.segments()["listed"]["clients"] == 2)
        self.assertGreater(self.version("listed"), 1)
        self.assertEqual((1, 1), (self.version("never"), self.segments()["never"]["clients"]))
        entries = self.audited("listed")
        self.assertEqual(2, len(entries))
        self.assertEqual(("daemon", "refresh of listed", 2), (
            entries[1]["by"], entries[1]["reason"],
            entries[1]["after"]["memberships/listed"]["clients"]))
        # Nothing new: versions go on, the audit and the epoch do not.
        epoch, version = self.box.epoch(), self.version("listed")
        wait_for(lambda: self.version("listed") > version)
        self.assertEqual((entries, epoch), (self.audited("listed"), self.box.epoch()))

    def audited(self, name):
        return [entry for entry in self.box("-j", "audit").json["entries"]
                if f"memberships/{name}" in (entry["after"] or {})]

    def test_what_fails_is_said_once_and_keeps_nothing_else(self):
        broken = self.box.write("10.0.0.1\n", "broken.txt")
        self.apply_listed({"name": "broken", "file": "broken.txt", "refresh": "1s"})
        os.unlink(broken)
        daemon = self.box.start("daemon")
        self.write_list("10.0.0.0/8", "10.0.0.1")
        wait_for(lambda: self.segments()["listed"]["clients"] == 2)
        self.assertEqual((1, 1), (self.version("broken"), self.segments()["broken"]["clients"]))
        time.sleep(0.5)
        daemon.terminate()
        _, log = daemon.communicate(timeout=10)
        self.assertEqual(1, log.count("segments/broken"), log)
        self.assertEqual(0, daemon.returncode)

    def test_once_refreshes_what_is_due(self):
        self.apply_listed()
        self.write_list("10.0.0.0/8", "10.0.0.1")
        time.sleep(1.1)
        self.succeeds(self.box("daemon", "--once"))
        self.assertEqual((2, 2), (self.version("listed"), self.segments()["listed"]["clients"]))

    def test_a_refresh_is_a_command_like_any_other(self):
        """It waits for the writer lock, and the daemon's loop goes on meanwhile."""
        self.apply_listed()
        daemon = self.box.start("daemon")
        wait_for(lambda: self.version("listed") > 1)
        with open(os.path.join(self.box.state, "lock"), "r+", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = self.version("listed")
            time.sleep(2.5)
            self.assertEqual(held, self.version("listed"))
        wait_for(lambda: self.version("listed") > held)
        daemon.terminate()
        self.assertEqual(0, daemon.wait(timeout=5))

    def test_metrics_tell_of_segments(self):
        self.box.settle_secret()
        value = config(service(rules=for_segments("listed")), segments=[
            {"name": "listed", "file": "list.txt"}], metrics={"listen": "127.0.0.1:9977"})
        self.succeeds(self.box.apply(value))
        self.box.start("daemon")
        wait_for(lambda: "segment_clients" in self.page())
        page = self.page()
        self.assertIn('xdp_canary_segment_clients{segment="listed"} 1\n', page)
        self.assertIn('xdp_canary_segment_version{segment="listed"} 1\n', page)
        self.assertRegex(page, r'xdp_canary_segment_age_seconds{segment="listed"} \d+\.\d+\n')
        self.assertIn("# TYPE xdp_canary_drift_psi gauge\n", page)

    def page(self):
        return subprocess.run(self.box.inside("curl", "-s", "http://127.0.0.1:9977/metrics"),
                              capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    unittest.main()
