"""A program that writes to a file beside other processes, once told to go: PATH NAME TASKS ROUNDS WORK.

Each acknowledged write goes to the ledger `PATH.NAME.jsonl` and so does each error that reaches a caller; at the end it
says how many there were and how long the slowest write took.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from app_kernel.core.errors import KernelError, VersionConflict
from app_kernel.db.database import connect
from app_kernel.db.store import Store
from tests.faults.children import emit, wait_for_go

NEW_FIELDS = 20
"""That each process adds to the entity that all of them create at once."""


class Contender:
    """The tasks of one process and the ledger that they share."""

    def __init__(self, name: str, ledger: int) -> None:
        self._name = name
        self._ledger = ledger
        self.acks = self.errors = self.conflicts = 0
        self.slowest = 0.0

    async def run(self, db: Store, work: str, tasks: int, rounds: range) -> None:
        """Runs the same work in every task, round after round."""
        self._db = db
        kinds: dict[str, Callable[[int, int], Awaitable[dict[str, Any]]]] = {
            "mixed": self.mixed,
            "blind": self.blind,
            "counted": self.counted,
            "grow": self.grow,
            "visit": self.mixed,
        }

        async def task(number: int) -> None:
            for turn in rounds:
                await self._note(kinds[work], number, turn)

        await asyncio.gather(*(task(number) for number in range(tasks)))

    async def mixed(self, task: int, turn: int) -> dict[str, Any]:
        """By turns a row of its own and the row that everybody writes to."""
        id = "hot" if turn % 2 else f"{self._name}-{task}-{turn}"
        return await self._db.save_entity("items", {"id": id, "mark": f"{self._name}/{task}/{turn}"})

    async def blind(self, task: int, turn: int) -> dict[str, Any]:
        """The row that everybody writes to, whatever its version."""
        return await self._db.save_entity("items", {"id": "hot", "mark": f"{self._name}/{task}/{turn}"})

    async def counted(self, task: int, turn: int) -> dict[str, Any]:
        """Adds one to a counter by reading it and saving with the version that was read, until that succeeds."""
        while True:
            row = await self._db.get_entity("items", "counter")
            assert row is not None
            entity = {"id": "counter", "count": row["count"] + 1, "mark": f"{self._name}/{task}/{turn}"}
            try:
                return await self._db.save_entity("items", entity, expected_version=row["_version"])
            except VersionConflict:
                self.conflicts += 1

    async def grow(self, task: int, turn: int) -> dict[str, Any]:
        """The first save to an entity, with fields that no other process has and some that all have."""
        own = {f"{self._name}_{number}": f"{self._name} {number}" for number in range(NEW_FIELDS)}
        shared = {f"shared_{number}": number for number in range(NEW_FIELDS)}
        return await self._db.save_entity("grown", {"id": f"{self._name}-{task}-{turn}", **own, **shared})

    async def _note(self, work: Callable[[int, int], Awaitable[dict[str, Any]]], task: int, turn: int) -> None:
        began = time.monotonic()
        try:
            row = await work(task, turn)
        except KernelError as exc:
            self.errors += 1
            self._write({"error": type(exc).__name__, "message": exc.message})
        else:
            self.acks += 1
            self._write({"row": row})
        self.slowest = max(self.slowest, time.monotonic() - began)

    def _write(self, line: dict[str, Any]) -> None:
        os.write(self._ledger, json.dumps(line).encode() + b"\n")


async def main(path: str, name: str, tasks: int, rounds: int, work: str) -> None:
    """Opens the file, goes, closes. To `grow`, it opens when told to go; to `visit`, it opens and closes each round."""
    contender = Contender(name, os.open(f"{path}.{name}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND))
    url = f"sqlite:///{path}"
    if work in ("grow", "visit"):
        wait_for_go()
        for first in range(0, rounds, 1 if work == "visit" else rounds):
            async with connect(url) as db:
                await contender.run(db, work, tasks, range(first, first + 1 if work == "visit" else rounds))
    else:
        async with connect(url) as db:
            wait_for_go()
            await contender.run(db, work, tasks, range(rounds))
    emit(
        finished=True,
        acks=contender.acks,
        errors=contender.errors,
        conflicts=contender.conflicts,
        slowest=contender.slowest,
    )


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
