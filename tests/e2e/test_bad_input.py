#!/usr/bin/python3
"""Bad input in bulk, and what it leaves behind: memory, counters, a line in the log (rows K01 to K15 of docs/catalogue.md).

Each test stays below 20 s here. K_VOLUME=10 in the environment is ten times as much of what is not at its full volume.
"""
import concurrent.futures
import functools
import json
import os
import random
import resource
import socket
import struct
import threading
import time
import zlib

import harness
import message
import wire
from test_catalogue import SERVED
from test_confluent import create
from test_every_version import Encoder

IS_SLOW = "SLUICE_SLOW" in os.environ  # sanitizers: memory is not told, and volumes are a tenth
VOLUME = float(os.environ.get("K_VOLUME", "1"))
MIB = 1 << 20
NONE, GZIP = 0, 1
INVALID_TOPIC, POLICY_VIOLATION = 17, 44
CUTS_EACH = 100  # of one message, besides its first and last bytes
SESSIONS = 1_000_000
SESSIONS_MAX = 1000
SESSIONS_BYTES = 16 * MIB
JOIN_GROUP, HEARTBEAT = 11, 12
MEMBERS = 100_000
STORM_ROUNDS = 3
CONNECTIONS = 50
HEARTBEAT_CPU_S = 20e-6
MEMBER_BYTES = 4096
SILENT = 18_000
SILENT_BYTES_EACH = 2048
BACK_S = 10
BACK_SHARE = 1.05
BACK_BYTES = 1 * MIB  # what the allocator keeps by our own choice, and half-used pages


def volume(n):
    return max(1, int(n * VOLUME / (10 if IS_SLOW else 1)))


class BadInputTestCase(harness.FreshBrokerTestCase):
    def metrics(self):
        """{name with labels: value}."""
        lines = self.broker.get("/metrics")[1].splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}

    def metric(self, name):
        return self.metrics()[name]

    def rss(self):
        with open(f"/proc/{self.broker.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))

    def assert_memory(self, before, growth):
        now = self.rss()
        print(f"# memory {before / MIB:.1f} MiB, now {now / MIB:.1f} MiB")
        if not IS_SLOW:
            self.assertLess(now - before, growth)

    def assert_memory_is_back(self, before):
        """Within 5 % in 10 s, and nothing of a request is held."""
        held = ("sluice_kafka_request_memory_bytes", "sluice_fetch_memory_bytes", "sluice_kafka_connections")
        harness.wait_until(lambda: not any(self.metric(name) for name in held), BACK_S, "requests to be dropped")
        deadline = time.monotonic() + BACK_S
        while (now := self.rss()) > before * BACK_SHARE + BACK_BYTES and time.monotonic() < deadline:
            time.sleep(0.1)
        print(f"# memory {before / MIB:.1f} MiB before, {now / MIB:.1f} MiB after")
        if not IS_SLOW:
            self.assertLessEqual(now, before * BACK_SHARE + BACK_BYTES)

    def assert_served(self):
        with wire.Connection(self.broker) as c:
            self.assertEqual(NONE, c.api_versions()[0])


class Full(Encoder):
    """Each array has one element, nothing is null."""

    def is_null(self, f):
        return False

    def bytes_of(self, f):
        return b"abcdef"

    def number(self, f):
        if f.name in ("Acks", "TimeoutMs", "MaxWaitMs"):
            return struct.pack(message.LAYOUTS[f.element], 1)
        return super().number(f)

    def value(self, f):
        if f.is_array:
            return self.length(1, self.flexible, ">i") + self.element(f)
        if f.struct and f.null:
            return b"\1" + self.element(f)
        return self.element(f)


class CutTest(BadInputTestCase):
    def frame(self, api, version):
        head = struct.pack(">hhi", api.key, version, 7) + wire.string("cut")
        codec = Full(api.request, version, random.Random(api.key * 100 + version))
        tagged = b"\0" if version in api.request.flexible else b""
        return head + tagged + codec.fields(api.request.root)

    def served(self):
        return [(api, version) for api in message.APIS.values() if api.key in SERVED
                for version in range(SERVED[api.key][0], SERVED[api.key][1] + 1) if version in api.request.versions]

    def cuts(self, n):
        """All of a short frame; of a long one both ends and some between. A header of 8 bytes is K01's."""
        middle = range(18, n - 10)
        if len(middle) <= CUTS_EACH * VOLUME:
            return range(8, n)
        middle = random.Random(n).sample(middle, int(CUTS_EACH * VOLUME))
        return [*range(8, 18), *sorted(middle), *range(n - 10, n)]

    def send_cut(self, frame, n):
        with socket.create_connection(("127.0.0.1", self.broker.kafka_port), 20) as s:
            s.sendall(struct.pack(">i", n) + frame[:n])
            try:
                return s.recv(1) == b""
            except ConnectionError:
                return True

    def test_K04_requests_with_content_cut_at_any_byte_are_refused_in_every_version(self):
        self.broker.start()
        n = 0
        for api, version in self.served():
            frame = self.frame(api, version)
            cuts = self.cuts(len(frame))
            wrong = [cut for cut in cuts if not self.send_cut(frame, cut)]
            self.assertEqual([], wrong, f"{api.name} {version} was served when cut there, of {len(frame)} bytes")
            n += len(cuts)
        print(f"# {n} cuts")
        self.assertEqual(n, self.metric("sluice_kafka_connections_refused_total"))
        self.assert_memory_is_back(self.rss())
        self.assert_served()

    def test_K04_the_same_requests_are_not_refused_when_they_are_whole(self):
        self.broker.start()
        for api, version in self.served():
            frame = self.frame(api, version)
            with wire.Connection(self.broker) as c, self.subTest(api=api.name, version=version):
                c.send_frame(frame)
                self.assertEqual(7, c.receive()[0])
        self.assertEqual(0, self.metric("sluice_kafka_connections_refused_total"))


def pipelined(broker, frames, answer):
    """Sends all frames (with their lengths) over one connection while another thread takes the answers: answer(reader)."""
    with wire.Connection(broker, timeout_s=60) as c:
        sender = threading.Thread(target=c.socket.sendall, args=(b"".join(frames),))
        sender.start()
        pending = b""
        left = len(frames)
        while left:
            piece = c.socket.recv(1 << 18)
            assert piece, "the server closed the connection"
            pending += piece
            at = 0
            while len(pending) - at >= 4:
                size, = struct.unpack_from(">i", pending, at)
                if len(pending) - at - 4 < size:
                    break
                answer(pending[at + 4:at + 4 + size])
                at += 4 + size
                left -= 1
            pending = pending[at:]
        sender.join()


def in_parallel(shares, work):
    with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
        list(pool.map(work, shares))


def framed(key, version, body, correlation=1):
    head = struct.pack(">hhi", key, version, correlation) + wire.string("many")
    return struct.pack(">i", len(head) + len(body)) + head + body


class SessionsTest(BadInputTestCase):
    def test_K09_a_million_fetch_sessions_are_bounded_in_number_and_memory(self):
        self.broker.start()
        create(self.broker, self.topic)
        part = wire.string(self.topic) + wire.array([struct.pack(">iqqi", 0, 0, -1, 1 << 20)])
        begin = struct.pack(">iiiibii", -1, 0, 0, 1 << 20, 0, 0, 0) + wire.array([part]) + wire.array([])
        block = [framed(wire.FETCH, 7, begin)] * volume(SESSIONS // 100)
        ids, errors = set(), set()

        def answered(payload):
            error, session = struct.unpack_from(">hi", payload, 8)
            errors.add(error)
            ids.add(session)

        pipelined(self.broker, block, answered)
        before = self.rss()
        began = time.monotonic()
        for _ in range(99):
            pipelined(self.broker, block, answered)
        print(f"# {len(block) * 100} sessions were asked for in {time.monotonic() - began:.1f} s, {len(ids)} given")
        self.assertEqual({NONE}, errors)
        self.assertLessEqual(self.metric("sluice_fetch_sessions"), SESSIONS_MAX)
        self.assertGreaterEqual(len(ids), SESSIONS_MAX // (10 if IS_SLOW else 1))
        self.assert_memory(before, SESSIONS_BYTES)
        self.assert_memory_is_back(self.rss())
        self.assert_served()


class MembersTest(BadInputTestCase):
    def cpu_s(self):
        """Not from /metrics: that page costs time, too."""
        with open(f"/proc/{self.broker.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def join(self, i):
        body = wire.string(f"group-{i}") + struct.pack(">ii", 1_500_000, 1_500_000) + wire.string("")
        body += wire.string("consumer") + wire.array([wire.string("range") + wire.data(b"x" * 20)])
        return framed(JOIN_GROUP, 3, body, correlation=i)

    def test_K10_a_hundred_thousand_members_across_groups_and_a_heartbeat_storm_cost_bounded_cpu(self):
        self.broker.start()
        n = volume(MEMBERS)
        members = {}

        def joined(payload):
            r = wire.Reader(payload)
            i, _, error, generation = r.take("iihi")
            r.string(), r.string()
            self.assertEqual(NONE, error)
            members[i] = generation, r.string()

        before, began_cpu = self.rss(), self.cpu_s()
        in_parallel([[self.join(i) for i in range(first, n, CONNECTIONS)] for first in range(CONNECTIONS)],
                    lambda frames: pipelined(self.broker, frames, joined))
        print(f"# {n} joined: {(self.cpu_s() - began_cpu) / n * 1e6:.1f} us of CPU each")
        self.assertEqual(n, self.metric("sluice_group_members"))
        self.assert_memory(before, n * MEMBER_BYTES)
        storm = [framed(HEARTBEAT, 3, wire.string(f"group-{i}") + struct.pack(">i", generation) + wire.string(member)
                        + wire.string(None)) for i, (generation, member) in members.items()]
        codes = set()
        began_cpu = self.cpu_s()
        for _ in range(STORM_ROUNDS):
            pipelined(self.broker, storm, lambda payload: codes.add(payload[8:10]))
        each = (self.cpu_s() - began_cpu) / (n * STORM_ROUNDS)
        print(f"# {n * STORM_ROUNDS} heartbeats: {each * 1e6:.1f} us of CPU each, codes {codes}")
        if not IS_SLOW:
            self.assertLess(each, HEARTBEAT_CPU_S)
        self.assertEqual(n, self.metric("sluice_group_members"))
        began_cpu = self.cpu_s()
        time.sleep(2)
        self.assertLess(self.cpu_s() - began_cpu, 0.2, "members that do nothing cost CPU")
        self.assert_served()


class SilentTest(BadInputTestCase):
    def connect(self, silent, n):
        while len(silent) < n:
            c = socket.socket()
            c.bind((f"127.0.0.{2 + len(silent) // 5000}", 0))
            c.connect(("127.0.0.1", self.broker.kafka_port))
            silent.append(c)

    def test_K13_eighteen_thousand_silent_connections_are_held_and_their_memory_comes_back(self):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        n = min(2000 if IS_SLOW else SILENT, hard - 1500)  # the server keeps some for files, we for ourselves
        self.assertGreater(n, 1000, f"the hard limit of open files, {hard}, leaves nothing to test")
        if n < SILENT:
            print(f"# {n} connections, not {SILENT}: the hard limit of open files is {hard}")
        self.broker.options = ["--kafka-connections-max", str(n + 100)]
        self.broker.start()
        silent = []
        self.addCleanup(lambda: [c.close() for c in silent])
        self.connect(silent, 500)
        self.assert_served()
        before = self.rss()
        self.connect(silent, n)
        harness.wait_until(lambda: self.metric("sluice_kafka_connections") == n, 20, "all to be accepted")
        self.assertEqual(0, self.metric("sluice_kafka_connections_refused_total"))
        self.assert_memory(before, n * SILENT_BYTES_EACH)
        worst = 0
        for _ in range(50):
            began = time.monotonic()
            self.assert_served()
            worst = max(worst, time.monotonic() - began)
        print(f"# {n} silent ones beside it: the slowest of 50 new clients was served in {worst * 1000:.1f} ms")
        while silent:
            silent.pop().close()
        self.assert_memory_is_back(before)


class EveryRowTest(BadInputTestCase):
    """RELIABILITY's common expectation, row by row: refused with a counter and a line that names peer and reason."""

    REFUSED = "sluice_kafka_connections_refused_total"

    def closed(self, payload, length=None):
        """Sends a frame and expects the connection to end without an answer."""
        with wire.Connection(self.broker) as c:
            peer = c.socket.getsockname()
            c.socket.sendall(struct.pack(">i", len(payload) if length is None else length) + payload)
            self.assertTrue(c.is_closed())
        return f"{peer[0]}:{peer[1]}"

    def answered(self, code, name, version, pick, **values):
        """Sends a request and expects this code where `pick` looks."""
        with message.Caller(self.broker) as c:
            peer = c.socket.getsockname()
            self.assertEqual(code, pick(c.call_message(name, version, **values)))
        return f"{peer[0]}:{peer[1]}"

    def produced(self, code, payload):
        return self.answered(code, "Produce", 9, lambda a: a["Responses"][0]["PartitionResponses"][0]["ErrorCode"],
                             Acks=-1, TimeoutMs=10_000, TopicData=[
                                 {"Name": self.topic, "PartitionData": [{"Index": 0, "Records": payload}]}])

    def created(self, code, topic, partitions):
        return self.answered(code, "CreateTopics", 7, lambda a: a["Topics"][0]["ErrorCode"], timeoutMs=10_000,
                             Topics=[{"Name": topic, "NumPartitions": partitions, "ReplicationFactor": 1}])

    def joined(self, code, size):
        return self.answered(code, "JoinGroup", 3, lambda a: a["ErrorCode"], GroupId=self.group, SessionTimeoutMs=10_000,
                             RebalanceTimeoutMs=10_000, ProtocolType="consumer",
                             Protocols=[{"Name": "range", "Metadata": b"x" * size}])

    @functools.lru_cache
    def bomb(self):
        packer = zlib.compressobj(9, wbits=31)
        packed = b"".join(packer.compress(bytes(MIB)) for _ in range(128)) + packer.flush()
        body = struct.pack(">hiqqqhii", GZIP, 0, 0, 0, -1, -1, -1, 1) + packed
        head = struct.pack(">ibI", -1, 2, wire.crc32c(body))
        return struct.pack(">qi", 0, len(head) + len(body)) + head + body

    def rows(self):
        """(id, attack, the metric that counts it, the reason in the log); the attack returns its peer."""
        head = struct.pack(">hhi", wire.METADATA, 1, 1) + wire.string("bad")
        tags = b"".join(message.uvarint(100 + i) + b"\0" for i in range(1025))
        tagged = struct.pack(">hhi", wire.METADATA, 9, 1) + wire.string("bad") + message.uvarint(1025) + tags + b"\1\0\0\0\0"
        errors = 'sluice_kafka_errors_total{api="%s"}'
        produce, topics, join = errors % "Produce", errors % "CreateTopics", errors % "JoinGroup"
        corrupt = wire.batch([b"x" * 1000], crc=1)
        return [
            ("K01", lambda: self.closed(b"", -1), self.REFUSED, "length"),
            ("K02", lambda: self.closed(head + struct.pack(">i", 0x7FFFFFFF)), self.REFUSED, ""),
            ("K03", lambda: self.closed(tagged), self.REFUSED, ""),
            ("K04", lambda: self.closed(struct.pack(">hhi", 999, 0, 1) + wire.string("bad")), self.REFUSED, "not served"),
            ("K05", lambda: self.produced(2, corrupt), produce, "CORRUPT_MESSAGE"),
            ("K06", lambda: self.produced(87, self.bomb()), produce, "INVALID_RECORD"),
            ("K07", lambda: self.created(INVALID_TOPIC, "..", 1), topics, "INVALID_TOPIC_EXCEPTION"),
            ("K08", lambda: self.created(POLICY_VIOLATION, "many", 1_000_000), topics, "POLICY_VIOLATION"),
            ("K10", lambda: self.joined(POLICY_VIOLATION, 16 * MIB), join, "POLICY_VIOLATION"),
            ("K15", lambda: self.closed(b"/ HTTP/1.1\r\n\r\n", struct.unpack(">i", b"GET ")[0]), self.REFUSED, "HTTP"),
        ]

    def lines(self):
        """Log lines of refusals, oldest first."""
        with open(self.broker.log_path, encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        return [e for e in events if e["event"] in ("kafka.refused", "kafka.request_refused")]

    def attack(self, row, peers):
        what, attack, metric, _ = row
        counted = self.metrics().get(metric, 0)
        peers.append((what, attack()))
        harness.wait_until(lambda: self.metrics().get(metric, 0) == counted + 1, 5, f"{metric} to count {what}")

    def test_after_every_bad_input_memory_is_back_and_the_counter_has_counted(self):
        self.broker.start()
        create(self.broker, self.topic, max_message_bytes=4 * MIB)
        peers = []
        for row in self.rows():  # once, for what a sound request of such a size keeps, too
            self.attack(row, peers)
        self.assert_memory_is_back(self.rss())
        before = self.rss()
        for row in self.rows():
            for _ in range(5):
                self.attack(row, peers)
        self.assert_memory_is_back(before)
        self.assert_served()

    def test_every_bad_input_has_one_line_with_peer_and_reason(self):
        self.broker.start()
        create(self.broker, self.topic, max_message_bytes=4 * MIB)
        for row in self.rows():
            what, attack, _, reason = row
            with self.subTest(row=what):
                time.sleep(1.05)  # at most one line a second
                known = len(self.lines())
                peer = attack()
                line, = harness.wait_until(lambda: self.lines()[known:], 5, f"a line of {what}")
                self.assertEqual(peer, line["peer"])
                self.assertIn(reason, line["reason"])
                self.assertGreater(len(line["reason"]), 5)

    def test_a_flood_of_bad_input_writes_one_line_a_second(self):
        self.broker.start()
        began = time.monotonic()
        n = volume(500)
        for _ in range(n):
            self.closed(b"", -1)
        took = time.monotonic() - began
        lines = self.lines()
        self.assertEqual(n, self.metric(self.REFUSED))
        self.assertLessEqual(len(lines), took + 2)
        self.assertTrue(lines)


if __name__ == "__main__":
    harness.main()
