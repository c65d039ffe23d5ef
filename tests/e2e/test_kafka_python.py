#!/usr/bin/python3
"""kafka-python, which shares no code with librdkafka: records, codecs, groups, administration."""
import threading
import time

import harness

try:
    import kafka
    from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
    from kafka.structs import OffsetAndMetadata, TopicPartition
except ImportError:
    harness.skip_all("python3-kafka is not installed (make deps)")

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
TIMEOUT_S = 30


class KafkaPythonTestCase(harness.BrokerTestCase):
    def producer(self, **config):
        p = kafka.KafkaProducer(bootstrap_servers=self.broker.bootstrap, **config)
        self.addCleanup(p.close, 5)
        return p

    def consumer(self, *topics, **config):
        config = {"auto_offset_reset": "earliest", "group_id": None, "enable_auto_commit": False, **config}
        c = kafka.KafkaConsumer(*topics, bootstrap_servers=self.broker.bootstrap, **config)
        self.addCleanup(c.close)
        return c

    def admin(self):
        a = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        self.addCleanup(a.close)
        return a

    def create(self, partitions=1, **settings):
        self.admin().create_topics([NewTopic(self.topic, partitions, 1, topic_configs=settings)])

    def send(self, values, **config):
        p = self.producer(**config)
        answers = [p.send(self.topic, v) for v in values]
        p.flush(TIMEOUT_S)
        return [a.get(TIMEOUT_S) for a in answers]

    def read(self, n, **config):
        c = self.consumer(self.topic, **config)
        found, deadline = [], time.monotonic() + TIMEOUT_S
        while len(found) < n and time.monotonic() < deadline:
            for records in c.poll(timeout_ms=500).values():
                found += records
        self.assertEqual(n, len(found), "records")
        return found


class RecordsTest(KafkaPythonTestCase):
    def test_the_client_finds_out_whom_it_talks_to(self):
        self.assertGreaterEqual(self.consumer().config["api_version"], (2, 0))

    def test_a_record_comes_back_with_all_that_it_had(self):
        headers = [("a", b"1"), ("a", b"2"), ("b", b"\xff")]
        self.producer().send(self.topic, b"value", b"key", headers, timestamp_ms=1_600_000_000_123).get(TIMEOUT_S)
        record, = self.read(1)
        self.assertEqual((b"key", b"value", headers, 1_600_000_000_123, 0, 0),
                         (record.key, record.value, record.headers, record.timestamp, record.timestamp_type,
                          record.offset))

    def test_a_tombstone_has_no_value(self):
        self.producer().send(self.topic, None, b"key").get(TIMEOUT_S)
        record, = self.read(1)
        self.assertIsNone(record.value)

    def test_each_codec_comes_back(self):
        values = []
        for codec in CODECS:
            mine = [b"%s-%d-" % (str(codec).encode(), i) + b"x" * 100 for i in range(500)]
            self.send(mine, compression_type=codec)
            values += mine
        self.assertEqual(values, [r.value for r in self.read(len(values))])

    def test_a_megabyte_comes_back(self):
        value = b"m" * 1_000_000
        self.send([value, value], max_request_size=1_100_000)
        self.assertEqual([value, value], [r.value for r in self.read(2)])

    def test_acks_zero_one_and_all(self):
        for acks in (0, 1, "all"):
            self.send([str(acks).encode()], acks=acks)
        self.assertEqual({b"0", b"1", b"all"}, {r.value for r in self.read(3)})

    def test_offsets_come_with_the_acks(self):
        self.assertEqual(list(range(20)), [a.offset for a in self.send([b"x"] * 20)])

    def test_beginning_end_and_offsets_for_times(self):
        p = self.producer()
        for i in range(5):
            p.send(self.topic, b"x", timestamp_ms=1_700_000_000_000 + 1000 * i).get(TIMEOUT_S)
        tp, c = TopicPartition(self.topic, 0), self.consumer()
        self.assertEqual({tp: 0}, c.beginning_offsets([tp]))
        self.assertEqual({tp: 5}, c.end_offsets([tp]))
        self.assertEqual(2, c.offsets_for_times({tp: 1_700_000_001_500})[tp].offset)
        self.assertIsNone(c.offsets_for_times({tp: 1_700_000_999_000})[tp])

    def test_seek_and_read_again(self):
        self.send([b"%d" % i for i in range(10)])
        tp, c = TopicPartition(self.topic, 0), self.consumer()
        c.assign([tp])
        c.seek(tp, 6)
        self.assertEqual(b"6", next(c).value)
        c.seek(tp, 2)
        self.assertEqual(b"2", next(c).value)


class GroupTest(KafkaPythonTestCase):
    def test_offsets_are_committed_with_metadata(self):
        self.send([b"x"] * 5)
        tp = TopicPartition(self.topic, 0)
        c = self.consumer(group_id=self.group)
        c.assign([tp])
        c.commit({tp: OffsetAndMetadata(3, "as far as here")})
        other = self.consumer(group_id=self.group)
        self.assertEqual(3, other.committed(tp))
        self.assertEqual("as far as here", other.committed(tp, metadata=True).metadata)

    def test_two_members_share_the_partitions(self):
        self.create(partitions=4)
        tallies, stop = [[], []], threading.Event()

        def member(tally):
            c = kafka.KafkaConsumer(self.topic, bootstrap_servers=self.broker.bootstrap, group_id=self.group,
                                    auto_offset_reset="earliest", session_timeout_ms=10_000,
                                    heartbeat_interval_ms=500)
            while not stop.is_set():
                for records in c.poll(timeout_ms=100).values():
                    tally[1:] = tally[1:] + [r.value for r in records]
                tally[:1] = [len(c.assignment())]
            c.close()

        threads = [threading.Thread(target=member, args=(t,), daemon=True) for t in tallies]
        for t in threads:
            t.start()
        try:
            harness.wait_until(lambda: [t[:1] for t in tallies] == [[2], [2]], 40, "an even share")
            p = self.producer()
            for i in range(40):
                p.send(self.topic, b"%d" % i, partition=i % 4)
            p.flush(TIMEOUT_S)
            harness.wait_until(lambda: sum(len(t) - 1 for t in tallies) >= 40, TIMEOUT_S, "all records")
            self.assertEqual(sorted(b"%d" % i for i in range(40)), sorted(v for t in tallies for v in t[1:]))
        finally:
            stop.set()
            for t in threads:
                t.join(20)

    def test_a_group_is_listed_described_and_deleted(self):
        self.send([b"x"] * 3)
        c = self.consumer(self.topic, group_id=self.group)
        harness.wait_until(lambda: c.poll(timeout_ms=200), TIMEOUT_S, "a record")
        c.commit()
        admin = self.admin()
        self.assertIn((self.group, "consumer"), admin.list_consumer_groups())
        described, = admin.describe_consumer_groups([self.group])
        self.assertEqual(("Stable", 1), (described.state, len(described.members)))
        offsets = admin.list_consumer_group_offsets(self.group)
        self.assertEqual(3, offsets[TopicPartition(self.topic, 0)].offset)
        c.close()
        (_, error), = admin.delete_consumer_groups([self.group])
        self.assertIs(kafka.errors.NoError, error)
        self.assertNotIn((self.group, "consumer"), admin.list_consumer_groups())

    def test_a_group_with_members_is_not_deleted(self):
        self.send([b"x"])
        c = self.consumer(self.topic, group_id=self.group)
        harness.wait_until(lambda: c.poll(timeout_ms=200), TIMEOUT_S, "a record")
        (_, error), = self.admin().delete_consumer_groups([self.group])
        self.assertIs(kafka.errors.NonEmptyGroupError, error)


class AdminTest(KafkaPythonTestCase):
    def test_create_describe_alter_and_delete(self):
        admin = self.admin()
        self.create(3, **{"retention.ms": "111000"})
        described, = admin.describe_topics([self.topic])
        self.assertEqual([0, 1, 2], sorted(p["partition"] for p in described["partitions"]))
        resource = ConfigResource(ConfigResourceType.TOPIC, self.topic)
        self.assertEqual("111000", self.setting(admin, resource, "retention.ms"))
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, self.topic, {"retention.ms": "222000"})])
        self.assertEqual("222000", self.setting(admin, resource, "retention.ms"))
        admin.create_partitions({self.topic: NewPartitions(5)})
        described, = admin.describe_topics([self.topic])
        self.assertEqual(5, len(described["partitions"]))
        admin.delete_topics([self.topic])
        self.assertNotIn(self.topic, admin.list_topics())

    def setting(self, admin, resource, name):
        answer, = admin.describe_configs([resource])
        _, _, _, _, entries = answer.resources[0]
        return {entry[0]: entry[1] for entry in entries}[name]

    def test_errors_have_their_names(self):
        admin = self.admin()
        self.create()
        with self.assertRaises(kafka.errors.TopicAlreadyExistsError):
            self.create()
        with self.assertRaises(kafka.errors.UnknownTopicOrPartitionError):
            admin.delete_topics(["never-was"])
        with self.assertRaises(kafka.errors.InvalidReplicationFactorError):
            admin.create_topics([NewTopic(self.topic + "-3", 1, 3)])
        with self.assertRaises(kafka.errors.InvalidTopicError):
            admin.create_topics([NewTopic("white space", 1, 1)])

    def test_the_cluster_is_described(self):
        cluster = self.admin().describe_cluster()
        self.assertEqual([self.broker.kafka_port], [b["port"] for b in cluster["brokers"]])
        self.assertTrue(cluster["cluster_id"])


if __name__ == "__main__":
    harness.main()
