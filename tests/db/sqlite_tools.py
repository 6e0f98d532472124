"""What the tests of the SQLite driver share."""

import asyncio
import threading
from collections import Counter
from contextlib import asynccontextmanager

from app_kernel.db.database import Database
from app_kernel.db.drivers.sqlite import SqliteDriver

COUNTING = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < {}) SELECT count(*) FROM c"
"""A read that takes as long as it is told to count."""


@asynccontextmanager
async def opened(path, **options):
    """A database on a driver with these options, and the driver."""
    driver = SqliteDriver(str(path / "app.db"), synchronous="NORMAL", **options)
    database = Database(driver)
    await database.open()
    try:
        yield database.connection(), driver
    finally:
        await database.close()


async def until(condition):
    """Lets the loop go round until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what it waits for happens in another thread, without an event
            await asyncio.sleep(0)


class Gate:
    """Holds the writer in one unit, so that what comes meanwhile waits and is committed together."""

    def __init__(self, db):
        self.driver, self.commits = db._driver, Counter()
        self.begun, self.gate = threading.Event(), threading.Event()

    def unit(self):
        self.begun.set()
        self.gate.wait(10)
        yield ("SELECT 1", ())

    async def __aenter__(self):
        self.held = asyncio.create_task(self.driver.write(self.unit, self.driver._writer.generation, "notes"))
        await until(self.begun.is_set)
        return self

    async def finish(self, *calls):
        """Starts the calls, lets them queue up, opens the gate; what each of them came to."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        await until(lambda: self.driver._writer._queue.qsize() >= len(tasks))
        self.driver._writer.connection.set_commit_hook(self.count)
        self.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    def count(self):
        self.commits["all"] += 1
        return False

    async def __aexit__(self, *_):
        self.gate.set()
        await self.held


def names(results):
    return [type(each).__name__ for each in results]
