"""Any request of any version, from the message tables: a second reading of them, beside the generated C.

    Caller(broker).call("JoinGroup", 5, GroupId="g", ...) -> the answer as a dictionary
"""
import struct
import sys
import uuid
from pathlib import Path

import harness
import wire

sys.dont_write_bytecode = True
sys.path.insert(0, str(harness.ROOT / "src/kafka_codec"))
import tables  # noqa: E402  (needs the path)

LAYOUTS = {"bool": ">?", "int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "int64": ">q"}
NOTHING = {"string": "", "bytes": b"", "uuid": uuid.UUID(int=0)}


def uvarint(n):
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def read_uvarint(reader):
    n = shift = 0
    while True:
        byte = reader.bytes(1)[0]
        n |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return n


class Codec:
    def __init__(self, message, version):
        self.version = version
        self.flexible = version in message.flexible
        self.message = message

    # ---- writing

    def length(self, n, short):
        if self.flexible:
            return uvarint(0 if n is None else n + 1)
        return struct.pack(">h" if short else ">i", -1 if n is None else n)

    def write_one(self, kind, inner, value):
        if inner:
            return self.write_struct(inner, value)
        if kind in LAYOUTS:
            return struct.pack(LAYOUTS[kind], value)
        if kind == "uuid":
            return value.bytes
        data = value.encode() if isinstance(value, str) else value
        return self.length(None if data is None else len(data), kind == "string") + (data or b"")

    def write_field(self, field, value):
        if not field.is_array:
            return self.write_one(field.type, field.struct, value)
        items = b"".join(self.write_one(field.element, field.struct, v) for v in value or [])
        return self.length(None if value is None else len(value), False) + items

    def default(self, field):
        if field.default == "null":
            return None
        if field.is_array:
            return []
        if field.type == "bool":
            return field.default == "true"
        return int(field.default) if field.default else NOTHING.get(field.type, 0)

    def write_struct(self, s, values):
        known = {f.name for f in s.fields}
        assert set(values) <= known, f"{s.name} has no {set(values) - known}"
        out = b""
        for f in s.fields:
            if self.version in f.versions and f.tag is None:
                out += self.write_field(f, values.get(f.name, self.default(f)))
        return out + (b"\0" if self.flexible else b"")

    # ---- reading

    def read_length(self, reader, short):
        if self.flexible:
            return read_uvarint(reader) - 1
        return reader.take("h" if short else "i")

    def read_one(self, reader, kind, inner):
        if inner:
            return self.read_struct(reader, inner)
        if kind in LAYOUTS:
            return struct.unpack(LAYOUTS[kind], reader.bytes(struct.calcsize(LAYOUTS[kind])))[0]
        if kind == "uuid":
            return uuid.UUID(bytes=bytes(reader.bytes(16)))
        n = self.read_length(reader, kind == "string")
        data = None if n < 0 else bytes(reader.bytes(n))
        return data.decode() if data is not None and kind == "string" else data

    def read_field(self, reader, field):
        if not field.is_array:
            return self.read_one(reader, field.type, field.struct)
        n = self.read_length(reader, False)
        return None if n < 0 else [self.read_one(reader, field.element, field.struct) for _ in range(n)]

    def read_struct(self, reader, s):
        out = {f.name: self.read_field(reader, f) for f in s.fields
               if self.version in f.versions and f.tag is None}
        if self.flexible:
            self.read_tagged(reader, s, out)
        return out

    def read_tagged(self, reader, s, out):
        known = {f.tag: f for f in s.fields if f.tag is not None and self.version in f.versions}
        for _ in range(read_uvarint(reader)):
            tag, size = read_uvarint(reader), read_uvarint(reader)
            inner = wire.Reader(reader.bytes(size))
            if tag in known and not known[tag].null:
                out[known[tag].name] = self.read_field(inner, known[tag])


APIS = {a.name: a for a in tables.load((harness.ROOT / "src/kafka_codec/messages").glob("*.msg"))[0]}


def versions(name):
    """The versions that are served, as the tables say."""
    request = APIS[name].request
    last = request.versions.last if request.unstable is None else request.unstable - 1
    return range(request.versions.first, last + 1)


class Caller(wire.Connection):
    def send_message(self, name, version, **values):
        api = APIS[name]
        codec = Codec(api.request, version)
        self.correlation += 1
        head = struct.pack(">hhi", api.key, version, self.correlation) + wire.string("e2e")
        self.send_frame(head + (b"\0" if codec.flexible else b"") + codec.write_struct(api.request.root, values))
        return self.correlation

    def receive_message(self, name, version):
        codec = Codec(APIS[name].response, version)
        _, reader = self.receive()
        if codec.flexible and name != "ApiVersions":
            assert reader.bytes(1) == b"\0", "a tagged field in the header"
        answer = codec.read_struct(reader, APIS[name].response.root)
        assert not reader.left(), f"{reader.left()} bytes behind the answer"
        return answer

    def call_message(self, name, version, **values):
        self.send_message(name, version, **values)
        return self.receive_message(name, version)
