#!/usr/bin/python3
"""sluicectl against a running server: each command, its results in both forms, its exit status."""
import json
import os
import subprocess
import tempfile
import time

import harness

OK, FAILED, USAGE, UNREACHABLE = range(4)


def argv(broker, *args):
    return [harness.SLUICECTL, "--bootstrap", broker.bootstrap, *map(str, args)]


class Sluicectl(harness.BrokerTestCase):
    def ctl(self, *args, stdin=b"", status=OK):
        """Output of a command, which has to end with `status`."""
        done = subprocess.run(argv(self.broker, *args), input=stdin, capture_output=True, timeout=60, check=False)
        self.assertEqual(status, done.returncode, f"{args}\n{done.stdout.decode()}\n{done.stderr.decode()}")
        return done.stdout.decode() if status == OK else done.stderr.decode()

    def json(self, *args, stdin=b""):
        return json.loads(self.ctl(*args, "--output", "json", stdin=stdin))

    def create(self, partitions=1, *options):
        self.ctl("topic", "create", self.topic, "--partitions", partitions, *options)

    def produce(self, lines, *options):
        self.ctl("produce", self.topic, *options, stdin="".join(f"{line}\n" for line in lines).encode())

    def consume(self, *options):
        out = self.ctl("consume", self.topic, "--exit", "--output", "json", *options)
        return [json.loads(line) for line in out.splitlines()]

    # topics

    def test_create_says_what_was_created_and_list_shows_it(self):
        created = self.json("topic", "create", self.topic, "--partitions", 3)[0]
        self.assertEqual((self.topic, 3), (created["topic"], created["partitions"]))
        self.assertIn(created, [{k: v for k, v in row.items() if k != "internal"} for row in self.json("topic", "list")])
        self.assertRegex(self.ctl("topic", "list"), rf"{self.topic} +3 ")

    def test_a_second_create_is_refused_unless_that_is_wanted(self):
        self.create()
        self.assertIn("TOPIC_ALREADY_EXISTS", self.ctl("topic", "create", self.topic, status=FAILED))
        self.ctl("topic", "create", self.topic, "--if-not-exists")

    def test_validate_only_creates_nothing(self):
        self.ctl("topic", "create", self.topic, "--validate-only")
        self.assertNotIn(self.topic, [row["topic"] for row in self.json("topic", "list")])

    def test_wrong_settings_and_names_are_refused_by_name(self):
        self.assertIn("INVALID_CONFIG", self.ctl("topic", "create", self.topic, "--config", "no.such=1", status=FAILED))
        self.assertIn("INVALID_TOPIC", self.ctl("topic", "create", "a/b", status=FAILED))
        self.assertIn("INVALID_REPLICATION_FACTOR",
                      self.ctl("topic", "create", self.topic, "--replication-factor", 3, status=FAILED))

    def test_describe_shows_partitions_offsets_and_changed_settings(self):
        self.create(2, "--config", "retention.ms=60000")
        self.produce(["x"] * 10, "--partition", 1)
        topic = self.json("topic", "describe", self.topic)[0]
        self.assertEqual([0, 10], [p["end"] for p in topic["partitions"]])
        self.assertEqual([0, 10], [p["records"] for p in topic["partitions"]])
        self.assertEqual([("retention.ms", "60000", "topic")],
                         [(c["name"], c["value"], c["source"]) for c in topic["configs"]])
        everything = self.json("topic", "describe", self.topic, "--all-configs")[0]["configs"]
        self.assertIn("max.message.bytes", [c["name"] for c in everything])
        self.assertIn("retention.ms", self.ctl("topic", "describe", self.topic))

    def test_describe_of_a_topic_that_is_not_there_fails_and_creates_none(self):
        self.assertIn("UNKNOWN_TOPIC_OR_PARTITION", self.ctl("topic", "describe", self.topic, status=FAILED))
        self.assertNotIn(self.topic, [row["topic"] for row in self.json("topic", "list")])

    def test_alter_adds_partitions_and_changes_settings(self):
        self.create(1, "--config", "retention.ms=60000")
        self.ctl("topic", "alter", self.topic, "--partitions", 4, "--config", "max.message.bytes=2000000",
                 "--delete-config", "retention.ms")
        topic = self.json("topic", "describe", self.topic)[0]
        self.assertEqual(4, len(topic["partitions"]))
        self.assertEqual({"max.message.bytes": "2000000"}, {c["name"]: c["value"] for c in topic["configs"]})
        self.assertIn("INVALID_PARTITIONS", self.ctl("topic", "alter", self.topic, "--partitions", 2, status=FAILED))

    def test_delete_removes_topics_and_names_the_missing_one(self):
        self.create()
        self.assertIn("no-such-topic: UNKNOWN_TOPIC", self.ctl("topic", "delete", self.topic, "no-such-topic", status=FAILED))
        self.assertNotIn(self.topic, [row["topic"] for row in self.json("topic", "list")])
        self.ctl("topic", "delete", self.topic, "--if-exists")

    # records

    def test_what_is_produced_is_consumed(self):
        self.create(3)
        self.produce([f"key{i % 5}:value {i}" for i in range(200)], "--key-separator", ":", "--header", "h=1")
        records = self.consume()
        self.assertEqual(sorted(f"value {i}" for i in range(200)), sorted(r["value"] for r in records))
        self.assertEqual([{"name": "h", "value": "1"}], records[0]["headers"])
        homes = {}
        for r in records:
            homes.setdefault(r["key"], set()).add(r["partition"])
        self.assertTrue(all(len(partitions) == 1 for partitions in homes.values()), homes)

    def test_every_codec_goes_there_and_back(self):
        self.create()
        codecs = ("none", "gzip", "snappy", "lz4", "zstd")
        for codec in codecs:
            self.produce([codec * 100], "--compression", codec)
        self.assertEqual([codec * 100 for codec in codecs], [r["value"] for r in self.consume()])

    def test_large_and_empty_records_and_input_without_a_last_newline_arrive(self):
        self.create()
        self.ctl("produce", self.topic, stdin=b"\n" + b"x" * 1000000 + b"\nlast")
        self.assertEqual(["", "x" * 1000000, "last"], [r["value"] for r in self.consume()])

    def test_bytes_that_are_no_text_come_as_base64(self):
        self.create()
        self.ctl("produce", self.topic, stdin=b"\xff\xfe\n")
        self.assertEqual("//4=", self.consume()[0]["value_base64"])
        raw = subprocess.run(argv(self.broker, "consume", self.topic, "--exit"), capture_output=True, check=True)
        self.assertEqual(b"\xff\xfe\n", raw.stdout)

    def test_a_record_above_the_limit_is_refused_by_name(self):
        self.create(1, "--config", "max.message.bytes=1000")
        self.assertIn("MESSAGE_TOO_LARGE", self.ctl("produce", self.topic, stdin=b"x" * 5000, status=FAILED))

    def test_produce_to_a_topic_that_is_not_there_fails(self):
        self.assertIn("UNKNOWN_TOPIC_OR_PARTITION", self.ctl("produce", self.topic, stdin=b"x", status=FAILED))

    def test_consume_begins_where_it_is_told(self):
        self.create()
        self.produce(["a", "b", "c"])
        time.sleep(0.02)
        since = int(time.time() * 1000)
        self.produce(["d", "e"])
        values = lambda *options: [r["value"] for r in self.consume(*options)]  # noqa: E731
        self.assertEqual(["d", "e"], values("--from", 3))
        self.assertEqual(["d", "e"], values("--from", f"@{since}"))
        self.assertEqual(["e"], values("--from", "-1"))
        self.assertEqual([], values("--from", "latest"))
        self.assertEqual(["a", "b"], values("--count", 2))
        self.assertEqual("null\ta\n", self.ctl("consume", self.topic, "--count", 1, "--keys"))

    def test_consume_waits_for_what_comes(self):
        self.create()
        reader = subprocess.Popen(argv(self.broker, "consume", self.topic, "--count", 1), stdout=subprocess.PIPE)
        self.addCleanup(reader.stdout.close)
        self.produce(["late"])
        self.assertEqual(0, reader.wait(30))
        self.assertEqual(b"late\n", reader.stdout.read())

    # groups

    def test_groups_are_reset_described_listed_and_deleted(self):
        self.create(2)
        self.produce(["x"] * 10, "--partition", 0)
        self.produce(["x"] * 4, "--partition", 1)
        planned = self.json("group", "reset-offsets", self.group, "--topic", self.topic, "--to-latest", "--dry-run")
        self.assertEqual([10, 4], [row["offset"] for row in planned])
        self.assertNotIn(self.group, [g["group"] for g in self.json("group", "list")])
        self.ctl("group", "reset-offsets", self.group, "--topic", self.topic, "--to-latest")
        moved = self.json("group", "reset-offsets", self.group, "--shift-by", "-6")
        self.assertEqual([(10, 4), (4, 0)], [(row["before"], row["offset"]) for row in moved])
        self.ctl("group", "reset-offsets", self.group, "--topic", f"{self.topic}:1", "--to-offset", 3)
        group = self.json("group", "describe", self.group)
        self.assertEqual([(4, 10, 6), (3, 4, 1)], [(o["committed"], o["end"], o["lag"]) for o in group["offsets"]])
        self.assertIn("Empty", self.ctl("group", "list"))
        self.ctl("group", "delete", self.group)
        self.assertIn("GROUP_ID_NOT_FOUND", self.ctl("group", "delete", self.group, status=FAILED))

    def test_offsets_are_reset_to_a_time(self):
        self.create()
        self.produce(["a"])
        time.sleep(0.02)
        since = int(time.time() * 1000)
        self.produce(["b"])
        self.ctl("group", "reset-offsets", self.group, "--topic", self.topic, "--to-time", since)
        self.assertEqual(1, self.json("group", "describe", self.group)["offsets"][0]["committed"])
        self.ctl("group", "reset-offsets", self.group, "--to-time", "-1h")
        self.assertEqual(0, self.json("group", "describe", self.group)["offsets"][0]["committed"])

    def test_a_group_that_is_not_there_is_said_to_be_missing(self):
        self.assertIn("GROUP_ID_NOT_FOUND", self.ctl("group", "describe", self.group, status=FAILED))

    # the cluster

    def test_status_counts_what_there_is(self):
        before = self.json("status")
        self.create(3)
        after = self.json("status")
        self.assertEqual(before["topics"] + 1, after["topics"])
        self.assertEqual(before["partitions"] + 3, after["partitions"])
        self.assertEqual(0, after["offline_partitions"])
        self.assertEqual(self.broker.kafka_port, after["brokers"][0]["port"])
        self.assertIn("Cluster ", self.ctl("status"))

    def test_status_shows_the_free_space_of_the_disk(self):
        disk = os.statvfs(self.broker.data_dir)
        free = self.json("status")["free_bytes"]
        self.assertAlmostEqual(disk.f_bavail * disk.f_frsize, free, delta=1 << 30)
        self.assertRegex(self.ctl("status"), r"Log +.*, [0-9.]+ [KMGT]iB free on the disk")

    def test_doctor_checks_the_broker_and_the_disk(self):
        with tempfile.TemporaryDirectory() as folder:
            rows = self.json("doctor", "--data-dir", folder)
        self.assertLessEqual({"address", "advertised address", "round trip", "disk sync", "disk space", "open files"},
                             {row["check"] for row in rows})
        self.assertEqual([], [row for row in rows if row["result"] == "bad"])
        missing = self.ctl("doctor", "--data-dir", "/no/such/folder", status=FAILED)
        self.assertEqual("", missing)  # the table says it, on stdout

    def test_doctor_measures_where_the_broker_writes_when_no_directory_is_named(self):
        disk = [row for row in self.json("doctor") if row["check"].startswith("disk")]
        self.assertEqual(["disk sync", "disk space"], [row["check"] for row in disk])
        self.assertNotIn("unknown", [row["result"] for row in disk])
        self.assertIn(str(self.broker.data_dir), disk[1]["detail"])

    def test_an_address_that_no_name_server_knows_is_exit_status_3_and_the_next_one_is_tried(self):
        done = subprocess.run([harness.SLUICECTL, "--bootstrap", "nowhere.invalid:9092", "status"], capture_output=True, check=False)
        self.assertEqual(UNREACHABLE, done.returncode, done.stderr)
        self.assertIn(b"cannot find the address of nowhere.invalid", done.stderr)
        run = subprocess.run([harness.SLUICECTL, "--bootstrap", f"nowhere.invalid:9092,{self.broker.bootstrap}", "status"],
                             capture_output=True, check=False)
        self.assertEqual(OK, run.returncode, run.stderr)

    def test_nobody_at_the_address_is_exit_status_3(self):
        done = subprocess.run([harness.SLUICECTL, "--bootstrap", "127.0.0.1:1", "doctor"], capture_output=True, check=False)
        self.assertEqual(UNREACHABLE, done.returncode)
        self.assertIn(b"Connection refused", done.stdout)

    def test_http_at_the_address_is_not_taken_for_a_broker(self):
        done = subprocess.run([harness.SLUICECTL, "--bootstrap", f"127.0.0.1:{self.broker.http_port}", "--timeout", "3000",
                               "topic", "list"], capture_output=True, check=False)
        self.assertEqual(UNREACHABLE, done.returncode, done.stderr)


class SluicectlWithIoThreads(Sluicectl):
    """The same with connections on loops of their own."""

    broker_options = ("--io-threads", "2")


if __name__ == "__main__":
    harness.main()
