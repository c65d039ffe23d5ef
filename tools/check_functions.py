#!/usr/bin/python3
"""The ratchet of long functions: those over 70 lines are the ones in tools/long_functions.txt, which may only shrink.

    tools/check_functions.py             compare
    tools/check_functions.py --shrink    write the shorter list; never adds a function nor makes one longer
"""
import sys

import guard

LONG = 70
LIMIT = 100
LIST = "tools/long_functions.txt"


def functions(text):
    """(name, lines) of each function: what is between { and } in column 0, as clang-format lays it out."""
    lines = text.split("\n")
    start = None
    for i, line in enumerate(lines):
        if line == "{" and i:
            start = i
        elif line.startswith("}") and start is not None:
            if line == "}":
                yield name_of(lines, start), i - start - 1
            start = None


def name_of(lines, brace):
    """The head may take several lines; it starts at the last line before the brace that begins in column 0."""
    first = brace - 1
    while first > 0 and lines[first][:1] in (" ", "\t", ""):
        first -= 1
    head = " ".join(l.strip() for l in lines[first:brace])
    before = head.split("(", 1)[0].split()
    return before[-1].lstrip("*") if before else "?"


def measure(root):
    """{(path, name): lines} of the functions over LONG lines; tests may be longer."""
    found = {}
    for path in guard.sources(root):
        if path.name.endswith("_test.c"):
            continue
        for name, n in functions(path.read_text(encoding="utf-8", errors="replace")):
            if n > LONG:
                found[str(path.relative_to(root)), name] = n
    return found


def committed(root):
    listed = {}
    path = root / LIST
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            file, name, n = line.split()
            listed[file, name] = int(n)
    return listed


def check(root):
    found, listed = measure(root), committed(root)
    problems = []
    for (file, name), n in sorted(found.items()):
        allowed = listed.get((file, name), LONG)
        if n > LIMIT:
            problems.append(f"{file}: {name} has {n} lines; none may have more than {LIMIT}")
        elif n > allowed:
            problems.append(f"{file}: {name} has {n} lines, allowed are {allowed}; cut it")
    for (file, name), n in sorted(listed.items()):
        now = found.get((file, name), 0)
        if now < n:
            problems.append(f"{LIST}: {file} {name} is listed with {n} but shorter now: {sys.argv[0]} --shrink")
    return problems


def shrink(root):
    found, listed = measure(root), committed(root)
    kept = {key: min(n, found[key]) for key, n in listed.items() if key in found}
    head = [l for l in (root / LIST).read_text(encoding="utf-8").splitlines() if l.startswith("#")]
    rows = [f"{file} {name} {n}" for (file, name), n in sorted(kept.items())]
    (root / LIST).write_text("\n".join(head + rows) + "\n", encoding="utf-8")
    return 0


def body(name, n):
    return f"static int {name}(int a,\n    int b)\n{{\n" + "    a++;\n" * n + "}\n"


GOOD = {
    "src/base/a.c": body("short_one", 70) + body("listed", 80),
    "src/base/a_test.c": body("long_test", 90),
    LIST: "# comment\nsrc/base/a.c listed 80\n",
}
BAD = {
    "a new long function": {"src/base/b.c": body("long_one", 71)},
    "a listed one that grew": {"src/base/a.c": body("listed", 81)},
    "a listed one that shrank": {"src/base/a.c": body("listed", 75)},
    "a listed one that is gone": {"src/base/a.c": body("other", 5)},
    "a listed one beyond the limit": {"src/base/a.c": body("listed", 101), LIST: "src/base/a.c listed 101\n"},
}

if __name__ == "__main__":
    if "--shrink" in sys.argv:
        sys.exit(shrink(guard.ROOT))
    sys.exit(guard.main(check, "functions", GOOD, BAD))
