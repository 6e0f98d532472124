"""Tasks are cancelled at any instant: each write happened whole or not at all, no connection is lost or shared."""

import asyncio
import gc
import random
from typing import Any

import pytest

from app_kernel.db.database import create_database
from tests.db.server_places import SharedServer
from tests.db.server_tools import ServerPlace, until
from tests.faults.figures import figure
from tests.faults.server_invariants import assert_sound
from tests.faults.server_load import COUNT, CREATE, KINDS, Load
from tests.faults.test_cancellation import run_and_cancel, save

TASKS = figure(short={"postgres": 3_000, "mysql": 1_000}, long={"postgres": 10_000, "mysql": 10_000})
IN_FLIGHT = 100
POOL = 10


async def exactly(place: ServerPlace, number: int) -> bool:
    """Whether the server has that many connections of the drivers'."""
    return len(await place.backends()) == number


@pytest.mark.soak
@pytest.mark.acceptance("DB11")
async def test_of_thousands_of_cancelled_calls_none_is_done_twice_and_no_connection_is_lost(
    server: SharedServer,
) -> None:
    """3,000 calls of every kind, 100 at a time, 30 % cancelled; 10,000 in the long run."""
    chance = random.Random(11)
    escaped: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: escaped.append(context))
    async with server.place() as place:
        driver = await place.open(pool_size=POOL, pool_timeout=60)
        await driver.execute(CREATE, ())
        load = Load(driver)
        cancelled = 0
        for start in range(0, TASKS[server.name], IN_FLIGHT):
            kinds = [KINDS[number % len(KINDS)] for number in range(start, start + IN_FLIGHT)]
            tasks = [asyncio.create_task(load.read() if kind == "read" else load.write(kind)) for kind in kinds]
            await run_and_cancel(tasks, chance)
            cancelled += sum(task.cancelled() for task in tasks)
            assert not [task for task in tasks if not task.cancelled() and task.exception() is not None]
        pool = driver._pool

        async def whole() -> bool:
            return pool._slots_used == len(pool._idle) <= POOL and not pool._leased and not pool._closing

        await until(whole)
        # Those that changed the schema stay for a moment.
        await until(lambda: exactly(place, pool._slots_used))
        assert await asyncio.gather(*(driver.fetch("SELECT 1", ()) for _ in range(50))) == [[(1,)]] * 50
        figures = await load.check(await place.look(COUNT))
        print(f"{cancelled} cancelled; {figures}; {dict(load.errors)}; {load.reads} reads")
        assert not load.errors
        assert TASKS[server.name] * 0.05 < cancelled < TASKS[server.name] * 0.35
    gc.collect()
    await asyncio.sleep(0)
    assert escaped == []


@pytest.mark.soak
@pytest.mark.acceptance("DB11")
async def test_cancelled_saves_leave_rows_that_agree_with_their_history(server: SharedServer) -> None:
    """1,000 saves of the store's, 100 at a time, 30 % cancelled; 10,000 in the long run."""
    chance = random.Random(12)
    acked: dict[str, dict[str, Any]] = {}
    async with server.place() as place:
        database = create_database(place.url(pool_size=POOL, pool_timeout=60))
        await database.open()
        db = database.connection()
        for start in range(0, figure(short=1_000 if server.name == "postgres" else 400, long=10_000), IN_FLIGHT):
            tasks = [
                asyncio.create_task(save(db, number), name=f"m{number}") for number in range(start, start + IN_FLIGHT)
            ]
            await run_and_cancel(tasks, chance)
            acked |= {task.get_name(): task.result() for task in tasks if not task.cancelled()}
        history = {row["mark"]: row for row in await db.find_entities("items_history")}
        for mark, row in acked.items():
            assert {name: history[mark][name] for name in row} == row
        await database.close()
        await assert_sound(place, "items")
        await until(lambda: exactly(place, 0))


@pytest.mark.acceptance("DB12")
async def test_a_driver_that_is_closed_while_tasks_are_cancelled_leaves_no_connection(server: SharedServer) -> None:
    async with server.place() as place:
        for seed in range(5):
            driver = await place.open(pool_size=4, pool_timeout=60)
            load = Load(driver)
            await driver.execute(CREATE.replace("TABLE", "TABLE IF NOT EXISTS"), ())
            tasks = [asyncio.create_task(load.write(KINDS[n % 3])) for n in range(60)]
            await asyncio.sleep(0.01 * seed)
            for task in tasks[::2]:
                task.cancel()
            async with asyncio.timeout(10):
                await driver.close()
            await asyncio.wait(tasks)
            await until(lambda: exactly(place, 0))
            assert driver._pool._slots_used == 0
