"""A mixed load on a driver, with a ledger: each write has a mark, and what became of it is told by what was raised."""

import asyncio
import itertools
from collections import Counter
from typing import Any

from app_kernel.core.errors import ConnectionLost, StoreError, Unavailable
from app_kernel.db.drivers.base import ANY_GENERATION, Driver
from tests.db.server_tools import spelled, unit

CREATE = "CREATE TABLE marks (mark varchar(99) NOT NULL, part bigint NOT NULL)"
INSERT = "INSERT INTO marks (mark, part) VALUES ($1, $2)"
PARTS = {"run": 1, "write": 2, "transaction": 3}
"""How many rows a write of each kind leaves, if it happened."""


class Load:
    """Writers and readers; `marks` that nobody acknowledged and nobody refused may or may not have happened."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._insert = spelled(driver, INSERT)
        self._numbers = itertools.count()
        self.acked: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.reads = 0
        self.errors: Counter[str] = Counter()
        self.slowest_error = 0.0

    async def write(self, kind: str) -> None:
        """One write; raises what is not Unavailable, and CancelledError."""
        mark = f"{kind}-{next(self._numbers)}"
        began = asyncio.get_running_loop().time()
        self.unknown[mark] = kind
        try:
            await getattr(self, f"_{kind}")(mark)
        except Unavailable as exc:
            self.errors[type(exc).__name__] += 1
            self.slowest_error = max(self.slowest_error, asyncio.get_running_loop().time() - began)
            if not isinstance(exc, ConnectionLost):
                # "Nothing was changed", says the class.
                self.refused[mark] = self.unknown.pop(mark)
        else:
            self.acked[mark] = self.unknown.pop(mark)

    async def read(self) -> None:
        """One read."""
        try:
            await self._driver.fetch("SELECT count(*) FROM marks", ())
            self.reads += 1
        except Unavailable as exc:
            self.errors[type(exc).__name__] += 1

    async def go_on(self, stop: asyncio.Event, kind: str) -> None:
        """Writes, or reads, until told to stop; after an error it waits a little, as a client would."""
        while not stop.is_set():
            before = self.errors.total()
            await (self.read() if kind == "read" else self.write(kind))
            if self.errors.total() > before:
                await asyncio.sleep(0.01)

    async def _run(self, mark: str) -> None:
        await self._driver.run(self._insert, (mark, 0))

    async def _write(self, mark: str) -> None:
        await self._driver.write(unit((self._insert, mark, 0), (self._insert, mark, 1)), ANY_GENERATION, "marks")

    async def _transaction(self, mark: str) -> None:
        transaction = await self._driver.begin(5)
        try:
            for part in range(3):
                await transaction.run(self._insert, (mark, part))
        except (StoreError, asyncio.CancelledError):
            await transaction.rollback()
            raise
        await transaction.commit()

    async def check(self, rows: list[tuple[Any, Any]]) -> dict[str, int]:
        """Whether `rows`, mark and count, are what they may be; the figures."""
        found = dict(rows)
        for mark, kind in self.acked.items():
            assert found.get(mark) == PARTS[kind], (
                f"the acknowledged {mark} was done {found.get(mark)} times or in part"
            )
        for mark in self.refused:
            assert mark not in found, f"{mark} happened, although an error said that nothing was changed"
        for mark, kind in self.unknown.items():
            assert found.get(mark) in (None, PARTS[kind]), f"{mark} happened in part or twice: {found.get(mark)}"
        assert found.keys() <= self.acked.keys() | self.unknown.keys()
        happened = sum(mark in found for mark in self.unknown)
        return {
            "acked": len(self.acked),
            "refused": len(self.refused),
            "unknown": len(self.unknown),
            "of them": happened,
        }


COUNT = "SELECT mark, count(*) FROM marks GROUP BY mark"
KINDS = ("run", "write", "transaction", "read")
