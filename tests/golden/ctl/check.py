#!/usr/bin/python3
"""What sluicectl says without a broker: help of every command, completion, and each way to get a command line wrong.

    check.py SLUICECTL             compare with transcript.golden
    check.py SLUICECTL --update    write it
"""
import difflib
import os
import re
import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).resolve().parent / "transcript.golden"
NOBODY = "127.0.0.1:1"  # a port that nobody listens on

WRONG = [
    [], ["topic"], ["group", "--help"], ["topc"], ["topic", "lst"], ["topic", "create"], ["topic", "create", "a", "b"],
    ["topic", "list", "x"], ["topic", "list", "--outpt", "json"], ["--partitions", "3", "topic", "list"],
    ["topic", "list", "--output", "xml"], ["topic", "create", "a", "--partitions", "0"],
    ["topic", "create", "a", "--partitions", "many"], ["topic", "create", "a", "--partitions"],
    ["topic", "create", "a", "--config", "retention.ms"], ["topic", "create", "a", "--if-not-exists=yes"],
    ["topic", "create", "a", "--partitions", "1", "--partitions=2"], ["topic", "alter", "a"], ["topic", "list", "-x"],
    ["group", "reset-offsets", "g"], ["group", "reset-offsets", "g", "--to-earliest", "--to-latest"],
    ["group", "reset-offsets", "g", "--to-time", "yesterday"], ["group", "reset-offsets", "g", "--to-offset", "-1"],
    ["completion", "fish"], ["help", "topic", "make"], ["help", "nothing"], ["--version"],
    ["topic", "list", "--bootstrap", NOBODY], ["topic", "list", "--bootstrap", "127.0.0.1:0"],
    ["topic", "list", "--bootstrap", ""], ["topic", "list", f"--bootstrap={NOBODY},{NOBODY}", "--output=json"],
    ["produce", "t", "--compression", "rar"], ["produce", "t", "--acks", "0"], ["consume", "t", "--count", "0"],
    ["publish"], ["publish", "t", "x", "-f", "y"], ["publish", "t", "x", "--rate", "3"], ["publish", "t", "-a", "x", "y"],
    ["publish", "t", "-f"], ["publish", "t", "-z"], ["publish", "t", "x", "-e", "localhost:50051"],
    ["publish", "t", "x", "-e", "https://localhost"], ["subscribe", "t", "-p", "middle"], ["subscribe", "t", "-p", "0"],
    ["subscribe", "t", "--auto-ack", "--no-ack"], ["subscribe", "t", "--tail", "-g", "g"], ["subscribe", "t", "--credits", "0"],
    ["topics"], ["topics", "list", "-e", f"http://{NOBODY}", "-ojson"], ["topic", "list", "-o", "XML"],
]


def run(program, args, name="sluicectl"):
    environment = {k: v for k, v in os.environ.items() if k not in ("SLUICE_BOOTSTRAP", "SLUICE_ENDPOINT")}
    done = subprocess.run([name, *args], executable=program, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=30, env=environment, check=False)
    shown = " ".join(a if a and re.fullmatch(r"[\w.,:=|/-]+", a) else f"'{a}'" for a in [name, *args])
    out = re.sub(r"^(\w+ctl) \d+\.\d+\.\d+\S*$", r"\1 VERSION", done.stdout, flags=re.M)
    return f"$ {shown}\n{out}[{done.returncode}]\n\n"


def commands(program):
    """Words of every command, as the overview lists them."""
    out = subprocess.run([program, "help"], stdout=subprocess.PIPE, text=True, check=True).stdout
    block = out.split("Commands\n")[1].split("\n\n")[0]
    return [re.split(r" [A-Z\[]|  ", line.strip())[0].split() for line in block.splitlines()]


def transcript(program):
    parts = [run(program, ["help"]), run(program, ["help"], name="streamctl")]
    parts += [run(program, ["help", *words]) for words in commands(program)]
    parts += [run(program, args) for args in WRONG]
    parts.append(run(program, ["completion", "bash"]))
    return "".join(parts)


# What is typed, as bash splits it, and the words that are offered.
COMPLETED = [
    (["to"], "topic topics"), (["-e", "http", ":", "//a", "topics", ""], "list"), (["status", "-o", "j"], "json"),
    (["topic", ""], "list create describe alter delete"),
    (["--bootstrap", "127.0.0.1", ":", "9092", "topic", "cr"], "create"),
    (["--bootstrap", "=", "127.0.0.1", ":", "9092", "group", "res"], "reset-offsets"),
    (["topic", "create", "--partitions", "3", "--conf"], "--config"),
    (["topic", "create", "t", "--config", "retention.ms", "=", "5", "--val"], "--validate-only"),
    (["status", "--output", "j"], "json"), (["completion", "z"], "zsh"), (["help", "gr"], "group"),
]


def offered(program, words):
    """What the completion function of bash offers for the last of these words."""
    script = (f"PATH={Path(program).parent}:$PATH; source <(sluicectl completion bash)\n"
              'COMP_WORDS=(sluicectl "$@"); COMP_CWORD=$#; _sluicectl; echo "${COMPREPLY[*]}"')
    return subprocess.run(["bash", "--norc", "-c", script, "bash", *words], stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def main():
    program = str(Path(sys.argv[1]).resolve())
    now = transcript(program)
    if "--update" in sys.argv:
        GOLDEN.write_text(now, encoding="utf-8")
    then = GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""
    bash = subprocess.run(["bash", "-n"], input=run(program, ["completion", "bash"]).split("\n", 1)[1].rsplit("[0]")[0],
                          text=True, check=False)
    wrong = [(words, found) for words, wanted in COMPLETED if (found := offered(program, words)) != wanted]
    print("1..3")
    print(f"{'ok' if now == then else 'not ok'} 1 - help and messages equal the golden transcript")
    print(f"{'ok' if bash.returncode == 0 else 'not ok'} 2 - bash accepts the completion script")
    print(f"{'not ok' if wrong else 'ok'} 3 - bash offers the words that fit, options with values in front or not")
    for words, found in wrong:
        print(f"# {' '.join(words)}: {found or 'nothing'}")
    for line in difflib.unified_diff(then.splitlines(), now.splitlines(), "golden", "now", lineterm="", n=1):
        print(f"# {line}")
    return 0 if now == then and bash.returncode == 0 and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
