"""A program that writes to `items` on a server from many tasks, done or killed: URL RUN SAVES TASKS OWNER."""

import asyncio
import itertools
import sys

from tests.faults.children import emit
from tests.faults.mixed_writer import Writer
from tests.faults.recorded import connect_recorded
from tests.faults.recorder import Recorder


async def main(url: str, run: str, saves: int, tasks: int, owner: str) -> None:
    """Connects and shares the saves among the tasks."""
    numbers = itertools.count(1)
    async with connect_recorded(url) as db:
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
