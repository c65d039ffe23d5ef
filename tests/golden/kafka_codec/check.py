#!/usr/bin/python3
"""The C that the generator makes of one small message equals the committed copy, so a change is reviewed as a diff.

    check.py             compare
    check.py --update    write the copy
"""
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
FOLDER = Path("src/kafka_codec")
FILES = ("messages.h", "messages.c", "messages_fields.c")


def generate(output):
    """Paths relative to the root, so that #line is the same everywhere."""
    subprocess.run([sys.executable, "-B", FOLDER / "generate.py", output, FOLDER / "messages" / "create_partitions.msg"],
                   cwd=ROOT, check=True)


def main():
    with tempfile.TemporaryDirectory() as output:
        generate(output)
        made = {name: (Path(output) / name).read_text(encoding="utf-8") for name in FILES}
    print(f"1..{len(FILES)}")
    status = 0
    for number, name in enumerate(FILES, 1):
        copy = HERE / (name + ".golden")
        if "--update" in sys.argv:
            copy.write_text(made[name], encoding="utf-8")
        same = copy.exists() and copy.read_text(encoding="utf-8") == made[name]
        status |= not same
        print(f"{'ok' if same else 'not ok'} {number} - generated {name} equals the golden copy")
    if status:
        print("# if the change is meant: tests/golden/kafka_codec/check.py --update")
    return status


if __name__ == "__main__":
    sys.exit(main())
