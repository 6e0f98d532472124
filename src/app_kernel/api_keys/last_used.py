"""When keys are used is written in batches beside the requests, at most once a minute for each key.

A request only notes it in memory. What cannot be written, as on a read-only database, is dropped and never fails a
request; a process that is killed loses the notes of its last seconds.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from typing import Any

from app_kernel.api_keys import store
from app_kernel.core import clock
from app_kernel.core.beside import Beside
from app_kernel.core.errors import VersionConflict
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore

OpenDb = Callable[[], AbstractAsyncContextManager[EntityStore]]
Row = dict[str, Any]

BATCH = 100
CAPACITY = 10_000
"""Keys whose last write is remembered; beyond them the oldest are forgotten first."""

_log = logging.getLogger("app_kernel.api_keys")


class LastUses:
    """The uses that one service has not written yet, and hashes that wait to be renewed."""

    def __init__(self, kernel: Kernel) -> None:
        self._beside = Beside(kernel, self._write_all, "api_key_uses_not_written", log=_log)
        self.written = self._beside.written
        self.flush = self._beside.flush
        self._noted: dict[tuple[OpenDb, str], float] = {}
        self._uses: dict[OpenDb, dict[str, datetime]] = {}
        self._hashes: dict[OpenDb, dict[str, tuple[Row, str]]] = {}

    def note(self, open_db: OpenDb, key_id: str) -> None:
        """Notes that a key was used just now, unless that was noted within the last minute."""
        now, place = clock.epoch(), (open_db, key_id)
        before = self._noted.get(place)
        # Both bounds, so that a clock which moved back does not stop the notes for ever.
        if before is not None and 0 <= now - before < store.WRITE_EVERY.total_seconds():
            return
        if before is None and len(self._noted) >= CAPACITY:
            self._noted.pop(next(iter(self._noted)))
        self._noted[place] = now
        self._uses.setdefault(open_db, {})[key_id] = clock.now()
        self._beside.call()

    def note_hash(self, open_db: OpenDb, row: Row, key_hash: str) -> None:
        """Notes that a key's hash was made with an older secret, and what it is under the current one."""
        self._hashes.setdefault(open_db, {})[row["id"]] = (row, key_hash)
        self._beside.call()

    async def _write_all(self) -> None:
        """Writes what was noted; what cannot be written is dropped, and the first reason raised."""
        uses, self._uses = self._uses, {}
        hashes, self._hashes = self._hashes, {}
        failures: list[Exception] = []
        for open_db in {*uses, *hashes}:
            try:
                await self._write(open_db, uses.get(open_db, {}), hashes.get(open_db, {}))
            except Exception as exc:  # noqa: BLE001 - one database that takes no writes keeps no other from its own
                failures.append(exc)
        if failures:
            raise failures[0]

    @staticmethod
    async def _write(open_db: OpenDb, uses: dict[str, datetime], hashes: dict[str, tuple[Row, str]]) -> None:
        async with open_db() as db:
            for start in range(0, len(uses), BATCH):
                await store.write_uses(db, dict(list(uses.items())[start : start + BATCH]))
            for row, key_hash in hashes.values():
                with suppress(VersionConflict):  # changed meanwhile; the next use renews it
                    await store.change_key(db, row, {"key_hash": key_hash})
