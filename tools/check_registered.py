#!/usr/bin/python3
"""No test is forgotten: each source, unit test and fuzz target is compiled, each fuzz target has seeds: BUILD"""
import json
import sys
import tempfile
from pathlib import Path

import guard


def compiled(build):
    entries = json.loads((build / "compile_commands.json").read_text(encoding="utf-8"))
    return {Path(e["directory"], e["file"]).resolve() for e in entries}


def check(build, root):
    known = compiled(build)
    problems = []
    for path in guard.sources(root, (".c",), ("src", "fuzz", "tests")):
        rel = path.relative_to(root)
        if path.resolve() not in known:
            problems.append(f"{rel}: no meson.build names it")
        if path.name.startswith("fuzz_"):
            corpus = root / "fuzz/corpus" / path.stem.removeprefix("fuzz_")
            if not corpus.is_dir() or not any(corpus.iterdir()):
                problems.append(f"{rel}: no seeds in {corpus.relative_to(root)}")
    return problems


def self_test():
    failures = []
    for title, files, good in [
            ("a good tree", ["src/a_test.c", "fuzz/fuzz_a.c", "fuzz/corpus/a/seed"], True),
            ("a forgotten test", ["src/a_test.c", "src/b_test.c"], False),
            ("a fuzz target without seeds", ["fuzz/fuzz_a.c"], False)]:
        with tempfile.TemporaryDirectory() as d:
            root = Path(d)
            for name in files:
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).touch()
            (root / "build").mkdir()
            commands = [{"directory": str(root / "build"), "file": f"../{f}"} for f in ("src/a_test.c", "fuzz/fuzz_a.c")]
            (root / "build/compile_commands.json").write_text(json.dumps(commands), encoding="utf-8")
            problems = check(root / "build", root)
            if good == bool(problems):
                failures.append(f"{title}: {problems or 'not noticed'}")
    return guard.verdict(failures, "self-test")


if __name__ == "__main__":
    if "--self-test" in sys.argv:
        sys.exit(self_test())
    sys.exit(guard.verdict(check(Path(sys.argv[1]), guard.ROOT), "registered"))
