#!/usr/bin/python3
"""clang-tidy 14 with .clang-tidy over the C files of a build: check_tidy.py BUILD [FILE...]

A file whose contents, headers, command and configuration were clean before is not looked at again (the cache is in
BUILD/tidy-cache), so the first run takes minutes and the next ones seconds.
"""
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import guard

TOOL, CLANG = "clang-tidy-14", "clang-14"
FOLDERS = ("src", "tests", "fuzz")
JOBS = 2


def compile_args(entry):
    """What the language needs of a command, without gcc's options and warnings: those are the compiler's business."""
    words, kept = shlex.split(entry["command"]), []
    i = 1
    while i < len(words):
        if words[i] in ("-isystem", "-include"):
            kept += words[i:i + 2]
            i += 1
        elif words[i].startswith(("-I", "-D", "-std=", "-isystem")) and "_FORTIFY_SOURCE" not in words[i]:
            kept.append(words[i])
        i += 1
    return kept


def files_of(build, root):
    """{source file: (arguments, directory)} of our own files; generated ones are not ours to lint."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = Path(entry["directory"], entry["file"]).resolve()
        if any(path.is_relative_to(root / f) for f in FOLDERS) and not path.is_relative_to(build.resolve()):
            found.setdefault(path, (compile_args(entry), entry["directory"]))
    return found


def key_of(path, args, directory, config):
    """Hash of everything that the verdict on a file depends on, or None when its headers cannot be listed."""
    out = guard.run([CLANG, "-MM", *args, str(path)], cwd=directory)
    if out.returncode != 0:
        return None
    h = hashlib.sha256(config + repr((args, checks_of(path))).encode())
    for name in out.stdout.replace("\\\n", " ").split()[1:]:
        h.update(name.encode() + Path(directory, name).read_bytes())
    return h.hexdigest()


def look_at(path, args, directory, cache, config):
    key = key_of(path, args, directory, config)
    if key and (cache / key).exists():
        return None
    out = guard.run([TOOL, "--quiet", *checks_of(path), str(path), "--", *args], cwd=directory)
    if out.returncode == 0:
        if key:
            (cache / key).touch()
        return None
    return brief(out.stdout, guard.ROOT) or [out.stdout + out.stderr]


def checks_of(path):
    """Test code is spared the analyzer, to which a failed assertion of cmocka returns, and what guards sizes from
    outside and threads: its sizes are constants, its main thread is alone."""
    if path.name.endswith("_test.c") or path.is_relative_to(guard.ROOT / "tests"):
        return ["--checks=-clang-analyzer-*,-performance-no-int-to-ptr,-bugprone-not-null-terminated-result,"
                "-bugprone-implicit-widening-of-multiplication-result,-concurrency-mt-unsafe"]
    return []


def brief(text, root):
    """The errors with the line that they show; the analyzer's way there is for `clang-tidy-14 FILE -- ...` by hand."""
    found, showing = [], False
    for line in text.splitlines():
        if re.match(r"\S+:\d+:\d+: ", line):
            showing = ": error: " in line
            line = re.sub(rf"^(\.\./|{re.escape(str(root))}/(build\S*/\.\./)?)", "", line)
            if showing:
                found.append(line.replace(",-warnings-as-errors", ""))
        elif showing:
            found[-1] += "\n" + line
    return found


def check(build, root, only=()):
    cache = build / "tidy-cache"
    cache.mkdir(exist_ok=True)
    config = (root / ".clang-tidy").read_bytes() + guard.run([TOOL, "--version"]).stdout.encode()
    files = {p: v for p, v in files_of(build, root).items() if not only or p in only}
    with ThreadPoolExecutor(JOBS) as pool:
        jobs = [pool.submit(look_at, p, args, d, cache, config) for p, (args, d) in sorted(files.items())]
        # A fault in a header is reported by each file that includes it: once is enough.
        return list(dict.fromkeys(problem for job in jobs for problem in job.result() or ()))


def self_test():
    clean = "int f(int a);\nint f(int a)\n{\n    return a + 1;\n}\n"
    faulty = "int f(int a);\nint f(int a)\n{\n    if (a == a)\n        return 1;\n    return 2;\n}\n"
    failures = []
    with tempfile.TemporaryDirectory() as d:
        root = Path(d).resolve()
        build = root / "build"
        (root / "src").mkdir()
        build.mkdir()
        shutil.copy(guard.ROOT / ".clang-tidy", root)
        commands = [{"directory": str(build), "file": "../src/a.c", "command": "cc -Wall -c ../src/a.c"}]
        (build / "compile_commands.json").write_text(json.dumps(commands), encoding="utf-8")
        for title, text, good in [("clean", clean, True), ("clean, from the cache", clean, True),
                                  ("faulty", faulty, False), ("faulty, again", faulty, False)]:
            (root / "src/a.c").write_text(text, encoding="utf-8")
            problems = check(build, root)
            if good == bool(problems):
                failures.append(f"{title}: {problems or 'not noticed'}")
    return guard.verdict(failures, "self-test")


if __name__ == "__main__":
    if not (shutil.which(TOOL) and shutil.which(CLANG)):
        sys.exit(guard.skip(f"{TOOL} or {CLANG} is not installed (make deps)"))
    if "--self-test" in sys.argv:
        sys.exit(self_test())
    os.chdir(guard.ROOT)
    named = {Path(f).resolve() for f in sys.argv[2:]}
    sys.exit(guard.verdict(check(Path(sys.argv[1]).resolve(), guard.ROOT, named), "clang-tidy"))
