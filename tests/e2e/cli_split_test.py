#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Commands and a service that is split by another tool's hash: what apply warns of and refuses,
which shares `rollout set` takes, what explain, get and service show say.

    python3 tests/e2e/cli_split_test.py
"""

import sys
import unittest

from cli_box import BoxTest, config, service

CLIENT = "198.51.100.7"
CLIENT_MURMUR2 = 2517006378  # nginx's own debug log
CLIENT_CRC32 = 3417968143    # HAProxy's %[src,crc32], and zlib's
CLIENT_JHASH = 3404716775    # nft's jhash with seed 0x1234567


def split(tool="nginx", share="5%", order=("canary", "stable"), options=None, **keys):
    """A service with that hash; shares: of the canary, or of each by name."""
    shares = share if isinstance(share, dict) else {"canary": share}
    return service(hash=tool, hash_options={"order": list(order), **(options or {})},
                   rules=[{"default": True, "allocate": shares}], **keys)


def three(tool="nginx", shares=None, order=("canary", "stable", "next"), **keys):
    made = split(tool, shares or {"canary": "5%", "next": "10%"}, order, **keys)
    backend = {"address": "10.0.10.9", "mac": "02:00:00:00:0a:09", "interface": "v0"}
    made["cohorts"].append({"name": "next", "backends": [backend]})
    return made


def warnings_of(answer, about):
    return [warning for warning in answer["warnings"] if warning["object"].endswith(about)]


class Warnings(BoxTest):
    def test_that_the_hash_is_unkeyed_is_said_when_it_comes_into_use_and_once(self):
        first = self.applied(split())
        self.assertEqual(1, len(warnings_of(first, "services/api/hash")))
        self.assertIn("can choose its cohort", first["warnings"][0]["message"])
        self.assertEqual([], self.applied(split())["warnings"])
        self.assertEqual([], self.applied(split(share="6%"))["warnings"])
        other = self.succeeds(self.box.apply(config(split("nft-jhash", "6%")), "--reshuffle")).json
        self.assertEqual(1, len(warnings_of(other, "services/api/hash")))

    def test_shares_that_shift_others_are_warned_of_with_the_order_that_does_not(self):
        shifting = self.applied(three(order=("stable", "canary", "next")))
        warned = warnings_of(shifting, "hash_options/order")
        self.assertEqual(1, len(warned))
        self.assertIn("[canary, stable, next]", warned[0]["hint"])
        self.assertEqual([], self.applied(three(order=("stable", "canary", "next"),
                                                shares={"canary": "6%"}))["warnings"])

    def test_two_canaries_beside_the_control_shift_nobody(self):
        self.assertEqual([], warnings_of(self.applied(three()), "hash_options/order"))


class Shares(BoxTest):
    def test_a_share_that_the_tool_cannot_be_told_is_refused_with_those_it_can(self):
        self.applied(split("haproxy-crc32"))
        self.refused(("rollout", "set", "api", "5.5%"), "no multiple of 1/100", "set 5% or 6%")
        self.succeeds(self.box("rollout", "set", "api", "6%"))
        self.assertEqual((60000, 50000, True), self.box.shares()["default"]["canary"])

    def test_nginx_has_hundredths_of_a_percent(self):
        self.applied(split())
        self.refused(("rollout", "set", "api", "12.345%"), "finer than the 0.01%",
                     "12.34% or 12.35%")
        self.succeeds(self.box("rollout", "set", "api", "12.34%"))

    def test_a_third_can_be_set_where_the_modulus_is_three(self):
        self.applied(split("nft-jhash", "0%", options={"modulus": 3}))
        self.refused(("rollout", "set", "api", "33%"), "33.3333%")
        self.succeeds(self.box("rollout", "set", "api", "333333ppm"))
        self.succeeds(self.box("rollout", "set", "api", "100%"))

    def test_a_canary_may_have_all_that_others_leave_and_no_more(self):
        self.applied(three())
        self.refused(("rollout", "set", "api", "90.01%"), "the other canaries leave it 90%")
        self.succeeds(self.box("rollout", "set", "api", "90%"))
        self.refused(("rollout", "set", "api", "10.01%", "--cohort", "next"), "leave it 10%")
        self.succeeds(self.box("rollout", "set", "api", "0%", "--cohort", "next"))
        self.succeeds(self.box("rollout", "set", "api", "100%"))
        self.assertEqual("canary", self.box.explain(CLIENT)["cohort"])

    def test_live_shares_that_stay_must_fit_in_with_the_files_new_ones(self):
        self.applied(three())
        self.succeeds(self.box("rollout", "set", "api", "85%"))
        before = self.box.memory()
        answer = self.box.apply(config(three(shares={"canary": "5%", "next": "20%"})))
        self.assertEqual(1, answer.status, answer)
        self.assertIn("105% together", answer.out)
        self.assertEqual(before, self.box.memory())
        self.succeeds(self.box.apply(config(three(shares={"canary": "5%", "next": "20%"})),
                                     "--reset-shares"))

    def test_a_live_share_that_the_new_hash_cannot_be_told_is_refused(self):
        self.applied(split())
        self.succeeds(self.box("rollout", "set", "api", "12.34%"))
        answer = self.box.apply(config(split("haproxy-crc32")), "--reshuffle")
        self.assertEqual(1, answer.status, answer)
        self.assertIn("no multiple of 1/100", answer.out)
        self.succeeds(self.box.apply(config(split("haproxy-crc32")), "--reshuffle",
                                     "--reset-shares"))


class Reshuffle(BoxTest):
    def test_another_hash_is_refused_while_a_share_is_under_way(self):
        self.applied(split())
        for changed, what in ((split("haproxy-crc32"), "its hash changes"),
                              (split(order=("stable", "canary")), "the order of its parts"),
                              (service(), "its hash changes")):
            before = self.box.memory()
            answer = self.box.apply(config(changed))
            self.assertEqual(1, answer.status, answer)
            self.assertIn(what, answer.out)
            self.assertEqual(before, self.box.memory())
        self.succeeds(self.box.apply(config(split("haproxy-crc32")), "--reshuffle"))

    def test_options_of_the_hash_count_as_the_hash(self):
        self.applied(split("nft-jhash", options={"seed": 1}))
        for options in ({"seed": 2}, {"seed": 1, "modulus": 1000}):
            answer = self.box.apply(config(split("nft-jhash", options=options)))
            self.assertEqual(1, answer.status, answer)
            self.assertIn("its hash changes", answer.out)

    def test_at_nothing_and_everything_it_may_change(self):
        self.applied(split(share="0%"))
        self.succeeds(self.box.apply(config(split("nft-jhash", "0%"))))
        self.succeeds(self.box.apply(config(split("nft-jhash", "100%"))))
        self.succeeds(self.box.apply(config(split("nginx", "100%", ("stable", "canary")))))

    def test_a_cohort_that_comes_leaves_the_order_of_the_others(self):
        self.applied(split())
        self.succeeds(self.box.apply(config(three(shares={"canary": "5%"},
                                                  order=("canary", "stable", "next")))))


class Shown(BoxTest):
    def explain(self, *words):
        return self.succeeds(self.box("-j", "explain", "api", CLIENT, *words)).json

    def test_explain_says_the_tools_hash_and_no_slot(self):
        for tool, options, expected in (
                ("nginx", {}, CLIENT_MURMUR2), ("haproxy-crc32", {}, CLIENT_CRC32 % 100),
                ("nft-jhash", {"seed": 0x1234567, "modulus": 1000},
                 CLIENT_JHASH * 1000 >> 32)):
            self.applied(split(tool, "0%", options=options))
            answer = self.explain()
            self.assertEqual((expected, None, "canary"),
                             (answer["hash"], answer["slot"], answer["enters_cohort"]), answer)

    def test_enters_at_is_the_least_share_that_has_the_client(self):
        self.applied(split())
        at = self.explain()["enters_at_ppm"]
        # The part [0, floor(share * 0xffffffff / 10000)) has it.
        self.assertEqual(-(-(CLIENT_MURMUR2 + 1) * 10000 // 0xFFFFFFFF) * 100, at)
        self.succeeds(self.box("rollout", "set", "api", f"{at - 100}ppm"))
        self.assertEqual("stable", self.explain()["cohort"])
        self.succeeds(self.box("rollout", "set", "api", f"{at}ppm"))
        self.assertEqual("canary", self.explain()["cohort"])
        self.assertEqual(at, self.explain()["enters_at_ppm"])

    def test_of_several_canaries_it_says_which(self):
        self.applied(three(shares={"canary": "0%", "next": "100%"}))
        answer = self.explain()
        self.assertEqual(("next", "next"), (answer["cohort"], answer["enters_cohort"]))
        self.succeeds(self.box("rollout", "set", "api", "0%", "--cohort", "next"))
        self.assertEqual("canary", self.explain()["enters_cohort"])

    def test_get_gives_back_what_apply_takes(self):
        self.applied(three("nft-jhash", options={"seed": 7, "modulus": 1000},
                           client={"prefix4": 24, "prefix6": 64}))
        got = self.succeeds(self.box("get")).out
        for line in ("hash: nft-jhash", "modulus: 1000", "seed: 7", "prefix6: 64"):
            self.assertIn(line, got)
        again = self.box.write(got, "again.yaml")
        self.assertFalse(self.succeeds(self.box("-j", "apply", "-f", again)).json["changed"])
        self.succeeds(self.box("diff", "-f", again, "--check"))

    def test_service_show_has_hash_and_options(self):
        self.applied(three("nft-jhash", options={"seed": 7}))
        show = self.succeeds(self.box("-j", "service", "show", "api")).json
        self.assertEqual("nft-jhash", show["hash"])
        self.assertEqual({"modulus": 100, "seed": 7, "order": ["canary", "stable", "next"]},
                         show["hash_options"])
        self.assertEqual([None] * 3, [cohort["slot"] for cohort in show["cohorts"]])
        self.assertIsNone(show["salt"])
        self.assertIn("hash nft-jhash, modulus 100, seed 7, order canary, stable, next",
                      self.succeeds(self.box("service", "show", "api")).out)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"] + sys.argv[1:])
