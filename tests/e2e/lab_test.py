#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""That the lab is what the other end-to-end tests take it for: when one fails, look here first."""

import glob
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import lab as labs
from lab import HERE, Lab, LabError

LAB_TEST = os.path.join(HERE, "lab_test.bpf.c")


def leftovers(process: int):
    """Namespaces, directories, mounts and processes of the lab of @process."""
    name = f"xc-{process}-"
    found = glob.glob(f"/run/netns/{name}*") + glob.glob(f"{tempfile.gettempdir()}/{name}*")
    with open("/proc/mounts") as mounts:
        found += [line for line in mounts if name in line]
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path) as file:
                if name in (text := file.read()):
                    found.append(text)
        except OSError:
            pass  # it ended meanwhile
    return found


def bytes_of(mac: str) -> str:
    """As a list for the compiler."""
    return ",".join("0x" + part for part in mac.split(":"))


def heed_signals():
    """In a child: what a shell or nohup ignores is inherited, and would not end it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@unittest.skipIf(labs.missing_requirements(), labs.missing_requirements())
class LabTest(unittest.TestCase):
    def setUp(self):
        self.assertEqual(leftovers(os.getpid()), [])

    def tearDown(self):
        self.assertEqual(leftovers(os.getpid()), [])

    def expect_all_from(self, results, backend, count):
        self.assertEqual(len(results), count)
        self.assertEqual({(result.backend, result.status, result.error) for result in results},
                         {(backend, 200, None)})

    def balance(self, lab, backend, egress=0):
        """A program on lb that sends all that the client sends on to @backend."""
        pins = lab.compile_bpf(LAB_TEST, BACKEND_MAC=bytes_of(lab.mac(backend)), EGRESS=egress,
                               CLIENT_MAC=bytes_of(lab.mac("client")))
        lab.attach("lb", pins, "to_backend", "eth0")

    def test_every_role_reaches_every_other(self):
        with Lab(backends=2) as lab:
            roles = ["client", "lb", "b1", "b2"]
            for role in roles:
                for other in set(roles) - {role}:
                    for family in (4, 6):
                        self.assertTrue(lab.ping(role, lab.address(other, family)),
                                        (role, other, family))

    def test_a_thousand_clients_reach_a_vip_straight_at_a_backend(self):
        with Lab(backends=1) as lab:
            lab.start_nginx("b1")
            lab.route_vips("b1")
            for family, vip in ((4, lab.vip4), (6, lab.vip6)):
                clients = lab.clients(1000, family)
                results = lab.load(clients, vip, requests=2)
                self.expect_all_from(results, "b1", 2000)
                self.assertEqual(sorted(result.source for result in results), sorted(2 * clients))

    def test_xdp_tx_through_the_balancer_reaches_the_backend(self):
        with Lab(backends=2) as lab:
            for name in lab.backends:
                lab.start_nginx(name)
            self.balance(lab, "b2")
            for family, vip in ((4, lab.vip4), (6, lab.vip6)):
                self.expect_all_from(lab.load(lab.clients(100, family), vip, requests=2), "b2", 200)
                self.assertTrue(lab.ping("client", vip, source=lab.clients(1, family)[0]))
            self.assertGreater(lab.counters("lb")["xdp_tx"], 400)
            self.assertEqual(lab.counters("lb")["xdp_tx_errors"], 0)

    def test_xdp_redirect_through_the_balancer_reaches_the_other_network(self):
        with Lab(backends=2, back_network=True) as lab:
            for name in lab.backends:
                lab.start_nginx(name)
            self.balance(lab, "b1", egress=lab.link("lb", "eth1")["ifindex"])
            for family, vip in ((4, lab.vip4), (6, lab.vip6)):
                self.expect_all_from(lab.load(lab.clients(100, family), vip, requests=2), "b1", 200)
            self.assertGreater(lab.counters("lb")["xdp_redirect"], 400)

    def test_without_a_balancing_program_a_vip_is_not_reached(self):
        with Lab(backends=1) as lab:
            lab.start_nginx("b1")
            results = lab.load(lab.clients(3), lab.vip4, timeout=0.5)
            self.assertEqual([result.error for result in results], ["timeout while connecting"] * 3)

    def test_nobody_answers_arp_or_nd_for_a_vip(self):
        with Lab(backends=2) as lab:
            for vip in (lab.vip4, lab.vip6):
                lab.run("client", ["ip", "route", "replace", vip, "dev", "eth0"])
                self.assertFalse(lab.ping("client", vip, timeout=1))

    def test_decapsulating_backend_answers_the_inner_packet(self):
        with Lab(backends=1, decap=["b1"]) as lab:
            for outer in (4, 6):
                for inner in (4, 6):
                    self.assertTrue(self.ping_through_tunnel(lab, outer, inner), (outer, inner))

    def ping_through_tunnel(self, lab, outer, inner):
        """An echo request to the VIP of family @inner within a packet of family @outer to b1."""
        source, vip = lab.clients(1, inner)[0], (lab.vip4 if inner == 4 else lab.vip6)
        family, protocol = (socket.AF_INET, 4) if inner == 4 else (socket.AF_INET6, 41)
        ends = socket.inet_pton(family, source) + socket.inet_pton(family, vip)
        echo = struct.pack("!BBHHH", 8 if inner == 4 else 128, 0, 0, 7, outer)
        pseudo = b"" if inner == 4 else ends + struct.pack("!II", len(echo), 58)
        echo = echo[:2] + struct.pack("!H", labs.internet_checksum(pseudo + echo)) + echo[4:]
        if inner == 4:
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(echo), 0, 0, 64, 1, 0)
            checksum = labs.internet_checksum(head + ends)
            packet = head[:10] + struct.pack("!H", checksum) + ends + echo
        else:
            packet = struct.pack("!IHBB", 6 << 28, len(echo), 58, 64) + ends + echo
        outer_family = socket.AF_INET if outer == 4 else socket.AF_INET6
        answers_by = socket.IPPROTO_ICMP if inner == 4 else socket.IPPROTO_ICMPV6
        with lab.socket("client", outer_family, socket.SOCK_RAW, protocol) as tunnel, \
                lab.socket("client", family, socket.SOCK_RAW, answers_by) as answers:
            tunnel.sendto(packet, (lab.address("b1", outer), 0))
            return self.has_reply(answers, vip, struct.pack("!HH", 7, outer))

    def has_reply(self, answers, vip, mark):
        deadline = time.monotonic() + 2
        while (left := deadline - time.monotonic()) > 0:
            answers.settimeout(left)
            try:
                answer, sender = answers.recvfrom(2048)
            except socket.timeout:
                return False
            if sender[0] == vip and answer.endswith(mark):
                return True
        return False

    def test_load_records_what_went_wrong(self):
        with Lab(backends=1) as lab:
            lab.route_vips("b1")
            client = lab.clients(1)
            [result] = lab.load(client, lab.vip4)
            self.assertEqual(result.error, "ECONNREFUSED")
            server = lab.start_nginx("b1", "no\n", name="tired", status=503)
            [result] = lab.load(client, lab.vip4)
            self.assertEqual((result.status, result.backend, result.error), (503, "tired", None))
            self.assertFalse(result.ok)
            self.assertEqual(lab.stop(server), 0)
            with lab.socket("b1", socket.AF_INET, socket.SOCK_STREAM) as silent:
                silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                silent.bind((lab.vip4, 80))
                silent.listen()
                [result] = lab.load(client, lab.vip4, timeout=1)
                self.assertEqual(result.error, "timeout")

    def test_connection_stays_open_and_fails_when_its_server_goes(self):
        with Lab(backends=1) as lab:
            server = lab.start_nginx("b1", 'costs "$5"\n')
            lab.route_vips("b1")
            with lab.connect(lab.clients(1, 6)[0], lab.vip6) as connection:
                for _ in range(10):
                    result = connection.get()
                    self.assertTrue(result.ok, result)
                lab.stop(server)
                self.assertFalse(connection.get().ok)

    def test_who_asks_whether_a_server_listens_does_not_find_itself(self):
        with Lab(backends=1) as lab:
            lab.run("b1", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=8080 8083"])
            self.assertEqual({lab._accepts("b1", 8080) for _ in range(100)}, {False})
            lab.start_nginx("b1", port=8080)

    def test_http_load_runs_as_a_command_in_a_role(self):
        with Lab(backends=1) as lab:
            lab.start_nginx("b1")
            lab.route_vips("b1")
            done = lab.run("client", ["/usr/bin/python3", os.path.join(HERE, "http_load.py"),
                                      "--sources", "10.50.1.0/29", "--requests", "2", lab.vip4])
            self.assertEqual(done.stdout.count('"backend": "b1"'), 16)

    def test_commands_have_bpffs_and_report_what_they_printed(self):
        with Lab(backends=0) as lab:
            script = 'mkdir "$XDP_CANARY_PINS" && stat -f -c %T "$XDP_CANARY_PINS"'
            self.assertEqual(lab.run("lb", ["sh", "-c", script]).stdout, "bpf_fs\n")
            with self.assertRaisesRegex(LabError, "(?s)lb: .*exit status 3.*it broke"):
                lab.run("lb", ["sh", "-c", "echo it broke >&2; exit 3"])
            with self.assertRaisesRegex(LabError, "not done after"):
                lab.run("lb", ["sleep", "100"], timeout=0.2)

    def test_two_labs_stand_side_by_side(self):
        with Lab(backends=1) as one, Lab(backends=1) as other:
            one.start_nginx("b1", name="one")
            other.start_nginx("b1", name="other")
            for lab, name in ((one, "one"), (other, "other")):
                lab.route_vips("b1")
                self.expect_all_from(lab.load(lab.clients(5), lab.vip4), name, 5)

    def test_nothing_is_left_after_an_exception(self):
        with self.assertRaisesRegex(ValueError, "in the middle"):
            with Lab(backends=1) as lab:
                lab.start_nginx("b1")
                raise ValueError("in the middle")

    def test_nothing_is_left_after_a_signal(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            with self.subTest(number):
                process = self.start_standing_lab()
                process.send_signal(number)
                process.wait(20)
                self.assertEqual(leftovers(process.pid), [])

    def test_next_lab_sweeps_up_after_one_that_was_killed(self):
        process = self.start_standing_lab()
        process.kill()
        process.wait(20)
        self.assertNotEqual(leftovers(process.pid), [])
        deadline = time.monotonic() + 10
        while leftovers(process.pid) and time.monotonic() < deadline:
            labs.sweep()  # until its processes have died with it
        self.assertEqual(leftovers(process.pid), [])

    def start_standing_lab(self):
        """A process with a lab that has a server; returns once it stands."""
        script = ("import time\nfrom lab import Lab\n"
                  "with Lab(backends=1) as lab:\n"
                  " lab.start_nginx('b1'); print('stands', flush=True); time.sleep(60)\n")
        process = subprocess.Popen([sys.executable, "-c", script], cwd=HERE, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                   preexec_fn=heed_signals)
        self.addCleanup(process.stdout.close)
        self.assertEqual(process.stdout.readline(), "stands\n")
        return process


if __name__ == "__main__":
    unittest.main()
