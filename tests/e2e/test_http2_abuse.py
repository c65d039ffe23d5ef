#!/usr/bin/python3
"""What a gRPC client must not do, frame by frame: the G rows of the catalogue of bad input."""
import gzip
import socket
import struct
import os
import time

import harness

try:
    import grpc
    from grpc_client import Client, message
    from hpack import Encoder
    from hyperframe.frame import (ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, PriorityFrame,
                                  RstStreamFrame, SettingsFrame, WindowUpdateFrame)
except ImportError as missing:
    harness.skip_all(f"python3-grpcio or python3-h2 is missing: {missing}")

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PUBLISH, CHECK, WATCH = ("/sluice.v1.Sluice/Publish", "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch")
PROTOCOL_ERROR, FLOW_CONTROL, COMPRESSION, CALM = 1, 3, 9, 11
HEADER_TIME_S = 10


def grpc_headers(path, *more, te="trailers", content_type="application/grpc"):
    return [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x")] + (
        [("content-type", content_type)] if content_type else []) + ([("te", te)] if te else []) + list(more)


def packed(data, flag=0):
    return struct.pack(">BI", flag, len(data)) + data


class Wire:
    """A connection that says what it is told to."""

    def __init__(self, port, greet=True, window=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.encoder = Encoder()
        self.input = b""
        self.frames = []
        if greet:
            settings = {SettingsFrame.INITIAL_WINDOW_SIZE: window} if window is not None else {}
            self.raw(PREFACE + SettingsFrame(0, settings=settings).serialize())
            self.send(SettingsFrame(0, flags=["ACK"]))  # of what the server says first

    def raw(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # it was closed: what came before tells why

    def send(self, *frames):
        self.raw(b"".join(f.serialize() for f in frames))

    def headers(self, stream, headers, flags=("END_HEADERS",)):
        return HeadersFrame(stream, self.encoder.encode(headers), flags=list(flags))

    def call(self, stream, path, data, *more, **options):
        pieces = [DataFrame(stream, data[i:i + 16384]) for i in range(0, len(data), 16384)] or [DataFrame(stream, b"")]
        pieces[-1].flags.add("END_STREAM")
        self.send(self.headers(stream, grpc_headers(path, *more, **options)), *pieces)

    def read(self, timeout=15):
        """The next frame; None at the end."""
        self.socket.settimeout(timeout)
        while True:
            if len(self.input) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.input[:9]))
                if len(self.input) >= 9 + length:
                    frame.parse_body(memoryview(self.input[9:9 + length]))
                    self.input = self.input[9 + length:]
                    return frame
            try:
                data = self.socket.recv(65536)
            except ConnectionError:
                return None
            if not data:
                return None
            self.input += data

    def until(self, kind, timeout=15):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            frame = self.read(max(0.1, deadline - time.monotonic()))
            if frame is None or isinstance(frame, kind):
                return frame
        raise AssertionError("no such frame came")

    def goaway(self, timeout=15):
        """The error code that ends the connection."""
        found = None
        while (frame := self.read(timeout)) is not None:
            if isinstance(frame, GoAwayFrame):
                found = frame.error_code
        return found

    def status(self, stream, decoder):
        """grpc-status (or :status when it is not 200) of an answer."""
        said = {}
        while True:
            frame = self.read()
            if frame is None:
                return None
            if isinstance(frame, HeadersFrame):
                fields = dict(decoder.decode(frame.data))
                if frame.stream_id == stream:
                    said.update(fields)
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return f"reset {frame.error_code}"
            if frame.stream_id == stream and "END_STREAM" in frame.flags:
                return int(said["grpc-status"]) if said.get(":status") == "200" else said.get(":status")

    def close(self):
        self.socket.close()


class AbuseTestCase(harness.BrokerTestCase):
    def wire(self, **options):
        made = Wire(self.broker.grpc_port, **options)
        self.addCleanup(made.close)
        return made

    def rss_kib(self):
        with open(f"/proc/{self.broker.pid}/status", encoding="ascii") as lines:
            return int([line for line in lines if line.startswith("VmRSS")][0].split()[1])

    def tearDown(self):
        client = Client(self.broker.grpc_port)
        try:
            self.assertEqual(1, client.call("grpc.health.v1.Health/Check").status)
        finally:
            client.close()

    def goes_to(self, code, *frames, timeout=15):
        wire = self.wire()
        wire.send(*frames)
        self.assertEqual(code, wire.goaway(timeout))


class ResetsTest(AbuseTestCase):
    def test_G01_rapid_reset_is_sent_away(self):
        wire = self.wire()
        for n in range(0, 10000):
            wire.send(wire.headers(2 * n + 1, grpc_headers(WATCH)), RstStreamFrame(2 * n + 1, error_code=8))
        self.assertEqual(CALM, wire.goaway())

    def test_G01_making_us_reset_is_sent_away_too(self):
        ways = {
            "window overflow": lambda n: WindowUpdateFrame(n, window_increment=0x7FFFFFFF),
            "data after the end": lambda n: DataFrame(n, b"x"),
        }
        for name, frame in ways.items():
            with self.subTest(name):
                wire = self.wire()
                for n in range(1, 20000, 2):
                    flags = ("END_HEADERS", "END_STREAM") if "after" in name else ("END_HEADERS",)
                    wire.send(wire.headers(n, grpc_headers(WATCH), flags), frame(n))
                self.assertIn(wire.goaway(), (CALM, 5, 1))  # or as STREAM_CLOSED, or too many at a time

    def test_G01_what_was_reset_counts_until_it_is_over(self):
        wire = self.wire()
        self.assertLess(self.rss_kib(), 200000)
        for n in range(100):
            wire.send(wire.headers(2 * n + 1, grpc_headers(PUBLISH)),
                      DataFrame(2 * n + 1, packed(b"\x0a\x01t"), flags=["END_STREAM"]), RstStreamFrame(2 * n + 1, error_code=8))
        wire.send(PingFrame(0, opaque_data=b"12345678"))
        self.assertIsNotNone(wire.until(PingFrame))


class HeadersTest(AbuseTestCase):
    def test_G02_a_flood_of_CONTINUATION_is_sent_away(self):
        wire = self.wire()
        wire.send(wire.headers(1, grpc_headers(CHECK), flags=()))
        for _ in range(2000):
            wire.send(ContinuationFrame(1, b""))
        wire.goaway()  # closed

    def test_G02_a_header_block_that_does_not_end_is_closed_in_time(self):
        wire = self.wire()
        wire.send(wire.headers(1, grpc_headers(CHECK), flags=()))
        begun = time.monotonic()
        wire.goaway(HEADER_TIME_S + 10)
        self.assertLess(abs(time.monotonic() - begun - HEADER_TIME_S), 4)

    def test_G02_a_preface_that_does_not_come_is_closed_in_time(self):
        wire = self.wire(greet=False)
        begun = time.monotonic()
        wire.goaway(HEADER_TIME_S + 10)
        self.assertLess(abs(time.monotonic() - begun - HEADER_TIME_S), 4)

    def test_G02_headers_above_16_KiB_are_431(self):
        from hpack import Decoder
        wire = self.wire()
        block = wire.encoder.encode(grpc_headers(CHECK, ("x", "a" * 15000), ("y", "b" * 4000)))
        wire.send(HeadersFrame(1, block[:16000]), ContinuationFrame(1, block[16000:], flags=["END_HEADERS"]))
        self.assertEqual("431", wire.status(1, Decoder()))

    def test_G04_one_large_entry_referenced_often_costs_nothing_and_ends_the_connection(self):
        wire = self.wire()
        before = self.rss_kib()
        block = wire.encoder.encode(grpc_headers(CHECK, ("bomb", "x" * 3900)))
        wire.send(HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))
        reference = b"\xbe"  # the newest entry of the dynamic table
        wire.send(HeadersFrame(3, wire.encoder.encode(grpc_headers(CHECK)) + reference * 10000, flags=["END_HEADERS"]))
        self.assertEqual(CALM, wire.goaway())
        self.assertLess(self.rss_kib() - before, 20000)

    def test_G04_broken_HPACK_is_a_COMPRESSION_ERROR(self):
        for name, block in {"index 0": b"\x80", "integer overflow": b"\xff" + b"\xff" * 12, "beyond the table": b"\xfe",
                            "Huffman padding": b"\x00\x81\x00\x81\x00", "table size": b"\x3f\xff\xff\xff\x7f"}.items():
            with self.subTest(name):
                self.goes_to(COMPRESSION, HeadersFrame(1, block, flags=["END_HEADERS", "END_STREAM"]))

    def test_G09_requests_that_break_the_rules_are_refused(self):
        from hpack import Decoder
        good = grpc_headers(CHECK)
        for name, headers in {"no path": good[:2] + good[3:], "upper case": good + [("Bad", "x")],
                              "line break": good + [("bad", "a\r\nb: c")], "pseudo at the end": good[1:] + good[:1],
                              "unknown pseudo": [(":bad", "x")] + good, "connection": good + [("connection", "close")],
                              "two lengths": good + [("content-length", "1"), ("content-length", "2")]}.items():
            with self.subTest(name):
                wire = self.wire()
                wire.send(wire.headers(1, headers, ("END_HEADERS", "END_STREAM")))
                self.assertEqual("reset 1", wire.status(1, Decoder()))

    def test_G09_other_protocols_are_closed_and_the_log_says_why(self):
        for data, word in ((b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\n\r\n", "HTTP/1"), (b"\x16\x03\x01\x02\x00" + b"\0" * 64, "TLS")):
            time.sleep(1.1)  # the log says such a thing once a second
            wire = self.wire(greet=False)
            wire.raw(data)
            wire.socket.settimeout(10)
            while wire.socket.recv(4096):
                pass
            harness.wait_until(lambda: word in self.broker.log_tail(200), 5, "the log")


class FloodsTest(AbuseTestCase):
    def test_G03_frames_that_bring_nothing_are_counted(self):
        wire = self.wire()
        floods = {"ping": PingFrame(0, opaque_data=b"12345678"), "settings": SettingsFrame(0),
                  "priority": PriorityFrame(3, depends_on=1, stream_weight=1)}
        for name, frame in floods.items():
            with self.subTest(name):
                self.goes_to(CALM, *[frame] * 3000)
        with self.subTest("empty data"):
            wire.send(wire.headers(1, grpc_headers(CHECK)), *[DataFrame(1, b"")] * 3000)
            self.assertEqual(CALM, wire.goaway())

    def test_G03_windows_that_overflow_and_increments_of_0(self):
        self.goes_to(FLOW_CONTROL, WindowUpdateFrame(0, window_increment=0x7FFFFFFF))
        wire = self.wire()
        wire.raw(b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00")
        self.assertEqual(PROTOCOL_ERROR, wire.goaway())

    def test_G03_settings_with_2400_entries_are_refused(self):
        wire = self.wire()
        entries = b"\x00\x03\x00\x00\x00\x64" * 2400
        wire.raw(struct.pack(">I", len(entries))[1:] + b"\x04\x00\x00\x00\x00\x00" + entries)
        self.assertIsNotNone(wire.goaway())

    def test_A4_a_client_that_pings_while_it_works_is_never_sent_away(self):
        from hpack import Decoder
        wire, decoder = self.wire(), Decoder()
        for n in range(1500):
            wire.send(PingFrame(0, opaque_data=b"12345678"))
            wire.call(2 * n + 1, CHECK, packed(b""))
            self.assertEqual(0, wire.status(2 * n + 1, decoder))

    def test_G05_data_in_single_bytes_is_coalesced(self):
        wire = self.wire()
        before = self.rss_kib()
        size = 60000
        for stream in range(1, 101, 2):
            wire.send(wire.headers(stream, grpc_headers(PUBLISH)), DataFrame(stream, struct.pack(">BI", 0, size)))
        one = b"".join(DataFrame(s, b"x").serialize() for s in range(1, 101, 2))
        for _ in range(100):
            wire.raw(one * 20)
        wire.send(PingFrame(0, opaque_data=b"87654321"))
        wire.until(PingFrame, 60)
        self.assertLess(self.rss_kib() - before, 2 * 50 * size // 1024 + 8000)

    def test_G08_a_reader_without_window_holds_little(self):
        client = Client(self.broker.grpc_port)
        self.addCleanup(client.close)
        client.call("sluice.v1.Sluice/BatchPublish", topic="big", messages=[{"payload": bytes(4000)} for _ in range(1000)])
        before = self.rss_kib()
        wires = [self.wire(window=0) for _ in range(4)]
        upstream = message("sluice.v1.SubscribeUpstream")
        for n, wire in enumerate(wires):
            for k in range(50):
                stream = 2 * k + 1
                init = upstream(init=dict(topic="big", consumer_group=f"g{n}-{k}", initial_position="EARLIEST"))
                credit = upstream(credit=dict(credits=1000000))
                wire.send(wire.headers(stream, grpc_headers("/sluice.v1.Sluice/Subscribe")),
                          DataFrame(stream, packed(init.SerializeToString()) + packed(credit.SerializeToString())))
        time.sleep(3)
        per_stream = (self.rss_kib() - before) / 200
        if "SLUICE_SLOW" not in os.environ:  # a sanitizer's own memory is none of ours
            self.assertLess(per_stream, 2.5 * 128)


class GrpcFramingTest(AbuseTestCase):
    def check(self, expected, data, *more, path=PUBLISH, **options):
        from hpack import Decoder
        wire = self.wire()
        wire.call(1, path, data, *more, **options)
        self.assertEqual(expected, wire.status(1, Decoder()))

    def test_G06_lengths_and_flags_that_lie(self):
        publish = b"\x0a\x01t"
        self.check(8, b"\x00\xff\xff\xff\xff")
        self.check(13, packed(publish, flag=1))
        self.check(13, packed(publish, flag=2))
        self.check(13, b"\x00\x00\x00\x00\x09abc")
        self.check(13, packed(publish) + packed(publish))
        self.check(13, b"")
        self.check(13, packed(publish, flag=1), ("grpc-encoding", "gzip"))
        self.check(12, packed(publish), ("grpc-encoding", "deflate"))
        self.check(0, packed(gzip.compress(publish), flag=1), ("grpc-encoding", "gzip"))

    def test_G06_a_gzip_bomb_is_stopped_at_the_limit_of_a_message(self):
        before = self.rss_kib()
        self.check(8, packed(gzip.compress(bytes(200 << 20)), flag=1), ("grpc-encoding", "gzip"))
        self.assertLess(self.rss_kib() - before, 32 << 10)

    def test_G06_headers_of_a_call(self):
        self.check("415", packed(b""), path=CHECK, content_type="application/json")
        self.check("415", packed(b""), path=CHECK, content_type=None)
        self.check(0, packed(b""), path=CHECK, content_type="application/grpc+proto")
        self.check(13, packed(b""), path=CHECK, te=None)
        self.check(0, packed(b""), ("grpc-timeout", "99999999H"), path=CHECK)
        for timeout in ("5", "S", "999999999S", "-1S", "5X", "S"):
            self.check(13, packed(b""), ("grpc-timeout", timeout), path=CHECK)
        self.check(13, packed(b""), ("x-bin", "!!!"), path=CHECK)
        self.check(0, packed(b""), ("x-bin", "AAEC"), ("y-bin", "AA=="), path=CHECK)
        self.check(12, packed(b""), path="/sluice.v1.Sluice/Nothing")
        self.check(12, packed(b""), path="/")
        self.check(4, packed(b""), ("grpc-timeout", "1n"), path=WATCH)

    def test_G07_protobuf_that_lies(self):
        for name, data, status in (("an 11-byte varint", b"\xa0\x01" + b"\xff" * 10 + b"\x01", 13),
                                   ("a length that lies", b"\x0a\x05t", 13), ("a huge length", b"\x0a\xff\xff\xff\xff\x0f", 13),
                                   ("a group", b"\x0b\x0c", 13), ("no UTF-8", b"\x0a\x01\xff", 13), ("field 0", b"\x02\x00", 13),
                                   ("unknown fields", b"\xf8\x3f\x01" * 300000, 8), ("many fields", b"\x1a\x00" * 120000, 8),
                                   ("NUL in a string", b"\x0a\x01\x00", 3), ("an empty topic", b"", 3)):
            with self.subTest(name):
                self.check(status, packed(data))


if __name__ == "__main__":
    harness.main()
