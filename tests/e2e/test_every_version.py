#!/usr/bin/python3
"""Every API in every version that the server states, encoded and decoded here from the message tables, apart from its own C."""
import random
import socket
import struct
import sys

import harness
import wire

sys.path.insert(0, str(harness.ROOT / "src" / "kafka_codec"))
sys.dont_write_bytecode = True
import tables  # noqa: E402

INTEGERS = {"bool": ">?", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "int64": ">q"}
RANDOM_ROUNDS = 6
ANSWER_S = 0.5  # random requests may ask the broker to wait
PRODUCE = 0


def uvarint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


class Encoder:
    """Values are defaults, or random when there is a random source."""

    def __init__(self, message, version, chance=None):
        self.message, self.version, self.chance = message, version, chance
        self.flexible = version in message.flexible

    def length(self, n, compact, layout):
        return uvarint(n + 1) if compact else struct.pack(layout, n)

    def bytes_of(self, f):
        if self.chance is None:
            return b""
        if f.element == "string":
            return "".join(self.chance.choices("abz.-_/\0 9é", k=self.chance.randrange(12))).encode()
        return self.chance.randbytes(self.chance.randrange(80))

    def number(self, f):
        layout = INTEGERS[f.element]
        if self.chance is None:
            value = f.default or "0"
            return struct.pack(layout, value == "true" if f.element == "bool" else int(value, 0))
        if self.chance.random() < 0.5:
            return struct.pack(layout, self.chance.choice([0, 1, 2]))
        return self.chance.randbytes(struct.calcsize(layout))

    def element(self, f):
        compact = self.flexible and not f.inflexible
        if f.struct:
            return self.fields(f.struct)
        if f.element in INTEGERS:
            return self.number(f)
        if f.element == "uuid":
            return self.chance.randbytes(16) if self.chance else bytes(16)
        if self.is_null(f):
            return self.length(-1, compact, ">h" if f.element == "string" else ">i")
        payload = self.bytes_of(f)
        return self.length(len(payload), compact, ">h" if f.element == "string" else ">i") + payload

    def is_null(self, f):
        if f.is_array or self.version not in f.null:
            return False
        return self.chance.random() < 0.3 if self.chance else f.default == "null"

    def value(self, f):
        if f.is_array:
            n = self.chance.randrange(3) if self.chance else 0
            return self.length(n, self.flexible, ">i") + b"".join(self.element(f) for _ in range(n))
        if f.struct and f.null:
            return b"\xff" if self.chance is None or self.chance.random() < 0.5 else b"\1" + self.element(f)
        return self.element(f)

    def fields(self, s):
        plain = [self.value(f) for f in s.fields if f.tag is None and self.version in f.versions]
        tagged = [(f.tag, self.value(f)) for f in s.fields if self.chance and f.tag is not None and self.version in f.versions]
        out = b"".join(plain)
        if self.flexible:
            out += uvarint(len(tagged)) + b"".join(uvarint(t) + uvarint(len(v)) + v for t, v in sorted(tagged))
        return out


class Decoder:
    """Walks over an answer; fails when it is shorter or longer than the tables say."""

    def __init__(self, message, version, payload):
        self.message, self.version, self.payload, self.at = message, version, payload, 0
        self.flexible = version in message.flexible

    def take(self, n):
        assert n >= 0 and self.at + n <= len(self.payload), f"{self.message.name} {self.version} ends within a field"
        self.at += n
        return self.payload[self.at - n:self.at]

    def uvarint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def length(self, layout):
        return self.uvarint() - 1 if self.flexible else struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def element(self, f):
        if f.struct:
            self.fields(f.struct)
        elif f.element in INTEGERS:
            self.take(struct.calcsize(INTEGERS[f.element]))
        elif f.element == "uuid":
            self.take(16)
        else:
            n = self.length(">h" if f.element == "string" else ">i")
            assert n >= 0 or self.version in f.null, f"{self.message.name} {self.version}: {f.name} is null"
            self.take(max(n, 0))

    def value(self, f):
        if f.is_array:
            n = self.length(">i")
            assert n >= 0 or self.version in f.null, f"{self.message.name} {self.version}: {f.name} is null"
            for _ in range(n):
                self.element(f)
        elif f.struct and f.null:
            if self.take(1) != b"\xff":
                self.element(f)
        else:
            self.element(f)

    def fields(self, s):
        for f in s.fields:
            if f.tag is None and self.version in f.versions:
                self.value(f)
        if not self.flexible:
            return
        known = {f.tag: f for f in s.fields if f.tag is not None and self.version in f.versions}
        for _ in range(self.uvarint()):
            tag, size = self.uvarint(), self.uvarint()
            end = self.at + size
            if tag in known:
                self.value(known[tag])
            assert tag in known and self.at == end, f"{self.message.name} {self.version}: tag {tag}"

    def whole(self):
        self.fields(self.message.root)
        assert self.at == len(self.payload), f"{self.message.name} {self.version} has bytes behind its end"


class EveryVersionTest(harness.BrokerTestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        apis, _ = tables.load(sorted((harness.ROOT / "src" / "kafka_codec" / "messages").glob("*.msg")))
        cls.apis = {a.key: a for a in apis}

    def served(self):
        with wire.Connection(self.broker) as c:
            error, ranges = c.api_versions()
        self.assertEqual(0, error)
        for key, (first, last) in sorted(ranges.items()):
            for version in range(max(first, self.apis[key].request.versions.first), last + 1):
                yield self.apis[key], version

    @staticmethod
    def send(connection, api, version, body):
        header = struct.pack(">hhi", api.key, version, 7) + wire.string("e2e")
        connection.send_frame(header + (b"\0" if version in api.request.flexible else b"") + body)

    @staticmethod
    def body_of(api, version, answer):
        """Behind correlation id and the tags of a flexible header."""
        has_tags = version in api.response.flexible and api.key != wire.API_VERSIONS
        return answer[5:] if has_tags else answer[4:]

    def receive(self, connection, timeout_s):
        """The next frame, correlation id included; None when the server closed or says nothing for so long."""
        connection.socket.settimeout(timeout_s)
        try:
            prefix = connection.socket.recv(4, socket.MSG_WAITALL)
            if len(prefix) < 4:
                return None
            size = struct.unpack(">i", prefix)[0]
            return connection.socket.recv(size, socket.MSG_WAITALL)
        except OSError:
            return None

    def test_every_version_answers_an_empty_request_with_exactly_its_fields(self):
        answered = 0
        for api, version in self.served():
            if api.key == PRODUCE:
                continue  # acks=0 by default: there is no answer; test_produce has all versions
            with wire.Connection(self.broker) as c:
                self.send(c, api, version, Encoder(api.request, version).fields(api.request.root))
                answer = self.receive(c, 20)
            self.assertIsNotNone(answer, f"{api.name} {version}")
            self.assertEqual(7, struct.unpack(">i", answer[:4])[0])
            Decoder(api.response, version, self.body_of(api, version, answer)).whole()
            answered += 1
        self.assertGreater(answered, 100)

    def test_random_content_in_every_version_gets_an_answer_or_a_close_and_harms_nobody(self):
        seed = random.randrange(1 << 32)
        chance = random.Random(seed)
        answered = 0
        for api, version in self.served():
            for _ in range(RANDOM_ROUNDS):
                with wire.Connection(self.broker) as c:
                    self.send(c, api, version, Encoder(api.request, version, chance).fields(api.request.root))
                    answer = self.receive(c, ANSWER_S if api.name in ("Fetch", "JoinGroup", "SyncGroup", "Produce") else 5)
                if answer is not None:
                    Decoder(api.response, version, self.body_of(api, version, answer)).whole()
                    answered += 1
            self.assertIsNone(self.broker.process.poll(), f"the server ended at {api.name} {version}, seed {seed}")
        with wire.Connection(self.broker) as c:
            self.assertEqual(0, c.api_versions()[0])
        self.assertGreater(answered, 300, f"seed {seed}")


if __name__ == "__main__":
    harness.main()
