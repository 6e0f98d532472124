"""The pool gives each connection to one user at a time, makes nobody wait for ever, and reuses clean ones only."""

import asyncio
import random

import pytest

from app_kernel.core.errors import PoolTimeout, QueryTimeout
from app_kernel.db.drivers.base import ANY_GENERATION
from app_kernel.db.drivers.pool import ANSWER_SECONDS
from app_kernel.db.drivers.postgres_connection import Connection
from app_kernel.db.drivers.postgres_statements import SCHEMA_LOCK
from tests.db.postgres_tools import place_on
from tests.db.server_tools import unit, until


@pytest.fixture
async def place(postgres_url):
    async with place_on(postgres_url) as fresh:
        yield fresh


async def test_connections_are_made_when_needed_and_never_more_than_allowed(place):
    driver = await place.open(pool_size=4)
    assert len(await place.backends()) == 1
    for _ in range(10):
        await driver.fetch("SELECT 1", ())
    assert len(await place.backends()) == 1
    counts = [asyncio.create_task(driver.fetch("SELECT pg_sleep(0.1)", ())) for _ in range(20)]
    await asyncio.sleep(0.15)
    assert len(await place.backends()) == 4
    await asyncio.gather(*counts)
    assert len(await place.backends()) == 4


@pytest.mark.acceptance("DB11")
async def test_who_waits_for_a_connection_waits_only_so_long(place):
    driver = await place.open(pool_size=1, pool_timeout=0.2)
    transaction = await driver.begin(5)
    began = asyncio.get_running_loop().time()
    outcomes = await asyncio.gather(*(driver.fetch("SELECT 1", ()) for _ in range(30)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {PoolTimeout}
    assert 0.2 <= asyncio.get_running_loop().time() - began < 3
    await transaction.rollback()
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert not driver._pool._waiters or all(waiter.done() for waiter in driver._pool._waiters)


async def test_those_who_wait_are_served_in_their_order(place):
    driver = await place.open(pool_size=1)
    transaction = await driver.begin(5)
    served: list[int] = []

    async def ask(number):
        await driver.fetch("SELECT 1", ())
        served.append(number)

    tasks = [asyncio.create_task(ask(number)) for number in range(20)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    await transaction.rollback()
    await asyncio.wait(tasks)
    assert served == [number for number in range(20) if number != 3]


@pytest.mark.parametrize("kind", ["fetch", "run", "write", "wait"])
async def test_a_cancelled_call_costs_one_connection_and_no_slot(place, kind):
    """Each is cancelled on the server too; the pool is as large as before."""
    driver = await place.open(pool_size=2)
    slow = "SELECT pg_sleep(20)"
    calls = {
        "fetch": lambda: driver.fetch(slow, ()),
        "run": lambda: driver.run(slow, ()),
        "write": lambda: driver.write(unit((slow,)), ANY_GENERATION, ""),
        "wait": lambda: driver.fetch(slow, ()),
    }
    for _ in range(5):
        tasks = [asyncio.create_task(calls[kind]()) for _ in range(6 if kind == "wait" else 2)]
        await asyncio.sleep(0.03)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)

    async def none_runs():
        return not any(state == "active" for _, state in await place.backends())

    await until(none_runs, 2)
    async with asyncio.timeout(2):
        results = await asyncio.gather(*(driver.fetch("SELECT 1", ()) for _ in range(20)))
    assert results == [[(1,)]] * 20
    assert 1 <= len(await place.backends()) <= 2
    assert driver._pool._slots_used == len(driver._pool._idle) <= 2


@pytest.mark.parametrize("kind", ["fetch", "run", "write", "define", "execute"])
async def test_a_connection_whose_call_was_cancelled_is_not_used_again(place, kind):
    driver = await place.open(pool_size=1)
    slow = "SELECT pg_sleep(20)"
    calls = {
        "fetch": lambda: driver.fetch(slow, ()),
        "run": lambda: driver.run(slow, ()),
        "write": lambda: driver.write(unit((slow,)), ANY_GENERATION, ""),
        "define": lambda: driver.define(unit((slow,))),
        "execute": lambda: driver.execute(slow, ()),
    }
    (before, _), *_ = await place.backends()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await calls[kind]()
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert [pid for pid, _ in await place.backends()] != [before]


async def test_changes_of_the_schema_that_wait_for_each_other_keep_nobody_from_a_connection(place):
    driver = await place.open(pool_size=3, pool_timeout=0.5)
    await place.onlooker.execute("BEGIN")
    await place.onlooker.execute(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
    defining = [asyncio.create_task(driver.execute(f"CREATE TABLE t{n} (i int)", ())) for n in range(20)]
    await asyncio.sleep(0.1)
    assert await asyncio.gather(*(driver.fetch("SELECT 1", ()) for _ in range(10))) == [[(1,)]] * 10
    defining[7].cancel()
    await place.onlooker.execute("COMMIT")
    await asyncio.wait(defining)
    assert [task.cancelled() for task in defining] == [number == 7 for number in range(20)]
    assert not [task for task in defining if not task.cancelled() and task.exception()]


async def test_a_wait_that_is_cancelled_just_when_it_is_served_gives_back_what_it_got(place):
    driver = await place.open(pool_size=1)
    for delay in range(20):
        transaction = await driver.begin(5)
        waiting = asyncio.create_task(driver.fetch("SELECT 1", ()))
        await asyncio.sleep(0)
        ending = asyncio.create_task(transaction.rollback())
        for _ in range(delay):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting, ending])
    async with asyncio.timeout(2):
        assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert driver._pool._slots_used == 1


async def test_a_connection_whose_statement_the_client_gave_up_is_closed(place, monkeypatch):
    """The server's own timeout is off: the client waits a second longer than it and then ends the connection."""
    await place.lay_out()
    driver = await place.open(pool_size=1, statement_timeout=1)
    (before, _), *_ = await place.backends()
    await driver._runner.script("SET statement_timeout = 0")
    with pytest.raises(QueryTimeout):
        await driver.fetch("SELECT pg_sleep(20)", ())
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert [pid for pid, _ in await place.backends()] != [before]


async def test_a_connection_that_comes_back_inside_a_transaction_is_closed(place):
    driver = await place.open(pool_size=1)
    (before, _), *_ = await place.backends()
    await driver._runner.script("BEGIN")
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert [pid for pid, _ in await place.backends()] != [before]


async def test_a_connection_that_died_on_its_way_to_who_waited_costs_nothing(place, monkeypatch):
    driver = await place.open(pool_size=1)
    await driver.execute("CREATE TABLE notes (id text)", ())
    acquire, deaths = driver._pool.acquire, [1]

    async def dead_at_first():
        connection = await acquire()
        if deaths:
            deaths.pop()
            connection.terminate()
        return connection

    monkeypatch.setattr(driver._pool, "acquire", dead_at_first)
    await driver.run("INSERT INTO notes VALUES ('a')", ())
    deaths.append(1)
    await driver.write(unit(("INSERT INTO notes VALUES ('b')",)), ANY_GENERATION, "")
    assert await place.look("SELECT id FROM notes") == [("a",), ("b",)]


@pytest.mark.acceptance("DB11")
async def test_idle_connections_that_the_server_ended_are_thrown_away(place):
    driver = await place.open(pool_size=5)
    await asyncio.gather(*(driver.fetch("SELECT pg_sleep(0.05)", ()) for _ in range(5)))
    for _ in range(3):
        assert await place.terminate() == 5
        await asyncio.gather(*(driver.fetch("SELECT pg_sleep(0.05)", ()) for _ in range(5)))
        assert await place.terminate() == 5
        await asyncio.gather(*(driver.write(unit(("SELECT pg_sleep(0.05)",)), ANY_GENERATION, "") for _ in range(5)))
    assert driver._pool._slots_used == 5


async def test_a_connection_that_was_idle_for_long_is_asked_before_it_is_used(place, monkeypatch):
    monkeypatch.setattr("app_kernel.db.drivers.pool.CHECK_IDLE_SECONDS", 0)
    driver = await place.open(pool_size=1)
    await asyncio.sleep(0.01)
    await driver.fetch("SELECT 2", ())
    asked = await place.look("SELECT query FROM pg_stat_activity WHERE application_name = $1", place.schema)
    assert asked == [("SELECT 2",)]
    count = [0]
    execute = driver._pool._idle[0].execute

    async def counting(*args, **kwargs):
        count[0] += 1
        return await execute(*args, **kwargs)

    monkeypatch.setattr(
        type(driver._pool._idle[0]), "execute", lambda _self, *args, **kwargs: counting(*args, **kwargs)
    )
    await asyncio.sleep(0.01)
    await driver.fetch("SELECT 2", ())
    assert count == [1]


@pytest.mark.acceptance("DB11")
async def test_of_idle_connections_that_went_silent_together_only_one_is_waited_for(place, monkeypatch):
    driver = await place.open(pool_size=6)
    await asyncio.gather(*(driver.fetch("SELECT pg_sleep(0.05)", ()) for _ in range(6)))
    pool = driver._pool
    silent, asked = set(pool._idle), []
    assert len(silent) == 6
    for connection in silent:
        connection.idle_since -= 100
    execute = Connection.execute

    async def hear_nothing(self, sql, *args, timeout=None):
        if self not in silent:
            return await execute(self, sql, *args, timeout=timeout)
        asked.append(timeout)
        raise TimeoutError

    monkeypatch.setattr(Connection, "execute", hear_nothing)
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    assert asked == [ANSWER_SECONDS]
    assert silent.isdisjoint(pool._idle)

    async def whole():
        return pool._slots_used == len(pool._idle) == 1 and not pool._closing

    await until(whole)


async def test_asking_idle_connections_and_waiting_share_one_time_limit(place, monkeypatch):
    driver = await place.open(pool_size=1, pool_timeout=0.2)
    pool = driver._pool
    pool._idle[0].idle_since -= 100
    asked = []

    async def answer_late(_self, _sql, *, timeout):
        asked.append(timeout)
        await asyncio.sleep(timeout)
        return "SELECT 1"

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "execute", answer_late)
        connection = await pool.acquire()
    assert 0 < asked[0] <= 0.2
    began = asyncio.get_running_loop().time()
    with pytest.raises(PoolTimeout):
        await pool.acquire()
    assert asyncio.get_running_loop().time() - began < 2
    pool.release(connection)


@pytest.mark.acceptance("DB12")
async def test_no_connection_is_ever_used_by_two_tasks(place, monkeypatch):
    """1,000 tasks, some cancelled, some failing: each connection has one user at a time, and its own work only."""
    driver = await place.open(pool_size=5, pool_timeout=60)
    await driver.execute("CREATE TABLE notes (id text PRIMARY KEY, task bigint)", ())
    used: set[int] = set()
    clashes: list[str] = []
    acquire, release, discard = driver._pool.acquire, driver._pool.release, driver._pool.discard

    async def watched_acquire():
        connection = await acquire()
        if id(connection) in used:
            clashes.append("given out twice")
        used.add(id(connection))
        return connection

    def watched(connection, give_back):
        if id(connection) not in used:
            clashes.append("given back twice")
        used.discard(id(connection))
        with monkeypatch.context() as patch:
            # What is not clean is discarded on the way.
            patch.setattr(driver._pool, "discard", discard)
            give_back(connection)

    monkeypatch.setattr(driver._pool, "acquire", watched_acquire)
    monkeypatch.setattr(driver._pool, "release", lambda connection: watched(connection, release))
    monkeypatch.setattr(driver._pool, "discard", lambda connection: watched(connection, discard))
    chance = random.Random(12)

    async def task(number):
        insert = ("INSERT INTO notes VALUES ($1, txid_current())", str(number))
        look = ("SELECT task = txid_current() FROM notes WHERE id = $1", str(number))
        kind = number % 4
        if kind == 0:
            assert await driver.fetch("SELECT $1::bigint", (number,)) == [(number,)]
        elif kind == 1:
            assert await driver.write(unit(insert, ("SELECT pg_sleep(0.001)",), look), ANY_GENERATION, "") == [(True,)]
        elif kind == 2:
            transaction = await driver.begin(5)
            try:
                await transaction.run(*_split(insert))
                assert [tuple(row) for row in await transaction.fetch(*_split(look))] == [(True,)]
                await transaction.commit()
            finally:
                await transaction.rollback()
        else:
            await driver.run("SELECT 1 / 0", ())

    tasks = [asyncio.create_task(task(number)) for number in range(1000)]
    for doomed in chance.sample(tasks, 200):
        asyncio.get_running_loop().call_later(chance.uniform(0, 1), doomed.cancel)
    await asyncio.wait(tasks)
    failed = {type(t.exception()).__name__ for t in tasks if not t.cancelled() and t.exception() is not None}
    assert failed == {"InvalidQuery"}
    assert not clashes
    assert not used


def _split(statement):
    sql, *params = statement
    return sql, params
