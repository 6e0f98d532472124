"""A file that several processes map: which handlers started, and when. No broker carries any of it."""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

WORKERS = 4
_HEAD = 8 * (1 + 2 * WORKERS)
"""The starting sign, then ready signs and counts of handlers for each worker."""


class Board:
    """Slots for so many jobs; each is written by one process, so nothing is locked."""

    def __init__(self, path: Path, jobs: int, worker: int = 0) -> None:
        self.jobs, self._worker = jobs, worker
        size = _HEAD + 8 * jobs
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._ran = 0

    def started(self, number: int) -> None:
        """A handler begins with this job."""
        self._ran += 1
        struct.pack_into("d", self._map, _HEAD + 8 * number, time.perf_counter())
        struct.pack_into("q", self._map, 8 * (1 + WORKERS + self._worker), self._ran)

    def get_ready(self) -> None:
        """This worker has loaded all that it needs."""
        struct.pack_into("q", self._map, 8 * (1 + self._worker), 1)

    def give_sign(self) -> None:
        """Every worker may begin."""
        struct.pack_into("q", self._map, 0, 1)

    @property
    def may_begin(self) -> bool:
        """Whether the sign was given."""
        return bool(struct.unpack_from("q", self._map)[0])

    @property
    def ready(self) -> int:
        """Workers that wait for the sign."""
        return sum(struct.unpack_from(f"{WORKERS}q", self._map, 8))

    @property
    def ran(self) -> int:
        """Handlers that were started, those that were started again included."""
        return sum(struct.unpack_from(f"{WORKERS}q", self._map, 8 * (1 + WORKERS)))

    def times(self) -> list[float]:
        """When each job started, on the clock that all processes share; 0 for one that did not."""
        return list(struct.unpack_from(f"{self.jobs}d", self._map, _HEAD))

    def close(self) -> None:
        """Unmaps the file."""
        self._map.close()
