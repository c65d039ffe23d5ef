#!/usr/bin/python3
"""C files look as clang-format 14 lays them out; `make format` does it. Tables (*.def) are not formatted."""
import shutil
import sys

import guard

TOOL = "clang-format-14"
BATCH = 40


def check(root):
    files = [str(p) for p in guard.sources(root)]
    problems = []
    for i in range(0, len(files), BATCH):
        out = guard.run([TOOL, "--dry-run", "-Werror", "--ferror-limit=3", "--style=file", *files[i:i + BATCH]],
                        cwd=root)
        if out.returncode != 0:
            problems += [l for l in out.stderr.splitlines() if "error:" in l] or [out.stderr]
    return problems


STYLE = (guard.ROOT / ".clang-format").read_text(encoding="utf-8")
GOOD = {".clang-format": STYLE, "src/base/a.c": "int f(int *p)\n{\n    return *p;\n}\n", "src/base/a.def": "A( b  ,c)\n"}
BAD = {"another style": {"src/base/b.c": "int f(int* p) { return *p; }\n"}}

if __name__ == "__main__":
    if not shutil.which(TOOL):
        sys.exit(guard.skip(f"{TOOL} is not installed (make deps)"))
    sys.exit(guard.main(check, "format", GOOD, BAD))
