#!/usr/bin/python3
"""The gRPC door through Debian's grpcio: what is published there is consumed through Kafka, and errors are the contract's."""
import queue
import signal
import threading
import time
import uuid

import harness

try:
    import grpc
    from grpc_client import Client, message, pool
except ImportError as missing:
    harness.skip_all(f"python3-grpcio or python3-protobuf is missing: {missing}")
from test_confluent import admin_of, consume, create, produce

SLUICE = "sluice.v1.Sluice/"
PUBLISH, BATCH, LIST = SLUICE + "Publish", SLUICE + "BatchPublish", SLUICE + "ListTopics"
SUBSCRIBE = SLUICE + "Subscribe"
CHECK = "grpc.health.v1.Health/Check"
CODE = grpc.StatusCode
MIB4 = 4 << 20


class GrpcTestCase(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.client = Client(self.broker.grpc_port)
        self.addCleanup(self.client.close)


class PublishTest(GrpcTestCase):
    def test_what_is_published_is_consumed_through_Kafka(self):
        answer = self.client.call(PUBLISH, topic=self.topic, payload=b"\x00\xffhello", attributes={"a": "1", "ü": "ß"})
        self.assertEqual(1, answer.sequence)
        self.assertLess(abs(answer.timestamp - time.time() * 1000), 60000)
        records = consume(self.broker, self.topic)
        self.assertEqual([b"\x00\xffhello"], [r.value() for r in records])
        self.assertEqual({("a", b"1"), ("ü", "ß".encode())}, set(records[0].headers()))
        self.assertIsNone(records[0].key())
        self.assertEqual(answer.timestamp, records[0].timestamp()[1])

    def test_the_message_id_is_a_version_7_uuid_that_says_where_the_record_is(self):
        for n in range(3):
            answer = self.client.call(PUBLISH, topic=self.topic, payload=b"x")
            parsed = uuid.UUID(answer.message_id)
            self.assertEqual(answer.message_id, str(parsed))
            self.assertEqual((7, n, n + 1), (parsed.version, parsed.int & ((1 << 48) - 1), answer.sequence))
            self.assertEqual(answer.timestamp, parsed.int >> 80)

    def test_an_empty_payload_is_a_value_and_not_null(self):
        self.client.call(PUBLISH, topic=self.topic)
        self.assertEqual([b""], [r.value() for r in consume(self.broker, self.topic)])

    def test_key_headers_and_tombstone_are_carried_as_extensions(self):
        self.client.call(PUBLISH, topic=self.topic, key=b"\xff\x00", tombstone=True,
                         headers=[{"name": "h", "value": b"\xfe"}, {"name": "h"}])
        record = consume(self.broker, self.topic)[0]
        self.assertEqual((b"\xff\x00", None), (record.key(), record.value()))
        self.assertEqual([("h", b"\xfe"), ("h", None)], record.headers())

    def test_a_topic_of_several_partitions_is_published_to_by_key_in_turn_or_as_asked(self):
        create(self.broker, self.topic, partitions=3)
        answers = [self.client.call(PUBLISH, topic=self.topic, key=b"k%d" % (n % 5)) for n in range(20)]
        for n in range(5):
            self.assertEqual(1, len({answers[i].partition for i in range(n, 20, 5)}))
        turns = [self.client.call(PUBLISH, topic=self.topic).partition for _ in range(6)]
        self.assertEqual({0, 1, 2}, set(turns))
        self.assertEqual(2, self.client.call(PUBLISH, topic=self.topic, partition=2).partition)
        self.assertEqual(CODE.INVALID_ARGUMENT, self.client.error(PUBLISH, topic=self.topic, partition=3)[0])

    def test_a_key_meets_its_neighbours_of_a_Kafka_producer(self):
        create(self.broker, self.topic, partitions=7)
        keys = [b"key-%d" % n for n in range(30)]
        ours = {k: self.client.call(PUBLISH, topic=self.topic, key=k).partition for k in keys}
        from confluent_kafka import Producer
        theirs = {}
        p = Producer({"bootstrap.servers": self.broker.bootstrap, "partitioner": "murmur2_random"})
        for k in keys:
            p.produce(self.topic, key=k, value=b"", on_delivery=lambda e, m: theirs.__setitem__(m.key(), m.partition()))
        p.flush(30)
        self.assertEqual(theirs, ours)

    def test_many_at_once_are_each_stored_once(self):
        stub = self.client.stub(PUBLISH)
        calls = [stub.future(self.client.request(PUBLISH, topic=self.topic, payload=b"%d" % n), timeout=30)
                 for n in range(500)]
        sequences = [c.result().sequence for c in calls]
        self.assertEqual(list(range(1, 501)), sorted(sequences))
        values = [r.value() for r in consume(self.broker, self.topic)]
        self.assertEqual([b"%d" % n for _, n in sorted((s, n) for n, s in enumerate(sequences))], values)

    def test_a_payload_of_4_MiB_is_taken(self):
        self.client.call(PUBLISH, topic=self.topic, payload=b"x" * MIB4)
        self.assertEqual([MIB4], [len(r.value()) for r in consume(self.broker, self.topic, fetch_message_max_bytes=9 << 20)])

    def test_gzip_requests_are_understood(self):
        self.client.call(PUBLISH, topic=self.topic, payload=b"z" * 100000, compression=grpc.Compression.Gzip)
        self.assertEqual([b"z" * 100000], [r.value() for r in consume(self.broker, self.topic)])

    def test_records_that_are_too_large_together_go_apart(self):
        create(self.broker, self.topic, max_message_bytes=3000)
        stub = self.client.stub(PUBLISH)
        calls = [stub.future(self.client.request(PUBLISH, topic=self.topic, payload=b"x" * 1000), timeout=30)
                 for _ in range(50)]
        self.assertEqual(list(range(1, 51)), sorted(c.result().sequence for c in calls))
        self.assertEqual(CODE.RESOURCE_EXHAUSTED, self.client.error(PUBLISH, topic=self.topic, payload=b"x" * 4000)[0])

    def test_an_idempotent_publish_that_is_repeated_is_stored_once(self):
        fields = dict(topic=self.topic, payload=b"once", producer_id=1 << 40, producer_epoch=0, producer_sequence=0)
        first, second = self.client.call(PUBLISH, **fields), self.client.call(PUBLISH, **fields)
        self.assertEqual(first.sequence, second.sequence)
        self.assertEqual([b"once"], [r.value() for r in consume(self.broker, self.topic)])
        fields["producer_sequence"] = 7
        self.assertEqual(CODE.FAILED_PRECONDITION, self.client.error(PUBLISH, **fields)[0])


class BatchTest(GrpcTestCase):
    def test_a_batch_has_consecutive_sequences_and_one_time(self):
        self.client.call(PUBLISH, topic=self.topic, payload=b"first")
        answer = self.client.call(BATCH, topic=self.topic, messages=[
            {"payload": b"%d" % n, "attributes": {"n": str(n)}} for n in range(1000)])
        self.assertEqual(list(range(2, 1002)), [r.sequence for r in answer.results])
        self.assertEqual(1000, len({r.message_id for r in answer.results}))
        records = consume(self.broker, self.topic)[1:]
        self.assertEqual([b"%d" % n for n in range(1000)], [r.value() for r in records])
        self.assertEqual({answer.timestamp}, {r.timestamp()[1] for r in records})

    def test_a_bad_message_stores_nothing(self):
        error = self.client.error(BATCH, topic=self.topic, messages=[{"payload": b"a"}, {"payload": b"x" * (MIB4 + 1)}])
        self.assertEqual((CODE.RESOURCE_EXHAUSTED, f"payload too large: {MIB4 + 1} bytes (max {MIB4} bytes)"), error)
        self.assertNotIn(self.topic, [t.name for t in self.client.call(LIST).topics])


class Stream:
    """A subscription: what it was sent is in `got`, its end in `status`."""

    def __init__(self, client, *requests, credits=0, **init):
        self.requests = queue.Queue()
        self.got = queue.Queue()
        self.status = None
        if init:
            self.send(init=init)
        for request in requests:
            self.send(**request)
        if credits:
            self.send(credit={"credits": credits})
        self.call = client.stub(SUBSCRIBE, "stream_stream")(iter(self.requests.get, None), timeout=90)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        try:
            for answer in self.call:
                self.got.put(answer)
            self.status = (self.call.code(), self.call.details())
        except grpc.RpcError as e:
            self.status = (e.code(), e.details())
        self.got.put(None)

    def send(self, **fields):
        self.requests.put(message("sluice.v1.SubscribeUpstream")(**fields))

    def half_close(self):
        self.requests.put(None)

    def next(self, timeout=20):
        answer = self.got.get(timeout=timeout)
        if answer is None:
            raise AssertionError(f"the stream ended with {self.status}")
        return answer.delivery

    def take(self, n):
        return [self.next() for _ in range(n)]

    def ack(self, delivery, **more):
        self.send(ack={"message_id": delivery.message_id, **more})

    def nothing_comes(self, seconds=0.4):
        try:
            answer = self.got.get(timeout=seconds)
        except queue.Empty:
            return
        raise AssertionError(f"unexpected: {answer} {self.status}")

    def end(self):
        """Waits for it; (status, text)."""
        self.reader.join(20)
        assert self.status, "the stream did not end"
        return self.status

    def close(self):
        self.call.cancel()
        self.reader.join(10)


class SubscribeTest(GrpcTestCase):
    def publish(self, n, first=0, **more):
        return [self.client.call(PUBLISH, topic=self.topic, payload=b"%d" % i, **more) for i in range(first, first + n)]

    def subscribe(self, *requests, position="EARLIEST", **more):
        more = {"topic": self.topic, "initial_position": position, **more}
        stream = Stream(self.client, *requests, **more)
        self.addCleanup(stream.close)
        return stream

    def test_messages_come_for_credit_and_never_without(self):
        published = self.publish(5)
        s = self.subscribe()
        s.nothing_comes()
        s.send(credit={"credits": 2})
        got = s.take(2)
        self.assertEqual([(p.message_id, p.sequence, p.timestamp) for p in published[:2]],
                         [(d.message_id, d.sequence, d.timestamp) for d in got])
        s.nothing_comes()
        s.send(credit={"credits": 1})
        s.send(credit={"credits": 0})
        s.send(credit={"credits": 2})
        self.assertEqual([b"2", b"3", b"4"], [d.payload for d in s.take(3)])

    def test_credits_add_up_and_saturate(self):
        self.client.call(SLUICE + "CreateTopic", name=self.topic)
        s = self.subscribe(credits=(1 << 32) - 1)
        for _ in range(3):
            s.send(credit={"credits": (1 << 32) - 1})
        self.publish(20)
        self.assertEqual(20, len(s.take(20)))

    def test_what_Kafka_produces_is_delivered_whatever_it_is(self):
        produce(self.broker, self.topic, [{"value": b"v", "key": b"\xff\x00", "headers": [
            ("a", b"1"), ("a", b"2"), ("bytes", b"\xfe"), ("none", None), ("nul", b"x\x00y"), ("ok", "ß".encode())]},
            {"value": None, "key": b"k"}, {"value": b""}])
        s = self.subscribe(credits=3)
        full, tombstone, empty = s.take(3)
        self.assertEqual(({"a": "1", "ok": "ß"}, b"\xff\x00"), (dict(full.attributes), full.key))
        self.assertEqual([("a", b"2"), ("bytes", b"\xfe"), ("none", b""), ("nul", b"x\x00y")],
                         [(h.name, h.value) for h in full.headers])
        self.assertEqual([True, True, False, True], [h.HasField("value") for h in full.headers])
        self.assertEqual((True, b"k", False), (tombstone.tombstone, tombstone.key, empty.tombstone))

    def test_acks_are_cumulative_and_a_new_stream_goes_on_behind_them(self):
        self.publish(10)
        s = self.subscribe(credits=6)
        got = s.take(6)
        s.ack(got[3])
        s.half_close()
        self.assertEqual(CODE.OK, s.end()[0])
        again = self.subscribe(credits=20)
        self.assertEqual([b"%d" % n for n in range(4, 10)], [d.payload for d in again.take(6)])

    def test_an_acknowledged_sequence_is_the_committed_offset_of_the_group(self):
        self.publish(3)
        s = self.subscribe(credits=3, consumer_group=self.group)
        s.ack(s.take(3)[1])
        s.half_close()
        s.end()
        from confluent_kafka import TopicPartition
        from test_confluent import consumer_of
        consumer = consumer_of(self.broker, group_id=self.group)
        self.assertEqual(2, consumer.committed([TopicPartition(self.topic, 0)], 10)[0].offset)
        consumer.close()

    def test_W3_an_ack_never_moves_delivery_backwards(self):
        self.publish(10)
        s = self.subscribe(credits=10)
        got = s.take(10)
        s.ack(got[2])
        s.send(credit={"credits": 10})
        s.nothing_comes()

    def test_W4_an_id_of_another_topic_or_nonsense_is_ignored(self):
        self.publish(4)
        other = self.client.call(PUBLISH, topic=self.topic + "-other").message_id
        s = self.subscribe(credits=2)
        s.take(2)
        for text in (other, "nonsense", "", str(uuid.uuid4())):
            s.send(ack={"message_id": text})
        s.half_close()
        s.end()
        again = self.subscribe(credits=9)
        self.assertEqual([b"0", b"1", b"2", b"3"], [d.payload for d in again.take(4)])

    def test_W2_the_same_consumer_takes_over_and_the_newcomer_is_unharmed(self):
        self.publish(2)
        old = self.subscribe(credits=1, consumer_id="me")
        old.take(1)
        new = self.subscribe(credits=10, consumer_id="me")
        self.assertEqual((CODE.ABORTED, "consumer group takeover"), old.end())
        self.assertEqual([b"0", b"1"], [d.payload for d in new.take(2)])
        self.publish(1, first=2)
        self.assertEqual(b"2", new.next().payload)

    def test_streams_of_a_group_share_its_messages_and_exclusive_takes_all(self):
        a, b = self.subscribe_both()
        self.publish(40)
        got = [d.payload for d in a.take(20)] + [d.payload for d in b.take(20)]
        self.assertEqual({b"%d" % n for n in range(40)}, set(got))
        c = self.subscribe(mode="SUBSCRIPTION_MODE_EXCLUSIVE", consumer_id="c")
        self.assertEqual([CODE.ABORTED] * 2, [a.end()[0], b.end()[0]])
        c.close()

    def subscribe_both(self):
        self.client.call(SLUICE + "CreateTopic", name=self.topic)
        return (self.subscribe(credits=20, consumer_id="a"), self.subscribe(credits=20, consumer_id="b"))

    def test_half_close_drains_what_is_there_and_ends_well(self):
        self.publish(3)
        s = self.subscribe(credits=10)
        s.half_close()
        self.assertEqual(3, len(s.take(3)))
        self.assertEqual(CODE.OK, s.end()[0])

    def test_LATEST_sees_what_comes_later_and_EARLIEST_all(self):
        self.publish(3)
        latest = self.subscribe(credits=9, position="LATEST", consumer_group="l")
        earliest = self.subscribe(credits=9, consumer_group="e")
        self.assertEqual(3, len(earliest.take(3)))
        latest.nothing_comes()
        self.publish(1, first=3)
        self.assertEqual(b"3", latest.next().payload)

    def test_W13_OFFSET_is_exclusive(self):
        self.publish(5)
        s = self.subscribe(credits=9, position="OFFSET", offset=3)
        self.assertEqual([4, 5], [d.sequence for d in s.take(2)])

    def test_W11_an_OFFSET_beyond_everything_waits(self):
        self.publish(2)
        s = self.subscribe(credits=9, position="OFFSET", offset=(1 << 64) - 1)
        s.nothing_comes()
        self.assertIsNone(s.status)

    def test_the_contract_s_errors_of_Subscribe(self):
        self.publish(1)
        for init, code, text in (
                ({"topic": ""}, CODE.INVALID_ARGUMENT, "topic cannot be empty"),
                ({"topic": "x" * 256}, CODE.INVALID_ARGUMENT, "topic name exceeds 255 characters"),
                ({"topic": "a b"}, CODE.INVALID_ARGUMENT, "topic name contains invalid characters (only alphanumeric, "
                                                          "dash, underscore, dot allowed)"),
                ({"topic": "missing", "initial_position": "OFFSET"}, CODE.NOT_FOUND, "topic 'missing' does not exist"),
                ({"topic": "missing"}, CODE.NOT_FOUND, "topic 'missing' does not exist"),
                ({"topic": self.topic, "initial_position": "OFFSET"}, CODE.INVALID_ARGUMENT,
                 "offset must be provided and > 0 for OFFSET position")):
            with self.subTest(init=str(init)[:60]):
                self.assertEqual((code, text), Stream(self.client, **init).end())
        self.assertEqual((CODE.INVALID_ARGUMENT, "first message must be SubscriptionInit"),
                         Stream(self.client, credits=1).end())
        closed = Stream(self.client)
        closed.half_close()
        self.assertEqual((CODE.INVALID_ARGUMENT, "stream closed before init"), closed.end())

    def test_W9_a_second_init_ends_the_stream_with_a_status(self):
        self.publish(1)
        s = self.subscribe(credits=1)
        s.take(1)
        s.send(init={"topic": self.topic})
        self.assertEqual((CODE.INVALID_ARGUMENT, "unexpected SubscriptionInit"), s.end())

    def test_a_nack_brings_the_message_again_and_counts(self):
        self.publish(2)
        s = self.subscribe(credits=5)
        first, second = s.take(2)
        s.send(nack={"message_id": first.message_id})
        again = s.next()
        self.assertEqual((first.message_id, 1, 2), (again.message_id, first.delivery_count, again.delivery_count))

    def test_a_rejected_message_becomes_a_dead_letter_that_says_why(self):
        self.publish(1)
        s = self.subscribe(credits=5, dead_letter_topic=self.topic + "-dead")
        s.send(reject={"message_id": s.next().message_id})
        harness.wait_until(lambda: self.topic + "-dead" in [t.name for t in self.client.call(LIST).topics], 20,
                           "the dead letter's topic")
        dead = Stream(self.client, topic=self.topic + "-dead", initial_position="EARLIEST", credits=1)
        letter = dead.next()
        self.assertEqual((b"0", self.topic), (letter.payload, letter.attributes["sluice-dlq-topic"]))
        dead.close()

    def test_a_filter_lets_pass_what_has_the_attribute(self):
        for n in range(6):
            self.publish(1, first=n, attributes={"kind": "ab"[n % 2]})
        s = self.subscribe(credits=9, filter={"kind": "b"})
        self.assertEqual([b"1", b"3", b"5"], [d.payload for d in s.take(3)])

    def test_a_tail_owns_no_cursor(self):
        self.publish(2)
        s = self.subscribe(credits=9, mode="SUBSCRIPTION_MODE_TAIL")
        self.assertEqual([0, 0], [d.delivery_count for d in s.take(2)])
        group = self.subscribe(credits=9)
        self.assertEqual(2, len(group.take(2)))

    def test_a_large_backlog_comes_whole_and_in_order_through_bounded_room(self):
        n, size = 300, 20000
        for _ in range(3):
            self.client.call(BATCH, topic=self.topic, messages=[{"payload": bytes(size)}] * (n // 3))
        s = self.subscribe(credits=1 << 31)
        self.assertEqual(list(range(1, n + 1)), [d.sequence for d in s.take(n)])

    def test_W5_heartbeats_come_every_30_s_and_tell_the_latest_sequence(self):
        self.publish(3)
        s = self.subscribe(position="LATEST")
        answer = s.got.get(timeout=40)
        self.assertEqual(("heartbeat", 3), (answer.WhichOneof("response"), answer.heartbeat.latest_seq))
        self.assertIsNone(s.status)


class ContractErrorsTest(GrpcTestCase):
    """Texts and order of checks of the contract's table of errors."""

    def test_topic_names_are_checked_first_and_in_this_order(self):
        for path, rest in ((PUBLISH, {"payload": b"x" * (MIB4 + 1)}), (BATCH, {"messages": []})):
            for topic, text in (("", "topic cannot be empty"), ("x" * 256, "topic name too long (max 255 characters)"),
                                ("ü" * 200, "topic name too long (max 255 characters)"),
                                ("a b", "topic name must contain only alphanumeric characters, dashes, underscores, or dots"),
                                ("ü", "topic name must contain only alphanumeric characters, dashes, underscores, or dots")):
                with self.subTest(path=path, topic=topic[:8]):
                    self.assertEqual((CODE.INVALID_ARGUMENT, text), self.client.error(path, topic=topic, **rest))

    def test_names_that_look_odd_are_legal(self):
        for topic in (".", "..", "-x", "x" * 255, "A_b.c-9"):
            self.assertEqual(1, self.client.call(PUBLISH, topic=topic).sequence)
        self.assertLessEqual({".", "..", "-x"}, {t.name for t in self.client.call(LIST).topics})

    def test_W10_a_payload_above_the_limit_is_told_as_RESOURCE_EXHAUSTED(self):
        text = f"payload too large: {MIB4 + 1} bytes (max {MIB4} bytes)"
        self.assertEqual((CODE.RESOURCE_EXHAUSTED, text), self.client.error(PUBLISH, topic="t", payload=b"x" * (MIB4 + 1)))
        code, text = self.client.error(PUBLISH, topic="t", payload=b"x" * (6 << 20))
        self.assertEqual(CODE.RESOURCE_EXHAUSTED, code)
        self.assertRegex(text, rf"^payload too large: \d+ bytes \(max {MIB4} bytes\)$")

    def test_batches_have_1_to_1000_messages(self):
        self.assertEqual((CODE.INVALID_ARGUMENT, "batch must contain at least one message"),
                         self.client.error(BATCH, topic="t", messages=[]))
        self.assertEqual((CODE.INVALID_ARGUMENT, "batch too large: 1001 messages (max 1000 messages)"),
                         self.client.error(BATCH, topic="t", messages=[{}] * 1001))

    def test_a_status_has_details_that_programs_can_compare(self):
        with self.assertRaises(grpc.RpcError) as e:
            self.client.call(SLUICE + "CreateTopic", name=self.topic, settings={"nonsense": "1"})
        details = dict(e.exception.trailing_metadata())["grpc-status-details-bin"]
        self.assertIn(b"type.googleapis.com/google.rpc.ErrorInfo", details)
        self.assertIn(b"\x0a\x07ECONFIG\x12\x06sluice", details)
        self.assertEqual(b"\x08\x03\x12", details[:3])

    def test_unknown_methods_and_services_are_UNIMPLEMENTED_without_text(self):
        for path in (SLUICE + "Nothing", "no.such.Service/Publish"):
            with self.assertRaises(grpc.RpcError) as e:
                self.client.raw(path, b"")
            self.assertEqual((CODE.UNIMPLEMENTED, ""), (e.exception.code(), e.exception.details()))

    def test_bytes_that_are_no_message_are_INTERNAL(self):
        for data in (b"\x0a\xff", b"\x0a\x02\xff\xfe", b"\x0b", b"\x0a\x05abc"):
            with self.assertRaises(grpc.RpcError) as e:
                self.client.raw(PUBLISH, data)
            self.assertEqual(CODE.INTERNAL, e.exception.code())
            self.assertIn("failed to decode Protobuf message: ", e.exception.details())


class TopicsTest(GrpcTestCase):
    def test_topics_are_listed_by_name_with_their_time(self):
        for name in ("zz", "Aa", "m"):
            self.client.call(PUBLISH, topic=self.topic[:40] + name)
        topics = self.client.call(LIST).topics
        self.assertEqual(sorted(t.name.encode() for t in topics), [t.name.encode() for t in topics])
        for t in topics:
            self.assertLess(abs(t.created_at - time.time() * 1000), 600000)

    def test_topics_are_created_and_deleted(self):
        self.client.call(SLUICE + "CreateTopic", name=self.topic, partitions=2, settings={"retention.ms": "1000"})
        self.assertEqual(CODE.ALREADY_EXISTS, self.client.error(SLUICE + "CreateTopic", name=self.topic)[0])
        self.assertEqual(2, len(admin_of(self.broker).list_topics(self.topic).topics[self.topic].partitions))
        self.client.call(SLUICE + "DeleteTopic", name=self.topic)
        self.assertEqual((CODE.NOT_FOUND, f"topic '{self.topic}' does not exist"),
                         self.client.error(SLUICE + "DeleteTopic", name=self.topic))
        self.assertEqual(CODE.INVALID_ARGUMENT,
                         self.client.error(SLUICE + "CreateTopic", name=self.topic, settings={"nonsense": "1"})[0])

    def test_a_topic_that_was_deleted_meanwhile_is_made_again(self):
        for _ in range(3):
            self.assertEqual(1, self.client.call(PUBLISH, topic=self.topic).sequence)
            self.client.call(SLUICE + "DeleteTopic", name=self.topic)

    def test_topics_made_by_publishing_have_one_partition_and_room_for_4_MiB(self):
        self.client.call(PUBLISH, topic=self.topic)
        topic = [t for t in self.client.call(LIST).topics if t.name == self.topic][0]
        self.assertEqual(1, topic.partitions)


class HealthTest(GrpcTestCase):
    def test_the_server_and_each_service_are_SERVING(self):
        for service in ("", "sluice.v1.Sluice", "grpc.health.v1.Health"):
            self.assertEqual(1, self.client.call(CHECK, service=service).status)
        self.assertEqual(CODE.NOT_FOUND, self.client.error(CHECK, service="nothing")[0])

    def test_Watch_tells_the_state_at_once(self):
        watch = self.client.stub("grpc.health.v1.Health/Watch", "unary_stream")
        for service, status in (("", 1), ("nothing", 3)):
            answers = watch(message("grpc.health.v1.HealthCheckRequest")(service=service), timeout=30)
            self.assertEqual(status, next(answers).status)
            answers.cancel()


class ReflectionTest(GrpcTestCase):
    def ask(self, version, **fields):
        path = f"grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
        request = message(f"grpc.reflection.{version}.ServerReflectionRequest")(**fields)
        return list(self.client.stub(path, "stream_stream")(iter([request, request]), timeout=30))

    def test_services_and_descriptors_are_told_by_both_versions(self):
        for version in ("v1", "v1alpha"):
            first, second = self.ask(version, list_services="")
            self.assertEqual(first, second)
            self.assertIn("sluice.v1.Sluice", [s.name for s in first.list_services_response.service])
            for symbol in ("sluice.v1.Sluice", "sluice.v1.Sluice.Publish", "sluice.v1.PublishRequest",
                           "sluice.v1.PublishRequest.topic", "sluice.v1.PublishRequest.AttributesEntry"):
                answer = self.ask(version, file_containing_symbol=symbol)[0]
                file = pool().FindFileByName("sluice/v1/sluice.proto").serialized_pb
                self.assertEqual([file], list(answer.file_descriptor_response.file_descriptor_proto), symbol)
            self.assertEqual(1, len(self.ask(version, file_by_filename="streamhouse.proto")[0]
                                    .file_descriptor_response.file_descriptor_proto))
            self.assertEqual(5, self.ask(version, file_containing_symbol="sluice.v1.Nothing")[0].error_response.error_code)


class TransportTest(GrpcTestCase):
    def test_a_deadline_ends_the_call_and_not_the_server(self):
        watch = self.client.stub("grpc.health.v1.Health/Watch", "unary_stream")
        begun = time.monotonic()
        answers = watch(message("grpc.health.v1.HealthCheckRequest")(), timeout=0.3)
        with self.assertRaises(grpc.RpcError) as e:
            list(answers)
        self.assertEqual(CODE.DEADLINE_EXCEEDED, e.exception.code())
        self.assertLess(time.monotonic() - begun, 5)
        self.assertEqual(1, self.client.call(CHECK).status)

    def test_an_organization_has_topics_of_its_own(self):
        other = (("x-organization-id", str(uuid.uuid4())),)
        self.client.call(PUBLISH, topic=self.topic, call_metadata=other)
        self.assertNotIn(self.topic, [t.name for t in self.client.call(LIST).topics])
        self.assertEqual([self.topic], [t.name for t in self.client.call(LIST, call_metadata=other).topics])
        self.assertEqual(CODE.INVALID_ARGUMENT, self.client.error(LIST, call_metadata=(("x-organization-id", "me"),))[0])

    def test_binary_metadata_is_ignored_and_does_no_harm(self):
        self.client.call(CHECK, call_metadata=(("trace-bin", b"\x00\xff\xfe"),))


class StopTest(harness.FreshBrokerTestCase):
    def setUp(self):
        super().setUp()
        self.broker.start()
        self.client = Client(self.broker.grpc_port)
        self.addCleanup(self.client.close)

    def test_W12_SIGTERM_ends_streams_with_UNAVAILABLE_and_does_not_hang(self):
        watch = self.client.stub("grpc.health.v1.Health/Watch", "unary_stream")
        answers = watch(message("grpc.health.v1.HealthCheckRequest")(), timeout=60)
        self.assertEqual(1, next(answers).status)
        begun = time.monotonic()
        self.broker.process.send_signal(signal.SIGTERM)
        self.assertEqual(2, next(answers).status)
        with self.assertRaises(grpc.RpcError) as e:
            next(answers)
        self.assertEqual(CODE.UNAVAILABLE, e.exception.code())
        self.assertEqual(0, self.broker.process.wait(harness.STOP_S))
        self.assertLess(time.monotonic() - begun, harness.STOP_S)

    def test_W12_SIGTERM_ends_subscriptions_with_UNAVAILABLE_and_keeps_their_acks(self):
        for n in range(3):
            self.client.call(PUBLISH, topic="t", payload=b"%d" % n)
        s = Stream(self.client, topic="t", initial_position="EARLIEST", credits=3)
        s.ack(s.take(3)[1])
        time.sleep(0.2)  # the ack is on its way: nothing tells when it has arrived
        self.broker.stop()
        self.assertEqual((CODE.UNAVAILABLE, "server is shutting down"), s.end())
        self.broker.start()
        again = Stream(self.client, topic="t", initial_position="EARLIEST", credits=3)
        self.assertEqual(b"2", again.next().payload)
        again.close()

    def test_W1_what_was_answered_survives_kill_9(self):
        stub = self.client.stub(PUBLISH)
        acked = []
        calls = [stub.future(self.client.request(PUBLISH, topic="t", payload=b"%d" % n)) for n in range(2000)]
        for n, call in enumerate(calls):
            try:
                acked.append((call.result(30).sequence, b"%d" % n))
            except grpc.RpcError:
                pass
            if n == 700:
                self.broker.kill()
        self.assertGreater(len(acked), 500)
        self.broker.start()
        stored = [r.value() for r in consume(self.broker, "t")]
        self.assertEqual([], [(s, v) for s, v in acked if stored[s - 1] != v])


if __name__ == "__main__":
    harness.main()
