#!/usr/bin/python3
"""Each folder of src/ has a README.md of at most a page; the pictures in docs/ are well-formed."""
import sys
import xml.etree.ElementTree

import guard

LINES_MAX = 70


def check(root):
    problems = []
    for folder in sorted(p for p in (root / "src").iterdir() if p.is_dir()):
        readme = folder / "README.md"
        name = folder.relative_to(root)
        if not readme.is_file():
            problems.append(f"{name}: has no README.md")
            continue
        lines = len(readme.read_text(encoding="utf-8").splitlines())
        if lines > LINES_MAX:
            problems.append(f"{name}/README.md: {lines} lines, a page has {LINES_MAX}")
        elif lines < 3:
            problems.append(f"{name}/README.md: says nothing")
    for picture in sorted((root / "docs").rglob("*.svg")):
        try:
            xml.etree.ElementTree.parse(picture)
        except xml.etree.ElementTree.ParseError as problem:
            problems.append(f"{picture.relative_to(root)}: browsers will not show it: {problem}")
    return problems


GOOD = {"src/base/README.md": "# base\n\nThe words everybody uses.\n", "src/base/err.h": "",
        "docs/a.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>"}
BAD = {
    "a folder without README": {"src/loop/loop.h": ""},
    "a README that is a book": {"src/base/README.md": "line\n" * 200},
    "an empty README": {"src/base/README.md": "\n"},
    "a broken picture": {**GOOD, "docs/a.svg": "<svg><text>a</text>b</text></svg>"},
}

if __name__ == "__main__":
    sys.exit(guard.main(check, "folder READMEs", GOOD, BAD))
