#!/usr/bin/python3
"""Rows of the bad-input catalogue and exact error codes that no other file proves from outside; docs/catalogue.md has them all."""
import os
import re
import socket
import struct
import time
import uuid
import zlib

import harness
import message
import wire
from test_confluent import admin_of, create

NONE, OFFSET_OUT_OF_RANGE, CORRUPT_MESSAGE, UNKNOWN_TOPIC_OR_PARTITION = 0, 1, 2, 3
MESSAGE_TOO_LARGE, INVALID_TOPIC, INVALID_REQUIRED_ACKS = 10, 17, 21
UNSUPPORTED_VERSION, INVALID_PARTITIONS, INVALID_REPLICATION_FACTOR = 35, 37, 38
INVALID_REQUEST, POLICY_VIOLATION, INVALID_TXN_STATE = 42, 44, 48
TRANSACTIONAL_ID_AUTHORIZATION_FAILED, UNSUPPORTED_COMPRESSION_TYPE = 53, 76
INVALID_RECORD, UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID = 87, 100, 103
GZIP, LOG_APPEND_TIME, TRANSACTIONAL, CONTROL = 1, 8, 16, 32
MAX_TIMESTAMP = -3
MIB = 1 << 20
BOMB_BYTES = 512 * MIB
BOMB_MEMORY_BYTES = (80 if "SLUICE_SLOW" not in os.environ else 400) * MIB  # sanitizers keep what was freed

# Kafka 4.4's ranges of the keys that are served. What is added here is a decision, not an accident.
SERVED = {0: (0, 13), 1: (4, 18), 2: (1, 11), 3: (0, 13), 8: (2, 10), 9: (1, 10), 10: (0, 6), 11: (0, 9), 12: (0, 4),
          13: (0, 5), 14: (0, 5), 15: (0, 6), 16: (0, 5), 18: (0, 5), 19: (2, 7), 20: (1, 6), 21: (0, 2), 22: (0, 5),
          23: (2, 4), 32: (1, 4), 33: (0, 2), 35: (1, 5), 37: (0, 3), 42: (0, 3), 44: (0, 1), 47: (0, 0), 55: (0, 2),
          60: (0, 2), 61: (0, 0), 75: (0, 0)}


class CatalogueTestCase(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.c = message.Caller(self.broker)
        self.addCleanup(self.c.socket.close)

    def call(self, name, version, **values):
        return self.c.call_message(name, version, **values)

    def assert_alive(self):
        with wire.Connection(self.broker) as c:
            self.assertEqual(NONE, c.api_versions()[0])

    def topic_id(self, topic):
        return self.call("Metadata", 12, Topics=[{"Name": topic}])["Topics"][0]["TopicId"]

    def produce(self, version, payload, topic=None, partition=0, acks=-1, **values):
        """The answer for one partition; `topic`: {"Name": ...} or {"TopicId": ...}."""
        answer = self.call("Produce", version, Acks=acks, TimeoutMs=10_000, **values, TopicData=[
            {**(topic or {"Name": self.topic}), "PartitionData": [{"Index": partition, "Records": payload}]}])
        return answer["Responses"][0]["PartitionResponses"][0]

    def fetch(self, version, topics, session=(0, -1), max_bytes=MIB, **values):
        """topics: [({"Topic": name} or {"TopicId": id}, offset)]; partition 0 of each."""
        return self.call("Fetch", version, MaxWaitMs=0, MinBytes=0, MaxBytes=max_bytes, SessionId=session[0],
                         SessionEpoch=session[1], **values, Topics=[
                             {**t, "Partitions": [{"Partition": 0, "FetchOffset": offset, "PartitionMaxBytes": MIB}]}
                             for t, offset in topics])

    def delete(self, topic):
        admin = admin_of(self.broker)
        admin.delete_topics([topic], operation_timeout=10)[topic].result(20)

    def create_error(self, name, version=7, **values):
        new = {"Name": name, "NumPartitions": 1, "ReplicationFactor": 1, **values}
        return self.call("CreateTopics", version, timeoutMs=10_000, Topics=[new])["Topics"][0]["ErrorCode"]

    def describe_error(self, name):
        answer = self.call("Metadata", 12, Topics=[{"Name": name}], AllowAutoTopicCreation=False)
        return answer["Topics"][0]["ErrorCode"]


class AdvertisedTest(CatalogueTestCase):
    def test_the_advertised_versions_are_exactly_those_that_work(self):
        for version in message.versions("ApiVersions"):
            names = dict(ClientSoftwareName="e2e", ClientSoftwareVersion="1") if version >= 3 else {}
            answer = self.call("ApiVersions", version, **names)
            self.assertEqual(NONE, answer["ErrorCode"])
            self.assertEqual(SERVED, {a["ApiKey"]: (a["MinVersion"], a["MaxVersion"]) for a in answer["ApiKeys"]})

    def test_of_the_finalized_features_only_metadata_version_is_stated(self):
        for version in range(3, 6):
            answer = self.call("ApiVersions", version, ClientSoftwareName="e2e", ClientSoftwareVersion="1")
            level, = answer["FinalizedFeatures"]
            supported, = answer["SupportedFeatures"]
            self.assertEqual(["metadata.version"] * 2, [level["Name"], supported["Name"]])
            self.assertEqual((29, 29), (level["MinVersionLevel"], level["MaxVersionLevel"]), "4.2-IV1: decision 0007")
            self.assertEqual((7, 29), (supported["MinVersion"], supported["MaxVersion"]))
            self.assertGreaterEqual(answer["FinalizedFeaturesEpoch"], 0)

    def test_K04_versions_just_outside_of_each_range_are_not_served(self):
        for key, (first, last) in SERVED.items():
            for version in (first - 1, last + 1):
                if key == wire.API_VERSIONS:
                    continue  # has an answer of its own
                with self.subTest(key=key, version=version), wire.Connection(self.broker) as c:
                    c.send(key, version, b"\0" * 8)
                    self.assertTrue(c.is_closed())
        self.assert_alive()

    def test_K04_flexible_and_plain_headers_mixed_up_are_no_success_and_harm_nobody(self):
        api = message.APIS["Heartbeat"]
        for version, tags in ((4, b""), (3, b"\0")):  # 4 is the first flexible one
            body = message.Codec(api.request, version).write_struct(api.request.root, {"GroupId": "g", "MemberId": "m"})
            with self.subTest(version=version), message.Caller(self.broker) as c:
                c.send_frame(struct.pack(">hhi", api.key, version, 1) + wire.string("e2e") + tags + body)
                try:
                    self.assertNotEqual(NONE, c.receive_message("Heartbeat", version)["ErrorCode"])
                except ConnectionError:
                    pass  # the usual end
        self.assert_alive()


class ErrorCodesTest(CatalogueTestCase):
    def test_Produce_below_version_3_is_refused_in_its_own_form(self):
        create(self.broker, self.topic)
        for version in range(3):
            body = struct.pack(">hi", -1, 10_000) + wire.array(
                [wire.string(self.topic) + wire.array([struct.pack(">i", 0) + wire.data(wire.batch([b"a"]))])])
            r = self.c.call(wire.PRODUCE, version, body)
            self.assertEqual((1, self.topic, 1), (r.take("i"), r.string(), r.take("i")))
            self.assertEqual((0, UNSUPPORTED_VERSION, -1), r.take("ihq"))
        self.assertEqual(0, self.produce(9, wire.batch([b"a"]))["BaseOffset"])

    def test_wrong_acks_are_refused_in_every_version(self):
        create(self.broker, self.topic)
        for version in range(3, 13):
            for acks in (2, -2, 32767):
                answer = self.produce(version, wire.batch([b"a"]), acks=acks)
                self.assertEqual((INVALID_REQUIRED_ACKS, -1), (answer["ErrorCode"], answer["BaseOffset"]))
        self.assertEqual(0, self.produce(9, wire.batch([b"a"]))["BaseOffset"])

    def test_an_unknown_topic_id_has_its_own_code(self):
        nobody = uuid.uuid4()
        self.assertEqual(UNKNOWN_TOPIC_ID, self.produce(13, wire.batch([b"a"]), {"TopicId": nobody})["ErrorCode"])
        for version in range(13, 19):
            answer = self.fetch(version, [({"TopicId": nobody}, 0)])
            self.assertEqual(NONE, answer["ErrorCode"])
            self.assertEqual(UNKNOWN_TOPIC_ID, answer["Responses"][0]["Partitions"][0]["ErrorCode"])
        for version in (12, 13):
            topic, = self.call("Metadata", version, Topics=[{"TopicId": nobody, "Name": None}])["Topics"]
            self.assertEqual((UNKNOWN_TOPIC_ID, nobody), (topic["ErrorCode"], topic["TopicId"]))
        gone, = self.call("DeleteTopics", 6, TimeoutMs=1000, Topics=[{"TopicId": nobody, "Name": None}])["Responses"]
        self.assertEqual((UNKNOWN_TOPIC_ID, nobody), (gone["ErrorCode"], gone["TopicId"]))

    def test_a_transactional_id_is_denied_in_every_version(self):
        for version in message.versions("InitProducerId"):
            for name in ("tx", "..", "a/../../b", "x" * 1000, "n\0l", "Ünïcode"):
                answer = self.call("InitProducerId", version, TransactionalId=name, TransactionTimeoutMs=60_000)
                self.assertEqual((TRANSACTIONAL_ID_AUTHORIZATION_FAILED, -1, -1),
                                 (answer["ErrorCode"], answer["ProducerId"], answer["ProducerEpoch"]))

    def test_InitProducerId_with_an_id_and_an_epoch_of_before(self):
        """Without a transactional id Kafka gives a new producer, and refuses half a pair."""
        for version in range(3, 6):
            first = self.init_producer(version)
            self.assertEqual((NONE, 0), (first["ErrorCode"], first["ProducerEpoch"]))
            second = self.init_producer(version, ProducerId=first["ProducerId"], ProducerEpoch=0)
            self.assertEqual((NONE, 0), (second["ErrorCode"], second["ProducerEpoch"]))
            self.assertNotEqual(first["ProducerId"], second["ProducerId"])
            for half in (dict(ProducerId=first["ProducerId"]), dict(ProducerEpoch=0)):
                refused = self.init_producer(version, **half)
                self.assertEqual((INVALID_REQUEST, -1, -1),
                                 (refused["ErrorCode"], refused["ProducerId"], refused["ProducerEpoch"]))

    def init_producer(self, version, **values):
        return self.call("InitProducerId", version, TransactionalId=None, TransactionTimeoutMs=60_000, **values)

    def test_coordinators_of_other_kinds_are_refused_in_every_version(self):
        for version in range(1, 7):
            for kind in (1, 2, 3, -1, 127):
                values = dict(Key="k") if version < 4 else dict(CoordinatorKeys=["k"])
                answer = self.call("FindCoordinator", version, KeyType=kind, **values)
                place = answer if version < 4 else answer["Coordinators"][0]
                self.assertEqual((INVALID_REQUEST, -1), (place["ErrorCode"], place["NodeId"]), f"{version} {kind}")

    def test_transactional_batches_are_refused_in_every_version(self):
        create(self.broker, self.topic)
        payload = wire.batch([b"a"], attributes=TRANSACTIONAL, producer=(1, 0, 0))
        for version in range(3, 13):
            for name in ("tx", None):
                self.assertEqual(INVALID_TXN_STATE, self.produce(version, payload, TransactionalId=name)["ErrorCode"])
        self.assertEqual(0, self.produce(9, wire.batch([b"a"]))["BaseOffset"])

    def test_replicas_that_are_not_there_are_refused_in_every_version(self):
        for version in message.versions("CreateTopics"):
            self.assertEqual(INVALID_REPLICATION_FACTOR, self.create_error(self.topic, version, ReplicationFactor=3))
        self.assertEqual(UNKNOWN_TOPIC_OR_PARTITION, self.describe_error(self.topic))


class BatchesTest(CatalogueTestCase):
    def test_K05_each_lie_of_a_batch_has_the_code_of_kafka_and_appends_nothing(self):
        create(self.broker, self.topic)
        good = wire.batch([b"a", b"b"])
        lies = [
            (CORRUPT_MESSAGE, "a wrong checksum", wire.batch([b"a"], crc=1)),
            (CORRUPT_MESSAGE, "a length below the header", wire.batch([b"a"], length=10)),
            (INVALID_RECORD, "a record count too high", wire.batch([b"a"], count=1000)),
            (INVALID_RECORD, "a negative record count", wire.batch([b"a"], count=-1)),
            (INVALID_RECORD, "zero records", wire.batch([b"a"], count=0)),
            (INVALID_RECORD, "a control batch", wire.batch([b"a"], attributes=CONTROL)),
            (INVALID_RECORD, "two batches", good + good),
            (INVALID_RECORD, "no batch", b""),
            (INVALID_RECORD, "null", None),
            (INVALID_RECORD, "magic 0", wire.batch([b"a"], magic=0)),
            (INVALID_RECORD, "magic 1", wire.batch([b"a"], magic=1)),
            (INVALID_RECORD, "magic 3", wire.batch([b"a"], magic=3)),
            (UNSUPPORTED_COMPRESSION_TYPE, "an unknown codec", wire.batch([b"a"], attributes=7)),
        ]
        for expected, title, payload in lies:
            with self.subTest(title):
                answer = self.produce(9, payload)
                self.assertEqual((expected, -1), (answer["ErrorCode"], answer["BaseOffset"]))
        self.assertEqual(0, self.produce(9, good)["BaseOffset"])

    def test_K06_a_gzip_bomb_is_refused_in_bounded_memory(self):
        create(self.broker, self.topic, max_message_bytes=10 * MIB)
        before = self.rss()
        packer = zlib.compressobj(9, wbits=31)
        packed = b"".join(packer.compress(bytes(MIB)) for _ in range(BOMB_BYTES // MIB)) + packer.flush()
        self.assertLess(len(packed), MIB)
        body = struct.pack(">hiqqqhii", GZIP, 0, 0, 0, -1, -1, -1, 1) + packed
        head = struct.pack(">ibI", -1, 2, wire.crc32c(body))
        answer = self.produce(9, struct.pack(">qi", 0, len(head) + len(body)) + head + body)
        self.assertEqual((INVALID_RECORD, -1), (answer["ErrorCode"], answer["BaseOffset"]))
        self.assertLess(self.rss() - before, BOMB_MEMORY_BYTES)
        self.assertEqual(0, self.produce(9, wire.batch([b"a"]))["BaseOffset"])

    def rss(self):
        with open(f"/proc/{self.broker.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))

    def test_LogAppendTime_is_rewritten_in_every_batch_and_its_checksum_holds(self):
        create(self.broker, self.topic, message_timestamp_type="LogAppendTime")
        before = int(time.time() * 1000) - 1
        for version in range(3, 13):
            answer = self.produce(version, wire.batch([b"a", b"b"], timestamps=[1000, 2000]))
            self.assertEqual(NONE, answer["ErrorCode"])
            self.assertGreaterEqual(answer["LogAppendTimeMs"], before)
        payload = self.fetch(12, [({"Topic": self.topic}, 0)])["Responses"][0]["Partitions"][0]["Records"]
        n = 0
        while payload:
            base, length, _, _, crc, attributes = struct.unpack_from(">qiibIh", payload)
            _, max_timestamp = struct.unpack_from(">qq", payload, 27)
            one, payload = payload[:12 + length], payload[12 + length:]
            self.assertEqual((2 * n, LOG_APPEND_TIME), (base, attributes))
            self.assertGreaterEqual(max_timestamp, before)
            self.assertEqual(crc, wire.crc32c(one[21:]))
            n += 1
        self.assertEqual(10, n)


class TopicsTest(CatalogueTestCase):
    def test_max_message_bytes_enforced_from_the_moment_it_is_altered(self):
        create(self.broker, self.topic)
        batch = wire.batch([b"x" * 5000])
        self.assertEqual(NONE, self.produce(9, batch)["ErrorCode"])
        for value, expected in ((str(len(batch) - 1), MESSAGE_TOO_LARGE), (str(len(batch)), NONE)):
            change = {"Name": "max.message.bytes", "ConfigOperation": 0, "Value": value}
            resource = {"ResourceType": 2, "ResourceName": self.topic, "Configs": [change]}
            answer, = self.call("IncrementalAlterConfigs", 1, Resources=[resource])["Responses"]
            self.assertEqual(NONE, answer["ErrorCode"])
            for version in (3, 9, 12):
                self.assertEqual(expected, self.produce(version, batch)["ErrorCode"])

    def test_CreatePartitions_errors_in_every_version(self):
        create(self.broker, self.topic, partitions=2)
        for version in message.versions("CreatePartitions"):
            asked = [{"Name": self.topic, "Count": 2, "Assignments": None},
                     {"Name": self.topic + "-missing", "Count": 3, "Assignments": None}]
            answer = self.call("CreatePartitions", version, TimeoutMs=10_000, Topics=asked)
            errors = {r["Name"]: r["ErrorCode"] for r in answer["Results"]}
            self.assertEqual({self.topic: INVALID_PARTITIONS, self.topic + "-missing": UNKNOWN_TOPIC_OR_PARTITION}, errors)
            asked = [{"Name": self.topic, "Count": 3, "Assignments": None}]
            answer = self.call("CreatePartitions", version, TimeoutMs=10_000, ValidateOnly=True, Topics=asked)
            self.assertEqual(NONE, answer["Results"][0]["ErrorCode"])
        topic, = self.call("Metadata", 12, Topics=[{"Name": self.topic}])["Topics"]
        self.assertEqual(2, len(topic["Partitions"]))

    def test_DescribeConfigs_is_never_empty_in_any_version(self):
        create(self.broker, self.topic)
        node, = self.call("Metadata", 12, Topics=[])["Brokers"]
        for version in message.versions("DescribeConfigs"):
            asked = [{"ResourceType": 2, "ResourceName": self.topic, "ConfigurationKeys": None},
                     {"ResourceType": 4, "ResourceName": str(node["NodeId"]), "ConfigurationKeys": None}]
            for result in self.call("DescribeConfigs", version, Resources=asked)["Results"]:
                self.assertEqual(NONE, result["ErrorCode"])
                self.assertGreater(len(result["Configs"]), 25)


class DiskTest(CatalogueTestCase):
    def test_DescribeLogDirs_tells_the_space_of_the_disk_from_version_4(self):
        disk = os.statvfs(self.broker.data_dir)
        with message.Caller(self.broker) as c:
            for version in message.versions("DescribeLogDirs"):
                found, = c.call_message("DescribeLogDirs", version, Topics=None)["Results"]
                if version < 4:
                    self.assertNotIn("TotalBytes", found)
                    continue
                self.assertEqual(disk.f_blocks * disk.f_frsize, found["TotalBytes"])
                self.assertAlmostEqual(disk.f_bavail * disk.f_frsize, found["UsableBytes"], delta=1 << 30)


class NamesTest(CatalogueTestCase):
    HOSTILE = ("", ".", "..", "x" * 250, "a/../../b", "nul\0", "a b", "ü", "a\u202eb", "a\\b")

    def test_K07_hostile_topic_names_are_refused_wherever_a_topic_is_made(self):
        for name in self.HOSTILE:
            self.assertEqual(INVALID_TOPIC, self.create_error(name), repr(name))
            answer = self.call("Metadata", 12, Topics=[{"Name": name}], AllowAutoTopicCreation=True)
            self.assertEqual(INVALID_TOPIC, answer["Topics"][0]["ErrorCode"], repr(name))

    def test_K07_directories_are_named_by_the_id_of_the_topic(self):
        create(self.broker, "only-the-metastore-knows-this-name")
        self.assertEqual(0, self.produce(9, wire.batch([b"a"]), {"Name": "only-the-metastore-knows-this-name"})["BaseOffset"])
        paths = [os.path.join(d, f) for d, dirs, files in os.walk(self.broker.data_dir) for f in dirs + files]
        self.assertTrue(any(self.topic_id("only-the-metastore-knows-this-name").hex in p.replace("-", "") for p in paths), paths)
        self.assertFalse([p for p in paths if "only-the-metastore" in p])

    def test_K07_any_client_id_is_served(self):
        for client in ("", "..", "a/../../b", "nul\0", "line\nbreak\x1b[31m", "x" * 30_000, None):
            with self.subTest(client=client), wire.Connection(self.broker) as c:
                c.send(wire.METADATA, 1, struct.pack(">i", -1), client=client)
                self.assertEqual(1, c.receive()[0])
        self.assertNotIn(b"\x1b[31m", self.broker.log_path.read_bytes())

    def test_K08_a_million_partitions_and_a_hundred_thousand_topics_are_refused(self):
        for validate in (True, False):
            new = [{"Name": self.topic, "NumPartitions": 1_000_000, "ReplicationFactor": 1}]
            answer = self.call("CreateTopics", 7, timeoutMs=10_000, validateOnly=validate, Topics=new)
            self.assertEqual(POLICY_VIOLATION, answer["Topics"][0]["ErrorCode"])
            many = [{"Name": f"many-{i}", "NumPartitions": 1, "ReplicationFactor": 1} for i in range(100_000)]
            answer = self.call("CreateTopics", 7, timeoutMs=10_000, validateOnly=validate, Topics=many)
            self.assertEqual({POLICY_VIOLATION}, {t["ErrorCode"] for t in answer["Topics"]})
        self.assertEqual(UNKNOWN_TOPIC_OR_PARTITION, self.describe_error("many-0"))


class FetchTest(CatalogueTestCase):
    def test_K09_a_fetch_without_limits_of_ten_thousand_partitions_is_bounded(self):
        create(self.broker, self.topic, partitions=1)
        value = os.urandom(900_000)
        for _ in range(8):
            self.assertEqual(NONE, self.produce(9, wire.batch([value]))["ErrorCode"])
        one = {"Partition": 0, "FetchOffset": 0, "PartitionMaxBytes": 0x7FFFFFFF}
        for version in (4, 12):
            answer = self.call("Fetch", version, MaxWaitMs=0, MinBytes=0, MaxBytes=0x7FFFFFFF,
                               Topics=[{"Topic": self.topic, "Partitions": [one] * 10_000}])
            size = sum(len(p["Records"] or b"") for t in answer["Responses"] for p in t["Partitions"])
            self.assertTrue(len(value) < size < 64 * MIB, size)

    def test_ListOffsets_by_timestamp_and_by_max_timestamp_in_every_version(self):
        create(self.broker, self.topic)
        self.produce(9, wire.batch([b"a", b"b", b"c"], timestamps=[5000, 9000, 7000]))
        self.produce(9, wire.batch([b"d"], timestamps=[8000]))
        for version in message.versions("ListOffsets"):
            self.assertEqual((NONE, 9000, 1), self.list_offset(version, 5001))
            self.assertEqual((NONE, -1, -1), self.list_offset(version, 9001))
            expected = (NONE, 9000, 1) if version >= 7 else (UNSUPPORTED_VERSION, -1, -1)
            self.assertEqual(expected, self.list_offset(version, MAX_TIMESTAMP), version)

    def list_offset(self, version, timestamp):
        asked = {"Name": self.topic, "Partitions": [{"PartitionIndex": 0, "Timestamp": timestamp}]}
        p = self.call("ListOffsets", version, Topics=[asked])["Topics"][0]["Partitions"][0]
        return p["ErrorCode"], p["Timestamp"], p["Offset"]

    def test_a_topic_deleted_and_created_again_new_id_old_fetch_session_old_offsets(self):
        create(self.broker, self.topic)
        old_id = self.topic_id(self.topic)
        self.produce(9, wire.batch([b"old"] * 5))
        by_name = self.fetch(12, [({"Topic": self.topic}, 5)], session=(0, 0))["SessionId"]
        by_id = self.fetch(17, [({"TopicId": old_id}, 5)], session=(0, 0))["SessionId"]
        self.assertTrue(by_name and by_id)
        commit = [{"Name": self.topic, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": 5}]}]
        answer = self.call("OffsetCommit", 5, GroupId=self.group, Topics=commit)
        self.assertEqual(NONE, answer["Topics"][0]["Partitions"][0]["ErrorCode"])
        self.delete(self.topic)
        create(self.broker, self.topic)
        new_id = self.topic_id(self.topic)
        self.assertNotEqual(old_id, new_id)
        self.assertEqual(0, self.produce(13, wire.batch([b"new"]), {"TopicId": new_id})["BaseOffset"])
        # the old id is nobody's
        self.assertEqual(UNKNOWN_TOPIC_ID, self.produce(13, wire.batch([b"late"]), {"TopicId": old_id})["ErrorCode"])
        answer = self.fetch(17, [({"TopicId": old_id}, 0)])
        self.assertEqual(UNKNOWN_TOPIC_ID, answer["Responses"][0]["Partitions"][0]["ErrorCode"])
        # the old sessions serve no record of the new topic at an offset of the old one
        part = self.fetch(12, [], session=(by_name, 1))["Responses"][0]["Partitions"][0]
        self.assertIn(part["ErrorCode"], (OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION))
        self.assertFalse(part["Records"])
        part = self.fetch(17, [], session=(by_id, 1))["Responses"][0]["Partitions"][0]
        self.assertIn(part["ErrorCode"], (UNKNOWN_TOPIC_ID, INCONSISTENT_TOPIC_ID))
        self.assertFalse(part["Records"])
        # the old offsets are gone
        self.assertEqual(OFFSET_OUT_OF_RANGE, self.fetch(12, [({"Topic": self.topic}, 5)])["Responses"][0]["Partitions"][0]["ErrorCode"])
        answer = self.call("OffsetFetch", 5, GroupId=self.group, Topics=[{"Name": self.topic, "PartitionIndexes": [0]}])
        self.assertEqual(-1, answer["Topics"][0]["Partitions"][0]["CommittedOffset"])


class StrangersTest(CatalogueTestCase):
    def test_K15_HTTP_and_TLS_on_the_plain_port_are_closed_with_a_hint_in_the_log(self):
        greetings = {"this is HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
                     "this is TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32)}
        for hint, greeting in greetings.items():
            # more than once: of lines like this at most one is written each second
            harness.wait_until(lambda: self.is_refused_with(greeting, hint), 10, hint, every_s=0.5)

    def is_refused_with(self, greeting, hint):
        with socket.create_connection(("127.0.0.1", self.broker.kafka_port), 10) as c:
            c.sendall(greeting)
            try:
                self.assertEqual(b"", c.recv(1))
            except ConnectionResetError:
                pass
        return hint in self.broker.log_path.read_text(errors="replace")


class PageTest(harness.unittest.TestCase):
    def check(self, page, at_least):
        text = (harness.ROOT / page).read_text(encoding="utf-8")
        named = re.findall(r"`([\w/]+\.(?:c|py)): (\w+)`", text)
        self.assertGreater(len(named), at_least)
        for path, name in named:
            self.assertRegex((harness.ROOT / path).read_text(encoding="utf-8"), rf"\b{name}\b", path)

    def test_each_test_that_the_page_names_exists(self):
        self.check("docs/catalogue.md", 60)

    def test_each_test_that_the_rules_of_storage_name_exists(self):
        self.check("docs/storage-rules.md", 60)


if __name__ == "__main__":
    harness.main()
