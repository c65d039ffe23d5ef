#!/usr/bin/python3
"""Consumer groups: members that come, leave and die, as processes of confluent-kafka and in kafka-python."""
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import harness
from test_confluent import admin_of, ck, create, produce

MEMBER = Path(__file__).with_name("group_member.py")
SETTLE_S = 40


class Member:
    """A member process; what it printed is read by a thread."""

    def __init__(self, broker, group, topic, *settings):
        self.process = subprocess.Popen([sys.executable, str(MEMBER), broker.bootstrap, group, topic, *settings],
                                        stdout=subprocess.PIPE, text=True, preexec_fn=harness.die_with_parent)
        self.assigned = None
        self.assignments = []
        self.revoked = []
        self.records = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            word, *rest = line.rstrip("\n").split(" ", 3)
            if word == "assigned":
                self.assigned = {int(p) for p in rest[0].split(",")} if rest and rest[0] else set()
                self.assignments.append(self.assigned)
            elif word == "revoked":
                gone = {int(p) for p in rest[0].split(",")} if rest and rest[0] else set()
                self.revoked.append(gone)
                self.assigned = (self.assigned or set()) - gone
            elif word == "record":
                self.records.append((int(rest[0]), int(rest[1]), rest[2]))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def leave(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)


class GroupsTest(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.members = []
        create(self.broker, self.topic, partitions=4)

    def tearDown(self):
        for m in self.members:
            m.kill()

    def member(self, *settings):
        m = Member(self.broker, self.group, self.topic, *settings)
        self.members.append(m)
        return m

    def settled(self, *members):
        """Waits until these members share all four partitions, none empty-handed and none twice."""
        def shared():
            owned = [m.assigned or set() for m in members]
            return all(owned) and sum(len(o) for o in owned) == 4 and set().union(*owned) == {0, 1, 2, 3}

        try:
            harness.wait_until(shared, SETTLE_S, "the members to share the partitions")
        except AssertionError as e:
            raise AssertionError(f"{e}: {[m.assigned for m in members]}") from None

    def produce(self, words):
        produce(self.broker, self.topic, [{"value": w.encode(), "partition": i % 4} for i, w in enumerate(words)])

    def values(self, *members):
        return sorted(v for m in members for _, _, v in m.records)

    def wait_for_commits(self, n):
        reader = ck.Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": self.group})
        partitions = [ck.TopicPartition(self.topic, p) for p in range(4)]
        harness.wait_until(lambda: sum(max(0, tp.offset) for tp in reader.committed(partitions, 20)) == n, 20,
                           "the commits")
        reader.close()

    def test_two_members_share_the_partitions_and_each_record_comes_once(self):
        a, b = self.member(), self.member()
        self.settled(a, b)
        words = [f"w{i:03}" for i in range(100)]
        self.produce(words)
        harness.wait_until(lambda: len(self.values(a, b)) >= 100, SETTLE_S, "all records")
        self.assertEqual(words, self.values(a, b))

    def test_a_member_that_comes_takes_its_share(self):
        a = self.member()
        self.settled(a)
        b = self.member()
        self.settled(a, b)
        self.assertEqual({2}, {len(a.assigned), len(b.assigned)})

    def test_a_member_that_leaves_hands_over_at_once(self):
        a, b = self.member("session.timeout.ms=30000"), self.member("session.timeout.ms=30000")
        self.settled(a, b)
        started = time.monotonic()
        b.leave()
        self.settled(a)
        self.assertLess(time.monotonic() - started, 15, "it waited for the session to expire")

    def test_a_killed_member_is_replaced_after_its_session_and_nothing_is_skipped(self):
        a, b = self.member(), self.member()
        self.settled(a, b)
        self.produce([f"before{i}" for i in range(40)])
        harness.wait_until(lambda: len(self.values(a, b)) >= 40, SETTLE_S, "the records before")
        b.kill()
        self.produce([f"after{i}" for i in range(40)])
        self.settled(a)
        expected = {f"before{i}" for i in range(40)} | {f"after{i}" for i in range(40)}
        harness.wait_until(lambda: set(self.values(a, b)) == expected, SETTLE_S, "every record at some member")

    def test_cooperative_members_keep_what_they_need_not_give(self):
        setting = "partition.assignment.strategy=cooperative-sticky"
        a = self.member(setting)
        self.settled(a)
        b = self.member(setting)
        self.settled(a, b)
        self.assertEqual(2, sum(len(r) for r in a.revoked), "only the moved partitions are revoked")

    def test_a_static_member_that_restarts_causes_no_rebalance(self):
        static = ["session.timeout.ms=30000", "group.instance.id=one"]
        a = self.member("session.timeout.ms=30000", "group.instance.id=two")
        b = self.member(*static)
        self.settled(a, b)
        before, kept = len(a.assignments), b.assigned
        b.kill()
        c = self.member(*static)
        self.settled(a, c)
        self.assertEqual(before, len(a.assignments), "the other member was rebalanced")
        self.assertEqual(kept, c.assigned)

    def test_members_go_on_after_a_restart_of_the_server(self):
        a, b = self.member(), self.member()
        self.settled(a, b)
        self.produce([f"before{i}" for i in range(20)])
        harness.wait_until(lambda: len(self.values(a, b)) >= 20, SETTLE_S, "the records before")
        self.wait_for_commits(20)
        self.broker.restart()
        self.produce([f"after{i}" for i in range(20)])
        expected = sorted([f"before{i}" for i in range(20)] + [f"after{i}" for i in range(20)])
        harness.wait_until(lambda: set(self.values(a, b)) == set(expected), SETTLE_S, "the records after")
        again = [v for v in self.values(a, b) if v.startswith("before")]
        self.assertEqual(20, len(again), "committed records came again")

    def test_members_go_on_after_kill_minus_nine_of_the_server(self):
        a, b = self.member(), self.member()
        self.settled(a, b)
        self.produce([f"before{i}" for i in range(20)])
        harness.wait_until(lambda: len(self.values(a, b)) >= 20, SETTLE_S, "the records before")
        self.broker.kill_and_start()
        self.produce([f"after{i}" for i in range(20)])
        expected = {f"before{i}" for i in range(20)} | {f"after{i}" for i in range(20)}
        harness.wait_until(lambda: set(self.values(a, b)) == expected, SETTLE_S, "the records after")

    def test_a_group_is_listed_with_its_members(self):
        a = self.member()
        self.settled(a)
        groups = {g.id: g for g in admin_of(self.broker).list_groups(timeout=20)}
        self.assertIn(self.group, groups)
        self.assertEqual("Stable", groups[self.group].state)
        self.assertEqual(1, len(groups[self.group].members))

    def test_a_stale_member_may_not_commit(self):
        a = self.member()
        self.settled(a)
        outsider = ck.Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": self.group})
        with self.assertRaises(ck.KafkaException) as caught:
            outsider.commit(offsets=[ck.TopicPartition(self.topic, 0, 1)], asynchronous=False)
        self.assertEqual(ck.KafkaError.UNKNOWN_MEMBER_ID, caught.exception.args[0].code())
        outsider.close()


if __name__ == "__main__":
    harness.main()
