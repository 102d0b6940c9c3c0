# SPDX-License-Identifier: GPL-2.0-only
"""QUIC in a lab: ngtcp2's example server and client, and what the headers of their packets say.

    with Lab(backends=3) as lab:
        quic = Quic(lab)
        quic.start_server("b1", server_id="b1b1")
        download = quic.download("10.50.0.1", lab.vip4)
        download.wait_for_bytes(100000)
        quic.nat({"10.50.0.1": "10.50.0.2"})
        download.finish()  # the role whose file came, whole and right: "b1"

Every server has files of its own, `name` and `big`. quic_shim.c, preloaded, lets a server put its
id into the connection ids that it issues, and a client have the addresses that it is told. All of
it ends with the lab. Needs the packages ngtcp2-server, ngtcp2-client, openssl and nftables.
"""

import contextlib
import hashlib
import itertools
import os
import random
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import ROOT, wait_for  # noqa: E402

SHIM = os.path.join(ROOT, "build", "tests", "e2e", "quic_shim.so")
PORT = 443
CLIENT_PORT = 4433
CID_LENGTH = 18  # of the ids that ngtcp2's server issues
BIG = 12 << 20  # bytes
SLOW, QUEUE = "8mbit", "64kb"  # of all downloads together
VERSION_1 = 1
LONG = 0x80  # RFC 9000, 17.2: a bit of the first byte
INITIAL, ZERO_RTT, HANDSHAKE, RETRY, SHORT = "initial", "0-RTT", "handshake", "retry", "short"
LONG_KINDS = (INITIAL, ZERO_RTT, HANDSHAKE, RETRY)
FILES = ("name", "big")


def missing_requirements() -> Optional[str]:
    """Why there is no QUIC here, for tests that skip; None: there is."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in ("gtlsserver", "gtlsclient", "openssl", "nft", "tc"):
        if not shutil.which(program, path=path):
            return f"needs {program}"
    return None if os.path.exists(SHIM) else f"{SHIM} is not built"


@dataclass
class Header:
    """What the first packet of a datagram tells everybody."""
    kind: str
    destination_id: bytes
    source_id: Optional[bytes] = None  # long headers only


def parse(datagram: bytes) -> Header:
    """@datagram: of QUIC version 1; a short header's id is taken for one of a server.

    The "fixed" bit says nothing: ngtcp2 clears it in every other connection (RFC 9287).
    """
    first = datagram[0]
    if not first & LONG:
        return Header(SHORT, datagram[1:1 + CID_LENGTH])
    if int.from_bytes(datagram[1:5], "big") != VERSION_1:
        raise ValueError(f"not QUIC version 1: {datagram[:32].hex()}")
    end = 6 + datagram[5]
    return Header(LONG_KINDS[first >> 4 & 3], datagram[6:end],
                  datagram[end + 1:end + 1 + datagram[end]])


class Quic:
    """Servers, clients and their network of one lab."""

    def __init__(self, lab, seed: object = 0):
        self.lab = lab
        self._seed = seed
        self._directory = os.path.join(lab.directory, "quic")
        self._numbers = itertools.count()
        self.servers: Dict[str, subprocess.Popen] = {}  # by role
        self._roles: Dict[str, str] = {}  # hash of a file -> whose it is
        self._inside: Dict[str, str] = {}  # address behind the NAT, by the one that others see
        os.mkdir(self._directory)
        open(self._path("mime.types"), "w").close()
        lab.run("client", ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                           "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=quic.test",
                           "-days", "2", "-keyout", self._path("key"), "-out", self._path("cert")])

    def _path(self, *names: str) -> str:
        return os.path.join(self._directory, *names)

    # ---- servers ----

    def start_server(self, role: str, *flags: str, server_id: Optional[str] = None,
                     offset: int = 1) -> subprocess.Popen:
        """On all addresses of @role, with files of its own. Returns once it takes datagrams.

        @server_id: hex, at @offset of every id that it issues; None: all of an id is random.
        """
        self._make_files(role)
        environment = {"LD_PRELOAD": SHIM, "QUIC_CID_LENGTH": str(CID_LENGTH),
                       "QUIC_SERVER_ID": server_id, "QUIC_SERVER_ID_OFFSET": str(offset)}
        log = self._path(f"{role}.log")
        with open(log, "a") as output:
            process = self.lab.popen(
                role, ["gtlsserver", "--quiet", "--htdocs", self._path(role), "--mime-types-file",
                       self._path("mime.types"), *flags, "*", PORT, self._path("key"),
                       self._path("cert")],
                stdout=output, stderr=output, environment=environment if server_id else None)

        def is_ready():
            if process.poll() is not None:
                raise AssertionError(f"{role}: gtlsserver ended: {_read(log)}")
            return all(self.is_bound(role, any_address, PORT) for any_address in ("0.0.0.0", "::"))

        wait_for(is_ready, 10, lambda: f"{role}: gtlsserver does not start: {_read(log)}")
        self.servers[role] = process
        return process

    def _make_files(self, role: str) -> None:
        os.makedirs(self._path(role), exist_ok=True)
        contents = (role.encode(), random.Random(f"{self._seed}{role}").randbytes(BIG))
        for name, content in zip(FILES, contents):
            with open(self._path(role, name), "wb") as file:
                file.write(content)
            self._roles[hashlib.sha256(content).hexdigest()] = role

    def role_of_file(self, path: str) -> Optional[str]:
        """Whose file was downloaded to @path, whole and right in every byte; None: nobody's."""
        with open(path, "rb") as file:
            return self._roles.get(hashlib.sha256(file.read()).hexdigest())

    def is_bound(self, role: str, address: str, port: int) -> bool:
        """Whether a UDP socket of @role is bound to just that."""
        family, table = (socket.AF_INET6, "udp6") if ":" in address else (socket.AF_INET, "udp")
        packed = socket.inet_pton(family, address)
        words = [packed[i:i + 4][::-1] for i in range(0, len(packed), 4)]  # little endian
        local = f"{b''.join(words).hex().upper()}:{port:04X}"
        with self.lab.namespace(role), open(f"/proc/thread-self/net/{table}") as file:
            return any(line.split()[1] == local for line in file)

    def slow(self) -> None:
        """From now on, what the client gets comes slowly, so that a test can look at downloads.

        Behind the servers, which never see their sockets full: with that, ngtcp2's stop for good.
        """
        self.lab.run("switch", ["tc", "qdisc", "replace", "dev", "client", "root", "tbf", "rate",
                                SLOW, "burst", "16kb", "limit", QUEUE])

    def fast(self) -> None:
        self.lab.run("switch", ["tc", "qdisc", "del", "dev", "client", "root"])

    # ---- clients ----

    def download(self, source: str, destination: str, name: str = "big", *flags: str,
                 port: int = CLIENT_PORT, then: Optional[Tuple[str, int]] = None,
                 verbose: bool = False) -> "Download":
        """Starts a client at @source and @port; it gets @name from port 443 of @destination.

        @then: the address and port that it takes when the flag --change-local-addr says.
        @verbose: its log tells of each packet and frame.
        """
        directory = self._path(f"download-{next(self._numbers)}")
        os.mkdir(directory)
        sources = [source, str(port), *map(str, then or ())]
        log = os.path.join(directory, "log")
        with open(log, "w") as output:
            process = self.lab.popen(
                "client", ["gtlsclient", *([] if verbose else ["--quiet"]), "--no-quic-dump",
                           "--no-http-dump", "--exit-on-all-streams-close", "--download",
                           directory, *flags, destination, PORT, f"https://quic.test/{name}"],
                stdout=output, stderr=output,
                environment={"LD_PRELOAD": SHIM, "QUIC_SOURCES": " ".join(sources)})
        return Download(self, process, source, port, os.path.join(directory, name), log)

    def nat(self, addresses: Dict[str, str]) -> None:
        """From now on, everybody else sees packets from each of these addresses as from another.

        Stateless, and all at once. What is sent to an address that it had before still arrives: a
        client that only receives would else never learn that it has to send something.
        """
        self._inside.update((outside, inside) for inside, outside in addresses.items())
        text = []
        for family in ("ip", "ip6"):
            out, back = ([f"{family} {end} {old} {family} {end} set {new}"
                          for old, new in pairs.items() if (":" in old) == (family == "ip6")]
                         for end, pairs in (("saddr", addresses), ("daddr", self._inside)))
            text += [f"table {family} quic_nat", f"delete table {family} quic_nat",
                     f"table {family} quic_nat {{",
                     "chain out { type filter hook postrouting priority raw;", *out, "}",
                     "chain back { type filter hook prerouting priority raw;", *back, "}", "}"]
        self.lab.run("client", ["nft", "-f", "-"], input="\n".join(text) + "\n")


class Download:
    """One client and what it has got so far."""

    def __init__(self, quic: Quic, process: subprocess.Popen, source: str, port: int, path: str,
                 log: str):
        self.source = source
        self.port = port
        self._quic = quic
        self._process = process
        self._path = path
        self._log = log

    @property
    def bytes(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return os.path.getsize(self._path)
        return 0

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return _read(self._log)

    def __repr__(self) -> str:
        return f"{self.source} port {self.port}: {self.bytes} bytes: {self.log[-2000:]}"

    def wait_for_bytes(self, count: int, seconds: float = 30) -> None:
        """Until it has got so many, and is not at its end."""
        wait_for(lambda: self.bytes >= count or not self.is_running, seconds,
                 lambda: f"not {count} bytes in {seconds} s: {self}")
        if not self.is_running:
            raise AssertionError(f"ended before it should: {self}")

    def finish(self, seconds: float = 60) -> Optional[str]:
        """Waits for its end. Returns the role whose file came; None: not one whole and right."""
        wait_for(lambda: not self.is_running, seconds, lambda: f"does not end: {self}")
        return self._quic.role_of_file(self._path) if os.path.exists(self._path) else None

    def stop(self) -> None:
        self._quic.lab.stop(self._process)


def wait_for_more(downloads: List[Download], count: int = 32 << 10) -> None:
    """Until each of them has got @count more bytes than now."""
    goals = [download.bytes + count for download in downloads]
    for download, goal in zip(downloads, goals):
        download.wait_for_bytes(goal)


def _read(path: str) -> str:
    with open(path, errors="replace") as file:
        return file.read()
