#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Checks the reference itself, decide.py, before anything is compared with it.

What it is checked against: the vectors of the contract; CPython's own SipHash-1-3 (that is its
hash of bytes, its key known from PYTHONHASHSEED); exact fractions for T(ppm); and for the ring
second, differently derived quotas and filling. And the promises hold in it: monotone shares, no
client moved between two other cohorts, quotas in proportion, no dependence on the order in the
file, few flows moved by a change of one backend.

    python3 -m unittest discover -s tests/reference        or        tests/reference/test_decide.py
"""

import collections
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest
from fractions import Fraction

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import decide  # noqa: E402
import make_config  # noqa: E402

SECRET = bytes(range(16))
HASHES = 1 << 32
MILLION = decide.MILLION
VECTORS = [
    # client, token, h, enters_at_ppm, h'
    ("198.51.100.7", "bea1e9d79020926a", 2634844476, 613473, 3074974159),
    ("::ffff:198.51.100.7", "bea1e9d79020926a", 2634844476, 613473, 3074974159),
    ("203.0.113.9", "a95aeba497ade9c4", 259160423, 60341, 2257301919),
    ("2001:db8:1:2:3::4", "459aebd6fc91e5f2", 4243239534, 987957, 2773496245),
    ("2001:db8:1:2::", "459aebd6fc91e5f2", 4243239534, 987957, 2773496245),
]
SHOP = """
version: 1
services:
  - name: shop
    release: v1
    vips: [ "192.0.2.10:80/tcp", "[2001:db8::10]:*/udp" ]
    steer: l2
    %s
    cohorts:
      - { name: stable, backends: [ { address: 10.0.0.1 }, { address: 10.0.0.2, weight: 50 } ] }
      - { name: canary, backends: [ { address: 10.0.1.1 } ] }
    %s
"""
measured = []


def tearDownModule():
    for line in measured:
        sys.stderr.write("  measured: %s\n" % line)


def shop(keys="", rules="", pins=(), shares=(), **other):
    pins = [dict(zip(("client", "cohort"), pin), service="shop") for pin in pins]
    shares = [dict(zip(("rule", "cohort", "share_ppm"), share), service="shop") for share in shares]
    return decide.Config(SHOP % (keys, rules)).policy("shop", SECRET, pins=pins, shares=shares,
                                                      **other)


def flow(client, port=40000, to="192.0.2.10", to_port=80, protocol=6):
    source = decide.Address.parse(client)
    if source.family == 6 and to == "192.0.2.10":
        to = "2001:db8::10"
    return decide.Flow(source, port, decide.Address.parse(to), to_port, protocol)


def backends(weights, first=1):
    return [decide.Backend(decide.Address(4, 0x0A000000 + first + index), 0, weight)
            for index, weight in enumerate(weights)]


def random_clients(count, seed):
    rng = random.Random(seed)
    return [decide.Address(4, rng.getrandbits(32)) if rng.random() < 0.5
            else decide.Address(6, 1 << 125 | rng.getrandbits(125)) for _ in range(count)]


def mixed(given):
    """The same weights, but some ports and IPv6 addresses, and in no order."""
    result = []
    for index, one in enumerate(given):
        address = one.address
        if index % 3 == 1:
            address = decide.Address(6, 0x20010DB8 << 96 | address.value * 977 % 1021)
        result.append(one._replace(address=address, port=index % 2 * (8080 + index)))
    random.Random(11).shuffle(result)
    return result


def moved(before, after):
    """The part of all hashes that two rings send to different backends: exact, for the slots of
    one are each some whole slots of the other."""
    count = max(len(before.owners), len(after.owners))
    hashes = [index * HASHES // count for index in range(count)]
    return sum(before.choose(r).address != after.choose(r).address for r in hashes) / count


def must_move(before, after):
    """The least part that a change can move: the slots that backends have no longer."""
    counts = [collections.Counter(ring.backends[owner].address for owner in ring.owners)
              for ring in (before, after)]
    return sum((counts[0] - counts[1]).values()) / len(before.owners)


def quotas_by_repeated_choice(weights, size):
    """Quotas by the contract's text, one slot at a time."""
    parts = [divmod(size * weight, sum(weights)) for weight in weights]
    quotas = [quota or 1 for quota, _ in parts]
    rests = [rest if quota else 0 for quota, rest in parts]
    while sum(quotas) < size:
        winner = rests.index(max(rests))
        quotas[winner] += 1
        rests[winner] = -1
    while sum(quotas) > size:
        quotas[quotas.index(max(quotas))] -= 1
    return quotas


class Hashes(unittest.TestCase):
    def test_siphash13_equals_cpythons(self):
        if sys.hash_info.algorithm != "siphash13":
            self.skipTest("this Python hashes bytes with %s" % sys.hash_info.algorithm)
        program = "for n in range(1, 70): print(hash(bytes(range(n))) & (2**64 - 1))"
        for seed in (0, 1, 4711, 4294967295):
            state, key = seed, bytearray()
            for _ in range(16):
                state = state * 214013 + 2531011 & 0xFFFFFFFF
                key.append(state >> 16 & 0xFF if seed else 0)
            output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                                    check=True, env={"PYTHONHASHSEED": str(seed)}).stdout
            ours = [decide.siphash13(bytes(key), bytes(range(n))) for n in range(1, 70)]
            self.assertEqual(ours, list(map(int, output.split())), "seed %d" % seed)

    def test_salt_of_the_contract(self):
        self.assertEqual(decide.salt64("shop/v1"), 0xD7F1FF649337D369)

    def test_fmix64_is_a_bijection_that_fixes_zero(self):
        def undone(value):
            value ^= value >> 33
            value = value * pow(0xC4CEB9FE1A85EC53, -1, 1 << 64) & decide.MASK64
            value ^= value >> 33
            value = value * pow(0xFF51AFD7ED558CCD, -1, 1 << 64) & decide.MASK64
            return value ^ value >> 33
        self.assertEqual(decide.fmix64(0), 0)
        rng = random.Random(1)
        for value in [1, decide.MASK64] + [rng.getrandbits(64) for _ in range(1000)]:
            self.assertEqual(undone(decide.fmix64(value)), value)

    def test_vectors_of_the_contract(self):
        for client, token, h, enters_at, holdout_hash in VECTORS:
            answer = shop().decide(flow(client))
            with self.subTest(client):
                self.assertEqual((answer["token"], answer["hash"], answer["enters_at_ppm"],
                                  answer["holdout_hash"]), (token, h, enters_at, holdout_hash))

    def test_flow_mix(self):
        mask, a, b = decide.MASK64, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F
        v4 = decide.Address.parse("::ffff:198.51.100.7")
        self.assertEqual(decide.flow_mix(v4, 40000, 80), 0xC63364079C400050 * a & mask)
        v6 = decide.Address.parse("2001:db8:1:2:3:4:5:6")
        self.assertEqual(decide.flow_mix(v6, 1, 65535), 0x000500060001FFFF * a & mask
                         ^ (0x20010DB800010002 + 0x00030004) * b & mask)


class Shares(unittest.TestCase):
    def test_threshold_edges(self):
        known = {0: 0, 1: 4294, 2: 8589, 10000: 42949672, 333333: 1431654333, 500000: 1 << 31,
                 999999: 4294963001, MILLION: HASHES}
        for ppm, expected in known.items():
            self.assertEqual(decide.threshold(ppm), expected)
        rng = random.Random(2)
        for ppm in [rng.randint(0, MILLION) for _ in range(2000)]:
            exact = Fraction(ppm * HASHES, MILLION)
            self.assertTrue(0 <= exact - decide.threshold(ppm) < 1)

    def test_none_and_all_are_exact(self):
        for h in (0, 1, HASHES // 2, HASHES - 1):
            self.assertFalse(decide.in_canary(h, 0, MILLION, 0))
            self.assertTrue(decide.in_canary(h, 0, MILLION, MILLION))

    def test_enters_at_is_the_least_share(self):
        rng = random.Random(3)
        for start, width in [(0, MILLION), (0, 333333), (333333, 333333), (666666, 333334),
                             (999999, 1), (250000, 0), (500000, 500000)]:
            first, length = decide.threshold(start), decide.slot_length(start, width)
            tries = [first - 1, first, first + 1, first + length - 1, first + length]
            tries += [rng.randrange(HASHES) for _ in range(500)]
            tries += [first + rng.randrange(length) for _ in range(500) if length]
            for h in tries:
                share = decide.enters_at(h, start, width)
                if share is None:
                    self.assertFalse(decide.in_canary(h, start, width, width))
                else:
                    self.assertTrue(1 <= share <= width)
                    self.assertTrue(decide.in_canary(h, start, width, share))
                    self.assertFalse(decide.in_canary(h, start, width, share - 1))

    def test_whole_slot_lacks_at_most_one_hash(self):
        """T(start) + T(width) may be one less than T(start + width); that hash has no share."""
        lacking = []
        for start in range(0, MILLION, 3331):
            for width in (1, 333333, MILLION - start):
                if start + width <= MILLION:
                    lacking.append(decide.slot_length(start, width) - decide.threshold(width))
        self.assertEqual(set(lacking), {0, 1})

    def test_raising_a_share_moves_clients_only_from_control_to_that_canary(self):
        keys = "client: { prefix6: 128 }"
        cohorts = """[ { name: stable, backends: [ { address: 10.0.0.1 } ] },
            { name: a, slot: 50%, backends: [ { address: 10.0.0.2 } ] },
            { name: b, slot: 30%, backends: [ { address: 10.0.0.3 } ] },
            { name: c, slot: 20%, backends: [ { address: 10.0.0.4 } ] } ]"""
        text = ("version: 1\nservices: [ { name: shop, vips: [ \"192.0.2.10:80/tcp\" ], %s, "
                "cohorts: %s } ]" % (keys, cohorts))
        config, clients = decide.Config(text), random_clients(1500, 4)
        rng, shares = random.Random(5), {"a": 0, "b": 0, "c": 0}
        widths = {"a": 500000, "b": 300000, "c": 200000}

        def cohorts_now():
            live = [{"service": "shop", "rule": "default", "cohort": name, "share_ppm": ppm}
                    for name, ppm in shares.items()]
            policy = config.policy("shop", SECRET, shares=live)
            return [policy.decide(flow(str(client)))["cohort"] for client in clients]

        before = cohorts_now()
        self.assertEqual(set(before), {"stable"})
        for _ in range(25):
            name = rng.choice("abc")
            old, shares[name] = shares[name], rng.choice([0, widths[name],
                                                          rng.randint(0, widths[name])])
            after = cohorts_now()
            way = ("stable", name) if shares[name] > old else (name, "stable")
            self.assertLessEqual({pair for pair in zip(before, after) if pair[0] != pair[1]}, {way})
            before = after
        shares.update(widths)
        self.assertNotIn("stable", cohorts_now())

    def test_shares_are_what_was_set(self):
        policy = shop(keys="client: { prefix6: 128 }", shares=[("default", "canary", 100000)])
        count = sum(policy.decide(flow(str(client)))["cohort"] == "canary"
                    for client in random_clients(20000, 6))
        self.assertLess(abs(count - 2000), 5 * (20000 * 0.1 * 0.9) ** 0.5)

    def test_percent(self):
        for text, ppm in [("5%", 50000), ("0.01%", 100), ("100ppm", 100), ("5", 50000), ("0", 0),
                          ("0.0001", 1), ("100%", MILLION), ("33.3333%", 333333)]:
            self.assertEqual(decide.percent(text), ppm)
        for text in ["0.00001%", "1.5ppm", "100.0001%", "010", "-1%", "", "5 %", "1e2", "0x10"]:
            with self.assertRaises(decide.BadInput, msg=text):
                decide.percent(text)


class Order(unittest.TestCase):
    """What decides first, and what it is called."""

    def answer(self, client="198.51.100.7", **arguments):
        return shop(**arguments).decide(flow(client))

    def check(self, answer, cohort, reason, rule, share):
        self.assertEqual((answer["cohort"], answer["reason"], answer["rule"], answer["share_ppm"]),
                         (cohort, reason, rule, share))

    def test_default_rule_gives_control_everything(self):
        self.check(self.answer(), "stable", "default", "default", MILLION)

    def test_base_share_then_live_share(self):
        rules = "rules: [ { name: all, default: true, allocate: { canary: 61.3473% } } ]"
        self.check(self.answer(rules=rules), "canary", "default", "all", 613473)
        self.check(self.answer(rules=rules, shares=[("all", "canary", 613472)]),
                   "stable", "default", "all", 386528)

    def test_killed_before_override_before_holdout_before_rule(self):
        everything = {"keys": "holdout: 50%", "shares": [("default", "canary", MILLION)]}
        held = next(str(client) for client in random_clients(100, 7) if client.family == 4
                    and shop(**everything).decide(flow(str(client)))["reason"] == "holdout")
        answer = self.answer(held, **everything)
        self.check(answer, "stable", "holdout", None, None)
        self.assertIsNone(answer["enters_at_ppm"])
        everything["pins"] = [(held, "canary")]
        self.check(self.answer(held, **everything), "canary", "override", None, None)
        self.assertIsNone(self.answer(held, **everything)["enters_at_ppm"])
        self.check(self.answer(held, killed=True, **everything), "stable", "killed", None, None)

    def test_longest_pin_wins_whatever_the_order(self):
        pins = [("198.51.100.0/24", "stable"), ("198.51.100.7", "canary"),
                ("198.0.0.0/8", "canary"), ("2001:db8::/32", "canary"),
                ("2001:db8:1:2:3::4", "stable")]
        expected = {"198.51.100.7": "canary", "198.51.100.8": "stable", "198.51.99.1": "canary",
                    "::ffff:198.51.100.8": "stable", "2001:db8:1:2::9": "stable",
                    "2001:db8:1:3::": "canary"}
        for order in (pins, pins[::-1]):
            for client, cohort in expected.items():
                self.check(self.answer(client, pins=order), cohort, "override", None, None)
        self.check(self.answer("199.0.0.1", pins=pins), "stable", "default", "default", MILLION)

    def test_pin_is_reduced_to_the_client_key(self):
        for pin in ("198.51.100.200", "198.51.100.192/26", "::ffff:198.51.100.200",
                    "::ffff:198.51.100.0/120", "198.51.0.0/16"):
            self.check(self.answer(keys="client: { prefix4: 24 }", pins=[(pin, "canary")]),
                       "canary", "override", None, None)

    def test_pin_goes_by_source_where_the_key_is_the_flow(self):
        self.check(self.answer(keys="client: { key: flow }", pins=[("198.51.100.7", "canary")]),
                   "canary", "override", None, None)

    def test_cohort_down_goes_to_controls_ring(self):
        text = SHOP.replace("{ address: 10.0.1.1 }", "{ address: 10.0.1.1, weight: 0 }") % ("", "")
        live = [{"service": "shop", "rule": "default", "cohort": "canary", "share_ppm": 700000}]
        pins = [{"service": "shop", "client": "203.0.113.9", "cohort": "canary"}]
        policy = decide.Config(text).policy("shop", SECRET, shares=live, pins=pins)
        answer = policy.decide(flow("198.51.100.7"))
        self.check(answer, "stable", "cohort_down", "default", 700000)
        self.assertEqual(answer["backend"], shop().decide(flow("198.51.100.7"))["backend"])
        self.check(policy.decide(flow("203.0.113.9")), "stable", "cohort_down", None, None)

    def test_rules_with_segments_are_asked_in_order(self):
        rules = """rules: [ { segment: staff, allocate: { canary: 100% } },
                            { name: wide, segment: all, allocate: { canary: 1ppm } },
                            { default: true } ]"""
        segments = {"staff": lambda client: client == decide.Address.parse("198.51.100.7"),
                    "all": lambda client: client.family == 4}
        for client, expected in [("198.51.100.7", ("canary", "rule", "staff", MILLION)),
                                 ("203.0.113.9", ("stable", "rule", "wide", 999999)),
                                 ("2001:db8::1", ("stable", "default", "default", MILLION))]:
            self.check(self.answer(client, rules=rules, segments=segments), *expected)
        with self.assertRaises(decide.BadInput):
            shop(rules=rules)


class Clients(unittest.TestCase):
    def test_canonical_text(self):
        keys = "client: { prefix4: %d, prefix6: %d }"
        for lengths, client, text in [
                ((32, 64), "::ffff:198.51.100.7", "198.51.100.7"),
                ((24, 64), "198.51.100.7", "198.51.100.0/24"),
                ((32, 64), "2001:DB8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
                ((32, 128), "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"),
                ((32, 20), "2001:fff8::1", "2001:f000::/20")]:
            policy = shop(keys=keys % lengths)
            self.assertEqual(policy.decide(flow(client))["client"], text)

    def test_clients_of_one_prefix_share_the_token(self):
        policy = shop(keys="client: { prefix4: 24, prefix6: 48 }")
        for one, other in [("198.51.100.7", "198.51.100.255"),
                           ("2001:db8:1:2::", "2001:db8:1:f::")]:
            self.assertEqual(policy.decide(flow(one))["token"], policy.decide(flow(other))["token"])

    def test_flow_key_is_the_unmasked_five_tuple(self):
        policy = shop(keys="client: { key: flow, prefix4: 8 }")
        one = flow("198.51.100.7", 40000, "192.0.2.10", 80, 6)
        key = bytes([198, 51, 100, 7, 192, 0, 2, 10, 0x9C, 0x40, 0, 80, 6])
        answer = policy.decide(one)
        self.assertEqual(answer["token"], "%016x" % decide.siphash13(SECRET, key))
        self.assertEqual(answer["client"], "198.0.0.0/8")
        self.assertEqual(len(flow("2001:db8::1").key()), 37)
        others = [one._replace(source_port=1), one._replace(destination_port=81),
                  one._replace(protocol=17), flow("198.51.100.8")]
        self.assertEqual(len({policy.decide(other)["token"] for other in others + [one]}), 5)
        with self.assertRaises(decide.BadInput):
            policy.decide(flow("::ffff:198.51.100.7", to="2001:db8::10"))

    def test_payload_key_is_those_bytes_of_a_udp_payload(self):
        payload = bytes(range(40))
        for first, count in ((0, 1), (3, 7), (8, 8), (24, 16)):
            policy = shop(keys="client: { key: payload, payload_offset: %d, payload_length: %d }"
                          % (first, count))
            one = flow("198.51.100.7", protocol=17)._replace(payload=payload)
            token = "%016x" % decide.siphash13(SECRET, payload[first:first + count])
            end = first + count
            same = [one, one._replace(source_port=1), flow("2001:db8::1", protocol=17)._replace(
                payload=payload), one._replace(payload=b"\xff" * first + payload[first:end])]
            self.assertEqual({policy.decide(other)["token"] for other in same}, {token})
            by_source = shop().decide(one)["token"]
            for other in (one._replace(payload=payload[:end - 1]), one._replace(payload=b""),
                          one._replace(protocol=6)):
                self.assertEqual(policy.decide(other)["token"], by_source)

    def test_quic_key_is_the_source_where_no_server_is_named(self):
        one = flow("198.51.100.7", protocol=17)
        self.assertEqual(shop(keys="client: { key: quic, quic_cid_length: 8 }").decide(one),
                         shop().decide(one))

    def test_flow_with_a_payload(self):
        client = decide.Address.parse("192.0.2.1"), 5
        self.assertEqual(decide.parse_flow("192.0.2.1:5"), (client, b""))
        self.assertEqual(decide.parse_flow("192.0.2.1:5 00fF"), (client, b"\x00\xff"))
        for text in ("192.0.2.1 0", "192.0.2.1 0g", "192.0.2.1  00", "192.0.2.1 00 00"):
            with self.assertRaises(decide.BadInput, msg=text):
                decide.parse_flow(text)

    def test_flow_text(self):
        for text, client, port in [("192.0.2.1", "192.0.2.1", 40000),
                                   ("192.0.2.1:5", "192.0.2.1", 5),
                                   ("[2001:db8::1]:65535", "2001:db8::1", 65535),
                                   ("2001:db8::1", "2001:db8::1", 40000),
                                   ("[2001:db8::1]", "2001:db8::1", 40000),
                                   ("[::ffff:192.0.2.1]:7", "192.0.2.1", 7)]:
            self.assertEqual(decide.parse_client(text), (decide.Address.parse(client), port))
        for text in ["", "192.0.2.1:", "192.0.2.1:010", "192.0.2.1:65536", "[192.0.2.1]:5",
                     "192.0.2.01", "fe80::1%eth0", "192.0.2.0/24", "[2001:db8::1]x", "host"]:
            with self.assertRaises(decide.BadInput, msg=text):
                decide.parse_client(text)

    def test_destinations(self):
        def to(*vips):
            return {family: (str(address), port, protocol) for family, (address, port, protocol)
                    in config.destinations("shop", vips).items()}
        text = SHOP % ("", "") + """
  - { name: other, vips: [ "[2001:db8::10]:53/udp", "192.0.2.11:80/tcp" ] }
"""
        config = decide.Config(text)
        self.assertEqual(to(), {4: ("192.0.2.10", 80, 6), 6: ("2001:db8::10", 80, 17)})
        self.assertEqual(to("[2001:db8::10]:54/udp"), {6: ("2001:db8::10", 54, 17)})
        self.assertEqual(to("[2001:db8::10]:*/udp"), {6: ("2001:db8::10", 80, 17)})
        for vip in ("[2001:db8::10]:53/udp", "[2001:db8::10]:54/tcp", "192.0.2.11:80/tcp"):
            with self.assertRaises(decide.BadInput, msg=vip):
                to(vip)
        self.assertEqual(config.owner(decide.Address.parse("2001:db8::10"), 53, 17), "other")


class Rings(unittest.TestCase):
    WEIGHTS = [[100, 100], [100, 50], [1, 1, 1], [1, 1000], [7, 13, 97], [3, 5, 1000, 999],
               [100] * 10, [100] * 9 + [1], [2, 4, 6, 8], [50] * 33, [997, 991, 983],
               [1] + [1000] * 9, [1000] * 5 + [1] * 5, [1, 900] * 7]

    def check_owners(self, owners, expected, what):
        """As assertEqual, which takes minutes to word the difference of two long lists."""
        self.assertEqual(len(owners), len(expected), what)
        differing = [slot for slot, pair in enumerate(zip(owners, expected)) if len(set(pair)) > 1]
        self.assertEqual(differing[:10], [], "slots of %s" % (what,))

    def test_slots_are_a_power_of_two_of_100_a_backend_or_more(self):
        for count, size in [(0, 0), (1, 1), (2, 1024), (10, 1024), (11, 2048), (20, 2048),
                            (21, 4096), (40, 4096), (41, 8192), (81, 8192), (82, 16384)]:
            self.assertEqual(len(decide.Ring(backends([100] * count)).owners), size)

    def test_quotas_by_hand(self):
        for weights, expected in [
                ([100, 50], [683, 341]),  # 682.67, 341.33
                ([1, 1, 1], [342, 341, 341]),  # ties go to the lower address
                ([256, 512, 256], [256, 512, 256]),
                # 0.11 is raised to 1; 9 times 113.77 leaves 6
                ([1] + [1000] * 9, [1] + [114] * 6 + [113] * 3),
                # 0.999 is raised, and its remainder is none; 341.666 and twice 340.667
                ([1, 342, 341, 341], [1, 341, 341, 341]),
                # 5 times 204.60 and 5 raised: one too many
                ([1000] * 5 + [1] * 5, [203] + [204] * 4 + [1] * 5),
                ([1] * 5 + [1000] * 5, [1] * 5 + [203] + [204] * 4)]:
            self.assertEqual(decide.quotas(weights, 1024), expected)

    def test_quotas_are_within_one_slot_of_proportion(self):
        """Above it only where backends raised to one slot take more than is left over: there the
        greatest give slots up."""
        rng, seen = random.Random(12), collections.Counter()
        lists = self.WEIGHTS + [
            [rng.choice((1, 2, 100, 999, 1000, rng.randint(1, 1000))) for _ in range(count)]
            for count in range(2, 120) for _ in range(5)]
        for weights in lists:
            size = max(1024, 1 << (100 * len(weights) - 1).bit_length())
            quotas = decide.quotas(weights, size)
            self.assertEqual(quotas, quotas_by_repeated_choice(weights, size), weights)
            self.assertEqual(sum(quotas), size, weights)
            exact = [Fraction(size * weight, sum(weights)) for weight in weights]
            raised = [index for index, part in enumerate(exact) if part < 1]
            overdrawn = sum(max(1, part // 1) for part in exact) > size
            seen["raised" if raised else "plain"] += 1
            seen["overdrawn"] += overdrawn
            for index, (quota, part) in enumerate(zip(quotas, exact)):
                if index in raised:
                    self.assertEqual(quota, 1, weights)
                elif overdrawn:
                    self.assertTrue(1 <= quota <= part, weights)
                else:
                    self.assertLess(abs(quota - part), 1, weights)
                    if part.denominator == 1:
                        seen["whole"] += 1
                        self.assertEqual(quota, part, weights)
        for kind in ("raised", "plain", "overdrawn", "whole"):
            self.assertGreater(seen[kind], 3, kind)

    def test_slots_are_as_many_as_the_quota(self):
        for weights in self.WEIGHTS:
            owners = decide.Ring(backends(weights)).owners
            counted = collections.Counter(owners)
            self.assertEqual([counted[index] for index in range(len(weights))],
                             quotas_by_repeated_choice(weights, len(owners)), weights)

    def test_filling_by_another_derivation(self):
        """By round r backend i has had floor(r * w / max) turns: its k-th comes in round
        ceil(k * max / w), and it uses the first q of them. So the takes can be sorted instead of
        counted up."""
        for given in [backends(weights) for weights in self.WEIGHTS] + [
                mixed(backends(weights)) for weights in self.WEIGHTS]:
            by_address = sorted(given, key=lambda one: (one.address.family, one.address.packed()))
            weights = [one.weight for one in by_address]
            size = 1024
            while size < 100 * len(weights):
                size *= 2
            quotas = quotas_by_repeated_choice(weights, size)
            takes = sorted((-(-k * max(weights) // weight), index)
                           for index, weight in enumerate(weights)
                           for k in range(1, quotas[index] + 1))
            lists = []
            for one in by_address:
                port = bytes(divmod(one.port, 256))
                x = decide.siphash13(bytes(16), one.address.packed() + port)
                skip = x % size + (x + 1) % 2
                lists.append([(x // HASHES + j * skip) % size for j in range(size)][::-1])
            owners = {}
            for _, index in takes:
                slot = lists[index].pop()
                while slot in owners:
                    slot = lists[index].pop()
                owners[slot] = index
            ring = decide.Ring(given)
            self.assertEqual(ring.backends, by_address)
            self.check_owners(ring.owners, [owners[slot] for slot in range(size)], weights)

    def test_preference_list_is_a_permutation(self):
        rng = random.Random(8)
        for size in (1024, 2048, 8192, 65536):
            seeds = [rng.getrandbits(64) for _ in range(20)] + [0, decide.MASK64, size - 2]
            for seed in seeds:
                self.assertEqual(sorted(decide.preference_list(seed, size)), list(range(size)))

    def test_preference_list_by_hand(self):
        for seed, expected in [(0, [0, 1, 2]), (5 << 32 | 6, [5, 12, 19]), (7, [0, 7, 14]),
                               ((3 << 10 | 1020) << 32 | 9 << 10 | 2, [1020, 1023, 2]),
                               (decide.MASK64, [1023, 1022, 1021])]:
            self.assertEqual(list(decide.preference_list(seed, 1024))[:3], expected)

    def test_order_in_the_file_does_not_matter(self):
        given = backends([5, 7, 0, 100, 31]) + [
            decide.Backend(decide.Address.parse("2001:db8::%d" % index), 0, 9) for index in (1, 2)]
        expected = decide.Ring(given)
        rng = random.Random(9)
        for _ in range(10):
            rng.shuffle(given)
            ring = decide.Ring(given)
            self.assertEqual(ring.backends, expected.backends)
            self.check_owners(ring.owners, expected.owners, given)
        self.assertEqual([b.address.family for b in expected.backends], [4, 4, 4, 4, 6, 6])

    def test_common_factor_of_weights_does_not_matter(self):
        for weights, factor in [([2, 1, 3], 100), ([1, 500], 2), ([100] * 5 + [1] * 5, 9),
                                ([7, 13, 97], 10), ([333, 332, 1], 3)]:
            multiples = [factor * weight for weight in weights]
            self.check_owners(decide.Ring(backends(multiples)).owners,
                              decide.Ring(backends(weights)).owners, weights)

    def test_weight_zero_is_as_not_there(self):
        given = backends([100, 0, 50])
        self.check_owners(decide.Ring(given).owners, decide.Ring([given[0], given[2]]).owners,
                          given)
        self.assertEqual(decide.Ring(backends([0, 0])).backends, [])

    def test_one_backend_takes_all(self):
        ring = decide.Ring(backends([0, 13]))
        self.assertEqual({ring.choose(r).weight for r in (0, 1, HASHES - 1)}, {13})

    def test_every_slot_is_reached_in_its_part_of_the_hashes(self):
        ring = decide.Ring(backends([3, 2]))
        size = len(ring.owners)
        for slot in range(size):
            for r in (-(-slot * HASHES // size), ((slot + 1) * HASHES - 1) // size):
                self.assertIs(ring.choose(r), ring.backends[ring.owners[slot]])

    def test_backend_of_a_flow_step_by_step(self):
        token, source = 0xBEA1E9D79020926A, 198 << 24 | 51 << 16 | 100 << 8 | 7
        ring = decide.Ring(backends([100, 50]))
        for keys, ports in (("balance: client", 0), ("balance: flow", 40000 << 16 | 80)):
            mix = ((source << 32) + ports) * 0xD6E8FEB86659FD93 % (1 << 64) if ports else 0
            r = decide.fmix64(token ^ 11400714819323198485 ^ mix) // HASHES  # 2^64 / golden ratio
            owner = ring.owners[r * len(ring.owners) // HASHES]
            self.assertEqual(decide.ring_hash(token, mix), r)
            self.assertEqual(shop(keys=keys).decide(flow("198.51.100.7"))["backend"],
                             ["10.0.0.1", "10.0.0.2"][owner])

    def test_flows_are_spread_by_weight(self):
        policy = shop()
        rng = random.Random(10)
        count, first = 20000, 0
        for _ in range(count):
            one = flow("198.51.100.7", rng.randint(1, 65535))._replace(
                source=decide.Address(4, rng.getrandbits(32)))
            first += policy.decide(one)["backend"] == "10.0.0.1"
        self.assertLess(abs(first - count * 2 / 3), 5 * (count * 2 / 9) ** 0.5)

    def test_hashes_are_uniform_on_slots_and_backends(self):
        rng = random.Random(13)
        for weights in ([100] * 10, [3, 5, 1000, 999], [7, 13, 97], [50] * 20, [1000, 1]):
            ring = decide.Ring(backends(weights))
            size, count = len(ring.owners), 100000
            hashes = [decide.ring_hash(rng.getrandbits(64), 0) for _ in range(count)]
            slots = collections.Counter(r * size // HASHES for r in hashes)
            chosen = collections.Counter(ring.choose(r).address for r in hashes)
            square = sum((slots[slot] - count / size) ** 2 for slot in range(size)) * size / count
            self.assertLess(abs(square - (size - 1)), 5 * (2 * (size - 1)) ** 0.5)
            for index, backend in enumerate(ring.backends):
                part = ring.owners.count(index) / size
                self.assertLess(abs(chosen[backend.address] - count * part),
                                5 * (count * part * (1 - part)) ** 0.5, weights)

    def test_balance_by_client_keeps_a_client_and_by_flow_does_not(self):
        for balance, expected in (("client", 1), ("flow", 2)):
            policy = shop(keys="balance: %s" % balance)
            chosen = {policy.decide(flow("198.51.100.7", port))["backend"]
                      for port in range(1, 101)}
            self.assertEqual(len(chosen), expected)

    def test_replacing_a_backend_moves_few_flows(self):
        for count in (5, 10, 20, 50):
            given = backends([100] * count)
            other = given[:-1] + backends([100], first=1000)
            part = moved(decide.Ring(given), decide.Ring(other))
            measured.append("1 of %d backends replaced: %.1f%% of flows move (%.1f%% must)"
                            % (count, 100 * part, 100 / count))
            self.assertGreaterEqual(part, 0.99 / count)
            self.assertLess(part, 4 / count)

    def check_change(self, what, before, changed, bound):
        """Every one of the changed rings moves less than bound, and not less than it must."""
        parts = []
        for given in changed:
            after = decide.Ring(given)
            self.assertEqual(len(after.owners), len(before.owners))
            parts.append(moved(before, after))
            must = must_move(before, after)
            self.assertGreaterEqual(parts[-1], must)
            self.assertLess(parts[-1], bound)
        measured.append("%s: %.1f%% of flows move, at worst %.1f%% (%.1f%% must)"
                        % (what, 100 * sum(parts) / len(parts), 100 * max(parts), 100 * must))

    def test_leaving_backend_moves_few_flows(self):
        """Whichever leaves, where the number of slots stays."""
        for count in (5, 10, 20, 50):
            given = backends([100] * count)
            self.check_change("1 of %d backends leaves" % count, decide.Ring(given),
                              [given[:index] + given[index + 1:] for index in range(count)],
                              4 / count)

    def test_halving_a_weight_moves_few_flows(self):
        """Less than twice what must move, which is 1/10 - 50/950."""
        given = backends([100] * 10)
        self.check_change("1 of 10 weights halved", decide.Ring(given),
                          [given[:index] + [given[index]._replace(weight=50)] + given[index + 1:]
                           for index in range(10)], 2 * (1 / 10 - 50 / 950))

    def test_another_number_of_slots_is_another_ring(self):
        """Nothing is promised there, but that it is seen."""
        for count in (11, 21, 41):
            given = backends([100] * count)
            before, after = decide.Ring(given), decide.Ring(given[:-1])
            self.assertEqual(len(before.owners), 2 * len(after.owners))
            measured.append("1 of %d backends leaves, %d slots become %d: %.1f%% of flows move"
                            % (count, len(before.owners), len(after.owners),
                               100 * moved(before, after)))


class Splits(unittest.TestCase):
    """The hashes and parts of other tools."""

    # What nginx 1.22.1 (in its debug log) and HAProxy 2.6.12 say themselves, and nft 1.0.6 on Linux
    # 6.18 as `jhash ip saddr mod 4294967295 seed 0x1234567`, which is one less.
    SEED = 0x1234567
    TOLD = [
        ("198.51.100.7", 2517006378, 3417968143, 3404716775),
        ("0.0.0.1", 3944978887, 1447292810, 1639246446),
        ("1.2.3.4", 1487941662, 3057449933, 1031973203),
        ("223.255.255.254", 374544498, 684351575, 2814733965),
        ("10.0.0.1", 1154816930, 972951534, 4039630269),
        ("2001:db8::1", 2917685176, 2140319832, 3238714498),
        ("2001:db8:1:2:3:4:5:6", 4291361237, 3425545227, 2803209832),
        ("3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 3911953017, 1295047956, 3846063097),
        ("::1:2:3", 2889329515, 1263986481, 3425422663),
    ]

    def test_hashes_are_what_the_tools_say(self):
        for client, murmur2, crc32, jhash in self.TOLD:
            packed = decide.Address.parse(client).packed()
            self.assertEqual((decide.murmur2(packed), decide.zlib.crc32(packed),
                              decide.jhash(packed, self.SEED)), (murmur2, crc32, jhash), client)

    def test_parts_follow_one_another_and_the_last_takes_the_rest(self):
        def holders(name, order, units, hashes):
            split = decide.Split(name, {"order": order}, ["stable", "canary"])
            return [split.holder(h, {"canary": units}) for h in hashes]

        five, ninety_five = 500 * 0xFFFFFFFF // 10000, 9500 * 0xFFFFFFFF // 10000
        top = HASHES - 1
        self.assertEqual(holders("nginx", ["canary", "stable"], 500, [0, five - 1, five, top]),
                         ["canary", "canary", "stable", "stable"])
        self.assertEqual(holders("nginx", ["stable", "canary"], 500,
                                 [0, ninety_five - 1, ninety_five, top]),
                         ["stable", "stable", "canary", "canary"])
        self.assertEqual(holders("nginx", ["canary", "stable"], 10000, [0, top]), 2 * ["canary"])
        self.assertEqual(holders("nginx", ["stable", "canary"], 0, [0, top]), 2 * ["stable"])
        self.assertEqual(holders("haproxy-crc32", ["stable", "canary"], 5, [0, 94, 95, 99]),
                         ["stable", "stable", "canary", "canary"])

    def test_a_share_stands_for_units_to_the_next_ppm(self):
        third = decide.Split("nft-jhash", {"modulus": "3"}, ["stable", "canary"])
        self.assertEqual([third.units(ppm) for ppm in (0, 333333, 333334, 666666, 666667, MILLION)],
                         [0, 1, 1, 2, 2, 3])
        for ppm in (1, 333332, 333335, 500000, 999999):
            self.assertRaises(decide.BadInput, third.units, ppm)
        percent = decide.Split("nginx", {}, ["stable", "canary"])
        self.assertEqual(percent.units(123400), 1234)
        self.assertRaises(decide.BadInput, percent.units, 123450)

    def test_enters_at_is_the_first_share_that_a_search_finds(self):
        rng = random.Random(20)
        for _ in range(300):
            names = ["stable", "a", "b", "c"][:rng.randint(2, 4)]
            split = decide.Split(rng.choice(["nginx", "haproxy-crc32"]),
                                 {"order": rng.sample(names, len(names))}, names)
            if split.name == "nginx":
                split.whole = 10000
            units, left, edges = {}, split.whole, [0, 1]
            for name in names[1:]:
                units[name] = rng.choice([0, left, rng.randint(0, left)])
                left -= units[name]
            end = 0
            for name in split.order:
                end += split.size(units.get(name, left))
                edges += [end - 1, end]
            h, name = max(rng.choice(edges), 0), rng.choice(names[1:])
            found = next((count for count in range(1, left + units[name] + 1)
                          if split.holder(h, {**units, name: count}) == name), None)
            self.assertEqual(split.least(h, units, name), found, (split.name, split.order, units))

    def test_a_service_is_split_by_its_whole_address(self):
        policy = shop("hash: nginx", "rules: [ { default: true, allocate: { canary: 35% } } ]")
        for client, murmur2, _, _ in self.TOLD:
            answer = policy.decide(flow(client))
            self.assertEqual((answer["client"], answer["hash"]), (client, murmur2))
            self.assertEqual(answer["cohort"],
                             "stable" if murmur2 < 6500 * 0xFFFFFFFF // 10000 else "canary")


class ConfigText(unittest.TestCase):
    def test_what_it_is_no_reference_for_is_refused(self):
        for keys in ("hash: envoy", "hash: nginx\n    client: { key: flow }",
                     "client: { key: quick }", "client: { group_by: app }",
                     "client: { key: payload, payload_length: 4 }",
                     "client: { key: payload, payload_offset: 1401, payload_length: 4 }",
                     "client: { key: payload, payload_offset: 0, payload_length: 17 }",
                     "balance: none", "holdout: 0.00001%", "client: { prefix4: 7 }",
                     "client: { prefix4: 010 }", "name: shop"):
            with self.assertRaises(decide.BadInput, msg=keys):
                shop(keys=keys)
        for rules in ("rules: [ { default: true, allocate: { canary: 5%, stable: 5% } } ]",
                      "rules: [ { default: true, allocate: { other: 5% } } ]",
                      "rules: [ { default: true }, { name: b, default: true } ]"):
            with self.assertRaises(decide.BadInput, msg=rules):
                shop(rules=rules)
        for live in (("default", "stable", 1), ("other", "canary", 1),
                     ("default", "canary", MILLION + 1)):
            with self.assertRaises(decide.BadInput, msg=live):
                shop(shares=[live])

    def test_salt(self):
        salts = [(shop().salt, "shop/v1"), (shop(keys='salt: "shared"').salt, "shared")]
        for salt, text in salts:
            self.assertEqual(salt, decide.salt64(text))

    def test_default_slots_divide_the_whole(self):
        text = (SHOP % ("", "")).replace(
            "{ name: canary,", "{ name: a }\n      - { name: b }\n      - { name: canary,")
        policy = decide.Config(text).policy("shop", SECRET)
        self.assertEqual(policy.slots, {"a": (0, 333333), "b": (333333, 333333),
                                        "canary": (666666, 333333)})


class Generated(unittest.TestCase):
    """decide.py takes what make_config.py makes, and quickly."""

    def test_every_seed_is_valid_and_every_flow_is_answered(self):
        reasons = collections.Counter()
        for seed in range(40):
            made = make_config.generate(seed, clients=60)
            config, secret = decide.Config(made["config"]), bytes.fromhex(made["secret"])
            for name in made["services"]:
                policy = config.policy(name, secret, pins=made["pins"], shares=made["shares"])
                output, errors = io.StringIO(), io.StringIO()
                bad = decide.decide_lines(policy, config.destinations(name), made["flows"],
                                          output.write, errors.write)
                self.assertEqual((bad, errors.getvalue()), (0, ""))
                answers = list(map(json.loads, output.getvalue().splitlines()))
                self.assertEqual(len(answers), 60)
                reasons.update(answer["reason"] for answer in answers)
        measured.append("40 generated configs: %s" % dict(reasons.most_common()))
        self.assertEqual(set(reasons), {"default", "override", "holdout", "cohort_down"})

    def test_same_seed_same_files(self):
        self.assertEqual(make_config.generate(7), make_config.generate(7))
        self.assertNotEqual(make_config.generate(7)["config"], make_config.generate(8)["config"])

    def test_command_line(self):
        with tempfile.TemporaryDirectory() as directory:
            def run(program, *arguments, **options):
                return subprocess.run([sys.executable, os.path.join(HERE, program), *arguments],
                                      capture_output=True, text=True, **options)

            def path(name):
                return os.path.join(directory, name)
            made = run("make_config.py", "--seed", "3", "--out", directory, "--clients", "20")
            self.assertEqual((made.returncode, made.stderr), (0, ""))
            with open(path("clients.txt"), encoding="utf-8") as file:
                flows = file.read()
            arguments = [path("config.yaml"), "--secret-file", path("secret"),
                         "--pins", path("pins.json"), "--shares", path("shares.json")]
            for service in made.stdout.split():
                result = run("decide.py", *arguments, service, input=flows)
                self.assertEqual((result.returncode, result.stderr), (0, ""))
                self.assertEqual(len(result.stdout.splitlines()), 20)
                killed = run("decide.py", *arguments, "--killed", service, input=flows)
                reasons = {json.loads(line)["reason"] for line in killed.stdout.splitlines()}
                self.assertEqual(reasons, {"killed"})
            result = run("decide.py", *arguments, service, input="192.0.2.1\nhost\n\n# none\n")
            self.assertEqual((result.returncode, len(result.stdout.splitlines())), (1, 1))
            self.assertEqual(result.stderr, "line 2: 'host': not an address\n")
            self.assertEqual(run("decide.py", *arguments, "none", input="").returncode, 1)

    def test_hundred_thousand_decisions_take_less_than_twenty_seconds(self):
        made = make_config.generate(1, clients=20000)
        config, secret = decide.Config(made["config"]), bytes.fromhex(made["secret"])
        began = time.process_time()
        policy = config.policy(made["services"][0], secret, pins=made["pins"],
                               shares=made["shares"])
        decide.decide_lines(policy, config.destinations(made["services"][0]), made["flows"],
                            lambda text: None, self.fail)
        seconds = 5 * (time.process_time() - began)
        measured.append("100,000 decisions: %.1f s of CPU time" % seconds)
        self.assertLess(seconds, 20)


if __name__ == "__main__":
    unittest.main()
