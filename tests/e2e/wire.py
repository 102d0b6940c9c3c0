# SPDX-License-Identifier: GPL-2.0-only
"""Frames as they are on the wire of a lab: sent raw, captured with their VLAN tags, read.

    with Capture(lab, "b1") as capture:
        send(lab, "client", [bytes(Ether(...) / IP(...))])
        for frame in capture.frames():
            print(parse(frame))

The last hop to a role is seen at the switch's port of the same name, before anything of the role
(a decapsulating program, say) has touched it: Capture(lab, "switch", "b1").
"""

import select
import socket
import struct
import time
from dataclasses import dataclass, field
from typing import List, Optional, Sequence

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8
TP_STATUS_VLAN_VALID = 1 << 4
SO_RCVBUFFORCE = 33
BURST = 64
VLAN_TYPES = (0x8100, 0x88a8)
IN_IP = {4: 4, 41: 6}  # protocol -> family of what is inside


@dataclass
class Header:
    """One IP header of a frame, the outermost first."""
    family: int
    source: str
    destination: str
    protocol: int
    tos: int
    ttl: int


@dataclass
class Packet:
    """What tests ask of a frame. Of several IP headers the last one's payload counts."""
    destination_mac: str
    source_mac: str
    tags: List[int] = field(default_factory=list)  # VLAN ids with priority, the outer one first
    headers: List[Header] = field(default_factory=list)
    source_port: Optional[int] = None
    destination_port: Optional[int] = None
    tcp_flags: Optional[int] = None
    payload: bytes = b""  # of TCP or UDP


def parse(frame: bytes) -> Packet:
    """Reads as far as it understands; what is not IP has no headers."""
    packet = Packet(_mac(frame[:6]), _mac(frame[6:12]))
    kind, offset = struct.unpack_from("!H", frame, 12)[0], 14
    while kind in VLAN_TYPES and len(frame) >= offset + 4:
        tag, kind = struct.unpack_from("!HH", frame, offset)
        packet.tags.append(tag)
        offset += 4
    family = {0x0800: 4, 0x86dd: 6}.get(kind)
    while family:
        offset = _parse_ip(frame, offset, family, packet)
        family = IN_IP.get(packet.headers[-1].protocol) if offset else None
    if offset and packet.headers:
        _parse_transport(frame, offset, packet)
    return packet


def _parse_ip(frame: bytes, offset: int, family: int, packet: Packet) -> Optional[int]:
    """Where the payload begins; None: the header is not whole, or a fragment's."""
    if len(frame) < offset + (20 if family == 4 else 40):
        return None
    if family == 4:
        tos, = struct.unpack_from("!xB", frame, offset)
        fragment, ttl, protocol = struct.unpack_from("!HBB", frame, offset + 6)
        ends = frame[offset + 12:offset + 20]
        packet.headers.append(_header(4, ends, protocol, tos, ttl))
        return None if fragment & 0x3fff else offset + 4 * (frame[offset] & 15)
    word, _, protocol, ttl = struct.unpack_from("!IHBB", frame, offset)
    ends = frame[offset + 8:offset + 40]
    packet.headers.append(_header(6, ends, protocol, word >> 20 & 255, ttl))
    return offset + 40


def _header(family: int, ends: bytes, protocol: int, tos: int, ttl: int) -> Header:
    domain = socket.AF_INET if family == 4 else socket.AF_INET6
    half = len(ends) // 2
    return Header(family, socket.inet_ntop(domain, ends[:half]),
                  socket.inet_ntop(domain, ends[half:]), protocol, tos, ttl)


def _parse_transport(frame: bytes, offset: int, packet: Packet) -> None:
    protocol = packet.headers[-1].protocol
    size = {socket.IPPROTO_TCP: 20, socket.IPPROTO_UDP: 8}.get(protocol)
    if not size or len(frame) < offset + size:
        return
    packet.source_port, packet.destination_port = struct.unpack_from("!HH", frame, offset)
    if protocol == socket.IPPROTO_TCP:
        packet.tcp_flags = frame[offset + 13]
        size = 4 * (frame[offset + 12] >> 4)
    packet.payload = frame[offset + size:]


def _mac(data: bytes) -> str:
    return data.hex(":")


class Capture:
    """All frames at an interface of a role, in both directions, from when it is made."""

    def __init__(self, lab, role: str, interface: str = "eth0"):
        self.sock = lab.socket(role, socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
            self.sock.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
            self.sock.bind((interface, ETH_P_ALL))
        except OSError:
            self.sock.close()
            raise

    def frames(self, settle: float = 0.1) -> List[bytes]:
        """Those since the last call, until none comes for @settle seconds, ten of which at most."""
        frames, deadline = [], time.monotonic() + 10 * settle
        while time.monotonic() < deadline and select.select([self.sock], [], [], settle)[0]:
            frames.append(self._receive())
        return frames

    def _receive(self) -> bytes:
        frame, control, *_ = self.sock.recvmsg(65536, socket.CMSG_SPACE(20))
        for level, kind, data in control:
            if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                status, _, _, _, _, tag, kind = struct.unpack_from("=IIIHHHH", data)
                if status & TP_STATUS_VLAN_VALID:  # the kernel took it out
                    frame = frame[:12] + struct.pack("!HH", kind or 0x8100, tag) + frame[12:]
        return frame

    def packets(self, settle: float = 0.1) -> List[Packet]:
        return [parse(frame) for frame in self.frames(settle)]

    def close(self) -> None:
        self.sock.close()

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def send(lab, role: str, frames: Sequence[bytes], interface: str = "eth0") -> None:
    """In bursts that the ring of a veth has room for."""
    with lab.socket(role, socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        for number, frame in enumerate(frames, 1):
            sock.send(frame)
            if not number % BURST:
                time.sleep(0.005)
