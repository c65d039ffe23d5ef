#!/usr/bin/python3
"""kcat (librdkafka) as people use it in a shell."""
import json
import shutil
import subprocess
import time

import harness

KCAT = shutil.which("kcat")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class KcatTest(harness.BrokerTestCase):
    def kcat(self, *args, stdin=b"", check=True):
        return harness.run([KCAT, "-b", self.broker.bootstrap, *args], stdin=stdin, check=check)

    def produce(self, data, *args, topic=None):
        self.kcat("-P", "-t", topic or self.topic, *args, stdin=data)

    def consume(self, *args, topic=None):
        return self.kcat("-C", "-t", topic or self.topic, "-e", "-q", *args).stdout

    def metadata(self, *args):
        return json.loads(self.kcat("-L", "-J", *args).stdout)

    def test_lines_come_back_in_order(self):
        lines = b"".join(b"line %d\n" % i for i in range(1000))
        self.produce(lines)
        self.assertEqual(lines, self.consume("-o", "beginning"))

    def test_a_topic_is_created_by_the_first_produce(self):
        self.produce(b"x\n")
        names = [t["topic"] for t in self.metadata()["topics"]]
        self.assertIn(self.topic, names)

    def test_metadata_names_one_broker_that_leads_each_partition(self):
        self.produce(b"x\n")
        meta = self.metadata("-t", self.topic)
        self.assertEqual([self.broker.bootstrap], [b["name"] for b in meta["brokers"]])
        for partition in meta["topics"][0]["partitions"]:
            self.assertEqual(meta["brokers"][0]["id"], partition["leader"])

    def test_keys_come_back(self):
        self.produce(b"k1:v1\nk2:v2\n", "-K:")
        self.assertEqual(b"k1=v1\nk2=v2\n", self.consume("-o", "beginning", "-f", "%k=%s\\n"))

    def test_headers_come_back_in_order(self):
        self.produce(b"v\n", "-H", "a=1", "-H", "b=two", "-H", "a=again")
        self.assertEqual(b"a=1,b=two,a=again\n", self.consume("-o", "beginning", "-f", "%h\\n"))

    def test_a_tombstone_is_a_record_without_value(self):
        self.produce(b"key:\n", "-K:", "-Z")
        self.assertEqual(b"key -1\n", self.consume("-o", "beginning", "-f", "%k %S\\n"))

    def test_all_codecs_come_back_from_one_partition(self):
        for codec in CODECS:
            self.produce(b"".join(b"%s %d\n" % (codec.encode(), i) for i in range(100)), "-z", codec)
        expected = [f"{codec} {i}" for codec in CODECS for i in range(100)]
        self.assertEqual(expected, self.consume("-o", "beginning").decode().splitlines())

    def test_consume_from_an_offset_and_from_the_tail(self):
        self.produce(b"".join(b"%d\n" % i for i in range(10)))
        self.assertEqual(b"7\n8\n9\n", self.consume("-o", "7"))
        self.assertEqual(b"8\n9\n", self.consume("-o", "-2"))
        self.assertEqual(b"", self.consume("-o", "end"))

    def test_a_query_by_timestamp_finds_the_first_record_at_or_after(self):
        self.produce(b"old\n")
        time.sleep(0.05)
        middle_ms = time.time_ns() // 1_000_000
        time.sleep(0.05)
        self.produce(b"new\n")
        out = self.kcat("-Q", "-t", f"{self.topic}:0:{middle_ms}").stdout.decode()
        self.assertIn(f"{self.topic} [0] offset 1", out)

    def test_acks_zero_and_one_are_stored_too(self):
        for acks in ("0", "1", "all"):
            self.produce(f"acks {acks}\n".encode(), "-X", f"acks={acks}")
        # An acks=0 producer hears nothing: give the record its way.
        expected = b"acks 0\nacks 1\nacks all\n"
        harness.wait_until(lambda: self.consume("-o", "beginning") == expected, 10, "three records")

    def test_a_waiting_consumer_gets_a_record_at_once(self):
        self.produce(b"first\n")
        command = [KCAT, "-b", self.broker.bootstrap, "-C", "-t", self.topic, "-o", "end", "-c", "1", "-q", "-u",
                   "-X", "fetch.wait.max.ms=20000", "-X", "socket.timeout.ms=60000", "-X", "fetch.error.backoff.ms=1"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=harness.die_with_parent) as consumer:
            time.sleep(1.5)  # lets its fetch wait at the server
            started = time.monotonic()
            self.produce(b"second\n")
            self.assertEqual(b"second\n", consumer.stdout.readline())
            self.assertLess(time.monotonic() - started, 5, "the fetch slept instead of being woken")
            consumer.kill()

    def test_a_group_reads_on_where_it_stopped(self):
        self.produce(b"1\n2\n")
        group = ["-G", self.group, "-q", "-e", "-X", "auto.offset.reset=earliest", self.topic]
        self.assertEqual(b"1\n2\n", self.kcat(*group).stdout)
        self.produce(b"3\n")
        self.assertEqual(b"3\n", self.kcat(*group).stdout)

    def test_an_idempotent_producer_is_served(self):
        lines = b"".join(b"%d\n" % i for i in range(500))
        self.produce(lines, "-X", "enable.idempotence=true")
        self.assertEqual(lines, self.consume("-o", "beginning"))

    def test_a_megabyte_comes_back(self):
        record = b"x" * 1_000_000
        self.produce(record + b"\n", "-X", "message.max.bytes=1048588")
        self.assertEqual(record + b"\n", self.consume("-o", "beginning"))

    def test_reading_an_unknown_topic_says_so(self):
        done = self.kcat("-C", "-t", "no-such-topic", "-e", "-X", "allow.auto.create.topics=false", check=False)
        self.assertIn(b"nknown topic", done.stderr)


if __name__ == "__main__":
    if not KCAT:
        harness.skip_all("kcat is not installed (make deps)")
    harness.main()
