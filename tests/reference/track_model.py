# SPDX-License-Identifier: GPL-2.0-only
"""What a client's half of TCP flows says of a service: an independent reading of the rules.

Written from the description of the signals ("Signals: a flow's health from the client's half
alone"), not from the program: one object a flow, times in milliseconds, sequence numbers modulo
2^32. `Model.packet` takes raw frames, which scapy takes apart.

Where the description leaves a choice, it is made here and named:
 - a flow says goodbye once: a RST after a FIN still shows what was given up, but is no second quit;
 - RST before any ACK is no event at all, client_reset neither;
 - empty (payload was sent, the server's total is at most one byte) is told with given_up, a second
   after the FIN: by then a client that closed its half alone has its answer (recorded: half_close);
 - only one hole is remembered, the last;
 - an advance that a FIN or RST carries itself comes before it.
"""
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

METRICS = ("connect_failure", "syn_repeated", "unanswered", "quit", "silent", "retransmission",
           "establish_time", "respond_time", "last_byte_time", "client_reset", "response_size")
NOT_TOLD = ("establish_time", "respond_time", "last_byte_time", "response_size")
BUCKETS = 32
FIN, SYN, RST, ACK = 1, 2, 4, 16
WHOLE = 1 << 32


def ahead(number, base):
    """How far a sequence number is in front of another; negative: behind."""
    distance = (number - base) % WHOLE
    return distance if distance < WHOLE // 2 else distance - WHOLE


def time_bucket(ms):
    """By the upper edges 1 2 3 4 6 8 12 16 24 32 ...; the last bucket is open."""
    edges = [1, 2]
    while len(edges) < BUCKETS - 1:
        edges.append(edges[-1] // 2 * 3 if len(edges) % 2 == 0 else edges[-2] * 2)
    return next((i for i, edge in enumerate(edges) if ms <= edge), BUCKETS - 1)


def size_bucket(size):
    return max(size, 1).bit_length() - 1


class Segment:
    """What a TCP segment says."""

    def __init__(self, frame):
        packet = Ether(frame)
        network = packet[IP] if IP in packet else packet[IPv6]
        tcp = network[TCP]
        self.source, self.destination = network.src, network.dst
        self.ports = tcp.sport, tcp.dport
        self.flags = int(tcp.flags)
        self.seq, self.ack = tcp.seq, tcp.ack
        end = network.len if IP in packet else network.plen
        header = 4 * network.ihl if IP in packet else 0
        for extension in self.extensions(network):
            header += extension
        self.payload = end - header - 4 * tcp.dataofs

    @staticmethod
    def extensions(network):
        layer = network.payload
        while layer and not isinstance(layer, TCP):
            yield len(layer) - len(layer.payload)
            layer = layer.payload

    def key(self):
        return self.source, self.destination, self.ports


class Flow:
    """From a SYN on. `events` collects metrics, `samples` (metric, value) of the segment in hand."""

    def __init__(self, segment, now, settings):
        self.settings = settings
        self.isn = segment.seq
        self.expected = (segment.seq + 1) % WHOLE  # snd_max
        self.hole = None
        self.first_ack = self.best_ack = None
        self.began = self.last = now
        self.established = self.asked = self.advanced = None
        self.pending = self.fast_open = self.lone = self.exchange = False
        self.quiet = None  # length, end
        self.goodbye = None  # when a FIN was seen
        self.over = False
        self.syns = 0
        self.told = set()

    def respond(self, kind, value):
        self.samples.append((kind, value))

    def segment(self, segment, now):
        """The events and samples of one segment of this flow; `over`: it has ended."""
        self.events, self.samples, self.over = set(), [], False
        if segment.flags & SYN:
            if segment.flags & (ACK | RST):
                return
            self.syns += 1
            if self.syns > 1:
                self.events.add("syn_repeated")
            if segment.payload:
                self.fast_open = True
            self.payload((segment.seq + 1) % WHOLE, segment.payload, now)
            self.gap(now)
        elif self.established is None and segment.flags & RST:
            self.over = True
        elif self.established is None and not segment.flags & ACK:
            pass
        else:
            self.of_established(segment, now)
        self.last = now

    def of_established(self, segment, now):
        if self.established is None:
            self.established = now
            self.first_ack = self.best_ack = segment.ack
            self.respond("establish_time", now - self.began)
            if self.settings["server_first"]:
                self.pending, self.asked = True, now
        if segment.flags & ACK:
            self.look_at_ack(segment.ack, now)
        if not segment.flags & RST:
            self.payload(segment.seq, segment.payload, now)
        self.gap(now)
        if segment.flags & (FIN | RST):
            self.end(segment, now)

    def look_at_ack(self, ack, now):
        advance = ahead(ack, self.best_ack)
        if advance <= 0:
            return
        bare_fin = advance == 1 and ahead(ack, self.first_ack) == 1
        if self.pending and not bare_fin:
            round_trip = self.established - self.began
            self.respond("respond_time", max(0, now - self.asked - round_trip))
            self.pending, self.exchange = False, True
        self.best_ack, self.advanced = ack, now
        self.lone = advance == 1
        if advance > 64:
            self.quiet = None
            self.last = now

    def payload(self, seq, size, now):
        if not size:
            return
        beyond = ahead((seq + size) % WHOLE, self.expected)
        if beyond > 0:
            if ahead(seq, self.expected) > 0:
                self.hole = self.expected, seq
            self.close_exchange()
            self.expected = (seq + size) % WHOLE
            self.pending, self.asked = True, now
            return
        keepalive = size == 1 and ahead(seq, self.expected) == -1
        in_hole = self.hole and ahead(seq, self.hole[0]) >= 0 and \
            ahead((seq + size) % WHOLE, self.hole[1]) <= 0
        if not keepalive and not in_hole and not (self.fast_open and
                                                  ahead(seq, self.isn) == 1):
            self.events.add("retransmission")

    def close_exchange(self):
        if self.exchange:
            self.respond("last_byte_time", self.advanced - self.asked)
            self.exchange = False

    def gap(self, now):
        if now - self.last >= 1500:
            self.quiet = min(now - self.last, 65535), now

    def end(self, segment, now):
        if self.goodbye is None:
            total = ahead(self.best_ack, self.first_ack)
            if self.quiet and now - self.quiet[1] < 1000:
                quiet = self.quiet[0]
            else:
                quiet = now - self.last
            if self.expected != (self.isn + 1) % WHOLE:
                if 4000 <= quiet <= 45000 and not self.lone:
                    self.events.add("quit")
            self.respond("response_size", total)
            self.close_exchange()
            self.over = True
        if segment.flags & RST:
            self.events.add("client_reset")
            if self.pending:
                self.events.add("unanswered")
        elif self.goodbye is None:
            self.goodbye = now

    def sweep(self, now):
        """(events, silent, gone): what the clock says, each thing once while it lasts."""
        holds = set()
        if self.established is None and (now - self.began >= 3000 or
                                         self.syns == 1 and now - self.began >= 1500):
            holds.add("connect_failure")
        if self.pending and now - self.asked >= self.settings["unanswered"]:
            holds.add("unanswered")
        if self.pending and self.goodbye is not None and now - self.goodbye >= 1000:
            holds.add("given_up")
        events = {"unanswered" if event == "given_up" else event for event in holds - self.told}
        self.told = holds
        silent = self.goodbye is None and now - self.last >= self.settings["idle"] + 15000
        if silent:
            events.add("silent")
        gone = silent or (self.goodbye is not None and now - self.last >= 15000)
        return events, silent, gone


class Client:
    """What is known of one client in the running window."""

    def __init__(self, arm):
        self.arm = arm
        self.metrics, self.sight, self.counts, self.ended = {}, False, False, False
        self.first_flow = None


class Model:
    """Flows of clients, and what of them counts. Clients are told by their addresses."""

    def __init__(self, arm_of, unanswered=5000, idle=60000, server_first=False):
        self.arm_of = arm_of
        self.settings = dict(unanswered=unanswered, idle=idle, server_first=server_first)
        self.flows, self.clients, self.arms = {}, {}, {}
        self.count_from = None  # suspended
        self.totals = {arm: dict.fromkeys(METRICS, 0) for arm in ("control", "canary")}
        self.all = {arm: {metric: [] for metric in NOT_TOLD[:3]} for arm in ("control", "canary")}
        self.window = 0
        self.untold = []

    def begin(self, now, settle):
        self.window += 1
        self.clients = {}
        if settle is not None:
            self.count_from = now + settle

    def suspend(self):
        self.count_from = None

    def arm(self, source):
        if source not in self.arms:
            self.arms[source] = self.arm_of(source)
        return self.arms[source]

    def client(self, source):
        return self.clients.setdefault(source, Client(self.arm(source)))

    def counted(self, flow, now):
        return self.count_from is not None and now >= self.count_from and \
            flow.began >= self.count_from

    def sight(self, source):
        if self.count_from is not None and self.arm(source):
            self.client(source).sight = True

    def packet(self, frame, now):
        segment = Segment(frame)
        if not self.arm(segment.source):
            return
        self.sight(segment.source)
        flow = self.flows.get(segment.key())
        starts = segment.flags & (SYN | ACK | RST) == SYN
        if starts and (flow is None or flow.isn != segment.seq):
            client = self.clients.get(segment.source)
            if flow and client and client.first_flow is flow:
                client.ended = True
            flow = self.flows[segment.key()] = Flow(segment, now, self.settings)
        if flow is None:
            return
        flow.segment(segment, now)
        for metric, value in flow.samples:
            if metric in self.all[self.arm(segment.source)]:
                self.all[self.arm(segment.source)][metric].append(value)
        if self.counted(flow, now):
            self.count(segment.source, flow, flow.events, dict(flow.samples), flow.over, flow)
        if segment.flags & RST and not segment.flags & SYN:
            del self.flows[segment.key()]

    def count(self, source, flow, events, samples, over, first):
        client = self.client(source)
        if not client.counts:
            client.counts = True
            client.first_flow = first
        if over and client.first_flow is flow:
            client.ended = True
        for metric in sorted(events | set(samples), key=METRICS.index):
            if metric in client.metrics:
                continue
            client.metrics[metric] = samples.get(metric)
            self.totals[client.arm][metric] += 1
            if metric not in NOT_TOLD:
                self.untold.append((source, self.window, client.arm, metric))

    def sweep(self, now):
        for key, flow in list(self.flows.items()):
            events, silent, gone = flow.sweep(now)
            if events and self.counted(flow, now):
                # A flow that only the clock speaks of is not known as the first, but as it ends.
                self.count(key[0], flow, events, {}, silent, flow if silent else None)
            if gone:
                del self.flows[key]

    def told(self):
        told, self.untold = self.untold, []
        return told

    def counts(self, arm):
        clients = [client for client in self.clients.values() if client.arm == arm]
        out = {
            "clients": sum(client.counts for client in clients),
            "ended": sum(client.ended for client in clients),
            "sights": sum(client.sight for client in clients),
            "events": [sum(metric in client.metrics for client in clients) for metric in METRICS],
            "totals": [self.totals[arm][metric] for metric in METRICS],
            "sums": [sum(self.all[arm][metric]) for metric in NOT_TOLD[:3]],
        }
        for metric in NOT_TOLD:
            bucket = size_bucket if metric == "response_size" else time_bucket
            name = metric.replace("response_", "").replace("_time", "")
            first, whole = [0] * BUCKETS, [0] * BUCKETS
            for client in clients:
                if metric in client.metrics:
                    first[bucket(client.metrics[metric])] += 1
            for value in self.all[arm].get(metric, ()):
                whole[bucket(value)] += 1
            out["first_" + name] = first
            if metric != "response_size":
                out[name] = whole
        return out
