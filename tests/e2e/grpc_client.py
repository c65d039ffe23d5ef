"""gRPC without generated stubs: messages by name, methods by path, over Debian's grpcio."""
import functools
import os
import subprocess
import tempfile

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from harness import ROOT

TIMEOUT_S = 30
PROTOS = ["sluice/v1/sluice.proto", "streamhouse.proto", "producer.proto", "grpc/health/v1/health.proto",
          "grpc/reflection/v1/reflection.proto", "grpc/reflection/v1alpha/reflection.proto"]


@functools.lru_cache(maxsize=None)
def pool():
    """Every message of src/proto, as protoc understands it."""
    with tempfile.TemporaryDirectory() as home:
        out = os.path.join(home, "set")
        subprocess.run(["protoc", f"--descriptor_set_out={out}", "-I", str(ROOT / "src/proto"), *PROTOS], check=True)
        with open(out, "rb") as data:
            files = descriptor_pb2.FileDescriptorSet.FromString(data.read())
    made = descriptor_pool.DescriptorPool()
    for file in files.file:
        made.Add(file)
    return made


@functools.lru_cache(maxsize=None)
def message(name):
    """The class of a message: message("sluice.v1.PublishRequest")(topic="t")."""
    return message_factory.MessageFactory(pool()).GetPrototype(pool().FindMessageTypeByName(name))


class Client:
    """client.call("sluice.v1.Sluice/Publish", topic="t", payload=b"x")"""

    def __init__(self, port, **options):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=list(options.items()) + [
            ("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 64 << 20)])

    def close(self):
        self.channel.close()

    def method(self, path):
        service, name = path.split("/")
        found = pool().FindServiceByName(service).FindMethodByName(name)
        kind = {(False, False): "unary_unary", (False, True): "unary_stream", (True, True): "stream_stream"}[
            (found.client_streaming, found.server_streaming)] if hasattr(found, "client_streaming") else None
        return found, kind

    def stub(self, path, kind="unary_unary"):
        found, known = self.method(path)
        return getattr(self.channel, known or kind)(
            "/" + path, request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=message(found.output_type.full_name).FromString)

    def request(self, path, **fields):
        return message(self.method(path)[0].input_type.full_name)(**fields)

    def call(self, path, timeout=TIMEOUT_S, call_metadata=None, compression=None, **fields):
        return self.stub(path)(self.request(path, **fields), timeout=timeout, metadata=call_metadata,
                               compression=compression)

    def raw(self, path, data, timeout=TIMEOUT_S, metadata=None):
        """Any bytes as the message of a unary call; the answer's bytes."""
        return self.channel.unary_unary("/" + path)(data, timeout=timeout, metadata=metadata)

    def error(self, path, **fields):
        """(code, text) of a call that must fail."""
        try:
            answer = self.call(path, **fields)
        except grpc.RpcError as e:
            return e.code(), e.details()
        raise AssertionError(f"{path} went well: {answer}")
