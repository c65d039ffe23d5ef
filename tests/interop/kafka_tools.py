#!/usr/bin/python3
"""Apache Kafka's own tools and Java clients against our server; one case a tool."""
import json
import re
import sys
import tempfile
import unittest

import fetched
import harness
from harness import BrokerTestCase, run

SCRIPT = fetched.peer_script("kafka.sh", "java", "mvn")
TOOLS = "org.apache.kafka.tools."


class KafkaTools(BrokerTestCase):
    broker_options = ("--num-partitions", "4")

    @classmethod
    def setUpClass(cls):
        fetched.tell("fetching Kafka, 60 MB the first time")
        fetched.quiet([SCRIPT, "install"])
        super().setUpClass()

    def setUp(self):
        super().setUp()
        fetched.tell(harness.sentence(self))

    def tool(self, name, *args, stdin=b"", check=True):
        name = name if "." in name else TOOLS + name
        done = run([SCRIPT, "tool", name, *map(str, args)], stdin=stdin, timeout_s=120, check=check)
        return done.stdout.decode() + ("" if check else done.stderr.decode())

    def bootstrap(self):
        return ("--bootstrap-server", self.broker.bootstrap)

    def create(self, partitions=3, *configs):
        self.tool("TopicCommand", *self.bootstrap(), "--create", "--topic", self.topic, "--partitions", partitions,
                  "--replication-factor", 1, *[a for c in configs for a in ("--config", c)])

    def test_topic_command_creates_describes_alters_and_deletes(self):
        self.create(3, "retention.ms=60000")
        out = self.tool("TopicCommand", *self.bootstrap(), "--describe", "--topic", self.topic)
        self.assertIn("PartitionCount: 3", out)
        self.assertIn("retention.ms=60000", out)
        self.tool("TopicCommand", *self.bootstrap(), "--alter", "--topic", self.topic, "--partitions", 5)
        self.assertIn("PartitionCount: 5", self.tool("TopicCommand", *self.bootstrap(), "--describe", "--topic", self.topic))
        self.tool("TopicCommand", *self.bootstrap(), "--delete", "--topic", self.topic)
        self.assertNotIn(self.topic, self.tool("TopicCommand", *self.bootstrap(), "--list").split())

    def test_config_command_changes_and_describes_a_topic(self):
        self.create()
        entity = ("--entity-type", "topics", "--entity-name", self.topic)
        name = "kafka.admin.ConfigCommand"
        self.tool(name, *self.bootstrap(), *entity, "--alter", "--add-config", "max.message.bytes=2000000")
        self.assertIn("max.message.bytes=2000000", self.tool(name, *self.bootstrap(), *entity, "--describe"))
        self.tool(name, *self.bootstrap(), *entity, "--alter", "--delete-config", "max.message.bytes")
        self.assertNotIn("max.message.bytes=2000000", self.tool(name, *self.bootstrap(), *entity, "--describe"))

    def test_config_command_describes_the_broker(self):
        out = self.tool("kafka.admin.ConfigCommand", *self.bootstrap(), "--entity-type", "brokers", "--entity-name", "0",
                        "--describe", "--all", check=False)
        self.assertRegex(out, r"num\.partitions=4|log\.retention")

    def test_producer_and_consumer_performance_move_every_record(self):
        self.create()
        out = self.tool("ProducerPerformance", "--topic", self.topic, "--num-records", 50000, "--record-size", 200,
                        "--throughput", -1, "--producer-props", f"bootstrap.servers={self.broker.bootstrap}", "acks=all")
        self.assertIn("50000 records sent", out)
        out = self.tool("ConsumerPerformance", *self.bootstrap(), "--topic", self.topic, "--messages", 50000,
                        "--timeout", 30000)
        self.assertIn(" 50000,", out)

    def test_verifiable_producer_and_consumer_agree(self):
        self.create(1)
        out = self.tool("VerifiableProducer", *self.bootstrap(), "--topic", self.topic, "--max-messages", 2000, "--acks", -1)
        self.assertEqual(2000, json.loads(out.strip().splitlines()[-1])["acked"])
        out = self.tool("VerifiableConsumer", *self.bootstrap(), "--topic", self.topic, "--group-id", self.group,
                        "--max-messages", 2000, "--reset-policy", "earliest")
        read = sum(json.loads(line)["count"] for line in out.splitlines() if '"records_consumed"' in line)
        self.assertEqual(2000, read)

    def test_console_producer_and_consumer_with_every_codec(self):
        self.create(1)
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            self.tool("ConsoleProducer", *self.bootstrap(), "--topic", self.topic, "--compression-codec", codec,
                      stdin=f"one {codec}\ntwo {codec}\n".encode())
        out = self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", *self.bootstrap(), "--topic", self.topic,
                        "--from-beginning", "--max-messages", 10, "--timeout-ms", 30000)
        self.assertEqual(10, len([line for line in out.splitlines() if line.startswith(("one ", "two "))]))

    def test_get_offset_shell_tells_earliest_latest_and_max_timestamp(self):
        self.create(1)
        self.tool("ProducerPerformance", "--topic", self.topic, "--num-records", 100, "--record-size", 10, "--throughput", -1,
                  "--producer-props", f"bootstrap.servers={self.broker.bootstrap}")
        for time, offset in (("-1", 100), ("-2", 0)):
            out = self.tool("GetOffsetShell", *self.bootstrap(), "--topic", self.topic, "--time", time)
            self.assertIn(f"{self.topic}:0:{offset}", out)
        self.assertRegex(self.tool("GetOffsetShell", *self.bootstrap(), "--topic", self.topic, "--time", "-3"),
                         rf"{re.escape(self.topic)}:0:\d+")

    def test_consumer_group_command_describes_resets_and_deletes(self):
        self.create(1)
        self.tool("ProducerPerformance", "--topic", self.topic, "--num-records", 100, "--record-size", 10, "--throughput", -1,
                  "--producer-props", f"bootstrap.servers={self.broker.bootstrap}")
        self.tool("org.apache.kafka.tools.consumer.ConsoleConsumer", *self.bootstrap(), "--topic", self.topic, "--group",
                  self.group, "--from-beginning", "--max-messages", 100, "--timeout-ms", 30000)
        command = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
        group = ("--group", self.group)
        self.assertRegex(self.tool(command, *self.bootstrap(), "--describe", *group), rf"{re.escape(self.topic)}\s+0\s+100\s+100\s+0")
        self.tool(command, *self.bootstrap(), *group, "--topic", self.topic, "--reset-offsets", "--to-offset", 40, "--execute")
        self.assertRegex(self.tool(command, *self.bootstrap(), "--describe", *group), rf"{re.escape(self.topic)}\s+0\s+40\s+100\s+60")
        self.assertIn(self.group, self.tool(command, *self.bootstrap(), "--list"))
        self.tool(command, *self.bootstrap(), "--delete", *group)
        self.assertNotIn(self.group, self.tool(command, *self.bootstrap(), "--list").split())

    def test_delete_records_command_moves_the_log_start(self):
        self.create(1)
        self.tool("ProducerPerformance", "--topic", self.topic, "--num-records", 100, "--record-size", 10, "--throughput", -1,
                  "--producer-props", f"bootstrap.servers={self.broker.bootstrap}")
        with tempfile.NamedTemporaryFile("w", suffix=".json") as plan:
            json.dump({"version": 1, "partitions": [{"topic": self.topic, "partition": 0, "offset": 30}]}, plan)
            plan.flush()
            self.tool("DeleteRecordsCommand", *self.bootstrap(), "--offset-json-file", plan.name)
        out = self.tool("GetOffsetShell", *self.bootstrap(), "--topic", self.topic, "--time", "-2")
        self.assertIn(f"{self.topic}:0:30", out)

    def test_log_dirs_cluster_and_quorum_commands_answer(self):
        self.create(1)
        self.assertIn(self.topic, self.tool("LogDirsCommand", *self.bootstrap(), "--describe"))
        self.assertRegex(self.tool("ClusterTool", "cluster-id", *self.bootstrap()), r"Cluster ID: \S+")
        self.assertIn("LeaderId", self.tool("MetadataQuorumCommand", *self.bootstrap(), "describe", "--status"))

    def test_end_to_end_latency_runs(self):
        self.create(1)
        out = self.tool("EndToEndLatency", self.broker.bootstrap, self.topic, 200, "all", 100, check=False)
        if "Avg latency" not in out:
            out = self.tool("EndToEndLatency", *self.bootstrap(), "--topic", self.topic, "--num-records", 200,
                            "--producer-acks", "all", "--record-size", 100)
        self.assertIn("Avg latency", out)

    def test_feature_command_reads_the_level_of_decision_0007(self):
        """And Kafka's own table says that this level is the one of release 4.2."""
        out = self.tool("FeatureCommand", *self.bootstrap(), "describe")
        self.assertRegex(out, r"metadata.version\s+SupportedMinVersion: 3.3-IV3\s+SupportedMaxVersion: 4.2-IV1\s+"
                              r"FinalizedVersionLevel: 4.2-IV1")
        self.assertNotRegex(out, r"(transaction|group|share|streams).version\s.*FinalizedVersionLevel: [1-9]")
        self.assertRegex(self.tool("kafka.tools.StorageTool", "version-mapping", "--release-version", "4.2"),
                         r"metadata.version=29 \(4.2")

    def test_broker_api_versions_command_reads_what_we_serve(self):
        out = self.tool("BrokerApiVersionsCommand", *self.bootstrap())
        self.assertRegex(out, r"Produce\(0\): 0 to 13")
        self.assertRegex(out, r"Fetch\(1\): 4 to 18")


if __name__ == "__main__":
    harness.main()
