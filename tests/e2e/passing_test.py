#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Traffic that is not for a VIP is passed on untouched: never dropped, altered or answered.

What the balancer's host does with it must be the same before and after the program is attached.
"""

import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import Box, BoxTest, config  # noqa: E402
from wire import Capture, send  # noqa: E402

from scapy.layers.inet import ICMP, IP, IPOption_NOP, TCP, UDP  # noqa: E402
from scapy.layers.inet6 import (ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt,  # noqa: E402
                                IPv6ExtHdrFragment, IPv6ExtHdrHopByHop)
from scapy.layers.l2 import ARP, Dot1Q, Ether, GRE  # noqa: E402
from scapy.packet import Raw  # noqa: E402

STRANGER = "02:00:00:00:aa:01"  # source of the frames that are made by hand
FRAMES = 400
FAR4, FAR6 = "10.90.0.1", "fd90::1"  # beyond the balancer
BRIDGED4 = "10.40.0.99"  # in the client's network, beyond the balancer's bridge


class Passing(BoxTest):
    def pings(self, lab, destination, *flags):
        done = lab.run("client", ["ping", "-n", "-q", "-c", "3", "-i", "0.05", "-W", "2", *flags,
                                  destination], check=False)
        return ", 0% packet loss" in done.stdout

    def gets(self, lab, destination, port=8081):
        """From addresses on the balancer's own network and from afar."""
        sources = [lab.address("client", 6 if ":" in destination else 4)]
        sources += lab.clients(20, 6 if ":" in destination else 4)
        results = lab.load(sources, destination, port, timeout=3)
        return [result.backend for result in results if result.ok]

    def finds_mac(self, lab, destination, mac):
        """By ARP or neighbour discovery, anew."""
        lab.run("client", ["ip", "neigh", "flush", "dev", "eth0"])
        if not self.pings(lab, destination):
            return False
        return mac in lab.run("client", ["ip", "neigh", "show", destination]).stdout

    def behaviour(self, lab, extra=()):
        """What the balancer's host does for others than clients of a VIP."""
        seen = {}
        for family in (4, 6):
            own = lab.address("lb", family)
            seen[family] = {
                "finds its MAC": self.finds_mac(lab, own, lab.mac("lb")),
                "pings": self.pings(lab, own),
                "fragments": self.pings(lab, own, "-s", "4000"),
                "own server": self.gets(lab, own),
                "reaches the client": lab.ping("lb", lab.address("client", family)),
            }
        for destination, server in extra:
            seen[destination] = {"pings": self.pings(lab, destination),
                                 "fragments": self.pings(lab, destination, "-s", "4000"),
                                 "server": self.gets(lab, destination, 80), "by": server}
        return seen

    def check_is_whole(self, seen):
        """That what was compared is the good behaviour, not twice the same failure."""
        for what in seen.values():
            server = what.pop("by", "lb")
            for answer in what.values():
                self.assertIn(answer, (True, [server] * 21), seen)

    def check_same_after_attach(self, lab, box, extra=()):
        before = self.behaviour(lab, extra)
        box.run("attach")
        self.assertEqual(self.behaviour(lab, extra), before)
        self.check_is_whole(before)
        self.check_counters_add_up(box)
        reasons = box.reasons()
        self.assertLessEqual({("pass", name) for name in ("not_vip", "icmp", "not_ip", "fragment")},
                             set(reasons))
        self.assertEqual({action for action, _ in reasons}, {"pass"})

    def make_forwarding(self, lab):
        """The client reaches FAR4 and FAR6, which b1 holds, only through lb."""
        lab.run("lb", ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])
        for family, address, length in ((4, FAR4, 32), (6, FAR6, 128)):
            there, here = lab.address("b1", family), lab.address("lb", family, "back")
            ip = ["ip", f"-{family}"]
            lab.run("b1", [*ip, "addr", "add", f"{address}/{length}", "dev", "lo"])
            lab.run("b1", [*ip, "route", "add", lab.address("client", family, "front"),
                           "via", here])
            lab.run("lb", [*ip, "route", "add", address, "via", there])
            lab.run("client", [*ip, "route", "add", address, "via",
                               lab.address("lb", family, "front")])

    def test_promise_1_own_traffic_and_what_is_forwarded_go_on_as_before(self):
        lab = self.lab_with(back_network=True)
        lab.start_nginx("lb", port=8081)
        self.make_forwarding(lab)
        box = Box(lab)
        box.apply(config(self.shop_service(lab), interfaces=["eth0", "eth1"]))
        self.check_same_after_attach(lab, box, [(FAR4, "b1"), (FAR6, "b1")])
        self.check_split(box, "shop", lab.vip4, share=0.3)

    def test_what_is_bridged_goes_on_as_before(self):
        lab = self.lab_with(back_network=True)
        lab.start_nginx("lb", port=8081)
        lab.run("lb", ["sh", "-ec", f"""
            ip link add br0 address {lab.mac("lb")} type bridge mcast_snooping 0
            for port in eth0 eth1; do
                ip address flush dev $port scope global
                ip link set $port master br0
            done
            ip link set br0 up
            ip address add {lab.address("lb", 4, "front")}/24 dev br0
            ip address add {lab.address("lb", 6, "front")}/64 dev br0 nodad
            ip route add {lab.range4} via {lab.address("client")}
            ip -6 route replace {lab.range6} via {lab.address("client", 6)}"""])
        lab.run("b1", ["ip", "address", "add", BRIDGED4 + "/24", "dev", "eth0"])
        box = Box(lab)
        box.apply(config(self.shop_service(lab), interfaces=["eth0", "eth1"]))
        self.check_same_after_attach(lab, box, [(BRIDGED4, "b1")])

    # ---- frames made by hand ----

    def test_frames_for_others_arrive_as_they_were_sent_byte_for_byte(self):
        lab = self.lab_with(ports=())
        box = Box(lab)
        box.apply(config(self.shop_service(lab)))
        frames = [self.frame(lab) for _ in range(FRAMES)]
        self.check_all_arrive(lab, frames)
        box.run("attach")
        self.check_all_arrive(lab, frames)
        self.check_counters_add_up(box)
        reasons = box.reasons()
        self.assertEqual({action for action, _ in reasons}, {"pass"})
        for name in ("not_ip", "not_vip", "truncated", "fragment", "icmp", "unsupported"):
            self.assertGreater(reasons.get(("pass", name), 0), 0, name)
        self.assertEqual(lab.counters("lb")["xdp_tx"], 0)

    def check_all_arrive(self, lab, frames):
        """The balancer's host receives them all, in their order."""
        with Capture(lab, "lb") as capture:
            send(lab, "client", frames)
            source = bytes.fromhex(STRANGER.replace(":", ""))
            got = [frame for frame in capture.frames() if frame[6:12] == source]
        for sent, received in zip(frames, got):
            self.assertEqual(sent.hex(), received.hex())
        self.assertEqual(len(frames), len(got))

    def frame(self, lab):
        """One of all kinds, also to a VIP where that has no flow to steer by."""
        link = Ether(src=STRANGER, dst=lab.mac("lb"))
        make = self.random.choice([self.other_protocol, self.ipv4_packet, self.ipv6_packet,
                                   self.ipv4_for_vip, self.ipv6_for_vip, self.tagged,
                                   self.cut_short, self.noise])
        return bytes(make(lab, link))

    def payload(self):
        return Raw(self.random.randbytes(self.random.randrange(64, 900)))

    def port(self):
        return self.random.randrange(1024, 65536)

    def other_protocol(self, lab, link):
        return self.random.choice([
            link / ARP(psrc="10.40.0.77", pdst=lab.vip4),
            Ether(src=STRANGER, dst=link.dst, type=self.random.choice([0x88cc, 0x8847, 0x9000, 60]))
            / self.payload()])

    def transport(self):
        return self.random.choice([TCP(sport=self.port(), dport=self.port(), flags="S"),
                                   UDP(sport=self.port(), dport=self.port()), ICMP(), GRE()])

    def ipv4_packet(self, lab, link):
        options = [IPOption_NOP()] * (4 * self.random.randrange(10))
        return link / IP(src="10.50.9.9", dst="10.99.0.1", options=options,
                         tos=self.random.randrange(256)) / self.transport() / self.payload()

    def ipv6_packet(self, lab, link):
        return link / IPv6(src="fd50::99", dst="fd99::1") / IPv6ExtHdrHopByHop() / \
            IPv6ExtHdrDestOpt() / UDP(sport=1, dport=80) / self.payload()

    def ipv4_for_vip(self, lab, link):
        tcp = TCP(sport=self.port(), dport=80)
        ip = IP(src="10.50.9.9", dst=lab.vip4)
        return link / self.random.choice([
            ip / TCP(sport=self.port(), dport=81) / self.payload(),
            ip / UDP(sport=self.port(), dport=80) / self.payload(),
            ip / ICMP() / self.payload(),
            ip / GRE() / self.payload(),
            IP(src="10.50.9.9", dst=lab.vip4, flags="MF", id=7) / tcp / self.payload(),
            IP(src="10.50.9.9", dst=lab.vip4, frag=self.random.randrange(1, 99)) / self.payload(),
            IP(src="10.50.9.9", dst=lab.vip4, len=1400) / tcp / Raw(bytes(50)),
            IP(src="10.50.9.9", dst=lab.vip4, ihl=self.random.randrange(5)) / tcp / Raw(bytes(50)),
            IP(src="10.50.9.9", dst=lab.vip4, version=5) / tcp / Raw(bytes(50))])

    def ipv6_for_vip(self, lab, link):
        tcp = TCP(sport=self.port(), dport=80)
        ip = IPv6(src="fd50::99", dst=lab.vip6)
        return link / self.random.choice([
            ip / TCP(sport=self.port(), dport=81) / self.payload(),
            ip / ICMPv6EchoRequest() / self.payload(),
            ip / IPv6ExtHdrFragment(m=1, id=7) / tcp / self.payload(),
            ip / IPv6ExtHdrFragment(offset=9, id=7) / self.payload(),
            IPv6(src="fd50::99", dst=lab.vip6, plen=1400) / tcp / Raw(bytes(50)),
            ip / IPv6ExtHdrDestOpt(len=250, nh=6) / Raw(bytes(50)),
            ip / self.extensions(8) / tcp])

    def extensions(self, count):
        headers = IPv6ExtHdrDestOpt()
        for _ in range(count - 1):
            headers = headers / IPv6ExtHdrDestOpt()
        return headers

    def tagged(self, lab, link):
        tags = Dot1Q(vlan=5)
        for _ in range(self.random.randrange(4)):
            tags = tags / Dot1Q(vlan=self.random.randrange(4095))
        destination = lab.vip4 if tags.layers().count(Dot1Q) > 2 else "10.99.0.1"
        return link / tags / IP(src="10.50.9.9", dst=destination) / TCP(dport=80) / self.payload()

    def cut_short(self, lab, link):
        """A packet for a VIP that ends within its headers."""
        ip = self.random.choice([IP(src="10.50.9.9", dst=lab.vip4),
                                 IPv6(src="fd50::99", dst=lab.vip6)])
        whole = bytes(link / ip / TCP(dport=80))
        return whole[:self.random.randrange(15, len(whole))]

    def noise(self, lab, link):
        head = bytes.fromhex((link.dst + STRANGER).replace(":", ""))
        kind = struct.pack("!H", self.random.choice([0x0800, 0x86dd, 0x8100, 0x88a8]))
        return head + kind + self.random.randbytes(self.random.randrange(6, 200))


if __name__ == "__main__":
    unittest.main()
