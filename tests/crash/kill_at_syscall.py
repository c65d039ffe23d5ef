#!/usr/bin/python3
"""D2: kill -9 at the Nth system call under live load of a real client, restart, verify. Prints TAP.

    SLUICE=build/sluice /usr/bin/python3 tests/crash/kill_at_syscall.py [--points 100] [--seed 1]

One idempotent librdkafka producer (acks=all) and one with acks=1 stay connected over all kills and note what was
acknowledged at which offset; topics are created and deleted meanwhile, group offsets committed. strace sends the
signal when a thread of the broker enters the Nth call of one kind, so the kill lands inside the write, the sync,
the rename. The same data directory is used all the way: every start recovers from a crash. After each start every
acknowledged topic and offset must be there; records are read back every ten points and at the end.
"""
import argparse
import contextlib
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import confluent_kafka as ck  # noqa: E402
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402
from harness import Broker, wait_until  # noqa: E402
from message import Caller  # noqa: E402

PARTITIONS = 3
TOPIC = "killed"
# what the broker does to its files and peers, and how often it may happen before the kill
CALLS = {"pwritev": 100, "fdatasync": 60, "write": 150, "writev": 20, "read": 100, "futex": 200, "epoll_wait": 150,
         "openat": 20, "fsync": 10, "rename": 2, "ftruncate": 4, "unlink": 2, "mkdir": 4}
POINT_LIMIT_S = 1  # a call that does not come as often: killed at a moment of our choice


class TracedBroker(Broker):
    """The same server; `arm` makes strace kill it at a system call."""

    def arm(self, call, count):
        quiet = str(self.home / "strace.log")
        self.tracer = ["strace", "-f", "-qq", "-o", quiet, "-e", f"trace={call}",
                       "-e", f"inject={call}:signal=KILL:when={count}"]

    def command(self):
        return self.tracer + super().command()

    def kill_tree(self):
        """The server and the strace around it: a tracer that is killed leaves its child running."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        for pid in children.read_text().split() if children.exists() else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self.kill()


class Load:
    """A producer that never stops; what was acknowledged is kept as (partition, offset) -> value."""

    def __init__(self, bootstrap, name, acks, idempotent):
        self.acked, self.failed, self.n, self.name = {}, [], 0, name
        self.stopping = threading.Event()
        self.producer = ck.Producer({
            "bootstrap.servers": bootstrap, "log_level": 0, "acks": acks, "enable.idempotence": idempotent, "linger.ms": 1,
            "reconnect.backoff.ms": 10, "reconnect.backoff.max.ms": 50, "retry.backoff.ms": 10,
            "message.timeout.ms": 120000, "socket.timeout.ms": 5000, "message.send.max.retries": 1000000})
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def on_delivery(self, err, msg):
        if err:
            self.failed.append(str(err))
            return
        self.acked[(msg.partition(), msg.offset())] = msg.value()

    def work(self):
        while not self.stopping.is_set():
            value = f"{self.name}-{self.n}".encode().ljust(random.choice((20, 200, 5000)), b".")
            try:
                self.producer.produce(TOPIC, value, partition=self.n % PARTITIONS, on_delivery=self.on_delivery)
                self.n += 1
            except BufferError:
                pass
            self.producer.poll(0.002)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        left = self.producer.flush(30)
        if left:
            self.failed.append(f"{left} records were neither acknowledged nor refused within 30 s")


class Run:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.broker = TracedBroker("--num-partitions", str(PARTITIONS))
        self.topics, self.deleted, self.problems, self.unsure = set(), set(), [], set()
        self.committed = -1

    def client(self):
        return {"bootstrap.servers": self.broker.bootstrap, "log_level": 0}

    def admin(self):
        return AdminClient({**self.client(), "socket.timeout.ms": 2000})

    def change_topics(self, point):
        """Creates a topic, deletes the one of three points ago; remembers what was acknowledged."""
        admin, name, old = self.admin(), f"t-{point}", f"t-{point - 3}"
        for what, names, future in [("create", self.topics, lambda: admin.create_topics([NewTopic(name, 1, 1)], request_timeout=2)[name])] + (
                [("delete", self.deleted, lambda: admin.delete_topics([old], request_timeout=2)[old])] if old in self.topics else []):
            target = name if what == "create" else old
            self.unsure.add(target)
            try:
                future().result(2)
            except (ck.KafkaException, TimeoutError):
                continue  # died under it: either way is right
            names.add(target)
            self.unsure.discard(target)

    def commit_offset(self, point):
        """Through a plain connection: a client would send it again later, when it is no longer the newest."""
        try:
            with Caller(self.broker, timeout_s=1) as c:
                answer = c.call_message("OffsetCommit", 8, GroupId="killed", GenerationIdOrMemberEpoch=-1, Topics=[
                    {"Name": TOPIC, "Partitions": [{"PartitionIndex": 0, "CommittedOffset": point}]}])
                if answer["Topics"][0]["Partitions"][0]["ErrorCode"] == 0:
                    self.committed = point
        except (OSError, EOFError, AssertionError):
            pass  # died under it: either way is right

    def point(self, number):
        call = self.rng.choice(list(CALLS))
        count = max(1, round(CALLS[call] ** self.rng.random()))  # early ones as often as late ones
        self.broker.arm(call, count)
        try:
            self.broker.start()
        except AssertionError:
            if self.broker.process.poll() is None:
                raise  # it hangs
        end = time.monotonic() + POINT_LIMIT_S
        if self.broker.process.poll() is None:
            self.change_topics(number)
            self.commit_offset(number)
        while self.broker.process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        killed = self.broker.process.poll() is not None
        self.broker.kill_tree()
        return call, count, killed

    def check_start(self):
        """Boots without strace; topics and the committed offset are as acknowledged."""
        self.broker.tracer = []
        self.broker.start()
        names = set(self.admin().list_topics(timeout=10).topics)
        lost = (self.topics - self.deleted - self.unsure) - names
        back = (self.deleted & names)
        if lost or back:
            self.problems.append(f"topics lost {sorted(lost)}, deleted topics back {sorted(back)}")
        consumer = ck.Consumer({**self.client(), "group.id": "killed"})
        offset = consumer.committed([ck.TopicPartition(TOPIC, 0)], timeout=10)[0].offset
        consumer.close()
        if self.committed >= 0 and offset < self.committed:
            self.problems.append(f"committed offset {self.committed} was acknowledged, {offset} is there")

    def read_back(self, loads):
        """Every acknowledged record at its offset; no value twice from the idempotent producer."""
        acked = [dict(load.acked) for load in loads]
        consumer = ck.Consumer({**self.client(), "group.id": "reader",
                                "enable.auto.commit": False, "check.crcs": True})
        found = {}
        for p in range(PARTITIONS):
            tp = ck.TopicPartition(TOPIC, p)
            # acks=1 is answered before the sync, and nothing is readable before it: wait for what was acknowledged
            last = max((offset for known in acked for q, offset in known if q == p), default=-1)
            patience = time.monotonic() + 10
            low, high = consumer.get_watermark_offsets(tp, timeout=10)
            while high <= last and time.monotonic() < patience:
                time.sleep(0.01)
                low, high = consumer.get_watermark_offsets(tp, timeout=10)
            consumer.assign([ck.TopicPartition(TOPIC, p, low)])
            at, patience = low, time.monotonic() + 60
            while at < high and time.monotonic() < patience:
                msg = consumer.poll(1)
                if msg is not None and not msg.error():
                    found[(p, msg.offset())] = msg.value()
                    at = msg.offset() + 1
            if at < high:
                self.problems.append(f"partition {p}: reading stopped at {at}, the end is {high}")
        consumer.close()
        for load, known in zip(loads, acked):
            wrong = [key for key, value in known.items() if found.get(key) != value]
            if wrong:
                self.problems.append(f"{load.name}: {len(wrong)} of {len(known)} acknowledged records lost or changed, first {min(wrong)}")
        values = [v for v in found.values() if v.startswith(b"all-")]
        if len(values) != len(set(values)):
            self.problems.append(f"{len(values) - len(set(values))} records of the idempotent producer stand twice")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=int(os.environ.get("POINTS", "100")))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", "1")))
    o = parser.parse_args()
    run = Run(o.seed)
    run.broker.tracer = []
    run.broker.start()
    loads = [Load(run.broker.bootstrap, "all", "all", True), Load(run.broker.bootstrap, "one", "1", False)]
    wait_until(lambda: all(load.acked for load in loads), 20, "the first acknowledged records")
    run.broker.kill_tree()
    kills, number = 0, 0
    while number < o.points:
        number += 1
        call, count, killed = run.point(number)
        kills += killed
        if number % 5 == 0 or number == o.points:
            run.check_start()
            if number % 25 == 0 or number == o.points:
                run.read_back(loads)
            run.broker.kill_tree()
        if run.problems:
            print(f"# seed {o.seed} point {number}: killed at call {count} of {call}")
            break
    run.broker.tracer = []
    run.broker.start()
    for load in loads:
        load.stop()
    run.read_back(loads)
    acked = sum(len(load.acked) for load in loads)
    for line in run.problems + [p for load in loads for p in load.failed[:3]]:
        print("# " + line)
    print(f"# {number} points, {kills} kills at a system call, {acked} acknowledged records, seed {o.seed}")
    good = not run.problems and not any(load.failed for load in loads) and acked > o.points and kills >= o.points // 3
    print(("ok" if good else "not ok") + f" 1 - D2 {o.points} kills at a system call lose no acknowledged record\n1..1")
    if not good:
        print("# server log:\n# " + run.broker.log_tail().replace("\n", "\n# "))
    run.broker.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
