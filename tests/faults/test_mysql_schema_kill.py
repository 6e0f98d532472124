"""A process that dies anywhere in a change of the schema, which MySQL cannot take back, alters no value for anybody."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from app_kernel.db.database import create_database
from app_kernel.db.dialects.mysql_catalog import MARK_SHIFT, MOVED
from app_kernel.db.store import Store
from app_kernel.db.table import HISTORY_FIELDS, OWNED_FIELDS
from tests.db.mysql_tools import Place, place_on
from tests.db.server_tools import until
from tests.faults.children import Child
from tests.faults.figures import figure
from tests.faults.schema_changer import CHANGES, change_schema

Row = Mapping[str, Any]

ROWS: list[dict[str, Any]] = [
    {"id": "a", "n": 1, "t": "x", "u": "one"},
    {"id": "b", "n": 2**53 - 1, "t": "1", "u": "two"},
    {"id": "c", "n": None, "t": '"quoted"', "u": None},
]
AT_ONCE = 6
"""Processes that change a table of their own each, and of which each but the last dies at another statement."""
SECONDS = 8.0
"""What a dead process held is free in no time; this is for a machine with other things to do."""
SWAP = figure(short=4, long=5)
"""The statement of the change `text` by which the table has its new column, of which nobody knows yet."""
KILLED_IN = figure(short=("text",), long=tuple(CHANGES))


@pytest.fixture
async def place(mysql_url: str) -> AsyncIterator[Place]:
    async with place_on(mysql_url) as fresh:
        yield fresh


async def opened(place: Place) -> tuple[Any, Store]:
    """Another process, as far as the server can tell."""
    database = create_database(place.url(pool_size=2, statement_timeout=20))
    await database.open()
    return database, database.connection()


def values(rows: Sequence[Row]) -> list[Row]:
    """What was saved of each row, in the order of ids."""
    kernels = {*OWNED_FIELDS, *HISTORY_FIELDS}
    plain = [{name: row[name] for name in row if name not in kernels and row[name] is not None} for row in rows]
    return sorted(plain, key=lambda row: str(row["id"]))


def changed(rows: Sequence[Row], row: Row) -> list[Row]:
    """The rows after one was saved."""
    by_id = {each["id"]: dict(each) for each in rows}
    if row:
        by_id[row["id"]] = by_id.get(row["id"], {}) | dict(row)
    return values(list(by_id.values()))


async def dies(place: Place, entity: str, change: str, number: int) -> list[str] | None:
    """The words of all its statements, from a process that lived; None from one that was killed at this statement."""

    def run() -> list[str] | None:
        with Child("schema_changer", place.url(), entity, change, number) as child:
            lines = list(child.lines())
            status = child.wait()
            assert status in (0, -9), child.errors()
            return lines[0]["finished"] if status == 0 else None

    return await asyncio.to_thread(run)


async def copy_table(place: Place, template: str, entity: str) -> None:
    """Another table with the same columns, rows and history, of which nobody knows yet."""
    for suffix in ("", "_history"):
        await place.look(f'CREATE TABLE "{entity}{suffix}" LIKE "{template}{suffix}"')
        await place.look(f'INSERT INTO "{entity}{suffix}" SELECT * FROM "{template}{suffix}"')
    await place.look(
        f"INSERT INTO kernel_catalog SELECT '{entity}', field, kind, adopted FROM kernel_catalog"
        f" WHERE entity = '{template}'"
    )


async def write_first(db: Store, entity: str, number: int) -> Row:
    """What the old process does before it has heard of anything: a save, alone or in a transaction, or only reads."""
    row = {"id": "b", "t": "as it always was"}
    if number % 3 == 0:
        return {}
    if number % 3 == 1:
        await db.save_entity(entity, row)
    else:
        async with db.transaction():
            await db.save_entity(entity, row)
    return row


async def assert_right(db: Store, entity: str, expected: Sequence[Sequence[Row]], kept: Sequence[Row]) -> None:
    """The rows are one of the expected, and all of the kept are in the history."""
    async with asyncio.timeout(SECONDS):
        found = values(await db.find_entities(entity))
        history = values(await db.find_entities(f"{entity}_history"))
    assert found in expected
    assert [row for row in kept if row not in history] == []


async def assert_goes_on(place: Place, stores: Sequence[Store], entity: str, change: str, number: int) -> None:
    """Every process reads every value right, and the next save finishes what was begun.

    Of the stores the first knows the table as it was; the others have never heard of it.
    """
    old, new, _ = stores
    before = values(ROWS) if change != "create" else []
    kept = before
    asked = CHANGES[change]
    if change != "create":
        async with asyncio.timeout(SECONDS):
            before = changed(before, await write_first(old, entity, number))
    after = changed(before, asked)
    for db in (old, new):
        await assert_right(db, entity, (before, after), kept)
    async with asyncio.timeout(SECONDS):
        await change_schema((old, new)[number % 2], entity, change)
    for db in stores:
        await assert_right(db, entity, (after,), kept)
    columns, history = await place.columns(entity), await place.columns(f"{entity}_history")
    assert not [name for name in columns | history if name.startswith(MOVED)]
    if change != "unique":
        assert {name: history[name] for name in columns} == columns


@pytest.mark.soak
@pytest.mark.acceptance("DB9")
@pytest.mark.parametrize("change", KILLED_IN)
async def test_a_change_of_the_schema_that_dies_at_any_statement_alters_no_value(place: Place, change: str) -> None:
    """SIGKILL behind every statement that changes anything, of a process with a table of its own."""
    database, old = await opened(place)
    if change != "create":
        await old.save_entities("template", ROWS)
    number, lived = 0, False
    while not lived:
        numbers = range(number + 1, number + 1 + AT_ONCE)
        number = numbers[-1]
        for each in numbers if change != "create" else ():
            await copy_table(place, "template", f"things_{each}")
        for each in numbers:
            assert values(await old.find_entities(f"things_{each}")) == (values(ROWS) if change != "create" else [])
        outcomes = await asyncio.gather(*(dies(place, f"things_{each}", change, each) for each in numbers))
        lived = outcomes[-1] is not None
        (later, new), (latest, newest) = [await opened(place) for _ in range(2)]
        for each, outcome in zip(numbers, outcomes, strict=True):
            if outcome is None:
                await assert_goes_on(place, (old, new, newest), f"things_{each}", change, each)
        await later.close()
        await latest.close()
    await database.close()
    assert number > 5
    assert await place.look(f"SELECT value >> {MARK_SHIFT} FROM kernel_meta WHERE \"key\" = 'generation'") == [(0,)]


@pytest.mark.acceptance("DB11")
async def test_a_process_that_listens_tells_everybody_within_a_second_that_another_died_in_a_change(
    place: Place,
) -> None:
    """Nobody reads the table meanwhile: it is the look for signals that finds the mark."""
    database, old = await opened(place)
    await old.save_entities("things", ROWS)
    driver = await place.open(pool_size=1)
    assert await dies(place, "things", "text", SWAP) is None
    marked = f"SELECT 1 FROM kernel_meta WHERE \"key\" = 'generation' AND value >> {MARK_SHIFT} <> 0"
    assert await place.look(marked) == [(1,)]
    end = driver.on_signal("nothing", lambda: None)

    async def told() -> bool:
        return await place.look(marked) == []

    await until(told, 1)
    end()
    assert values(await old.find_entities("things")) == values(ROWS)
    await database.close()


async def test_a_change_of_one_entity_that_was_broken_off_is_no_matter_of_others(place: Place) -> None:
    database, old = await opened(place)
    await old.save_entities("things", ROWS)
    await old.save_entities("others", ROWS)
    assert await dies(place, "things", "text", SWAP) is None
    generation = "SELECT value FROM kernel_meta WHERE \"key\" = 'generation'"
    before = await place.look(generation)
    assert before[0][0] >> MARK_SHIFT
    assert values(await old.find_entities("others")) == values(ROWS)
    await old.save_entity("others", {"id": "d", "t": "new"})
    await old.save_entity("others", {"id": "d", "t": "changed"})
    assert await place.look(generation) == before
    assert values(await old.find_entities("things")) == values(ROWS)
    assert (await place.look(generation))[0][0] >> MARK_SHIFT == 0
    await database.close()
