#!/usr/bin/python3
"""Bytes of a file as a C array: embed.py IN OUT NAME."""
import sys

source, target, name = sys.argv[1:]
data = open(source, "rb").read()
lines = [", ".join(str(b) for b in data[i:i + 24]) for i in range(0, len(data), 24)]
with open(target, "w", encoding="ascii") as out:
    out.write(f'#include "proto/descriptors.h"\n\nconst unsigned char {name}[] = {{\n')
    out.write(",\n".join(lines))
    out.write(f"}};\nconst size_t {name}_bytes = sizeof {name};\n")
