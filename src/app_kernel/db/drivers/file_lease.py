"""The right to do something alone, as a lock on a file beside the database: the system gives it back with the process.

The lock is the process's own (`lockf`), so that a child which was forked does not keep it when its parent dies. Such a
lock does not tell two holders in one process apart, and closing the file twice would lose it: a set does that.
"""

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from app_kernel.core.errors import Unavailable
from app_kernel.db.drivers.base import Lease

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)

_held_here: set[tuple[int, str]] = set()
"""Process id and file of what this process holds; the id, because a forked child inherits the set."""


class FileLease(Lease):
    """A held lease; made by `acquire`."""

    def __init__(self, path: str, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._owner = os.getpid()

    @classmethod
    def acquire(cls, database_path: str, name: str) -> Self | None:
        """The lease `name` on the database file; None while somebody else has it, in this process or another.

        Its file stands beside the database, where every process that can open the one can lock the other. Raises
        Unavailable when it cannot be made.
        """
        path = f"{os.path.realpath(database_path)}-{name}.lock"
        mine = (os.getpid(), path)
        if mine in _held_here:
            return None
        _held_here.add(mine)
        descriptor = None
        try:
            descriptor = _open_locked(path)
            if descriptor is not None:
                _share(descriptor, database_path)
        except OSError as exc:
            raise Unavailable(f"The lock file beside the database cannot be opened: {exc.strerror}.") from exc
        finally:
            if descriptor is None:
                _held_here.discard(mine)
        return None if descriptor is None else cls(path, descriptor)

    async def renew(self) -> bool:
        return self._descriptor >= 0 and _is_file(self._path, self._descriptor)

    async def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0 or os.getpid() != self._owner:
            return
        with suppress(OSError):
            # Before the lock is given back: whoever opened the file meanwhile finds that it is no longer there.
            if _is_file(self._path, descriptor):
                _remove(self._path)
        with suppress(OSError):
            os.close(descriptor)
        _held_here.discard((self._owner, self._path))


def _open_locked(path: str) -> int | None:
    """The locked file, open; None when another process has locked it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
        try:
            _lock(descriptor)
            if _is_file(path, descriptor):
                found, descriptor = descriptor, -1
                return found
        except (BlockingIOError, PermissionError):
            return None
        finally:
            if descriptor >= 0:
                os.close(descriptor)


def _share(descriptor: int, database_path: str) -> None:
    """Opens the file to those who may open the database: a killed holder leaves it behind, perhaps to another user."""
    found = os.fstat(descriptor)
    # Only what was made here: somebody may have put another file of this user's under the name.
    if not stat.S_ISREG(found.st_mode) or found.st_size or found.st_nlink != 1 or not hasattr(os, "fchmod"):
        return
    # OSError: it is not this user's, or there is no database.
    with suppress(OSError):
        database = Path(database_path).stat()
        if (found.st_uid, found.st_gid) != (database.st_uid, database.st_gid):
            with suppress(OSError):
                os.fchown(descriptor, database.st_uid if os.geteuid() == 0 else -1, database.st_gid)
        os.fchmod(descriptor, database.st_mode & 0o666)


def _remove(path: str) -> None:
    Path(path).unlink()


def _is_file(path: str, descriptor: int) -> bool:
    """Whether the path still leads to the open file."""
    try:
        there, here = Path(path).stat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
