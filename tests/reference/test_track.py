#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Followed flows: the real program in BPF_PROG_TEST_RUN against a model of its own (track_model.py).

Packets of each failure and of each trap, made here or recorded from real servers and clients
(tests/data/flows, by record_flows.py), run through the program at the times that they had: the
service's clock is set before each. Then every event and every bucket of every histogram is what the
model says of the same packets.
"""
import contextlib
import glob
import json
import os
import random
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)

try:
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
    from scapy.layers.l2 import Dot1Q, Ether
    from scapy.utils import RawPcapReader
    import track_model as model
except ImportError as missing:
    raise unittest.SkipTest("needs python3-scapy: %s" % missing)

PROGRAM = os.environ.get("TRACK_REPLAY",
                         os.path.join(ROOT, "build", "tests", "reference", "track_replay"))
SEED = int(os.environ.get("XDP_CANARY_SEED", time.time_ns()))
FLOWS = os.path.join(ROOT, "tests", "data", "flows")
VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
CLIENT = "198.51.100.7"
MACS = "02:00:00:00:00:01", "02:ff:00:00:00:01"
FIN, SYN, RST, ACK = model.FIN, model.SYN, model.RST, model.ACK
MTU = 1400
START_MS = 1000000


class Program:
    """The real one, with room for so many clients; it serves one test after the other."""
    running = {}

    def __init__(self, clients):
        self.process = subprocess.Popen([PROGRAM, str(clients)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @classmethod
    def get(cls, clients):
        if clients not in cls.running:
            cls.running[clients] = cls(clients)
        return cls.running[clients]

    @classmethod
    def end_all(cls):
        """Not 0: one of them gave up."""
        statuses = []
        for program in cls.running.values():
            program.process.stdin.close()
            program.process.stdout.close()
            statuses.append(program.process.wait())
        cls.running = {}
        return max(statuses, default=0)


def tearDownModule():
    status = Program.end_all()
    if status:
        raise AssertionError("a program ended with %d" % status)


class Replay:
    """The program, and the model beside it, fed the same at the same times."""

    def __init__(self, clients=4096, share=500000, factor=16, **settings):
        self.settings = dict(dict(unanswered=5000, idle=60000, server_first=False), **settings)
        self.process = Program.get(clients).process
        hz = self.ask("hz")
        if hz is None:
            Program.running = {}
            raise unittest.SkipTest("needs root, and BPF of its own")
        self.tick = 1000 // hz["hz"]
        self.tell("service %d %d %d %d %d" % (share, factor, self.settings["unanswered"],
                                              self.settings["idle"],
                                              self.settings["server_first"]))
        self.model = model.Model(self.arm, **self.settings)
        self.at(START_MS)
        self.begin(0)

    def tell(self, text):
        self.process.stdin.write(text + "\n")

    def ask(self, text):
        self.tell(text)
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        return json.loads(line) if line.startswith(("{", "[")) else None

    def arm(self, source):
        return ("control", "canary")[self.ask("cohort " + source)["cohort"]]

    def at(self, milliseconds):
        """In whole jiffies, which is what the program sees of time."""
        self.now = int(milliseconds) // self.tick * self.tick
        self.tell("at %d" % (self.now // self.tick))

    def wait(self, milliseconds):
        self.at(self.now + milliseconds)

    def pass_time(self, milliseconds, every=500):
        """With a sweep now and then."""
        end = self.now + milliseconds
        while self.now + every < end:
            self.wait(every)
            self.sweep()
        self.at(end)
        self.sweep()

    def begin(self, settle):
        self.tell("begin %d" % (-1 if settle is None else settle // self.tick))
        self.model.begin(self.now, settle)

    def suspend(self):
        self.tell("suspend")
        self.model.suspend()

    def packet(self, frame):
        self.tell("packet " + bytes(frame).hex())
        self.model.packet(bytes(frame), self.now)

    def sweep(self):
        self.tell("sweep")
        self.model.sweep(self.now)

    def counts(self):
        return self.ask("counts")

    def check(self, test):
        """All that was counted, and who, is what the model says."""
        counts = self.counts()
        for arm in ("control", "canary"):
            expected = self.model.counts(arm)
            for name, value in expected.items():
                test.assertEqual(counts[arm][name], value,
                                 "%s of %s, seed %d" % (name, arm, SEED))
        told = {(event["client"].replace("::/64", "::"), event["window"], event["arm"],
                 event["metric"]) for event in self.ask("events")}
        test.assertEqual(told, set(self.model.told()))
        return counts


class Flow:
    """What a client sends of one connection."""

    def __init__(self, replay, source=CLIENT, port=40000, isn=1000, server_isn=5000, **wrap):
        self.replay, self.source, self.port = replay, source, port
        self.isn, self.seq, self.received = isn, isn, server_isn
        self.vlan, self.extension, self.options = (wrap.get(name) for name in
                                                   ("vlan", "extension", "options"))

    def frame(self, flags, payload=0, seq=None, ack=None):
        link = Ether(src=MACS[0], dst=MACS[1])
        if self.vlan:
            link = link / Dot1Q(vlan=self.vlan)
        if ":" in self.source:
            network = IPv6(src=self.source, dst=VIP6)
            if self.extension:
                network = network / IPv6ExtHdrDestOpt()
        else:
            network = IP(src=self.source, dst=VIP4)
        return link / network / TCP(
            sport=self.port, dport=80, flags=flags, seq=(self.seq if seq is None else seq) % 2**32,
            ack=(self.received if ack is None else ack) % 2**32 if flags & ACK else 0,
            options=self.options or []) / bytes(payload)

    def send(self, flags=ACK, payload=0, **where):
        self.replay.packet(self.frame(flags, payload, **where))

    def syn(self, payload=0):
        self.send(SYN, payload, seq=self.isn)
        self.seq = self.isn + 1 + payload

    def establish(self, after=20):
        self.syn()
        self.replay.wait(after)
        self.received += 1
        self.send()
        return self

    def request(self, size=200):
        while size:
            part = min(size, MTU)
            self.send(ACK, part)
            self.seq += part
            size -= part

    def receive(self, size, after=0):
        """The client acknowledges so many bytes more."""
        self.replay.wait(after)
        self.received += size
        self.send()

    def fin(self):
        self.send(FIN | ACK)
        self.seq += 1

    def rst(self):
        self.send(RST)


class Case(unittest.TestCase):
    def replay(self, **settings):
        return Replay(**settings)

    def events(self, replay):
        """Of the one client, checked against the model."""
        counts = replay.check(self)
        both = [counts["control"], counts["canary"]]
        return {metric: sum(arm["events"][i] for arm in both)
                for i, metric in enumerate(model.METRICS)
                if metric not in model.NOT_TOLD and sum(arm["events"][i] for arm in both)}

    def bucket(self, replay, name):
        counts = replay.counts()
        found = [i for i in range(model.BUCKETS)
                 if counts["control"][name][i] + counts["canary"][name][i]]
        self.assertEqual(len(found), 1, name)
        return found[0]


class Failures(Case):
    def test_a_server_that_refuses_is_a_connect_failure_1_5_s_after_the_only_syn(self):
        replay = self.replay()
        Flow(replay).syn()
        replay.pass_time(1496)
        self.assertEqual(self.events(replay), {})
        replay.pass_time(4)
        self.assertEqual(self.events(replay), {"connect_failure": 1})

    def test_a_black_hole_is_a_repeated_syn_and_a_connect_failure_after_3_s(self):
        replay = self.replay()
        flow = Flow(replay)
        flow.syn()
        replay.pass_time(1000)
        flow.syn()
        self.assertEqual(self.events(replay), {"syn_repeated": 1})
        replay.pass_time(1996)
        self.assertEqual(self.events(replay), {"syn_repeated": 1})
        replay.pass_time(4)
        self.assertEqual(self.events(replay), {"syn_repeated": 1, "connect_failure": 1})

    def test_a_server_that_hangs_is_unanswered_5_s_after_the_last_new_payload(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        replay.pass_time(4996)
        self.assertEqual(self.events(replay), {})
        replay.pass_time(4)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_unanswered_after_is_the_services_own(self):
        replay = self.replay(unanswered=200)
        Flow(replay).establish().request()
        replay.pass_time(196, 100)
        self.assertEqual(self.events(replay), {})
        replay.pass_time(4)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_a_server_that_closes_at_accept_is_unanswered(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(1, 20)
        flow.fin()
        replay.pass_time(1000)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_a_client_that_resets_an_empty_connection_was_unanswered(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(1, 20)
        flow.rst()
        self.assertEqual(self.events(replay), {"unanswered": 1, "client_reset": 1})

    def test_a_server_that_resets_at_accept_is_silent_and_unanswered(self):
        replay = self.replay(idle=5000)
        Flow(replay).establish().request()
        replay.pass_time(19996)
        self.assertEqual(self.events(replay), {"unanswered": 1})
        replay.pass_time(4)
        self.assertEqual(self.events(replay), {"unanswered": 1, "silent": 1})

    def test_a_server_that_resets_in_mid_response_is_silent(self):
        replay = self.replay(idle=5000)
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(20000, 100)
        replay.pass_time(20000)
        self.assertEqual(self.events(replay), {"silent": 1})

    def test_a_client_that_waits_and_leaves_has_quit(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(20000, 100)
        replay.wait(4000)
        flow.fin()
        self.assertEqual(self.events(replay), {"quit": 1})

    def test_a_tls_goodbye_before_the_fin_hides_no_quit(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(20000, 100)
        replay.wait(10000)
        flow.request(24)
        replay.wait(996)
        flow.fin()
        replay.pass_time(2000)
        self.assertEqual(self.events(replay), {"quit": 1, "unanswered": 1})

    def test_a_quiet_time_that_ended_a_second_ago_is_no_quit(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(20000, 100)
        replay.wait(10000)
        flow.send()
        replay.wait(1000)
        flow.fin()
        self.assertEqual(self.events(replay), {})

    def test_a_rst_on_a_pending_request_is_given_up(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(500, 20)
        flow.request()
        replay.wait(300)
        flow.rst()
        self.assertEqual(self.events(replay), {"unanswered": 1, "client_reset": 1})

    def test_a_fin_on_a_pending_request_is_given_up_a_second_later(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(500, 20)
        flow.request()
        flow.fin()
        replay.pass_time(996)
        self.assertEqual(self.events(replay), {})
        replay.pass_time(4)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_an_answer_within_a_second_of_the_fin_is_not_given_up(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(500, 20)
        flow.request()
        flow.fin()
        flow.receive(500, 200)
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {})

    def test_a_lossy_path_is_retransmission(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        replay.wait(220)
        flow.send(ACK, 200, seq=flow.seq - 200)
        self.assertEqual(self.events(replay), {"retransmission": 1})

    def test_a_slow_answer_is_respond_time_over_the_round_trip_and_last_byte_time(self):
        replay = self.replay()
        flow = Flow(replay).establish(40)
        flow.request()
        flow.receive(1000, 540)
        flow.receive(1000, 260)
        flow.fin()
        self.events(replay)
        self.assertEqual(self.bucket(replay, "first_establish"), model.time_bucket(40))
        self.assertEqual(self.bucket(replay, "first_respond"), model.time_bucket(500))
        self.assertEqual(self.bucket(replay, "first_last_byte"), model.time_bucket(800))
        self.assertEqual(self.bucket(replay, "first_size"), 10)

    def test_each_exchange_has_its_own_times(self):
        replay = self.replay()
        flow = Flow(replay).establish(8)
        for wait in (20, 100, 3000):
            flow.request()
            flow.receive(10, wait)
            flow.receive(900, wait)
        flow.fin()
        counts = replay.check(self)
        both = [sum(counts[arm]["last_byte"]) for arm in ("control", "canary")]
        self.assertEqual(sum(both), 3)
        both = [sum(counts[arm]["first_last_byte"]) for arm in ("control", "canary")]
        self.assertEqual(sum(both), 1)

    def test_a_server_that_speaks_first_is_waited_for_from_the_handshake_on(self):
        replay = self.replay(server_first=True)
        Flow(replay).establish()
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {"unanswered": 1})
        flow = Flow(replay, source="198.51.100.8").establish()
        flow.receive(70, 30)
        replay.pass_time(6000)
        self.assertEqual(self.events(replay), {"unanswered": 1})


class Traps(Case):
    def test_a_happy_eyeballs_abort_is_no_failure(self):
        replay = self.replay()
        flow = Flow(replay)
        flow.syn()
        replay.wait(250)
        flow.send(RST, seq=flow.isn + 1)
        replay.pass_time(80000, 5000)
        self.assertEqual(self.events(replay), {})
        self.assertEqual(replay.counts()[replay.arm(CLIENT)]["ended"], 1)

    def test_a_slow_upload_is_not_unanswered(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        for _ in range(20):
            flow.request(1400)
            replay.pass_time(1200)
        flow.receive(300, 100)
        flow.fin()
        replay.pass_time(2000)
        self.assertEqual(self.events(replay), {})

    def test_a_keepalive_probe_is_no_retransmission(self):
        for size in (0, 1):
            replay = self.replay()
            flow = Flow(replay).establish()
            flow.request()
            flow.receive(500, 20)
            replay.wait(15000)
            flow.send(ACK, size, seq=flow.seq - 1)
            self.assertEqual(self.events(replay), {})

    def test_loss_before_this_box_is_no_retransmission(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request(1400)
        flow.seq += 2800  # never came here
        flow.request(1400)
        replay.wait(40)
        flow.send(ACK, 1400, seq=flow.seq - 4200)
        flow.send(ACK, 1400, seq=flow.seq - 2800)
        self.assertEqual(self.events(replay), {})
        flow.send(ACK, 1400, seq=flow.seq - 1400)
        self.assertEqual(self.events(replay), {"retransmission": 1})

    def test_a_retransmission_that_begins_before_the_hole_is_one(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request(1400)
        flow.seq += 1400
        flow.request(1400)
        flow.send(ACK, 1400, seq=flow.seq - 2900)
        self.assertEqual(self.events(replay), {"retransmission": 1})

    def test_a_client_that_closes_its_half_and_is_answered_is_not_unanswered(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.fin()
        flow.receive(500, 996)
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {})

    def test_a_long_poll_needs_its_own_timeout(self):
        for unanswered, expected in ((5000, {"unanswered": 1}), (40000, {})):
            replay = self.replay(unanswered=unanswered)
            flow = Flow(replay).establish()
            flow.request()
            replay.pass_time(30000)
            flow.receive(200)
            replay.pass_time(1000)
            self.assertEqual(self.events(replay), expected)

    def test_a_server_that_closes_an_idle_connection_is_no_quit(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(500, 20)
        replay.wait(20000)
        flow.receive(1)
        flow.fin()
        self.assertEqual(self.events(replay), {})

    def test_a_client_that_closes_when_idle_is_a_quit_up_to_45_s(self):
        for wait, expected in ((45000, {"quit": 1}), (45004, {}), (3996, {})):
            replay = self.replay()
            flow = Flow(replay).establish()
            flow.request()
            flow.receive(500, 20)
            replay.wait(wait)
            flow.fin()
            self.assertEqual(self.events(replay), expected, wait)

    def test_a_quiet_time_that_an_answer_ended_is_no_quit(self):
        replay = self.replay(unanswered=60000)
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(5000, 10000)
        replay.wait(100)
        flow.fin()
        self.assertEqual(self.events(replay), {})

    def test_a_client_that_asked_nothing_neither_quits_nor_goes_empty(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        replay.wait(10000)
        flow.fin()
        self.assertEqual(self.events(replay), {})

    def test_fast_open_is_pending_from_its_syn_and_its_data_may_come_again(self):
        replay = self.replay()
        flow = Flow(replay)
        flow.syn(300)
        replay.wait(20)
        flow.received += 1
        flow.send()
        flow.send(ACK, 300, seq=flow.isn + 1)
        self.assertEqual(self.events(replay), {})
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_an_answer_to_fast_open_is_timed_from_the_syn(self):
        replay = self.replay()
        flow = Flow(replay)
        flow.syn(300)
        replay.wait(20)
        flow.received += 1
        flow.send()
        flow.receive(900, 60)
        flow.fin()
        self.assertEqual(self.events(replay), {})
        self.assertEqual(self.bucket(replay, "first_respond"), model.time_bucket(60))

    def test_a_new_syn_without_a_goodbye_is_no_event(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(500, 20)
        replay.wait(2000)
        again = Flow(replay, isn=77777).establish()
        again.request()
        again.receive(500, 20)
        again.fin()
        self.assertEqual(self.events(replay), {})
        self.assertEqual(replay.counts()[replay.arm(CLIENT)]["ended"], 1)

    def test_the_ack_of_the_handshake_may_ride_on_payload(self):
        replay = self.replay()
        flow = Flow(replay)
        flow.syn()
        replay.wait(20)
        flow.received += 1
        flow.request()
        flow.receive(500, 20)
        flow.fin()
        self.assertEqual(self.events(replay), {})
        self.assertEqual(self.bucket(replay, "first_establish"), model.time_bucket(20))

    def test_sequence_numbers_go_around(self):
        replay = self.replay()
        flow = Flow(replay, isn=2**32 - 300, server_isn=2**32 - 2).establish()
        flow.request(1400)
        flow.seq += 1400
        flow.request(1400)
        flow.send(ACK, 1400, seq=flow.seq - 2800)
        flow.receive(500, 20)
        flow.fin()
        self.assertEqual(self.events(replay), {})

    def test_the_clock_of_milliseconds_goes_around(self):
        replay = self.replay()
        replay.at(2**32 - 2000)
        replay.suspend()
        replay.begin(0)
        flow = Flow(replay).establish()
        flow.request()
        flow.receive(500, 5000)
        replay.wait(4000)
        flow.fin()
        replay.pass_time(2000)
        self.assertEqual(self.events(replay), {"quit": 1})

    def test_udp_and_tags_and_extensions_and_mapped_clients(self):
        replay = self.replay()
        replay.tell("packet " + bytes(
            Ether(src=MACS[0], dst=MACS[1]) / IP(src=CLIENT, dst=VIP4) / UDP(sport=5000, dport=53) / b"x").hex())
        replay.model.sight(CLIENT)
        self.assertEqual(self.events(replay), {})
        for number, wrap in enumerate((dict(vlan=7), dict(extension=True),
                                       dict(options=[("Timestamp", (1, 2))]))):
            source = "2001:db8:1:%d::" % number if "extension" in wrap else \
                "198.51.100.%d" % (20 + number)
            flow = Flow(replay, source=source, **wrap).establish()
            flow.request()
            flow.send(ACK, 200, seq=flow.seq - 200)
        self.assertEqual(self.events(replay), {"retransmission": 3})


class Windows(Case):
    def hang(self, replay, source=CLIENT, port=40000):
        Flow(replay, source=source, port=port).establish().request()

    def test_a_client_counts_once_in_a_window_and_again_in_the_next(self):
        replay = self.replay()
        for port in range(3):
            self.hang(replay, port=port)
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {"unanswered": 1})
        replay.begin(None)
        replay.pass_time(2000)
        self.assertEqual(self.events(replay), {})
        self.hang(replay, port=9)
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {"unanswered": 1})
        arm = replay.arm(CLIENT)
        self.assertEqual(replay.counts()[arm]["totals"][2], 2)

    def test_flows_go_on_counting_over_the_mere_end_of_a_window(self):
        replay = self.replay()
        self.hang(replay)
        replay.begin(None)
        replay.pass_time(5000)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_flows_from_before_a_change_and_its_settling_never_count(self):
        replay = self.replay()
        self.hang(replay, "198.51.100.7")
        replay.suspend()
        self.hang(replay, "198.51.100.8")
        replay.wait(100)
        replay.begin(3000)
        self.hang(replay, "198.51.100.9")
        replay.pass_time(3000)
        self.hang(replay, "198.51.100.10")
        replay.pass_time(7000)
        self.assertEqual(self.events(replay), {"unanswered": 1})
        replay.begin(None)
        self.hang(replay, "198.51.100.9", 7)
        replay.pass_time(7000)
        self.assertEqual(self.events(replay), {"unanswered": 1})

    def test_nothing_counts_while_suspended(self):
        replay = self.replay()
        self.hang(replay, "198.51.100.7")
        replay.pass_time(1000)
        replay.suspend()
        replay.pass_time(6000)
        Flow(replay, source="198.51.100.8").syn()
        self.assertEqual(self.events(replay), {})

    def test_a_client_is_sighted_by_any_packet(self):
        replay = self.replay()
        flow = Flow(replay)
        flow.send()
        counts = replay.check(self)[replay.arm(CLIENT)]
        self.assertEqual((counts["sights"], counts["clients"]), (1, 0))

    def test_events_of_the_window_before_are_told_after_the_next_began(self):
        replay = self.replay()
        flow = Flow(replay).establish()
        flow.request()
        flow.send(ACK, 200, seq=flow.seq - 200)
        replay.begin(None)
        flow.send(ACK, 200, seq=flow.seq - 200)
        told = [(event["window"], event["metric"]) for event in replay.ask("events")]
        self.assertEqual(told, [(1, "retransmission"), (2, "retransmission")])
        self.assertEqual(replay.ask("events"), [])

    def test_a_flow_whose_arm_is_not_followed_is_not_followed(self):
        replay = Replay(share=10000, factor=4)
        replay.model.arm_of = lambda source: None
        sources = ["203.0.%d.%d" % (i // 250, i % 250) for i in range(2000)]
        for source in sources:
            flow = Flow(replay, source=source)
            flow.syn()
        counts = replay.counts()
        canary, control = counts["canary"]["clients"], counts["control"]["clients"]
        self.assertTrue(5 < canary < 45, canary)
        self.assertTrue(40 < control < 130, control)


class Records(Case):
    def test_records_of_flows_that_are_over_and_clients_that_stay_away_are_free_again(self):
        replay = self.replay(clients=256, idle=5000)
        for lap in range(60):
            for number in range(10):
                flow = Flow(replay, source="198.51.%d.%d" % (lap, number)).establish()
                flow.request()
                flow.receive(500, 20)
                if number % 3:
                    flow.fin()
                elif number % 2:
                    flow.rst()
            replay.pass_time(21000, 7000)
            replay.check(self)
            replay.begin(None)
        counts = replay.counts()
        self.assertEqual(counts["control"]["away"] + counts["canary"]["away"], 0)
        replay.pass_time(1000)
        counts = replay.counts()
        self.assertLess(counts["control"]["records"] + counts["canary"]["records"], 31)

    def test_where_the_flows_have_no_room_the_whole_client_is_turned_away(self):
        """What the client does afterwards in the window does not count, of its other flows either."""
        replay = Replay(clients=16)
        replay.model.arm_of = lambda source: None
        flows = []
        for port in range(200):
            flow = Flow(replay, port=port)
            flow.syn()
            flows.append(flow)
        counts = replay.counts()[replay.arm(CLIENT)]
        self.assertEqual((counts["clients"], counts["away"]), (1, 1))
        self.assertEqual(replay.counts()["overflow"], 1)
        replay.pass_time(2000)
        for flow in flows:
            flow.syn()
        counts = replay.counts()[replay.arm(CLIENT)]
        self.assertEqual((sum(counts["events"]), counts["away"]), (0, 1))
        replay.pass_time(80000, 10000)
        replay.pass_time(1000)
        replay.begin(None)
        self.assertEqual(replay.counts()["overflow"], 0)
        flow = Flow(replay, port=999)
        flow.syn()
        flow.syn()
        counts = replay.counts()[replay.arm(CLIENT)]
        self.assertEqual(counts["events"][1], 1)
        self.assertEqual(counts["away"], 1)

    def test_where_the_clients_have_no_room_it_is_counted(self):
        replay = Replay(clients=8)
        replay.model.arm_of = lambda source: None
        for number in range(40):
            Flow(replay, source="198.51.100.%d" % number).send()
        counts = replay.counts()
        sights = counts["control"]["sights"] + counts["canary"]["sights"]
        self.assertLessEqual(sights, 8)
        self.assertGreater(sights, 4)
        self.assertEqual(counts["overflow"], 40 - sights)
        self.assertEqual(counts["overflow"],
                         counts["control"]["away"] + counts["canary"]["away"])

    def test_a_flow_that_ended_makes_room_and_one_that_lives_does_not(self):
        replay = Replay(clients=2)
        replay.model.arm_of = lambda source: None
        for port in range(60):
            flow = Flow(replay, port=port).establish()
            flow.fin()
            replay.wait(1200)
        counts = replay.counts()[replay.arm(CLIENT)]
        self.assertEqual((counts["away"], sum(counts["establish"])), (0, 60))


# What each recording shows, unless its server's timeouts are said to be longer.
RECORDED = {
    "answers_late": {},  # in the histograms alone
    "black_hole": {"connect_failure": 1, "syn_repeated": 1, "silent": 1},
    "closed_at_accept": {"unanswered": 1, "silent": 1},  # by a RST, as the request was not read
    "closed_when_idle": {},
    "half_close": {},
    "hang": {"unanswered": 1, "quit": 1},
    "healthy_curl": {},
    "healthy_tls": {},
    "healthy_upload": {},
    "keep_alive_probes": {},
    "long_poll": {"unanswered": 1, "quit": 1},  # its answer has less than 65 bytes
    "refused": {"connect_failure": 1, "silent": 1},
    "reset_at_accept": {"unanswered": 1, "silent": 1},
    "reset_by_client": {"client_reset": 1},
    "reset_in_mid_response": {"silent": 1},
    "slow_upload": {},
    "stall_in_mid_response": {"quit": 1},
}


class Recorded(Case):
    """Real servers and clients, at the times that their packets had."""

    def frames(self, name):
        """(milliseconds, frame): to the VIP, with the payload's bytes that were not kept."""
        with contextlib.closing(RawPcapReader(os.path.join(FLOWS, name + ".pcap"))) as packets:
            for data, meta in packets:
                frame = bytearray(data) + bytes(meta.wirelen - len(data))
                header = 14 + 4 * (frame[14] & 15)
                frame[30:34] = bytes(map(int, VIP4.split(".")))
                frame[header + 2:header + 4] = b"\0\x50"
                yield meta.sec * 1000 + meta.usec // 1000, bytes(frame)

    def events_of(self, name, **settings):
        replay = self.replay(idle=5000, **settings)
        for when, frame in self.frames(name):
            if START_MS + when > replay.now:
                replay.pass_time(START_MS + when - replay.now)
            replay.packet(frame)
        replay.pass_time(25000, 1000)
        return self.events(replay)

    def test_each_recording_shows_what_its_server_does_and_counts_as_the_model_says(self):
        names = {os.path.basename(path)[:-5] for path in glob.glob(FLOWS + "/*.pcap")}
        self.assertEqual(names, set(RECORDED))
        for name in sorted(names):
            with self.subTest(name):
                self.assertEqual(self.events_of(name), RECORDED[name])

    def test_a_recorded_long_poll_is_answered_where_the_timeout_is_its_own(self):
        self.assertEqual(self.events_of("long_poll", unanswered=10000), {"quit": 1})

    def test_a_recorded_late_answer_is_in_the_bucket_of_its_lateness(self):
        replay = self.replay()
        for when, frame in self.frames("answers_late"):
            replay.at(START_MS + when)
            replay.packet(frame)
        replay.check(self)
        self.assertEqual(self.bucket(replay, "first_respond"), model.time_bucket(513))


class Random(Case):
    """Any segments at any times: flags, sequence numbers and sizes near what a flow expects."""

    def segment(self, choose, flow):
        flags = choose.choices([ACK, SYN, FIN | ACK, RST, RST | ACK, SYN | ACK, 0, FIN, SYN | RST],
                               [60, 8, 5, 1, 1, 1, 1, 1, 1])[0]
        seq = choose.choice([flow.seq, flow.seq, flow.seq, flow.isn, flow.isn + 1, flow.seq - 1,
                             flow.seq - 200, flow.seq + 1400, flow.seq - 1400, flow.seq - 1600])
        payload = choose.choice([0, 0, 0, 1, 2, 200, 1400])
        if flags & SYN:
            seq = choose.choices([flow.isn, flow.isn + 5000], [9, 1])[0]
            flow.isn = seq
            payload = choose.choices([0, 100], [9, 1])[0]
        flow.received += choose.choice([0, 0, 0, 1, 64, 65, 1400, -5])
        flow.send(flags, payload, seq=seq)
        if choose.random() < .9 and payload and (seq + payload - flow.seq) % 2**32 < 2**31:
            flow.seq = seq + payload

    def test_whatever_is_sent_the_model_and_the_program_count_alike(self):
        choose = random.Random(SEED)
        print("XDP_CANARY_SEED=%d" % SEED, file=sys.stderr)
        for settings in (dict(), dict(server_first=True, unanswered=1000, idle=2000)):
            replay = self.replay(**settings)
            flows = []
            for _ in range(2500):
                if not flows or choose.random() < .06:
                    source = "198.51.100.%d" % choose.randrange(100)
                    if choose.random() < .3:
                        source = "2001:db8:7:%x::" % choose.randrange(50)
                    flow = Flow(replay, source=source, port=choose.randrange(40000, 40004),
                                isn=choose.randrange(2**32), server_isn=choose.randrange(2**32))
                    flow.syn()
                    flows.append(flow)
                else:
                    self.segment(choose, choose.choice(flows[-12:]))
                replay.wait(choose.choice([0, 0, 4, 20, 100, 500, 1000, 1500, 4000]))
                if choose.random() < .2:
                    replay.sweep()
                if choose.random() < .003:
                    replay.check(self)
                    if choose.random() < .5:
                        replay.suspend()
                        replay.begin(choose.choice([0, 2000]))
                    else:
                        replay.begin(None)
            replay.check(self)


if __name__ == "__main__":
    unittest.main(verbosity=2)
