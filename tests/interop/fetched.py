"""Clients that are fetched from their registries the first time and kept in $PEERS_HOME (~/.cache/sluice-peers).

The scripts that fetch Kafka and librdkafka's tests are in a folder beside this repository: $PEERS, or else the nearest
`shared/peers` above it.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from harness import ROOT, skip_all  # noqa: E402

HOME = Path(os.environ.get("PEERS_HOME", Path.home() / ".cache" / "sluice-peers"))


def peers_folder():
    if "PEERS" in os.environ:
        return Path(os.environ["PEERS"])
    places = [above / "shared" / "peers" for above in ROOT.parents]
    return next((place for place in places if place.is_dir()), places[0])


def need(*programs):
    """Skips by name when a program that the fetching takes is not installed."""
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        skip_all(f"{', '.join(missing)} not found; install them with: tools/deps.sh interop")


def peer_script(name, *programs):
    """A script of the peers folder, which is not part of this repository, and what it runs."""
    script = peers_folder() / name
    if not script.exists():
        skip_all(f"{script} is missing: set PEERS to the folder that holds {name}")
    need(*programs)
    return str(script)


def tell(text):
    """What a long test is doing, for the one who waits (tools/run_tests.py shows it)."""
    if path := os.environ.get("SLUICE_PROGRESS"):
        Path(path).write_text(text, encoding="utf-8")


def quiet(command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def python_with(name, *packages):
    """The interpreter of a virtual environment that holds the packages."""
    folder = HOME / f"venv-{name}"
    done = folder / ".complete"
    wanted = "\n".join(packages)
    if not done.exists() or done.read_text() != wanted:
        tell("installing " + " ".join(packages))
        quiet([sys.executable, "-m", "venv", "--clear", str(folder)])
        quiet([str(folder / "bin" / "pip"), "install", "-q", *packages])
        done.write_text(wanted)
    return str(folder / "bin" / "python")


def source_of(package):
    """The unpacked source archive of a PyPI package (its tests come with it)."""
    folder = HOME / f"source-{package}"
    if not (folder / ".complete").exists():
        tell(f"fetching the sources of {package}")
        folder.mkdir(parents=True, exist_ok=True)
        quiet([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
        quiet([str(folder / "venv" / "bin" / "pip"), "download", "-q", "--no-deps", "--no-binary", ":all:", package,
               "-d", str(folder)])
        quiet(["tar", "-xzf", str(next(folder.glob("*.tar.gz"))), "-C", str(folder)])
        (folder / ".complete").touch()
    return next(p for p in folder.iterdir() if p.is_dir() and p.name != "venv")
