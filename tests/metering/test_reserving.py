"""What is reserved by many at once is never more than there is, also where nothing was reserved before."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app_kernel.core.errors import DatabaseBusy
from app_kernel.core.ports import EntityStore
from app_kernel.metering import store
from app_kernel.metering.counters import Counter
from app_kernel.metering.tables import RESERVED, TABLES
from tests.outbox.carrying import ALL_BACKENDS, opened_on

COUNTER: Counter = ("app", "workspace", "w", None, "2026-01", "tokens", None)


class TakenBack(Exception):
    """What a transaction ends with that gives back what it reserved."""


@pytest.fixture(params=ALL_BACKENDS)
async def db(request: pytest.FixtureRequest) -> AsyncIterator[EntityStore]:
    async with opened_on(request.param, request) as (app, _):
        await app.ensure_tables(TABLES)
        yield app.connection()


async def reserve(db: EntityStore, amount: int, available: int, *, kept: bool = True) -> bool:
    try:
        async with db.transaction(seconds=30):
            is_reserved = await store.reserve_amount(db, COUNTER, amount, available)
            if not kept:
                raise TakenBack
            return is_reserved
    except TakenBack:
        return False


async def test_of_many_at_once_as_many_pass_as_there_is_room_for(db: EntityStore) -> None:
    passed = await asyncio.gather(*(reserve(db, 3, 20) for _ in range(24)))
    assert passed.count(True) == 6
    assert await store.get_reserved(db, COUNTER) == 18


async def test_what_others_take_back_is_there_for_the_rest(db: EntityStore) -> None:
    async def until_it_is_done(number: int) -> bool:
        while True:
            try:
                return await reserve(db, 3, 20, kept=number % 4 != 0)
            except DatabaseBusy:
                # On MySQL those who wait for one who is the first, and gives up, may wait for each other then.
                assert db.backend == "mysql"

    passed = await asyncio.gather(*map(until_it_is_done, range(24)))
    assert passed.count(True) == 6
    assert await store.get_reserved(db, COUNTER) == 18


async def test_more_than_there_is_changes_nothing_and_what_is_left_is_taken_whole(db: EntityStore) -> None:
    assert not await reserve(db, 21, 20)
    assert await store.get_reserved(db, COUNTER) == 0
    assert await reserve(db, 15, 20)
    before = await db.privileged.find_entities(RESERVED)
    assert not await reserve(db, 6, 20)
    assert await db.privileged.find_entities(RESERVED) == before
    assert await reserve(db, 5, 20)
    (row,) = await db.privileged.find_entities(RESERVED)
    assert (row["amount"], row["workspace_id"], row["user_id"], row["metric"]) == (20, "w", None, "tokens")
    assert row["updated_at"] > row["created_at"]


async def test_what_is_over_is_removed_and_counted(db: EntityStore) -> None:
    for day in ("2025-01-01", "2025-01-02", "2026-01-01"):
        counter: Counter = (*COUNTER[:4], day, *COUNTER[5:])
        async with db.transaction():
            assert await store.reserve_amount(db, counter, 1, 1)
    assert await store.has_old_reserved(db, "app", "2025-06-01")
    assert await store.prune_reserved(db, "app", "2025-06-01") == 2
    assert await store.prune_reserved(db, "app", "2025-06-01") == 0
    assert [row["period"] for row in await db.privileged.find_entities(RESERVED)] == ["2026-01-01"]
