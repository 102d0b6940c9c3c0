#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Real clients and real nginx, with the real program in between: who is steered where, and how.

Each test has a lab of its own (lab.py) and judges by what clients, servers and the wire saw, not
only by what the program says of itself. What is passed on untouched is in passing_test.py, what
goes on when something fails in failure_test.py.
"""

import collections
import json
import os
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import Box, BoxTest, Traffic, config, endpoint, service, vip, wait_for  # noqa: E402
from wire import Capture, parse, send  # noqa: E402

from scapy.layers.inet import IP, TCP  # noqa: E402
from scapy.layers.inet6 import IPv6  # noqa: E402

TOS = 0xb8  # expedited forwarding
SECOND4, SECOND6 = "10.80.0.20", "fd80::20"  # VIPs beside those of the lab
SHARE = 0.3  # what service() sets where nothing is said
SYN = 2
ROUNDS = 20  # of changes under load


def sources_and_vips(lab):
    """A client and the VIP for it, of both families."""
    return ((lab.clients(1)[0], lab.vip4), (lab.clients(1, 6)[0], lab.vip6))


class Steering(BoxTest):
    """Both ways of steering, through one interface or two, IPv4 and IPv6."""

    def test_l2_on_one_segment_keeps_every_client_with_its_cohort(self):
        lab = self.lab_with()
        box = self.shop(lab)
        for destination in (lab.vip4, lab.vip6):
            self.check_split(box, "shop", destination, share=SHARE)
        self.check_tos(lab, 80)
        self.check_counters_add_up(box)
        self.assertGreater(lab.counters("lb")["xdp_tx"], 1000)
        self.assertEqual(lab.counters("lb")["xdp_tx_errors"], 0)

    def test_l2_to_another_interface_keeps_every_client_with_its_cohort(self):
        lab = self.lab_with(back_network=True)
        box = self.shop(lab)
        for destination in (lab.vip4, lab.vip6):
            self.check_split(box, "shop", destination, share=SHARE)
        self.check_tos(lab, 80)
        self.check_counters_add_up(box)
        self.assertGreater(lab.counters("lb")["xdp_redirect"], 1000)
        self.assertEqual(lab.counters("lb")["xdp_tx"], 0)

    def test_ipip_of_all_four_kinds_keeps_every_client_with_its_cohort(self):
        roles = ["b1", "b2", "b3"]
        lab = self.lab_with(decap=roles, ports=(80, 8080))
        box = Box(lab)
        services = []
        for family, port in ((4, 80), (6, 8080)):
            b1, b2, b3 = (lab.address(role, family) for role in roles)
            services.append(service(f"outer{family}", [vip(lab.vip4, port), vip(lab.vip6, port)],
                                    [b1, b2], [b3], steer="ipip", client={"prefix6": 128}))
        box.start(config(*services))
        for family, port in ((4, 80), (6, 8080)):
            for destination in (lab.vip4, lab.vip6):
                self.check_split(box, f"outer{family}", destination, share=SHARE, port=port)
            self.check_tos(lab, port, outer=family)
        self.check_counters_add_up(box)

    def check_tos(self, lab, port, outer=None):
        """What reaches a backend has the client's ToS in all IP headers. @outer: the family."""
        for source, destination in sources_and_vips(lab):
            inner = 6 if ":" in source else 4
            captures = [self.enterContext(Capture(lab, "switch", role)) for role in lab.backends]
            with lab.connect(source, destination, port) as connection:
                if inner == 4:
                    connection.sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS)
                else:
                    connection.sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, TOS)
                self.assertTrue(connection.get().ok)
            packets = [packet for capture in captures for packet in capture.packets()
                       if packet.source_port == connection.port and packet.payload]
            self.assertTrue(packets)
            families = ([outer] if outer else []) + [inner]
            for packet in packets:
                self.assertEqual([(header.family, header.tos) for header in packet.headers],
                                 [(family, TOS) for family in families])

    def test_by_default_all_addresses_of_a_64_are_one_client(self):
        lab = self.lab_with()
        self.shop(lab, client={})
        results = lab.load(lab.clients(200, 6), lab.vip6)
        self.check_all_ok(results)
        self.assertEqual(len({result.backend == "b3" for result in results}), 1)

    def test_a_tagged_packet_for_a_vip_keeps_its_tags_and_all_of_its_bytes(self):
        for steer, tags in (("l2", [0x2005]), ("l2", [100, 0x6fff]), ("ipip", [7])):
            with self.subTest(steer=steer, tags=tags):
                self.check_tags(steer, tags)

    def check_tags(self, steer, tags):
        """VLAN devices are not in every kernel: the frames are made by hand."""
        lab = self.lab_with()
        box = self.shop(lab, steer=steer)
        captures = {lab.address(role): self.enterContext(Capture(lab, role))
                    for role in lab.backends}
        for source, destination in sources_and_vips(lab):
            ip = self.make_syn(source, destination, 1234)
            send(lab, "client", [self.make_tagged(lab, tags, ip, 6 if ":" in source else 4)])
            answer, = box.explain("shop", [endpoint(source, 1234)])
            got, = self.syns_from(captures[answer["backend"]], 1234)
            packet = parse(got)
            self.assertEqual(packet.tags, tags)
            self.assertEqual(packet.source_mac, lab.mac("lb"))
            self.assertEqual(len(packet.headers), 2 if steer == "ipip" else 1)
            self.assertEqual(got[-len(ip):], ip)
        self.assertEqual(sum(box.flows("shop").values()), 2)

    def make_syn(self, source, destination, port):
        ip = IPv6 if ":" in source else IP
        return bytes(ip(src=source, dst=destination) / TCP(sport=port, dport=80, flags="S", seq=7))

    def make_tagged(self, lab, tags, ip, family):
        macs = "".join((lab.mac("lb"), lab.mac("client"))).replace(":", "")
        kinds = ([0x88a8] if len(tags) > 1 else []) + [0x8100]
        head = b"".join(struct.pack("!HH", *pair) for pair in zip(kinds, tags))
        return bytes.fromhex(macs) + head + struct.pack("!H", {4: 0x0800, 6: 0x86dd}[family]) + ip

    def syns_from(self, capture, port):
        return [frame for frame in capture.frames()
                if parse(frame).source_port == port and parse(frame).tcp_flags == SYN]


class Services(BoxTest):
    """Many services and VIPs on one box."""

    def test_services_on_several_vips_and_ports_are_split_each_by_its_own_rule(self):
        roles = [f"b{number}" for number in range(1, 7)]
        lab = self.lab_with(6, ports=(80, 8080))
        lab.add_vip(SECOND4)
        lab.add_vip(SECOND6)
        b = dict(zip(roles, map(lab.address, roles)))
        box = Box(lab)
        keys = {"client": {"prefix6": 128}}
        box.start(config(
            service("one", [vip(lab.vip4), vip(lab.vip6)], [b["b1"]], [b["b2"]], "30%", **keys),
            service("two", [vip(SECOND4), vip(SECOND6, 8080)], [b["b3"]], [b["b4"]], "60%", **keys),
            service("any", [vip(SECOND4, "*"), vip(SECOND6, "*")], [b["b5"]], [b["b6"]], "10%",
                    **keys)))
        for name, destination, port, share, backends in (
                ("one", lab.vip4, 80, 0.3, ("b1", "b2")), ("one", lab.vip6, 80, 0.3, ("b1", "b2")),
                ("two", SECOND4, 80, 0.6, ("b3", "b4")), ("two", SECOND6, 8080, 0.6, ("b3", "b4")),
                ("any", SECOND4, 8080, 0.1, ("b5", "b6")), ("any", SECOND6, 80, 0.1, ("b5", "b6"))):
            self.check_split(box, name, destination, port=port, share=share, clients=400,
                             requests=1, backends=backends, canaries=(backends[1],))
        self.check_counters_add_up(box)

    def test_services_of_equal_salt_give_every_client_the_same_cohort(self):
        lab = self.lab_with(4, ports=(80, 8080, 8081))
        b1, b2, b3, b4 = map(lab.address, lab.backends)
        box = Box(lab)
        box.start(config(
            service("web", [vip(lab.vip4, 80)], [b1], [b2], salt="together"),
            service("images", [vip(lab.vip4, 8080)], [b3], [b4], salt="together"),
            service("alone", [vip(lab.vip4, 8081)], [b1], [b4])))
        clients = lab.clients(500)
        in_canary = []
        for port, canaries in ((80, ["b2"]), (8080, ["b4"]), (8081, ["b4"])):
            results = lab.load(clients, lab.vip4, port, concurrency=64)
            self.check_all_ok(results)
            in_canary.append(self.check_sticky(results, canaries))
        self.assertEqual(in_canary[0], in_canary[1])
        self.check_share(len(in_canary[0]), 500, SHARE)
        self.assertNotEqual(in_canary[0], in_canary[2])

    def test_without_enforce_packets_reach_the_host_and_are_counted_as_decided(self):
        lab = self.lab_with()
        lab.hold_vips("lb")
        lab.start_nginx("lb")
        box = self.shop(lab, enforce=False)
        clients = lab.clients(400)
        results = lab.load(clients, lab.vip4, concurrency=64)
        self.check_all_ok(results)
        self.assertEqual({result.backend for result in results}, {"lb"})
        expected = collections.Counter(box.cohorts("shop", clients).values())
        self.assertEqual(box.flows("shop"), expected)
        self.check_share(expected["canary"], 400, SHARE)
        self.check_counters_add_up(box)
        self.assertEqual({reason for reason in box.reasons() if reason[0] == "steer"}, set())
        self.assertGreater(box.reasons()[("pass", "not_enforced")], 400)
        self.assertEqual(lab.counters("lb")["xdp_tx"], 0)

    def test_udp_goes_to_the_backend_that_explain_names(self):
        lab = self.lab_with(ports=())
        box = self.shop(lab, vips=[vip(lab.vip4, "*", "udp"), vip(lab.vip6, 53, "udp")])
        captures = {lab.address(role): self.enterContext(Capture(lab, role))
                    for role in lab.backends}
        flows = {}
        for family, destination in ((4, lab.vip4), (6, lab.vip6)):
            for source in lab.clients(100, family):
                with lab.socket("client", socket.AF_INET if family == 4 else socket.AF_INET6,
                                socket.SOCK_DGRAM) as sock:
                    sock.bind((source, 0))
                    sock.sendto(source.encode(), (destination, 53))
                    flows[source] = endpoint(source, sock.getsockname()[1])
        expected = {}
        for family, destination in ((4, lab.vip4), (6, lab.vip6)):
            sources = lab.clients(100, family)
            answers = box.explain("shop", [flows[source] for source in sources], "--to",
                                  vip(destination, 53, "udp"))
            expected.update(zip(sources, (answer["backend"] for answer in answers)))
        got = {packet.payload.decode(): backend for backend, capture in captures.items()
               for packet in capture.packets() if packet.destination_port == 53}
        self.assertEqual(got, expected)
        self.assertEqual(len(set(got.values())), 3)


class Agreement(BoxTest):
    """The same client has the same cohort and backend everywhere and always."""

    CLIENTS = 500

    def make(self, lab):
        box = Box(lab)
        b1, b2, b3 = map(lab.address, lab.backends)
        keys = {"client": {"prefix6": 128}, "holdout": "5%"}
        box.start(config(
            service("shop", [vip(lab.vip4), vip(lab.vip6)], [b1, b2], [b3], balance="client",
                    **keys),
            service("flow", [vip(lab.vip4, 8080), vip(lab.vip6, 8080)], [b1, b2], [b3], **keys)))
        return box

    def decisions(self, box):
        clients = [client for family in (4, 6)
                   for client in box.lab.clients(self.CLIENTS, family)]
        return [[{key: answer[key] for key in ("client", "flow", "cohort", "reason", "hash",
                                               "enters_at_ppm", "backend")}
                 for answer in box.explain(name, clients)] for name in ("shop", "flow")]

    def served(self, lab):
        """{client: backend}; it is the same for all of the client's connections."""
        backends = collections.defaultdict(set)
        for family, destination in ((4, lab.vip4), (6, lab.vip6)):
            results = lab.load(lab.clients(self.CLIENTS, family), destination, requests=2,
                               concurrency=64)
            self.check_all_ok(results)
            for result in results:
                backends[result.source].add(result.backend)
        self.assertTrue(all(len(roles) == 1 for roles in backends.values()))
        return {client: min(roles) for client, roles in backends.items()}

    def digests(self, box):
        box.daemon()
        text = box.fetch()[2]
        self.assertEqual(box.stop_daemon(), 0)
        lines = {line for line in text.splitlines() if "policy_digest_info{" in line}
        self.assertEqual(len(lines), 2)
        return lines

    def test_promise_2_two_boxes_with_one_secret_and_one_file_agree_on_cohort_and_backend(self):
        one, other = self.lab_with(), self.lab_with()
        boxes = [self.make(one), self.make(other)]
        self.assertEqual(*(box.run("secret", "check").stdout.split()[0] for box in boxes))
        self.assertEqual(*map(self.decisions, boxes))
        self.assertEqual(self.served(one), self.served(other))
        self.assertEqual(*map(self.digests, boxes))

    def test_another_secret_gives_other_clients_and_another_digest(self):
        one, other = self.lab_with(), self.lab_with()
        boxes = [self.make(one), Box(other, "stranger")]
        boxes[1].write_secret("%032x" % self.random.getrandbits(128))
        boxes[1].start(boxes[0].run("get").stdout)
        self.assertNotEqual(*map(self.digests, boxes))
        self.assertNotEqual(*map(self.decisions, boxes))

    def test_a_restart_from_nothing_but_the_state_changes_no_decision(self):
        lab = self.lab_with()
        box = self.make(lab)
        box.run("rollout", "set", "shop", "45%")
        box.run("client", "pin", "flow", lab.clients(1)[0], "canary")
        before = self.decisions(box), self.served(lab), self.digests(box)
        box.run("detach")
        box.forget_pins()
        box.run("attach")
        self.assertEqual((self.decisions(box), self.served(lab), self.digests(box)), before)


class Changes(BoxTest):
    def test_changes_under_load_harm_nobody_whose_decision_stays(self):
        """Promise 5, of new flows: those that live stay where they are (affinity_test.py)."""
        lab = self.lab_with()
        box = self.shop(lab, share="60%", balance="client")
        clients = lab.clients(300)
        enters = {client: answer["enters_at_ppm"]
                  for client, answer in zip(clients, box.explain("shop", clients))}
        stays = [client for client in clients if not 300000 < enters[client] <= 600000]
        extra = service("extra", [vip(lab.vip4, 8080)], [lab.address("b1")], [], "0%")
        with Traffic(lab, stays, lab.vip4) as traffic:
            for turn in range(ROUNDS):
                box.run("rollout", "set", "shop", ("30%", "60%")[turn % 2])
                box.run("client", "pin", "shop", f"192.0.2.{turn}", "canary")
                box.apply(config(self.shop_service(lab, share="60%", balance="client"),
                                 *([extra] if turn % 2 else [])), "--prune")
                traffic.wait_for_more(50)
        self.check_all_ok(traffic.results)
        in_canary = self.check_sticky(traffic.results)
        self.assertEqual(in_canary, {client for client in stays if enters[client] <= 300000})
        self.assertEqual(sum(box.flows("shop").values()), len(traffic.results))  # no SYN was lost
        self.check_counters_add_up(box)


class Counting(BoxTest):
    def settled(self, lab, box):
        """(frames that the interface received, the program's statistics), both of one moment."""
        def read():
            before = lab.counters("lb")["rx_packets"]
            stats = box.stats()
            return (before, stats) if lab.counters("lb")["rx_packets"] == before else None

        return wait_for(read)

    def test_promise_11_every_packet_is_counted_once_and_every_connection_in_its_cohort(self):
        lab = self.lab_with()
        box = self.shop(lab)
        rx_before, before = self.settled(lab, box)
        connections = collections.Counter()
        for family, destination in ((4, lab.vip4), (6, lab.vip6)):
            results = lab.load(lab.clients(500, family), destination, requests=2, concurrency=32)
            self.check_all_ok(results)
            connections.update("canary" if result.backend == "b3" else "stable"
                               for result in results)
        lab.ping("client", lab.address("lb"))
        rx, stats = self.settled(lab, box)
        self.check_counters_add_up(box)
        self.assertEqual(stats["packets_seen"] - before["packets_seen"], rx - rx_before)
        self.assertEqual(box.flows("shop"), connections)
        self.assertEqual(box.rule_counters("shop", "fins"), connections)
        packets = box.rule_counters("shop", "packets")
        self.assertEqual(sum(box.backend_packets("shop").values()), sum(packets.values()))
        self.assertEqual(box.backend_packets("shop")[lab.address("b3")], packets["canary"])
        self.assertEqual(box.reasons()[("steer", "default")], sum(packets.values()))

    def test_counters_go_on_over_apply_detach_and_attach(self):
        lab = self.lab_with()
        box = self.shop(lab)
        expected = collections.Counter()

        def load():
            results = lab.load(lab.clients(200), lab.vip4, concurrency=32)
            self.check_all_ok(results)
            expected.update("canary" if result.backend == "b3" else "stable" for result in results)
            self.assertEqual(box.flows("shop"), expected)

        load()
        box.apply(config(self.shop_service(lab, share="60%"), interfaces=["eth0"]))
        load()
        since = box.stats()["since"]
        box.run("detach")
        self.assertEqual(box.flows("shop"), expected)
        box.run("attach")
        load()
        box.run("rollout", "set", "shop", "5%")
        load()
        self.assertEqual(box.stats()["since"], since)
        self.check_counters_add_up(box)


class Modes(BoxTest):
    """How the program is attached."""

    def finding(self, box, interface):
        """What doctor says of the interface's program: (id, severity)."""
        findings = json.loads(box.run("-j", "doctor", check=False).stdout)["findings"]
        return next((entry["id"], entry["severity"]) for entry in findings
                    if entry["object"] == interface and entry["id"] in ("attached", "generic"))

    def make_bridge(self, lab):
        """br0 of the balancer takes over what eth0 had."""
        lab.run("lb", ["sh", "-ec", f"""
            ip link add br0 mtu {lab.mtu} address {lab.mac("lb")} type bridge mcast_snooping 0
            ip address flush dev eth0 scope global
            ip link set eth0 master br0
            ip link set br0 up
            ip address add {lab.address("lb")}/24 dev br0
            ip address add {lab.address("lb", 6)}/64 dev br0 nodad
            ip route add {lab.range4} via {lab.address("client")}
            ip -6 route replace {lab.range6} via {lab.address("client", 6)}
            ethtool -K br0 tx off gso off gro off"""])

    def test_generic_by_request_splits_as_native_does(self):
        lab = self.lab_with()
        box = Box(lab)
        entry = {"name": "eth0", "mode": "generic"}
        box.apply(config(self.shop_service(lab), interfaces=[entry]))
        self.assertEqual(box.json("attach")["interfaces"],
                         [{"interface": "eth0", "mode": "generic"}])
        self.assertEqual(self.finding(box, "eth0"), ("generic", "warning"))
        for destination in (lab.vip4, lab.vip6):
            self.check_split(box, "shop", destination, share=SHARE)
        self.check_counters_add_up(box)

    def test_auto_falls_back_to_generic_and_says_so_in_attach_apply_and_doctor(self):
        lab = self.lab_with()
        self.make_bridge(lab)
        box = Box(lab)
        policy = config(self.shop_service(lab), interfaces=[{"name": "br0", "mode": "auto"}])
        box.apply(policy)
        self.assertIn("br0: attached in generic mode", box.run("attach").stderr)
        self.assertEqual(self.finding(box, "br0"), ("generic", "warning"))
        self.check_split(box, "shop", lab.vip4, share=SHARE)
        lab.run("lb", ["ip", "link", "add", "spare", "type", "bridge"])
        policy["interfaces"].append({"name": "spare", "mode": "auto"})
        warnings = box.apply(policy)["warnings"]
        self.assertEqual([entry["object"] for entry in warnings], ["spare"], warnings)
        self.assertEqual(self.finding(box, "spare"), ("generic", "warning"))

    def test_auto_is_native_where_the_driver_can(self):
        lab = self.lab_with()
        box = Box(lab)
        box.apply(config(self.shop_service(lab), interfaces=[{"name": "eth0", "mode": "auto"}]))
        done = box.run("attach")
        self.assertEqual((done.stdout, done.stderr), ("eth0: attached (native)\n", ""))
        self.assertEqual(self.finding(box, "eth0"), ("attached", "ok"))

    def test_native_where_the_driver_cannot_is_an_error_that_says_what_to_do(self):
        lab = self.lab_with()
        self.make_bridge(lab)
        box = Box(lab)
        box.apply(config(self.shop_service(lab), interfaces=["br0"]))
        done = box.run("attach", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^br0: .*native.*mode: auto")
        self.assertNotIn("xdp", lab.run("lb", ["ip", "link", "show", "br0"]).stdout)
        self.assertEqual(self.finding(box, "br0"), ("attached", "info"))


class PathMtu(BoxTest):
    """The client's full segments do not fit the tunnel: it is told, and sends smaller ones."""

    BODY = 1000000

    def upload(self, lab, source, destination, port):
        """POSTs a body of BODY bytes; returns the answer's first line."""
        with lab.connect(source, destination, port, timeout=10) as connection:
            connection.sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                    b"Content-Length: %d\r\n\r\n" % self.BODY)
            connection.sock.sendall(bytes(self.BODY))
            return connection.sock.makefile("rb").readline()

    def route_mtu(self, lab, source, destination):
        text = lab.run("client", ["ip", "route", "get", destination, "from", source]).stdout
        words = text.split()
        return int(words[words.index("mtu") + 1]) if "mtu" in words else None

    def test_a_large_upload_through_ipip_gets_through_by_path_mtu_discovery(self):
        lab = self.lab_with(1, decap=["b1"], ports=(80, 8080))
        box = Box(lab)
        services = [service(f"outer{family}", [vip(lab.vip4, port), vip(lab.vip6, port)],
                            [lab.address("b1", family)], [], "0%", steer="ipip")
                    for family, port in ((4, 80), (6, 8080))]
        box.start(config(*services))
        overhead = {80: 20, 8080: 40}
        for port in (80, 8080):  # the larger header comes second: what was learnt first is no help
            for source, destination in sources_and_vips(lab):
                with self.subTest(port=port, destination=destination):
                    before = box.reasons().get(("drop", "too_big"), 0)
                    self.assertIn(b" 200 ", self.upload(lab, source, destination, port))
                    self.assertEqual(self.route_mtu(lab, source, destination),
                                     lab.mtu - overhead[port])
                    self.assertGreater(box.reasons()[("drop", "too_big")], before)


if __name__ == "__main__":
    unittest.main()
