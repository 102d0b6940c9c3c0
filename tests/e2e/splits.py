# SPDX-License-Identifier: GPL-2.0-only
"""The real nginx, HAProxy and nft, told to split clients as services of xdp-canary are.

A Split is a service's hash, order and shares. Each tool is configured for many of them at once, so
that one visit of a client tells what all of them decide: nginx and HAProxy answer with the cohorts,
one a word; nft keeps them in a set. Clients come from any address: every address is local here.

As a program, inside of the namespace: visits ADDRESS4 ADDRESS6 PORT for each client of stdin, and
prints the client and what it was answered. KIND: http, tcp (says nothing, and listens) or udp.
"""

import dataclasses
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import time
import zlib

import numpy

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "reference"))
import decide  # noqa: E402

COHORTS = ("stable", "canary", "b", "c")
SERVER4, SERVER6 = "198.18.0.1", "2001:db8:ffff::1"
NGINX_PORT, STREAM_PORT, HAPROXY_PORT, DUAL_PORT, NFT_PORT = 8001, 8002, 8003, 8004, 9
NGINX_STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
MILLION, HASHES = 1000000, 1 << 32


@dataclasses.dataclass(frozen=True)
class Split:
    hash: str
    order: tuple
    shares: dict  # of canaries, in ppm
    modulus: int = 100
    seed: int = 0
    prefix4: int = 32
    prefix6: int = 128

    def parts(self):
        """(cohort, share in ppm, share in the tool's units) of those that have one, in order."""
        whole = 10000 if self.hash == "nginx" else self.modulus
        units = {name: round(share * whole / MILLION) for name, share in self.shares.items()}
        units["stable"] = whole - sum(units.values())
        return [(name, units[name]) for name in self.order if units[name]]

    def ends(self):
        """Where parts end in the tool's hash space, but the last."""
        sizes = [units * 0xFFFFFFFF // 10000 if self.hash == "nginx" else units
                 for _, units in self.parts()]
        return list(itertools.accumulate(sizes[:-1]))


# What they are told.

def nginx_block(name, split):
    lines = ["  %d.%02d%% %s;" % (*divmod(units, 100), cohort) for cohort, units in split.parts()]
    lines[-1] = "  * %s;" % split.parts()[-1][0]
    return "split_clients $binary_remote_addr $%s {\n%s\n}\n" % (name, "\n".join(lines))


def nginx_configuration(directory, splits):
    names = ["s%d" % number for number in range(len(splits))]
    blocks = "".join(map(nginx_block, names, splits))
    answer = " ".join("$" + name for name in names)
    return f"""
load_module {NGINX_STREAM};
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log {directory}/nginx.log;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
access_log off;
variables_hash_max_size 4096;
client_body_temp_path {directory}/body;
proxy_temp_path {directory}/proxy;
fastcgi_temp_path {directory}/fastcgi;
uwsgi_temp_path {directory}/uwsgi;
scgi_temp_path {directory}/scgi;
{blocks}
server {{
  listen {SERVER4}:{NGINX_PORT};
  listen [{SERVER6}]:{NGINX_PORT};
  listen [::]:{DUAL_PORT} ipv6only=off;
  location / {{ return 200 "{answer}"; }}
}}
}}
stream {{
variables_hash_max_size 4096;
{blocks}
server {{
  listen {SERVER4}:{STREAM_PORT};
  listen [{SERVER6}]:{STREAM_PORT};
  return "{answer}";
}}
}}
"""


def haproxy_rules(name, split):
    source = "src" if (split.prefix4, split.prefix6) == (32, 128) else \
        "src,ipmask(%d,%d)" % (split.prefix4, split.prefix6)
    ends, rules = split.ends(), []
    for (cohort, _), start, end in zip(split.parts(), [0] + ends, ends + [None]):
        conditions = "{ %s,crc32,mod(%d) ge %d }" % (source, split.modulus, start)
        if end is not None:
            conditions += " { %s,crc32,mod(%d) lt %d }" % (source, split.modulus, end)
        rules.append(f"  http-request set-var(txn.{name}) str({cohort}) if {conditions}\n")
    return "".join(rules)


DUAL_ANSWER = "%[src,crc32] %[src,ipmask(32,128),crc32]"


def haproxy_configuration(splits):
    names = ["s%d" % number for number in range(len(splits))]
    answer = " ".join("%%[var(txn.%s)]" % name for name in names)
    return f"""
global
  maxconn 4096
  nbthread 1
defaults
  mode http
  timeout connect 10s
  timeout client 10s
  timeout server 10s
frontend all
  bind {SERVER4}:{HAPROXY_PORT}
  bind [{SERVER6}]:{HAPROXY_PORT}
{"".join(map(haproxy_rules, names, splits))}
  http-request return status 200 content-type text/plain lf-string "{answer}"
frontend dual
  bind :::{HAPROXY_PORT + 100} v4v6
  http-request return status 200 content-type text/plain lf-string "{DUAL_ANSWER}"
"""


def nft_configuration(splits):
    """The cohort is a mark, by its place among all cohorts."""
    sets, rules = [], []
    for (number, split), family in itertools.product(enumerate(splits), (4, 6)):
        source, length = ("ip saddr", split.prefix4) if family == 4 else \
            ("ip6 saddr", split.prefix6)
        whole, steps = 32 if family == 4 else 128, ""
        if length < whole:  # nft 1.0.6 does not take a map of a masked hash in one step
            source_mask = decide.Address(family, (1 << whole) - 1).masked(length)
            source, steps = "%s & %s" % (source, source_mask), "meta mark set meta mark "
        ends = split.ends()
        ranges = ", ".join("%d-%d : %d" % (start, end - 1, COHORTS.index(cohort))
                           for (cohort, _), start, end in
                           zip(split.parts(), [0] + ends, ends + [split.modulus]))
        name = "s%d_%d" % (number, family)
        address = source.split(" &")[0]
        sets.append("  set %s {\n    typeof %s . meta mark\n    flags dynamic\n"
                    "    size 65536\n  }\n" % (name, address))
        rules.append("    udp dport %d meta mark set jhash %s mod %d seed 0x%x %smap { %s } "
                     "add @%s { %s . meta mark }\n" % (NFT_PORT, source, split.modulus, split.seed,
                                                       steps, ranges, name, address))
    return "table inet splits {\n%s  chain input {\n    type filter hook input priority 0\n%s" \
           "    udp dport %d drop\n  }\n}\n" % ("".join(sets), "".join(rules), NFT_PORT)


# The namespace, and who runs in it.

class Tools:
    """The three, in the network namespace of a Box, which ends them."""

    def __init__(self, box):
        self.box = box
        settings = ("net.ipv6.ip_nonlocal_bind=1", "net.ipv4.ip_local_port_range=1024 65535",
                    *("net.ipv4.conf.%s.rp_filter=0" % which for which in ("all", "default", "lo")))
        for setting in settings:
            self.run("sysctl", "-qw", setting)
        box.ip("address", "flush", "dev", "v0")  # a client may have any address of its network, too
        box.ip("route", "add", "local", "0.0.0.0/0", "dev", "lo")
        box.ip("-6", "route", "add", "local", "::/0", "dev", "lo")
        box.ip("address", "add", SERVER4 + "/32", "dev", "lo")
        box.ip("address", "add", SERVER6 + "/128", "dev", "lo", "nodad")

    def run(self, *words, **options):
        done = subprocess.run(self.box.inside(*words), capture_output=True, text=True, **options)
        if done.returncode:
            raise AssertionError("%s: %s" % (words, done.stderr))
        return done.stdout

    def _start(self, *words, port):
        log = open(os.path.join(self.box.directory, words[0] + ".out"), "w+", encoding="utf-8")
        process = subprocess.Popen(self.box.inside(*words), stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT)
        self.box.processes.append(process)
        end = time.monotonic() + 20
        while ":%d " % port not in self.run("ss", "-Hltn"):
            if process.poll() is not None or time.monotonic() > end:
                log.seek(0)
                raise AssertionError("%s does not start: %s" % (words[0], log.read()))
            time.sleep(0.02)
        log.close()

    def start_nginx(self, splits):
        path = self.box.write(nginx_configuration(self.box.directory, splits), "nginx.conf")
        self._start("nginx", "-c", path, "-p", self.box.directory, "-e",
                    os.path.join(self.box.directory, "nginx.log"), port=STREAM_PORT)

    def start_haproxy(self, splits):
        path = self.box.write(haproxy_configuration(splits), "haproxy.cfg")
        self._start("haproxy", "-db", "-f", path, port=HAPROXY_PORT + 100)

    def start_nft(self, splits):
        self.run("nft", "-f", self.box.write(nft_configuration(splits), "splits.nft"))

    def visit(self, clients, port, kind="http"):
        """{client: words that it was answered}"""
        lines = self.run("/usr/bin/python3", os.path.abspath(__file__), SERVER4, SERVER6, str(port),
                         kind, input="\n".join(clients)).splitlines()
        return {line.split()[0]: line.split()[1:] for line in lines}

    def ask_nft(self, clients, splits):
        """The same as visit(): of all @splits."""
        self.visit(clients, NFT_PORT, "udp")
        listed = json.loads(self.run("nft", "-j", "list", "table", "inet", "splits"))["nftables"]
        sets = {entry["set"]["name"]: entry["set"].get("elem", []) for entry in listed
                if "set" in entry}
        answers = {client: [None] * len(splits) for client in clients}
        for number, family in itertools.product(range(len(splits)), (4, 6)):
            for element in sets["s%d_%d" % (number, family)]:
                client, mark = element["concat"]
                answers[client][number] = COHORTS[mark]
        return answers


def visit_all(server4, server6, port, kind, clients):
    for client in clients:
        family, server = (socket.AF_INET6, server6) if ":" in client else (socket.AF_INET, server4)
        with socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as s:
            s.settimeout(20)
            s.bind((client, 0))
            s.connect((server, port))
            if kind != "tcp":
                s.send(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while kind != "udp":
                piece = s.recv(65536)
                if not piece:
                    break
                answer += piece
        print(client, answer.decode().split("\r\n\r\n")[-1])


# Clients at the edges of parts.

def invert_shift(value, shift):
    """x of value = x ^ x >> shift."""
    result = value
    for _ in range(32 // shift):
        result = value ^ result >> shift
    return result


def client_of_murmur2(h, words):
    """The address that begins with @words and whose MurmurHash2 is @h."""
    m, mask, size = 0x5BD1E995, HASHES - 1, 4 * (len(words) + 1)
    inverse = pow(m, -1, HASHES)
    before = size
    for k in words:
        k = k * m & mask
        before = before * m & mask ^ (k ^ k >> 24) * m & mask
    h = invert_shift(invert_shift(h, 15) * inverse & mask, 13)
    k = (h ^ before * m & mask) * inverse & mask
    k = invert_shift(k, 24) * inverse & mask
    return b"".join(word.to_bytes(4, "little") for word in (*words, k))


def client6_of_jhash(h, seed, rng):
    """An IPv6 address whose jhash is @h: any of 2^96."""
    mask = HASHES - 1
    initial = (0xDEADBEEF + 16 + seed) & mask

    def rol(value, count):
        return (value << count | value >> (32 - count)) & mask

    a, b, c = rng.getrandbits(32), rng.getrandbits(32), h
    for x, turn in zip("cbacbac", (24, 14, 4, 16, 25, 11, 14)):
        if x == "c":
            c = (c + rol(b, turn) & mask) ^ b
        elif x == "b":
            b = (b + rol(a, turn) & mask) ^ a
        else:
            a = (a + rol(c, turn) & mask) ^ c
    last = rng.getrandbits(32)
    a = a - last & mask
    for x, turn in zip("cbacba", (4, 19, 16, 8, 6, 4)):
        if x == "c":
            b = b - a & mask
            c = (c ^ rol(b, turn)) + b & mask
        elif x == "b":
            a = a - c & mask
            b = (b ^ rol(a, turn)) + a & mask
        else:
            c = c - b & mask
            a = (a ^ rol(c, turn)) + c & mask
    words = [word - initial & mask for word in (a, b, c)] + [last]
    return b"".join(word.to_bytes(4, "little") for word in words)


def jhash4_of_all(addresses, seed):
    """jhash of many IPv4 addresses, given as little-endian words."""
    def rol(value, count):
        return value << numpy.uint32(count) | value >> numpy.uint32(32 - count)

    initial = numpy.uint32((0xDEADBEEF + 4 + seed) & (HASHES - 1))
    a = addresses + initial
    b = numpy.full_like(addresses, initial)
    c = b.copy()
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - rol(b, turn)
        a, b, c = b, c, a
    return b


def usable(packed):
    """An address that a client can have here."""
    if len(packed) == 4:
        return packed[0] not in (0, 127) and packed[0] < 224
    return packed[0] & 0xE0 == 0x20


def text_of(packed):
    kind = decide.Address(4 if len(packed) == 4 else 6, int.from_bytes(packed, "big"))
    return str(kind)


def neighbours(split, rng):
    """Clients at the end of each part, a hash before it and one after it, as near as there are."""
    find = {"nginx": nginx_neighbours, "haproxy-crc32": crc32_neighbours,
            "nft-jhash": jhash_neighbours}[split.hash]
    return list(map(text_of, find(split, rng)))


def nginx_neighbours(split, rng):
    for end, step in itertools.product(split.ends(), (-1, 0, 1)):
        for far in itertools.count():  # IPv4: one address a hash, which may be of no client
            found = client_of_murmur2((end + step + far * (step or 1)) % HASHES, [])
            if usable(found):
                yield found
                break
        high = int.from_bytes(bytes.fromhex("20010db8"), "little")
        yield client_of_murmur2((end + step) % HASHES,
                                [high, rng.getrandbits(32), rng.getrandbits(32)])


def random_client(size, rng):
    while True:
        packed = rng.getrandbits(8 * size).to_bytes(size, "big")
        if size == 16:
            packed = bytes.fromhex("20010db8") + packed[4:]
        if usable(packed):
            return packed


def crc32_neighbours(split, rng):
    wanted = {(end + step) % split.modulus for end in split.ends() for step in (-1, 0, 1)}
    for size in (4, 16):
        left = set(wanted)
        while left:
            client = random_client(size, rng)
            address = decide.Address(4 if size == 4 else 6, int.from_bytes(client, "big"))
            masked = address.masked(split.prefix4 if size == 4 else split.prefix6)
            residue = zlib.crc32(masked.packed()) % split.modulus
            if residue in left:
                left.remove(residue)
                yield client


def jhash_neighbours(split, rng):
    edges = [-(-end * HASHES // split.modulus) for end in split.ends()]
    if split.prefix6 == 128:
        for edge, step in itertools.product(edges, (-1, 0, 1)):
            while True:
                found = client6_of_jhash((edge + step) % HASHES, split.seed, rng)
                if usable(found):
                    yield found
                    break
    if split.prefix4 < 32:
        return
    first = rng.randrange(1, 120)  # 2^24 addresses come within some 256 hashes of an edge
    addresses = numpy.arange(1 << 24, dtype=numpy.uint32) << numpy.uint32(8) | numpy.uint32(first)
    hashes = jhash4_of_all(addresses, split.seed)
    for edge in edges:
        distance = hashes - numpy.uint32(edge % HASHES)
        for nearest in (distance.argmin(), distance.argmax()):
            yield int(addresses[nearest]).to_bytes(4, "little")


if __name__ == "__main__":
    visit_all(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.stdin.read().split())
