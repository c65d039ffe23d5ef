#!/usr/bin/python3
"""Our end-to-end tests of confluent-kafka, run with the newest release of PyPI instead of Debian's."""
import os
import sys

from fetched import python_with
from harness import ROOT

python = python_with("confluent-kafka", "confluent-kafka")
os.execv(python, [python, str(ROOT / "tests" / "e2e" / "test_confluent.py"), *sys.argv[1:]])
