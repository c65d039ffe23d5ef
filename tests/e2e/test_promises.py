#!/usr/bin/python3
"""Figures that Sluice promises: start-up times, memory, idle connections, many partitions in few files."""
import os
import resource
import socket
import time

import harness
from test_confluent import QUIET, admin_of, ck, consume, create, produce

MB = 1 << 20
READY_AFTER_STOP_S = 0.1
READY_AFTER_KILL_S = 0.5
IDLE_BYTES = 30 * MB
IDLE_CONNECTIONS = 10_000
IDLE_CONNECTIONS_BYTES = 20 * MB
LOADED_BYTES = 100 * MB
ATTEMPTS = 5  # the best one counts: the machine may have other work
NOISE = 10  # times are told, and red only when they are of another kind: this is no place to measure them


class PromisesTest(harness.FreshBrokerTestCase):
    def rss(self):
        with open(f"/proc/{self.broker.pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def best_start(self, end):
        times = []
        for _ in range(ATTEMPTS):
            end()
            started = time.monotonic()
            self.broker.start(poll_s=0.002)
            times.append(time.monotonic() - started)
        return min(times)

    def check_time(self, what, seconds, promised_s):
        print(f"# {what}: {seconds * 1000:.0f} ms, promised {promised_s * 1000:.0f} ms")
        self.assertLess(seconds, promised_s * NOISE)

    def test_ready_within_100_ms_after_a_clean_stop_with_1000_partitions(self):
        self.broker.start()
        create(self.broker, self.topic, partitions=1000)
        produce(self.broker, self.topic, [{"value": b"x", "partition": p} for p in range(1000)])
        best = self.best_start(self.broker.stop)
        self.check_time("ready after a clean stop with 1,000 partitions", best, READY_AFTER_STOP_S)
        self.assertEqual([b"x"], [m.value() for m in consume(self.broker, self.topic, partition=999)])

    def test_ready_within_500_ms_after_kill_minus_nine_with_a_gigabyte_of_log(self):
        self.broker.start()
        value = os.urandom(100_000)
        producer = ck.Producer({"bootstrap.servers": self.broker.bootstrap, "batch.size": 1_000_000,
                                "queue.buffering.max.kbytes": 65536, **QUIET})
        for _ in range(10_500):
            while True:
                try:
                    producer.produce(self.topic, value)
                    break
                except BufferError:
                    producer.poll(0.05)
            producer.poll(0)
        self.assertEqual(0, producer.flush(120))
        self.assertLess(self.rss(), LOADED_BYTES, "memory under load")
        best = self.best_start(self.broker.kill)
        self.check_time("ready after kill -9 with 1 GB of log", best, READY_AFTER_KILL_S)
        last, = consume(self.broker, self.topic, 1, offset=10_499)
        self.assertEqual(value, last.value())

    def test_idle_memory(self):
        self.broker.start()
        admin_of(self.broker).list_topics(timeout=10)
        self.assertLess(self.rss(), IDLE_BYTES)

    def test_ten_thousand_idle_connections_cost_little_and_do_not_delay_the_end(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if hard < IDLE_CONNECTIONS + 500:
            self.skipTest(f"the hard limit of open files is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.broker.start()
        before = self.rss()
        connections = []
        self.addCleanup(lambda: [c.close() for c in connections])
        for i in range(IDLE_CONNECTIONS):
            c = socket.socket()
            connections.append(c)
            c.bind((f"127.0.0.{2 + i // 5000}", 0))
            c.connect(("127.0.0.1", self.broker.kafka_port))
        # Served, not only accepted by the kernel: the last one gets an answer.
        connections[-1].sendall(b"\0\0\0\x0b\0\x12\0\0\0\0\0\1\0\1x")
        connections[-1].settimeout(20)
        self.assertTrue(connections[-1].recv(4))
        self.assertLess(self.rss() - before, IDLE_CONNECTIONS_BYTES)
        self.broker.stop()

    def test_thousands_of_partitions_fit_into_a_thousand_open_files(self):
        self.broker.start()
        for i in range(4):
            create(self.broker, f"{self.topic}-{i}", partitions=1000)
            produce(self.broker, f"{self.topic}-{i}", [{"value": b"x", "partition": p} for p in range(1000)])
        self.assertLessEqual(len(os.listdir(f"/proc/{self.broker.pid}/fd")), 1000)
        self.assertEqual([b"x"], [m.value() for m in consume(self.broker, f"{self.topic}-0", partition=0)])


if __name__ == "__main__":
    if "SLUICE_SLOW" in os.environ:
        harness.skip_all("figures are not measured on sanitizer builds")
    harness.main()
