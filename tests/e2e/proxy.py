"""A proxy that knows Kafka's frames: it can swallow answers, so that clients must send again."""
import contextlib
import socket
import struct
import threading

PRODUCE = 0


def read_exactly(sock, n):
    out = b""
    while len(out) < n:
        piece = sock.recv(n - len(out))
        if not piece:
            raise ConnectionError("closed")
        out += piece
    return out


def read_frame(sock):
    head = read_exactly(sock, 4)
    return head + read_exactly(sock, struct.unpack(">i", head)[0])


class Proxy:
    """Listens at `port`; drop(n, api_key) says whether the answer to that key's nth request is swallowed, and the
    connection closed with it."""

    def __init__(self, drop):
        self.drop = drop
        self.requests = {}
        self.dropped = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.server_port = None

    def start(self, server_port):
        self.server_port = server_port
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.server_port))
                for sock in (client, server):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                doomed = set()
                for target in (self._forward_requests, self._forward_answers):
                    threading.Thread(target=self._guarded, args=(target, client, server, doomed), daemon=True).start()

    @staticmethod
    def _guarded(target, client, server, doomed):
        with contextlib.suppress(OSError):
            target(client, server, doomed)
        for sock in (client, server):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _forward_requests(self, client, server, doomed):
        while True:
            frame = read_frame(client)
            key, _, correlation = struct.unpack_from(">hhi", frame, 4)
            with self.lock:
                nth = self.requests[key] = self.requests.get(key, 0) + 1
            if self.drop(nth, key):
                doomed.add(correlation)
            server.sendall(frame)

    def _forward_answers(self, client, server, doomed):
        while True:
            frame = read_frame(server)
            if struct.unpack_from(">i", frame, 4)[0] in doomed:
                with self.lock:
                    self.dropped += 1
                raise ConnectionError("this answer is lost")
            client.sendall(frame)
