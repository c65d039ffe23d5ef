#!/usr/bin/python3
"""confluent-kafka (librdkafka): records, producers, offsets, administration."""
import threading
import time

import harness

try:
    import confluent_kafka as ck
    from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic
except ImportError:
    harness.skip_all("python3-confluent-kafka is not installed (make deps)")

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TIMEOUT_S = 30
QUIET = {"log_level": 2}  # a broker that restarts is what we test, not news


class Failed(AssertionError):
    pass


def produce(broker, topic, records, **config):
    """Produces (key, value, headers, timestamp) tuples or plain values; the delivered messages in order."""
    delivered, errors = [], []

    def on_delivery(err, msg):
        (errors if err else delivered).append(err or msg)

    producer = ck.Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 5, **QUIET, **dotted(config)})
    for record in records:
        fields = record if isinstance(record, dict) else {"value": record}
        while True:
            try:
                producer.produce(topic, on_delivery=on_delivery, **fields)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(TIMEOUT_S)
    if errors or left:
        raise Failed(f"{len(errors)} records refused, {left} without an answer; first: {errors[:1]}")
    return delivered


def dotted(config):
    return {name.replace("_", "."): value for name, value in config.items()}


def consumer_of(broker, **config):
    return ck.Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "unused", "enable.auto.commit": False,
                        "auto.offset.reset": "earliest", **QUIET, **dotted(config)})


def consume(broker, topic, n=None, partition=0, offset=ck.OFFSET_BEGINNING, **config):
    """n records from a partition, or all up to its end."""
    consumer = consumer_of(broker, enable_partition_eof=True, **config)
    consumer.assign([ck.TopicPartition(topic, partition, offset)])
    found, deadline = [], time.monotonic() + TIMEOUT_S
    try:
        while n is None or len(found) < n:
            if time.monotonic() > deadline:
                raise Failed(f"{len(found)} records within {TIMEOUT_S} s, expected {n}")
            msg = consumer.poll(0.5)
            if msg is None:
                continue
            if msg.error():
                if msg.error().code() == ck.KafkaError._PARTITION_EOF:
                    if n is None:
                        break
                    continue
                raise Failed(str(msg.error()))
            found.append(msg)
        return found
    finally:
        consumer.close()


def admin_of(broker):
    return AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET})


def create(broker, topic, partitions=1, **config):
    admin = admin_of(broker)
    new = NewTopic(topic, partitions, 1, config={k.replace("_", "."): str(v) for k, v in config.items()})
    admin.create_topics([new], operation_timeout=10)[topic].result(TIMEOUT_S)


def error_code(future):
    try:
        future.result(TIMEOUT_S)
    except ck.KafkaException as e:
        return e.args[0].code()
    return ck.KafkaError.NO_ERROR


class RecordsTest(harness.BrokerTestCase):
    def test_a_record_comes_back_with_all_that_it_had(self):
        stamp = 1_600_000_000_123
        produce(self.broker, self.topic, [{"key": b"\x00k\xff", "value": b"\x00v\xff", "timestamp": stamp,
                                           "headers": [("a", b"1"), ("a", b"2"), ("none", None), ("b", b"\xff")]}])
        msg, = consume(self.broker, self.topic)
        self.assertEqual((b"\x00k\xff", b"\x00v\xff"), (msg.key(), msg.value()))
        self.assertEqual([("a", b"1"), ("a", b"2"), ("none", None), ("b", b"\xff")], msg.headers())
        self.assertEqual((ck.TIMESTAMP_CREATE_TIME, stamp), msg.timestamp())
        self.assertEqual(0, msg.offset())

    def test_empty_and_null_are_told_apart(self):
        produce(self.broker, self.topic, [{"key": b"k", "value": None}, {"key": None, "value": b""},
                                          {"key": b"", "value": b"v"}])
        got = [(m.key(), m.value()) for m in consume(self.broker, self.topic)]
        self.assertEqual([(b"k", None), (None, b""), (b"", b"v")], got)

    def test_each_codec_comes_back(self):
        for codec in CODECS:
            with self.subTest(codec):
                topic = f"{self.topic}-{codec}"
                values = [b"%s-%d-" % (codec.encode(), i) + b"x" * 200 for i in range(2000)]
                produce(self.broker, topic, values, compression_type=codec)
                self.assertEqual(values, [m.value() for m in consume(self.broker, topic)])

    def test_a_megabyte_comes_back(self):
        value = bytes(range(256)) * 3906
        produce(self.broker, self.topic, [value] * 3, message_max_bytes=1_048_588)
        self.assertEqual([value] * 3, [m.value() for m in consume(self.broker, self.topic)])

    def test_a_record_beyond_the_limit_is_refused_by_its_name(self):
        create(self.broker, self.topic, max_message_bytes=10_000)
        with self.assertRaisesRegex(Failed, "MSG_SIZE_TOO_LARGE"):
            produce(self.broker, self.topic, [b"x" * 20_000])
        produce(self.broker, self.topic, [b"small"])
        self.assertEqual([b"small"], [m.value() for m in consume(self.broker, self.topic)])

    def test_offsets_rise_by_one_in_each_of_many_partitions(self):
        create(self.broker, self.topic, partitions=8)
        delivered = produce(self.broker, self.topic, [{"value": b"%d" % i, "partition": i % 8} for i in range(4000)])
        for partition in range(8):
            offsets = [m.offset() for m in delivered if m.partition() == partition]
            self.assertEqual(list(range(500)), offsets)
            values = [m.value() for m in consume(self.broker, self.topic, partition=partition)]
            self.assertEqual([b"%d" % i for i in range(partition, 4000, 8)], values)

    def test_acks_zero_one_and_all(self):
        for acks in (0, 1, -1):
            produce(self.broker, self.topic, [b"acks %d" % acks], acks=acks)
        self.assertEqual([b"acks 0", b"acks 1", b"acks -1"], [m.value() for m in consume(self.broker, self.topic, 3)])

    def test_a_topic_can_stamp_records_on_arrival(self):
        create(self.broker, self.topic, message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000) - 1
        produce(self.broker, self.topic, [{"value": b"v", "timestamp": 1000}])
        msg, = consume(self.broker, self.topic)
        kind, stamp = msg.timestamp()
        self.assertEqual(ck.TIMESTAMP_LOG_APPEND_TIME, kind)
        self.assertTrue(before <= stamp <= int(time.time() * 1000) + 1, stamp)

    def test_small_fetches_still_make_progress_on_large_records(self):
        values = [b"%d" % i * 50_000 for i in range(5)]
        produce(self.broker, self.topic, values)
        got = consume(self.broker, self.topic, fetch_message_max_bytes=1000, max_partition_fetch_bytes=1000)
        self.assertEqual(values, [m.value() for m in got])

    def test_an_offset_out_of_range_follows_the_reset_policy(self):
        produce(self.broker, self.topic, [b"0", b"1"])
        got = consume(self.broker, self.topic, 2, offset=1000)
        self.assertEqual([b"0", b"1"], [m.value() for m in got])


class ProducerTest(harness.BrokerTestCase):
    def test_an_idempotent_producer_keeps_order_without_duplicates(self):
        values = [b"%d" % i for i in range(20_000)]
        produce(self.broker, self.topic, values, enable_idempotence=True)
        self.assertEqual(values, [m.value() for m in consume(self.broker, self.topic)])

    def test_two_idempotent_producers_do_not_disturb_each_other(self):
        def one(name):
            produce(self.broker, self.topic, [b"%s %d" % (name, i) for i in range(3000)], enable_idempotence=True)

        produce(self.broker, self.topic, [b"first"])
        threads = [threading.Thread(target=one, args=(n,)) for n in (b"a", b"b")]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        got = [m.value() for m in consume(self.broker, self.topic)][1:]
        for name in (b"a", b"b"):
            self.assertEqual([b"%s %d" % (name, i) for i in range(3000)], [v for v in got if v.startswith(name)])

    def test_a_thousand_small_requests_in_flight_keep_their_order(self):
        values = [b"%d" % i for i in range(1000)]
        produce(self.broker, self.topic, values, linger_ms=0, batch_num_messages=1,
                max_in_flight_requests_per_connection=1000)
        self.assertEqual(values, [m.value() for m in consume(self.broker, self.topic)])


class OffsetsTest(harness.BrokerTestCase):
    def test_watermarks_are_the_first_and_the_next_offset(self):
        produce(self.broker, self.topic, [b"x"] * 7)
        consumer = consumer_of(self.broker)
        self.assertEqual((0, 7), consumer.get_watermark_offsets(ck.TopicPartition(self.topic, 0), TIMEOUT_S))
        consumer.close()

    def test_offsets_for_times(self):
        produce(self.broker, self.topic, [{"value": b"%d" % i, "timestamp": 1_700_000_000_000 + 1000 * i}
                                          for i in range(10)])
        consumer = consumer_of(self.broker)

        def at(ms):
            found, = consumer.offsets_for_times([ck.TopicPartition(self.topic, 0, ms)], TIMEOUT_S)
            return found.offset

        self.assertEqual(0, at(0))
        self.assertEqual(3, at(1_700_000_003_000))
        self.assertEqual(4, at(1_700_000_003_001))
        self.assertEqual(ck.OFFSET_END, at(1_700_000_009_001))
        consumer.close()

    def test_committed_offsets_survive_a_restart(self):
        produce(self.broker, self.topic, [b"x"] * 5)
        self._commit(3)
        self.broker.restart()
        consumer = consumer_of(self.broker, group_id=self.group)
        found, = consumer.committed([ck.TopicPartition(self.topic, 0)], TIMEOUT_S)
        self.assertEqual(3, found.offset)
        consumer.close()

    def test_committed_offsets_survive_kill_minus_nine(self):
        produce(self.broker, self.topic, [b"x"] * 5)
        self._commit(4)
        self.broker.kill_and_start()
        consumer = consumer_of(self.broker, group_id=self.group)
        found, = consumer.committed([ck.TopicPartition(self.topic, 0)], TIMEOUT_S)
        self.assertEqual(4, found.offset)
        consumer.close()

    def _commit(self, offset):
        consumer = consumer_of(self.broker, group_id=self.group)
        consumer.commit(offsets=[ck.TopicPartition(self.topic, 0, offset)], asynchronous=False)
        consumer.close()


class AdminTest(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.admin = admin_of(self.broker)

    def topics(self):
        return self.admin.list_topics(timeout=TIMEOUT_S).topics

    def settings(self, topic):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        future, = self.admin.describe_configs([resource]).values()
        return future.result(TIMEOUT_S)

    def test_create_and_list(self):
        create(self.broker, self.topic, partitions=3)
        self.assertEqual([0, 1, 2], sorted(self.topics()[self.topic].partitions))

    def test_create_twice_is_refused_by_name(self):
        create(self.broker, self.topic)
        future = self.admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic]
        self.assertEqual(ck.KafkaError.TOPIC_ALREADY_EXISTS, error_code(future))

    def test_bad_names_factors_and_counts_are_refused_by_name(self):
        for name, partitions, factor, expected in [
                ("white space", 1, 1, ck.KafkaError.TOPIC_EXCEPTION),
                ("..", 1, 1, ck.KafkaError.TOPIC_EXCEPTION),
                ("x" * 250, 1, 1, ck.KafkaError.TOPIC_EXCEPTION),
                (self.topic, 1, 3, ck.KafkaError.INVALID_REPLICATION_FACTOR),
                (self.topic, 0, 1, ck.KafkaError.INVALID_PARTITIONS)]:
            with self.subTest(name=name, partitions=partitions, factor=factor):
                try:
                    future = self.admin.create_topics([NewTopic(name, partitions, factor)])[name]
                except (ValueError, ck.KafkaException):
                    continue  # the client library refused it itself
                self.assertEqual(expected, error_code(future))
        self.assertNotIn(self.topic, self.topics())

    def test_validate_only_creates_nothing(self):
        self.admin.create_topics([NewTopic(self.topic, 1, 1)], validate_only=True)[self.topic].result(TIMEOUT_S)
        self.assertNotIn(self.topic, self.topics())

    def test_create_with_settings_and_describe_them(self):
        create(self.broker, self.topic, retention_ms=123456, cleanup_policy="delete")
        settings = self.settings(self.topic)
        self.assertEqual("123456", settings["retention.ms"].value)
        self.assertFalse(settings["retention.ms"].is_default)
        self.assertEqual("delete", settings["cleanup.policy"].value)
        self.assertTrue(settings["max.message.bytes"].is_default)

    def test_an_unknown_setting_is_refused(self):
        new = NewTopic(self.topic, 1, 1, config={"no.such.setting": "1"})
        self.assertEqual(ck.KafkaError.INVALID_CONFIG, error_code(self.admin.create_topics([new])[self.topic]))

    def test_alter_a_setting(self):
        create(self.broker, self.topic)
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.topic, set_config={"retention.ms": "777000"})
        future, = self.admin.alter_configs([resource]).values()
        future.result(TIMEOUT_S)
        self.assertEqual("777000", self.settings(self.topic)["retention.ms"].value)

    def test_more_partitions(self):
        create(self.broker, self.topic, partitions=2)
        produce(self.broker, self.topic, [{"value": b"old", "partition": 1}])
        self.admin.create_partitions([NewPartitions(self.topic, 4)])[self.topic].result(TIMEOUT_S)
        self.assertEqual([0, 1, 2, 3], sorted(self.topics()[self.topic].partitions))
        produce(self.broker, self.topic, [{"value": b"new", "partition": 3}])
        self.assertEqual([b"new"], [m.value() for m in consume(self.broker, self.topic, partition=3)])
        self.assertEqual([b"old"], [m.value() for m in consume(self.broker, self.topic, partition=1)])

    def test_fewer_partitions_are_refused(self):
        create(self.broker, self.topic, partitions=2)
        future = self.admin.create_partitions([NewPartitions(self.topic, 1)])[self.topic]
        self.assertEqual(ck.KafkaError.INVALID_PARTITIONS, error_code(future))

    def test_delete_and_create_again_starts_from_nothing(self):
        produce(self.broker, self.topic, [b"old"] * 3)
        self.admin.delete_topics([self.topic], operation_timeout=10)[self.topic].result(TIMEOUT_S)
        self.assertNotIn(self.topic, self.topics())
        create(self.broker, self.topic)
        produce(self.broker, self.topic, [b"new"])
        got = [(m.offset(), m.value()) for m in consume(self.broker, self.topic)]
        self.assertEqual([(0, b"new")], got)

    def test_delete_what_is_not_there(self):
        future = self.admin.delete_topics(["never-was"])["never-was"]
        self.assertEqual(ck.KafkaError.UNKNOWN_TOPIC_OR_PART, error_code(future))

    def test_describe_the_broker(self):
        broker_id = next(iter(self.admin.list_topics(timeout=TIMEOUT_S).brokers))
        resource = ConfigResource(ConfigResource.Type.BROKER, str(broker_id))
        future, = self.admin.describe_configs([resource]).values()
        self.assertTrue(future.result(TIMEOUT_S))

    def test_topics_and_settings_survive_a_restart(self):
        create(self.broker, self.topic, partitions=5, retention_ms=98765000)
        self.broker.restart()
        self.assertEqual(5, len(self.topics()[self.topic].partitions))
        self.assertEqual("98765000", self.settings(self.topic)["retention.ms"].value)


if __name__ == "__main__":
    harness.main()
