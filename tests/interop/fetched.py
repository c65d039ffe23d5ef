"""Clients that are fetched from their registries the first time and kept in $PEERS_HOME (~/.cache/sluice-peers)."""
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))
from harness import ROOT, skip_all  # noqa: E402

HOME = Path(os.environ.get("PEERS_HOME", Path.home() / ".cache" / "sluice-peers"))
PEERS = Path(os.environ.get("PEERS", ROOT.parent / "shared" / "peers"))


def peer_script(name):
    """A script of the peers folder, which is not part of this repository."""
    script = PEERS / name
    if not script.exists():
        skip_all(f"{name} is missing: set PEERS to the folder that holds it")
    return str(script)


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
        quiet([sys.executable, "-m", "venv", "--clear", str(folder)])
        quiet([str(folder / "bin" / "pip"), "install", "-q", *packages])
        done.write_text(wanted)
    return str(folder / "bin" / "python")


def source_of(package):
    """The unpacked source archive of a PyPI package (its tests come with it)."""
    folder = HOME / f"source-{package}"
    if not (folder / ".complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        quiet([sys.executable, "-m", "venv", "--clear", str(folder / "venv")])
        quiet([str(folder / "venv" / "bin" / "pip"), "download", "-q", "--no-deps", "--no-binary", ":all:", package,
               "-d", str(folder)])
        quiet(["tar", "-xzf", str(next(folder.glob("*.tar.gz"))), "-C", str(folder)])
        (folder / ".complete").touch()
    return next(p for p in folder.iterdir() if p.is_dir() and p.name != "venv")
