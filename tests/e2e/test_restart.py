#!/usr/bin/python3
"""No acknowledged record is lost: the server is stopped and killed while a real client produces and consumes."""
import threading
import time

import harness
from test_confluent import QUIET, ck, consume, create

PARTITIONS = 3
PAUSE_S = 0.7


class Load:
    """A producer on a thread of its own; `acked` has (partition, offset, value) of what the server acknowledged."""

    def __init__(self, broker, topic, **config):
        self.acked = []
        self.refused = 0
        self.sent = 0
        self._topic = topic
        self._stop = threading.Event()
        self._producer = ck.Producer({
            "bootstrap.servers": broker.bootstrap, "linger.ms": 1, "batch.num.messages": 50,
            "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, "retry.backoff.ms": 20, **QUIET, **config})
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stop.is_set():
            try:
                self._producer.produce(self._topic, b"%d" % self.sent, partition=self.sent % PARTITIONS,
                                       on_delivery=self._on_delivery)
                self.sent += 1
            except BufferError:
                self._producer.poll(0.05)
            self._producer.poll(0)
            time.sleep(0.0002)

    def _on_delivery(self, err, msg):
        if err:
            self.refused += 1
        else:
            self.acked.append((msg.partition(), msg.offset(), msg.value()))

    def finish(self):
        self._stop.set()
        self._thread.join()
        left = self._producer.flush(60)
        assert left == 0, f"{left} records without an answer"


class RestartTest(harness.FreshBrokerTestCase):
    def setUp(self):
        super().setUp()
        self.broker.start()
        create(self.broker, self.topic, partitions=PARTITIONS)

    def stored(self):
        """{partition: [(offset, value)]} of all that can be read."""
        return {p: [(m.offset(), m.value()) for m in consume(self.broker, self.topic, partition=p)]
                for p in range(PARTITIONS)}

    def assert_nothing_acked_is_lost(self, load):
        self.assertGreater(len(load.acked), 100, "the load was too small to prove anything")
        stored = {p: dict(records) for p, records in self.stored().items()}
        lost = [(p, o, v) for p, o, v in load.acked if stored[p].get(o) != v]
        self.assertEqual([], lost[:5], f"{len(lost)} of {len(load.acked)} acknowledged records lost or changed")

    def assert_each_sent_once_in_order(self, load):
        for p, records in self.stored().items():
            self.assertEqual(list(range(len(records))), [o for o, _ in records], "offsets without gaps")
            self.assertEqual([b"%d" % i for i in range(p, load.sent, PARTITIONS)], [v for _, v in records])

    def disturb(self, load, how, times=3):
        for _ in range(times):
            acked = len(load.acked)
            harness.wait_until(lambda: len(load.acked) > acked + 100, 30, "the load to go on")
            time.sleep(PAUSE_S)
            how()
        acked = len(load.acked)
        harness.wait_until(lambda: len(load.acked) > acked + 100, 30, "the load to go on after the last one")
        load.finish()

    def test_an_idempotent_producer_survives_clean_restarts_without_loss_or_duplicate(self):
        load = Load(self.broker, self.topic, **{"enable.idempotence": True})
        self.disturb(load, self.broker.restart)
        self.assertEqual(0, load.refused)
        self.assert_nothing_acked_is_lost(load)
        self.assert_each_sent_once_in_order(load)

    def test_an_idempotent_producer_survives_kill_minus_nine_without_loss_or_duplicate(self):
        load = Load(self.broker, self.topic, **{"enable.idempotence": True})
        self.disturb(load, self.broker.kill_and_start)
        self.assertEqual(0, load.refused)
        self.assert_nothing_acked_is_lost(load)
        self.assert_each_sent_once_in_order(load)

    def test_acks_all_without_idempotence_loses_no_ack_at_kill_minus_nine(self):
        load = Load(self.broker, self.topic, **{"acks": -1})
        self.disturb(load, self.broker.kill_and_start)
        self.assert_nothing_acked_is_lost(load)

    def test_acks_one_loses_no_ack_at_kill_minus_nine(self):
        load = Load(self.broker, self.topic, **{"acks": 1})
        self.disturb(load, self.broker.kill_and_start)
        self.assert_nothing_acked_is_lost(load)

    def test_a_consumer_reads_on_through_a_kill_and_sees_each_record_once(self):
        seen, stop = [], threading.Event()

        def read():
            consumer = ck.Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": self.group,
                                    "auto.offset.reset": "earliest", "enable.auto.commit": False,
                                    "reconnect.backoff.ms": 20, "reconnect.backoff.max.ms": 100, **QUIET})
            consumer.assign([ck.TopicPartition(self.topic, p, 0) for p in range(PARTITIONS)])
            while not stop.is_set():
                msg = consumer.poll(0.1)
                if msg is not None and not msg.error():
                    seen.append((msg.partition(), msg.offset(), msg.value()))
            consumer.close()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        load = Load(self.broker, self.topic, **{"enable.idempotence": True})
        self.disturb(load, self.broker.kill_and_start, times=2)
        try:
            harness.wait_until(lambda: len(seen) >= load.sent, 30, "the consumer to see all")
        finally:
            stop.set()
            reader.join()
        self.assertEqual(sorted(load.acked), sorted(seen))

    def test_a_restart_changes_neither_offsets_nor_records(self):
        load = Load(self.broker, self.topic)
        harness.wait_until(lambda: len(load.acked) > 500, 30, "some records")
        load.finish()
        before = self.stored()
        self.broker.restart()
        self.assertEqual(before, self.stored())
        self.broker.kill_and_start()
        self.assertEqual(before, self.stored())


if __name__ == "__main__":
    harness.main()
