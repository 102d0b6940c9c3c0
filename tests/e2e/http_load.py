#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""HTTP clients for end-to-end tests: many source addresses, one thread, every answer recorded.

load() sends GET requests from every source address, each over a connection of its own, some of them
at a time, and returns one Result for each, also for those that failed: nothing is tried twice,
nothing is dropped, and no request outlives its timeout. Connection is one long-lived connection,
for tests of what becomes of a flow while the policy changes.

    results = load(["10.50.0.1", "10.50.0.2"], "10.80.0.10", requests=3)
    by_backend = collections.Counter(result.backend for result in results)

From the command line it prints a line of JSON for each request:

    http_load.py --sources 10.50.0.0/22 --requests 3 10.80.0.10
"""

import argparse
import errno
import heapq
import ipaddress
import itertools
import json
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Iterable, List, Optional

IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h: connect() chooses the port, for its destination only
ANSWER_LIMIT = 1 << 20  # bytes; a longer answer is an error


@dataclass
class Result:
    source: str
    port: int  # of the client; 0 where there was no connection
    backend: Optional[str]  # the X-Backend header
    status: Optional[int]
    error: Optional[str]  # None: a whole answer came
    seconds: float

    @property
    def ok(self) -> bool:
        return self.error is None and self.status == 200


class Answer:
    """One HTTP/1.1 answer as it comes. A body has a Content-Length or ends with the connection."""

    def __init__(self):
        self.bytes = bytearray()
        self.status = None
        self.backend = None
        self.length = None  # of head and body together; None: not known, or to the end
        self.head_ends = None

    def feed(self, data: bytes) -> bool:
        """True once the answer is whole. Raises ValueError for what is no HTTP answer."""
        if not data:
            if self.head_ends is not None and self.length is None:
                return True
            raise ValueError(f"closed {'within the' if self.bytes else 'without an'} answer")
        self.bytes += data
        if len(self.bytes) > ANSWER_LIMIT:
            raise ValueError("answer too long")
        if self.head_ends is None:
            end = self.bytes.find(b"\r\n\r\n")
            if end < 0:
                return False
            self._read_head(bytes(self.bytes[:end]), end + 4)
        return self.length is not None and len(self.bytes) >= self.length

    def _read_head(self, head: bytes, ends: int) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if not words[0].startswith("HTTP/") or len(words) < 2 or not words[1].isdigit():
            raise ValueError(f"not an HTTP answer: {first[:60]!r}")
        self.status = int(words[1])
        self.head_ends = ends
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "x-backend":
                self.backend = value.strip()
            elif name.lower() == "content-length":
                self.length = ends + int(value)

    @property
    def body(self) -> bytes:
        return bytes(self.bytes[self.head_ends:]) if self.head_ends else b""


def request_bytes(destination: str, path: str, close: bool) -> bytes:
    host = f"[{destination}]" if ":" in destination else destination
    return (f"GET {path} HTTP/1.1\r\nHost: {host}\r\n"
            f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n").encode()


def client_socket(source: str, destination: str) -> socket.socket:
    """A TCP socket bound to @source; for IPv6 ranges that needs net.ipv6.ip_nonlocal_bind."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
    except OSError:
        sock.close()
        raise
    return sock


class Exchange:
    """One request of load(): its socket, what is still to be sent, and the answer so far."""

    def __init__(self, source, destination, port, request, timeout):
        self.source = source
        self.began = time.monotonic()
        self.deadline = self.began + timeout
        self.unsent = request
        self.answer = Answer()
        self.result = None
        self.port = 0
        self.sock = None
        try:
            self.sock = client_socket(source, destination)
            self.sock.setblocking(False)
            code = self.sock.connect_ex((destination, port))
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, errno.errorcode.get(code, str(code)))
            self.port = self.sock.getsockname()[1]
        except OSError as error:
            self.finish(describe(error))
            if self.sock:
                self.sock.close()

    def advance(self) -> None:
        """Goes on as far as the socket allows; self.result is set when it is over."""
        try:
            if self.unsent:
                code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    raise OSError(code, errno.errorcode.get(code, str(code)))
                self.unsent = self.unsent[self.sock.send(self.unsent):]
                return
            if self.answer.feed(self.sock.recv(65536)):
                self.finish(None)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self.finish(describe(error))

    def finish(self, error: Optional[str]) -> None:
        self.result = Result(self.source, self.port, self.answer.backend, self.answer.status, error,
                             time.monotonic() - self.began)


def describe(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno:
        return errno.errorcode.get(error.errno, str(error.errno))
    return str(error) or type(error).__name__


def load(sources: Iterable[str], destination: str, port: int = 80, *, requests: int = 1,
         path: str = "/", concurrency: int = 256, timeout: float = 5.0) -> List[Result]:
    """@requests GETs from each of @sources, in rounds over all of them, @concurrency at a time.

    @timeout is of one request, in seconds, from before its connect().
    """
    request = request_bytes(destination, path, close=True)
    sources = list(sources)
    waiting = itertools.chain.from_iterable(itertools.repeat(sources, requests))
    results, running, deadlines = [], set(), []
    numbers = itertools.count()  # so that the heap never compares exchanges

    with selectors.EpollSelector() as selector:
        while True:
            while len(running) < concurrency:
                source = next(waiting, None)
                if source is None:
                    break
                exchange = Exchange(source, destination, port, request, timeout)
                if exchange.result:
                    results.append(exchange.result)
                    continue
                running.add(exchange)
                selector.register(exchange.sock, selectors.EVENT_WRITE, exchange)
                heapq.heappush(deadlines, (exchange.deadline, next(numbers), exchange))
            if not running:
                return results
            for key, _ in selector.select(max(0.0, deadlines[0][0] - time.monotonic())):
                _step(selector, key.data, running, results)
            _expire(selector, deadlines, running, results)


def _step(selector, exchange, running, results) -> None:
    sending = bool(exchange.unsent)
    exchange.advance()
    if exchange.result:
        _end(selector, exchange, running, results)
    elif sending and not exchange.unsent:
        selector.modify(exchange.sock, selectors.EVENT_READ, exchange)


def _expire(selector, deadlines, running, results) -> None:
    now = time.monotonic()
    while deadlines and (deadlines[0][2].result or deadlines[0][0] <= now):
        exchange = heapq.heappop(deadlines)[2]
        if not exchange.result:
            exchange.finish("timeout while connecting" if exchange.unsent else "timeout")
            _end(selector, exchange, running, results)


def _end(selector, exchange, running, results) -> None:
    selector.unregister(exchange.sock)
    exchange.sock.close()
    running.discard(exchange)
    results.append(exchange.result)


class Connection:
    """A connection that stays open: get() may be called until it fails, and never reconnects."""

    def __init__(self, source: str, destination: str, port: int = 80, *, timeout: float = 5.0):
        self.source = source
        self.destination = destination
        self.sock = client_socket(source, destination)
        self.sock.settimeout(timeout)
        try:
            self.sock.connect((destination, port))
        except OSError:
            self.sock.close()
            raise
        self.port = self.sock.getsockname()[1]

    def get(self, path: str = "/") -> Result:
        began, answer, error = time.monotonic(), Answer(), None
        try:
            self.sock.sendall(request_bytes(self.destination, path, close=False))
            while not answer.feed(self.sock.recv(65536)):
                pass
        except socket.timeout:
            error = "timeout"
        except (OSError, ValueError) as problem:
            error = describe(problem)
        return Result(self.source, self.port, answer.backend, answer.status, error,
                      time.monotonic() - began)

    def close(self) -> None:
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def main() -> int:
    parser = argparse.ArgumentParser(description="GET requests from many source addresses")
    parser.add_argument("destination")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--sources", action="append", required=True, metavar="ADDRESS[/LENGTH]",
                        help="all addresses of a prefix; may be given again")
    parser.add_argument("--count", type=int, default=65536, help="at most so many sources")
    parser.add_argument("--requests", type=int, default=1, help="from each source")
    parser.add_argument("--concurrency", type=int, default=256)
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds, of one request")
    parser.add_argument("--path", default="/")
    options = parser.parse_args()

    addresses = itertools.chain.from_iterable(map(ipaddress.ip_network, options.sources))
    sources = [str(address) for address in itertools.islice(addresses, options.count)]
    results = load(sources, options.destination, options.port, requests=options.requests,
                   path=options.path, concurrency=options.concurrency, timeout=options.timeout)
    for result in results:
        print(json.dumps(asdict(result)))
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
