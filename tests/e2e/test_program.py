#!/usr/bin/python3
"""The program itself: ports, readiness, signals, refusals."""
import json
import os
import signal
import socket
import subprocess
import time

import harness


def serve(*options, env=None, timeout_s=10):
    """Runs `sluice serve` that is expected to end by itself; (status, what it said)."""
    done = subprocess.run([harness.SLUICE, "serve", *options], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=timeout_s, env={**os.environ, **(env or {})}, check=False)
    return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace")


class ProgramTest(harness.FreshBrokerTestCase):
    def test_ports_json_names_the_ports_and_the_log_says_once_that_it_is_ready(self):
        self.broker.start()
        ports = json.loads((self.broker.data_dir / "ports.json").read_text(encoding="utf-8"))
        for name in ("kafka", "http", "grpc"):
            with socket.create_connection(("127.0.0.1", ports[name]), 5):
                pass
        ready = [line for line in self.broker.log_tail(1000).splitlines() if "ready" in line]
        self.assertEqual(1, len(ready), ready)

    def test_logs_are_json_when_no_terminal_reads_them(self):
        self.broker.start()
        for line in self.broker.log_tail(1000).splitlines():
            json.loads(line)

    def test_health_and_metrics_are_served(self):
        self.broker.start()
        for path in ("/healthz", "/livez", "/readyz"):
            self.assertEqual(200, self.broker.get(path)[0], path)
        status, text = self.broker.get("/metrics")
        self.assertEqual(200, status)
        self.assertIn("# TYPE ", text)
        self.assertEqual(404, self.broker.get("/no/such/page")[0])

    def test_sigterm_ends_it_cleanly_in_time_whatever_clients_do(self):
        self.broker.start()
        clients = [socket.create_connection(("127.0.0.1", self.broker.kafka_port)) for _ in range(20)]
        clients += [socket.create_connection(("127.0.0.1", self.broker.http_port)) for _ in range(5)]
        for i, c in enumerate(clients):
            c.sendall(b"\x00\x00\x01\x00" if i % 2 else b"")  # half a request
        started = time.monotonic()
        self.broker.stop()
        self.assertLess(time.monotonic() - started, harness.STOP_S)
        for c in clients:
            c.close()

    def test_sigint_ends_it_cleanly_too(self):
        self.broker.start()
        self.assertEqual(0, self.broker.stop(signal.SIGINT))

    def test_it_starts_again_after_a_stop_and_after_a_kill(self):
        self.broker.start()
        self.broker.restart()
        self.broker.kill_and_start()
        self.assertEqual(200, self.broker.get("/readyz")[0])

    def test_a_second_process_on_the_data_directory_is_refused_and_names_the_first(self):
        self.broker.start()
        status, said = serve("--data-dir", str(self.broker.data_dir), "--kafka-addr", "127.0.0.1:0",
                             "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0")
        self.assertNotEqual(0, status)
        self.assertIn(str(self.broker.pid), said)
        self.assertEqual(200, self.broker.get("/readyz")[0])

    def test_a_port_in_use_is_refused_by_its_address(self):
        self.broker.start()
        status, said = serve("--data-dir", str(self.broker.home / "other"), "--kafka-addr", self.broker.bootstrap,
                             "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0")
        self.assertNotEqual(0, status)
        self.assertIn(str(self.broker.kafka_port), said)

    def test_a_wrong_setting_is_refused_with_its_name_and_value(self):
        data = ["--data-dir", str(self.broker.data_dir)]
        for options, env, words in [
                (["--kafka-addr", "nonsense"], {}, ["kafka", "nonsense"]),
                (["--no-such-option", "1"], {}, ["no-such-option"]),
                ([], {"KAFKA_ADDR": "127.0.0.1:99999"}, ["99999"])]:
            with self.subTest(options=options, env=env):
                status, said = serve(*data, *options, env=env)
                self.assertNotEqual(0, status)
                for word in words:
                    self.assertIn(word, said)

    def test_help_and_version(self):
        said = harness.run([harness.SLUICE, "serve", "--help"]).stdout.decode()
        for option in ("--data-dir", "--kafka-addr", "--http-addr", "--grpc-addr", "--config"):
            self.assertIn(option, said)
        version = (harness.ROOT / "VERSION").read_text(encoding="utf-8").strip()
        self.assertIn(version, harness.run([harness.SLUICE, "--version"]).stdout.decode())

    def test_garbage_on_the_kafka_port_costs_only_its_connection(self):
        self.broker.start()
        for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\x00\x00\x00\x00", b"\x00\x00\x00\x08" + b"\xff" * 8,
                     b"\x7f\xff\xff\xff" + b"x" * 100, os.urandom(5000)):
            with socket.create_connection(("127.0.0.1", self.broker.kafka_port), 5) as c:
                c.settimeout(5)
                try:
                    c.sendall(junk)
                    c.shutdown(socket.SHUT_WR)
                    while c.recv(4096):
                        pass
                except OSError:
                    pass  # it may close hard
        self.assertEqual(200, self.broker.get("/readyz")[0])


if __name__ == "__main__":
    harness.main()
