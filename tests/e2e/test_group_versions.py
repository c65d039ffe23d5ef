#!/usr/bin/python3
"""Every version of every group request, and what client libraries do not send."""
import struct
import time

import harness
from message import Caller, versions
from test_confluent import admin_of, create

NONE = 0
UNKNOWN_TOPIC_OR_PARTITION = 3
OFFSET_METADATA_TOO_LARGE = 12
ILLEGAL_GENERATION = 22
INCONSISTENT_GROUP_PROTOCOL = 23
INVALID_GROUP_ID = 24
UNKNOWN_MEMBER_ID = 25
INVALID_SESSION_TIMEOUT = 26
REBALANCE_IN_PROGRESS = 27
INVALID_REQUEST = 42
POLICY_VIOLATION = 44
NON_EMPTY_GROUP = 68
GROUP_ID_NOT_FOUND = 69
MEMBER_ID_REQUIRED = 79
GROUP_SUBSCRIBED_TO_TOPIC = 86
UNKNOWN_TOPIC_ID = 100


def subscription(*topics):
    names = b"".join(struct.pack(">h", len(t)) + t.encode() for t in topics)
    return struct.pack(">hi", 1, len(topics)) + names + struct.pack(">ii", -1, 0)


class GroupTestCase(harness.BrokerTestCase):
    def setUp(self):
        super().setUp()
        self.c = Caller(self.broker)
        self.addCleanup(self.c.socket.close)

    def join(self, group, version=3, member="", instance=None, metadata=None, session_ms=10_000, **more):
        values = dict(GroupId=group, SessionTimeoutMs=session_ms, RebalanceTimeoutMs=10_000, MemberId=member,
                      ProtocolType="consumer",
                      Protocols=[{"Name": "range", "Metadata": metadata or subscription(self.topic)}])
        if instance:
            values["GroupInstanceId"] = instance
        values.update(more)
        answer = self.c.call_message("JoinGroup", version, **values)
        if answer["ErrorCode"] == MEMBER_ID_REQUIRED:
            values["MemberId"] = answer["MemberId"]
            answer = self.c.call_message("JoinGroup", version, **values)
        return answer

    def sync(self, group, joined, version=3, assignment=b"mine"):
        parts = [{"MemberId": m["MemberId"], "Assignment": assignment} for m in joined["Members"]]
        return self.c.call_message("SyncGroup", version, GroupId=group, GenerationId=joined["GenerationId"],
                                   MemberId=joined["MemberId"], Assignments=parts)

    def member(self, group, **more):
        joined = self.join(group, **more)
        self.assertEqual(NONE, joined["ErrorCode"])
        self.assertEqual(NONE, self.sync(group, joined)["ErrorCode"])
        return joined

    def commit(self, version, group, offset, metadata="note", topic=None, partition=0, **more):
        part = {"PartitionIndex": partition, "CommittedOffset": offset, "CommittedMetadata": metadata}
        named = topic or {"Name": self.topic}
        answer = self.c.call_message("OffsetCommit", version, GroupId=group,
                                     Topics=[{**named, "Partitions": [part]}], **more)
        return answer["Topics"][0]["Partitions"][0]["ErrorCode"]

    def fetch(self, version, group, topic=None, partition=0):
        named = {**(topic or {"Name": self.topic}), "PartitionIndexes": [partition]}
        if version < 8:
            answer = self.c.call_message("OffsetFetch", version, GroupId=group, Topics=[named])
        else:
            answer = self.c.call_message("OffsetFetch", version, Groups=[{"GroupId": group, "Topics": [named]}])
            answer = answer["Groups"][0]
            self.assertEqual(group, answer["GroupId"])
        part = answer["Topics"][0]["Partitions"][0]
        return part["ErrorCode"], part["CommittedOffset"], part["Metadata"]

    def topic_id(self):
        answer = self.c.call_message("Metadata", 12, Topics=[{"Name": self.topic}])
        return answer["Topics"][0]["TopicId"]


class VersionsTest(GroupTestCase):
    def test_find_coordinator(self):
        for v in versions("FindCoordinator"):
            values = dict(Key="g") if v < 4 else dict(CoordinatorKeys=["g", "h"])
            answer = self.c.call_message("FindCoordinator", v, **values)
            found = [answer] if v < 4 else answer["Coordinators"]
            self.assertEqual(1 if v < 4 else 2, len(found))
            for place in found:
                self.assertEqual((NONE, "127.0.0.1", self.broker.kafka_port),
                                 (place["ErrorCode"], place["Host"], place["Port"]))

    def test_join_sync_beat_leave(self):
        for v in versions("JoinGroup"):
            group = f"{self.group}-{v}"
            joined = self.join(group, version=v)
            self.assertEqual((NONE, 1, "range"), (joined["ErrorCode"], joined["GenerationId"], joined["ProtocolName"]))
            self.assertEqual(joined["MemberId"], joined["Leader"])
            self.assertEqual([joined["MemberId"]], [m["MemberId"] for m in joined["Members"]])
            self.assertEqual(subscription(self.topic), joined["Members"][0]["Metadata"])
            sync_version = min(v, versions("SyncGroup")[-1])
            synced = self.sync(group, joined, version=sync_version)
            self.assertEqual((NONE, b"mine"), (synced["ErrorCode"], synced["Assignment"]))
            beat = dict(GroupId=group, GenerationId=1, MemberId=joined["MemberId"])
            answer = self.c.call_message("Heartbeat", min(v, 4), **beat)
            self.assertEqual(NONE, answer["ErrorCode"])
            beat["GenerationId"] = 2
            self.assertEqual(ILLEGAL_GENERATION, self.c.call_message("Heartbeat", min(v, 4), **beat)["ErrorCode"])
            leave_version = min(v, versions("LeaveGroup")[-1])
            leaver = dict(MemberId=joined["MemberId"]) if leave_version < 3 else \
                dict(Members=[{"MemberId": joined["MemberId"]}, {"MemberId": "nobody"}])
            left = self.c.call_message("LeaveGroup", leave_version, GroupId=group, **leaver)
            self.assertEqual(NONE, left["ErrorCode"])
            if leave_version >= 3:
                self.assertEqual([NONE, UNKNOWN_MEMBER_ID], [m["ErrorCode"] for m in left["Members"]])

    def test_commit_and_fetch(self):
        create(self.broker, self.topic)
        by_id = {"TopicId": self.topic_id()}
        for v in versions("OffsetCommit"):
            topic = by_id if v >= 10 else None
            self.assertEqual(NONE, self.commit(v, self.group, 100 + v, f"note {v}", topic=topic))
            for w in versions("OffsetFetch"):
                topic = by_id if w >= 10 else None
                self.assertEqual((NONE, 100 + v, f"note {v}"), self.fetch(w, self.group, topic=topic))
                self.assertEqual((NONE, -1, ""), self.fetch(w, "nobody's", topic=topic))

    def test_fetch_everything(self):
        create(self.broker, self.topic, partitions=2)
        self.assertEqual(NONE, self.commit(2, self.group, 5))
        self.assertEqual(NONE, self.commit(2, self.group, 6, partition=1))
        for v in versions("OffsetFetch"):
            if v < 2:
                continue
            if v < 8:
                answer = self.c.call_message("OffsetFetch", v, GroupId=self.group, Topics=None)
            else:
                answer = self.c.call_message("OffsetFetch", v, Groups=[{"GroupId": self.group, "Topics": None}])
                answer = answer["Groups"][0]
            topic, = answer["Topics"]
            self.assertEqual([5, 6], [p["CommittedOffset"] for p in topic["Partitions"]])

    def test_list_and_describe(self):
        joined = self.member(self.group, version=5, instance="box-1")
        for v in versions("ListGroups"):
            listed = {g["GroupId"]: g for g in self.c.call_message("ListGroups", v)["Groups"]}
            self.assertEqual("consumer", listed[self.group]["ProtocolType"])
            if v >= 4:
                self.assertEqual("Stable", listed[self.group]["GroupState"])
                for states, seen in ((["stable"], True), (["Empty"], False), (["nonsense"], False)):
                    answer = self.c.call_message("ListGroups", v, StatesFilter=states)
                    self.assertEqual(seen, self.group in [g["GroupId"] for g in answer["Groups"]])
            if v >= 5:
                for types, seen in ((["classic"], True), (["consumer"], False)):
                    answer = self.c.call_message("ListGroups", v, TypesFilter=types)
                    self.assertEqual(seen, self.group in [g["GroupId"] for g in answer["Groups"]])
        for v in versions("DescribeGroups"):
            more = {"IncludeAuthorizedOperations": True} if v >= 3 else {}
            answer = self.c.call_message("DescribeGroups", v, Groups=[self.group, "nobody's"], **more)
            group, missing = answer["Groups"]
            self.assertEqual((NONE, "Stable", "consumer", "range"),
                             (group["ErrorCode"], group["GroupState"], group["ProtocolType"], group["ProtocolData"]))
            member, = group["Members"]
            self.assertEqual((joined["MemberId"], "e2e", "/127.0.0.1", subscription(self.topic), b"mine"),
                             (member["MemberId"], member["ClientId"], member["ClientHost"], member["MemberMetadata"],
                              member["MemberAssignment"]))
            if v >= 4:
                self.assertEqual("box-1", member["GroupInstanceId"])
            if v >= 3:
                self.assertEqual(1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11, group["AuthorizedOperations"])
            self.assertEqual("Dead", missing["GroupState"])
            self.assertEqual(GROUP_ID_NOT_FOUND if v >= 6 else NONE, missing["ErrorCode"])

    def test_delete_groups(self):
        create(self.broker, self.topic)
        for v in versions("DeleteGroups"):
            self.assertEqual(NONE, self.commit(2, self.group, 1))
            self.member(self.group + "-busy")
            names = [self.group, self.group + "-busy", "nobody's"]
            answer = self.c.call_message("DeleteGroups", v, GroupsNames=names)
            errors = {r["GroupId"]: r["ErrorCode"] for r in answer["Results"]}
            self.assertEqual([NONE, NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND], [errors[n] for n in names])
            self.assertEqual((NONE, -1, ""), self.fetch(5, self.group))

    def test_delete_offsets(self):
        create(self.broker, self.topic, partitions=2)
        create(self.broker, self.topic + "-2")
        self.member(self.group)
        self.assertEqual(UNKNOWN_MEMBER_ID, self.commit(2, self.group, 1))
        topics = [{"Name": self.topic, "Partitions": [{"PartitionIndex": 0}]},
                  {"Name": self.topic + "-2", "Partitions": [{"PartitionIndex": 0}, {"PartitionIndex": 9}]}]
        answer = self.c.call_message("OffsetDelete", 0, GroupId=self.group, Topics=topics)
        self.assertEqual(NONE, answer["ErrorCode"])
        self.assertEqual([[GROUP_SUBSCRIBED_TO_TOPIC], [NONE, UNKNOWN_TOPIC_OR_PARTITION]],
                         [[p["ErrorCode"] for p in t["Partitions"]] for t in answer["Topics"]])
        answer = self.c.call_message("OffsetDelete", 0, GroupId="nobody's", Topics=topics)
        self.assertEqual(GROUP_ID_NOT_FOUND, answer["ErrorCode"])
        self.assertEqual(NONE, self.commit(2, self.group + "-2", 1))
        answer = self.c.call_message("OffsetDelete", 0, GroupId=self.group + "-2", Topics=topics[:1])
        self.assertEqual(NONE, answer["Topics"][0]["Partitions"][0]["ErrorCode"])
        self.assertEqual((NONE, -1, ""), self.fetch(5, self.group + "-2"))


class RefusedTest(GroupTestCase):
    def test_K10_sixteen_mebibytes_of_metadata(self):
        answer = self.join(self.group, metadata=b"x" * (16 << 20))
        self.assertEqual(POLICY_VIOLATION, answer["ErrorCode"])
        self.assertEqual(NONE, self.join(self.group)["ErrorCode"])

    def test_K10_commits_of_a_zombie_generation(self):
        create(self.broker, self.topic)
        joined = self.member(self.group)
        sender = dict(MemberId=joined["MemberId"], GenerationIdOrMemberEpoch=joined["GenerationId"])
        self.assertEqual(NONE, self.commit(7, self.group, 7, **sender))
        sender["GenerationIdOrMemberEpoch"] += 1
        self.assertEqual(ILLEGAL_GENERATION, self.commit(7, self.group, 8, **sender))
        sender["MemberId"] = "nobody"
        self.assertEqual(UNKNOWN_MEMBER_ID, self.commit(7, self.group, 9, **sender))
        self.assertEqual(ILLEGAL_GENERATION, self.commit(8, "nobody's", 9, **sender))
        self.assertEqual(GROUP_ID_NOT_FOUND, self.commit(9, "nobody's", 9, **sender))
        self.assertEqual((NONE, 7, "note"), self.fetch(5, self.group))

    def test_commits_of_what_is_not_there(self):
        create(self.broker, self.topic)
        self.assertEqual(UNKNOWN_TOPIC_OR_PARTITION, self.commit(5, self.group, 1, partition=1))
        self.assertEqual(UNKNOWN_TOPIC_OR_PARTITION, self.commit(5, self.group, 1, topic={"Name": "no-such"}))
        self.assertEqual(UNKNOWN_TOPIC_ID, self.commit(10, self.group, 1))
        self.assertEqual(UNKNOWN_TOPIC_ID, self.fetch(10, self.group)[0])
        self.assertEqual(OFFSET_METADATA_TOO_LARGE, self.commit(5, self.group, 1, "x" * 5000))
        self.assertEqual(NONE, self.commit(5, self.group, 1, "x" * 4096))
        self.assertEqual(NONE, self.commit(5, self.group, 1, None))
        self.assertEqual((NONE, 1, ""), self.fetch(5, self.group))

    def test_K07_names_and_times(self):
        self.assertEqual(INVALID_GROUP_ID, self.join("")["ErrorCode"])
        self.assertEqual(INVALID_GROUP_ID, self.join("a\0b")["ErrorCode"])
        self.assertEqual(INVALID_GROUP_ID, self.join("x" * 2000)["ErrorCode"])
        for name in ("..", "a/../../b", "Ünïcode", "x" * 250):
            self.assertEqual(NONE, self.join(name)["ErrorCode"])
        self.assertEqual(INVALID_SESSION_TIMEOUT, self.join(self.group, session_ms=1)["ErrorCode"])
        self.assertEqual(INVALID_SESSION_TIMEOUT, self.join(self.group, session_ms=1 << 30)["ErrorCode"])
        self.assertEqual(UNKNOWN_MEMBER_ID, self.join(self.group, member="nobody")["ErrorCode"])
        self.assertEqual(INVALID_REQUEST, self.c.call_message("FindCoordinator", 6, KeyType=1,
                                                              CoordinatorKeys=["tx"])["Coordinators"][0]["ErrorCode"])

    def test_protocols_that_do_not_fit(self):
        self.assertEqual(INCONSISTENT_GROUP_PROTOCOL, self.join(self.group, Protocols=[])["ErrorCode"])
        self.assertEqual(INCONSISTENT_GROUP_PROTOCOL, self.join(self.group, ProtocolType="")["ErrorCode"])
        self.member(self.group)
        self.assertEqual(INCONSISTENT_GROUP_PROTOCOL, self.join(self.group, ProtocolType="connect")["ErrorCode"])

    def test_a_peer_that_goes_while_it_joins_does_not_hold_the_group(self):
        joined = self.member(self.group, session_ms=6000)
        with Caller(self.broker) as other:
            other.send_message("JoinGroup", 3, GroupId=self.group, SessionTimeoutMs=6000, RebalanceTimeoutMs=10_000,
                               MemberId="", ProtocolType="consumer",
                               Protocols=[{"Name": "range", "Metadata": subscription(self.topic)}])
            beat = dict(GroupId=self.group, GenerationId=joined["GenerationId"], MemberId=joined["MemberId"])
            harness.wait_until(lambda: self.c.call_message("Heartbeat", 3, **beat)["ErrorCode"]
                               == REBALANCE_IN_PROGRESS, 10, "the rebalance")
        again = self.join(self.group, member=joined["MemberId"], session_ms=6000)
        self.assertEqual((NONE, 2), (again["ErrorCode"], len(again["Members"])))
        beat["GenerationId"] = again["GenerationId"]
        began = time.monotonic()
        harness.wait_until(lambda: self.c.call_message("Heartbeat", 3, **beat)["ErrorCode"]
                           == REBALANCE_IN_PROGRESS, 20, "the end of the lost member")
        self.assertLess(time.monotonic() - began, 12)
        last = self.join(self.group, member=joined["MemberId"], session_ms=6000)
        self.assertEqual((NONE, 1), (last["ErrorCode"], len(last["Members"])))

    def test_offsets_are_gone_with_their_topic(self):
        create(self.broker, self.topic)
        self.assertEqual(NONE, self.commit(5, self.group, 42))
        admin = admin_of(self.broker)
        admin.delete_topics([self.topic], operation_timeout=10)[self.topic].result(20)
        self.assertEqual((NONE, -1, ""), self.fetch(5, self.group))
        create(self.broker, self.topic)
        self.assertEqual((NONE, -1, ""), self.fetch(5, self.group))


class RestartTest(GroupTestCase):
    def test_offsets_and_members_survive_kill_minus_nine(self):
        create(self.broker, self.topic)
        joined = self.member(self.group)
        sender = dict(MemberId=joined["MemberId"], GenerationIdOrMemberEpoch=joined["GenerationId"])
        self.assertEqual(NONE, self.commit(7, self.group, 7, "last words", **sender))
        self.broker.kill()
        self.broker.start()
        self.c = Caller(self.broker)
        self.assertEqual((NONE, 7, "last words"), self.fetch(7, self.group))
        beat = dict(GroupId=self.group, GenerationId=joined["GenerationId"], MemberId=joined["MemberId"])
        self.assertEqual(NONE, self.c.call_message("Heartbeat", 3, **beat)["ErrorCode"])
        again = self.join(self.group, member=joined["MemberId"])
        self.assertGreater(again["GenerationId"], joined["GenerationId"] + 50)  # none of those may repeat
        self.assertEqual(NONE, self.sync(self.group, again)["ErrorCode"])


if __name__ == "__main__":
    harness.main()
