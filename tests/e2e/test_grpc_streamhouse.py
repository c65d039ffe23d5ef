#!/usr/bin/python3
"""streamhouse.StreamHouse and streamhouse.producer.ProducerService over the same core as Kafka."""
import harness

try:
    import grpc
    from grpc_client import Client
except ImportError as missing:
    harness.skip_all(f"python3-grpcio or python3-protobuf is missing: {missing}")
from confluent_kafka import TopicPartition
from test_confluent import consume, consumer_of, create, produce

HOUSE, SERVICE = "streamhouse.StreamHouse/", "streamhouse.producer.ProducerService/"
CODE = grpc.StatusCode
BUFFERED, DURABLE, NONE = range(3)


class HouseTestCase(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.client = Client(self.broker.grpc_port)
        self.addCleanup(self.client.close)

    def house(self, method, **fields):
        return self.client.call(HOUSE + method, **fields)

    def error(self, method, **fields):
        return self.client.error(HOUSE + method, **fields)


class TopicsTest(HouseTestCase):
    def test_a_topic_is_created_looked_at_and_deleted(self):
        made = self.house("CreateTopic", name=self.topic, partition_count=3, retention_ms=60000,
                          config={"max.message.bytes": "2000000"})
        self.assertEqual((self.topic, 3), (made.topic_id, made.partition_count))
        topic = self.house("GetTopic", name=self.topic).topic
        self.assertEqual((self.topic, 3, 60000, {"max.message.bytes": "2000000", "retention.ms": "60000"}),
                         (topic.name, topic.partition_count, topic.retention_ms, dict(topic.config)))
        self.assertGreater(topic.created_at, 1.6e12)
        self.assertIn(topic, self.house("ListTopics").topics)
        self.assertTrue(self.house("DeleteTopic", name=self.topic).success)
        self.assertEqual((CODE.NOT_FOUND, f"Topic not found: {self.topic}"), self.error("GetTopic", name=self.topic))

    def test_errors_have_their_own_status(self):
        create(self.broker, self.topic)
        self.assertEqual(CODE.ALREADY_EXISTS, self.error("CreateTopic", name=self.topic)[0])
        self.assertEqual(CODE.INVALID_ARGUMENT, self.error("CreateTopic", name="")[0])
        self.assertEqual(CODE.INVALID_ARGUMENT, self.error("CreateTopic", name="x", config={"no.such": "1"})[0])
        self.assertEqual(CODE.NOT_FOUND, self.error("DeleteTopic", name="missing")[0])


class RecordsTest(HouseTestCase):
    def test_what_is_produced_is_consumed_through_Kafka_and_the_other_way(self):
        create(self.broker, self.topic, partitions=2)
        first = self.house("Produce", topic=self.topic, partition=1, key=b"k", value=b"v", headers={"h": "1"})
        self.assertEqual(0, first.offset)
        batch = self.house("ProduceBatch", topic=self.topic, partition=1, ack_mode=DURABLE, records=[
            {"value": b"%d" % n, "timestamp": 1600000000000 + n} for n in range(5)])
        self.assertEqual((1, 5, 5, False), (batch.first_offset, batch.last_offset, batch.count, batch.duplicates_filtered))
        records = consume(self.broker, self.topic, partition=1)
        self.assertEqual([(b"k", b"v")] + [(None, b"%d" % n) for n in range(5)], [(r.key(), r.value()) for r in records])
        self.assertEqual([("h", b"1")], records[0].headers())
        self.assertEqual(1600000000004, records[5].timestamp()[1])
        produce(self.broker, self.topic, [{"value": b"kafka", "partition": 1, "headers": [("a", b"b"), ("x", b"\xff")]}],
                compression_codec="gzip")
        got = self.house("Consume", topic=self.topic, partition=1, offset=4, max_records=2)
        self.assertEqual(([4, 5], 7, True), ([r.offset for r in got.records], got.high_watermark, got.has_more))
        got = self.house("Consume", topic=self.topic, partition=1, offset=6, max_records=100)
        self.assertEqual(([b"kafka"], {"a": "b"}, False),
                         ([r.value for r in got.records], dict(got.records[0].headers), got.has_more))

    def test_consume_at_the_end_and_behind_it_is_empty_and_tells_the_watermark(self):
        create(self.broker, self.topic)
        self.house("Produce", topic=self.topic, value=b"v")
        for offset in (1, 2, 1 << 63):
            got = self.house("Consume", topic=self.topic, offset=offset, max_records=10)
            self.assertEqual((0, 1, False), (len(got.records), got.high_watermark, got.has_more))
        self.assertEqual(0, len(self.house("Consume", topic=self.topic).records))

    def test_a_large_backlog_is_answered_in_parts_that_clients_can_take(self):
        create(self.broker, self.topic)
        for _ in range(3):
            produce(self.broker, self.topic, [bytes(100000)] * 20)
        offset, more, total = 0, True, 0
        while more:
            got = self.house("Consume", topic=self.topic, offset=offset, max_records=1000)
            self.assertLess(got.ByteSize(), 4 << 20)
            offset, more, total = got.records[-1].offset + 1, got.has_more, total + len(got.records)
        self.assertEqual(60, total)

    def test_a_missing_topic_and_a_missing_partition_are_told_apart(self):
        create(self.broker, self.topic)
        for method, more in (("Produce", {}), ("ProduceBatch", {"records": [{}]}), ("Consume", {"max_records": 1}),
                             ("CommitOffset", {"consumer_group": "g"})):
            with self.subTest(method):
                self.assertEqual(CODE.NOT_FOUND, self.error(method, topic="missing", **more)[0])
                code, text = self.error(method, topic=self.topic, partition=7, **more)
                self.assertEqual((CODE.INVALID_ARGUMENT, "Invalid partition 7"), (code, text[:19]))

    def test_empty_batches_and_names_are_refused(self):
        self.assertEqual(CODE.INVALID_ARGUMENT, self.error("ProduceBatch", topic="", records=[{}])[0])
        self.assertEqual(CODE.INVALID_ARGUMENT, self.error("ProduceBatch", topic=self.topic)[0])

    def test_every_ack_mode_stores_the_record(self):
        create(self.broker, self.topic)
        for mode in (BUFFERED, DURABLE, NONE):
            self.house("ProduceBatch", topic=self.topic, records=[{"value": b"%d" % mode}], ack_mode=mode)
        harness.wait_until(lambda: len(consume(self.broker, self.topic)) == 3, 10, "the record with ACK_NONE")


class ProducersTest(HouseTestCase):
    def test_a_repeated_batch_is_filtered_and_a_gap_refused(self):
        create(self.broker, self.topic)
        producer = self.house("InitProducer")
        fields = dict(topic=self.topic, records=[{"value": b"a"}, {"value": b"b"}], producer_id=producer.producer_id,
                      producer_epoch=producer.epoch, base_sequence=0, ack_mode=DURABLE)
        first, again = self.house("ProduceBatch", **fields), self.house("ProduceBatch", **fields)
        self.assertEqual([(0, False), (0, True)], [(r.first_offset, r.duplicates_filtered) for r in (first, again)])
        self.assertEqual(2, len(consume(self.broker, self.topic)))
        fields["base_sequence"] = 9
        self.assertEqual(CODE.FAILED_PRECONDITION, self.error("ProduceBatch", **fields)[0])
        fields["producer_id"] = "nobody"
        self.assertEqual(CODE.FAILED_PRECONDITION, self.error("ProduceBatch", **fields)[0])

    def test_both_services_give_producers_that_live(self):
        for service in (HOUSE, SERVICE):
            producer = self.client.call(service + "InitProducer")
            beat = self.client.call(service + "Heartbeat", producer_id=producer.producer_id, producer_epoch=producer.epoch)
            self.assertTrue(beat.valid)
            self.assertIn("epoch mismatch", self.client.call(service + "Heartbeat", producer_id=producer.producer_id,
                                                             producer_epoch=3).error)
            self.assertFalse(self.client.call(service + "Heartbeat", producer_id="x").valid)

    def test_the_producer_service_produces(self):
        create(self.broker, self.topic)
        producer = self.client.call(SERVICE + "InitProducer")
        fields = dict(topic=self.topic, records=[{"key": b"", "value": b"v", "headers": {"b": b"\xff"}}, {"value": b"w"}],
                      producer_id=producer.producer_id, ack_mode=DURABLE)
        answer = self.client.call(SERVICE + "Produce", **fields)
        self.assertEqual((0, 2, False), (answer.base_offset, answer.record_count, answer.duplicates_filtered))
        self.assertTrue(self.client.call(SERVICE + "Produce", **fields).duplicates_filtered)
        records = consume(self.broker, self.topic)
        self.assertEqual([b"", None], [r.key() for r in records])
        self.assertEqual([("b", b"\xff")], records[0].headers())

    def test_transactions_are_UNIMPLEMENTED_with_a_sentence(self):
        for service in (HOUSE, SERVICE):
            for method in ("BeginTransaction", "CommitTransaction", "AbortTransaction"):
                self.assertEqual((CODE.UNIMPLEMENTED, "transactions are not supported yet"),
                                 self.client.error(service + method))
            self.assertEqual(CODE.UNIMPLEMENTED, self.client.error(service + "InitProducer", transactional_id="t")[0])


class OffsetsTest(HouseTestCase):
    def test_committed_offsets_are_those_of_Kafka(self):
        create(self.broker, self.topic)
        where = dict(consumer_group=self.group, topic=self.topic, partition=0)
        self.assertEqual(0, self.house("GetOffset", **where).offset)
        self.assertTrue(self.house("CommitOffset", offset=42, metadata="note", **where).success)
        got = self.house("GetOffset", **where)
        self.assertEqual((42, "note"), (got.offset, got.metadata))
        consumer = consumer_of(self.broker, group_id=self.group)
        self.assertEqual(42, consumer.committed([TopicPartition(self.topic, 0)], 10)[0].offset)
        consumer.commit(offsets=[TopicPartition(self.topic, 0, 50)], asynchronous=False)
        consumer.close()
        self.assertEqual(50, self.house("GetOffset", **where).offset)


if __name__ == "__main__":
    harness.main()
