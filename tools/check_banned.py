#!/usr/bin/python3
"""No library of ours calls a function that is banned, seen in its undefined symbols: check_banned.py BUILD"""
import re
import shutil
import sys
import tempfile
from pathlib import Path

import guard

BANNED = {
    # no bound
    "strcpy", "strcat", "sprintf", "vsprintf", "gets", "stpcpy",
    # hidden state
    "strtok", "localtime", "gmtime", "ctime", "asctime", "rand", "srand", "tmpnam", "tempnam", "mktemp",
    # errors that cannot be told from values, locales
    "atoi", "atol", "atoll", "atof", "strtol", "strtoul", "strtoll", "strtoull",
    "sscanf", "vsscanf", "fscanf", "scanf",
    # the caller decides
    "exit", "_exit", "system", "popen",
}
BANNED_BUT = {"abort": {"libbase.a"}}  # SL_ASSERT and out of memory for small objects


def plain(symbol):
    """sprintf for __sprintf_chk, sscanf for __isoc99_sscanf, without the version."""
    symbol = symbol.split("@")[0]
    m = re.fullmatch(r"__(?:isoc\d+_)?(\w+?)(?:_chk)?", symbol)
    return m.group(1) if m and symbol != m.group(1) else symbol


def check_library(path):
    out = guard.run(["nm", "--undefined-only", "--print-file-name", str(path)])
    if out.returncode != 0:
        return [f"{path.name}: nm failed: {out.stderr.strip()}"]
    problems = []
    for line in out.stdout.splitlines():
        where, _, symbol = line.rpartition(" ")
        name = plain(symbol)
        if name in BANNED or (name in BANNED_BUT and path.name not in BANNED_BUT[name]):
            member = where.split(":")[1] if ":" in where else "?"
            problems.append(f"{path.name}: {Path(member).name} calls {name}")
    return problems


def check(build):
    libraries = sorted((build / "src").rglob("lib*.a"))
    if not libraries:
        return [f"no library under {build}/src: build first"]
    return [p for lib in libraries for p in check_library(lib)]


def self_test():
    def build_of(root, code, lib="libfoo.a"):
        (root / "src/foo").mkdir(parents=True)
        (root / "x.c").write_text(code, encoding="utf-8")
        guard.run(["cc", "-O2", "-D_FORTIFY_SOURCE=2", "-c", "-o", str(root / "x.o"), str(root / "x.c")])
        guard.run(["ar", "rcs", str(root / "src/foo" / lib), str(root / "x.o")])

    head = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <time.h>\n"
    cases = [
        ("a good one", True, "int f(char *b, int i) { return snprintf(b, 9, \"%d\", i); }", "libfoo.a"),
        ("abort in base", True, "void f(void) { abort(); }", "libbase.a"),
        ("abort elsewhere", False, "void f(void) { abort(); }", "libfoo.a"),
        ("sprintf with fortify", False, "char b[9]; int f(int i) { return sprintf(b, \"%d\", i); }", "libfoo.a"),
        ("strtol", False, "long f(const char *s) { return strtol(s, 0, 10); }", "libfoo.a"),
        ("sscanf", False, "int f(const char *s, int *i) { return sscanf(s, \"%d\", i); }", "libfoo.a"),
        ("localtime", False, "void *f(time_t *t) { return localtime(t); }", "libfoo.a"),
    ]
    failures = []
    for title, good, code, lib in cases:
        with tempfile.TemporaryDirectory() as d:
            build_of(Path(d), head + code + "\n", lib)
            problems = check(Path(d))
            if good == bool(problems):
                failures.append(f"{title}: {problems or 'not noticed'}")
    return guard.verdict(failures, "self-test")


if __name__ == "__main__":
    if not shutil.which("nm"):
        sys.exit(guard.skip("nm is not installed (package binutils)"))
    if "--self-test" in sys.argv:
        sys.exit(self_test())
    sys.exit(guard.verdict(check(Path(sys.argv[1])), "banned calls"))
