#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The daemon in a lab: metrics, restoring after a boot, next hops, and that nothing hangs on it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from box import ASKER, Box, BoxTest, Traffic, config, service, vip, wait_for  # noqa: E402

SHARE = 0.3
MAC, OTHER_MAC = "02:00:00:00:99:01", "02:00:00:00:99:02"

# INTERFACE, section 5: what this version has to have, with its labels.
OF_RULE = ["cohort", "rule", "service"]
OF_BACKEND = ["backend", "cohort", "service"]
METRICS = {
    "build_info": ["kernel", "program", "version"],
    "packets_total": OF_RULE, "bytes_total": OF_RULE, "flows_total": OF_RULE,
    "fins_total": OF_RULE, "rsts_total": OF_RULE,
    "backend_packets_total": OF_BACKEND, "backend_bytes_total": OF_BACKEND,
    "reasons_total": ["action", "reason"], "decisions_total": ["reason", "service"],
    "seen_packets_total": ["interface"],
    "path_total": ["path", "service"], "key_fallback_total": ["key", "service"],
    "in_transition": ["service"], "era_total": ["service"], "transition_entries": ["service"],
    "transition_evicted_total": ["service"],
    "share_set_ratio": OF_RULE, "share_base_ratio": OF_RULE, "share_actual_ratio": OF_RULE,
    "backend_up": OF_BACKEND, "backend_wish": OF_BACKEND,
    "cohort_backends": ["cohort", "service", "state"],
    "epoch": ["service"], "revision": [], "policy_digest_info": ["digest", "service"],
    "attached": ["interface"], "native": ["interface"],
    "observed_clients": [], "observe_overflow_total": [],
    "store_errors_total": [], "daemon_last_loop_timestamp_seconds": [], "map_bytes": ["map"],
}


def announce_mac(lab, role, mac):
    """The role's interface has another MAC from now on, and says so by gratuitous ARP."""
    lab.run(role, ["sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1"])
    lab.run(role, ["ip", "link", "set", "eth0", "address", mac])


class Metrics(BoxTest):
    def loaded(self, **keys):
        """A lab whose box has a daemon and has had some traffic."""
        lab = self.lab_with()
        box = self.shop(lab, **keys)
        box.daemon()
        results = lab.load(lab.clients(400), lab.vip4, requests=2, concurrency=64)
        self.check_all_ok(results)
        return lab, box

    def test_every_metric_of_the_contract_is_there_with_its_labels(self):
        lab, box = self.loaded()
        found = {}
        for name, *labels in box.metrics():
            found.setdefault(name, set()).add(tuple(label.split("=")[0] for label in labels))
        self.assertEqual(found, {name: {tuple(labels)} for name, labels in METRICS.items()})
        text = box.fetch()[2]
        self.assertFalse([client for client in lab.clients(400) if f'"{client}"' in text])

    def test_promtool_finds_nothing_to_complain_of(self):
        _, box = self.loaded()
        done = subprocess.run(["promtool", "check", "metrics"], input=box.fetch()[2], text=True,
                              capture_output=True, timeout=30)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

    def test_values_are_those_of_stats(self):
        lab, box = self.loaded()
        self.check_values(*self.of_one_moment(box))
        box.run("kill", "shop")
        self.check_all_ok(lab.load(lab.clients(50), lab.vip4))
        values, stats = self.of_one_moment(box)
        self.check_values(values, stats)
        self.assertGreater(values["packets_total", 'cohort="stable"', 'rule="-"',
                                  'service="shop"'], 50)

    def of_one_moment(self, box):
        """(metrics, stats), between which no packet came."""
        def read():
            before, values, after = box.stats(), box.metrics(), box.stats()
            return (values, after) if before["packets_seen"] == after["packets_seen"] else None

        return wait_for(read)

    def check_values(self, values, stats):
        expected = {}
        for entry in stats["services"]:
            name = f'service="{entry["service"]}"'
            expected["epoch", name] = entry["epoch"]
            for rule in entry["rules"]:
                for cohort in rule["cohorts"]:
                    labels = (f'cohort="{cohort["cohort"]}"', f'rule="{rule["rule"] or "-"}"', name)
                    for field in ("packets", "bytes", "syns", "fins", "rsts"):
                        metric = "flows" if field == "syns" else field
                        expected[(f"{metric}_total", *labels)] = cohort[field]
            for backend in entry["backends"]:
                labels = (f'backend="{backend["backend"]}"', f'cohort="{backend["cohort"]}"', name)
                for field in ("packets", "bytes"):
                    expected[(f"backend_{field}_total", *labels)] = backend[field]
        for entry in stats["reasons"]:
            expected["reasons_total", f'action="{entry["action"]}"',
                     f'reason="{entry["reason"]}"'] = entry["packets"]
        expected["seen_packets_total", 'interface="eth0"'] = stats["packets_seen"]
        self.assertEqual({key: values.get(key) for key in expected}, expected)
        self.assertEqual(sum(value for key, value in values.items() if key[0] == "reasons_total"),
                         stats["packets_seen"])

    def test_state_of_the_box_is_told_as_it_is(self):
        lab, box = self.loaded()
        box.run("rollout", "set", "shop", "50%")
        values = box.metrics()
        canary = ('cohort="canary"', 'rule="default"', 'service="shop"')
        self.assertEqual([values[(name, *canary)] for name in
                          ("share_set_ratio", "share_base_ratio")], [0.5, 0.3])
        self.assertNotIn(("share_actual_ratio", *canary), values)  # too few flows since the change
        self.check_all_ok(lab.load(lab.clients(400), lab.vip4, concurrency=64))
        self.check_share(400 * box.metrics()[("share_actual_ratio", *canary)], 400, 0.5)
        eth0 = 'interface="eth0"'
        self.assertEqual((values["attached", eth0], values["native", eth0]), (1, 1))
        self.assertEqual(values["cohort_backends", 'cohort="stable"', 'service="shop"',
                                'state="serving"'], 2)
        self.assertEqual((values["revision",], values["store_errors_total",]), (1, 0))
        self.assertLess(abs(values["daemon_last_loop_timestamp_seconds",] - time.time()), 3)
        box.run("detach")
        values = box.metrics()
        self.assertEqual((values["attached", eth0], values["native", eth0]), (0, 0))

    def test_http_head_other_paths_and_other_methods_are_answered(self):
        _, box = self.loaded()
        status, headers, body = box.fetch()
        self.assertEqual(status, 200)
        self.assertIn("text/plain; version=0.0.4", headers["Content-Type"])
        self.assertEqual(int(headers["Content-Length"]), len(body.encode()))
        status, headers, body = box.fetch(method="HEAD")
        self.assertEqual((status, body), (200, ""))
        self.assertGreater(int(headers["Content-Length"]), 1000)
        for path in ("/", "/metrics/", "/metricsx", "/../metrics"):
            self.assertEqual(box.fetch(path)[0], 404, path)
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = box.fetch(method=method)
            self.assertEqual((status, headers["Allow"]), (405, "GET, HEAD"), method)
        self.assertEqual(box.fetch()[0], 200)

    def test_silent_and_broken_http_clients_keep_nobody_waiting(self):
        lab, box = self.loaded()
        with lab.namespace("lb"):
            for request in [b""] * 20 + [b"GET /met", b"\x00\xff\r\n\r\n", b"GET " + b"x" * 20000]:
                sock = self.enterContext(socket.create_connection(("127.0.0.1", 9977)))
                sock.sendall(request)
        for _ in range(10):
            began = time.monotonic()
            self.assertEqual(box.fetch()[0], 200)
            self.assertLess(time.monotonic() - began, 1)

    def test_a_change_of_where_to_listen_is_followed(self):
        lab, box = self.loaded()
        good = config(self.shop_service(lab))
        box.apply({**good, "metrics": {"listen": "127.0.0.1:9988"}})
        wait_for(lambda: box.serves_metrics(9988), 5)
        self.assertFalse(box.serves_metrics(9977))
        box.apply({**good, "metrics": {"listen": "off"}})
        wait_for(lambda: not box.serves_metrics(9988), 5)
        with lab.namespace("lb"), socket.create_server(("127.0.0.1", 9999)):
            box.apply({**good, "metrics": {"listen": "127.0.0.1:9999"}})
            wait_for(lambda: "cannot listen at 127.0.0.1:9999" in box.daemon_log(), 5)
        wait_for(lambda: box.serves_metrics(9999), 5, "not tried again when the port was free")
        box.apply(good)
        wait_for(lambda: box.serves_metrics(9977), 5)
        self.assertEqual(box.stop_daemon(), 0)

    def test_errors_of_the_store_are_counted_over_a_restart(self):
        def errors():
            return box.metrics()["store_errors_total",]

        _, box = self.loaded()
        self.assertEqual(0, errors())
        database, away = (os.path.join(box.state, name) for name in ("state.db", "away"))
        os.rename(database, away)
        with open(database, "w", encoding="ascii") as stream:
            stream.write("no database\n" * 100)
        wait_for(lambda: "state.db" in box.daemon_log(), 5)
        time.sleep(1)
        os.rename(away, database)
        # They are told once the store can be told of them, and not again from the beginning.
        wait_for(lambda: box.serves_metrics() and errors() > 0, 10)
        before = errors()
        for how in (signal.SIGKILL, signal.SIGTERM):
            box.daemon_process.send_signal(how)
            box.daemon_process.wait()
            box.daemon()
            self.assertGreaterEqual(errors(), before)

    # ---- Prometheus ----

    def start_prometheus(self, lab):
        path = os.path.join(lab.directory, "prometheus.yml")
        with open(path, "w") as file:
            json.dump({"global": {"scrape_interval": "1s"}, "scrape_configs": [
                {"job_name": "box", "static_configs": [{"targets": ["127.0.0.1:9977"]}]}]}, file)
        log = self.enterContext(open(os.path.join(lab.directory, "prometheus.log"), "w"))
        lab.popen("lb", ["prometheus", f"--config.file={path}", "--log.level=error",
                         f"--storage.tsdb.path={lab.directory}/tsdb",
                         "--web.listen-address=127.0.0.1:9090"], stdout=log, stderr=log)

    def query(self, lab, text):
        """[(labels, value)] of an instant query; none while Prometheus starts."""
        with contextlib.suppress(OSError), lab.namespace("lb"):
            connection = http.client.HTTPConnection("127.0.0.1", 9090, 5, ASKER)
            with contextlib.closing(connection):
                words = urllib.parse.urlencode({"query": text})
                connection.request("GET", "/api/v1/query?" + words)
                answer = connection.getresponse()
                if answer.status == 200:
                    return [(entry["metric"], float(entry["value"][1]))
                            for entry in json.load(answer)["data"]["result"]]
        return []

    def test_prometheus_scrapes_it_and_sees_the_share_that_was_set(self):
        lab, box = self.loaded()
        self.start_prometheus(lab)
        wait_for(lambda: [value for _, value in self.query(lab, "up") if value == 1], 30)
        self.check_all_ok(lab.load(lab.clients(1000), lab.vip4, concurrency=64))
        flows = sum(box.flows("shop").values())
        wait_for(lambda: [value for _, value in self.query(lab, "sum(xdp_canary_flows_total)")]
                 == [flows], 10)
        (_, actual), = self.query(lab, 'xdp_canary_share_actual_ratio{cohort="canary"}')
        self.check_share(actual * 1000, 1000, SHARE)
        (_, ratio), = self.query(lab, 'xdp_canary_share_actual_ratio / xdp_canary_share_set_ratio '
                                 'unless xdp_canary_share_set_ratio{cohort="stable"}')
        self.assertLess(abs(ratio - 1), 0.25)
        names = self.query(lab, 'count by (__name__) ({__name__=~"xdp_canary_.*"})')
        self.assertEqual({labels["__name__"] for labels, _ in names},
                         {f"xdp_canary_{name}" for name in METRICS})


class Boot(BoxTest):
    """After a reboot: the state is there, the kernel's side is not."""

    def full(self, lab):
        """A box with all that is to come back: shares, a live one, pins, a killed service."""
        box = Box(lab)
        b1, b2, b3 = map(lab.address, lab.backends)
        box.start(config(self.shop_service(lab),
                         service("dead", [vip(lab.vip4, 8080)], [b1, b2], [b3], "50%")))
        box.run("rollout", "set", "shop", "45%")
        for number, client in enumerate(lab.clients(4)):
            box.run("client", "pin", "shop", client, ("canary", "stable")[number % 2])
        box.run("client", "pin", "shop", lab.clients(5)[4], "canary", "--for", "1h")
        box.run("kill", "dead")
        return box

    def memory(self, box):
        words = ("get", "get --effective", "service list", "service show shop", "client pins",
                 "history")
        answers = [box.run("-j", *text.split()).stdout for text in words]
        clients = box.lab.clients(200) + box.lab.clients(200, 6)
        keys = ("client", "cohort", "reason", "share_ppm", "backend", "epoch", "next_hop")
        return answers + [[{key: answer[key] for key in keys}
                           for answer in box.explain(name, clients if name == "shop" else
                                                     clients[:200])] for name in ("shop", "dead")]

    def test_all_is_restored_shares_live_shares_pins_and_kills(self):
        lab = self.lab_with(ports=(80, 8080))
        box = self.full(lab)
        before = self.memory(box)
        box.forget_pins()
        wait_for(lambda: not box.is_attached())
        box.daemon()
        self.assertTrue(box.is_attached())
        self.assertEqual(self.memory(box), before)
        results = lab.load(lab.clients(400), lab.vip4, concurrency=64)
        self.check_all_ok(results)
        self.check_as_explained(box, "shop", results, vip(lab.vip4))
        results = lab.load(lab.clients(200), lab.vip4, 8080, concurrency=64)
        self.check_all_ok(results)
        self.assertEqual({result.backend for result in results}, {"b1", "b2"})

    def test_the_actual_share_counts_from_the_boot_on(self):
        lab = self.lab_with()
        box = self.shop(lab)
        self.check_all_ok(lab.load(lab.clients(400), lab.vip4, concurrency=64))
        box.run("rollout", "set", "shop", "45%")
        box.forget_pins()
        box.daemon()
        for flows in (500, 1000):
            self.check_all_ok(lab.load(lab.clients(500), lab.vip4, concurrency=64))
            actual = box.metrics()["share_actual_ratio", 'cohort="canary"', 'rule="default"',
                                   'service="shop"']
            canary = box.flows("shop")["canary"]
            self.assertAlmostEqual(actual, canary / flows, 5)
            self.check_share(canary * 500 / flows, 500, 0.45)

    def test_one_round_is_enough_to_restore(self):
        lab = self.lab_with()
        box = self.full(lab)
        before = self.memory(box)
        box.forget_pins()
        box.run("daemon", "--once", timeout=20)
        self.assertTrue(box.is_attached())
        self.assertEqual(self.memory(box), before)

    def test_a_box_that_was_detached_stays_so(self):
        lab = self.lab_with()
        box = self.full(lab)
        cohorts = box.cohorts("shop", lab.clients(100))
        box.run("detach")
        box.forget_pins()
        box.daemon()
        self.assertEqual(box.cohorts("shop", lab.clients(100)), cohorts)  # loaded all the same
        self.assertFalse(box.is_attached())
        time.sleep(1.5)
        self.assertFalse(box.is_attached())
        self.assertTrue(box.serves_metrics())
        self.assertEqual(box.stop_daemon(), 0)
        box.run("attach")
        self.check_all_ok(lab.load(lab.clients(100), lab.vip4))

    def test_an_interface_that_is_missing_keeps_no_other_from_being_attached(self):
        lab = self.lab_with()
        spare = ["ip", "link", "add", "a0", "type", "veth", "peer", "name", "a1"]
        lab.run("lb", spare)
        box = Box(lab)
        box.start(config(self.shop_service(lab), interfaces=["a0", "eth0"]))
        lab.run("lb", ["ip", "link", "del", "a0"])
        box.forget_pins()
        box.daemon()
        self.assertTrue(box.is_attached())
        self.check_split(box, "shop", lab.vip4, share=SHARE)
        lab.run("lb", spare)
        wait_for(lambda: box.is_attached("a0"), 10, box.daemon_log)
        self.assertTrue(box.is_attached())

    def test_a_kill_that_nobody_could_record_is_recorded_and_outlives_a_boot(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.daemon()
        with box.locked():
            box.run("kill", "shop")
        self.assertNotIn("killed", box.run("-j", "audit").stdout)
        lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])  # the daemon's next look is now
        wait_for(lambda: "killed" in box.run("-j", "audit").stdout, 5, box.daemon_log)
        box.stop_daemon()
        box.forget_pins()
        box.run("daemon", "--once", timeout=20)
        results = lab.load(lab.clients(100), lab.vip4)
        self.check_all_ok(results)
        self.assertEqual({result.backend for result in results}, {"b1", "b2"})

    def test_an_interface_that_comes_back_under_its_name_is_attached_again(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.daemon()
        members = self.check_sticky(lab.load(lab.clients(200), lab.vip4))
        for _ in range(2):
            lab.replug("lb")
            wait_for(lambda: box.is_attached(), 10, box.daemon_log)
            wait_for(lambda: all(entry["next_hop"] == "resolved"
                                 for entry in box.json("backend", "list")["backends"]), 5)
            results = lab.load(lab.clients(200), lab.vip4)
            self.check_all_ok(results)
            self.assertEqual(self.check_sticky(results), members)
        self.check_counters_add_up(box)


class NextHops(BoxTest):
    """Backends move and come back; the daemon follows the kernel's tables."""

    def check_follows(self, box, backend, mac, name="shop"):
        wait_for(lambda: box.next_hops(name)[backend] == mac, 5, box.daemon_log)

    def check_reaches_all(self, lab, port=80):
        results = lab.load(lab.clients(300), lab.vip4, port, concurrency=64)
        self.check_all_ok(results)
        self.assertEqual({result.backend for result in results}, set(lab.backends))

    def test_a_new_mac_that_is_announced_is_followed(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.daemon()
        self.check_reaches_all(lab)
        for mac in (MAC, OTHER_MAC):
            announce_mac(lab, "b3", mac)
            self.check_follows(box, lab.address("b3"), mac)
            self.check_reaches_all(lab)

    def test_a_new_mac_is_found_when_the_old_one_is_forgotten(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.daemon()
        lab.run("b3", ["ip", "link", "set", "eth0", "address", MAC])
        lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])
        self.check_follows(box, lab.address("b3"), MAC)
        self.check_reaches_all(lab)

    def test_neighbours_that_are_asked_for_again_cost_no_request(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.daemon()
        with Traffic(lab, lab.clients(100), lab.vip4) as traffic:
            for _ in range(5):
                lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])
                traffic.wait_for_more(200)
        self.check_all_ok(traffic.results)
        self.check_counters_add_up(box)  # TCP would hide a packet that was dropped

    def test_a_backend_that_was_unreachable_at_apply_is_found_when_it_appears(self):
        lab = self.lab_with()
        lab.run("b3", ["ip", "link", "set", "eth0", "down"])
        box = Box(lab)
        warnings = box.apply(config(self.shop_service(lab)))["warnings"]
        self.assertIn(lab.address("b3"), " ".join(entry["object"] for entry in warnings))
        box.run("attach")
        box.daemon()
        results = lab.load(lab.clients(50), lab.vip4, timeout=0.5)
        self.assertEqual({result.backend for result in results}, {"b1", "b2", None})
        self.assertGreater(box.reasons()["drop", "no_next_hop"], 0)
        time.sleep(1.5)  # the kernel has given up on it
        lab.run("b3", ["ip", "link", "set", "eth0", "up"])
        lab.run("b3", ["ip", "route", "replace", lab.range4, "via", lab.address("client")])
        wait_for(lambda: box.next_hops("shop")[lab.address("b3")] == lab.mac("b3"), 6,
                 box.daemon_log)
        self.check_reaches_all(lab)

    def test_ipip_goes_through_a_router_and_follows_it(self):
        """The client's host stands in as the router to the network of the backends."""
        lab = self.lab_with(back_network=True, decap=["b1", "b2", "b3"], ports=(80, 8080))
        lab.run("client", ["sysctl", "-qw", "net.ipv4.ip_forward=1",
                           "net.ipv6.conf.all.forwarding=1"])
        lab.run("lb", ["ip", "link", "set", "eth1", "down"])
        box = Box(lab)
        for family, backends in ((4, "10.41.0.0/24"), (6, "fd41::/64")):
            lab.run("lb", ["ip", "route", "replace", backends, "via",
                           lab.address("client", family, "front")])
        services = [service(f"by{family}", [vip(lab.vip4, port)],
                            [lab.address("b1", family), lab.address("b2", family)],
                            [lab.address("b3", family)], steer="ipip")
                    for family, port in ((4, 80), (6, 8080))]
        box.start(config(*services))
        box.daemon()
        for port in (80, 8080):
            self.check_reaches_all(lab, port)
        lab.run("client", ["ip", "link", "set", "eth0", "address", MAC])
        lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])
        for name in ("by4", "by6"):
            wait_for(lambda: set(box.next_hops(name).values()) == {MAC}, 5, box.daemon_log)
        self.check_reaches_all(lab)

    def test_static_next_hops_are_taken_as_they_are_written(self):
        lab = self.lab_with()
        box = self.shop(lab, stable=[
            {"address": "192.0.2.1", "via": lab.address("b1")},
            {"address": "192.0.2.2", "mac": lab.mac("b2"), "interface": "eth0"},
        ], canary=[{"address": lab.address("b3"), "interface": "eth0"}])
        self.check_reaches_all(lab)
        box.daemon()
        announce_mac(lab, "b1", MAC)
        self.check_follows(box, "192.0.2.1", MAC)
        self.check_reaches_all(lab)


class Life(BoxTest):
    """Starting, stopping, and that neither packets nor commands wait for the daemon."""

    def test_a_pin_for_two_seconds_ends_by_itself_and_the_daemon_drops_it(self):
        lab = self.lab_with()
        box = self.shop(lab)
        cohorts = box.cohorts("shop", lab.clients(50))
        client = next(client for client in cohorts if cohorts[client] == "stable")
        for with_daemon in (False, True):
            if with_daemon:
                box.daemon()
            box.run("client", "pin", "shop", client, "canary", "--for", "2s")
            began = time.monotonic()
            results = lab.load([client], lab.vip4, requests=9)
            self.assertEqual({result.backend for result in results}, {"b3"})
            self.assertEqual(len(box.json("client", "pins")["pins"]), 1)
            wait_for(lambda: box.cohorts("shop", [client])[client] == "stable", 10)
            self.assertGreater(time.monotonic() - began, 1)
            self.assertNotIn("b3", {result.backend
                                    for result in lab.load([client], lab.vip4, requests=9)})
            self.assertEqual(box.json("client", "pins")["pins"], [])
        epoch = box.explain("shop", [client])[0]["epoch"]
        lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])  # the daemon's next look is now
        wait_for(lambda: box.explain("shop", [client])[0]["epoch"] > epoch, 5, box.daemon_log)

    def test_sigterm_ends_it_with_0_sighup_changes_nothing_and_traffic_goes_on(self):
        lab = self.lab_with()
        box = self.shop(lab)
        daemon = box.daemon()
        with Traffic(lab, lab.clients(100), lab.vip4) as traffic:
            for _ in range(3):
                daemon.send_signal(signal.SIGHUP)
                traffic.wait_for_more(50)
                self.assertIsNone(daemon.poll())
                self.assertTrue(box.serves_metrics())
            began = time.monotonic()
            daemon.terminate()
            self.assertEqual(daemon.wait(5), 0)
            self.assertLess(time.monotonic() - began, 2)
            self.assertFalse(box.serves_metrics())
            traffic.wait_for_more(300)
            box.daemon()
            traffic.wait_for_more(100)
        self.check_all_ok(traffic.results)
        self.check_sticky(traffic.results)

    def test_two_boxes_of_one_host_have_a_daemon_each(self):
        lab = self.lab_with(4, back_network=True)
        b1, b2, b3, b4 = map(lab.address, lab.backends)
        lab.add_vip("10.80.0.20")
        lab.run("client", ["ip", "route", "replace", "10.80.0.20", "via",
                           lab.address("lb", 4, "back")])
        front, back = Box(lab, "front"), Box(lab, "back")
        front.start(config(service("shop", [vip(lab.vip4)], [b1], [b2])))
        back.start(config(service("shop", [vip("10.80.0.20")], [b3], [b4], "50%"),
                          interfaces=["eth1"], metrics={"listen": "127.0.0.1:9988"}))
        front.daemon()
        back.daemon(wait=False)
        back.wait_for_metrics(9988)
        front.run("rollout", "set", "shop", "10%")
        self.check_split(front, "shop", lab.vip4, share=0.1, backends=("b1", "b2"),
                         canaries=("b2",))
        self.check_split(back, "shop", "10.80.0.20", share=0.5, backends=("b3", "b4"),
                         canaries=("b4",))
        seen = [key[1:] for box, port in ((front, 9977), (back, 9988))
                for key in box.metrics(port) if key[0] == "attached"]
        self.assertEqual(seen, [('interface="eth0"',), ('interface="eth1"',)])
        front.run("kill", "shop")
        self.assertEqual(set(back.cohorts("shop", lab.clients(50)).values()), {"stable", "canary"})
        self.assertEqual((front.stop_daemon(), back.stop_daemon()), (0, 0))

    def test_systemd_is_told_when_it_is_ready_alive_and_stopping(self):
        lab = self.lab_with(ports=())
        box = self.shop(lab)
        path = os.path.join(lab.directory, "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            notify.settimeout(5)
            box.daemon(wait=False, environment={"NOTIFY_SOCKET": path})
            heard = ""
            while "READY=1" not in heard:
                heard += notify.recv(4096).decode() + "\n"
            self.assertTrue(box.serves_metrics())
            while "WATCHDOG=1" not in heard.split("READY=1")[1]:
                heard += notify.recv(4096).decode() + "\n"
            self.assertEqual(box.stop_daemon(), 0)
            heard += notify.recv(4096).decode()
            self.assertIn("STOPPING=1", heard)

    def test_a_writer_lock_that_another_holds_stops_neither_metrics_nor_the_end(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.daemon()
        with box.locked():
            for _ in range(10):
                lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])  # it wants to write
                began = time.monotonic()
                self.assertEqual(box.fetch()[0], 200)
                self.assertLess(time.monotonic() - began, 1)
                time.sleep(0.2)
            announce_mac(lab, "b3", MAC)
            time.sleep(0.5)
            self.assertEqual(box.next_hops("shop")[lab.address("b3")], lab.mac("b3"))
        wait_for(lambda: box.next_hops("shop")[lab.address("b3")] == MAC, 5, box.daemon_log)
        with box.locked():
            lab.run("lb", ["ip", "neigh", "flush", "dev", "eth0"])
            time.sleep(0.2)
            began = time.monotonic()
            self.assertEqual(box.stop_daemon(), 0)
            self.assertLess(time.monotonic() - began, 2)

    def test_a_daemon_that_starts_while_the_lock_is_held_restores_when_it_is_free(self):
        lab = self.lab_with()
        box = self.shop(lab)
        box.forget_pins()
        with box.locked():
            box.daemon()
            self.assertFalse(box.is_attached())
        wait_for(box.is_attached, 10, box.daemon_log)
        self.check_split(box, "shop", lab.vip4, share=SHARE)

    def test_a_daemon_before_the_first_apply_serves_what_comes(self):
        lab = self.lab_with()
        box = Box(lab)
        daemon = box.daemon(wait=False)
        time.sleep(1)
        self.assertIsNone(daemon.poll())
        box.start(config(self.shop_service(lab)))
        box.wait_for_metrics(seconds=2)
        self.check_split(box, "shop", lab.vip4, share=SHARE)


if __name__ == "__main__":
    unittest.main()
