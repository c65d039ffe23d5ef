#!/usr/bin/python3
"""Topics with storage.engine=sqlite, through Kafka: the same promises, and rows that other programs may read."""
import json
import sqlite3
import struct
import time

import harness
import wire
from test_confluent import (CODECS, QUIET, TIMEOUT_S, admin_of, ck, consume, create, error_code, produce)
from test_restart import Load, PARTITIONS
from confluent_kafka.admin import ConfigResource

DELETE_RECORDS, CORRUPT_MESSAGE = 21, 2


def facts(messages):
    return [(m.offset(), m.key(), m.value(), m.headers(), m.timestamp()) for m in messages]


class Rows(harness.FreshBrokerTestCase):
    """A broker of its own and what its sluice.db has, read by this process while the server runs."""

    def setUp(self):
        super().setUp()
        self.broker.start()

    def create(self, topic=None, **config):
        create(self.broker, topic or self.topic, storage_engine="sqlite", **config)

    def query(self, sql, *args, path=None):
        db = sqlite3.connect(f"file:{path or self.broker.data_dir / 'sluice.db'}?mode=ro", uri=True)
        try:
            return db.execute(sql, args).fetchall()
        finally:
            db.close()


class RecordsTest(Rows):
    def test_every_codec_comes_back_as_it_was_sent_also_after_a_restart_and_a_kill(self):
        self.create()
        for codec in CODECS:
            produce(self.broker, self.topic, [
                {"key": b"k%d" % i, "value": b"%s-%d" % (codec.encode(), i) * 10, "headers": [("n", b"\xff%d" % i), ("n", b"")],
                 "timestamp": 1700000000000 + i} for i in range(200)], compression_type=codec)
        before = facts(consume(self.broker, self.topic))
        self.assertEqual(list(range(1000)), [f[0] for f in before])
        for i, (_, key, value, headers, timestamp) in enumerate(before):
            self.assertEqual(b"k%d" % (i % 200), key)
            self.assertEqual(b"%s-%d" % (CODECS[i // 200].encode(), i % 200) * 10, value)
            self.assertEqual([("n", b"\xff%d" % (i % 200)), ("n", b"")], headers)
            self.assertEqual((ck.TIMESTAMP_CREATE_TIME, 1700000000000 + i % 200), timestamp)
        self.broker.restart()
        self.assertEqual(before, facts(consume(self.broker, self.topic)))
        self.broker.kill_and_start()
        self.assertEqual(before, facts(consume(self.broker, self.topic)))

    def test_null_and_empty_stay_apart(self):
        self.create()
        produce(self.broker, self.topic, [{"key": k, "value": v} for k in (None, b"", b"k") for v in (None, b"", b"v")])
        self.assertEqual([(k, v) for k in (None, b"", b"k") for v in (None, b"", b"v")],
                         [(m.key(), m.value()) for m in consume(self.broker, self.topic)])

    def test_LogAppendTime_is_the_time_of_the_broker(self):
        self.create(message_timestamp_type="LogAppendTime")
        produce(self.broker, self.topic, [{"value": b"v", "timestamp": 1} for _ in range(3)])
        for m in consume(self.broker, self.topic):
            kind, ms = m.timestamp()
            self.assertEqual(ck.TIMESTAMP_LOG_APPEND_TIME, kind)
            self.assertLess(abs(ms / 1000 - time.time()), 60)

    def test_large_records_and_small_fetches(self):
        self.create(max_message_bytes=3000000)
        values = [bytes([i]) * (1 + i * 100000) for i in range(20)]
        produce(self.broker, self.topic, values, message_max_bytes=3000000)
        found = consume(self.broker, self.topic, n=20, fetch_message_max_bytes=1000, fetch_max_bytes=3000000,
                        receive_message_max_bytes=3100000)
        self.assertEqual(values, [m.value() for m in found])

    def test_offsets_are_found_by_time(self):
        self.create()
        produce(self.broker, self.topic, [{"value": b"v", "timestamp": 1700000000000 + i * 10} for i in range(500)])
        consumer = ck.Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "g", **QUIET})
        for wanted, offset in ((0, 0), (1700000000000 + 1, 1), (1700000000000 + 4990, 499), (1700000000000 + 4991, -1)):
            [found] = consumer.offsets_for_times([ck.TopicPartition(self.topic, 0, wanted)], TIMEOUT_S)
            self.assertEqual(offset, found.offset, wanted)
        consumer.close()


class LoadTest(Rows):
    def check(self, load):
        stored = {p: {m.offset(): m.value() for m in consume(self.broker, self.topic, partition=p)}
                  for p in range(PARTITIONS)}
        self.assertGreater(len(load.acked), 100)
        self.assertEqual([], [(p, o, v) for p, o, v in load.acked if stored[p].get(o) != v][:5])
        return stored

    def test_B01_nothing_acknowledged_is_lost_by_kill_9(self):
        self.create(partitions=PARTITIONS)
        load = Load(self.broker, self.topic, acks="all")
        for _ in range(3):
            acked = len(load.acked)
            harness.wait_until(lambda: len(load.acked) > acked + 100, 30, "the load to go on")
            self.broker.kill_and_start()
        load.finish()
        self.check(load)

    def test_B08_an_idempotent_producer_writes_each_record_once_over_kill_9(self):
        self.create(partitions=PARTITIONS)
        load = Load(self.broker, self.topic, **{"enable.idempotence": True})
        for _ in range(3):
            acked = len(load.acked)
            harness.wait_until(lambda: len(load.acked) > acked + 100, 30, "the load to go on")
            self.broker.kill_and_start()
        load.finish()
        for p, records in self.check(load).items():
            self.assertEqual([b"%d" % i for i in range(p, load.sent, PARTITIONS)],
                             [records[o] for o in sorted(records)])


class AdministrationTest(Rows):
    def setUp(self):
        super().setUp()
        self.admin = admin_of(self.broker)

    def delete_records(self, offset):
        with wire.Connection(self.broker) as c:
            r = c.call(DELETE_RECORDS, 0, wire.array([wire.string(self.topic) + wire.array([struct.pack(">iq", 0, offset)])]) +
                       struct.pack(">i", 10000))
        r.take("ii")
        self.assertEqual(self.topic, r.string())
        self.assertEqual((1, 0, offset, 0), r.take("iiqh"))

    def settings(self):
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.topic)
        return list(self.admin.describe_configs([resource]).values())[0].result(TIMEOUT_S)

    def alter(self, settings):
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.topic, set_config=settings)
        return list(self.admin.alter_configs([resource]).values())[0]

    def test_delete_records_moves_the_start_and_deletes_the_rows(self):
        self.create()
        produce(self.broker, self.topic, [b"%d" % i for i in range(3000)])
        self.delete_records(2500)
        self.assertEqual([b"%d" % i for i in range(2500, 3000)],
                         [m.value() for m in consume(self.broker, self.topic)])
        harness.wait_until(lambda: self.query("SELECT min(off) FROM messages") == [(2500,)], 10, "the rows to go")
        self.broker.kill_and_start()
        self.assertEqual(2500, consume(self.broker, self.topic, n=1)[0].offset())

    def test_B05_a_deleted_topic_and_its_rows_are_gone_and_its_name_is_free(self):
        self.create()
        produce(self.broker, self.topic, [b"old"] * 3000)
        self.admin.delete_topics([self.topic])[self.topic].result(TIMEOUT_S)
        self.create()
        produce(self.broker, self.topic, [b"new"])
        self.assertEqual([(0, b"new")], [(m.offset(), m.value()) for m in consume(self.broker, self.topic)])
        harness.wait_until(lambda: self.query("SELECT count(*) FROM messages") == [(1,)], 10, "the rows to go")
        self.assertEqual([(1,)], self.query("SELECT count(*) FROM topics"))
        self.broker.kill_and_start()
        self.assertEqual([b"new"], [m.value() for m in consume(self.broker, self.topic)])

    def test_retention_by_size_deletes_the_oldest(self):
        self.create(retention_bytes=100000)
        produce(self.broker, self.topic, [b"x" * 1000] * 1000)
        harness.wait_until(lambda: self.query("SELECT count(*) FROM messages")[0][0] < 120, 10, "old rows to go")
        found = consume(self.broker, self.topic)
        self.assertEqual(999, found[-1].offset())
        self.assertGreaterEqual(len(found) * 1100, 100000)

    def test_the_engine_of_a_topic_is_shown_and_cannot_be_changed(self):
        self.create()
        self.assertEqual("sqlite", self.settings()["storage.engine"].value)
        self.assertEqual(ck.KafkaError.INVALID_CONFIG, error_code(self.alter({"storage.engine": "local"})))
        self.alter({"retention.ms": "1000000"}).result(TIMEOUT_S)  # replaces all settings, but not this one
        self.broker.restart()
        shown = self.settings()
        self.assertEqual(("sqlite", "1000000"), (shown["storage.engine"].value, shown["retention.ms"].value))
        produce(self.broker, self.topic, [b"v"])
        self.assertEqual([(1,)], self.query("SELECT count(*) FROM messages"))

    def test_compaction_is_refused_with_a_reason(self):
        with self.assertRaisesRegex(ck.KafkaException, "compaction"):
            self.create(cleanup_policy="compact")

    def test_engines_live_side_by_side_and_the_option_gives_the_default(self):
        create(self.broker, "of-local")
        produce(self.broker, "of-local", [b"local"])
        self.assertFalse((self.broker.data_dir / "sluice.db").exists(), "no such topic, no such file")
        self.broker.options += ["--storage-engine", "sqlite"]
        self.broker.restart()
        create(self.broker, "of-sqlite")
        create(self.broker, "also-local", storage_engine="local")
        for topic in ("of-local", "of-sqlite", "also-local"):
            produce(self.broker, topic, [topic.encode()])
        self.broker.options.clear()
        self.broker.kill_and_start()
        for topic, values in (("of-local", [b"local", b"of-local"]), ("of-sqlite", [b"of-sqlite"]),
                              ("also-local", [b"also-local"])):
            self.assertEqual(values, [m.value() for m in consume(self.broker, topic)])
        self.assertEqual([("of-sqlite",)], self.query("SELECT name FROM topics"))


class FileTest(Rows):
    def test_rows_say_what_was_produced(self):
        self.create()
        produce(self.broker, self.topic, [{"key": b"k", "value": b"hello", "timestamp": 1700000000123,
                                           "headers": [("a", b'say "hi"'), ("b", b"\xff"), ("c", "\u00e9".encode())]}])
        [row] = self.query("SELECT t.name, m.part, m.off, m.key, m.payload, m.attributes, m.created_at, m.is_null, m.message_id "
                           "FROM messages m JOIN topics t ON t.id = m.topic_id")
        self.assertEqual((self.topic, 0, 0, b"k", b"hello"), row[:5])
        self.assertEqual({"a": 'say "hi"', "b": "\ufffd", "c": "\u00e9"}, json.loads(row[5]))
        self.assertEqual((1700000000123, 0), row[6:8])
        self.assertEqual(7, int(row[8].replace("-", "")[12], 16), "a UUID of version 7")
        self.assertEqual(1700000000123, int(row[8].replace("-", "")[:12], 16))

    def test_an_online_backup_under_load_is_whole_and_disturbs_nobody(self):
        self.create(partitions=PARTITIONS)
        load = Load(self.broker, self.topic, acks="all")
        harness.wait_until(lambda: len(load.acked) > 200, 30, "the load")
        acked = list(load.acked)
        copy = self.broker.home / "copy.db"
        source = sqlite3.connect(self.broker.data_dir / "sluice.db")
        target = sqlite3.connect(copy)
        source.backup(target)
        source.close()
        target.close()
        load.finish()
        self.assertEqual(0, load.refused)
        self.assertEqual([("ok",)], self.query("PRAGMA integrity_check", path=copy))
        stored = {(p, o): v for p, o, v in self.query("SELECT part, off, payload FROM messages", path=copy)}
        self.assertEqual([], [(p, o, v) for p, o, v in acked if stored.get((p, o)) != v][:5])
        for p in range(PARTITIONS):
            offsets = sorted(o for q, o in stored if q == p)
            self.assertEqual(list(range(len(offsets))), offsets)

    def test_a_reader_that_stays_does_not_stop_writers(self):
        self.create()
        produce(self.broker, self.topic, [b"before"])
        db = sqlite3.connect(f"file:{self.broker.data_dir / 'sluice.db'}?mode=ro", uri=True, isolation_level=None)
        db.execute("BEGIN")
        self.assertEqual([(1,)], db.execute("SELECT count(*) FROM messages").fetchall())
        produce(self.broker, self.topic, [b"x" * 100] * 5000)
        self.assertEqual([(1,)], db.execute("SELECT count(*) FROM messages").fetchall(), "its snapshot stays")
        db.close()
        self.assertEqual(5001, len(consume(self.broker, self.topic)))

    def test_D6_a_damaged_row_is_not_delivered(self):
        self.create()
        produce(self.broker, self.topic, [b"%d" % i for i in range(10)])
        self.broker.stop()
        db = sqlite3.connect(self.broker.data_dir / "sluice.db")
        db.execute("UPDATE messages SET payload = x'66' WHERE off = 5")
        db.commit()
        db.close()
        self.broker.start()
        self.assertEqual([b"%d" % i for i in range(5)], [m.value() for m in consume(self.broker, self.topic, n=5)])
        with wire.Connection(self.broker) as c:
            self.assertEqual((CORRUPT_MESSAGE, b""), c.fetch(self.topic, 5)[::2])
        self.assertEqual([b"%d" % i for i in range(6, 10)], [m.value() for m in consume(self.broker, self.topic, offset=6)])


if __name__ == "__main__":
    harness.main()
