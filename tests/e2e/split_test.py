#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A service with another tool's hash has each client in the cohort in which that tool has it.

Against the real nginx (http and stream), HAProxy and nft: thousands of clients of either family,
and those at the very edges of parts (XDP_CANARY_SEED repeats a run); both orders, up to four parts.
"""
import os
import random
import shutil
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import splits  # noqa: E402
from cli_box import BoxTest, Box, config, service, why_not  # noqa: E402
from splits import Split, decide  # noqa: E402

SEED = int(os.environ.get("XDP_CANARY_SEED", random.SystemRandom().randrange(1 << 32)))
CLIENTS = 1500  # of each family, besides neighbours

FIRST, LAST = ("canary", "stable"), ("stable", "canary")
MIDDLE, THREE = ("canary", "stable", "b"), ("stable", "canary", "b")
FOUR = ("c", "stable", "canary", "b")

NGINX = [
    Split("nginx", FIRST, {"canary": 50000}),
    Split("nginx", LAST, {"canary": 50000}),
    Split("nginx", FIRST, {"canary": 100}),
    Split("nginx", LAST, {"canary": 999900}),
    Split("nginx", FIRST, {"canary": 0}),
    Split("nginx", LAST, {"canary": 1000000}),
    Split("nginx", MIDDLE, {"canary": 333300, "b": 123400}),
    Split("nginx", THREE, {"canary": 700, "b": 500000}),
    Split("nginx", FOUR, {"canary": 100000, "b": 66600, "c": 33300}),
    Split("nginx", FOUR, {"canary": 600000, "b": 0, "c": 400000}),
]
HAPROXY = [
    Split("haproxy-crc32", FIRST, {"canary": 50000}),
    Split("haproxy-crc32", LAST, {"canary": 50000}),
    Split("haproxy-crc32", LAST, {"canary": 1000000}),
    Split("haproxy-crc32", MIDDLE, {"canary": 333000, "b": 1000}, modulus=1000),
    Split("haproxy-crc32", THREE, {"canary": 333333, "b": 333333}, modulus=3),
    Split("haproxy-crc32", FOUR, {"canary": 100006, "b": 15, "c": 250000}, modulus=65536),
    Split("haproxy-crc32", LAST, {"canary": 300000}, prefix4=24, prefix6=64),
]
NFT = [
    Split("nft-jhash", FIRST, {"canary": 50000}),
    Split("nft-jhash", LAST, {"canary": 50000}, seed=0xDEADBEEF),
    Split("nft-jhash", FIRST, {"canary": 1000000}, seed=7),
    Split("nft-jhash", MIDDLE, {"canary": 333000, "b": 1000}, modulus=1000, seed=4294967295),
    Split("nft-jhash", THREE, {"canary": 333333, "b": 333333}, modulus=3, seed=1),
    Split("nft-jhash", FOUR, {"canary": 100006, "b": 15, "c": 250000}, modulus=65536, seed=5),
    Split("nft-jhash", LAST, {"canary": 300000}, seed=9, prefix4=24, prefix6=64),
]


def service_of(split, number):
    """The split as a service of its own."""
    names = [name for name in splits.COHORTS if name in split.order]
    options = {"order": list(split.order)}
    client = {}
    if split.hash != "nginx":
        options["modulus"] = split.modulus
    if split.hash == "nft-jhash":
        options["seed"] = split.seed
    if (split.prefix4, split.prefix6) != (32, 128):
        client = {"prefix4": split.prefix4, "prefix6": split.prefix6}
    made = service("s%d" % number, number + 1, hash=split.hash, hash_options=options, client=client)
    made["vips"].append("[2001:db8:fffe::%x]:443/tcp" % (number + 1))
    backend = made["cohorts"][0]["backends"][0]
    made["cohorts"] = [{"name": name, "backends": [
        {**backend, "address": "10.0.%d.%d" % (number + 1, place + 1)}]}
        for place, name in enumerate(names)]
    made["rules"][0]["allocate"] = {name: "%dppm" % share for name, share in split.shares.items()}
    return made


class SplitTest(BoxTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for program in ("nginx", "haproxy", "nft", "ss"):
            if not shutil.which(program):
                raise unittest.SkipTest("needs " + program)
        if not os.path.exists(splits.NGINX_STREAM):
            raise unittest.SkipTest("needs libnginx-mod-stream")

    def setUp(self):
        super().setUp()
        self.rng = random.Random(SEED)
        self.tools = splits.Tools(self.box)

    def clients(self, wanted):
        """Random ones of both families, and the neighbours of every edge of @wanted."""
        clients = {splits.text_of(splits.random_client(size, self.rng))
                   for size in (4, 16) for _ in range(CLIENTS)}
        for split in wanted:
            clients.update(splits.neighbours(split, self.rng))
        return sorted(clients)

    def apply(self, wanted):
        self.path = self.box.write(config(*map(service_of, wanted, range(len(wanted)))))
        self.box.settle_secret()
        self.succeeds(self.box("apply", "-f", self.path))

    def explained(self, number, clients, *flags):
        listed = self.box.write("\n".join(clients) + "\n", "clients.txt")
        answer = self.succeeds(self.box("-j", "explain", "s%d" % number, "--input", listed, *flags))
        return list(map(splits.json.loads, answer.out.splitlines()))

    def compare(self, wanted, clients, answers, who):
        """The loaded program, and the file with nothing loaded, against the tool's answers."""
        for number, split in enumerate(wanted):
            cohorts = {}
            for flags in ((), ("-f", self.path)):
                for client, one in zip(clients, self.explained(number, clients, *flags)):
                    cohorts.setdefault(one["cohort"], set()).add(client)
                    self.assertEqual(answers[client][number], one["cohort"],
                                     "%s, client %s, hash %d, %s, seed %d"
                                     % (who, client, one["hash"], split, SEED))
            self.assertEqual(set(cohorts), {name for name, _ in split.parts()}, split)
        print("%s: %d clients, %d splits, no difference, seed %d"
              % (who, len(clients), len(wanted), SEED))

    def test_clients_are_where_nginx_has_them_in_http_and_stream(self):
        clients = self.clients(NGINX)
        self.apply(NGINX)
        self.tools.start_nginx(NGINX)
        answers = self.tools.visit(clients, splits.NGINX_PORT)
        self.assertEqual(answers, self.tools.visit(clients, splits.STREAM_PORT, "tcp"))
        self.compare(NGINX, clients, answers, "nginx http and stream")

    def test_clients_are_where_haproxy_has_them(self):
        clients = self.clients(HAPROXY)
        self.apply(HAPROXY)
        self.tools.start_haproxy(HAPROXY)
        self.compare(HAPROXY, clients, self.tools.visit(clients, splits.HAPROXY_PORT), "HAProxy")

    def test_clients_are_where_nft_has_them(self):
        clients = self.clients(NFT)
        self.apply(NFT)
        self.tools.start_nft(NFT)
        self.compare(NFT, clients, self.tools.ask_nft(clients, NFT), "nft")

    def test_on_a_dual_stack_socket_an_ipv4_client_is_the_16_bytes_of_its_mapped_address(self):
        """So `hash:` does not split IPv4 as they do there; HAProxy's ipmask makes it IPv4 again."""
        self.tools.start_nginx(NGINX)
        self.tools.start_haproxy(HAPROXY)
        clients = [splits.text_of(splits.random_client(4, self.rng)) for _ in range(200)]
        nginx = self.tools.visit(clients, splits.DUAL_PORT)
        haproxy = self.tools.visit(clients, splits.HAPROXY_PORT + 100)
        reference = [decide.Split(split.hash, {"order": list(split.order)},
                                  [name for name in splits.COHORTS if name in split.order])
                     for split in NGINX]
        moved = 0
        for client in clients:
            packed = decide.Address.parse(client).packed()
            mapped = bytes(10) + b"\xff\xff" + packed
            for number, split in enumerate(NGINX):
                units = {name: share // 100 for name, share in split.shares.items()}
                there, here = (reference[number].holder(decide.murmur2(key), units)
                               for key in (mapped, packed))
                self.assertEqual(nginx[client][number], there, (client, split, SEED))
                moved += there != here
            self.assertEqual(haproxy[client], [str(splits.zlib.crc32(mapped)),
                                               str(splits.zlib.crc32(packed))], (client, SEED))
        self.assertGreater(moved, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
