"""A program whose writes and their order are always the same: PATH. One of each kind, and a group in one commit."""

import asyncio
import sys

from tests.faults.children import emit, wait_for_go
from tests.faults.recorded import connect_recorded
from tests.faults.recorder import Recorder

PAIRED = "pairs"
"""Rows of it are written by one transaction only: two or none."""


async def main(path: str) -> None:
    """Creates, updates, adds a field, saves a group and a transaction, deletes, restores, changes a kind, purges."""
    async with connect_recorded(f"sqlite:///{path}") as db:
        recorder = Recorder(db, "s")
        await recorder.save("a", {"name": "first"})
        await recorder.save("b", {"name": "purged later", "number": 1})
        row = await recorder.save("a", {"name": "second"})
        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(recorder.save(f"g{number % 6}", {"name": f"together {number}"}))
        async with db.transaction():
            await db.save_entity(PAIRED, {"id": "left", "name": "one of two"})
            await db.save_entity(PAIRED, {"id": "right", "name": "one of two", "new_in_transaction": 1})
            await db.save_entity(PAIRED, {"id": "left", "name": "the other's twin"})
        await recorder.delete(row)
        await recorder.restore("a")
        row = await recorder.save("b", {"number": "text, so that the column moves"})
        await recorder.delete(row, permanent=True)
        await recorder.save("a", {"name": "x" * 20_000})
    emit(finished=True)


if __name__ == "__main__":
    wait_for_go()
    asyncio.run(main(sys.argv[1]))
