#!/usr/bin/python3
"""Produce and fetch where clients alone do not lead: lost answers, fetch sessions, settings that bound a batch."""
import struct
import subprocess
import time

import harness
import proxy
import wire
from test_confluent import TIMEOUT_S, admin_of, consume, create, produce

TIMED_OUT, UNKNOWN_SESSION, WRONG_EPOCH, TOO_LARGE, INVALID_TIMESTAMP = 7, 70, 71, 10, 32
FENCED_EPOCH, UNKNOWN_EPOCH, OFFSET_FOR_LEADER_EPOCH = 74, 75, 23
HASTY = {"retry_backoff_ms": 10, "reconnect_backoff_ms": 10, "reconnect_backoff_max_ms": 50}


class LostAnswersTest(harness.FreshBrokerTestCase):
    """B08: the broker has stored a batch, its producer does not hear of it and sends it again."""

    def start(self, drop):
        self.proxy = proxy.Proxy(drop)
        self.addCleanup(self.proxy.close)
        self.broker.options += ["--advertised-addr", f"127.0.0.1:{self.proxy.port}"]
        self.broker.start()
        self.proxy.start(self.broker.kafka_port)

    def check(self, n, **config):
        values = [b"value %d" % i for i in range(n)]
        produce(self.broker, self.topic, values, enable_idempotence=True, linger_ms=0, **HASTY, **config)
        self.assertGreater(self.proxy.dropped, 3)
        self.assertEqual(values, [m.value() for m in consume(self.broker, self.topic)])

    def test_B08_a_producer_with_five_requests_in_flight_makes_no_duplicate_and_no_gap(self):
        self.start(lambda nth, key: key == wire.PRODUCE and nth % 7 == 3)
        self.check(3000, batch_num_messages=50)

    def test_B08_a_producer_with_one_request_in_flight_makes_no_duplicate(self):
        self.start(lambda nth, key: key == wire.PRODUCE and nth % 4 == 1)
        self.check(500, batch_num_messages=20, max_in_flight=1)

    def test_B08_slow_checks_of_compressed_batches_keep_the_order(self):
        self.start(lambda nth, key: key == wire.PRODUCE and nth % 5 == 2)
        values = [b"%d " % i + bytes((i * j * 7919 + j // 3) % 251 for j in range(3000)) for i in range(300)]
        produce(self.broker, self.topic, values, enable_idempotence=True, linger_ms=0, batch_num_messages=15,
                compression_codec="gzip", **HASTY)
        self.assertEqual(values, [m.value() for m in consume(self.broker, self.topic)])


class PageCacheTest(harness.FreshBrokerTestCase):
    """Only page_cache_bytes of the newest log stay in the kernel's page cache."""

    WRITTEN, KEPT = 96 << 20, 16 << 20

    def cached_bytes(self):
        logs = [str(p) for p in (self.broker.data_dir / "topics").rglob("*.log")]
        out = subprocess.run(["fincore", "--bytes", "--noheadings", "--output", "RES", *logs], capture_output=True,
                             text=True, check=True).stdout
        return sum(int(line) for line in out.split())

    def write(self, partitions=1):
        self.broker.start()
        create(self.broker, self.topic, partitions=partitions)
        produce(self.broker, self.topic, [b"x" * 65536] * (self.WRITTEN // 65536), linger_ms=5,
                sticky_partitioning_linger_ms=0)

    def test_what_falls_behind_leaves_the_page_cache_and_is_read_from_disk(self):
        self.broker.options += ["--page-cache-bytes", str(self.KEPT)]
        self.write()
        self.assertLess(self.cached_bytes(), self.KEPT + (24 << 20))  # what is not written back yet may stay
        values = [m.value() for m in consume(self.broker, self.topic)]
        self.assertEqual(self.WRITTEN // 65536, len(values))
        self.assertEqual({b"x" * 65536}, set(values))

    def test_files_that_the_handle_cache_has_closed_give_their_pages_back_too(self):
        self.broker.options += ["--page-cache-bytes", str(self.KEPT), "--open-files-max", "16"]
        self.write(partitions=64)
        self.assertLess(self.cached_bytes(), self.KEPT + (24 << 20))

    def test_by_default_a_log_of_this_size_stays(self):
        self.write()
        self.assertGreater(self.cached_bytes(), self.WRITTEN // 2)


class StalledDiskTest(harness.FreshBrokerTestCase):
    """F08: each sync takes seconds."""

    STALL_S = 4

    def metric(self, name):
        return next(float(line.split()[1]) for line in self.broker.get("/metrics")[1].splitlines()
                    if line.startswith(name + " "))

    def test_F08_a_stalled_sync_is_told_at_timeout_ms_and_a_retry_gets_the_first_offset(self):
        self.broker.start()
        create(self.broker, self.topic, partitions=2)
        with wire.Connection(self.broker) as c:
            plain, once = wire.batch([b"plain"]), wire.batch([b"once", b"more"], producer=(7, 0, 0))
            self.assertEqual((0, 0), c.produce(self.topic, plain)[:2])
            with harness.stalled_syncs(self.broker, self.STALL_S):
                begin = time.monotonic()
                self.assertEqual((TIMED_OUT, -1), c.produce(self.topic, once, timeout_ms=1000)[:2])
                took = time.monotonic() - begin
                self.assertTrue(0.9 < took < self.STALL_S - 1, f"told after {took} s")
                self.assertGreater(self.metric("sluice_kafka_request_memory_bytes"), 0, "the log has the bytes")
                self.assertEqual((TIMED_OUT, -1), c.produce(self.topic, plain, timeout_ms=200, partition=1)[:2])
                self.assertEqual(2, self.metric("sluice_timed_out_batches_total"))
                self.assertEqual((0, 1), c.produce(self.topic, once, timeout_ms=60000)[:2])
            self.assertEqual((0, 3), c.produce(self.topic, plain)[:2])
            self.assertEqual((0, 1), c.produce(self.topic, plain, partition=1)[:2], "what was timed out is stored")
        harness.wait_until(lambda: self.metric("sluice_kafka_request_memory_bytes") == 0, 10, "memory to come back")
        self.assertEqual([b"plain", b"once", b"more", b"plain"],
                         [m.value() for m in consume(self.broker, self.topic)])


class Session:
    """Fetch v7 by hand."""

    def __init__(self, connection):
        self.connection = connection
        self.id, self.epoch = 0, 0

    def fetch(self, positions, forgotten=(), wait_ms=0, session=None):
        """positions: {(topic, partition): offset}; (error, {(topic, partition): (error, watermark, bytes)})."""
        session_id, epoch = session or (self.id, self.epoch)
        body = struct.pack(">iiiibii", -1, wait_ms, 1, 1 << 20, 0, session_id, epoch)
        body += wire.array([wire.string(t) + wire.array([struct.pack(">iqqi", p, offset, -1, 1 << 20)])
                            for (t, p), offset in positions.items()])
        body += wire.array([wire.string(t) + wire.array([struct.pack(">i", p)]) for t, p in forgotten])
        r = self.connection.call(wire.FETCH, 7, body)
        _, error, answered_id = r.take("ihi")
        found = {}
        for _ in range(r.take("i")):
            topic = r.string()
            for _ in range(r.take("i")):
                partition, code, watermark, _, _ = r.take("ihqqq")
                self.assert_no_aborted(r.take("i"))
                found[topic, partition] = code, watermark, r.data()
        if error == 0 and session is None:
            self.id, self.epoch = answered_id, self.epoch + 1
        return error, found

    @staticmethod
    def assert_no_aborted(n):
        assert n <= 0, "aborted transactions without transactions"


class FetchSessionsTest(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.connection = wire.Connection(self.broker)
        self.addCleanup(self.connection.socket.close)
        self.session = Session(self.connection)

    def append(self, *values, partition=0):
        self.assertEqual(0, self.connection.produce(self.topic, wire.batch(list(values)), partition=partition)[0])

    def begin(self, partitions):
        create(self.broker, self.topic, partitions)
        error, found = self.session.fetch({(self.topic, p): 0 for p in range(partitions)})
        self.assertEqual((0, partitions), (error, len(found)))
        self.assertNotEqual(0, self.session.id)

    def test_an_incremental_fetch_names_only_what_changed(self):
        self.begin(10)
        self.assertEqual((0, {}), self.session.fetch({}))
        self.append(b"a", b"b", partition=7)
        error, found = self.session.fetch({})
        self.assertEqual((0, [(self.topic, 7)]), (error, list(found)))
        self.assertEqual((0, 2), found[self.topic, 7][:2])
        self.assertEqual((0, {}), self.session.fetch({(self.topic, 7): 2}))

    def test_a_wrong_epoch_and_an_unknown_session_are_refused_by_name(self):
        self.begin(1)
        self.assertEqual((WRONG_EPOCH, {}), self.session.fetch({}, session=(self.session.id, 9)))
        self.assertEqual((UNKNOWN_SESSION, {}), self.session.fetch({}, session=(self.session.id ^ 1, 1)))
        self.assertEqual((0, {}), self.session.fetch({}))

    def test_a_waiting_incremental_fetch_is_woken_by_a_produce(self):
        self.begin(3)
        with wire.Connection(self.broker) as other:
            body = struct.pack(">iiiibii", -1, 20_000, 1, 1 << 20, 0, self.session.id, 1) + wire.array([]) * 2
            self.connection.send(wire.FETCH, 7, body)
            other.produce(self.topic, wire.batch([b"x"]), partition=1)
        _, r = self.connection.receive()
        self.assertEqual((0, 0, self.session.id, 1), r.take("ihii"))

    def test_a_forgotten_partition_is_not_answered_any_more(self):
        self.begin(2)
        self.append(b"x", partition=0)
        self.append(b"y", partition=1)
        _, found = self.session.fetch({}, forgotten=[(self.topic, 0)])
        self.assertEqual([(self.topic, 1)], list(found))

    def test_a_session_sees_that_its_topic_is_gone(self):
        self.begin(1)
        admin = admin_of(self.broker)
        admin.delete_topics([self.topic], operation_timeout=10)[self.topic].result(TIMEOUT_S)
        error, found = self.session.fetch({})
        self.assertEqual((0, 3), (error, found[self.topic, 0][0]))  # UNKNOWN_TOPIC_OR_PARTITION


class LeaderEpochTest(harness.FreshBrokerTestCase):
    def epoch_end(self, epoch, current=-1):
        """OffsetForLeaderEpoch v3: (error, epoch, end offset)."""
        body = struct.pack(">i", -1) + wire.array(
            [wire.string(self.topic) + wire.array([struct.pack(">iii", 0, current, epoch)])])
        with wire.Connection(self.broker) as c:
            r = c.call(OFFSET_FOR_LEADER_EPOCH, 3, body)
        r.take("i")
        self.assertEqual((1, self.topic, 1), (r.take("i"), r.string(), r.take("i")))
        error, _, found, end = r.take("hiiq")
        return error, found, end

    def append(self, n):
        with wire.Connection(self.broker) as c:
            self.assertEqual(0, c.produce(self.topic, wire.batch([b"x"] * n))[0])

    def test_each_unclean_start_begins_an_epoch_and_the_ends_of_old_ones_are_told(self):
        self.broker.start()
        create(self.broker, self.topic)
        self.append(3)
        self.broker.kill_and_start()
        self.append(2)
        self.assertEqual((0, 0, 3), self.epoch_end(0))
        self.assertEqual((0, 1, 5), self.epoch_end(1))
        self.assertEqual(FENCED_EPOCH, self.epoch_end(0, current=0)[0])
        self.assertEqual(UNKNOWN_EPOCH, self.epoch_end(0, current=2)[0])
        self.broker.restart()
        self.assertEqual((0, 1, 5), self.epoch_end(1, current=1))


class TopicBoundsTest(harness.BrokerTestCase):
    def produce(self, payload):
        with wire.Connection(self.broker) as c:
            return c.produce(self.topic, payload)[0]

    def test_max_message_bytes_of_the_topic_is_enforced(self):
        create(self.broker, self.topic, max_message_bytes=1000)
        self.assertEqual(0, self.produce(wire.batch([b"x" * 900])))
        self.assertEqual(TOO_LARGE, self.produce(wire.batch([b"x" * 1000])))

    def test_record_times_outside_the_range_of_the_topic_are_refused(self):
        create(self.broker, self.topic, message_timestamp_before_max_ms=60000, message_timestamp_after_max_ms=60000)
        self.assertEqual(0, self.produce(wire.batch([b"x"])))
        self.assertEqual(INVALID_TIMESTAMP, self.produce(wire.batch([b"x"], timestamps=[1_000_000])))
        self.assertEqual(INVALID_TIMESTAMP, self.produce(wire.batch([b"x"], timestamps=[4_102_444_800_000])))


if __name__ == "__main__":
    harness.main()
