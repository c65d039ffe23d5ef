#!/usr/bin/python3
"""What client libraries never send, byte by byte; ids are those of the bad-input catalogue."""
import socket
import struct
import time

import harness
import wire
from test_confluent import admin_of, ck, consume, create, produce

NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = 0, 1, 2, 3
INVALID_REQUIRED_ACKS, UNSUPPORTED_VERSION, INVALID_REQUEST = 21, 35, 42
OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE = 45, 47, 48
TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNKNOWN_PRODUCER_ID, INVALID_RECORD = 53, 59, 87
GZIP, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 1, 8, 16, 32


class ProtocolTestCase(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.connection = wire.Connection(self.broker)
        self.addCleanup(self.connection.socket.close)

    def assert_alive(self):
        with wire.Connection(self.broker) as c:
            self.assertEqual(NONE, c.api_versions()[0])


class VersionsTest(ProtocolTestCase):
    def test_ApiVersions_of_a_future_version_gets_the_table_in_the_first_form(self):
        error, table = self.connection.api_versions(version=99)
        self.assertEqual(UNSUPPORTED_VERSION, error)
        self.assertIn(wire.API_VERSIONS, table)

    def test_produce_is_advertised_from_zero(self):
        error, table = self.connection.api_versions()
        self.assertEqual((NONE, 0), (error, table[wire.PRODUCE][0]))

    def test_each_advertised_range_is_one(self):
        _, table = self.connection.api_versions()
        for key, (low, high) in table.items():
            self.assertTrue(0 <= low <= high, f"key {key}: {low} to {high}")

    def test_an_unknown_key_costs_the_connection_and_nothing_else(self):
        self.connection.send(999, 0, b"")
        self.assertTrue(self.connection.is_closed())
        self.assert_alive()


class FramesTest(ProtocolTestCase):
    def test_a_negative_frame_length_costs_the_connection(self):
        self.connection.socket.sendall(struct.pack(">i", -1))
        self.assertTrue(self.connection.is_closed())
        self.assert_alive()

    def test_a_frame_of_two_gigabytes_costs_the_connection(self):
        self.connection.socket.sendall(struct.pack(">i", 0x7FFFFFFF) + b"\0" * 100)
        self.assertTrue(self.connection.is_closed())
        self.assert_alive()

    def test_an_array_longer_than_its_frame_costs_the_connection(self):
        self.connection.send(wire.METADATA, 1, struct.pack(">i", 0x7FFFFFFF))
        self.assertTrue(self.connection.is_closed())
        self.assert_alive()

    def test_pipelined_requests_are_answered_in_order(self):
        create(self.broker, self.topic)
        sent = []
        for i in range(200):
            if i % 3 == 0:
                sent.append(self.connection.send(wire.API_VERSIONS, 0, b""))
            elif i % 3 == 1:
                sent.append(self.connection.send(wire.METADATA, 1, wire.array([wire.string(self.topic)])))
            else:
                body = self.connection.fetch_body(self.topic, 0, wait_ms=20)
                sent.append(self.connection.send(wire.FETCH, 4, body))
        self.assertEqual(sent, [self.connection.receive()[0] for _ in sent])

    def test_a_request_that_arrives_byte_by_byte_is_served(self):
        payload = struct.pack(">hhi", wire.API_VERSIONS, 0, 7) + wire.string("slow")
        for byte in struct.pack(">i", len(payload)) + payload:
            self.connection.socket.sendall(bytes([byte]))
            time.sleep(0.002)
        self.assertEqual(7, self.connection.receive()[0])

    def test_a_null_client_id_is_fine(self):
        self.connection.send(wire.API_VERSIONS, 0, b"", client=None)
        self.assertEqual(1, self.connection.receive()[0])


class ProduceTest(ProtocolTestCase):
    def setUp(self):
        super().setUp()
        create(self.broker, self.topic)

    def stored(self):
        return [m.value() for m in consume(self.broker, self.topic)]

    def test_a_good_batch_is_stored(self):
        self.assertEqual((NONE, 0, -1), self.connection.produce(self.topic, wire.batch([b"a", b"b"])))
        self.assertEqual((NONE, 2, -1), self.connection.produce(self.topic, wire.batch([b"c"])))
        self.assertEqual([b"a", b"b", b"c"], self.stored())

    def test_a_wrong_checksum_is_refused(self):
        error, _, _ = self.connection.produce(self.topic, wire.batch([b"a"], crc=1))
        self.assertEqual(CORRUPT_MESSAGE, error)
        self.assertEqual([], self.stored())

    def test_batches_that_lie_about_themselves_are_refused(self):
        good = wire.batch([b"a", b"b"])
        lies = {
            "a record count too high": wire.batch([b"a"], count=1000),
            "a negative record count": wire.batch([b"a"], count=-1),
            "a length too long": wire.batch([b"a"], length=10_000),
            "a length too short": wire.batch([b"a"], length=10),
            "cut off": good[:-3],
            "half a header": good[:30],
            "compressed, but no gzip": wire.batch([b"a"], attributes=GZIP),
            "an unknown codec": wire.batch([b"a"], attributes=7),
            "a control batch": wire.batch([b"a"], attributes=CONTROL),
            "magic 9": wire.batch([b"a"], magic=9),
            "nothing at all": b"",
        }
        for title, payload in lies.items():
            with self.subTest(title), wire.Connection(self.broker) as c:
                try:
                    error, _, _ = c.produce(self.topic, payload)
                except ConnectionError:
                    continue  # an end is an answer too
                self.assertNotEqual(NONE, error)
        self.assertEqual([], self.stored())
        self.assert_alive()

    def test_acks_two_is_refused(self):
        self.assertEqual(INVALID_REQUIRED_ACKS, self.connection.produce(self.topic, wire.batch([b"a"]), acks=2)[0])

    def test_an_unknown_partition_is_refused(self):
        error, _, _ = self.connection.produce(self.topic, wire.batch([b"a"]), partition=1000)
        self.assertEqual(UNKNOWN_TOPIC_OR_PARTITION, error)

    def test_acks_zero_gets_no_answer_and_is_stored(self):
        self.connection.produce(self.topic, wire.batch([b"quiet"]), acks=0)
        correlation = self.connection.send(wire.API_VERSIONS, 0, b"")
        self.assertEqual(correlation, self.connection.receive()[0])
        harness.wait_until(lambda: self.stored() == [b"quiet"], 10, "the record")

    def test_LogAppendTime_is_rewritten_in_every_batch(self):
        topic = self.topic + "-stamped"
        create(self.broker, topic, message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000) - 1
        for _ in range(3):
            error, _, append_ms = self.connection.produce(topic, wire.batch([b"a", b"b"], timestamps=[1000, 2000]))
            self.assertEqual(NONE, error)
            self.assertGreaterEqual(append_ms, before)
        for m in consume(self.broker, topic):
            self.assertEqual(ck.TIMESTAMP_LOG_APPEND_TIME, m.timestamp()[0])
            self.assertGreaterEqual(m.timestamp()[1], before)


class IdempotenceTest(ProtocolTestCase):
    def setUp(self):
        super().setUp()
        create(self.broker, self.topic)

    def new_producer(self):
        r = self.connection.call(wire.INIT_PRODUCER_ID, 1, wire.string(None) + struct.pack(">i", 60_000))
        _, error, producer, epoch = r.take("ihqh")
        self.assertEqual(NONE, error)
        return producer, epoch

    def send(self, producer, sequence, value=b"x"):
        return self.connection.produce(self.topic, wire.batch([value], producer=(*producer, sequence)))[:2]

    def test_ids_are_not_given_twice(self):
        ids = {self.new_producer()[0] for _ in range(50)}
        self.assertEqual(50, len(ids))

    def test_a_repeated_batch_is_acknowledged_with_its_first_offset_and_stored_once(self):
        producer = self.new_producer()
        self.assertEqual((NONE, 0), self.send(producer, 0))
        self.assertEqual((NONE, 1), self.send(producer, 1))
        self.assertEqual((NONE, 0), self.send(producer, 0))
        self.assertEqual((NONE, 1), self.send(producer, 1))
        self.assertEqual(2, len(consume(self.broker, self.topic)))

    def test_a_gap_in_the_sequence_is_refused(self):
        producer = self.new_producer()
        self.assertEqual((NONE, 0), self.send(producer, 0))
        self.assertEqual(OUT_OF_ORDER_SEQUENCE_NUMBER, self.send(producer, 2)[0])
        self.assertEqual((NONE, 1), self.send(producer, 1))

    def test_an_old_epoch_is_refused(self):
        producer, epoch = self.new_producer()
        self.assertEqual((NONE, 0), self.send((producer, epoch + 1), 0))
        self.assertEqual(INVALID_PRODUCER_EPOCH, self.send((producer, epoch), 0)[0])

    def test_duplicates_are_known_after_a_restart_and_after_a_kill(self):
        producer = self.new_producer()
        for sequence in range(5):
            self.assertEqual((NONE, sequence), self.send(producer, sequence))
        for end in (self.broker.restart, self.broker.kill_and_start):
            end()
            self.connection = wire.Connection(self.broker)
            self.assertEqual((NONE, 4), self.send(producer, 4), end.__name__)
        self.assertEqual((NONE, 5), self.send(producer, 5))


class FetchTest(ProtocolTestCase):
    def test_fetch_from_the_middle_of_a_batch_returns_the_batch(self):
        create(self.broker, self.topic)
        self.connection.produce(self.topic, wire.batch([b"%d" % i for i in range(10)]))
        error, high_watermark, payload = self.connection.fetch(self.topic, 7)
        self.assertEqual((NONE, 10), (error, high_watermark))
        self.assertEqual(0, struct.unpack_from(">q", payload)[0])
        self.assertEqual([b"7", b"8", b"9"], [m.value() for m in consume(self.broker, self.topic, offset=7)])

    def test_offsets_out_of_range_are_refused_and_the_end_is_not(self):
        create(self.broker, self.topic)
        self.connection.produce(self.topic, wire.batch([b"a"]))
        self.assertEqual((NONE, 1), self.connection.fetch(self.topic, 1)[:2])
        self.assertEqual(OFFSET_OUT_OF_RANGE, self.connection.fetch(self.topic, 2)[0])
        self.assertEqual(OFFSET_OUT_OF_RANGE, self.connection.fetch(self.topic, -5)[0])

    def test_a_fetch_waits_for_min_bytes_and_no_longer_than_it_said(self):
        create(self.broker, self.topic)
        started = time.monotonic()
        self.assertEqual(NONE, self.connection.fetch(self.topic, 0, wait_ms=300)[0])
        self.assertTrue(0.25 < time.monotonic() - started < 5)

    def test_a_waiting_fetch_is_woken_by_a_produce(self):
        create(self.broker, self.topic)
        self.connection.send(wire.FETCH, 4, self.connection.fetch_body(self.topic, 0, wait_ms=15_000))
        time.sleep(0.2)
        with wire.Connection(self.broker) as other:
            other.produce(self.topic, wire.batch([b"a"]))
        started = time.monotonic()
        error, high_watermark, payload = self.connection.read_fetch(self.connection.receive()[1])
        self.assertEqual((NONE, 1), (error, high_watermark))
        self.assertTrue(payload)
        self.assertLess(time.monotonic() - started, 3)

    def test_ListOffsets_by_timestamp_and_by_max_timestamp(self):
        create(self.broker, self.topic)
        self.connection.produce(self.topic, wire.batch([b"a", b"b", b"c"], timestamps=[5000, 9000, 7000]))
        self.connection.produce(self.topic, wire.batch([b"d"], timestamps=[8000]))
        c = self.connection
        self.assertEqual((NONE, 5000, 0), c.list_offset(self.topic, 1))
        self.assertEqual((NONE, 9000, 1), c.list_offset(self.topic, 5001))
        self.assertEqual((NONE, 9000, 1), c.list_offset(self.topic, 9000))
        self.assertEqual((NONE, -1, -1), c.list_offset(self.topic, 9001))
        self.assertEqual((NONE, 0), c.list_offset(self.topic, -2)[::2])
        self.assertEqual((NONE, 4), c.list_offset(self.topic, -1)[::2])

    def test_a_topic_deleted_and_created_again_is_another_one(self):
        produce(self.broker, self.topic, [b"old"] * 5)
        admin = admin_of(self.broker)
        admin.delete_topics([self.topic], operation_timeout=10)[self.topic].result(20)
        self.assertEqual(UNKNOWN_TOPIC_OR_PARTITION, self.connection.fetch(self.topic, 0)[0])
        create(self.broker, self.topic)
        self.assertEqual((NONE, 0, -1), self.connection.produce(self.topic, wire.batch([b"new"])))
        self.assertEqual(OFFSET_OUT_OF_RANGE, self.connection.fetch(self.topic, 5)[0])


class TransactionsAreRefusedTest(ProtocolTestCase):
    """Until they work: no fake success."""

    def test_a_transactional_id_gets_no_producer(self):
        r = self.connection.call(wire.INIT_PRODUCER_ID, 1, wire.string("tx") + struct.pack(">i", 60_000))
        self.assertEqual(TRANSACTIONAL_ID_AUTHORIZATION_FAILED, r.take("ih")[1])

    def test_there_is_no_transaction_coordinator(self):
        r = self.connection.call(wire.FIND_COORDINATOR, 1, wire.string("tx") + b"\1")
        self.assertEqual(INVALID_REQUEST, r.take("ih")[1])

    def test_a_transactional_batch_is_refused(self):
        create(self.broker, self.topic)
        payload = wire.batch([b"a"], attributes=TRANSACTIONAL, producer=(1, 0, 0))
        error, _, _ = self.connection.produce(self.topic, payload, transactional_id="tx")
        self.assertEqual(INVALID_TXN_STATE, error)


class FewDescriptors(harness.Broker):
    def command(self):
        return ["prlimit", "--nofile=1200:1200", *super().command()]


class SilentConnectionsTest(harness.FreshBrokerTestCase):
    def test_K13_silent_connections_beyond_the_descriptors_make_room_for_clients(self):
        self.broker = FewDescriptors()
        self.addCleanup(self.broker.close)
        self.broker.start()
        silent = []
        self.addCleanup(lambda: [s.close() for s in silent])
        with wire.Connection(self.broker) as working:
            self.assertEqual(NONE, working.api_versions()[0])
            for _ in range(1500):
                silent.append(socket.create_connection(("127.0.0.1", self.broker.kafka_port), 20))
            for _ in range(50):
                with wire.Connection(self.broker) as late:
                    self.assertEqual(NONE, late.api_versions()[0])
            self.assertEqual(NONE, working.api_versions()[0])


if __name__ == "__main__":
    harness.main()
