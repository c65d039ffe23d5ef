#!/usr/bin/python3
"""kafka-python's own integration tests against our server, as TAP: each of their tests is a case here.

One that fails is run once more: its client (3.0.12) at times does not ask for the metadata of a topic to which it
subscribes while its first answer is under way, and then reads nothing, from any broker. Such a case says so.
"""
import os
import re
import subprocess
import sys

from fetched import HOME, python_with, source_of, tell
from harness import Broker

SUITES = ["test/integration/test_consumer_integration.py", "test/integration/test_producer_integration.py",
          "test/integration/test_admin_integration.py"]
# What asks for something that this version does not serve, with the reason; the list only shrinks.
NOT_YET = {
    "acl": "access rules come with authentication",
    "transaction": "transactions are not served yet",
    "abort_": "transactions are not served yet",
    "client_quota": "quotas are not served yet",
    "scram": "authentication is not served yet",
    "partition_reassignment": "there is one replica to assign",
    "elect_leaders": "there is one replica to elect",
    "replica_log_dirs": "there is one log directory",
    "list_config_resources": "key 74 comes with the new consumer groups",
    "feature": "features are not changed at run time",
}
# The archive on PyPI lacks two files of the suite: its package mark, without which Python's own `test` is found, and
# the module that starts brokers. Ours runs already.
SERVICE = """
class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def stop(self):
        pass

    def dump_logs(self):
        pass


class SpawnedService:
    pass
"""
LINE = re.compile(r"^(test/\S+)::(\S+(?:\[.*\])?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)")


def complete(tests):
    (tests / "__init__.py").touch()
    if not (tests / "service.py").exists():
        (tests / "service.py").write_text(SERVICE)


def reason_of(name):
    return next((why for word, why in NOT_YET.items() if word in name), None)


def run(command, folder, env):
    """Its output; says which case is running."""
    lines = []
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace") as suite:
        for line in suite.stdout:
            lines.append(line)
            if LINE.match(line):
                tell("kafka-python's suite: " + line.strip())
    return "".join(lines)


def main():
    python = python_with("kafka-python", "kafka-python", "pytest", "pytest-timeout", "lz4", "zstandard",
                         "python-snappy", "crc32c", "pytest-mock")
    source = source_of("kafka-python")
    complete(source / "test")
    broker = Broker("--num-partitions", "4", "--group-session-min-ms", "1000").start()
    try:
        pytest = [python, "-m", "pytest", "-v", "--tb=native", "--timeout", "90", "-p", "no:cacheprovider", "-rA"]
        env = {**os.environ, "KAFKA_URI": f"kafka://{broker.bootstrap}", "KAFKA_VERSION": "4.3.0", "PYTHONPATH": str(source), "KAFKA_ROOT": str(source)}
        output = run([*pytest, *SUITES], source, env)
        cases = [m.groups() for m in map(LINE.match, output.splitlines()) if m]
        again = [f"{file}::{name}" for file, name, verdict in cases if verdict in ("FAILED", "ERROR") and not reason_of(name)]
        if again:
            output += run([*pytest, *again], source, env)
    finally:
        broker.close()
    (HOME / "kafka-python-suite.log").write_text(output)
    second = {m[2]: m[3] for m in map(LINE.match, output.splitlines()) if m}
    failed = 0
    for number, (_, name, verdict) in enumerate(cases, 1):
        reason = reason_of(name)
        if verdict == "SKIPPED":
            print(f"ok {number} - {name} # SKIP by the suite itself, for an external broker of this version")
        elif verdict == "PASSED":
            print(f"ok {number} - {name}")
        elif reason:
            print(f"ok {number} - {name} # SKIP {reason}")
        elif second[name] == "PASSED":
            print(f"ok {number} - {name} (at the second try)")
        else:
            failed += 1
            print(f"not ok {number} - {name}")
    print(f"1..{len(cases)}")
    if not cases:
        print(output[-3000:])
    if failed:
        print("# whole output: kafka-python-suite.log in $PEERS_HOME")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
