#!/usr/bin/python3
"""G09: h2spec, the conformance suite of HTTP/2, against the gRPC listener. Fetched from the Go module registry."""
import os
import re
import shutil
import subprocess

import fetched
import harness


def h2spec():
    """The program, built once."""
    home = fetched.HOME / "h2spec"
    program = home / "bin" / "h2spec"
    if not program.exists():
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
        if not go:
            harness.skip_all("go is missing: it builds h2spec")
        env = {**os.environ, "GOBIN": str(program.parent), "GOPATH": str(home / "go"), "GOCACHE": str(home / "cache")}
        fetched.quiet([go, "install", "github.com/summerwind/h2spec/cmd/h2spec@latest"], env=env)
    return str(program)


class H2specTest(harness.BrokerTestCase):
    def test_G09_every_case_of_h2spec_passes(self):
        said = subprocess.run([h2spec(), "-h", "127.0.0.1", "-p", str(self.broker.grpc_port), "-o", "5"],
                              capture_output=True, text=True, timeout=600, check=False).stdout
        counts = re.search(r"(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", said)
        self.assertTrue(counts, said[-2000:])
        total, passed, skipped, failed = map(int, counts.groups())
        self.assertGreater(total, 140)
        self.assertEqual((total, 0, 0), (passed, skipped, failed), said[said.find("Failures"):][:4000])


if __name__ == "__main__":
    harness.main()
