#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Records what clients send to servers that work and servers that do not: tests/data/flows/*.pcap,
which test_track.py replays. Root; half a minute; not part of `make test`.

    tests/reference/record_flows.py [DIRECTORY]

Two network namespaces, real TCP between them: nginx and servers that hang, reset, stall, are slow;
curl and clients that poll, upload, keep alive. Each scenario has a client address of its own, which
sorts the packets into files. Of each packet only the headers are kept: what a client sends is not
looked at.
"""
import ctypes
import multiprocessing
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
FLOWS = os.path.join(os.path.dirname(HERE), "data", "flows")
VIP = "192.0.2.10"
SNAP = 96
PACKET_OUTGOING = 4
SO_RCVBUFFORCE = 33
CLONE_NEWNET = 0x40000000
LINGER_RST = struct.pack("ii", 1, 0)
REQUEST = b"GET /large HTTP/1.1\r\nHost: shop\r\n\r\n"
PORTS = {"nginx": 8001, "hang": 8002, "close": 8003, "reset": 8004, "reset_mid": 8005,
         "stall": 8006, "slow": 8007, "tls": 8008, "poll": 8009, "read_all": 8010, "refuse": 8011}


def run(*argv):
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


# ---- servers: each takes one connection ----

def hang(peer):
    time.sleep(60)


def close_at_accept(peer):
    peer.close()


def reset_at_accept(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
    peer.close()


def reset_in_mid_response(peer):
    peer.recv(4096)
    peer.sendall(bytes(50000))
    time.sleep(.3)
    reset_at_accept(peer)


def stall_in_mid_response(peer):
    peer.recv(4096)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + bytes(40000))
    time.sleep(60)


def answer_late(peer):
    while peer.recv(4096):
        time.sleep(.5)
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + bytes(2000))


def answer_a_poll(peer):
    peer.recv(4096)
    time.sleep(8)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    peer.recv(4096)


def read_all(peer):
    while peer.recv(65536):
        pass
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    peer.close()


SERVERS = {"hang": hang, "close": close_at_accept, "reset": reset_at_accept,
           "reset_mid": reset_in_mid_response, "stall": stall_in_mid_response,
           "slow": answer_late, "poll": answer_a_poll, "read_all": read_all}


def listen(name, serve):
    listener = socket.create_server(("", PORTS[name]), backlog=64)
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=serve, args=(peer,), daemon=True).start()


def serve_all(namespace, directory, ready):
    enter(namespace)
    for name, serve in SERVERS.items():
        threading.Thread(target=listen, args=(name, serve), daemon=True).start()
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
        "/CN=shop", "-keyout", directory + "/key", "-out", directory + "/cert")
    with open(directory + "/conf", "w", encoding="ascii") as out:
        out.write("""pid %s/pid; error_log %s/error; worker_processes 1; daemon off; user root;
            events {} http { access_log off; keepalive_timeout 3s; server { listen 8001;
            listen 8008 ssl; ssl_certificate %s/cert; ssl_certificate_key %s/key; root %s; } }"""
                  % ((directory,) * 5))
    with open(directory + "/large", "wb") as out:
        out.write(bytes(300000))
    nginx = subprocess.Popen(["nginx", "-c", directory + "/conf", "-e", directory + "/error"])
    ready.set()
    nginx.wait()


# ---- clients ----

def curl(source, port, *more, scheme="http"):
    subprocess.run(["curl", "-sk", "-m", "20", "--interface", source, "-o", "/dev/null", *more,
                    "%s://%s:%d/large" % (scheme, VIP, port)], check=False)


def connect(source, port, timeout=20):
    return socket.create_connection((VIP, port), timeout, (source, 0))


def ask(source, port, wait):
    """Asks, takes what comes, and leaves after @wait seconds."""
    with connect(source, port) as sock:
        try:
            sock.sendall(REQUEST)
            end = time.monotonic() + wait
            while time.monotonic() < end:
                if select.select([sock], [], [], max(0, end - time.monotonic()))[0] and \
                        not sock.recv(65536):
                    break
        except OSError:
            pass


def keep_alive(source):
    with connect(source, PORTS["hang"]) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
        time.sleep(5)


def upload_slowly(source):
    with connect(source, PORTS["read_all"]) as sock:
        for _ in range(8):
            sock.sendall(bytes(1000))
            time.sleep(1)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)


def half_close(source):
    with connect(source, PORTS["read_all"]) as sock:
        sock.sendall(REQUEST)
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)


def refused(source):
    for _ in range(3):
        try:
            connect(source, PORTS["refuse"]).close()
        except OSError:
            time.sleep(2)


def black_hole(source):
    sock = socket.socket()
    sock.settimeout(4)
    sock.bind((source, 0))
    try:
        sock.connect(("192.0.2.99", 80))
    except OSError:
        pass
    sock.close()


def reset_by_client(source):
    sock = connect(source, PORTS["nginx"])
    sock.sendall(REQUEST)
    sock.recv(1000)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RST)
    sock.close()


def keep_idle(source):
    """A connection that nginx closes when it has been idle."""
    with connect(source, PORTS["nginx"]) as sock:
        sock.sendall(REQUEST)
        while sock.recv(65536):
            pass


SCENARIOS = {
    "healthy_curl": lambda source: curl(source, PORTS["nginx"]),
    "healthy_tls": lambda source: curl(source, PORTS["tls"], scheme="https"),
    "healthy_upload": lambda source: curl(source, PORTS["nginx"], "-X", "PUT", "-H", "Expect:",
                                          "--data-binary", "@/usr/bin/python3"),
    "closed_when_idle": keep_idle,
    "refused": refused,
    "black_hole": black_hole,
    "hang": lambda source: ask(source, PORTS["hang"], 6),
    "closed_at_accept": lambda source: ask(source, PORTS["close"], 5),
    "reset_at_accept": lambda source: ask(source, PORTS["reset"], 5),
    "reset_in_mid_response": lambda source: ask(source, PORTS["reset_mid"], 5),
    "stall_in_mid_response": lambda source: ask(source, PORTS["stall"], 7),
    "answers_late": lambda source: ask(source, PORTS["slow"], 2),
    "long_poll": lambda source: ask(source, PORTS["poll"], 8.5),
    "keep_alive_probes": keep_alive,
    "slow_upload": upload_slowly,
    "half_close": half_close,
    "reset_by_client": reset_by_client,
}


def address_of(number):
    return "198.51.100.%d" % (number + 1)


# ---- the network, and the capture ----

def enter(namespace):
    with open("/run/netns/" + namespace, encoding="ascii") as handle:
        if ctypes.CDLL(None, use_errno=True).setns(handle.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def make_network(client, server):
    run("ip", "netns", "add", client)
    run("ip", "netns", "add", server)
    run("ip", "-n", client, "link", "add", "c0", "type", "veth", "peer", "name", "s0", "netns",
        server)
    for namespace, link in ((client, "c0"), (server, "s0")):
        run("ip", "netns", "exec", namespace, "ethtool", "-K", link, "tso", "off", "gso", "off",
            "gro", "off", "tx", "off")
        run("ip", "-n", namespace, "link", "set", link, "up", "mtu", "1500")
        run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", server, "addr", "add", VIP + "/24", "dev", "s0")
    run("ip", "-n", server, "route", "add", "198.51.100.0/24", "dev", "s0")
    for number in range(len(SCENARIOS)):
        run("ip", "-n", client, "addr", "add", address_of(number) + "/32", "dev", "c0")
    run("ip", "-n", client, "route", "add", "192.0.2.0/24", "dev", "c0", "src", address_of(0))
    run("ip", "-n", client, "neigh", "add", "192.0.2.99", "lladdr", "02:00:00:00:00:99", "dev",
        "c0")


def capture(sock, packets, is_over):
    while not is_over.is_set():
        if not select.select([sock], [], [], .1)[0]:
            continue
        frame, sender = sock.recvfrom(65536)
        if sender[2] == PACKET_OUTGOING and frame[12:14] == b"\x08\x00":
            packets.append((time.clock_gettime(time.CLOCK_MONOTONIC), frame))


def write_files(packets, directory):
    os.makedirs(directory, exist_ok=True)
    for number, name in enumerate(SCENARIOS):
        own = [(when, frame) for when, frame in packets
               if socket.inet_ntoa(frame[26:30]) == address_of(number)]
        if not own:
            raise SystemExit("%s: nothing was recorded" % name)
        with open(os.path.join(directory, name + ".pcap"), "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, SNAP, 1))
            for when, frame in own:
                micros = int((when - own[0][0]) * 1e6)
                kept = frame[:SNAP]
                out.write(struct.pack("<IIII", micros // 10**6, micros % 10**6, len(kept),
                                      len(frame)) + kept)
        print("%-24s %4d packets" % (name, len(own)))


def main():
    directory = sys.argv[1] if len(sys.argv) > 1 else FLOWS
    work = tempfile.mkdtemp(prefix="record-flows.")
    os.chmod(work, 0o755)
    client, server = "rec-c-%d" % os.getpid(), "rec-s-%d" % os.getpid()
    ready, packets, is_over = multiprocessing.Event(), [], threading.Event()
    servers = None
    try:
        make_network(client, server)
        servers = multiprocessing.Process(target=serve_all, args=(server, work, ready))
        servers.start()
        ready.wait(20)
        time.sleep(1)
        enter(client)
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        sock.bind(("c0", 3))
        capturer = threading.Thread(target=capture, args=(sock, packets, is_over))
        capturer.start()
        clients = [threading.Thread(target=scenario, args=(address_of(number),))
                   for number, scenario in enumerate(SCENARIOS.values())]
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
        time.sleep(1.5)
        is_over.set()
        capturer.join()
        write_files(packets, directory)
    finally:
        if servers:
            with open(work + "/pid", encoding="ascii") as pid:
                os.kill(int(pid.read()), 15)
            servers.join(5)
            servers.kill()
        for namespace in (client, server):
            subprocess.run(["ip", "netns", "del", namespace], check=False)
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
