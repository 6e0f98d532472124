"""On every server a transaction of the caller's is whole or nothing, ends in time, and never pretends."""

import asyncio
import time

import pytest

from app_kernel.core.errors import ConnectionLost, DatabaseClosed, TransactionInOtherTask, TransactionTimeout
from app_kernel.db.drivers.base import ANY_GENERATION, Work
from tests.db.server_places import SERVERS, shared_server
from tests.db.server_tools import spelled, unit, until

INSERT = "INSERT INTO notes (id, x) VALUES ($1, $2)"
ALL = "SELECT id, x FROM notes ORDER BY id"


@pytest.fixture(params=SERVERS)
async def place(request):
    async with shared_server(request).place() as fresh:
        yield fresh


@pytest.fixture
async def driver(place):
    opened = await place.open(pool_size=2)
    await opened.execute("CREATE TABLE notes (id varchar(50) PRIMARY KEY, x bigint)", ())
    return opened


async def add(session, id, x):
    await session.run(spelled(session, INSERT), (id, x))


async def rows(session):
    return [tuple(row) for row in await session.fetch(ALL, ())]


async def are_idle(place):
    return {state for _, state in await place.backends()} <= {"idle"}


async def has_one_open(place):
    return [state for _, state in await place.backends()].count("idle in transaction") == 1


async def test_what_the_server_tells_of_an_open_transaction_is_never_old(place, driver):
    for number in range(5):
        transaction = await driver.begin(5)
        await add(transaction, str(number), number)
        # The server may still be at the end of the statement that it has answered.
        await until(lambda: has_one_open(place))
        await transaction.commit()
        await until(lambda: are_idle(place))
    assert len(await rows(driver)) == 5


async def test_it_reads_its_own_writes_and_others_see_them_after_the_commit(place, driver):
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    await transaction.write(unit((spelled(driver, INSERT), "b", 2)), driver.generation, "notes")
    assert await rows(transaction) == [("a", 1), ("b", 2)]
    assert await rows(driver) == []
    await transaction.commit()
    assert await rows(driver) == [("a", 1), ("b", 2)]
    await until(lambda: are_idle(place))


async def test_a_rollback_leaves_nothing_and_may_be_repeated(place, driver):
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    await transaction.rollback()
    await transaction.rollback()
    with pytest.raises(DatabaseClosed, match="rolled back"):
        await transaction.commit()
    assert await rows(driver) == []
    await until(lambda: are_idle(place))


async def test_a_cancelled_call_takes_back_only_itself_and_ends_on_the_server(place, driver):
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    began = asyncio.get_running_loop().time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await transaction.write(
                unit((spelled(driver, INSERT), "b", 2), (spelled(driver, "SELECT pg_sleep(9)"),)),
                ANY_GENERATION,
                "notes",
            )
    assert await rows(transaction) == [("a", 1)]
    assert asyncio.get_running_loop().time() - began < 5
    await transaction.commit()
    assert await rows(driver) == [("a", 1)]


@pytest.mark.acceptance("DB11")
async def test_a_transaction_that_is_open_too_long_is_rolled_back_by_itself(place, driver):
    transaction = await driver.begin(0.3)
    await add(transaction, "a", 1)
    await until(lambda: are_idle(place))
    for call in (transaction.commit(), transaction.fetch(ALL, ()), transaction.begin_nested()):
        with pytest.raises(TransactionTimeout):
            await call
    await transaction.rollback()
    assert await rows(driver) == []


@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("how", ["fetch", "write"])
async def test_a_statement_that_outlasts_the_transaction_ends_with_it_on_the_server_too(place, driver, how):
    transaction = await driver.begin(0.3)
    await add(transaction, "a", 1)
    began = asyncio.get_running_loop().time()
    slow = unit((spelled(driver, INSERT), "b", 2), (spelled(driver, "SELECT pg_sleep(20)"),))
    call = {
        "fetch": lambda: transaction.fetch(spelled(driver, "SELECT pg_sleep(20)"), ()),
        "write": lambda: transaction.write(slow, ANY_GENERATION, "notes"),
    }[how]
    with pytest.raises(TransactionTimeout):
        await call()
    assert asyncio.get_running_loop().time() - began < 5
    with pytest.raises(TransactionTimeout):
        await transaction.commit()
    await until(lambda: are_idle(place), 2)
    assert await rows(driver) == []


@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("call", ["fetch", "run", "commit", "begin_nested"])
async def test_a_transaction_whose_connection_broke_never_pretends(place, driver, call):
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    await place.terminate()
    calls = {
        "fetch": lambda: transaction.fetch(ALL, ()),
        "run": lambda: add(transaction, "b", 1),
        "commit": transaction.commit,
        "begin_nested": transaction.begin_nested,
    }
    with pytest.raises(ConnectionLost):
        await calls[call]()
    for again in (*calls.values(), lambda: transaction.end_nested(keep=True)):
        with pytest.raises(ConnectionLost):
            await again()
    await transaction.rollback()
    assert await rows(driver) == []


async def test_a_commit_that_is_cancelled_still_ends_it(place, driver):
    for number in range(20):
        transaction = await driver.begin(5)
        await add(transaction, str(number), number)
        task = asyncio.create_task(transaction.commit())
        await asyncio.sleep(number % 4 / 4000)
        task.cancel()
        await asyncio.wait([task])
        with pytest.raises(DatabaseClosed, match="committed"):
            await transaction.fetch(ALL, ())
    assert len(await rows(driver)) == 20
    await until(lambda: are_idle(place))


async def test_two_tasks_cannot_use_one_transaction_at_the_same_time(driver):
    transaction = await driver.begin(5)
    slow = asyncio.create_task(transaction.fetch(spelled(driver, "SELECT pg_sleep(0.2)"), ()))
    await asyncio.sleep(0)
    with pytest.raises(TransactionInOtherTask):
        await transaction.fetch(ALL, ())
    await slow
    await transaction.commit()


async def test_a_rollback_while_a_call_is_under_way_ends_both(place, driver):
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    slow = asyncio.create_task(transaction.fetch(spelled(driver, "SELECT pg_sleep(20)"), ()))
    await asyncio.sleep(0.05)
    await transaction.rollback()
    with pytest.raises(DatabaseClosed):
        await slow
    await until(lambda: are_idle(place), 3)
    assert await rows(driver) == []


async def test_a_transaction_begins_on_a_live_connection_after_the_server_dropped_the_idle_ones(place, driver):
    await asyncio.gather(*(driver.fetch(spelled(driver, "SELECT pg_sleep(0.05)"), ()) for _ in range(2)))
    await place.terminate()
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    await transaction.commit()
    assert await rows(driver) == [("a", 1)]


@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("call", ["commit", "fetch", "begin_nested", "end_nested"])
async def test_a_time_that_ran_out_while_the_event_loop_stood_still_is_noticed(place, driver, call):
    transaction = await driver.begin(0.3)
    await add(transaction, "a", 1)
    time.sleep(0.4)  # noqa: ASYNC251 - the loop is to stand still
    calls = {
        "commit": transaction.commit,
        "fetch": lambda: transaction.fetch(ALL, ()),
        "begin_nested": transaction.begin_nested,
        "end_nested": lambda: transaction.end_nested(keep=True),
    }
    with pytest.raises(TransactionTimeout):
        await calls[call]()
    assert transaction.committed is False
    assert await rows(driver) == []
    await until(lambda: are_idle(place), 2)


@pytest.mark.acceptance("DB11")
async def test_a_call_that_ends_after_the_time_is_over_is_not_called_done(driver):
    def work() -> Work[None]:
        yield (spelled(driver, INSERT), ("a", 1))
        time.sleep(0.4)

    transaction = await driver.begin(0.3)
    with pytest.raises(TransactionTimeout):
        await transaction.write(work, ANY_GENERATION, "notes")
    with pytest.raises(TransactionTimeout):
        await transaction.commit()
    assert await rows(driver) == []


async def test_a_connection_that_broke_before_the_commit_kept_nothing_and_says_so(place, driver):
    transaction = await driver.begin(5)
    await add(transaction, "a", 1)
    await place.terminate()
    with pytest.raises(ConnectionLost, match="nothing of the transaction was kept"):
        await add(transaction, "b", 1)
    with pytest.raises(ConnectionLost, match="nothing of the transaction was kept"):
        await transaction.commit()
