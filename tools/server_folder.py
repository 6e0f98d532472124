"""Where the tests' servers keep their data: in memory where there is room, which spares a tenth of a run's time.

What a killed server had written outlives it there too. A crash of the machine is no matter of any test.
"""

import os
import pwd
import re
import shutil
import tempfile
from pathlib import Path

VARIABLE = "TEST_SERVERS_DIR"
"""The folder to use instead."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - each server makes a folder of its own in it
MEMORY = Path("/proc/meminfo")
CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""What a container may use, of which some is in use: that file is beside it."""
ROOM = 6_000_000_000
"""Bytes: several times what the servers of a run write."""


def choose() -> str | None:
    """The folder that servers are to make theirs in; None for the usual one of temporary files.

    Long runs write much, and their durability is measured with the disk in it: they stay there.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return given
    is_long = os.environ.get("APP_KERNEL_SOAK") == "1"
    return None if is_long or room() < ROOM else str(SHARED_MEMORY)


def room() -> int:
    """Bytes that may be written to memory, as far as the system tells; 0 where it does not."""
    try:
        if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
            return 0
        available = re.search(r"^MemAvailable:\s+(\d+) kB", MEMORY.read_text(), re.MULTILINE)
        found = [shutil.disk_usage(SHARED_MEMORY).free, int(available[1]) * 1024 if available else 0]
        if CONTAINER.exists() and (most := CONTAINER.read_text().strip()).isdecimal():
            found.append(int(most) - int(CONTAINER.with_name("memory.current").read_text()))
        return min(found)
    except OSError:
        return 0


def make(prefix: str, user: pwd.struct_passwd | None) -> Path:
    """A new folder for one server, which runs as `user` where one is given."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=os.environ.get(VARIABLE) or None))
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    return folder


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom root becomes to run a server (initdb refuses root); None for anybody else."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None
