#!/usr/bin/python3
"""Runs `meson test` in a build directory and counts single cases.

TAP programs count as their cases, other programs as one; exit status 77 is a skip, whose reason is the last line
printed. Failures are printed with their output. The last line is exactly `N passed, N failed, N skipped`.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROGRESS = re.compile(r"^\s*(\d+)/(\d+)\s+(.+?)\s+(OK|FAIL|ERROR|SKIP|TIMEOUT|EXPECTEDFAIL|UNEXPECTEDPASS|INTERRUPT)\s+([\d.]+s)")
TAP_LINE = re.compile(r"^(ok|not ok)\b\s*(\d+)?\s*-?\s*([^#]*)(?:#\s*(SKIP|TODO)\b[:\s]*(.*))?$", re.IGNORECASE)
TAP_PLAN = re.compile(r"^1\.\.(\d+)", re.MULTILINE)
OUTPUT_LINES_MAX = 200
QUIET_S = 30  # after so long without a finished test, say what runs


class Totals:
    def __init__(self):
        self.passed = 0
        self.failures = []  # (name, reason)
        self.skips = []  # (name, reason)

    def line(self):
        return f"{self.passed} passed, {len(self.failures)} failed, {len(self.skips)} skipped"


def last_line(text):
    lines = [l for l in text.strip().splitlines() if l.strip()]
    return lines[-1].strip() if lines else "no reason given"


def count_tap(name, entry, totals):
    """Counts the cases of one TAP program; a program that ended early or badly is a failure of its own."""
    plan, seen, failed = None, 0, 0
    for line in entry.get("stdout", "").splitlines():
        if m := TAP_PLAN.match(line):
            plan = int(m.group(1))
        elif m := TAP_LINE.match(line):
            seen += 1
            verdict, _, title, directive, reason = m.groups()
            case = f"{name}: {(title or '').strip() or (reason or '').strip()}"
            if directive and directive.upper() == "SKIP":
                totals.skips.append((case, (reason or "").strip() or "no reason given"))
            elif verdict == "ok":
                totals.passed += 1
            else:
                failed += 1
                totals.failures.append((case, "failed"))
    if plan is None or seen < plan:
        missing = "no test plan" if plan is None else f"{plan - seen} of {plan} cases did not run"
        totals.failures.append((name, f"{missing}; {entry['result']}, exit status {entry['returncode']}"))
        failed += 1
    elif entry["returncode"] != 0 and not failed:
        totals.failures.append((name, f"{entry['result']}, exit status {entry['returncode']}"))
        failed += 1
    return failed > 0


def count_plain(name, entry, totals):
    if entry["result"] in ("OK", "EXPECTEDFAIL"):
        totals.passed += 1
        return False
    if entry["result"] == "SKIP":
        totals.skips.append((name, last_line(entry.get("stdout", "") + entry.get("stderr", ""))))
        return False
    totals.failures.append((name, f"{entry['result']}, exit status {entry['returncode']}"))
    return True


def print_output(entry):
    for stream in ("stdout", "stderr"):
        lines = entry.get(stream, "").rstrip().splitlines()
        if len(lines) > OUTPUT_LINES_MAX:
            print(f"  ... {len(lines) - OUTPUT_LINES_MAX} lines left out, see testlog.txt ...")
        for line in lines[-OUTPUT_LINES_MAX:]:
            print("  " + line)


def count(entries, tap_names, totals):
    for entry in entries:
        name = entry["name"].split(" / ", 1)[-1]
        is_tap = name in tap_names
        if is_tap and entry["returncode"] == 77 and not TAP_PLAN.search(entry.get("stdout", "")):
            is_tap, entry["result"] = False, "SKIP"  # meson wants a plan even of a program that is skipped
        bad = (count_tap if is_tap else count_plain)(name, entry, totals)
        if bad:
            print(f"\nFAILED {name} ({entry['result']}, {entry['duration']:.1f} s)")
            print_output(entry)


def tap_tests(build):
    out = subprocess.run(["meson", "introspect", "--tests", str(build)], capture_output=True, text=True, check=True)
    return {t["name"] for t in json.loads(out.stdout) if t["protocol"] == "tap"}


def running(pid):
    """What the children of this process are: names of scripts and programs."""
    names = []
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_text(errors="replace").split("\0")
            names.append(Path(next((w for w in words if w.endswith(".py")), words[0])).stem)
    except OSError:
        pass  # one ended while we looked
    return ", ".join(sorted(names))


class Progress:
    """Finished tests as they come, and what runs when none has finished for a while."""

    def __init__(self, proc, told):
        self.proc = proc
        self.told = told  # a file into which a long test writes what it does
        self.is_tty = sys.stdout.isatty()
        self.width = 0
        self.place = ""
        self.last = self.last_finished = time.monotonic()
        self.lock = threading.Lock()

    def say(self, text):
        if self.is_tty:
            text = text[:os.get_terminal_size().columns - 1]
            print("\r" + text.ljust(self.width), end="", flush=True)
            self.width = len(text)
        else:
            print(text, flush=True)
        self.last = time.monotonic()

    def finished(self, number, total, name, result, seconds):
        with self.lock:
            self.place = f"{number}/{total}"
            self.told.write_text("")  # what it said is over
            self.last_finished = time.monotonic()
            self.say(f"[{self.place}] {name}" if self.is_tty else f"[{self.place}] {name} {result.lower()} {seconds}")

    def said(self):
        try:
            return self.told.read_text(errors="replace").strip()
        except OSError:
            return ""  # the run has just ended

    def watch(self):
        every_s = 1 if self.is_tty else QUIET_S
        while self.proc.poll() is None:
            time.sleep(0.5)
            with self.lock:
                if time.monotonic() - self.last < every_s:
                    continue
                what = self.said() or running(self.proc.pid)
                if what:
                    waited = time.monotonic() - self.last_finished
                    self.say(f"[{self.place or 0}] running for {waited:.0f} s: {what}")

    def end(self):
        if self.is_tty and self.width:
            print("\r" + " " * self.width + "\r", end="")


def show_progress(proc, lines, told):
    progress = Progress(proc, told)
    threading.Thread(target=progress.watch, daemon=True).start()
    for line in lines:
        if m := PROGRESS.match(line):
            number, total, name, result, seconds = m.groups()
            progress.finished(number, total, name.split(" / ", 1)[-1], result, seconds)
    progress.end()


def run(build, args, totals):
    log = build / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", str(build)]
    for suite in args.suite:
        command += ["--suite", suite]
    for suite in args.no_suite:
        command += ["--no-suite", suite]
    if args.timeout_multiplier:
        command += ["--timeout-multiplier", str(args.timeout_multiplier)]
    command += args.tests
    told = Path(tempfile.mkstemp(prefix="sluice-progress-")[1])
    proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            text=True, errors="replace", env={**os.environ, "SLUICE_PROGRESS": str(told)})
    tail = []

    def lines():
        for line in proc.stdout:
            tail.append(line)
            del tail[:-40]
            yield line

    try:
        show_progress(proc, lines(), told)
    finally:
        told.unlink()
    status = proc.wait()
    if not log.exists():
        if status == 0:
            return  # nothing selected
        print("".join(tail))
        totals.failures.append((str(build), f"meson test ended with {status} before any test"))
        return
    with open(log, encoding="utf-8", errors="replace") as f:
        entries = [json.loads(line) for line in f if line.strip()]
    if not entries and status != 0:
        print("".join(tail))
        totals.failures.append((str(build), f"meson test ended with {status} before any test"))
    before = len(totals.failures)
    count(entries, tap_tests(build), totals)
    if status != 0 and len(totals.failures) == before:
        print("".join(tail))
        totals.failures.append((str(build), f"meson test ended with {status}, no failed case found"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("tests", nargs="*", help="names of tests (default: all)")
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--no-suite", action="append", default=[])
    parser.add_argument("--timeout-multiplier", type=float, default=float(os.environ.get("TIMEOUT_MULTIPLIER", 0)))
    parser.add_argument("--summary", type=Path, default=os.environ.get("SUMMARY") or None,
                        help="append the three numbers to this file (environment: SUMMARY)")
    args = parser.parse_args()

    totals = Totals()
    run(args.build, args, totals)
    if totals.skips:
        print("\nskipped:")
        for name, reason in totals.skips:
            print(f"  {name}: {reason}")
    if totals.failures:
        print("\nfailed:")
        for name, reason in totals.failures:
            print(f"  {name}: {reason}")
    if args.summary:
        with open(args.summary, "a", encoding="utf-8") as f:
            f.write(f"{totals.passed} {len(totals.failures)} {len(totals.skips)}\n")
    print(totals.line())
    return 1 if totals.failures else 0


if __name__ == "__main__":
    sys.exit(main())
