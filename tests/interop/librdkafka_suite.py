#!/usr/bin/python3
"""librdkafka's own tests against our server: those in librdkafka-must-pass.txt must pass, and the list only grows.

    librdkafka_suite.py [--all]     --all also runs the others and names those that pass but are not listed
"""
import subprocess
import sys
from pathlib import Path

from fetched import peer_script, tell
from harness import Broker

# Kafka waits 3 s for more members before the first rebalance of a group, we do not by default. 0118 starts two consumers
# and counts on both being in it.
FIRST_REBALANCE_MS = 500
LIST = Path(__file__).with_name("librdkafka-must-pass.txt")


def listed():
    return [line.split()[0] for line in LIST.read_text().splitlines() if line and not line.startswith("#")]


def run(command, wanted):
    """The lines of the script; says how far it is while it runs."""
    tell("librdkafka's tests: building them, 2 minutes the first time")
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as script:
        for line in script.stdout:
            lines.append(line)
            tell(f"librdkafka's tests: {len(lines)} of {wanted}, last {line.strip()}")
    return lines


def main():
    script = peer_script("librdkafka-tests.sh", "npm", "make", "g++")
    names = listed()
    numbers = [] if "--all" in sys.argv else [name.split("-")[0] for name in names]
    broker = Broker("--num-partitions", "4", "--group-initial-rebalance-delay-ms", str(FIRST_REBALANCE_MS)).start()
    try:
        lines = run([script, broker.bootstrap, *numbers], len(numbers) or "about 110")
    finally:
        broker.close()
    verdicts = {line.split()[1]: line.split()[0] for line in lines
                if line.startswith(("pass ", "FAIL ", "skip "))}
    failed = 0
    for number, name in enumerate(names, 1):
        good = verdicts.get(name) == "pass"
        failed += not good
        print(f"{'ok' if good else 'not ok'} {number} - librdkafka {name}" + ("" if good else f" ({verdicts.get(name, 'did not run')})"))
    print(f"1..{len(names)}")
    for name, verdict in sorted(verdicts.items()):
        if name not in names and verdict != "skip":
            print(f"# not listed: {verdict} {name}")
    if not verdicts:
        print("".join(lines)[-3000:])
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
