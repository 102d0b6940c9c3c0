#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Reference of the decision: which cohort and which backend a client's flow gets, and why.

This is a second, independent statement of what headers/, bpf/ and user/ compute, written from the
text of the contract ("The decision, exactly") and from none of the C code. Tests compare the
loaded program and `explain` with it, flow by flow. It is a reference for: reduction of clients,
tokens, hashes, thresholds, slots and shares, pins, holdout, rules, live shares, the hashes and
parts of other tools (`hash:`), and each cohort's ring of backends. It is none for: validation (it
checks what it needs, and ignores keys that decide nothing), affinity, health, latches other than
kill, `enforce`, next hops. Config, secret, pins and shares are read once; nothing is ever written
but the answers.

    decide.py CONFIG.yaml --secret-file FILE [--pins PINS.json] [--shares SHARES.json]
              [--to VIP]... [--killed] SERVICE < flows

A flow is a line: CLIENT, IPV4:PORT or [IPV6]:PORT, and after a space the UDP payload of a packet of
it, in hex; blank lines and `#` lines are skipped. Without a port it is 40000, and without a payload
there is none. With client key `quic` the answer is that to a packet that names no server. It goes
to the VIP of --to (once a family; then flows of a family not given are bad lines), by default to
the service's first of the client's family; where that has any port, to port 80 unless --to names
one. Answers are JSON objects, one a line, in order. A bad line is an error on stderr, has no
answer, and makes exit 1.

    client         reduced to the service's client key; /32 and /128 left out
    cohort         where the flow goes: with cohort_down and no_backend this is control
    reason         killed, override, holdout, rule, default, cohort_down, no_backend
    rule           the deciding rule's name, or null (killed, override, holdout)
    hash           h (of haproxy-crc32 and nft-jhash below the modulus); holdout_hash: h'; token: 16
                   hex digits
    share_ppm      effective share, in the deciding rule, of the cohort that the rule gave (not of
                   the control that cohort_down makes of it); control's is the rest; null with rule
    enters_at_ppm  least share at which the client is in the canary whose slot holds it; else null.
                   With another tool's hash, where there are no slots: in the canary that has it,
                   or else the first in the file that some share would give it
    backend        address; null with no_backend

PINS.json    [{"service": "api", "client": "192.0.2.0/24", "cohort": "canary"}, ...], later wins
SHARES.json  [{"service": "api", "rule": "default", "cohort": "canary", "share_ppm": 10000}, ...]
"""

import argparse
import ipaddress
import json
import re
import struct
import sys
import zlib
from fractions import Fraction
from typing import NamedTuple

import yaml

MASK64 = (1 << 64) - 1
MILLION = 1000000
ZERO_KEY = bytes(16)
HOLDOUT_SALT = "xdp-canary/holdout"
PROTOCOLS = {"tcp": 6, "udp": 17}
DEFAULT_SOURCE_PORT = 40000
DEFAULT_ANY_PORT = 80
BITS = {4: 32, 6: 128}


class BadInput(ValueError):
    """Bad input, or input that this reference is none for."""


# Hashes.

def siphash13(key, data):
    """SipHash-1-3 of `data`, 64 bits; the 16 bytes of `key` are two little-endian words."""
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573
    length = len(data)
    padded = data + bytes(7 - length % 8) + bytes((length & 0xFF,))
    words = struct.unpack("<%dQ" % (len(padded) // 8), padded)
    # After the last word come three rounds without input, before the first of which v2 changes.
    for number, word in enumerate(words + (0, 0, 0)):
        if number == len(words):
            v2 ^= 0xFF
        v3 ^= word
        v0 = (v0 + v1) & MASK64
        v1 = ((v1 << 13 | v1 >> 51) & MASK64) ^ v0
        v0 = (v0 << 32 | v0 >> 32) & MASK64
        v2 = (v2 + v3) & MASK64
        v3 = ((v3 << 16 | v3 >> 48) & MASK64) ^ v2
        v0 = (v0 + v3) & MASK64
        v3 = ((v3 << 21 | v3 >> 43) & MASK64) ^ v0
        v2 = (v2 + v1) & MASK64
        v1 = ((v1 << 17 | v1 >> 47) & MASK64) ^ v2
        v2 = (v2 << 32 | v2 >> 32) & MASK64
        v0 ^= word
    return v0 ^ v1 ^ v2 ^ v3


def fmix64(value):
    """MurmurHash3's 64-bit finalizer."""
    value = (value ^ value >> 33) * 0xFF51AFD7ED558CCD & MASK64
    value = (value ^ value >> 33) * 0xC4CEB9FE1A85EC53 & MASK64
    return value ^ value >> 33


def salt64(text):
    return siphash13(ZERO_KEY, text.encode())


def cohort_hash(token, salt):
    """h, or with the holdout's salt h': 32 bits."""
    return fmix64(token ^ salt) >> 32


# The hashes of other tools, of the 4 or 16 bytes of an address. All words are little-endian.

MASK32 = (1 << 32) - 1


def words32(data):
    return struct.unpack("<%dI" % (len(data) // 4), data)


def murmur2(data):
    """Appleby's MurmurHash2 of 32 bits, seed 0, as nginx has it (src/core/ngx_murmurhash.c)."""
    m, h = 0x5BD1E995, len(data)
    for k in words32(data):
        k = k * m & MASK32
        k = (k ^ k >> 24) * m & MASK32
        h = h * m & MASK32 ^ k
    h = (h ^ h >> 13) * m & MASK32
    return h ^ h >> 15


def jhash(data, seed):
    """Linux's jhash() of <linux/jhash.h>: Bob Jenkins' lookup3."""
    def rol(value, count):
        return (value << count | value >> (32 - count)) & MASK32

    a = b = c = (0xDEADBEEF + len(data) + seed) & MASK32
    words = list(words32(data))
    while len(words) > 3:
        a, b, c = ((x + word) & MASK32 for x, word in zip((a, b, c), words))
        del words[:3]
        for turn in (4, 6, 8, 16, 19, 4):
            # Each step is the first with the three in turn: a -= c, a ^= c <<< turn, c += b.
            a, c = (a - c) & MASK32 ^ rol(c, turn), (c + b) & MASK32
            a, b, c = b, c, a
    a, b, c = ((x + word) & MASK32 for x, word in zip((a, b, c), words + [0, 0]))
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = (c ^ b) - rol(b, turn) & MASK32
        a, b, c = b, c, a
    return b


NGINX_WHOLE, NGINX_HASHES = 10000, 0xFFFFFFFF


class Split:
    """Another tool's hash, and the parts of its hash space that its configuration would have.

    `hash` and `hash_options` are those of the service, `names` its cohorts, the control first.
    """

    def __init__(self, name, options, names):
        self.name = name
        self.names = list(names)
        self.modulus = number(options.get("modulus", "100"), 1, 65536, "modulus")
        self.seed = number(options.get("seed", "0"), 0, MASK32, "seed")
        self.order = options.get("order", self.names)
        if sorted(self.order) != sorted(self.names):
            raise BadInput("order: not every cohort once")
        self.whole = NGINX_WHOLE if name == "nginx" else self.modulus

    def hash(self, client):
        data = client.packed()
        if self.name == "nginx":
            return murmur2(data)
        if self.name == "haproxy-crc32":
            return zlib.crc32(data) % self.modulus
        return jhash(data, self.seed) * self.modulus >> 32

    def units(self, ppm):
        """How many 1/whole a share is: the number to which it comes nearer than 1 ppm."""
        near = [units for units in (ppm * self.whole // MILLION, -(-ppm * self.whole // MILLION))
                if abs(Fraction(units * MILLION, self.whole) - ppm) < 1]
        if not near:
            raise BadInput("share of %d ppm: %s has none such" % (ppm, self.name))
        return near[0]

    def size(self, units):
        return units * NGINX_HASHES // NGINX_WHOLE if self.name == "nginx" else units

    def holder(self, h, units):
        """The cohort that has h, at so many units of each canary."""
        units = {**units, self.names[0]: self.whole - sum(units.values())}
        parts = [name for name in self.order if units[name]]
        end = 0
        for name in parts[:-1]:
            end += self.size(units[name])
            if h < end:
                return name
        return parts[-1]

    def least(self, h, units, name):
        """The least units of canary `name` at which it has h, or None; of others as in `units`."""
        def reaches(count):
            """Whether the end of the part that moves with its share has come to h."""
            if control_first:
                return before + self.size(free - count) <= h
            return count == free and is_last or h < before + self.size(count)

        control = self.names[0]
        at = self.order.index(name)
        control_first = self.order.index(control) < at
        free = self.whole - sum(units.values()) + units[name]
        before = sum(self.size(units[other]) for other in self.order[:at] if other != control)
        is_last = not any(units.get(other) for other in self.order[at + 1:])
        if not free or not control_first and before > h or not reaches(free):
            return None
        low, high = 1, free
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if reaches(middle) else (middle + 1, high)
        # Its other end moves too, but by rounding alone: that of nginx's parts one by one.
        while low <= free and self.holder(h, {**units, name: low}) != name:
            low += 1
            if self.name != "nginx":
                return None
        return low if low <= free else None

    def enters_at(self, h, shares):
        """The least share at which a canary has h, others' being as they are: of the one that has
        it now, or else of the first in the file that can."""
        units = {name: self.units(share) for name, share in shares.items()}
        now = self.holder(h, units)
        for name in self.names[1:] if now == self.names[0] else [now]:
            count = self.least(h, units, name)
            if count is not None:
                return count * MILLION // self.whole
        return None


# Shares and slots.

def threshold(ppm):
    """T(ppm): how many of the 2^32 hashes lie below a share."""
    return (ppm << 32) // MILLION


def slot_length(start, width):
    return threshold(start + width) - threshold(start)


def in_canary(h, start, width, share):
    """Whether the canary with slot [start, start + width) ppm holds h at `share` ppm."""
    first = threshold(start)
    return first <= h < first + min(threshold(share), slot_length(start, width))


def enters_at(h, start, width):
    """The least share in ppm at which the canary holds h; None where no share up to width does."""
    distance = h - threshold(start)
    if not 0 <= distance < slot_length(start, width):
        return None
    share = -(-(distance + 1) * MILLION >> 32)  # ceil((distance + 1) * 10^6 / 2^32)
    return share if share <= width else None


# Addresses.

class Address(NamedTuple):
    family: int
    value: int

    @classmethod
    def parse(cls, text):
        """An address; IPv4-mapped IPv6 is IPv4."""
        try:
            if "%" in text:
                raise ValueError
            address = ipaddress.ip_address(text)
        except ValueError:
            raise BadInput("%r: not an address" % text) from None
        return cls.of(address.version, int(address))

    @classmethod
    def of(cls, family, value):
        if family == 6 and value >> 32 == 0xFFFF:
            return cls(4, value & 0xFFFFFFFF)
        return cls(family, value)

    def masked(self, length):
        host = BITS[self.family] - length
        return Address(self.family, self.value >> host << host)

    def packed(self):
        return self.value.to_bytes(BITS[self.family] // 8, "big")

    def __str__(self):
        kind = ipaddress.IPv4Address if self.family == 4 else ipaddress.IPv6Address
        return str(kind(self.value))


def client_text(address, length):
    return str(address) if length == BITS[address.family] else "%s/%d" % (address, length)


def parse_prefix(text):
    """(address without host bits, length); a prefix of mapped addresses is one of IPv4."""
    head, slash, tail = text.partition("/")
    address = Address.parse(head)
    if not slash:
        return address, BITS[address.family]
    length = number(tail, 0, 128, "prefix length")
    if address.family == 4 and ":" in head:
        if length < 96:
            raise BadInput("%r: an IPv6 prefix of more than the mapped addresses" % text)
        length -= 96
    if length > BITS[address.family]:
        raise BadInput("%r: prefix length too great" % text)
    return address.masked(length), length


def number(text, least, greatest, what):
    if not re.fullmatch(r"0|[1-9][0-9]*", text) or not least <= int(text) <= greatest:
        raise BadInput("%s %r: not in %d to %d" % (what, text, least, greatest))
    return int(text)


def percent(text):
    """ppm of `5%`, `0.01%`, `100ppm` or `5` (which is a percentage)."""
    match = re.fullmatch(r"((?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(%|ppm)?", text)
    if not match:
        raise BadInput("percent %r: not a percentage" % text)
    ppm = Fraction(match[1]) * (1 if match[2] == "ppm" else 10000)
    if ppm.denominator != 1 or ppm > MILLION:
        raise BadInput("percent %r: not in whole ppm of 0 to 100%%" % text)
    return int(ppm)


# Backends.

class Backend(NamedTuple):
    address: Address
    port: int  # 0: none given
    weight: int

    def seed(self):
        return siphash13(ZERO_KEY, self.address.packed() + struct.pack(">H", self.port))


class Ring:
    """A cohort's backends of weight > 0, and which of them each slot belongs to.

    Maglev's preference lists, filled by credit until every backend has its quota: its weight's part
    of the slots by largest remainder, at least one. A pure function of the set of (address, port,
    weight).
    """

    def __init__(self, backends):
        self.backends = sorted(backend for backend in backends if backend.weight > 0)
        self.owners = [0] if len(self.backends) == 1 else self._filled()

    def _filled(self):
        weights = [backend.weight for backend in self.backends]
        if not weights:
            return []
        size = max(1024, 1 << (100 * len(weights) - 1).bit_length())
        left = quotas(weights, size)
        preferences = [preference_list(backend.seed(), size) for backend in self.backends]
        owners, credits, greatest = [None] * size, [0] * len(weights), max(weights)
        while any(left):
            for index, weight in enumerate(weights):
                credits[index] += weight
                if credits[index] < greatest:
                    continue
                credits[index] -= greatest
                if left[index]:
                    slot = next(slot for slot in preferences[index] if owners[slot] is None)
                    owners[slot] = index
                    left[index] -= 1
        return owners

    def choose(self, r):
        """The backend of a 32-bit hash."""
        return self.backends[self.owners[r * len(self.owners) >> 32]]


def quotas(weights, size):
    """Hamilton's method, but nobody gets less than one slot; the greatest give what that lacks."""
    total = sum(weights)
    exact = [Fraction(size * weight, total) for weight in weights]
    result = [max(1, int(share)) for share in exact]
    rank = sorted(range(len(weights)), key=lambda i: (-(exact[i] % 1 if exact[i] >= 1 else 0), i))
    spare = size - sum(result)
    for index in rank[:max(spare, 0)]:
        result[index] += 1
    for _ in range(-spare):
        result[result.index(max(result))] -= 1
    return result


def preference_list(seed, size):
    """All slots in the order in which a backend wants them: an iterator, taken slots stay taken."""
    skip = (seed & 0xFFFFFFFF) % size | 1
    offset = (seed >> 32) % size
    return ((offset + step * skip) % size for step in range(size))


def flow_mix(source, source_port, destination_port):
    """F of `balance: flow`; the source is unmasked."""
    high, low = source.value >> 64, source.value & MASK64
    ports = (low << 32 | source_port << 16 | destination_port) & MASK64
    return (ports * 0xD6E8FEB86659FD93 ^ (high + (low >> 32)) * 0xA0761D6478BD642F) & MASK64


def ring_hash(token, mix):
    return fmix64(token ^ 0x9E3779B97F4A7C15 ^ mix) >> 32


# The policy of one service.

class Vip(NamedTuple):
    address: Address
    port: int  # 0: any
    protocol: int

    @classmethod
    def parse(cls, text):
        match = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\]]+)):(\*|[0-9]+)/(tcp|udp)", text)
        if not match:
            raise BadInput("vip %r: not ADDRESS:PORT/PROTO" % text)
        try:
            address = ipaddress.ip_address(match[1] or match[2])
        except ValueError:
            raise BadInput("vip %r: not an address" % text) from None
        if address.version != (6 if match[1] else 4):
            raise BadInput("vip %r: brackets are for IPv6" % text)
        port = 0 if match[3] == "*" else number(match[3], 1, 65535, "port")
        return cls(Address(address.version, int(address)), port, PROTOCOLS[match[4]])


class Flow(NamedTuple):
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    protocol: int
    payload: bytes = b""  # of UDP

    def key(self):
        if self.source.family != self.destination.family:
            raise BadInput("flow key of a mapped source to an IPv6 VIP: not specified")
        return (self.source.packed() + self.destination.packed()
                + struct.pack(">HHB", self.source_port, self.destination_port, self.protocol))


class Rule(NamedTuple):
    name: str
    segment: object  # name, or None: the default rule
    shares: dict  # effective, of every canary: name -> ppm

    def given(self, h, slots, split):
        """The canary that holds h in this rule, or the control's name or None."""
        if split:
            return split.holder(h, {name: split.units(share)
                                    for name, share in self.shares.items()})
        for name, (start, width) in slots.items():
            if in_canary(h, start, width, self.shares[name]):
                return name
        return None

    def share(self, cohort):
        return self.shares.get(cohort, MILLION - sum(self.shares.values()))


class Policy:
    """What decides in one service. `service` is its part of the config, as parsed by load_config.

    segments: name -> function(Address) -> bool, for rules that name one; by the source address.
    """

    def __init__(self, service, secret, pins=(), shares=(), killed=False, segments=None):
        try:
            self._read(service)
            self._read_rules(service, shares)
            self._read_pins(pins)
        except KeyError as error:
            raise BadInput("service: key %s is missing" % error) from None
        self.secret = secret
        self.killed = killed
        self.segments = segments or {}
        for rule in self.rules:
            if rule.segment is not None and rule.segment not in self.segments:
                raise BadInput("rule %r: segment's members are not known" % rule.name)
        self.holdout_salt = salt64(HOLDOUT_SALT)
        self.rings = {name: Ring(backends) for name, backends in self.cohorts.items()}

    def _read(self, service):
        self.name = service["name"]
        self.vips = [Vip.parse(text) for text in service["vips"]]
        self.salt = salt64(service.get("salt", "%s/%s" % (self.name, service.get("release", ""))))
        client = service.get("client", {})
        self.key = client.get("key", "source")
        self.split = None
        if service.get("hash", "xdp-canary") in ("nginx", "haproxy-crc32", "nft-jhash"):
            self.split = Split(service["hash"], service.get("hash_options", {}),
                               [cohort["name"] for cohort in service["cohorts"]])
        prefix6 = client.get("prefix6", "128" if self.split else "64")
        self.lengths = {4: number(client.get("prefix4", "32"), 8, 32, "prefix4"),
                        6: number(prefix6, 16, 128, "prefix6")}
        self.balance = service.get("balance", "flow")
        self.holdout = threshold(percent(service.get("holdout", "0")))
        if self.key == "payload":
            first = number(client["payload_offset"], 0, 1400, "payload_offset")
            count = number(client["payload_length"], 1, 16, "payload_length")
            self.payload_key = slice(first, first + count)
        unknown = (self.key not in ("source", "flow", "quic", "payload") or "group_by" in client
                   or self.balance not in ("flow", "client")
                   or not self.split and service.get("hash", "xdp-canary") != "xdp-canary"
                   or self.split and self.key not in ("source", "quic"))
        if unknown:
            raise BadInput("service %r: client, hash or balance is not in this reference"
                                  % self.name)
        self.cohorts, self.slots = {}, {}
        start, canaries = 0, len(service["cohorts"]) - 1
        if not 1 <= canaries <= 3:
            raise BadInput("service %r: not 2 to 4 cohorts" % self.name)
        for index, cohort in enumerate(service["cohorts"]):
            self.cohorts[cohort["name"]] = [self._backend(entry)
                                            for entry in cohort.get("backends", [])]
            if index:
                width = percent(cohort.get("slot", "%dppm" % (MILLION // canaries)))
                if self.split:  # no slots: each may have all that the others leave
                    start, width = 0, MILLION
                self.slots[cohort["name"]] = start, width
                start += width
        if not self.split and start > MILLION or len(self.cohorts) != canaries + 1:
            raise BadInput("service %r: slots above 100%%, or a name twice" % self.name)
        self.control = service["cohorts"][0]["name"]

    def _backend(self, entry):
        if "port" in entry:
            raise BadInput("service %r: a backend's port is not in this reference" % self.name)
        return Backend(Address.parse(entry["address"]), 0,
                       number(entry.get("weight", "100"), 0, 1000, "weight"))

    def _read_rules(self, service, live):
        self.rules = []
        for entry in service.get("rules") or [{"default": "true"}]:
            segment = entry.get("segment")
            if (segment is None) != (entry.get("default") == "true"):
                raise BadInput("service %r: a rule has a segment or is default" % self.name)
            self.rules.append(Rule(entry.get("name", segment or "default"), segment,
                                   self._shares(entry.get("allocate", {}))))
        if [rule.segment is None for rule in self.rules].index(True) != len(self.rules) - 1:
            raise BadInput("service %r: the last rule is the only default" % self.name)
        rules = {rule.name: rule for rule in self.rules}
        if len(rules) != len(self.rules):
            raise BadInput("service %r: two rules of one name" % self.name)
        for entry in live:
            if entry["service"] == self.name:
                if entry["rule"] not in rules or entry["cohort"] not in self.slots:
                    raise BadInput("live share of unknown rule or canary: %r" % entry)
                rules[entry["rule"]].shares[entry["cohort"]] = entry["share_ppm"]
        for rule in self.rules:
            for name, (_, width) in self.slots.items():
                if not 0 <= rule.shares[name] <= width:
                    raise BadInput("rule %r: share of %r above its slot" % (rule.name, name))

    def _shares(self, allocate):
        given = {name: percent(text) for name, text in allocate.items()}
        if not given.keys() <= self.cohorts.keys():
            raise BadInput("service %r: allocate names no cohort" % self.name)
        if self.control in given and sum(given.values()) != MILLION:
            raise BadInput("service %r: allocate names control, sum is not 100%%" % self.name)
        return {name: given.get(name, 0) for name in self.slots}

    def _read_pins(self, pins):
        """self.pins: family -> [(length, {masked address: cohort})], the longest first."""
        found = {4: {}, 6: {}}
        for entry in pins:
            if entry["service"] != self.name:
                continue
            if entry["cohort"] not in self.cohorts:
                raise BadInput("pin to unknown cohort: %r" % entry)
            address, length = parse_prefix(entry["client"])
            length = min(length, self.lengths[address.family])
            found[address.family].setdefault(length, {})[address.masked(length)] = entry["cohort"]
        self.pins = {family: sorted(by_length.items(), reverse=True)
                     for family, by_length in found.items()}

    def pinned(self, client):
        for length, clients in self.pins[client.family]:
            cohort = clients.get(client.masked(length))
            if cohort is not None:
                return cohort
        return None

    def first_rule(self, client):
        """Rules are asked in order, by the source address; the last, the default, holds all."""
        return next(rule for rule in self.rules
                    if rule.segment is None or self.segments[rule.segment](client))

    def token(self, client, flow):
        return siphash13(self.secret, self.client_key(client, flow))

    def client_key(self, client, flow):
        if self.key == "flow":
            return flow.key()
        if (self.key == "payload" and flow.protocol == PROTOCOLS["udp"]
                and len(flow.payload) >= self.payload_key.stop):
            return flow.payload[self.payload_key]
        return client.packed()

    def cohort(self, client, h, held_out):
        """(cohort, reason, rule or None), before it is asked whether the cohort has a backend."""
        if self.killed:
            return self.control, "killed", None
        pinned = self.pinned(client)
        if pinned is not None:
            return pinned, "override", None
        if held_out:
            return self.control, "holdout", None
        rule = self.first_rule(client)
        reason = "default" if rule.segment is None else "rule"
        return rule.given(h, self.slots, self.split) or self.control, reason, rule

    def enters_at(self, h, held_out, rule):
        if held_out:
            return None
        if self.split:
            return self.split.enters_at(h, (rule or self.rules[-1]).shares)
        for start, width in self.slots.values():
            if threshold(start) <= h < threshold(start + width):
                return enters_at(h, start, width)
        return None

    def decide(self, flow):
        """The decision of a Flow, as a dict in the order of the module's text."""
        length = self.lengths[flow.source.family]
        client = flow.source.masked(length)
        token = self.token(client, flow)
        h, holdout_hash = cohort_hash(token, self.salt), cohort_hash(token, self.holdout_salt)
        if self.split:
            h = self.split.hash(client)
        held_out = holdout_hash < self.holdout
        given, reason, rule = self.cohort(client, h, held_out)
        cohort = given
        if not self.rings[cohort].backends:
            cohort, reason = self.control, "cohort_down"
        if not self.rings[cohort].backends:
            reason, backend = "no_backend", None
        else:
            mix = 0
            if self.balance == "flow":
                mix = flow_mix(flow.source, flow.source_port, flow.destination_port)
            backend = str(self.rings[cohort].choose(ring_hash(token, mix)).address)
        return {"client": client_text(client, length), "cohort": cohort, "reason": reason,
                "rule": rule.name if rule else None, "hash": h, "holdout_hash": holdout_hash,
                "token": "%016x" % token, "share_ppm": rule.share(given) if rule else None,
                "enters_at_ppm": self.enters_at(h, held_out, rule), "backend": backend}


# The config as a whole.

class Loader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
    """All scalars as text, since YAML 1.1 would read 010 as 8; a key twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        if len(set(map(str, keys))) != len(keys):
            raise BadInput("line %d: key twice" % (node.start_mark.line + 1))
        return super().construct_mapping(node, deep)


class Config:
    """A box's services, and which of them a packet's destination belongs to."""

    def __init__(self, text):
        document = yaml.load(text, Loader)
        if not isinstance(document, dict) or document.get("version") != "1":
            raise BadInput("config: not a map with version: 1")
        self.services = {service["name"]: service for service in document.get("services") or []}
        self.owners = {}
        for name, service in self.services.items():
            for vip in map(Vip.parse, service["vips"]):
                if self.owners.setdefault(vip, name) != name:
                    raise BadInput("vip %s: in two services" % (vip,))

    def owner(self, address, port, protocol):
        """The service of a destination, or None: an exact port beats any port."""
        exact = self.owners.get(Vip(address, port, protocol))
        return exact or self.owners.get(Vip(address, 0, protocol))

    def policy(self, name, secret, **live):
        if name not in self.services:
            raise BadInput("service %r: not in the config" % name)
        return Policy(self.services[name], secret, **live)

    def destinations(self, name, to=()):
        """family -> (address, port, protocol) to which flows go; `to` are texts of VIPs."""
        chosen = {}
        for vip in map(Vip.parse, to or self.services[name]["vips"]):
            port = vip.port or DEFAULT_ANY_PORT
            if vip.address.family in chosen:
                continue
            if self.owner(vip.address, port, vip.protocol) != name:
                raise BadInput("%s port %d is not of service %r" % (vip.address, port, name))
            chosen[vip.address.family] = vip.address, port, vip.protocol
        return chosen


def load_config(path):
    with open(path, encoding="utf-8") as file:
        return Config(file.read())


def load_secret(path):
    with open(path, encoding="ascii") as file:
        text = file.read().strip()
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text):
        raise BadInput("%s: not 32 hex digits" % path)
    return bytes.fromhex(text)


def load_list(path):
    if path is None:
        return []
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def parse_client(text):
    """(address, port) of CLIENT, IPV4:PORT or [IPV6]:PORT."""
    match = re.fullmatch(r"\[([^\]]+)\](?::([0-9]+))?|([^:]+):([0-9]+)", text)
    if not match:
        return Address.parse(text), DEFAULT_SOURCE_PORT
    if match[1] and ":" not in match[1]:
        raise BadInput("%r: brackets are for IPv6" % text)
    port = match[2] or match[4]
    return (Address.parse(match[1] or match[3]),
            number(port, 0, 65535, "port") if port else DEFAULT_SOURCE_PORT)


def parse_flow(text):
    """((address, port), payload) of a line."""
    client, _, payload = text.partition(" ")
    if not re.fullmatch("([0-9a-fA-F]{2})*", payload):
        raise BadInput("payload %r: not whole bytes in hex" % payload)
    return parse_client(client), bytes.fromhex(payload)


def decide_lines(policy, destinations, lines, write, complain):
    """Answers every line; returns the number of bad ones."""
    bad = 0
    for line_number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            (source, port), payload = parse_flow(text)
            if source.family not in destinations:
                raise BadInput("%s: no VIP of IPv%d to go to" % (text, source.family))
            answer = policy.decide(Flow(source, port, *destinations[source.family], payload))
        except BadInput as error:
            complain("line %d: %s\n" % (line_number, error))
            bad += 1
            continue
        write(json.dumps(answer) + "\n")
    return bad


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Reference of xdp-canary's decision.")
    parser.add_argument("config")
    parser.add_argument("service")
    parser.add_argument("--secret-file", required=True)
    parser.add_argument("--pins")
    parser.add_argument("--shares")
    parser.add_argument("--to", action="append", metavar="VIP")
    parser.add_argument("--killed", action="store_true")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
        policy = config.policy(options.service, load_secret(options.secret_file),
                               pins=load_list(options.pins), shares=load_list(options.shares),
                               killed=options.killed)
        destinations = config.destinations(options.service, options.to)
    except (BadInput, OSError, yaml.YAMLError, ValueError) as error:
        sys.stderr.write("decide.py: %s\n" % error)
        return 1
    bad = decide_lines(policy, destinations, sys.stdin, sys.stdout.write, sys.stderr.write)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
