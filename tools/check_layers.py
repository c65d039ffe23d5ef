#!/usr/bin/python3
"""Each #include points where tools/layers.txt allows."""
import re
import sys

import guard

INCLUDE = re.compile(r'^\s*#\s*include\s+("([^"]+)"|(<[^>]+>))', re.MULTILINE)


def read_table(root):
    rows, headers = {}, {}
    for line in (root / "tools/layers.txt").read_text(encoding="utf-8").splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        name, _, allowed = line.partition(":")
        (headers if name.startswith("<") else rows)[name] = set(allowed.split())
    return rows, headers


def is_test(path):
    return path.name.endswith(("_test.c", "_for_test.c", "_for_test.h"))


def below(folder, rows):
    """All layers under a folder: its tests build them too."""
    found, todo = set(), [folder]
    while todo:
        new = rows.get(todo.pop(), set()) - found
        found |= new
        todo += new
    return found


def why_refused(path, folder, allowed, include):
    """None, or why this file of `folder` may not include that path."""
    parts = include.split("/")
    if len(parts) < 2:
        return "names no folder"
    target = parts[0]
    if target == folder:
        return None
    if target == "sim" and path.name.endswith(("_test.c", "_for_test.h")):
        return None
    if target not in allowed:
        return f"{folder} may not use {target}"
    if len(parts) > 2:
        return f"{target} shows only its own headers, not those of its sub-folders"
    if parts[-1].endswith("_int.h"):
        return f"is private to {target}"
    return None


def check(root):
    rows, headers = read_table(root)
    problems = []
    for path in guard.sources(root, (".c", ".h", ".def"), ("src", "tests/sim")):
        rel = path.relative_to(root)
        folder = rel.parts[1]
        if folder not in rows:
            problems.append(f"{rel}: tools/layers.txt has no row for {folder}")
            continue
        for m in INCLUDE.finditer(path.read_text(encoding="utf-8", errors="replace")):
            _, ours, theirs = m.groups()
            if theirs and theirs in headers and folder not in headers[theirs]:
                problems.append(f"{rel}: {theirs} belongs to {' '.join(sorted(headers[theirs]))}")
            allowed = below(folder, rows) if is_test(path) else rows[folder]
            reason = ours and why_refused(path, folder, allowed, ours)
            if reason:
                problems.append(f'{rel}: "{ours}" {reason}')
    return problems


GOOD = {
    "tools/layers.txt": "base:\nstorage: base # below\nkafka: base\n<uv.h>: base\n",
    "src/base/err.h": "#include <uv.h>\n",
    "src/storage/log_engine.h": '#include "base/err.h"\n#include <stdio.h>\n',
    "src/storage/log_test.c": '#include "sim/sim.h"\n#include "storage/local/log_int.h"\n',
}
BAD = {
    "an arrow up": {"src/base/list.c": '#include "storage/log_engine.h"\n'},
    "an arrow sideways": {"src/kafka/fetch.c": '#  include "storage/log_engine.h"\n'},
    "a private header": {"src/storage/x.c": '#include "base/err_int.h"\n'},
    "a header of a sub-folder": {"src/storage/x.c": '#include "base/sub/err.h"\n'},
    "an include without folder": {"src/base/x.c": '#include "err.h"\n'},
    "the simulator in the product": {"src/storage/x.c": '#include "sim/sim.h"\n'},
    "somebody else's library": {"src/storage/x.c": "#include <uv.h>\n"},
    "a folder without row": {"src/extra/x.c": "\n"},
}

if __name__ == "__main__":
    sys.exit(guard.main(check, "layers", GOOD, BAD))
