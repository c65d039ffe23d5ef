#!/usr/bin/python3
"""The gRPC door through Debian's grpcio: what is published there is consumed through Kafka, and errors are the contract's."""
import concurrent.futures
import signal
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
        self.client.call(PUBLISH, topic=self.topic, metadata=other)
        self.assertNotIn(self.topic, [t.name for t in self.client.call(LIST).topics])
        self.assertEqual([self.topic], [t.name for t in self.client.call(LIST, metadata=other).topics])
        self.assertEqual(CODE.INVALID_ARGUMENT, self.client.error(LIST, metadata=(("x-organization-id", "me"),))[0])

    def test_binary_metadata_is_ignored_and_does_no_harm(self):
        self.client.call(CHECK, metadata=(("trace-bin", b"\x00\xff\xfe"),))


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
