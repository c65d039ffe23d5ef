#!/usr/bin/python3
"""Neither files nor commit messages name paths of the machine on which they were written."""
import re
import sys

import guard

MACHINE_PATH = re.compile(r"(?<![\w.$}/])/" + r"(work|root|home/\w+)/")


def files_of(root):
    if (root / ".git").exists():
        out = guard.run(["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        return [root / name for name in out.stdout.split("\0") if name]
    return [p for p in root.rglob("*") if p.is_file()]


def check(root):
    problems = []
    for path in files_of(root):
        if not path.is_file() or "corpus" in path.parts:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if MACHINE_PATH.search(line):
                problems.append(f"{path.relative_to(root)}:{number}: {line.strip()[:100]}")
    if (root / ".git").exists():
        log = guard.run(["git", "-C", str(root), "log", "--format=%h %B"]).stdout
        problems += [f"commit message: {line[:100]}" for line in log.splitlines() if MACHINE_PATH.search(line)]
    return problems


GOOD = {"a.c": "/* see src/network/x.c, https://example.org/work/ and $HOME/.cache */\n"}
BAD = {
    "a work directory": {"b.md": "built in /" + "work/main/build\n"},
    "a home": {"b.md": "`/" + "home/me/x`\n"},
}

if __name__ == "__main__":
    sys.exit(guard.main(check, "paths", GOOD, BAD))
