# SPDX-License-Identifier: GPL-2.0-only
"""A network lab for end-to-end tests: clients, a balancer, backends, each in a network namespace.

    client --+
             |                       front: 10.40.0.0/24, fd40::/64
    lb ------+-- bridge in `switch`
             |                       role    address      interface
    b1 ------+                       client  .1    ::1    eth0
    b2 ------+                       lb      .2    ::2    eth0
    ...                              b1, b2  .11, .12     eth0 (and so on; ::11, ::12)

The VIPs are routed by the client through `lb`, and are on lo of every backend, which answers the
client directly (direct server return). The client has whole ranges of source addresses. With
back_network=True the backends are on a network of their own (10.41.0.0/24, fd41::/64), on which
client and lb have an eth1.

    with Lab(backends=2) as lab:
        for name in lab.backends:
            lab.start_nginx(name)
        lab.popen("lb", ["xdp-canary", "daemon"])
        results = lab.load(lab.clients(1000), lab.vip4, requests=3)

Invariants: all that a lab makes is named after its process (xc-PID...), so labs may run side by
side. It is torn down when the `with` block is left, by an exception or a signal too; the next lab
sweeps up after one that was killed. Every process started here dies with this one. Nothing in the
main namespace changes.
Needs root, iproute2, ethtool, bpftool, clang and nginx.
"""

import atexit
import contextlib
import ctypes
import glob
import itertools
import ipaddress
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from typing import Dict, List, Optional, Sequence, Union

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import http_load  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
NAMESPACES = "/run/netns"
CLONE_NEWNET = 0x40000000
NAME = re.compile(r"xc-(\d+)-")

_libc = ctypes.CDLL(None, use_errno=True)
_labs = itertools.count()


class LabError(Exception):
    """The lab could not do what was asked; the text says what, and what the command printed."""


def missing_requirements() -> Optional[str]:
    """Why a lab cannot be made here, for tests that skip; None: it can."""
    if os.geteuid() != 0:
        return "needs root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program in ("ip", "nsenter", "setpriv", "ethtool", "bpftool", "clang", "nginx"):
        if not shutil.which(program, path=path):
            return f"needs {program}"
    return None


class Lab:
    """See the text of this module. Roles are "client", "lb", "b1", "b2", ... and "switch"."""

    def __init__(self, backends: int = 2, *, back_network: bool = False, decap: Sequence[str] = (),
                 mtu: int = 1500):
        """@decap: backends that take the outer header of ipip packets off.

        @backends: up to 80. @mtu: of every interface, up to 3500 (XDP in one page).
        """
        if not 0 <= backends <= 80:
            raise LabError(f"{backends} backends: there is room for 0 to 80")
        self.backends = [f"b{number}" for number in range(1, backends + 1)]
        self.vip4, self.vip6 = "10.80.0.10", "fd80::10"
        self.vips6 = [self.vip6]  # add_vip() makes more
        self.range4, self.range6 = "10.50.0.0/16", "fd50::/64"
        self.mtu = mtu
        self._back_network = back_network
        self._decap = list(decap)
        number = next(_labs)
        self._prefix = f"xc-{os.getpid()}-" + (f"{number}-" if number else "")
        self._processes: List[subprocess.Popen] = []
        self._namespaces: List[str] = []
        self._interfaces: Dict[str, Dict[str, tuple]] = {}
        self._handlers: Dict[int, object] = {}
        self.directory = self.bpffs = self.state = self._programs = None

    # ---- life ----

    def __enter__(self) -> "Lab":
        problem = missing_requirements()
        if problem:
            raise LabError(problem)
        sweep()
        atexit.register(self.close)
        self._catch_signals()
        try:
            self._make_directories()
            self._make_network()
            self._attach_programs()
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes, then removes namespaces and directory. May be called again."""
        signals = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            for process in reversed(self._processes):
                self.stop(process)
            self._processes.clear()
            for name in self._namespaces:
                _delete_namespace(name)
            self._namespaces.clear()
            if self.directory:
                _delete_directory(self.directory)
            self.directory = None
            atexit.unregister(self.close)
            for number, handler in self._handlers.items():
                signal.signal(number, handler)
            self._handlers.clear()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def _catch_signals(self) -> None:
        """Signals that would end this process by default unwind it through the `with` block."""
        if threading.current_thread() is not threading.main_thread():
            return

        def leave(number, _frame):
            raise SystemExit(128 + number)

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, leave)

    def _make_directories(self) -> None:
        self.directory = tempfile.mkdtemp(prefix=self._prefix)
        os.chmod(self.directory, 0o755)
        self.state = os.path.join(self.directory, "state")
        self.bpffs = os.path.join(self.directory, "bpffs")
        os.mkdir(self.state, 0o700)
        os.mkdir(self.bpffs)
        _command(["mount", "-t", "bpf", "-o", "mode=0755", "bpf", self.bpffs])

    # ---- the network ----

    def _make_network(self) -> None:
        self._add_namespace("switch")
        # The bridges only forward: no addresses, and no multicast that waits for a querier.
        # A firewall that looks into what is bridged (br_netfilter) would drop what is malformed.
        self._sysctl("switch", *(f"net.ipv6.conf.{which}.disable_ipv6=1" for which in WHICH))
        self._sysctl("switch", "-e", *(f"net.bridge.bridge-nf-call-{tables}=0"
                                       for tables in ("iptables", "ip6tables", "arptables")))
        for bridge in ["front"] + ["back"] * self._back_network:
            self._ip("switch", f"link add {bridge} mtu {self.mtu} type bridge mcast_snooping 0",
                     f"link set {bridge} up")
        for role in ["client", "lb"] + self.backends:
            self._add_namespace(role)
            self._sysctl(role, *ROLE_SETTINGS)
            self._ip(role, "link set lo up")
        for number, role in ((1, "client"), (2, "lb")):
            self._plug(role, "eth0", "front", number)
            if self._back_network:
                self._plug(role, "eth1", "back", number)
        for number, role in enumerate(self.backends, 11):
            self._plug(role, "eth0", "back" if self._back_network else "front", number)

        self._ip("client", f"route add local {self.range4} dev lo",
                 f"route add local {self.range6} dev lo")
        self.route_vips("lb")
        for role in self.backends:
            self.hold_vips(role)
        for role in ["lb"] + self.backends:
            self._route_clients(role)

    def _route_clients(self, role: str) -> None:
        network = "back" if role != "lb" and self._back_network else "front"
        self._ip(role, f"route add {self.range4} via {self.address('client', 4, network)}",
                 f"route add {self.range6} via {self.address('client', 6, network)}")

    def replug(self, role: str) -> None:
        """Deletes @role's eth0 and makes it again as it was, but for its ifindex."""
        network, _, number, _, port = self._interfaces[role]["eth0"]
        self._ip(role, "link del eth0")
        self._plug(role, "eth0", network, number)
        self.attach("switch", self._programs, "pass", port)
        self._wait_until_ready()
        self._route_clients(role)

    def _add_namespace(self, role: str) -> None:
        name = self.namespace_name(role)
        self._namespaces.append(name)
        _command(["ip", "netns", "add", name])

    def _plug(self, role: str, interface: str, network: str, number: int) -> None:
        """A veth from @role to the bridge; its end there is called ROLE, or ROLE-back."""
        third = {"front": 40, "back": 41}[network]
        mac = f"02:00:00:00:{third:02d}:{number:02d}"
        port = role if network == "front" or role in self.backends else f"{role}-back"
        self._interfaces.setdefault(role, {})[interface] = (network, third, number, mac, port)
        self._ip("switch", f"link add {port} mtu {self.mtu} type veth peer name {interface} "
                 f"mtu {self.mtu} address {mac} netns {self.namespace_name(role)}",
                 f"link set {port} master {network}", f"link set {port} up")
        self._ip(role, f"link set {interface} up",
                 f"addr add 10.{third}.0.{number}/24 dev {interface}",
                 f"addr add fd{third}::{number}/64 dev {interface} nodad")
        self._sysctl(role, *(setting % interface for setting in NEIGHBOUR_SETTINGS))
        # A checksum that is left to the device to fill in is lost when XDP sends the packet on,
        # and a VLAN tag that is carried beside the packet is hidden from it.
        offloads = "tx off tso off gso off gro off txvlan off tx-vlan-stag-hw-insert off"
        for where, device in ((role, interface), ("switch", port)):
            self.run(where, ["ethtool", "-K", device, *offloads.split()])

    def _attach_programs(self) -> None:
        self._programs = self.compile_bpf(os.path.join(HERE, "pass.bpf.c"))
        for interfaces in self._interfaces.values():
            for *_, port in interfaces.values():
                self.attach("switch", self._programs, "pass", port)
        for role in self._decap:
            self.attach(role, self._programs, "decap")

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 10
        for role, interfaces in self._interfaces.items():
            for interface in interfaces:
                while self.link(role, interface)["operstate"] != "UP":
                    _sleep_until(deadline, f"{role}: {interface} has no carrier")
            # An IPv6 address answers only once a worker of the kernel has made its local route.
            wanted = {self.address(role, 6, network) for network, *_ in interfaces.values()}
            wanted |= set(self.vips6) if role in self.backends else set()
            while not wanted <= self._local_addresses6(role):
                _sleep_until(deadline, f"{role}: not all of {wanted} are there")

    def _local_addresses6(self, role: str) -> set:
        routes = self.run(role, ["ip", "-6", "-j", "route", "show", "table", "local"]).stdout
        return {route["dst"] for route in json.loads(routes)}

    def route_vips(self, through: str) -> None:
        """The client sends what is for a VIP to @through: "lb", or a backend for comparison."""
        network = self._interfaces[through]["eth0"][0]
        self._ip("client", *(f"route replace {vip} via {self.address(through, family, network)}"
                             for family, vip in ((4, self.vip4), (6, self.vip6))))

    def add_vip(self, vip: str) -> None:
        """One more: the client routes it through lb, and every backend holds it."""
        family = 6 if ":" in vip else 4
        self._ip("client", f"route replace {vip} via {self.address('lb', family, 'front')}")
        for role in self.backends:
            self._ip(role, f"addr replace {vip}{' nodad' if family == 6 else '/32'} dev lo")
        if family == 6:
            self.vips6.append(vip)
            self._wait_until_ready()

    def hold_vips(self, role: str) -> None:
        """@role takes packets for the VIPs as its own. Nobody answers ARP or ND for them on lo."""
        self._ip(role, f"addr replace {self.vip4}/32 dev lo",
                 f"addr replace {self.vip6}/128 dev lo nodad")

    # ---- what is where ----

    def namespace_name(self, role: str) -> str:
        return self._prefix + role

    def _of(self, role: str, network: Optional[str]) -> tuple:
        for interface in self._interfaces[role].values():
            if network in (None, interface[0]):
                return interface
        raise LabError(f"{role} is not on the network {network}")

    def address(self, role: str, family: int = 4, network: Optional[str] = None) -> str:
        """Of @role on @network, "front" or "back"; None: that of its eth0."""
        _, third, number, _, _ = self._of(role, network)
        return f"10.{third}.0.{number}" if family == 4 else f"fd{third}::{number}"

    def mac(self, role: str, network: Optional[str] = None) -> str:
        return self._of(role, network)[3]

    def clients(self, count: int, family: int = 4) -> List[str]:
        """The first @count of the client's source addresses, from 1 on."""
        network = ipaddress.ip_network(self.range4 if family == 4 else self.range6)
        if count >= network.num_addresses - 1:
            raise LabError(f"{network} has no {count} addresses")
        return [str(network[number]) for number in range(1, count + 1)]

    def link(self, role: str, interface: str = "eth0") -> dict:
        """What `ip -j -s link show` says of it: ifindex, mtu, operstate, stats64, ..."""
        return json.loads(self.run(role, ["ip", "-j", "-s", "link", "show", interface]).stdout)[0]

    def counters(self, role: str, interface: str = "eth0") -> Dict[str, int]:
        """rx_packets, tx_bytes, ... and those of veth's XDP: xdp_tx, xdp_redirect, xdp_drops, ...

        With native XDP, what the program passes, drops or sends is in rx_packets too.
        """
        counters = {}
        for direction, values in self.link(role, interface)["stats64"].items():
            counters.update({f"{direction}_{name}": value for name, value in values.items()})
        text = self.run(role, ["ethtool", "-S", interface], check=False).stdout
        for name, value in re.findall(r"^\s*[rt]x_queue_\d+_(\w*xdp\w*|drops): (\d+)$", text, re.M):
            counters[name] = counters.get(name, 0) + int(value)
        return counters

    # ---- processes ----

    @property
    def environment(self) -> Dict[str, str]:
        """Of all commands: XDP_CANARY_STATE and XDP_CANARY_PINS point into the lab."""
        path = os.environ.get("PATH", "/usr/bin:/bin")
        return {**os.environ, "PATH": path + ":/usr/sbin:/sbin", "XDP_CANARY_STATE": self.state,
                "XDP_CANARY_PINS": os.path.join(self.bpffs, "xdp-canary")}

    def _argv(self, role: str, argv: Sequence[str]) -> List[str]:
        # Not `ip netns exec`, which mounts another /sys, without /sys/fs/bpf. These exec in place.
        return ["setpriv", "--pdeathsig", "KILL", "nsenter",
                f"--net={NAMESPACES}/{self.namespace_name(role)}", "--", *map(str, argv)]

    def run(self, role: str, argv: Sequence[str], *, check: bool = True, timeout: float = 60,
            input: Optional[str] = None, environment: Optional[Dict[str, str]] = None,
            ) -> subprocess.CompletedProcess:
        """Runs @argv in @role to its end; stdout and stderr are text. LabError where it fails."""
        return _command(self._argv(role, argv), check=check, timeout=timeout, input=input,
                        env={**self.environment, **(environment or {})}, label=role)

    def popen(self, role: str, argv: Sequence[str], *, environment: Optional[Dict[str, str]] = None,
              **options) -> subprocess.Popen:
        """Starts @argv in @role; the lab ends it. .pid is the program's own.

        Call it from a thread that lives as long: the kernel ends the process with that thread.
        """
        process = subprocess.Popen(self._argv(role, argv),
                                   env={**self.environment, **(environment or {})}, **options)
        self._processes.append(process)
        return process

    def stop(self, process: subprocess.Popen, timeout: float = 5) -> int:
        """SIGTERM, then SIGKILL after @timeout seconds. Returns the exit status; -N: signal N."""
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout)
            except subprocess.TimeoutExpired:
                process.kill()
        return process.wait()

    def _sysctl(self, role: str, *settings: str) -> None:
        self.run(role, ["sysctl", "-qw", *settings])

    def _ip(self, role: str, *commands: str) -> None:
        self.run(role, ["ip", "-batch", "-"], input="\n".join(commands) + "\n")

    # ---- XDP ----

    def compile_bpf(self, source: str, **defines: Union[str, int]) -> str:
        """Returns the directory in bpffs where each program of @source is pinned by its name."""
        name = re.sub(r"\W", "_", os.path.basename(source))
        pins = os.path.join(self.bpffs, f"{name}_{time.monotonic_ns()}")
        target = os.path.join(self.directory, os.path.basename(pins) + ".o")
        multiarch = _command(["gcc", "-print-multiarch"]).stdout.strip()
        _command(["clang", "-target", "bpf", "-g", "-O2", "-Wall", "-Wextra", "-Werror",
                  "-Wno-unused-parameter", f"-I/usr/include/{multiarch}",
                  *(f"-D{key}={value}" for key, value in defines.items()),
                  "-c", source, "-o", target])
        _command(["bpftool", "prog", "loadall", target, pins], env=self.environment)
        return pins

    def attach(self, role: str, pins: str, program: str, interface: str = "eth0") -> None:
        """Native XDP, by netlink, so the lab's own: what the tests try attaches itself."""
        self.run(role, ["bpftool", "net", "attach", "xdpdrv", "pinned", os.path.join(pins, program),
                        "dev", interface, "overwrite"])

    # ---- traffic ----

    @contextlib.contextmanager
    def namespace(self, role: str):
        """The calling thread is in @role's namespace; sockets made in the block stay there."""
        with in_namespace(self.namespace_name(role)):
            yield

    def socket(self, role: str, *arguments) -> socket.socket:
        """socket.socket(*arguments) in @role's namespace."""
        with self.namespace(role):
            return socket.socket(*arguments)

    def load(self, sources: Sequence[str], destination: str, port: int = 80, *,
             role: str = "client", **options) -> List[http_load.Result]:
        """http_load.load() from @role."""
        with self.namespace(role):
            return http_load.load(sources, destination, port, **options)

    def connect(self, source: str, destination: str, port: int = 80, *, role: str = "client",
                **options) -> http_load.Connection:
        """http_load.Connection from @role."""
        with self.namespace(role):
            return http_load.Connection(source, destination, port, **options)

    def ping(self, role: str, destination: str, source: Optional[str] = None,
             timeout: float = 2) -> bool:
        """Whether an ICMP echo request is answered by @destination."""
        v6 = ":" in destination
        kind, reply, offset = (128, 129, 0) if v6 else (8, 0, 20)
        arguments = (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) if v6 else \
            (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        mark = os.urandom(4)  # identifier and sequence number
        message = struct.pack("!BBH", kind, 0, 0) + mark + b"xdp-canary"
        if not v6:  # the kernel does that of ICMPv6
            message = message[:2] + struct.pack("!H", internet_checksum(message)) + message[4:]
        deadline = time.monotonic() + timeout
        with self.socket(role, *arguments) as sock:
            if source:
                sock.bind((source, 0))
            sock.sendto(message, (destination, 0))
            while (left := deadline - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    answer, sender = sock.recvfrom(2048)
                except socket.timeout:
                    return False
                if sender[0] == destination and answer[offset] == reply and \
                        answer[offset + 4:offset + 8] == mark:
                    return True
        return False

    def start_nginx(self, role: str, text_body: Optional[str] = None, *, name: Optional[str] = None,
                    port: int = 80, status: int = 200) -> subprocess.Popen:
        """A real nginx on @port of all addresses of @role, answering every path with @text_body.

        The header `X-Backend: NAME` says who answered (default: the role). Returns once it accepts.
        """
        name = name or role
        directory = tempfile.mkdtemp(prefix=f"nginx-{role}-", dir=self.directory)
        configuration = os.path.join(directory, "nginx.conf")
        body = f"{name}\n" if text_body is None else text_body
        with open(configuration, "w") as file:
            body = re.sub(r'(["\\])', r"\\\1", body).replace("$", "${dollar}")
            file.write(NGINX % {"directory": directory, "port": port, "name": name,
                                "status": status, "body": body})
        process = self.popen(role, ["nginx", "-c", configuration, "-p", directory,
                                    "-e", os.path.join(directory, "error.log")])
        deadline = time.monotonic() + 10
        while not self._accepts(role, port):
            if process.poll() is not None or time.monotonic() > deadline:
                self.stop(process)
                with open(os.path.join(directory, "error.log")) as log:
                    raise LabError(f"{role}: nginx does not start: {log.read()}")
            time.sleep(0.01)
        return process

    def _accepts(self, role: str, port: int) -> bool:
        with self.socket(role, socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind(ASKER)
            return sock.connect_ex(("127.0.0.1", port)) == 0


WHICH = ("all", "default")

# New namespaces inherit the host's settings, so all that matters is said here.
ROLE_SETTINGS = (
    *(f"net.ipv4.conf.{which}.{setting}" for which in WHICH
      for setting in ("rp_filter=0", "arp_ignore=1", "arp_announce=2", "accept_redirects=0",
                      "send_redirects=0")),
    "net.ipv4.ip_forward=0",
    *(f"net.ipv6.conf.{which}.{setting}" for which in WHICH
      for setting in ("disable_ipv6=0", "accept_dad=0", "accept_ra=0", "router_solicitations=0",
                      "forwarding=0", "accept_redirects=0")),
    "net.ipv6.ip_nonlocal_bind=1",  # a local route alone lets IPv4 be bound, but not IPv6
    "net.ipv4.ip_local_port_range=1024 65535",
)

# Who asks whether 127.0.0.1 listens yet. From 127.0.0.1 itself, one time in 32,000 a connection has the port
# that it goes to, and finds itself (RFC 9293, simultaneous open); then the server cannot have the port.
ASKER = ("127.0.0.2", 0)

# So that a test need not wait for seconds until a MAC is refreshed or a neighbour given up.
NEIGHBOUR_SETTINGS = tuple(
    f"net.{family}.neigh.%s.{setting}" for family in ("ipv4", "ipv6")
    for setting in ("retrans_time_ms=200", "delay_first_probe_time=1", "locktime=0"))

# One process without a master: a worker would outlive a master that is killed.
NGINX = """\
daemon off;
master_process off;
pid %(directory)s/nginx.pid;
error_log %(directory)s/error.log;
worker_rlimit_nofile 65536;
events { worker_connections 16384; }
http {
	access_log off;
	client_max_body_size 64m;
	client_body_temp_path %(directory)s/body;
	proxy_temp_path %(directory)s/proxy;
	fastcgi_temp_path %(directory)s/fastcgi;
	uwsgi_temp_path %(directory)s/uwsgi;
	scgi_temp_path %(directory)s/scgi;
	default_type text/plain;
	keepalive_timeout 1h;
	keepalive_requests 1000000;
	geo $dollar { default "$"; }
	server {
		listen 0.0.0.0:%(port)d backlog=4096;
		listen [::]:%(port)d ipv6only=on backlog=4096;
		add_header X-Backend "%(name)s" always;
		location / { return %(status)d "%(body)s"; }
	}
}
"""


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def sweep() -> None:
    """Removes what labs of processes that no longer live left behind."""
    for path in glob.glob(f"{NAMESPACES}/xc-*") + glob.glob(f"{tempfile.gettempdir()}/xc-*"):
        match = NAME.match(os.path.basename(path))
        if not match or os.path.exists(f"/proc/{match.group(1)}"):
            continue
        if path.startswith(NAMESPACES):
            _delete_namespace(os.path.basename(path))
        elif os.path.isdir(os.path.join(path, "bpffs")):
            _delete_directory(path)


def _delete_namespace(name: str) -> None:
    with contextlib.suppress(LabError):  # of what is to go, the rest still goes
        _command(["ip", "netns", "del", name], check=False)


def _delete_directory(directory: str) -> None:
    bpffs = os.path.join(directory, "bpffs")
    if os.path.ismount(bpffs) and _command(["umount", bpffs], check=False).returncode:
        _command(["umount", "-l", bpffs], check=False)
    shutil.rmtree(directory, ignore_errors=True)


def _sleep_until(deadline: float, problem: str) -> None:
    if time.monotonic() > deadline:
        raise LabError(problem)
    time.sleep(0.01)


@contextlib.contextmanager
def in_namespace(name: str):
    with open("/proc/thread-self/ns/net") as home, open(f"{NAMESPACES}/{name}") as there:
        _setns(there)
        try:
            yield
        finally:
            _setns(home)


def _setns(file) -> None:
    if _libc.setns(file.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _command(argv, *, check=True, label=None, timeout=60, **options) -> subprocess.CompletedProcess:
    try:
        result = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                timeout=timeout, **options)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{label or argv[0]}: {' '.join(argv)}: "
                       f"not done after {timeout} s") from error
    if check and result.returncode:
        raise LabError(f"{label or argv[0]}: {' '.join(argv)}: exit status {result.returncode}\n"
                       f"{result.stdout}{result.stderr}")
    return result
