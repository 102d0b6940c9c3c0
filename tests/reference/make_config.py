#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Random valid configs, with live shares, pins and clients, for comparing xdp-canary to decide.py.

A reference for nothing by itself: it makes the input of which decide.py says what comes out. One
seed gives the same files everywhere. Configs have the default rule alone, steer l2 and ipip, and
every client key (no flow has a payload: keys quic and payload fall back to the source); they give
every backend a MAC and an interface, so that nothing need be resolved. Every service has a VIP of
either family; where its first of a family has any port, no other service has port 80 there. Every
control has a backend of weight > 0; canaries may have none (then they have neither share nor pin)
or only such of weight 0. Some services have another tool's hash, and shares that it can be told.

    make_config.py --seed N --out DIR [--interface NAME] [--mode MODE] [--services N] [--clients N]

writes into DIR (made if absent): config.yaml, secret (0600), clients.txt (flows, one a line, as
decide.py and `explain --input` read them), and, in decide.py's form, in the order in which they
are to be set, pins.json and shares.json.
"""

import argparse
import ipaddress
import json
import os
import random
import sys
from decimal import Decimal

MILLION = 1000000
UDP_DRAIN_SECONDS = 1  # after the last change live UDP flows follow the current decision
WORDS = ["api", "shop", "pay", "search", "cdn-edge", "auth_v2", "q", "img", "mail", "x9"]
COHORTS = ["canary", "blue", "green", "v2", "next", "b", "canary-2"]


def percent_text(rng, ppm):
    """One of the ways to write a share."""
    in_percent = format((Decimal(ppm) / 10000).normalize(), "f")
    return rng.choice(["%dppm" % ppm, in_percent + "%", in_percent])


def random_ppm(rng, greatest):
    """A share of 0 to greatest, the ends often."""
    choices = [0, 1, greatest, greatest - 1, greatest // 2, rng.randint(0, greatest),
               rng.randint(0, greatest), rng.randint(0, max(1, greatest // 100))]
    return min(max(rng.choice(choices), 0), greatest)


def address_text(rng, address):
    """Canonical, or seldom another way to write an IPv6 address."""
    if address.version == 6 and rng.random() < 0.1:
        return rng.choice([address.exploded, str(address).upper()])
    return str(address)


class Split:
    """Another tool's hash: its options, and the shares that it can be told."""

    def __init__(self, rng, cohorts):
        self.rng = rng
        self.name = rng.choice(["nginx", "haproxy-crc32", "nft-jhash"])
        self.whole, self.options = 10000, []
        if self.name != "nginx":
            self.whole = rng.choice([100, 100, 3, 64, 1000, 65536])
            if self.whole != 100 or rng.random() < 0.3:
                self.options.append("modulus: %d" % self.whole)
        if self.name == "nft-jhash" and rng.random() < 0.7:
            self.options.append("seed: %d" % rng.choice([0, 1, rng.getrandbits(32)]))
        if rng.random() < 0.7:
            rng.shuffle(cohorts)
            self.options.append("order: [ %s ]" % ", ".join(cohorts))

    def share(self, ppm):
        """A whole number of the tool's units at or below it, to the next ppm."""
        exact = ppm * self.whole // MILLION * MILLION
        return exact // self.whole

    def widths(self, canaries):
        """What each canary may have at the most, so that all together never have too much."""
        widths, left = {}, MILLION
        for name in canaries:
            width = self.rng.choice([left, left // 2, left // 3, self.rng.randint(0, left)])
            left -= width
            widths[name] = width
        return widths


class Clients:
    """Clustered clients: networks from which both flows and pins are taken."""

    def __init__(self, rng):
        self.rng = rng
        self.networks4 = [ipaddress.IPv4Address(rng.randint(1, 99) << 24 | rng.getrandbits(16) << 8)
                          for _ in range(8)]
        self.networks6 = [ipaddress.IPv6Address(0x20010DB8 << 96 | rng.getrandbits(16) << 80)
                          for _ in range(8)]

    def near(self, family):
        """A client of a cluster."""
        rng = self.rng
        if family == 4:
            return rng.choice(self.networks4) + rng.randint(1, 60)
        subnet, host = rng.randint(0, 15), rng.choice([1, rng.getrandbits(64)])
        return rng.choice(self.networks6) + (subnet << 64) + host

    def far(self, family):
        """Any client."""
        rng = self.rng
        if family == 4:
            return ipaddress.IPv4Address(rng.randint(128, 223) << 24 | rng.getrandbits(24))
        return ipaddress.IPv6Address(1 << 125 | rng.getrandbits(125))

    def flow(self):
        rng = self.rng
        family = rng.choice([4, 6])
        address = self.far(family) if rng.random() < 0.3 else self.near(family)
        text = address_text(rng, address)
        if family == 4 and rng.random() < 0.2:
            family, text = 6, "::ffff:%s" % address
        if rng.random() < 0.3:
            return text
        return ("[%s]:%d" if family == 6 else "%s:%d") % (text, rng.randint(1, 65535))

    def pin(self):
        rng = self.rng
        family = rng.choice([4, 6])
        bits = 32 if family == 4 else 128
        address = self.near(family)
        length = rng.choice([8, 16, 20, 24, 28, 32, 32] if family == 4
                            else [32, 40, 48, 56, 60, 64, 64, 96, 128])
        if length == bits:
            return ("::ffff:%s" if family == 4 and rng.random() < 0.2 else "%s") % address
        return str(ipaddress.ip_network((int(address), length), strict=False))


class Service:
    """One random service: its text, live shares and pins."""

    def __init__(self, rng, index, name, foreign, interface):
        self.rng, self.index, self.name = rng, index, name
        self.interface = interface
        self.backend_count = 0
        self.vips = self._vips(foreign)
        canaries = rng.choice([1, 1, 1, 2, 2, 3])
        self.control = rng.choice(["stable", "control", "v1"])
        self.canaries = rng.sample(COHORTS, canaries)
        self.split = Split(rng, [self.control] + self.canaries) if rng.random() < 0.4 else None
        self.rule = "default"
        self.lines = []
        self._write()

    def _vips(self, foreign):
        """VIPs of both families; `foreign` are the any-port addresses of earlier services."""
        rng, vips = self.rng, []
        self.any_port = []
        for family in (4, 6):
            for number in range(1, rng.randint(1, 3) + 1):
                if family == 4:
                    address = "198.18.%d.%d" % (self.index, number)
                else:
                    address = "[2001:db8:ffff:%x::%x]" % (self.index, number)
                protocol = rng.choice(["tcp", "udp"])
                if rng.random() < 0.3:
                    vips.append("%s:*/%s" % (address, protocol))
                    self.any_port.append((address, protocol))
                    if rng.random() < 0.5:
                        port = rng.choice([1, 22, 80, 443, 65535])
                        vips.append("%s:%d/%s" % (address, port, protocol))
                else:
                    vips.append("%s:%d/%s" % (address, rng.choice([80, 443, 8443]), protocol))
        # An exact port of an address whose other ports are another service's.
        for address, protocol in foreign:
            if rng.random() < 0.2:
                vips.append("%s:%d/%s" % (address, 1000 + self.index, protocol))
        rng.shuffle(vips)
        return vips

    def _slots(self):
        """Canary -> (width in ppm, text or None for the default)."""
        rng, count = self.rng, len(self.canaries)
        if self.split:
            return {name: (width, None)
                    for name, width in self.split.widths(self.canaries).items()}
        if rng.random() < 0.5:
            return {name: (MILLION // count, None) for name in self.canaries}
        slots, left = {}, MILLION
        for name in self.canaries:
            width = rng.choice([left, left // 2, left // 3, rng.randint(0, left)])
            left -= width
            slots[name] = width, percent_text(rng, width)
        return slots

    def _weights(self, control):
        rng = self.rng
        count = rng.choice([1, 1, 2, 2, 3, 4, 5, 7, 10, 16])
        if not control and rng.random() < 0.05:
            return []
        if not control and rng.random() < 0.08:
            return [0] * count
        weights = rng.choice([
            lambda: [None] * count,
            lambda: [rng.choice([1, 7])] * count,
            lambda: [rng.choice([0, 1, 2, 3, 5, 50, 100]) for _ in range(count)],
            lambda: [rng.choice([1, 13, 97, 499, 997, 1000]) for _ in range(count)],
            lambda: [rng.randint(0, 1000) for _ in range(count)],
            lambda: [rng.choice([None, 0, 50]) for _ in range(count)]])()
        if control and not any(weight != 0 for weight in weights):
            weights[0] = 1
        return weights

    def _backend(self, weight):
        rng = self.rng
        self.backend_count += 1
        number = self.backend_count
        if rng.random() < 0.7:
            text = "10.%d.%d.%d" % (self.index, rng.randint(0, 255), number)
        else:
            value = 0x20010DB8 << 96 | 0xB << 80 | self.index << 64 | rng.getrandbits(32) << 16
            text = address_text(rng, ipaddress.IPv6Address(value | number))
        parts = ['address: "%s"' % text]
        if weight is not None:
            parts.append("weight: %d" % weight)
        parts.append('mac: "02:00:00:%02x:%02x:%02x"' % (self.index, number >> 8, number & 255))
        parts.append("interface: %s" % self.interface)
        if self.has_server_ids:
            parts.append('server_id: "%04x"' % number)
        return "{ %s }" % ", ".join(parts)

    def _cohort(self, name, control, slot):
        weights = self._weights(control)
        head = "{ name: %s, " % name
        if slot is not None:
            head += "slot: %s, " % slot
        backends = [self._backend(weight) for weight in weights]
        self.rng.shuffle(backends)
        separator = ",\n          "
        self.lines.append("      - %sbackends: [%s] }" % (head, separator.join(backends)))
        return bool(weights)

    def _key(self):
        """The client key and what it needs. Only a service of UDP can have `quic` or `payload`."""
        rng = self.rng
        keys = ["source", "flow"]
        if any(vip.endswith("/udp") for vip in self.vips):
            keys += ["quic", "payload"]
        if self.split:
            keys = [key for key in keys if key in ("source", "quic")]
        key = rng.choice(keys + len(keys) * [None])
        self.has_server_ids = key == "quic"
        more = {"quic": ["quic_cid_length: %d" % rng.randint(3, 20)],
                "payload": ["payload_offset: %d" % rng.choice([0, 1, rng.randint(0, 1400)]),
                            "payload_length: %d" % rng.randint(1, 16)]}
        return ["key: %s" % key] + more.get(key, []) if key else []

    def _write(self):
        rng, lines = self.rng, self.lines
        lines.append("  - name: %s" % self.name)
        lines.append("    vips: [ %s ]" % ", ".join('"%s"' % vip for vip in self.vips))
        if rng.random() < 0.6:
            lines.append("    release: v%d" % rng.randint(1, 99))
        if rng.random() < 0.3 and not self.split:
            lines.append('    salt: "%s"' % rng.choice(["shared/1", "shared/1", "s\u00e4lt %d"
                                                        % self.index]))
        client = self._key()
        if self.split:
            lines.append("    hash: %s" % self.split.name)
            lines.append("    hash_options: { %s }" % ", ".join(self.split.options))
        can_mask = not self.split or self.split.name != "nginx"
        if rng.random() < 0.4 and can_mask:
            client.append("prefix4: %d" % rng.choice([8, 16, 20, 24, 27, 31, 32]))
        if rng.random() < 0.4 and can_mask:
            client.append("prefix6: %d" % rng.choice([16, 32, 48, 56, 61, 64, 96, 127, 128]))
        if client:
            lines.append("    client: { %s }" % ", ".join(client))
        if rng.random() < 0.6:
            ppm = rng.choice([0, 1, 10000, 125000, 333333, 500000])
            lines.append("    holdout: %s" % percent_text(rng, ppm))
        if rng.random() < 0.7:
            lines.append("    balance: %s" % rng.choice(["flow", "client"]))
        steer = rng.choice(["l2", "ipip"])
        lines.append("    steer: %s" % steer)
        lines.append("    affinity: {udp_drain: %ds}" % UDP_DRAIN_SECONDS)
        if steer == "ipip":
            lines.append('    encap: { source4: 10.255.0.1, source6: "2001:db8:fffe::1", ttl: %d }'
                         % rng.choice([1, 64, 255]))
        lines.append("    cohorts:")
        slots = self._slots()
        self._cohort(self.control, True, None)
        self.widths, self.pinnable = {}, [self.control]
        for name in self.canaries:
            has_backends = self._cohort(name, False, slots[name][1])
            self.widths[name] = slots[name][0] if has_backends else 0
            if has_backends:
                self.pinnable.append(name)
        self._write_rules()

    def _write_rules(self):
        rng = self.rng
        if rng.random() < 0.15:
            return
        parts = ["default: true"]
        if rng.random() < 0.3:
            self.rule = "everyone"
            parts.append("name: everyone")
        shares = {name: self._share(width) for name, width in self.widths.items()
                  if rng.random() < 0.8}
        rest = MILLION - sum(shares.values())
        allocate = ["%s: %s" % (name, percent_text(rng, ppm)) for name, ppm in shares.items()]
        if rng.random() < 0.2:
            allocate.insert(0, "%s: %s" % (self.control, percent_text(rng, rest)))
        if allocate:
            parts.append("allocate: { %s }" % ", ".join(allocate))
        self.lines.append("    rules: [ { %s } ]" % ", ".join(parts))

    def _share(self, width):
        ppm = random_ppm(self.rng, width)
        return self.split.share(ppm) if self.split else ppm

    def live_shares(self):
        return [{"service": self.name, "rule": self.rule, "cohort": name,
                 "share_ppm": self._share(width)}
                for name, width in self.widths.items() if width and self.rng.random() < 0.5]

    def pins(self, clients):
        return [{"service": self.name, "client": clients.pin(),
                 "cohort": self.rng.choice(self.pinnable)}
                for _ in range(self.rng.choice([0, 3, 10, 25]))]


def generate(seed, interface="eth0", mode="auto", services=4, clients=1000):
    """A dict: config (text), secret (hex), flows (lines), pins, shares, services (names)."""
    rng = random.Random(seed)
    secret = "%032x" % rng.getrandbits(128)
    pool = Clients(rng)
    made, foreign = [], []
    for index in range(services):
        name = rng.choice(WORDS)
        name = name if name not in [service.name for service in made] else "%s-%d" % (name, index)
        service = Service(rng, index, name, foreign, interface)
        foreign = foreign + service.any_port
        made.append(service)
    lines = ["version: 1", "interfaces: [ { name: %s, mode: %s } ]" % (interface, mode),
             "services:"]
    for service in made:
        lines += service.lines
    return {"config": "\n".join(lines) + "\n", "secret": secret,
            "flows": [pool.flow() for _ in range(clients)],
            "pins": [pin for service in made for pin in service.pins(pool)],
            "shares": [share for service in made for share in service.live_shares()],
            "services": [service.name for service in made]}


def write(directory, made):
    os.makedirs(directory, exist_ok=True)

    def path(name):
        return os.path.join(directory, name)

    for name, text in [("config.yaml", made["config"]),
                       ("clients.txt", "".join(flow + "\n" for flow in made["flows"])),
                       ("pins.json", json.dumps(made["pins"], indent=1) + "\n"),
                       ("shares.json", json.dumps(made["shares"], indent=1) + "\n")]:
        with open(path(name), "w", encoding="utf-8") as file:
            file.write(text)
    with open(os.open(path("secret"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w",
              encoding="ascii") as file:
        file.write(made["secret"] + "\n")


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Random valid configs for comparing decisions.")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True, metavar="DIR")
    parser.add_argument("--interface", default="eth0", metavar="NAME")
    parser.add_argument("--mode", default="auto", choices=["native", "generic", "auto"])
    parser.add_argument("--services", type=int, default=4)
    parser.add_argument("--clients", type=int, default=1000)
    options = parser.parse_args(arguments)
    if not 1 <= options.services <= 200:
        parser.error("--services: 1 to 200")
    made = generate(options.seed, options.interface, options.mode, options.services,
                    options.clients)
    write(options.out, made)
    print("\n".join(made["services"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
