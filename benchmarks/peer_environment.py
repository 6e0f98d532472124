"""Environments of peers that need other releases of our own dependencies; made on first use, each from pinned files."""

from __future__ import annotations

import hashlib
import subprocess
import sys

from benchmarks.harness import ROOT, BenchError
from tools.debian import held_lock

INSTALL_SECONDS = 400
FOLDER = ROOT / ".venv"


def python_of(peer: str) -> str:
    """The interpreter of `requirements/bench-<peer>.txt`. Raises BenchError when it cannot be installed."""
    pinned = ROOT / "requirements" / f"bench-{peer}.txt"
    made_from = f"{sys.version_info[:2]} {hashlib.sha256(pinned.read_bytes()).hexdigest()}"
    home = FOLDER / f"bench-{peer}"
    FOLDER.mkdir(exist_ok=True)
    with held_lock(FOLDER):
        mark, python = home / ".made", home / "bin" / "python"
        if not mark.exists() or mark.read_text(encoding="ascii") != made_from:
            # Our own pip installs into it: a pip of its own, and compiling what is hardly imported, take half the time.
            _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], peer)
            pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
            _run([*pip, "install", "--no-compile", "--require-hashes", "--requirement", str(pinned)], peer)
            mark.write_text(made_from, encoding="ascii")
    return str(python)


def _run(command: list[str], peer: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise BenchError(f"{peer} was not installed within {INSTALL_SECONDS} s") from None
    if done.returncode != 0:
        raise BenchError(f"{peer} cannot be installed: {done.stderr.strip()[-500:]}")
