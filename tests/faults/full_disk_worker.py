"""The admin worker on a disk that is full while a file is there: FILE, then the worker's own options."""

import sys
from pathlib import Path

import apsw

from app_kernel.admin_worker import main

IS_FULL = Path(sys.argv.pop(1))


class FullFile(apsw.VFSFile):
    """A file that nothing can be written to while the disk is full."""

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's name
        if IS_FULL.exists():
            raise apsw.FullError("the disk is full")
        super().xWrite(data, offset)


class FullDisk(apsw.VFS):
    """The files of the system, but for the writes."""

    def __init__(self) -> None:
        super().__init__("full-disk", "unix", makedefault=True)

    def xOpen(self, name: object, flags: list[int]) -> FullFile:  # noqa: N802 - SQLite's name
        return FullFile("unix", name, flags)


if __name__ == "__main__":
    disk = FullDisk()
    main()
