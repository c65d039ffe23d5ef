"""What the guards share: the list of source files, the verdict, and the self-test on a small tree."""
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = 77


def sources(root, suffixes=(".c", ".h"), folders=("src", "tests", "fuzz", "bench")):
    """Source files under the folders, sorted; build directories are elsewhere."""
    found = []
    for folder in folders:
        if (root / folder).is_dir():
            found += [p for p in (root / folder).rglob("*") if p.suffix in suffixes and p.is_file()]
    return sorted(found)


def verdict(problems, what):
    """Prints the problems; the exit status for main()."""
    for p in problems:
        print(p)
    print(f"{what}: {len(problems)} problems" if problems else f"{what}: good")
    return 1 if problems else 0


def skip(reason):
    print(reason)
    return SKIPPED


def self_test(check, good, bad):
    """Proves that check(root) accepts the tree `good` and refuses each of `bad`.

    A tree is {path: text}; `bad` is {what is wrong: {path: text}}, laid over `good`.
    """
    failures = []
    for title, files in [("a good tree", {})] + list(bad.items()):
        with tempfile.TemporaryDirectory() as d:
            root = Path(d)
            for path, text in {**good, **files}.items():
                if text is None:
                    continue
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(text, encoding="utf-8")
            problems = check(root)
            if bool(problems) != (title != "a good tree"):
                failures.append(f"{title}: {problems or 'not noticed'}")
    return verdict(failures, "self-test")


def run(command, **kw):
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **kw)


def main(check, what, good, bad):
    """Entry of a guard without arguments of its own."""
    if "--self-test" in sys.argv[1:]:
        return self_test(check, good, bad)
    return verdict(check(ROOT), what)
