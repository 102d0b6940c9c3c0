# SPDX-License-Identifier: GPL-2.0-only
"""HTTP servers that a rollout talks to, in a thread of the test: a receiver of hooks, and one that answers as
Prometheus does.

    with Receiver(lab) as gate, PrometheusStub(lab) as prometheus:
        gate.answer = 503                  # or "hang": takes the request and answers nothing
        gate.events                        # what was posted
        prometheus.values["up"] = 1.0      # or a function; None: no series; an Exception: an error of the query
"""

import http.server
import json
import threading
import urllib.parse

HANG = "hang"


class Stub:
    """On @port of 127.0.0.1 in @role's namespace, while the block lasts."""

    def __init__(self, lab, port, role="lb"):
        self.lock = threading.Lock()
        self.left = threading.Event()
        with lab.namespace(role):
            self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{port}"

    def handler(self):
        stub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                self.reply()

            def do_POST(self):
                self.reply()

            def reply(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                answer = stub.reply(self.command, self.path, self.headers, body.decode())
                if answer is None:  # until the block is left
                    stub.left.wait()
                    self.close_connection = True
                    return
                status, text = answer
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        return Handler

    def reply(self, method, path, headers, body):
        """(status, text); None: nothing is answered."""
        raise NotImplementedError

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.left.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Receiver(Stub):
    def __init__(self, lab, port=8099, answer=200, **options):
        super().__init__(lab, port, **options)
        self.answer = answer
        self.events, self.problems = [], []

    def reply(self, method, path, headers, body):
        with self.lock:
            try:
                if method != "POST" or "json" not in headers.get("Content-Type", ""):
                    raise ValueError(f"{method} {path}: {headers.get('Content-Type')}")
                self.events.append(json.loads(body))
            except ValueError as error:
                self.problems.append(str(error))
        return None if self.answer == HANG else (self.answer, "")

    def of(self, event):
        with self.lock:
            return [value for value in self.events if value.get("event") == event]


class PrometheusStub(Stub):
    """The API of instant queries (prometheus.io/docs/prometheus/latest/querying/api)."""

    def __init__(self, lab, port=9090, **options):
        super().__init__(lab, port, **options)
        self.values, self.asked = {}, []

    def reply(self, method, path, headers, body):
        url = urllib.parse.urlsplit(path)
        if url.path != "/api/v1/query":
            return 404, ""
        form = urllib.parse.parse_qs(url.query or body)
        query = form["query"][0]
        with self.lock:
            self.asked.append(query)
        value = self.values.get(query, ValueError(f'unknown query "{query}"'))
        value = value() if callable(value) else value
        if value is HANG:
            return None
        if isinstance(value, Exception):
            return 400, json.dumps({"status": "error", "errorType": "bad_data", "error": str(value)})
        result = [] if value is None else [{"metric": {}, "value": [1893553445.1, str(value)]}]
        return 200, json.dumps({"status": "success",
                                "data": {"resultType": "vector", "result": result}})
