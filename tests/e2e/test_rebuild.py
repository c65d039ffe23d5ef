#!/usr/bin/python3
"""B04: the server without its meta.db: every record is there, offsets go on, and what is lost is said."""
import harness
from test_confluent import QUIET, ck, consume, create

PARTITIONS = 3
RECORDS = 600


class RebuildTest(harness.FreshBrokerTestCase):
    def setUp(self):
        super().setUp()
        self.broker.start()
        create(self.broker, self.topic, partitions=PARTITIONS)

    def produce(self, first, count):
        answers = []
        producer = ck.Producer({"bootstrap.servers": self.broker.bootstrap, "enable.idempotence": True, **QUIET})
        for i in range(first, first + count):
            producer.produce(self.topic, b"%d" % i, partition=i % PARTITIONS,
                             on_delivery=lambda err, msg: answers.append((err, msg.partition(), msg.offset())))
        self.assertEqual(0, producer.flush(60))
        self.assertEqual([], [err for err, _, _ in answers if err])
        return {(p, o) for _, p, o in answers}

    def stored(self):
        return {p: [(m.offset(), m.value()) for m in consume(self.broker, self.topic, partition=p)]
                for p in range(PARTITIONS)}

    def assert_all_there(self, count):
        for p, records in self.stored().items():
            self.assertEqual([(o, b"%d" % i) for o, i in enumerate(range(p, count, PARTITIONS))], records)

    def client_of_group(self):
        return ck.Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": "g", "enable.auto.commit": False,
                            **QUIET})

    def commit(self):
        consumer = self.client_of_group()
        consumer.commit(offsets=[ck.TopicPartition(self.topic, 0, 7)], asynchronous=False)
        consumer.close()

    def committed(self):
        consumer = self.client_of_group()
        try:
            return consumer.committed([ck.TopicPartition(self.topic, 0)], timeout=20)[0].offset
        finally:
            consumer.close()

    def lose(self, *names):
        for name in names:
            (self.broker.data_dir / name).unlink(missing_ok=True)

    def check_rebuilt(self, before):
        self.assertIn("rebuilt:", self.broker.get("/readyz")[1])
        self.assertIn("committed offsets", self.broker.log_tail(200))
        self.assert_all_there(RECORDS)
        after = self.produce(RECORDS, RECORDS)
        self.assertFalse(before & after, "an offset was given twice")
        self.assert_all_there(2 * RECORDS)
        self.broker.restart()
        self.assertNotIn("rebuilt:", self.broker.get("/readyz")[1])
        self.assert_all_there(2 * RECORDS)

    def test_B04_meta_db_is_removed_after_a_clean_end(self):
        before = self.produce(0, RECORDS)
        self.commit()
        self.assertEqual(7, self.committed())
        self.broker.stop()
        self.lose("meta.db")
        self.broker.start()
        self.assertEqual(ck.OFFSET_INVALID, self.committed())
        self.check_rebuilt(before)

    def test_B04_meta_db_and_its_log_are_removed_after_kill_9(self):
        before = self.produce(0, RECORDS)
        self.broker.kill()
        self.lose("meta.db", "meta.db-wal")
        self.broker.start()
        self.check_rebuilt(before)

    def test_B04_a_damaged_meta_db_is_kept_aside(self):
        before = self.produce(0, RECORDS)
        self.broker.stop()
        path = self.broker.data_dir / "meta.db"
        damaged = bytearray(path.read_bytes())
        damaged[100:200] = b"x" * 100
        path.write_bytes(damaged)
        self.broker.start()
        kept = list((self.broker.data_dir / "quarantine").iterdir())
        self.assertEqual([bytes(damaged)], [f.read_bytes() for f in kept])
        self.check_rebuilt(before)


if __name__ == "__main__":
    harness.main()
