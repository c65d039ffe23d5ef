"""What the end-to-end tests share: a broker to start, stop and kill, and a runner that prints TAP.

    SLUICE=build/sluice /usr/bin/python3 tests/e2e/test_kcat.py [-k WORD] [TestClass.test_name ...]
"""
import argparse
import contextlib
import ctypes
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SLUICE = os.environ.get("SLUICE", str(ROOT / "build/sluice"))
SLUICECTL = os.environ.get("SLUICECTL", str(ROOT / "build/sluicectl"))
READY_S = 30  # generous: the machine may be busy and the build sanitized
STOP_S = 5 if "SLUICE_SLOW" not in os.environ else 30
LOG_LINES_SHOWN = 60
PR_SET_PDEATHSIG = 1
PR_SET_PTRACER = 0x59616D61
PR_SET_PTRACER_ANY = ctypes.c_ulong(-1)


def die_with_parent():
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY)  # a strace beside it may attach where Yama restricts that


class Broker:
    """A server process with a data directory of its own; the ports are free ones and stay over a restart."""

    def __init__(self, *options, env=None):
        self.options = list(options)
        self.env = env or {}
        self.home = Path(tempfile.mkdtemp(prefix="sluice-e2e-"))
        self.data_dir = self.home / "data"
        self.log_path = self.home / "server.log"
        self.process = None
        self.kafka_port = 0
        self.http_port = 0
        self.grpc_port = 0

    @property
    def bootstrap(self):
        return f"127.0.0.1:{self.kafka_port}"

    @property
    def pid(self):
        return self.process.pid

    def command(self):
        return [SLUICE, "serve", "--data-dir", str(self.data_dir), "--kafka-addr", f"127.0.0.1:{self.kafka_port}",
                "--http-addr", f"127.0.0.1:{self.http_port}", "--grpc-addr", f"127.0.0.1:{self.grpc_port}",
                *self.options]

    def start(self, poll_s=0.02):
        ports_file = self.data_dir / "ports.json"
        ports_file.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env={**os.environ, **self.env}, preexec_fn=die_with_parent)
        wait_until(lambda: self._is_ready(ports_file), READY_S, "the server to be ready", poll_s)
        return self

    def _is_ready(self, ports_file):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode} at its start:\n{self.log_tail()}")
        try:
            ports = json.loads(ports_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return False
        self.kafka_port, self.http_port, self.grpc_port = ports["kafka"], ports["http"], ports["grpc"]
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/readyz")[0] == 200
        return False

    def get(self, path):
        """(status, body) of an HTTP GET."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def stop(self, signum=signal.SIGTERM):
        """Asks for a clean end, which takes at most 5 s whatever clients do; the exit status."""
        self.process.send_signal(signum)
        try:
            status = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the server did not end within {STOP_S} s of its signal:\n{self.log_tail()}") from None
        assert status == 0, f"exit status {status} after a clean stop:\n{self.log_tail()}"
        return status

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def restart(self):
        self.stop()
        return self.start()

    def kill_and_start(self):
        self.kill()
        return self.start()

    def close(self):
        """The end of a fixture: a server that still runs must end cleanly."""
        try:
            if self.process and self.process.poll() is None:
                self.stop()
        finally:
            self.kill()
            if "SLUICE_KEEP" in os.environ:
                print(f"# kept {self.home}")
            else:
                shutil.rmtree(self.home, ignore_errors=True)

    def log_tail(self, lines=LOG_LINES_SHOWN):
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


class BrokerTestCase(unittest.TestCase):
    """Tests that share one broker; each test uses a topic of its own name."""

    broker_options = ()

    @classmethod
    def setUpClass(cls):
        cls.broker = Broker(*cls.broker_options)
        cls.addClassCleanup(cls.broker.close)
        cls.broker.start()

    def setUp(self):
        self.topic = self._testMethodName.removeprefix("test_")[:200]
        self.group = "group-" + self.topic

    def broker_log(self):
        return self.broker.log_tail()


class FreshBrokerTestCase(unittest.TestCase):
    """Tests that stop, kill or configure their broker: one each."""

    def setUp(self):
        self.topic = self._testMethodName.removeprefix("test_")[:200]
        self.group = "group-" + self.topic
        self.broker = Broker()
        self.addCleanup(self.broker.close)

    def broker_log(self):
        return self.broker.log_tail()


def wait_until(condition, timeout_s, what, every_s=0.02):
    """The first true value of condition(); an AssertionError that says what did not happen."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(every_s)
    raise AssertionError(f"waited {timeout_s} s in vain for {what}")


@contextlib.contextmanager
def stalled_syncs(broker, stall_s):
    """Each sync of its files takes that long, made so by a strace that comes and goes (F08)."""
    if not shutil.which("strace"):
        raise unittest.SkipTest("strace is not installed (make deps)")
    said = broker.home / "strace.err"
    with open(said, "wb") as err:
        tracer = subprocess.Popen(
            ["strace", "-f", "-p", str(broker.pid), "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e",
             f"inject=fdatasync,fsync:delay_enter={stall_s * 1000000}"], stderr=err, preexec_fn=die_with_parent)
    try:
        wait_until(lambda: b"attached" in said.read_bytes() or tracer.poll() is not None, 10, "strace to attach")
        assert tracer.poll() is None, "strace did not attach: " + said.read_text()
        yield
    finally:
        tracer.terminate()
        try:
            tracer.wait(stall_s + 1)
        except subprocess.TimeoutExpired:
            tracer.kill()  # it waits for a thread that ended while it was held
            tracer.wait(10)


def run(command, stdin=b"", timeout_s=60, check=True):
    """Output of a program, bytes; fails with what it said."""
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout_s, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n"
                             f"{done.stdout.decode(errors='replace')[-2000:]}\n"
                             f"{done.stderr.decode(errors='replace')[-2000:]}")
    return done


class TapResult(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.number = 0
        self.failed_in_part = set()

    def say(self, verdict, test, note=""):
        self.number += 1
        print(f"{verdict} {self.number} - {sentence(test)}{note}", flush=True)

    def explain(self, test, err):
        text = "".join(traceback.format_exception(*err))
        if hasattr(test, "broker_log"):
            with contextlib.suppress(Exception):
                text += "\nserver log:\n" + test.broker_log()
        for line in text.splitlines():
            print("# " + line, flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say("ok", test)

    def addError(self, test, err):
        super().addError(test, err)
        self.say("not ok", test)
        self.explain(test, err)

    def addFailure(self, test, err):
        self.addError(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            if test.id() not in self.failed_in_part:
                self.say("not ok", test)
            self.failed_in_part.add(test.id())
            print(f"# in {subtest}")
            self.explain(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.say("ok", test, f" # SKIP {reason}")


def sentence(test):
    name = getattr(test, "_testMethodName", None) or str(test)
    return name.removeprefix("test_").replace("_", " ")


def main():
    """Runs the tests of the calling module and prints TAP; 77 when the client library is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", dest="words", action="append", default=[], help="only tests whose name has this word")
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    loader = unittest.TestLoader()
    if args.words:
        loader.testNamePatterns = [f"*{w}*" for w in args.words]
    module = sys.modules["__main__"]
    suite = loader.loadTestsFromNames(args.names, module) if args.names else loader.loadTestsFromModule(module)
    print(f"1..{suite.countTestCases()}", flush=True)
    result = TapResult()
    suite.run(result)
    sys.stdout.flush()
    # Client libraries keep threads that would delay or spoil the end of the interpreter.
    os._exit(0 if result.wasSuccessful() else 1)


def skip_all(reason):
    """The whole suite is one skipped case: exit status 77 is an error to a reader of TAP."""
    print(f"1..1\nok 1 - the suite # SKIP {reason}")
    sys.exit(0)
