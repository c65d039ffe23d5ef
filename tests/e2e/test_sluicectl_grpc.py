#!/usr/bin/python3
"""sluicectl's commands over gRPC against a running server: publish, subscribe, topics."""
import json
import os
import signal
import subprocess
import tempfile
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import grpc

import harness
from grpc_client import Client, message
from test_confluent import create

OK, FAILED, USAGE, UNREACHABLE = range(4)
PUBLISH = "sluice.v1.Sluice/Publish"


class SluicectlGrpc(harness.BrokerTestCase):
    def argv(self, *args):
        return [harness.SLUICECTL, "-e", f"http://127.0.0.1:{self.broker.grpc_port}", *map(str, args)]

    def ctl(self, *args, stdin=b"", status=OK):
        """Both outputs of a command, which has to end with `status`."""
        done = subprocess.run(self.argv(*args), input=stdin, capture_output=True, timeout=60, check=False)
        self.assertEqual(status, done.returncode, f"{args}\n{done.stdout}\n{done.stderr}")
        return done.stdout.decode(), done.stderr.decode()

    def subscribe(self, count, *args):
        out, _ = self.ctl("subscribe", self.topic, "-p", "earliest", "-o", "json", "-c", count, *args)
        return [json.loads(line) for line in out.splitlines()]

    def publish(self, n, *args):
        self.ctl("publish", self.topic, "--lines", *args, stdin="".join(f"{i}\n" for i in range(n)).encode())

    def start(self, *args, **options):
        process = subprocess.Popen(self.argv("subscribe", self.topic, *args), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    # publish and topics

    def test_publish_takes_the_payload_from_argument_file_or_input(self):
        out, _ = self.ctl("publish", self.topic, "hello")
        self.assertRegex(out, rf"^Topic: {self.topic}\nMessage ID: [0-9a-f-]{{36}}\nPayload size: 5 bytes\n$")
        with tempfile.NamedTemporaryFile() as file:
            file.write(b"\x00\xffbytes\n")
            file.flush()
            self.ctl("publish", self.topic, "-f", file.name)
        answer = json.loads(self.ctl("publish", self.topic, "-o", "JSON", stdin=b"two\nlines\n")[0])
        self.assertEqual((self.topic, 10), (answer["topic"], answer["payload_size"]))
        self.ctl("publish", self.topic)
        got = self.subscribe(4)
        self.assertEqual(["hello", "\ufffd\ufffdbytes\n", "two\nlines\n", ""], [m["payload"] for m in got])
        self.assertEqual([5, 8, 10, 0], [m["payload_bytes"] for m in got])
        self.assertEqual(answer["message_id"], got[2]["message_id"])

    def test_lines_carry_key_and_attributes_and_keep_a_rate(self):
        begin = time.monotonic()
        self.publish(11, "--rate", 10, "--key", "k", "-a", "colour=blue", "-a", "empty=")
        self.assertGreater(time.monotonic() - begin, 0.9)
        got = self.subscribe(11)
        self.assertEqual([str(i) for i in range(11)], [m["payload"] for m in got])
        self.assertEqual(("k", {"colour": "blue", "empty": ""}), (got[0]["key"], got[0]["attributes"]))

    def test_a_refused_publish_exits_1_with_the_servers_words(self):
        _, err = self.ctl("publish", "a b", "x", status=FAILED)
        self.assertIn("INVALID_ARGUMENT: topic name must contain only", err)

    def test_topics_list_shows_what_the_contract_says(self):
        self.publish(1)
        out, _ = self.ctl("topics", "list")
        lines = out.splitlines()
        self.assertEqual(f"{'TOPIC':40}  {'CREATED AT':>20}", lines[0])
        self.assertEqual("-" * 62, lines[1])
        self.assertRegex(out, rf"(?m)^{self.topic} +1\d{{9}}$")
        listed = json.loads(self.ctl("list-topics", "-o", "json")[0])
        self.assertEqual(listed["total"], len(listed["topics"]))
        self.assertIn(self.topic, [t["name"] for t in listed["topics"]])

    # subscribe

    def test_text_lines_are_the_contracts_and_stderr_has_the_rest(self):
        self.ctl("publish", self.topic, "hello")
        out, err = self.ctl("subscribe", self.topic, "-p", "earliest", "-c", 1)
        self.assertRegex(out, rf"^\[{self.topic}\] seq=1 id=[0-9a-f]{{8}}: hello\n$")
        self.assertEqual("", err)

    def test_W26_no_ack_is_lost_at_count(self):
        self.publish(12)
        for first in (0, 3, 6, 9):
            self.assertEqual([str(first + i) for i in range(3)], [m["payload"] for m in self.subscribe(3)])

    def test_W26_no_ack_is_lost_when_partitions_take_turns(self):
        create(self.broker, self.topic, partitions=5)
        self.publish(200)
        first = [m["payload"] for m in self.subscribe(150)]
        rest = [m["payload"] for m in self.subscribe(50)]
        self.assertEqual(sorted(map(str, range(200))), sorted(first + rest))

    def test_W24_a_window_of_one_receives_everything(self):
        self.publish(50)
        self.assertEqual([str(i) for i in range(50)], [m["payload"] for m in self.subscribe(50, "--credits", 1)])

    def test_W26_without_acks_the_group_has_the_messages_again(self):
        self.publish(3)
        for _ in range(2):
            self.assertEqual(["0", "1"], [m["payload"] for m in self.subscribe(2, "--no-ack", "-g", self.group)])
        self.assertEqual(["0", "1", "2"], [m["payload"] for m in self.subscribe(3, "-g", self.group)])

    def test_W25_a_position_may_be_a_sequence_and_starts_behind_it(self):
        self.publish(5)
        out, _ = self.ctl("subscribe", self.topic, "-p", 3, "-c", 2)
        self.assertEqual([4, 5], [int(line.split("seq=")[1].split()[0]) for line in out.splitlines()])

    def test_W26_errors_of_the_stream_do_not_exit_0(self):
        out, err = self.ctl("subscribe", self.topic, "-c", 1, status=FAILED)
        self.assertEqual("", out)
        self.assertIn(f"NOT_FOUND: topic '{self.topic}' does not exist", err)

    def test_interrupt_ends_with_0_and_the_count_and_keeps_the_acks(self):
        self.publish(3)
        process = self.start("-p", "earliest")
        for i in range(3):
            self.assertIn(f"seq={i + 1} ", process.stdout.readline().decode())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        self.assertEqual((0, "3 messages received\n"), (process.returncode, err.decode()))
        self.publish(1)
        self.assertEqual([4], [m["sequence"] for m in self.subscribe(1)])

    def test_a_tail_takes_nothing_from_a_group(self):
        self.publish(2)
        tail = self.start("--tail", "-p", "earliest", "-c", "2")
        out, _ = tail.communicate(timeout=30)
        self.assertEqual((0, 2), (tail.returncode, len(out.splitlines())))
        self.assertEqual([1, 2], [m["sequence"] for m in self.subscribe(2)])

    def test_a_filter_lets_only_its_messages_through(self):
        client = Client(self.broker.grpc_port)
        self.addCleanup(client.close)
        for i in range(6):
            client.call(PUBLISH, topic=self.topic, payload=b"%d" % i, attributes={"even": str(i % 2 == 0)})
        self.assertEqual(["0", "2", "4"], [m["payload"] for m in self.subscribe(3, "--filter", "even=True")])


class WithItsOwnServer(unittest.TestCase):
    """The server goes away in these."""

    def setUp(self):
        self.broker = harness.Broker()
        self.addCleanup(self.broker.close)
        self.broker.start()
        self.argv = [harness.SLUICECTL, "-e", f"http://localhost:{self.broker.grpc_port}"]
        subprocess.run([*self.argv, "publish", "t", "first"], check=True, stdout=subprocess.DEVNULL)

    def start(self, *args):
        process = subprocess.Popen([*self.argv, "subscribe", "t", "-p", "earliest", *args], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        self.assertIn(b"first", process.stdout.readline())
        return process

    def test_W26_a_server_that_stops_is_told_and_does_not_exit_0(self):
        process = self.start()
        self.broker.stop()
        _, err = process.communicate(timeout=30)
        self.assertEqual(UNREACHABLE, process.returncode, err)
        self.assertIn(b"UNAVAILABLE", err)

    def test_W25_follow_connects_again_and_goes_on(self):
        process = self.start("--follow")
        self.broker.kill_and_start()
        subprocess.run([*self.argv, "publish", "t", "second"], check=True, stdout=subprocess.DEVNULL)
        while b"second" not in (line := process.stdout.readline()):
            self.assertIn(b"first", line)  # its ack may have been on its way when the server was killed

    def test_W25_what_another_attempt_cannot_change_is_not_tried_again(self):
        begin = time.monotonic()
        done = subprocess.run([harness.SLUICECTL, "topics", "list"], capture_output=True, check=False, timeout=30,
                              env={**os.environ, "SLUICE_ENDPOINT": f"http://127.0.0.1:{self.broker.http_port}"})
        self.assertEqual(UNREACHABLE, done.returncode)
        self.assertIn(b"does not speak HTTP/2", done.stderr)
        self.assertLess(time.monotonic() - begin, 0.6)  # three more attempts wait 700 ms

    def test_an_attempt_that_may_succeed_later_is_tried_again(self):
        self.broker.stop()
        begin = time.monotonic()
        done = subprocess.run([*self.argv, "topics", "list"], capture_output=True, check=False, timeout=30)
        self.assertEqual(UNREACHABLE, done.returncode)
        self.assertIn(b"Connection refused", done.stderr)
        self.assertGreater(time.monotonic() - begin, 0.6)  # 100, 200 and 400 ms between four attempts


class Script(grpc.GenericRpcHandler):
    """A server of another make that does what a test says."""

    def __init__(self, **methods):
        self.methods = methods

    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        kind, request, handle = self.methods[name]
        return kind(handle, request_deserializer=message(f"sluice.v1.{request}").FromString,
                    response_serializer=lambda m: m.SerializeToString())


class AgainstAServerOfAnotherMake(unittest.TestCase):
    def ctl(self, *args, status, **methods):
        server = grpc.server(ThreadPoolExecutor(4), handlers=[Script(**methods)])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            done = subprocess.run([harness.SLUICECTL, "-e", f"http://127.0.0.1:{port}", *args], capture_output=True,
                                  check=False, timeout=30)
        finally:
            server.stop(0).wait()
        self.assertEqual(status, done.returncode, done)
        return done.stdout.decode(), done.stderr.decode()

    def test_W5_heartbeats_do_not_end_a_subscription(self):
        down, seen = message("sluice.v1.SubscribeDownstream"), []

        def subscribe(requests, context):
            seen.append(next(requests).init.topic)
            seen.append(next(requests).credit.credits)
            for i in range(3):
                yield down(heartbeat={"timestamp": i})
                time.sleep(0.05)
            yield down(delivery={"message_id": "0" * 36, "sequence": 7, "payload": b"after"})
            seen.extend(r.ack.message_id for r in requests)  # until the client half-closes

        out, _ = self.ctl("subscribe", "t", "-c", "1", status=OK,
                          Subscribe=(grpc.stream_stream_rpc_method_handler, "SubscribeUpstream", subscribe))
        self.assertEqual("[t] seq=7 id=00000000: after\n", out)
        self.assertEqual(["t", 1, "0" * 36], seen)  # no credit beyond the count, and the ack in front of the end (W26)

    def test_W26_an_error_behind_deliveries_does_not_exit_0(self):
        down = message("sluice.v1.SubscribeDownstream")

        def subscribe(requests, context):
            yield down(delivery={"message_id": "0" * 36, "sequence": 1, "payload": b"x"})
            context.abort(grpc.StatusCode.ABORTED, "consumer group takeover, 100%")

        out, err = self.ctl("subscribe", "t", status=FAILED,
                            Subscribe=(grpc.stream_stream_rpc_method_handler, "SubscribeUpstream", subscribe))
        self.assertEqual(("[t] seq=1 id=00000000: x\n", "sluicectl: t: ABORTED: consumer group takeover, 100%\n"), (out, err))

    def test_a_call_that_is_not_answered_ends_at_its_deadline(self):
        left = []

        def publish(request, context):
            left.append(context.time_remaining())
            time.sleep(1)
            return message("sluice.v1.PublishResponse")()

        _, err = self.ctl("publish", "t", "x", "--timeout", "300", status=FAILED,
                          Publish=(grpc.unary_unary_rpc_method_handler, "PublishRequest", publish))
        self.assertIn("DEADLINE_EXCEEDED", err)
        self.assertLess(left[0], 0.31)  # the server was told


if __name__ == "__main__":
    harness.main()
