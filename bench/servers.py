"""Starts and stops the brokers that are measured: Sluice from a build folder, Kafka through the peers' script."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEERS = pathlib.Path(os.environ.get("PEERS", ROOT.parent / "shared" / "peers"))


class Sluice:
    """One broker on free ports, its data beside the build so that it lies on a real disk."""

    name = "Sluice"

    def __init__(self, build, *options):
        self.build, self.options = pathlib.Path(build).resolve(), options

    def start(self):
        self.dir = tempfile.mkdtemp(prefix="bench-data-", dir=self.build)
        self.log = open(f"{self.dir}/server.log", "wb")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [self.build / "sluice", "serve", "--data-dir", f"{self.dir}/data", "--kafka-addr", "127.0.0.1:0",
             "--http-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0", *self.options],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        ports = pathlib.Path(self.dir, "data", "ports.json")
        while not ports.exists():
            if self.process.poll() is not None or time.monotonic() - began > 30:
                raise SystemExit("sluice did not start:\n" + open(f"{self.dir}/server.log").read())
            time.sleep(0.005)
        self.ready_s = time.monotonic() - began
        self.pid = self.process.pid
        ports = json.loads(ports.read_text())
        self.bootstrap, self.grpc = f"127.0.0.1:{ports['kafka']}", f"127.0.0.1:{ports['grpc']}"
        return self

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            print("sluice did not stop within 10 s")
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


class Kafka:
    """Apache Kafka, one node, its defaults; needs Java and, the first time, Maven's registry."""

    name = "Kafka"
    port = int(os.environ.get("KAFKA_PORT", "19092"))

    def start(self):
        script = PEERS / "kafka.sh"
        if not script.exists():
            raise SystemExit(f"{script} is missing: set PEERS to the folder that holds kafka.sh")
        self.script = str(script)
        subprocess.run([self.script, "stop"], check=False)
        out = subprocess.run([self.script, "start"], check=True, capture_output=True, text=True).stdout
        self.pid = int(out.split("pid ")[1].split()[0])
        self.ready_s = float(out.split("after ")[1].split()[0])
        self.bootstrap = f"127.0.0.1:{self.port}"
        return self

    def stop(self):
        subprocess.run([self.script, "stop"], check=False)
