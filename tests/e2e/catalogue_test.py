#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The catalogue of clients, typed: what an import stores, refuses and says; what a list may ask.

What was stored is read by the sqlite3 shell, which knows nothing of this program. Needs root.
"""

import csv
import fcntl
import io
import ipaddress
import json
import os
import pty
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cli_box import BoxTest, config, service  # noqa: E402

FEATURES = ["packets", "bytes", "flows", "active_seconds", "flows_per_day", "bytes_per_flow",
            "mean_gap_seconds", "first_seen_age_seconds", "last_seen_age_seconds", "services"]
MILLION = 1000000


def key(client):
    """A client as the table has it: 16 bytes in the 128-bit space, and the length there."""
    network = ipaddress.ip_network(client)
    length = network.prefixlen
    value = int(network.network_address)
    if network.version == 4:
        value |= 0xffff << 32
        length += 96
    return value.to_bytes(16, "big").hex().upper() + f"{length:02X}"


class CatalogueTest(BoxTest):
    def file(self, text, name="clients.csv"):
        path = os.path.join(self.box.directory, name)
        with open(path, "wb") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, text, *flags):
        return self.succeeds(self.box("-j", "client", "import", self.file(text), *flags)).json

    def sql(self, statement):
        """Rows of the sqlite3 shell, as JSON."""
        answer = subprocess.run(["sqlite3", "-readonly", "-json",
                                 os.path.join(self.box.state, "state.db"), statement],
                                check=True, capture_output=True, text=True).stdout
        return json.loads(answer) if answer.strip() else []

    def dump(self):
        """The table of clients as SQL, by the sqlite3 shell."""
        return subprocess.run(["sqlite3", "-readonly", os.path.join(self.box.state, "state.db"),
                               ".dump clients"], check=True, capture_output=True, text=True).stdout

    def clients(self, *flags):
        """{client: attributes} of `client list`."""
        rows = self.succeeds(self.box("-j", "client", "list", *flags)).json["clients"]
        return {row["client"]: row["attributes"] for row in rows}

    def memory(self):
        return self.box.memory() + [self.box("-j", "client", "list").out]

    def refuses(self, text, *says, flags=()):
        """The file is refused with these texts, and everything is as it was."""
        path = self.file(text)
        before = self.memory()
        self.fails(self.box("client", "import", path, *flags), 1,
                   *[part.replace("FILE", path) for part in says])
        self.assertEqual(before, self.memory())


class Import(CatalogueTest):
    def test_columns_are_typed_by_content_and_empty_is_null(self):
        result = self.load("client,plan,age,spent,zip,big,none\n"
                           "192.0.2.1,gold,30,1.5,01234,123456789012345678901,\n"
                           "192.0.2.2,7,-4,2,55555,1,\n"
                           '192.0.2.3,,,,,,""\n')
        types = {"plan": "TEXT", "age": "INTEGER", "spent": "REAL", "zip": "TEXT", "big": "TEXT",
                 "none": None}
        self.assertEqual(types, {entry["column"]: entry["type"] for entry in result["columns"]})
        rows = self.sql("SELECT typeof(plan) AS a, plan, typeof(age) AS b, age, typeof(spent) AS c,"
                        " spent, zip, typeof(big) AS d, typeof(none) AS e FROM clients"
                        " ORDER BY client")
        self.assertEqual([["text", "gold", "integer", 30, "real", 1.5, "01234", "text", "null"],
                          ["text", "7", "integer", -4, "real", 2.0, "55555", "text", "null"],
                          ["null", None, "null", None, "null", None, None, "null", "null"]],
                         [list(row.values()) for row in rows])

    def test_the_result_says_what_was_done(self):
        path = self.file("client,plan\n192.0.2.1,gold\n192.0.2.2,gold\n")
        result = self.succeeds(self.box("client", "import", path, "-j")).json
        self.assertEqual({"cmd": "client import", "file": path, "replace": False, "rows": 2,
                          "added": 2, "updated": 0, "unchanged": 0, "removed": 0, "repeated": 0,
                          "skipped": 0, "clients": 2,
                          "columns": [{"column": "plan", "type": "TEXT"}], "warnings": []}, result)
        said = self.succeeds(self.box("client", "import", path)).out
        self.assertIn("2 rows: 0 clients added, 0 updated, 2 unchanged, 0 removed", said)
        self.assertEqual("", self.succeeds(self.box("-q", "client", "import", path)).out)

    def test_a_file_of_clients_alone_is_a_catalogue(self):
        self.assertEqual([], self.load("address\n192.0.2.1\n192.0.2.2\n")["columns"])
        self.assertEqual(2, self.load("address\n192.0.2.1\n192.0.2.2\n")["unchanged"])
        self.assertEqual({"192.0.2.1": {}, "192.0.2.2": {}}, self.clients())

    def test_addresses_of_both_families_are_kept_in_the_form_of_the_box(self):
        self.load("client,n\n"
                  "2001:db8:1:2:3:4:5:6,1\n"
                  "2001:DB8:1:3::/64,2\n"
                  "::ffff:192.0.2.7,3\n"
                  "2001:db8:1:4:5::/80,4\n"
                  "198.51.100.1/32,5\n")
        self.assertEqual({key("192.0.2.7/32"): 3, key("198.51.100.1/32"): 5,
                          key("2001:db8:1:2::/64"): 1, key("2001:db8:1:3::/64"): 2,
                          key("2001:db8:1:4::/64"): 4},
                         {row["client"]: row["n"] for row in
                          self.sql("SELECT hex(client) AS client, n FROM clients")})
        self.assertEqual(["192.0.2.7", "198.51.100.1", "2001:db8:1:2::/64", "2001:db8:1:3::/64",
                          "2001:db8:1:4::/64"], list(self.clients()))

    def test_clients_are_cut_to_the_longest_prefixes_of_the_services(self):
        self.applied(service("a", 10, client={"prefix4": 16, "prefix6": 48}),
                     service("b", 11, client={"prefix4": 24, "prefix6": 40}))
        self.load("client,n\n192.0.2.7,1\n192.0.3.0/24,2\n2001:db8:1:2::,3\n")
        self.assertEqual({"192.0.2.0/24": {"n": 1}, "192.0.3.0/24": {"n": 2},
                          "2001:db8:1::/48": {"n": 3}}, self.clients())
        self.refuses("client,n\n10.0.0.0/23,1\n", "FILE:2:1: client: `10.0.0.0/23` is wider than "
                     "the client key of this box, /24")

    def test_a_prefix_wider_than_the_client_key_is_refused(self):
        self.refuses("client,n\n192.0.2.1,1\n10.0.0.0/24,1\n",
                     "FILE:3:1: client: `10.0.0.0/24` is wider than the client key of this box, "
                     "/32: ")
        self.refuses("client,n\n2001:db8::/48,1\n", "FILE:2:1: ", "/64")

    def test_line_ends_quotes_and_a_byte_order_mark_are_read(self):
        self.load(b"\xef\xbb\xbfclient,note\r\n\r\n192.0.2.1,\"a, \"\"b\"\"\nc\"\r\n"
                  b"\"192.0.2.2\",gr\xc3\xbc\xc3\x9f")
        self.assertEqual({"192.0.2.1": {"note": 'a, "b"\nc'}, "192.0.2.2": {"note": "grüß"}},
                         self.clients())

    def test_any_name_that_sql_takes_in_quotes_names_a_column(self):
        names = ["select", 'a"b', "a b", "0", "é", "rowid", "x'y", "[z]", "a;b", "null", "--",
                 "catalogue", "c", "clients"]
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["client"] + names)
        writer.writerow(["192.0.2.1"] + list(range(len(names))))
        self.load(text.getvalue())
        self.assertEqual(dict(zip(names, range(len(names)))), self.clients()["192.0.2.1"])
        self.assertIn(",%s)" % ",".join(map(str, range(len(names)))), self.dump())
        for number, name in enumerate(names):
            quoted = name.replace('"', '""')
            self.assertEqual(1, len(self.clients("--where", f'"{quoted}" = {number}')), name)

    def test_an_import_is_audited(self):
        path = self.file("client,plan\n192.0.2.1,gold\n")
        self.succeeds(self.box("client", "import", path, "--by", "ann", "--reason", "monthly"))
        entry = self.box("-j", "audit").json["entries"][-1]
        self.assertEqual(("ann", "monthly", ""), (entry["by"], entry["reason"], entry["service"]))
        self.assertEqual({"clients": 0}, entry["before"])
        self.assertEqual((1, path, 1, 1), (entry["after"]["clients"],
                                           entry["after"]["import"]["file"],
                                           entry["after"]["import"]["rows"],
                                           entry["after"]["import"]["added"]))

    def test_an_import_waits_for_the_writer_lock(self):
        path = self.file("client,plan\n192.0.2.1,gold\n")
        self.load("client,plan\n192.0.2.9,gold\n")
        with open(os.path.join(self.box.state, "lock")) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.fails(self.box("client", "import", path, "--wait", "10ms"), 1, "another command is")
        self.assertEqual(["192.0.2.9"], list(self.clients()))

    def test_a_file_may_be_a_pipe(self):
        answer = self.box("-j", "client", "import", "/dev/stdin", input="client,n\n192.0.2.1,1\n")
        self.assertEqual(1, self.succeeds(answer).json["added"])

    def test_the_bar_is_for_a_terminal_alone(self):
        path = self.file("client,n\n" + "".join(f"10.{i >> 16}.{i >> 8 & 255}.{i & 255},{i}\n"
                                                for i in range(300000)))
        for flags, has_bar in (((), True), (("-q",), False), (("-j",), False)):
            leader, terminal = pty.openpty()
            process = subprocess.Popen(self.box.argv("client", "import", path, *flags),
                                       env=self.box.environment, stdout=subprocess.DEVNULL,
                                       stderr=terminal)
            os.close(terminal)
            seen = b""
            while True:
                try:
                    part = os.read(leader, 65536)
                except OSError:  # the other side is closed
                    break
                if not part:
                    break
                seen += part
            os.close(leader)
            self.assertEqual(0, process.wait())
            with self.subTest(flags):
                self.assertEqual(has_bar, b"%" in seen, seen)
                if has_bar:  # and it is gone at the end
                    self.assertTrue(seen.endswith(b"\r\x1b[K"), seen[-40:])
        self.assertEqual("", self.succeeds(self.box("client", "import", path)).err)


class Later(CatalogueTest):
    """What a later import does to what an earlier one stored: a file of about as many clients."""

    OTHERS = 0  # clients besides

    def setUp(self):
        super().setUp()
        self.load("client\n" + "".join(f"10.9.0.{i}\n" for i in range(self.OTHERS)))
        self.load("client,plan,age\n192.0.2.1,gold,30\n192.0.2.2,trial,40\n192.0.2.3,free,50\n")

    def clients(self, *flags):
        """The others keep nothing but their place."""
        clients = super().clients(*flags)
        others = [client for client in clients if client.startswith("10.9.")]
        for client in others:
            self.assertEqual({None}, set(clients.pop(client).values()))
        return clients

    def test_it_updates_the_attributes_it_names_of_the_clients_it_names(self):
        result = self.load("client,plan\n192.0.2.2,gold\n192.0.2.3,free\n192.0.2.4,trial\n")
        self.assertEqual((3, 1, 1, 1, 0, 4 + self.OTHERS),
                         tuple(result[name] for name in ("rows", "added", "updated", "unchanged",
                                                         "removed", "clients")))
        self.assertEqual({"192.0.2.1": {"plan": "gold", "age": 30},
                          "192.0.2.2": {"plan": "gold", "age": 40},
                          "192.0.2.3": {"plan": "free", "age": 50},
                          "192.0.2.4": {"plan": "trial", "age": None}}, self.clients())

    def test_it_may_bring_new_columns_and_clear_old_values(self):
        self.load("client,PLAN,city\n192.0.2.1,,Bern\n")
        self.assertEqual({"plan": None, "age": 30, "city": "Bern"}, self.clients()["192.0.2.1"])
        self.assertEqual({"plan": "trial", "age": 40, "city": None}, self.clients()["192.0.2.2"])

    def test_long_texts_stay_when_other_columns_change(self):
        notes = {f"192.0.2.{i}": [letter * (4000 if i else 60000) for letter in
                                  (chr(97 + i % 26), chr(65 + i % 26))] for i in range(100)}
        self.load("client,note,remark\n" + "".join(
            f"{client},{note},{remark}\n" for client, (note, remark) in notes.items()))
        self.load("client,plan\n" + "".join(f"{client},gold\n" for client in notes))
        stored = self.clients()
        self.assertEqual(notes, {client: [stored[client]["note"], stored[client]["remark"]]
                                 for client in notes})
        self.assertEqual({"gold"}, {row["plan"] for row in stored.values()})

    def test_replace_makes_the_file_the_whole_catalogue(self):
        result = self.load("client,age,city\n192.0.2.2,40,Bern\n192.0.2.3,51,\n192.0.2.9,60,\n",
                           "--replace")
        self.assertEqual((1, 2, 0, 1 + self.OTHERS, 3),
                         tuple(result[name] for name in ("added", "updated", "unchanged",
                                                         "removed", "clients")))
        self.assertEqual({"192.0.2.2": {"age": 40, "city": "Bern"},
                          "192.0.2.3": {"age": 51, "city": None},
                          "192.0.2.9": {"age": 60, "city": None}}, self.clients())

    def test_replacing_by_the_same_changes_nothing(self):
        result = self.load("client,plan,age\n192.0.2.3,free,50\n192.0.2.2,trial,40\n"
                           "192.0.2.1,gold,30\n", "--replace")
        self.assertEqual((0, 0, 3, self.OTHERS), tuple(result[name] for name in ("added", "updated",
                                                                       "unchanged", "removed")))
        result = self.load("client,age,new\n192.0.2.1,30,\n192.0.2.2,40,\n192.0.2.3,50,1\n",
                           "--replace")
        self.assertEqual((3, 0), (result["updated"], result["unchanged"]))

    def test_replacing_by_a_file_without_rows_is_refused(self):
        self.refuses("client,plan\n", "--replace would empty the catalogue", flags=["--replace"])

    def test_a_column_has_one_type_after_any_imports(self):
        def types(column):
            return {row["t"] for row in self.sql(f"SELECT typeof({column}) AS t FROM clients "
                                                 f"WHERE {column} IS NOT NULL")}

        result = self.load("client,age\n192.0.2.1,30.5\n")
        self.assertEqual([{"column": "age", "type": "REAL"}], result["columns"])
        self.assertEqual({"real"}, types("age"))
        self.load("client,age\n192.0.2.4,7\n")
        self.assertEqual({"real"}, types("age"))
        result = self.load("client,age\n192.0.2.4,n/a\n")
        self.assertEqual([{"column": "age", "type": "TEXT"}], result["columns"])
        self.assertEqual({"text"}, types("age"))
        self.assertEqual({"192.0.2.1": "30.5", "192.0.2.2": "40.0", "192.0.2.3": "50.0",
                          "192.0.2.4": "n/a"},
                         {client: row["age"] for client, row in self.clients().items()})
        self.load("client,age\n192.0.2.2,41\n")
        self.assertEqual({"text"}, types("age"))
        self.assertEqual(["192.0.2.2"], list(self.clients("--where", "age = '41'")))
        self.assertEqual("INTEGER", self.load("client,age\n192.0.2.1,1\n", "--replace")
                         ["columns"][0]["type"])

    def test_an_integer_that_no_real_is_equal_to_is_not_rounded(self):
        self.load("client,id\n192.0.2.1,9007199254740993\n")
        result = self.load("client,id\n192.0.2.2,1.5\n")
        self.assertEqual("TEXT", result["columns"][0]["type"])
        self.assertEqual("9007199254740993", self.clients()["192.0.2.1"]["id"])
        result = self.load("client,other\n192.0.2.1,9007199254740993\n192.0.2.2,0.5\n")
        self.assertEqual("TEXT", result["columns"][0]["type"])
        result = self.load("client,third\n192.0.2.2,0.5\n")
        self.assertEqual("REAL", result["columns"][0]["type"])
        result = self.load("client,third\n192.0.2.1,-9007199254740993\n")
        self.assertEqual("TEXT", result["columns"][0]["type"])
        self.assertEqual({"text"}, {row["t"] for row in self.sql(
            "SELECT typeof(third) AS t FROM clients WHERE third IS NOT NULL")})


class LaterOfFew(Later):
    """The same for a file of few of the catalogue's clients, which are changed in place."""

    OTHERS = 50


class Sequences(CatalogueTest):
    """Any imports, one after the other, against a model of what they mean."""

    IMPORTS = 60
    TYPES = ["INTEGER", "REAL", "TEXT"]

    @staticmethod
    def converted(value, kind):
        """A stored value as one of a wider type; none is ever made narrower."""
        if value is None or kind == "INTEGER" or isinstance(value, str):
            return value
        return float(value) if kind == "REAL" else str(value)

    @staticmethod
    def read(text, kind):
        if not text:
            return None
        return {"INTEGER": int, "REAL": float, "TEXT": str}[kind](text)

    def kind_of(self, values):
        kinds = [self.TYPES[(int, float, str).index(type(value))] for value in values
                 if value is not None]
        return max(kinds, key=self.TYPES.index, default=None)

    def cell(self, kind):
        if self.draw.random() < .2:
            return ""
        if kind == "TEXT" and self.draw.random() < .5:
            return "t%d" % self.draw.randrange(3)
        if kind == "REAL" and self.draw.random() < .5:
            return "%d.5" % self.draw.randrange(3)
        return str(self.draw.randrange(3))

    def kind_of_cells(self, cells):
        """Of a file's column: the cells are drawn so that this tells."""
        cells = [cell for cell in cells if cell]
        if any(cell.startswith("t") for cell in cells):
            return "TEXT"
        return "REAL" if any("." in cell for cell in cells) else "INTEGER" if cells else None

    def expect(self, rows, columns, replace):
        """Changes the model as the file must change the catalogue; added, updated, removed."""
        before = {client: dict(row) for client, row in self.model.items()}
        if replace:
            self.model = {}
        for position, column in enumerate(columns):
            kinds = [self.kind_of_cells([cells[position] for cells in rows.values()])]
            if not replace:
                kinds.append(self.kind_of(row.get(column) for row in self.model.values()))
            kind = max(filter(None, kinds), key=self.TYPES.index, default=None)
            for old in (before, self.model):
                for row in old.values():
                    if column in row and kind:
                        row[column] = self.converted(row[column], kind)
            for client, cells in rows.items():
                self.model.setdefault(client, {})[column] = self.read(cells[position], kind)
        for client in rows:
            self.model.setdefault(client, {})

        def facts(row):
            return {(column, type(value), value) for column, value in row.items()
                    if value is not None}

        return (len(set(rows) - set(before)),
                sum(facts(before[client]) != facts(self.model[client])
                    for client in rows if client in before),
                len(set(before) - set(self.model)))

    def test_any_sequence_of_imports_is_what_its_files_mean(self):
        seed = int(os.environ.get("XDP_CANARY_SEED") or time.time_ns())
        print(f"XDP_CANARY_SEED={seed}")
        self.draw = random.Random(seed)
        self.model = {}
        clients = [f"192.0.2.{i}" for i in range(60)]
        for number in range(self.IMPORTS):
            chosen = self.draw.sample(clients, self.draw.choice([1, 3, 10, 40, 60]))
            columns = self.draw.sample("abcd", self.draw.randrange(5))
            kinds = [self.draw.choice(self.TYPES[:1 + number % 3]) for _ in columns]
            rows = {client: [self.cell(kind) for kind in kinds] for client in chosen}
            replace = self.draw.random() < .15
            counts = self.expect(rows, columns, replace)
            text = ",".join(["client", *columns]) + "\n" + "".join(
                ",".join([client, *cells]) + "\n" for client, cells in rows.items())
            result = self.load(text, *["--replace"] * replace)
            with self.subTest(number=number, text=text, replace=replace):
                self.assertEqual(counts, (result["added"], result["updated"], result["removed"]))
                self.assertEqual(len(self.model), result["clients"])
                stored = self.succeeds(self.box("-j", "client", "list")).json["clients"]
                self.assertEqual(
                    {client: {column: value for column, value in row.items()
                              if value is not None} for client, row in self.model.items()},
                    {row["client"]: {column: value for column, value in row["attributes"].items()
                                     if value is not None} for row in stored})
                for column in "abcd":
                    values = [row["attributes"].get(column) for row in stored]
                    self.assertEqual(1, len({type(value) for value in values
                                             if value is not None} or {int}), column)


class Bad(CatalogueTest):
    def setUp(self):
        super().setUp()
        self.load("client,plan\n192.0.2.200,gold\n")

    def test_bad_rows_are_told_with_line_and_column_and_nothing_is_stored(self):
        for text, *says in (
                ("client,plan\n192.0.2.1,a\nfrob,b\n", "FILE:3:1: client: `frob` is no client: "),
                ("client,plan\n192.0.2.1/24,b\n", "FILE:2:1: client: ", "clear the bits"),
                ("client,plan\n,b\n", "FILE:2:1: client: `` is no client"),
                ("client,plan\n 192.0.2.1,b\n", "FILE:2:1: client: ` 192.0.2.1` is no client"),
                ("client,plan\n192.0.2.1\n", "FILE:2:1: row: it has 1 field, and the header has 2"),
                ("client,plan\n192.0.2.1,a,b\n", "FILE:2:1: row: it has 3 fields"),
                ('client,plan\n192.0.2.1,a"b\n', "FILE:2:12: row: a quote is within a field"),
                ('client,plan\n192.0.2.1,"a"b\n', "FILE:2:14: row: there is text behind"),
                (b"client,plan\n192.0.2.1,a\0b\n", "FILE:2:12: row: there is a NUL byte"),
                (b"client,plan\n192.0.2.1,\xe9t\xe9\n", "FILE:2:11: row: a field is no UTF-8"),
                ('client,plan\n192.0.2.1,"x\n\n"\n192.0.2.2\n', "FILE:5:1: row: "),
                ('client,plan\n192.0.2.1,"x\n192.0.2.2,y\n', "FILE:2:11: row: the quote of a "
                 "field is never closed"),
                ("client,plan\n192.0.2.1,a\r192.0.2.2,b\r", "FILE:2:12: row: there is a carriage")):
            with self.subTest(text):
                self.refuses(text, *says)

    def test_the_first_twenty_are_told_and_the_others_counted(self):
        bad = "".join(f"x{i},a\n" for i in range(50))
        path = self.file("client,plan\n192.0.2.1,a\n" + bad)
        answer = self.box("client", "import", path)
        self.assertEqual(1, answer.status)
        told = re.findall(rf"^{re.escape(path)}:(\d+):1: client: ", answer.err, re.M)
        self.assertEqual(list(map(str, range(3, 23))), told)
        self.assertIn("\nand 30 more errors\n", answer.err)
        self.assertIn("nothing is imported: 50 of its rows are bad", answer.err)
        self.assertIn("--skip-bad", answer.err)
        document = self.box("-j", "client", "import", path).json
        self.assertEqual((20, 30), (len(document["errors"]), document["more_errors"]))
        self.assertEqual({"file": path, "line": 3, "column": 1, "object": "client"},
                         {name: document["errors"][0][name] for name in ("file", "line", "column",
                                                                         "object")})

    def test_skip_bad_stores_the_others_and_counts_the_bad(self):
        path = self.file("client,n\n192.0.2.1,1\nfrob,2\n192.0.2.3,3\n192.0.2.4\n" +
                         "".join(f"x{i},a\n" for i in range(30)) + "192.0.2.5,5\n")
        answer = self.succeeds(self.box("client", "import", path, "--skip-bad"))
        self.assertIn("32 bad rows were skipped", answer.out)
        self.assertIn(f"{path}:3:1: warning: client: `frob` is no client", answer.err)
        self.assertIn("and 12 more warnings", answer.err)
        result = self.succeeds(self.box("-j", "client", "import", path, "--skip-bad")).json
        self.assertEqual((3, 32, 20), (result["rows"], result["skipped"],
                                       len(result["warnings"])))
        # `a` stands in bad rows alone, so the column is of integers.
        self.assertEqual([{"column": "n", "type": "INTEGER"}], result["columns"])
        self.assertEqual({"192.0.2.1": 1, "192.0.2.3": 3, "192.0.2.5": 5, "192.0.2.200": None},
                         {client: row["n"] for client, row in self.clients().items()})

    def test_skip_bad_of_bad_rows_alone_is_a_failure(self):
        self.refuses("client,n\nfrob,2\n", "FILE:2:1: client: `frob`", flags=["--skip-bad"])

    def test_skip_bad_does_not_guess_where_the_next_row_begins(self):
        self.refuses('client,n\n192.0.2.1,1\n192.0.2.2,"2\n192.0.2.3,3\n',
                     "FILE:3:11: row: the quote of a field is never closed", flags=["--skip-bad"])

    def test_a_client_twice_with_other_attributes_is_bad_and_names_both_lines(self):
        text = ("client,n\n192.0.2.9,1\n2001:db8::1,2\n192.0.2.9,3\n2001:db8::2,4\n"
                "192.0.2.8,5\n")
        self.refuses(text, "FILE:4:1: client: 192.0.2.9 has other attributes in line 2: ",
                     "FILE:5:1: client: 2001:db8::/64 has other attributes in line 3: ")
        result = self.load(text, "--skip-bad")
        self.assertEqual((3, 2), (result["rows"], result["skipped"]))
        self.assertEqual({"192.0.2.8": 5, "192.0.2.9": 1, "2001:db8::/64": 2, "192.0.2.200": None},
                         {client: row["n"] for client, row in self.clients().items()})

    def test_a_client_twice_with_the_same_attributes_is_counted(self):
        path = self.file("client,n\n2001:db8::1,2\n192.0.2.9,1\n2001:db8::2,2\n2001:db8::3,2\n")
        result = self.succeeds(self.box("-j", "client", "import", path)).json
        self.assertEqual((4, 2, 2), (result["rows"], result["added"], result["repeated"]))
        self.assertIn("2 rows said again", self.box("client", "import", path).out)

    def test_skipped_rows_do_not_decide_a_columns_type(self):
        result = self.load("client,n\n192.0.2.9,1\n192.0.2.9,one\n", "--skip-bad")
        self.assertEqual([{"column": "n", "type": "INTEGER"}], result["columns"])

    def test_a_bad_header_is_refused(self):
        for text, *says in (
                ("", "FILE: it is empty: name the columns"),
                ("192.0.2.1,gold\n", "FILE:1:1: header: `192.0.2.1` is a client, and this is"),
                ("client,\n192.0.2.1,x\n", "FILE:1:8: header: column 2 has no name"),
                ("client,plan,PLAN\n", "FILE:1:13: header: `PLAN` is the name of column 2 too"),
                ("ip,Client\n", "FILE:1:4: header: `Client` is a name of the catalogue's own"),
                ("client,Packets\n", "FILE:1:8: header: `Packets` is a name of the catalogue's"),
                ("client,True\n", "FILE:1:8: header: `True` is a value of SQL"),
                ("client, plan\n", "FILE:1:8: header: the name ` plan` begins or ends with a space"),
                ("client,a\tb\n", "FILE:1:8: header: the name of column 2 has a control"),
                ("client," + "x" * 101, "FILE:1:8: header: the name of column 2 is longer than"),
                (b"client,\xff\n", "FILE:1:8: header: a field is no UTF-8"),
                (b"\xff\xfec\0l\0\n", "FILE:1:", "header: "),
                ("client" + "".join(f",c{i}" for i in range(1989)), "header: it has more than "
                 "1988 columns"),
                ("client" + "," * 2500, "it has more than 2000 fields")):
            with self.subTest(text[:40]):
                self.refuses(text, *says)
                self.refuses(text, *says, flags=["--skip-bad"])

    def test_all_bad_names_of_a_header_are_told(self):
        self.refuses("client,,packets,a,A\n", "FILE:1:8: ", "FILE:1:9: ", "FILE:1:19: ")

    def test_a_catalogue_has_at_most_so_many_columns(self):
        header = "client" + "".join(f",c{i}" for i in range(1987))
        row = "192.0.2.1" + "".join(f",{i}" for i in range(1987))
        self.load(f"{header}\n{row}\n")
        self.assertEqual(1988, len(self.clients()["192.0.2.1"]))
        self.assertEqual(1, self.load(f"{header}\n{row}\n")["unchanged"])
        self.assertEqual(1, self.load(f"{header}\n{row}9\n")["updated"])
        self.assertEqual(["192.0.2.1"], list(self.clients("--where", "c1986 = 19869")))
        self.refuses("client,more\n192.0.2.1,1\n", "catalogue: it would have 1989 columns, and "
                     "1988 is the most")
        self.assertEqual(1, self.load(f"{header}\n{row}\n", "--replace")["updated"])

    def test_a_file_that_cannot_be_read_is_refused(self):
        self.refused(["client", "import", "/no/such.csv"], "/no/such.csv: cannot be read: No such")
        self.refused(["client", "import", self.box.directory], "cannot be read: Is a directory")


class Endless(CatalogueTest):
    """2 GB without a line's end take neither memory nor time: what is read of them is bounded."""

    MEMORY = 64 << 20
    READ = 4 << 20

    def import_within(self, path, stdin, *flags):
        """Exit status and errors of an import that has no more memory than this."""
        process = subprocess.run(
            self.box.argv("client", "import", path, *flags), env=self.box.environment, stdin=stdin,
            capture_output=True, text=True, timeout=120,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_DATA, (self.MEMORY,) * 2))
        return process.returncode, process.stderr

    def feed(self, begin, piece, *flags):
        """The same of a pipe; and how many bytes of 2 GB went into it."""
        reader, writer = os.pipe()
        total = 0

        def write():
            nonlocal total
            try:
                os.write(writer, begin)
                while total < 2 << 30:
                    total += os.write(writer, piece)
            except BrokenPipeError:
                pass
            finally:
                os.close(writer)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            status, errors = self.import_within("/dev/stdin", reader, *flags)
        finally:
            os.close(reader)
            thread.join()
        return status, errors, total

    def test_from_a_pipe(self):
        for begin, piece, says in (
                (b"client,note\n192.0.2.1,", b"x" * 65536, "/dev/stdin:2:11: row: a field is longer"),
                (b'client,note\n192.0.2.1,"', b"x\n" * 32768, "/dev/stdin:2:11: row: a field is "),
                (b'client,note\n192.0.2.1,"', b'"' * 65536, "/dev/stdin:2:11: row: a field is "),
                (b"client,note\n192.0.2.1", b"," * 65536, "/dev/stdin:2:"),
                (b"client,note\n192.0.2.1,", b"\0" * 65536, "/dev/stdin:2:11: row: a bad line is "),
                (b"", b"x" * 65536, "/dev/stdin:1:1: header: a field is longer")):
            for flags in ((), ("--skip-bad",)):
                with self.subTest((begin, piece[:2], flags)):
                    status, errors, total = self.feed(begin, piece, *flags)
                    self.assertEqual(1, status, errors)
                    self.assertIn(says, errors)
                    self.assertLess(total, self.READ)

    def test_from_a_sparse_file(self):
        path = self.file("client,note\n192.0.2.1,a\n")
        os.truncate(path, 2 << 30)
        status, errors = self.import_within(path, subprocess.DEVNULL)
        self.assertEqual(1, status)
        self.assertIn(f"{path}:3:1: row: ", errors)

    def test_lines_without_end_take_no_memory(self):
        """Bad rows, of which only the first are kept."""
        line = b"x,y\n"
        reader, writer = os.pipe()

        def write():
            with os.fdopen(writer, "wb") as stream:
                stream.write(b"client,note\n192.0.2.1,a\n")
                for _ in range(200):
                    stream.write(line * 20000)

        thread = threading.Thread(target=write)
        thread.start()
        status, errors = self.import_within("/dev/stdin", reader, "--skip-bad")
        os.close(reader)
        thread.join()
        self.assertEqual(0, status, errors)
        self.assertIn("and 3999980 more warnings", errors)


class Reading(CatalogueTest):
    def setUp(self):
        super().setUp()
        self.load("client,plan,spent\n192.0.2.1,gold,12.5\n192.0.2.2,trial,3\n"
                  "2001:db8:1:2::/64,gold,7\n")

    def observe(self):
        subprocess.run(["sqlite3", os.path.join(self.box.state, "state.db"),
                        f"INSERT INTO features VALUES (x'{key('192.0.2.1/32')}', 100, 6400, 5, 60,"
                        f" 0.5, 1280.0, NULL, 9.0, 1.0, 1), (x'{key('192.0.2.77/32')}', 7, 700, 1,"
                        " 1, 0.1, 700.0, NULL, 9.0, 9.0, 2)"], check=True)

    def test_a_list_has_the_rows_for_which_where_is_true(self):
        self.observe()
        for where, clients in (
                ("plan = 'gold'", ["192.0.2.1", "2001:db8:1:2::/64"]),
                ("spent > 5 AND plan = 'gold'", ["192.0.2.1", "2001:db8:1:2::/64"]),
                ("packets < 50", ["192.0.2.77"]),
                ("plan IS NULL", ["192.0.2.77"]),
                ("plan = 'gold' AND packets >= 100", ["192.0.2.1"]),
                ("client LIKE '2001:%'", ["2001:db8:1:2::/64"]),
                ("0", [])):
            with self.subTest(where):
                self.assertEqual(clients, list(self.clients("--where", where)))
        self.assertEqual(["192.0.2.1", "192.0.2.2"], list(self.clients("--limit", "2")))
        self.assertEqual(4, len(self.clients()))

    def test_a_list_is_a_table_or_one_document(self):
        self.observe()
        lines = self.succeeds(self.box("client", "list", "--where", "plan IS NOT NULL"
                                       )).out.splitlines()
        self.assertEqual(["CLIENT", "plan", "spent"] + FEATURES[:6] + FEATURES[7:],
                         lines[0].split())
        self.assertEqual(["192.0.2.1", "gold", "12.5", "100"], lines[1].split()[:4])
        self.assertEqual(["192.0.2.2", "trial", "3", "-"], lines[2].split()[:4])
        document = self.succeeds(self.box("-j", "client", "list", "--limit", "1")).json
        self.assertEqual(("client list", 1), (document["cmd"], document["count"]))
        row = document["clients"][0]
        self.assertEqual({"client", "attributes", "features"}, set(row))
        self.assertEqual({"plan": "gold", "spent": 12.5}, row["attributes"])
        self.assertEqual(FEATURES, list(row["features"]))
        self.assertEqual((100, 1280.0, None), tuple(row["features"][name] for name in (
            "packets", "bytes_per_flow", "mean_gap_seconds")))

    def test_features_nobody_has_are_left_out_of_the_table(self):
        lines = self.box("client", "list").out.splitlines()
        self.assertEqual(["CLIENT", "plan", "spent"], lines[0].split())

    def test_a_terminal_is_sent_no_control_sequence(self):
        self.load('client,plan\n192.0.2.1,"\x1b[31mred\nx"\n')
        for words in (("list",), ("show", "192.0.2.1")):
            out = self.succeeds(self.box("client", *words)).out
            self.assertNotIn("\x1b", out)
            self.assertIn(r"\x1b[31mred\x0ax", out)

    def test_a_client_is_shown_with_the_row_that_it_is_in(self):
        self.observe()
        shown = self.succeeds(self.box("-j", "client", "show", "192.0.2.1")).json
        self.assertEqual(("client show", "192.0.2.1", "192.0.2.1", "gold", 100),
                         (shown["cmd"], shown["asked"], shown["client"],
                          shown["attributes"]["plan"], shown["features"]["packets"]))
        for asked in ("2001:db8:1:2::", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:8000::/65",
                      "2001:db8:1:2::/64"):
            shown = self.succeeds(self.box("-j", "client", "show", asked)).json
            self.assertEqual((asked, "2001:db8:1:2::/64"), (shown["asked"], shown["client"]))
        self.assertEqual(7, self.box("-j", "client", "show", "192.0.2.77"
                                     ).json["features"]["packets"])
        lines = [line.split() for line in
                 self.succeeds(self.box("client", "show", "192.0.2.2")).out.splitlines()]
        self.assertEqual([["client", "192.0.2.2"], ["plan", "trial"], ["spent", "3"],
                          ["packets", "-"]], lines[:4])
        self.fails(self.box("client", "show", "192.0.2.3"), 1, "192.0.2.3: the catalogue has no "
                   "such client")
        self.fails(self.box("client", "show", "192.0.2.0/24"), 1, "no such client")
        self.fails(self.box("client", "show", "frob"), 2, "`frob` is no client")

    def test_a_removed_client_is_gone_with_all_that_is_known_of_it(self):
        self.observe()
        result = self.succeeds(self.box("-j", "client", "remove", "192.0.2.1")).json
        self.assertEqual({"cmd": "client remove", "client": "192.0.2.1", "attributes": True,
                          "features": True}, result)
        self.assertEqual({"192.0.2.2", "192.0.2.77", "2001:db8:1:2::/64"}, set(self.clients()))
        result = self.succeeds(self.box("-j", "client", "remove", "2001:db8:1:2:3::4")).json
        self.assertEqual(("2001:db8:1:2::/64", False), (result["client"], result["features"]))
        entry = self.box("-j", "audit").json["entries"][-1]
        self.assertEqual("2001:db8:1:2::/64", entry["before"]["client"])
        self.assertIsNone(entry["after"])
        self.fails(self.box("client", "remove", "192.0.2.1"), 1, "no such client")
        self.fails(self.box("client", "remove", "frob"), 2, "`frob` is no client")

    def test_a_client_within_a_wider_row_is_not_removed_with_it(self):
        self.box.apply(config(service(client={"prefix6": 56})))
        self.load("client,n\n2001:db8:9::,1\n")
        self.box.apply(config(service(client={"prefix6": 64})))
        self.refused(["client", "remove", "2001:db8:9::1"], "it has no row of its own, and is in "
                     "that of 2001:db8:9::/56")
        self.assertEqual("2001:db8:9::/56",
                         self.box("-j", "client", "show", "2001:db8:9::1").json["client"])
        self.succeeds(self.box("client", "remove", "2001:db8:9::/56"))

    def test_where_that_is_no_expression_is_refused_and_quoted(self):
        before = self.dump()
        for where, says in (
                ("plann = 'gold'", "--where: there is no column `plann` (a text stands in single "
                 "quotes), at character 1 of `plann = 'gold'`: did you mean `plan`; there are "
                 "`plan`, `spent`, `packets`"),
                ('plan = "gold"', "there is no column `gold`"),
                ("plan = ", "`plan = `"),
                ("plan == == 1", "at character 9 of `plan == == 1`"),
                ("1; DROP TABLE clients", "`;` ends no expression, at character 2 of"),
                ("1) UNION SELECT client FROM clients --", "closed that was not opened"),
                ("(DELETE FROM clients)", "syntax error"),
                ("plan IN (SELECT text FROM notes)", "no such table"),
                ("plan IN (SELECT 'gold')", "it has a subquery"),
                ("load_extension('/tmp/x.so')", "it calls `load_extension`"),
                ("PRAGMA writable_schema", "syntax error"),
                ("", "it is empty")):
            with self.subTest(where):
                self.fails(self.box("client", "list", "--where", where), 1, says)
        error = self.box("-j", "client", "list", "--where", "plann").json["errors"][0]
        self.assertEqual("--where", error["object"])
        self.assertEqual(before, self.dump())

    def test_what_fails_at_a_late_row_prints_no_row(self):
        self.load("client,n\n192.0.2.1,1\n192.0.2.250,-9223372036854775808\n")
        self.fails(self.box("client", "list", "--where", "abs(n) > 0"), 1, "integer overflow")
        document = self.box("-j", "client", "list", "--where", "abs(n) > 0").json
        self.assertEqual(["errors"], list(document))

    def test_a_limit_is_a_number(self):
        self.fails(self.box("client", "list", "--limit", "x"), 2, "--limit")
        self.fails(self.box("client", "list", "--limit", "0"), 2, "--limit")


class Empty(CatalogueTest):
    def test_a_box_without_state_has_no_clients(self):
        self.assertEqual({}, self.clients())
        self.assertEqual("CLIENT\n", self.succeeds(self.box("client", "list")).out)
        self.fails(self.box("client", "show", "192.0.2.1"), 1, "no such client")
        self.fails(self.box("client", "list", "--where", "plan = 1"), 1, "there is no column `plan`")


class Faithful(CatalogueTest):
    """Against Python's csv module as the writer and the sqlite3 shell as the reader."""

    ROWS = 20000

    def test_any_file_is_stored_as_it_was_written(self):
        seed = int(os.environ.get("XDP_CANARY_SEED") or time.time_ns())
        print(f"XDP_CANARY_SEED={seed}")
        draw = random.Random(seed)
        texts = ["", "gold", "a,b", 'say "so"', "two\nlines", "cr\r\nlf", "grüß", " x ", "日本", "0x1",
                 "01", "1e5", "'", "\\", "NULL", "x" * 254, "x" * 255, "x" * 256, "é" * 5000]
        rows = {}
        while len(rows) < self.ROWS:
            address = draw.getrandbits(32) if draw.random() < .5 else \
                0x20010db8 << 96 | draw.getrandbits(32) << 64
            client = ipaddress.ip_address(address)
            rows[client] = [draw.choice(texts), draw.choice(["", draw.getrandbits(62) - 2 ** 61]),
                            draw.choice(["", repr(draw.uniform(-1e9, 1e9)), "7"])]
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator=draw.choice(["\n", "\r\n"]))
        writer.writerow(["who", "text", "whole", "real"])
        writer.writerows([client, *values] for client, values in rows.items())
        result = self.load(text.getvalue())
        self.assertEqual((self.ROWS, ["TEXT", "INTEGER", "REAL"]),
                         (result["added"], [entry["type"] for entry in result["columns"]]))
        expected = {key(f"{client}/{32}" if client.version == 4 else f"{client}/64"):
                    [values[0] or None, values[1] if values[1] != "" else None,
                     float(values[2]) if values[2] else None] for client, values in rows.items()}
        stored = self.sql("SELECT hex(client) AS c, text, whole, real FROM clients")
        self.assertEqual(expected, {row["c"]: [row["text"], row["whole"], row["real"]]
                                    for row in stored})


class Speed(CatalogueTest):
    """A million rows, against the sqlite3 shell's .import of the same file, on the same disk."""

    ROUNDS = 3

    def write(self, name, clients, plan):
        path = os.path.join(self.box.directory, name)
        with open(path, "w", encoding="ascii") as stream:
            stream.write("client,plan,app,purchases,spent\n")
            for client in clients:
                stream.write("%d.%d.%d.%d,%s,app-%d,%d,%d.%02d\n" % (
                    client >> 24, client >> 16 & 255, client >> 8 & 255, client & 255, plan,
                    client % 20011, client % 100003, client % 1009, client % 97))
        return path

    def shell(self, path):
        """Seconds of the shell's import into a new file."""
        database = os.path.join(self.box.directory, "shell.db")
        if os.path.exists(database):
            os.unlink(database)
        began = time.monotonic()
        subprocess.run(["sqlite3", database, ".mode csv", f".import {path} clients"], check=True)
        return time.monotonic() - began

    def ours(self, path, *flags):
        began = time.monotonic()
        self.succeeds(self.box("-q", "client", "import", path, *flags))
        return time.monotonic() - began

    def forget(self):
        shutil.rmtree(self.box.state, ignore_errors=True)

    def ratio(self, path, prepare, *flags):
        """The median of rounds, in each of which one comes right after the other."""
        rounds = []
        for _ in range(self.ROUNDS):
            prepare()
            rounds.append((self.ours(path, *flags), self.shell(path)))
        ratio = statistics.median(ours / shell for ours, shell in rounds)
        print(os.path.basename(path), *("%.2f s : %.2f s" % pair for pair in rounds),
              "ratio %.2f" % ratio, sep="  ")
        return ratio

    def test_a_million_rows_take_at_most_twice_the_shells_time(self):
        draw = random.Random(1)
        clients = [i * 4294 + draw.randrange(4294) for i in range(MILLION)]
        in_order = self.write("in-order.csv", clients, "enterprise")
        draw.shuffle(clients)
        shuffled = self.write("shuffled.csv", clients, "enterprise")
        changed = self.write("changed.csv", clients, "trial")
        self.assertLess(self.ratio(in_order, self.forget), 2)
        self.assertLess(self.ratio(shuffled, self.forget), 2)
        self.assertEqual(MILLION, self.sql("SELECT count(*) AS n FROM clients")[0]["n"])
        # Not promised, but the work of every later night.
        self.assertLess(self.ratio(changed, lambda: self.ours(shuffled)), 2.5)
        self.assertEqual([{"plan": "trial", "n": MILLION}],
                         self.sql("SELECT plan, count(*) AS n FROM clients GROUP BY plan"))
        self.assertLess(self.ratio(shuffled, lambda: self.ours(changed), "--replace"), 2.5)


if __name__ == "__main__":
    unittest.main(verbosity=2)
