"""A program that writes to `items` from many tasks until it is done or killed: PATH RUN SAVES TASKS OWNER.

Rows of their own are told apart by the owner's name, so that two processes may write to one file.
"""

import asyncio
import itertools
import random
import sys
from typing import Any

from app_kernel.db.store import Store
from tests.faults.children import emit
from tests.faults.recorded import connect_recorded
from tests.faults.recorder import ENTITY, Recorder

OWN_ROWS = 8
"""Rows of each task that no other task writes to, so that their next version is known."""
HOT_ROWS = 4
"""Rows that all tasks write to."""
NEW_FIELDS = 3
"""In one run, beside one field that changes its kind."""


class Writer:
    """One task's share of the writes."""

    def __init__(self, db: Store, recorder: Recorder, run: str, name: str) -> None:
        self._db = db
        self._recorder = recorder
        self._run = run
        self._name = name
        self._random = random.Random(f"{run}/{name}")
        self._own: dict[str, dict[str, Any] | None] = {}

    async def step(self, number: int) -> None:
        """One write of a random sort."""
        chance = self._random.random()
        if chance < 0.2:
            await self._recorder.save(None, self._fields(number))
        elif chance < 0.4:
            await self._recorder.save(f"hot-{self._random.randrange(HOT_ROWS)}", self._fields(number))
        else:
            await self._step_on_own(chance, number)

    async def _step_on_own(self, chance: float, number: int) -> None:
        id = f"own-{self._name}-{self._random.randrange(OWN_ROWS)}"
        if id not in self._own:
            self._own[id] = await self._db.get_entity(ENTITY, id, include_deleted=True)
        row = self._own[id]
        if row is not None and row["deleted_at"] is not None:
            self._own[id] = await self._recorder.restore(id)
        elif row is not None and chance < 0.44:
            await self._recorder.delete(row, permanent=True)
            self._own[id] = None
        elif row is not None and chance < 0.5:
            self._own[id] = await self._recorder.delete(row)
        else:
            self._own[id] = await self._recorder.save(id, self._fields(number))

    def _fields(self, number: int) -> dict[str, Any]:
        fields: dict[str, Any] = {"number": number, "name": f"item {number}", "tags": ["a", number]}
        if self._random.random() < 0.5:
            fields |= {"price": number / 8, "open": number % 2 == 0, "note": self._random.choice([None, "x" * 200])}
        if number % 1000 < NEW_FIELDS:
            fields[f"new_{self._run}_{number % 1000}"] = f"new {number}"
        if number % 1000 in (500, 510):
            fields[f"mixed_{self._run}"] = number if number % 1000 == 500 else f"text {number}"
        return fields


async def main(path: str, run: str, saves: int, tasks: int, owner: str) -> None:
    """Opens the file and shares the saves among the tasks."""
    numbers = itertools.count(1)
    async with connect_recorded(f"sqlite:///{path}") as db:
        emit(ready=True)
        recorder = Recorder(db, run)

        async def work(task: int) -> None:
            writer = Writer(db, recorder, run, f"{owner}{task}")
            while (number := next(numbers)) <= saves:
                await writer.step(number)

        async with asyncio.TaskGroup() as group:
            for task in range(tasks):
                group.create_task(work(task))
    emit(finished=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]))
