"""A program that holds the lease "relay" of a database file until it is killed: PATH [fork]."""

import os
import signal
import sys

from app_kernel.db.drivers.file_lease import FileLease
from tests.faults.children import emit


def main(path: str, *, forks: bool) -> None:
    """Takes it, and with `forks` makes a child that lives on."""
    held = FileLease.acquire(path, "relay")
    forked = os.fork() if forks else 0
    if forked == 0 and forks:
        signal.pause()
    emit(held=held is not None, forked=forked)
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1], forks=len(sys.argv) > 2)
