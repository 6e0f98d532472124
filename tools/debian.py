"""Finds the servers' programs, and installs Debian's packages of them where that is possible and nothing else."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

# The programs that each package must bring.
Packages = Mapping[str, Sequence[str]]


class ServiceUnavailable(RuntimeError):
    """A server could not be found, installed or started; the message is one that a person can act on."""


def find_program(name: str) -> str | None:
    """The path of a server program, on PATH or where Debian keeps it."""
    return shutil.which(name) or shutil.which(name, path=os.pathsep.join(usual_places()))


def find_browser() -> str | None:
    """A Chromium or Chrome: the one that TEST_CHROMIUM names, else one that is installed; None without one."""
    given = os.environ.get("TEST_CHROMIUM")
    found = (find_program(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return given or next((path for path in found if path is not None), None)


def provide_browser() -> None:
    """Installs Chromium where it is missing and that can be done; the tests that need it say so elsewhere."""
    if find_browser() is not None or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    with held_lock(Path(tempfile.gettempdir())):
        if find_browser() is None:
            install(["chromium"])


def usual_places() -> list[str]:
    """Where Debian keeps servers, out of an ordinary user's PATH; the newest PostgreSQL first."""
    postgres = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(3))
    return [*map(str, reversed(postgres)), "/usr/sbin", "/usr/local/sbin"]


def program(name: str) -> str:
    """Like find_program, for a program that must be there."""
    path = find_program(name)
    if path is None:
        raise ServiceUnavailable(f"The program {name!r} was not found.")
    return path


def require_programs(packages: Packages, variables: Sequence[str] = ()) -> None:
    """Install what is missing where that can be done (root on Debian); raises ServiceUnavailable elsewhere."""
    missing = missing_packages(packages)
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        instead = f", or set {', '.join(variables)} to running servers" if variables else ""
        raise ServiceUnavailable(
            f"The tests need {', '.join(missing)}: install them (on Debian and Ubuntu: "
            f"sudo apt-get install {' '.join(missing)}){instead}."
        )
    with held_lock(Path(tempfile.gettempdir())):
        # Another test process may have installed them while this one waited.
        install(missing_packages(packages))
    if missing := missing_packages(packages):
        raise ServiceUnavailable(f"{', '.join(missing)} is installed, but its programs were not found.")


def missing_packages(packages: Packages) -> list[str]:
    """Those of which a program cannot be found."""
    return [package for package, programs in packages.items() if not all(map(find_program, programs))]


def install(packages: Sequence[str]) -> None:
    """Install Debian packages without letting them start daemons of their own."""
    if not packages:
        return
    print(f"Installing {', '.join(packages)} for the tests ...", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    with daemons_forbidden(Path("/usr/sbin/policy-rc.d")):
        for step in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", *step],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise ServiceUnavailable(f"apt-get {step[0]} failed:\n{done.stderr[-2000:]}")


@contextmanager
def daemons_forbidden(policy: Path) -> Iterator[None]:
    """Have Debian's package scripts start no daemon; a policy that is there already stays as it is."""
    try:
        descriptor = os.open(policy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755)
    except FileExistsError:
        yield
        return
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        yield
    finally:
        policy.unlink(missing_ok=True)


@contextmanager
def held_lock(directory: Path) -> Iterator[None]:
    """One process at a time; a directory serves as the lock, so no file is left behind."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
