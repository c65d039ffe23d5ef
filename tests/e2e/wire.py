"""A few Kafka requests byte by byte, for what client libraries never send.

Non-flexible versions only: header v1 (key, version, correlation id, client id), big-endian fields.
"""
import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS = 0, 1, 2, 3, 10, 18
CREATE_TOPICS, INIT_PRODUCER_ID = 19, 22
FLEXIBLE_HEADER = {API_VERSIONS: 3, INIT_PRODUCER_ID: 2}

CRC32C_TABLE = []
for _n in range(256):
    for _ in range(8):
        _n = (_n >> 1) ^ (0x82F63B78 if _n & 1 else 0)
    CRC32C_TABLE.append(_n)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(n):
    n = (n << 1) ^ (n >> 63)
    out = b""
    while n >= 0x80:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def string(text):
    return struct.pack(">h", -1) if text is None else struct.pack(">h", len(text)) + text.encode()


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def data(payload):
    return struct.pack(">i", len(payload)) + payload


def record(index, value, key=None, time_delta=0):
    body = b"\0" + varint(time_delta) + varint(index)
    body += varint(-1) if key is None else varint(len(key)) + key
    body += varint(-1) if value is None else varint(len(value)) + value
    body += varint(0)
    return varint(len(body)) + body


def batch(values, attributes=0, timestamps=None, producer=(-1, -1, -1), magic=2, count=None, crc=None, length=None):
    """A RecordBatch v2; the optional arguments tell lies."""
    timestamps = timestamps or [int(time.time() * 1000)] * len(values)
    records = b"".join(record(i, v, time_delta=timestamps[i] - timestamps[0]) for i, v in enumerate(values))
    body = struct.pack(">hiqqqhii", attributes, len(values) - 1, timestamps[0], max(timestamps), *producer,
                       len(values) if count is None else count) + records
    head = struct.pack(">ibI", -1, magic, crc32c(body) if crc is None else crc)
    return struct.pack(">qi", 0, len(head) + len(body) if length is None else length) + head + body


class Reader:
    def __init__(self, payload):
        self.payload, self.pos = payload, 0

    def take(self, layout):
        values = struct.unpack_from(">" + layout, self.payload, self.pos)
        self.pos += struct.calcsize(">" + layout)
        return values[0] if len(values) == 1 else values

    def bytes(self, n):
        self.pos += n
        return self.payload[self.pos - n:self.pos]

    def string(self):
        n = self.take("h")
        return None if n < 0 else self.bytes(n).decode()

    def data(self):
        n = self.take("i")
        return None if n < 0 else self.bytes(n)

    def left(self):
        return len(self.payload) - self.pos


class Connection:
    """One connection; send() and receive() apart, so that requests can be pipelined."""

    def __init__(self, broker, timeout_s=20):
        self.socket = socket.create_connection(("127.0.0.1", broker.kafka_port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, key, version, body, client="e2e"):
        self.correlation += 1
        flexible = key in FLEXIBLE_HEADER and version >= FLEXIBLE_HEADER[key]
        head = struct.pack(">hhi", key, version, self.correlation) + string(client) + (b"\0" if flexible else b"")
        self.send_frame(head + body)
        return self.correlation

    def send_frame(self, payload):
        self.socket.sendall(struct.pack(">i", len(payload)) + payload)

    def receive(self):
        """(correlation id, Reader of the rest)."""
        size, = struct.unpack(">i", self._exactly(4))
        reader = Reader(self._exactly(size))
        return reader.take("i"), reader

    def _exactly(self, n):
        out = b""
        while len(out) < n:
            piece = self.socket.recv(n - len(out))
            if not piece:
                raise ConnectionError("the server closed the connection")
            out += piece
        return out

    def call(self, key, version, body):
        sent = self.send(key, version, body)
        correlation, reader = self.receive()
        assert correlation == sent, f"answer {correlation} for request {sent}"
        return reader

    def is_closed(self):
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    # Requests.

    def send_produce(self, topic, payload, acks=-1, version=7, partition=0, transactional_id=None, timeout_ms=10_000):
        body = string(transactional_id) + struct.pack(">hi", acks, timeout_ms)
        body += array([string(topic) + array([struct.pack(">i", partition) + data(payload)])])
        return self.send(PRODUCE, version, body)

    def produce(self, topic, payload, acks=-1, version=7, partition=0, transactional_id=None, timeout_ms=10_000):
        """(error code, base offset, log append time)."""
        sent = self.send_produce(topic, payload, acks, version, partition, transactional_id, timeout_ms)
        if acks == 0:
            return None
        correlation, r = self.receive()
        assert correlation == sent, f"answer {correlation} for request {sent}"
        assert r.take("i") == 1 and r.string() == topic and r.take("i") == 1
        _, error, offset, append_ms, _ = r.take("ihqqq")
        return error, offset, append_ms

    def fetch_body(self, topic, offset, partition=0, max_bytes=1 << 20, wait_ms=0, min_bytes=1):
        one = struct.pack(">iqi", partition, offset, max_bytes)
        return struct.pack(">iiiib", -1, wait_ms, min_bytes, max_bytes, 0) + array([string(topic) + array([one])])

    def fetch(self, topic, offset, **more):
        """Fetch v4: (error code, high watermark, bytes)."""
        return self.read_fetch(self.call(FETCH, 4, self.fetch_body(topic, offset, **more)))

    @staticmethod
    def read_fetch(r):
        r.take("i")  # throttle time
        assert r.take("i") == 1
        r.string()
        assert r.take("i") == 1
        _, error, high_watermark, _ = r.take("ihqq")
        for _ in range(max(0, r.take("i"))):
            r.take("qq")
        return error, high_watermark, r.data()

    def list_offset(self, topic, timestamp, partition=0, version=1):
        """(error code, timestamp, offset)."""
        body = struct.pack(">i", -1) + (b"\0" if version >= 2 else b"")
        body += array([string(topic) + array([struct.pack(">iq", partition, timestamp)])])
        r = self.call(LIST_OFFSETS, version, body)
        if version >= 2:
            r.take("i")
        assert r.take("i") == 1 and r.string() == topic and r.take("i") == 1
        _, error, stamp, offset = r.take("ihqq")
        return error, stamp, offset

    def api_versions(self, version=0):
        """(error code, {key: (min, max)}) in the form of v0."""
        r = self.call(API_VERSIONS, version, b"" if version < 3 else b"\x04e2e\x04e2e\0")
        error = r.take("h")
        return error, {k: (low, high) for k, low, high in (r.take("hhh") for _ in range(r.take("i")))}
