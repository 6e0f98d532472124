"""The interpreters that an installation is tried on: this one, and those that this machine has beside it."""

import os
import shutil
import subprocess
import sys
from functools import cache

from tests.packaging.distributions import project

ASK = "import sys; print('%d.%d' % sys.version_info[:2])"
OWN = "{}.{}".format(*sys.version_info)


def versions() -> list[str]:
    """Those that the project says it runs on."""
    said = project()["classifiers"]
    numbers = [text.rpartition(" ")[2] for text in said]  # type: ignore[attr-defined]
    return [number for number in numbers if number.startswith("3.")]


@cache
def find_python(version: str) -> str | None:
    """A working interpreter of that version: this one, one that TEST_PYTHONS names, or one on PATH; None without."""
    named = os.environ.get("TEST_PYTHONS", "").split(os.pathsep)
    on_path = shutil.which(f"python{version}")
    candidates = [sys.executable] if version == OWN else [*filter(None, named), *filter(None, [on_path])]
    return next((path for path in candidates if _version_of(path) == version), None)


def _version_of(path: str) -> str | None:
    """What it says itself; None if it does not run, as what a version manager puts in the place of others does."""
    try:
        done = subprocess.run([path, "-c", ASK], check=False, capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
