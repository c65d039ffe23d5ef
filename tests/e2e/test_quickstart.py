#!/usr/bin/python3
"""quickstart.sh on a machine that has everything: the demo, Ctrl+C, the second run, a port in use."""
import os
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import harness

SCRIPT = str(harness.ROOT / "quickstart.sh")
SERVER_LOG = harness.ROOT / "build/quickstart-server.log"


def free_ports(n):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class QuickstartTest(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.TemporaryDirectory(prefix="sluice-e2e-")
        self.addCleanup(self.home.cleanup)
        self.kafka, self.http = free_ports(2)

    def start(self, *options):
        command = [SCRIPT, "--port", str(self.kafka), "--http-port", str(self.http),
                   "--data-dir", str(Path(self.home.name) / "data"), *options]
        # A session of its own is what a terminal gives: Ctrl+C reaches every process of the group.
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                text=True, start_new_session=True)

    def run_once(self):
        run = self.start("--once")
        return run.communicate(timeout=60)[0], run.returncode

    def serve_until_ctrl_c(self):
        run = self.start()
        said = ""
        for line in run.stdout:
            said += line
            if line.startswith("serving"):
                os.killpg(run.pid, signal.SIGINT)
        return said, run.wait(60)

    def test_ctrl_c_is_a_clean_stop_and_the_second_run_finds_the_topic(self):
        said, status = self.serve_until_ctrl_c()
        self.assertEqual(0, status, said)
        log = SERVER_LOG.read_text(encoding="utf-8")
        self.assertIn("server.stopped", log)
        self.assertNotIn("server.stop_now", log)
        said, status = self.run_once()
        self.assertEqual(0, status, said)
        self.assertIn("is there from last time", said)
        self.assertNotIn("unclean", SERVER_LOG.read_text(encoding="utf-8"))

    def test_a_port_in_use_is_named_and_another_one_is_proposed(self):
        with socket.create_server(("127.0.0.1", self.kafka)):
            said, status = self.run_once()
        self.assertEqual(1, status, said)
        self.assertIn(f"port {self.kafka} is in use", said)
        self.assertRegex(said, r"free ones: \./quickstart\.sh --once .*--port \d+")


if __name__ == "__main__":
    harness.main()
