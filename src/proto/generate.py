#!/usr/bin/python3
"""C of a .proto file: generate.py PROTOC_C OUT_DIR PROTO. The linter is told that it is not ours."""
import os
import pathlib
import subprocess
import sys

protoc_c, out_dir, proto = sys.argv[1:]
subprocess.run([protoc_c, f"--c_out={out_dir}", "-I", os.path.dirname(proto), proto], check=True)
header = pathlib.Path(out_dir) / (pathlib.Path(proto).stem + ".pb-c.h")
header.write_text("/* NOLINTBEGIN */\n" + header.read_text(encoding="utf-8") + "/* NOLINTEND */\n", encoding="utf-8")
