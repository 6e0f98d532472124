"""A task may be cancelled at any instant of a write: it happened whole or not at all, and the writer goes on."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from app_kernel.core.errors import StoreError, VersionConflict
from app_kernel.db.database import Database, create_database
from app_kernel.db.drivers.sqlite_writer import SqliteWriter
from app_kernel.db.store import Store
from tests.faults.figures import figure
from tests.faults.invariants import assert_sound

SAVES = figure(short=2_000, long=20_000)
IN_FLIGHT = 100
CLOSE_SECONDS = 5


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[Store]:
    """An open database; at the end it must close in time, with nothing having escaped into the event loop."""
    escaped: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: escaped.append(context))
    database: Database = create_database(f"sqlite:///{path}")
    await database.open()
    yield database.connection()
    await asyncio.wait_for(database.close(), CLOSE_SECONDS)
    gc.collect()
    await asyncio.sleep(0)
    assert escaped == []


async def run_and_cancel(tasks: list[asyncio.Task[Any]], chance: random.Random) -> list[asyncio.Task[Any]]:
    """Cancels about 30 % of the tasks at random moments, waits for all; gives those that were told to stop."""
    loop = asyncio.get_running_loop()
    doomed = [task for task in tasks if chance.random() < 0.3]
    for task in doomed:
        if chance.random() < 0.3:
            task.cancel()
        else:
            loop.call_later(chance.uniform(0, 0.015), task.cancel)
    await asyncio.wait(tasks)
    return doomed


@pytest.mark.soak
@pytest.mark.acceptance("DB11")
async def test_cancelled_saves_happen_whole_or_not_at_all_and_the_writer_goes_on(tmp_path: Path) -> None:
    """2,000 saves, 100 at a time, 30 % cancelled; 20,000 in the long run."""
    path = tmp_path / "app.db"
    chance = random.Random(7)
    acked: dict[str, dict[str, Any]] = {}
    cancelled: list[str] = []
    async with watched(path) as db:
        for start in range(0, SAVES, IN_FLIGHT):
            tasks = [
                asyncio.create_task(save(db, number), name=f"m{number}") for number in range(start, start + IN_FLIGHT)
            ]
            await run_and_cancel(tasks, chance)
            for task in tasks:
                if task.cancelled():
                    cancelled.append(task.get_name())
                else:
                    acked[task.get_name()] = task.result()
        assert (await db.save_entity("items", {"id": "hot", "mark": "last"}))["mark"] == "last"
        history = {row["mark"]: row for row in await db.find_entities("items_history")}
    assert SAVES * 0.05 < len(cancelled) < SAVES * 0.35
    for mark, row in acked.items():
        assert {name: history[mark][name] for name in row} == row
    done = sum(mark in history for mark in cancelled)
    print(f"{len(acked)} acknowledged, {len(cancelled)} cancelled of which {done} had happened")
    assert len(history) == len(acked) + done + 1
    assert_sound(path, "items")


async def save(db: Store, number: int) -> dict[str, Any]:
    """A new row, or the one that all change; now and then with a field that is new."""
    entity: dict[str, Any] = {"mark": f"m{number}", "number": number}
    if number % 2:
        entity["id"] = "hot"
    if number % 200 == 17:
        entity[f"new_{number}"] = number
    return await db.save_entity("items", entity)


@pytest.mark.acceptance("DB11")
async def test_errors_of_cancelled_tasks_do_not_escape_either(tmp_path: Path) -> None:
    """500 saves that fail, 30 % of them cancelled around the moment at which they hear of it."""
    chance = random.Random(8)
    async with watched(tmp_path / "app.db") as db:
        row = await db.save_entity("items", {"id": "a", "name": "first"})
        for _ in range(5):
            saves = [db.save_entity("items", {"id": "a", "name": "no"}, expected_version=9) for _ in range(100)]
            tasks = [asyncio.create_task(save) for save in saves]
            await run_and_cancel(tasks, chance)
            errors = {type(task.exception()) for task in tasks if not task.cancelled()}
            assert errors == {VersionConflict}
        assert await db.get_entity("items", "a") == row


@pytest.mark.acceptance("DB11")
async def test_long_reads_deletes_and_raw_statements_can_be_cancelled_too(tmp_path: Path) -> None:
    chance = random.Random(9)
    path = tmp_path / "app.db"
    async with watched(path) as db:
        await asyncio.gather(*(db.save_entity("items", {"id": f"r{n}", "number": n}) for n in range(1000)))
        for turn in range(5):
            verbs = [
                *(db.find_entities("items", "[number] * 3 - 1 > ?", (n,), order_by="number DESC") for n in range(10)),
                *(db.delete_entity("items", f"r{turn * 40 + n}", permanent=n % 2 == 0) for n in range(40)),
                *(db.execute("UPDATE items SET updated_by = ? WHERE id = 'nobody'", (str(n),)) for n in range(10)),
                *(db.restore_entity("items", f"r{turn * 40 + n}") for n in range(20)),
            ]
            tasks = [asyncio.create_task(verb) for verb in verbs]
            await run_and_cancel(tasks, chance)
            assert not [task for task in tasks if not task.cancelled() and task.exception() is not None]
        assert await db.count_entities("items") > 700
    assert_sound(path, "items")


def test_a_loop_that_ends_while_its_saves_are_under_way_does_not_stop_the_writer(tmp_path: Path) -> None:
    """Ten loops, each closed with 50 saves in the writer's queue, and one more that still can save."""
    database = create_database(f"sqlite:///{tmp_path / 'app.db'}")

    async def leave() -> None:
        db = database.connection()
        for number in range(50):
            asyncio.get_running_loop().create_task(db.save_entity("items", {"number": number}))
        await asyncio.sleep(0)

    async def stay() -> dict[str, Any]:
        row = await asyncio.wait_for(database.connection().save_entity("items", {"id": "last"}), CLOSE_SECONDS)
        await asyncio.wait_for(database.close(), CLOSE_SECONDS)
        return row

    asyncio.run(database.open())
    for _ in range(10):
        asyncio.run(leave())
    assert asyncio.run(stay())["_version"] == 1
    assert_sound(tmp_path / "app.db", "items")


async def test_an_error_of_the_writer_itself_reaches_who_waits_and_the_writer_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with watched(tmp_path / "app.db") as db:
        await db.save_entity("items", {"id": "a", "number": 1})
        with monkeypatch.context() as patch:
            patch.setattr(SqliteWriter, "_begin", Mock(side_effect=MemoryError("no room")))
            saves = [db.save_entity("items", {"number": number}) for number in range(10)]
            outcomes = await asyncio.wait_for(asyncio.gather(*saves, return_exceptions=True), CLOSE_SECONDS)
        assert {type(outcome) for outcome in outcomes} == {MemoryError}
        assert (await db.save_entity("items", {"id": "a", "number": 2}))["_version"] == 2
    assert_sound(tmp_path / "app.db", "items")


@pytest.mark.acceptance("DB11")
async def test_closing_with_work_under_way_finishes_it_and_refuses_what_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "app.db"
    async with watched(path) as db:
        await db.save_entity("items", {"id": "first", "mark": "first"})
        tasks = [asyncio.create_task(db.save_entity("items", {"mark": f"m{n}"})) for n in range(300)]
        await asyncio.sleep(0)
        doomed = tasks[::3]
        for task in doomed:
            task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(outcome, dict) for outcome in outcomes) == len(tasks) - len(doomed)
    with pytest.raises(StoreError, match="closed"):
        await db.save_entity("items", {"mark": "late"})
    with pytest.raises(StoreError, match="closed"):
        await db.get_entity("items", "first")
    assert_sound(path, "items")
