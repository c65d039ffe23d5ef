#!/usr/bin/python3
"""The server around the broker: settings, signals, health pages, metrics, HTTP from hostile peers."""
import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import socket
import stat
import struct
import subprocess
import time
import unittest

import harness
import wire

OFFSET_COMMIT = 8
SAMPLE = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (-?[0-9.e+-]+|\+Inf|NaN)$')


def serve(*options, env=None, timeout_s=20):
    """`sluice serve` that is expected to end by itself: (status, what it said)."""
    done = subprocess.run([harness.SLUICE, "serve", *map(str, options)], stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=timeout_s, env={**os.environ, **(env or {})}, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


def samples(text):
    """{series: value} of a page in Prometheus' text format; fails on a line that is none."""
    found, types = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in types, f"{name} has two types"
            types[name] = kind
        elif not line.startswith("# HELP "):
            match = SAMPLE.match(line)
            assert match, f"not a sample: {line}"
            name, labels, value = match.groups()
            assert re.sub("_(bucket|sum|count)$", "", name) in types or name in types, f"{name} has no type"
            assert name + (labels or "") not in found, f"{line} comes twice"
            found[name + (labels or "")] = float(value)
    return found


class SettingsTest(unittest.TestCase):
    def setUp(self):
        self.home = harness.Broker()  # its directory only
        self.addCleanup(self.home.close)
        self.file = self.home.home / "sluice.yaml"

    def refused(self, expected, *options, env=None, yaml=None):
        if yaml is not None:
            self.file.write_text(yaml, encoding="utf-8")
            options = ("--config", self.file, *options)
        status, said = serve("--data-dir", self.home.data_dir, *options, env=env)
        self.assertEqual(2, status, said)
        self.assertEqual(f"sluice: {expected}\n", said)
        self.assertFalse(self.home.data_dir.exists(), "a wrong setting is noticed before anything is made")

    def test_a_wrong_value_is_refused_with_key_value_and_what_is_allowed(self):
        self.refused("--log-segment-bytes: log_segment_bytes: 12 is below 1 MiB; allowed: 1 MiB to 2147483647 bytes",
                     "--log-segment-bytes", "12")
        self.refused("KAFKA_ADDR: kafka_addr: 127.0.0.1:99999 is not an address; "
                     "allowed: host:port, [IPv6]:port, host or port", env={"KAFKA_ADDR": "127.0.0.1:99999"})
        self.refused(f"{self.file}, line 2: log_level: loud is not one of the choices; "
                     "allowed: debug, info, warn or error", yaml="host: 127.0.0.1\nlog_level: loud\n")

    def test_an_unknown_name_is_refused_with_the_one_that_was_meant(self):
        self.refused("--kafka-address: unknown option; did you mean --kafka-addr?", "--kafka-address", "x")
        self.refused(f"{self.file}, line 1: unknown setting kafka_adr; did you mean kafka_addr?",
                     yaml="kafka_adr: 127.0.0.1:0\n")

    def test_O03_a_yaml_file_that_is_more_than_a_list_is_refused_with_its_line(self):
        self.refused(f"{self.file}, line 3: host is set on line 1 already",
                     yaml="host: 127.0.0.1\nnode_id: 1\nhost: 127.0.0.2\n")
        self.refused(f"{self.file}, line 2: a nested mapping is not allowed here; "
                     'settings are a flat list of "key: value"', yaml="host:\n  name: x\n")

    def test_protection_that_does_not_exist_yet_is_not_pretended(self):
        status, said = serve("--data-dir", self.home.data_dir, env={"STREAMHOUSE_AUTH_ENABLED": "true"})
        self.assertEqual(2, status)
        self.assertIn("auth_enabled: true cannot be served yet", said)

    def test_an_unwritable_data_directory_is_named(self):
        status, said = serve("--data-dir", "/proc/nowhere/data", "--kafka-addr", "0", "--http-addr", "0", "--grpc-addr", "0")
        self.assertEqual(1, status)
        self.assertIn("/proc/nowhere", said)
        self.assertIn("--data-dir", said)

    def test_a_directory_of_somebody_else_is_left_alone(self):
        self.home.data_dir.mkdir()
        (self.home.data_dir / "thesis.tex").write_text("x", encoding="utf-8")
        status, said = serve("--data-dir", self.home.data_dir, "--kafka-addr", "0", "--http-addr", "0", "--grpc-addr", "0")
        self.assertEqual(1, status)
        self.assertIn("holds files but no FORMAT", said)
        self.assertEqual({"thesis.tex", "LOCK"}, set(os.listdir(self.home.data_dir)))


class PrecedenceTest(harness.FreshBrokerTestCase):
    def test_flag_environment_and_file_in_that_order_and_aliases_give_way(self):
        file = self.broker.home / "sluice.yaml"
        file.write_text("log_level: error\nlog_format: pretty\n", encoding="utf-8")
        self.broker.options = ["--config", str(file), "--log-level", "info"]
        self.broker.env = {"RUST_LOG": "debug", "SLUICE_LOG_FORMAT": "json", "LOG_FORMAT": "text",
                           "KAFKA_ADDR": "127.0.0.1:1"}
        self.broker.start()
        said = [json.loads(line) for line in self.broker.log_tail(1000).splitlines()]
        self.assertFalse([e for e in said if e["level"] == "debug"])
        self.assertTrue([e for e in said if "SLUICE_LOG_FORMAT and LOG_FORMAT disagree" in json.dumps(e)])

    def test_defaults_of_topics_come_from_the_settings_of_the_server(self):
        ck = self.client()
        self.broker.options = ["--log-retention-ms", "1h", "--log-segment-bytes", "2MiB", "--num-partitions", "3",
                               "--message-bytes-max", "5000"]
        self.broker.start()
        admin = ck.admin.AdminClient({"bootstrap.servers": self.broker.bootstrap})
        admin.create_topics([ck.admin.NewTopic(self.topic, -1)])[self.topic].result(10)
        self.assertEqual(3, len(admin.list_topics(self.topic, 10).topics[self.topic].partitions))
        resource = ck.admin.ConfigResource(ck.admin.ConfigResource.Type.TOPIC, self.topic)
        found = admin.describe_configs([resource])[resource].result(10)
        self.assertEqual(("3600000", "2097152", "5000"), tuple(
            found[name].value for name in ("retention.ms", "segment.bytes", "max.message.bytes")))

    def client(self):
        try:
            import confluent_kafka.admin
            return confluent_kafka
        except ImportError:
            return self.skipTest("python3-confluent-kafka is not installed (make deps)")

    def test_the_data_directory_is_private(self):
        self.broker.start()
        self.assertEqual(0o700, stat.S_IMODE(self.broker.data_dir.stat().st_mode))
        for path in self.broker.data_dir.iterdir():
            self.assertEqual(0, stat.S_IMODE(path.stat().st_mode) & 0o077, path)


class SignalsTest(harness.FreshBrokerTestCase):
    def events(self):
        return [json.loads(line)["event"] for line in self.broker.log_tail(1000).splitlines()]

    def test_SIGHUP_reads_live_settings_again_and_refuses_wrong_ones(self):
        file = self.broker.home / "sluice.yaml"
        file.write_text("log_level: info\n", encoding="utf-8")
        self.broker.options = ["--config", str(file)]
        self.broker.start()
        file.write_text("log_level: loud\n", encoding="utf-8")
        os.kill(self.broker.pid, signal.SIGHUP)
        harness.wait_until(lambda: "server.reload_refused" in self.events(), 5, "the refusal")
        file.write_text("log_level: debug\nnode_id: 7\n", encoding="utf-8")
        os.kill(self.broker.pid, signal.SIGHUP)
        harness.wait_until(lambda: "server.reloaded" in self.events(), 5, "the reload")
        self.assertIn("server.reload_later", self.events())
        self.assertEqual(200, self.broker.get("/readyz")[0])

    def test_a_clean_stop_says_so_and_removes_the_ports(self):
        self.broker.start()
        self.broker.stop()
        self.assertEqual("server.stopped", self.events()[-1])
        self.assertFalse((self.broker.data_dir / "ports.json").exists())

    def signaled_in_a_drain(self, *signals):
        """Signals and pauses while a produce waits for a stalled disk; (exit status, was it acknowledged)."""
        self.broker.options = ["--drain-ms", "20s"]
        self.broker.start()
        with wire.Connection(self.broker) as c:
            c.call(wire.METADATA, 1, wire.array([wire.string(self.topic)]))
            harness.wait_until(lambda: c.produce(self.topic, wire.batch([b"x"]))[0] == 0, 10, "the topic")
            with harness.stalled_syncs(self.broker, 3):
                c.send_produce(self.topic, wire.batch([b"y"]), timeout_ms=60_000)
                time.sleep(0.3)
                for what in signals:
                    if isinstance(what, signal.Signals):
                        os.kill(self.broker.pid, what)
                    else:
                        time.sleep(what)
                try:
                    is_acknowledged = bool(c.receive())
                except ConnectionError:
                    is_acknowledged = False
            return self.broker.process.wait(10), is_acknowledged

    def test_F20_SIGTERM_x_2_with_a_second_between_ends_it_at_once(self):
        self.assertEqual((1, False), self.signaled_in_a_drain(signal.SIGTERM, 1.1, signal.SIGTERM))
        self.assertEqual("server.stop_now", self.events()[-1])
        self.broker.start()

    def test_F20_a_second_SIGINT_ends_it_at_once(self):
        self.assertEqual((1, False), self.signaled_in_a_drain(signal.SIGINT, 0.1, signal.SIGINT))
        self.assertEqual("server.stop_now", self.events()[-1])
        self.broker.start()

    def test_F20_SIGTERM_x_2_and_SIGINT_together_do_not_lose_the_drain(self):
        self.assertEqual((0, True), self.signaled_in_a_drain(signal.SIGINT, signal.SIGTERM, 0.2, signal.SIGTERM))
        self.assertIn("server.stopping_already", self.events())
        self.assertEqual("server.stopped", self.events()[-1])

    def test_a_port_in_use_is_told_with_the_process_that_has_it(self):
        self.broker.start()
        status, said = serve("--data-dir", self.broker.home / "other", "--kafka-addr", self.broker.bootstrap,
                             "--http-addr", "0", "--grpc-addr", "0")
        self.assertEqual(1, status)
        self.assertIn(f"sluice (process {self.broker.pid}) listens there", said)
        self.assertIn("--kafka-addr", said)


class IoThreadsTest(harness.FreshBrokerTestCase):
    def test_connections_on_threads_of_their_own_see_the_same_log(self):
        self.broker.options = ["--io-threads", "3"]
        self.broker.start()
        connections = [wire.Connection(self.broker) for _ in range(9)]
        self.addCleanup(lambda: [c.socket.close() for c in connections])
        connections[0].call(wire.METADATA, 1, wire.array([wire.string(self.topic)]))
        first = connections[0]
        harness.wait_until(lambda: first.produce(self.topic, wire.batch([b"x"]))[0] == 0, 10, "the topic")
        offsets = [c.produce(self.topic, wire.batch([b"x"]))[1] for c in connections * 20]
        self.assertEqual(list(range(1, 181)), offsets)
        for c in connections:
            self.assertEqual((0, 181), c.fetch(self.topic, 0)[:2])
        _, text = self.broker.get("/metrics")
        self.assertEqual(181, samples(text)['sluice_kafka_requests_total{api="Produce"}'])
        connections[1].send(wire.FETCH, 4, connections[1].fetch_body(self.topic, 181, wait_ms=60_000))
        self.broker.restart()
        with wire.Connection(self.broker) as c:
            self.assertEqual((0, 181), c.fetch(self.topic, 0)[:2])


class FailingDiskTest(harness.FreshBrokerTestCase):
    def test_F06_a_journal_that_cannot_be_written_ends_the_process_and_the_next_one_serves(self):
        self.broker.start()
        with wire.Connection(self.broker) as c:
            c.call(wire.METADATA, 1, wire.array([wire.string(self.topic)]))
            harness.wait_until(lambda: c.produce(self.topic, wire.batch([b"x"]))[0] == 0, 10, "the topic")
            resource.prlimit(self.broker.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            with contextlib.suppress(ConnectionError):
                self.assertNotEqual(0, c.produce(self.topic, wire.batch([b"y" * 9000]))[0])
        self.assertEqual(1, self.broker.process.wait(10))
        last = json.loads(self.broker.log_tail(1))
        self.assertEqual("server.fatal", last["event"])
        self.assertIn("the next start recovers", last["msg"])
        self.broker.start()
        with wire.Connection(self.broker) as c:
            error, high_watermark, _ = c.fetch(self.topic, 0)
        self.assertEqual(0, error)
        self.assertIn(high_watermark, (1, 2))


class PagesTest(harness.BrokerTestCase):
    def test_health_pages(self):
        for path, body in [("/healthz", "OK\n"), ("/livez", "OK\n"), ("/readyz", "READY\n"), ("/health", "OK\n"),
                           ("/live", "OK\n"), ("/ready", "READY\n")]:
            self.assertEqual((200, body), self.broker.get(path), path)
        self.assertIn("/metrics", self.broker.get("/")[1])
        self.assertEqual(404, self.broker.get("/x")[0])
        self.assertEqual(404, self.broker.get("/metrics/")[0])

    def test_HEAD_and_wrong_methods(self):
        c = http.client.HTTPConnection("127.0.0.1", self.broker.http_port, timeout=10)
        self.addCleanup(c.close)
        for method, path, status in [("HEAD", "/readyz", 200), ("POST", "/readyz", 405), ("TRACE", "/", 405),
                                     ("DELETE", "/metrics", 405), ("GET", "/readyz", 200)]:
            c.request(method, path)
            answer = c.getresponse()
            body = answer.read()
            self.assertEqual(status, answer.status, (method, path))
            if method == "HEAD":
                self.assertEqual((b"", "6"), (body, answer.headers["Content-Length"]))

    def raw(self, request):
        with socket.create_connection(("127.0.0.1", self.broker.http_port), 10) as s:
            s.sendall(request)
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := s.recv(65536):
                    answer += piece
        return answer

    def test_H01_H02_hostile_requests_are_refused_and_closed(self):
        for request, status in [
                (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
                (b"GET / HTTP/1.1\r\n\r\n", 400),
                (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
                (b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", 400),
                (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
                (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 431),
                (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", 413)]:
            answer = self.raw(request + b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
            self.assertTrue(answer.startswith(b"HTTP/1.1 %d " % status), (request[:60], answer[:100]))
            self.assertEqual(1, answer.count(b"HTTP/1.1 "), "nothing behind a refused request is read")
        self.assertEqual(200, self.broker.get("/readyz")[0])


class MetricsTest(harness.BrokerTestCase):
    def metrics(self):
        status, text = self.broker.get("/metrics")
        self.assertEqual(200, status)
        return samples(text)

    def test_figures_are_those_of_a_counted_load(self):
        before = self.metrics()
        with wire.Connection(self.broker) as c:
            c.call(wire.METADATA, 1, wire.array([wire.string(self.topic)]))  # makes the topic
            harness.wait_until(lambda: c.produce(self.topic, wire.batch([b"first"]))[0] == 0, 10, "the topic")
            at_start = self.metrics()
            payload = wire.batch([b"x" * 1000] * 10)
            for _ in range(20):
                self.assertEqual(0, c.produce(self.topic, payload)[0])
            for _ in range(7):
                c.api_versions()
            self.assertNotEqual(0, c.produce(self.topic, wire.batch([b"x"], crc=1))[0])
            connections = self.metrics()["sluice_kafka_connections"]
        after = self.metrics()

        def grown(name, since=at_start):
            return after[name] - since.get(name, 0)

        self.assertEqual(21, grown('sluice_kafka_requests_total{api="Produce"}'))
        self.assertEqual(7, grown('sluice_kafka_requests_total{api="ApiVersions"}'))
        self.assertEqual(1, grown('sluice_kafka_errors_total{api="Produce"}'))
        self.assertEqual(21, grown('sluice_kafka_latency_seconds_count{api="Produce"}'))
        self.assertEqual(21, grown('sluice_kafka_latency_seconds_bucket{api="Produce",le="+Inf"}'))
        self.assertGreater(grown('sluice_kafka_latency_seconds_sum{api="Produce"}'), 0)
        self.assertEqual(20, grown("sluice_log_appended_batches_total"))
        self.assertEqual(20 * len(payload), grown("sluice_log_appended_bytes_total"))
        self.assertGreaterEqual(grown('sluice_kafka_request_bytes_total{api="Produce"}'), 20 * len(payload))
        self.assertGreater(grown("sluice_log_syncs_total"), 0)
        self.assertEqual(1, connections - before["sluice_kafka_connections"])
        self.assertEqual(1, grown("sluice_kafka_connections_total", before))
        self.assertEqual(before["sluice_topics"] + 1, after["sluice_topics"])
        self.assertGreater(after["process_resident_memory_bytes"], 1 << 20)
        self.assertGreater(after["sluice_uptime_seconds"], 0)

    def test_groups_and_their_lag_in_records(self):
        with wire.Connection(self.broker) as c:
            c.call(wire.METADATA, 1, wire.array([wire.string(self.topic)]))
            harness.wait_until(lambda: c.produce(self.topic, wire.batch([b"x"] * 10))[0] == 0, 10, "the topic")
            c.call(OFFSET_COMMIT, 2, wire.string(self.group) + struct.pack(">i", -1) + wire.string("") +
                   struct.pack(">q", -1) + wire.array([wire.string(self.topic) + wire.array(
                       [struct.pack(">iq", 0, 4) + wire.string(None)])]))
        series = f'sluice_group_lag_records{{group="{self.group}",topic="{self.topic}"}}'
        found = self.metrics()
        self.assertEqual(6, found[series])
        self.assertEqual(1, found["sluice_groups"])
        self.assertEqual(1, found["sluice_committed_offsets"])
        self.assertEqual(0, found["sluice_series_left_out"])

    def test_buckets_are_cumulative(self):
        with wire.Connection(self.broker) as c:
            c.api_versions()
        buckets = [v for k, v in self.metrics().items()
                   if k.startswith('sluice_kafka_latency_seconds_bucket{api="ApiVersions"')]
        self.assertEqual(sorted(buckets), buckets)
        self.assertGreater(len(buckets), 10)

    @unittest.skipUnless(shutil.which("promtool"), "promtool is not installed (package prometheus)")
    def test_promtool_finds_nothing_wrong(self):
        _, text = self.broker.get("/metrics")
        done = subprocess.run(["promtool", "check", "metrics"], input=text.encode(), capture_output=True, check=False)
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)


if __name__ == "__main__":
    harness.main()
