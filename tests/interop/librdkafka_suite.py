#!/usr/bin/python3
"""librdkafka's own tests against our server: those in librdkafka-must-pass.txt must pass, and the list only grows.

    librdkafka_suite.py [--all]     --all also runs the others and names those that pass but are not listed
"""
import os
import subprocess
import sys
from pathlib import Path

from fetched import peer_script
from harness import Broker

LIST = Path(__file__).with_name("librdkafka-must-pass.txt")


def listed():
    return [line.split()[0] for line in LIST.read_text().splitlines() if line and not line.startswith("#")]


def main():
    script = peer_script("librdkafka-tests.sh")
    names = listed()
    numbers = [] if "--all" in sys.argv else [name.split("-")[0] for name in names]
    broker = Broker("--num-partitions", "4").start()
    try:
        done = subprocess.run([script, broker.bootstrap, *numbers], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, env=os.environ)
    finally:
        broker.close()
    verdicts = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines()
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
        print(done.stdout[-3000:])
    return 1 if failed or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main())
