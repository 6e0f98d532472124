"""When a server restarts, cuts or falls silent, every call ends in time, and each write happened whole or not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from app_kernel.core.errors import ConnectionLost, ConnectTimeout, PoolTimeout, QueryTimeout, Unavailable
from app_kernel.db.drivers.base import ANY_GENERATION, Driver, Work
from app_kernel.db.url import make_driver
from tests.db.server_places import SharedServer
from tests.db.server_tools import ServerPlace, spelled, until, with_options
from tests.faults.figures import figure
from tests.faults.own_server import OwnServer
from tests.faults.server_load import COUNT, CREATE, INSERT, KINDS, Load
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy

FEW_CONNECTIONS = {
    "postgres": {"max_connections": 5, "superuser_reserved_connections": 0},
    "mysql": {"max_connections": 10},
}
"""As few as the server lets itself have."""
BACK_SECONDS = 5.0
"""After an outage the next calls must succeed within this time."""


async def assert_answers(driver: Driver, tasks: int = 20) -> float:
    """Every call of many at once succeeds within BACK_SECONDS; how long it took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            await asyncio.gather(*(driver.run(spelled(driver, INSERT), (f"after-{n}", -1)) for n in range(tasks)))
            break
        except Unavailable:
            assert loop.time() - began < BACK_SECONDS
            await asyncio.sleep(0.05)
    return loop.time() - began


async def assert_back_to_normal(driver: Driver) -> float:
    """The same without any load, and then no slot of the pool is lost."""
    took = await assert_answers(driver)
    await driver.run("DELETE FROM marks WHERE part = -1", ())

    pool = getattr(driver, "_pool")  # noqa: B009 - of drivers over a server

    async def whole() -> bool:
        return pool._slots_used == len(pool._idle) <= pool._wire.pool_size and not pool._leased

    await until(whole, BACK_SECONDS)
    return took


async def at_most(place: ServerPlace, number: int) -> bool:
    """Whether the server has no more connections of the drivers' than that."""
    return len(await place.backends()) <= number


async def _is(true: bool) -> bool:
    return true


@asynccontextmanager
async def under_load(driver: Driver, writers: int = 4) -> AsyncIterator[Load]:
    """Writers and readers while the block runs."""
    load, stop = Load(driver), asyncio.Event()
    tasks = [asyncio.create_task(load.go_on(stop, kind)) for kind in KINDS for _ in range(writers)]
    try:
        yield load
    finally:
        stop.set()
        await asyncio.gather(*tasks)


@pytest.mark.slow
@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("how", ["in order", "as a crash"])
async def test_a_server_that_restarts_under_load_loses_nothing_and_doubles_nothing(own: OwnServer, how: str) -> None:
    number = own.in_order if how == "in order" else own.as_a_crash
    driver = make_driver(with_options(own.url, pool_size=8, connect_timeout=1, pool_timeout=1))
    await driver.open()
    await driver.execute(CREATE.replace("TABLE", "TABLE IF NOT EXISTS"), ())
    await driver.run("DELETE FROM marks", ())
    took = []
    async with under_load(driver) as load:
        for _ in range(figure(short=2 if own.name == "postgres" else 1, long=20)):
            await asyncio.sleep(0.5)
            await asyncio.to_thread(own.end, number)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(own.start_again)
            took.append(await assert_answers(driver))
    assert load.slowest_error < 4, "an outage must be heard of in time"
    assert await assert_back_to_normal(driver) < BACK_SECONDS
    figures = await load.check([tuple(row) for row in await driver.fetch(COUNT, ())])
    print(f"back after {max(took):.2f} s at most; {figures}; {dict(load.errors)}; {load.reads} reads")
    assert load.errors
    assert len(load.acked) > 20
    await driver.close()


@pytest.mark.acceptance("DB11")
async def test_connections_that_are_ended_in_the_middle_of_everything_lose_and_double_nothing(
    server: SharedServer,
) -> None:
    """All connections, 30 times (300 in the long run), in the middle of statements, units and transactions."""
    async with server.place() as place:
        driver = await place.open(pool_size=8)
        await driver.execute(CREATE, ())
        async with under_load(driver) as load:
            for number in range(figure(short=30, long=300)):
                await until(lambda done=2 * number: _is(len(load.acked) >= done), 30)
                await asyncio.sleep(0.05)
                await place.terminate()
        assert await assert_back_to_normal(driver) < BACK_SECONDS
        figures = await load.check(await place.look(COUNT))
        print(f"{figures}; {dict(load.errors)}; {load.reads} reads")
        assert set(load.errors) <= {"ConnectionLost"}
        assert len(load.acked) >= 58
        await until(lambda: at_most(place, 8))


@asynccontextmanager
async def proxied(server: SharedServer, **options: object) -> AsyncIterator[tuple[TcpProxy, Driver, Load]]:
    """A driver whose connections go through a proxy, and its table."""
    async with server.place() as place, tcp_proxy(urlsplit(server.url).port or 0) as proxy:
        parts = urlsplit(place.url(**options))
        address = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
        # By another driver: the one under test may have less time than tests that wait for each other need.
        maker = await place.open()
        await maker.execute(CREATE, ())
        await maker.close()
        driver = make_driver(parts._replace(netloc=address).geturl())
        await driver.open()
        try:
            yield proxy, driver, Load(driver)
        finally:
            proxy.thaw()
            proxy.refuses = proxy.swallows = False
            await driver.close()


@pytest.mark.acceptance("DB11")
async def test_a_network_that_is_cut_again_and_again_loses_and_doubles_nothing(server: SharedServer) -> None:
    async with proxied(server, pool_size=8) as (proxy, driver, _):
        async with under_load(driver) as load:
            for number in range(figure(short=30, long=300)):
                await asyncio.sleep(0.15)
                proxy.delay = 0.002 * (number % 3)
                proxy.cut()
        proxy.delay = 0
        assert await assert_back_to_normal(driver) < BACK_SECONDS
        # What was cut while it committed may still do so.
        await asyncio.sleep(0.2)
        figures = await load.check([tuple(row) for row in await driver.fetch(COUNT, ())])
        print(f"{figures}; {dict(load.errors)}; {load.reads} reads")
        assert set(load.errors) <= {"ConnectionLost", "Unavailable"}
        assert proxy.links <= 8


@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("when", ["before the commit", "in the commit"])
async def test_a_connection_that_is_cut_in_a_transaction_never_pretends(server: SharedServer, when: str) -> None:
    async with proxied(server, pool_size=2) as (proxy, driver, _):
        transaction = await driver.begin(5)
        await transaction.run(spelled(driver, INSERT), ("cut", 0))
        if when == "in the commit":
            proxy.delay = 0.2
            committing = asyncio.create_task(transaction.commit())
            await asyncio.sleep(0.1)
            proxy.cut()
        else:
            proxy.cut()
            committing = asyncio.create_task(transaction.commit())
        with pytest.raises(ConnectionLost):
            await committing
        proxy.delay = 0
        with pytest.raises(ConnectionLost):
            await transaction.fetch("SELECT 1", ())
        await transaction.rollback()
        await assert_back_to_normal(driver)
        assert await driver.fetch(COUNT, ()) == []


@pytest.mark.acceptance("DB11")
async def test_connections_that_stay_half_open_keep_nobody_waiting_for_long(server: SharedServer) -> None:
    """2 seconds of silence, 60 in the long run: each call ends in its time, and afterwards all is well."""
    options = {"pool_size": 4, "statement_timeout": 0.5, "connect_timeout": 0.5, "pool_timeout": 0.5}
    async with proxied(server, **options) as (proxy, driver, _):
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(driver.fetch(spelled(driver, "SELECT pg_sleep(0.1)"), ()) for _ in range(4)))
        async with under_load(driver) as load:
            await asyncio.sleep(0.2)
            proxy.freeze()
            began = loop.time()
            with pytest.raises((QueryTimeout, ConnectTimeout, PoolTimeout)):
                await driver.fetch("SELECT 1", ())
            # The wait for a connection, or the client's second beyond the statement's time, and a new connection.
            assert loop.time() - began < 4
            await asyncio.sleep(figure(short=2, long=60))
            proxy.thaw()
        assert load.slowest_error < 6
        took = await assert_back_to_normal(driver)
        print(f"back after {took:.2f} s; {dict(load.errors)}")
        await asyncio.sleep(0.7)
        await load.check([tuple(row) for row in await driver.fetch(COUNT, ())])


@pytest.mark.acceptance("DB11")
@pytest.mark.parametrize("kind", ["fetch", "run", "write", "transaction"])
async def test_a_write_whose_end_nobody_heard_of_is_never_called_undone(server: SharedServer, kind: str) -> None:
    """Silence falls while the statement, or the COMMIT, is under way: only a read is known to have done nothing."""
    async with proxied(server, pool_size=2, statement_timeout=0.5) as (proxy, driver, _):

        def work() -> Work[None]:
            yield (spelled(driver, INSERT), ("silent", 0))
            proxy.freeze()

        transaction = await driver.begin(5)
        await transaction.run(spelled(driver, INSERT), ("silent", 0))
        calls = {
            "fetch": lambda: driver.fetch("SELECT 1", ()),
            "run": lambda: driver.run(spelled(driver, INSERT), ("silent", 0)),
            "write": lambda: driver.write(work, ANY_GENERATION, ""),
            "transaction": transaction.commit,
        }
        if kind != "write":
            await driver.fetch("SELECT 1", ())
            proxy.freeze()
        with pytest.raises(QueryTimeout if kind == "fetch" else ConnectionLost):
            await calls[kind]()
        proxy.thaw()
        await transaction.rollback()
        await assert_back_to_normal(driver)


@pytest.mark.acceptance("DB11")
async def test_many_idle_connections_that_went_silent_are_not_waited_for_one_by_one(server: SharedServer) -> None:
    options = {"pool_size": 8, "pool_timeout": 3, "connect_timeout": 1}
    async with proxied(server, **options) as (proxy, driver, _):
        await asyncio.gather(*(driver.fetch(spelled(driver, "SELECT pg_sleep(0.1)"), ()) for _ in range(8)))
        assert len(driver._pool._idle) == 8
        for connection in driver._pool._idle:
            connection.idle_since -= 100
        proxy.freeze()
        began = asyncio.get_running_loop().time()
        with pytest.raises(ConnectTimeout):
            await driver.fetch("SELECT 1", ())
        # A second for the answer of one, and one for a new connection.
        assert asyncio.get_running_loop().time() - began < 3.5
        proxy.thaw()
        await assert_back_to_normal(driver)


@pytest.mark.acceptance("DB11")
async def test_a_slow_network_is_only_slow(server: SharedServer) -> None:
    async with proxied(server, pool_size=4) as (proxy, driver, _):
        proxy.delay = 0.02
        async with under_load(driver, writers=1) as load:
            await asyncio.sleep(1)
        proxy.delay = 0
        assert not load.errors
        assert (await load.check([tuple(row) for row in await driver.fetch(COUNT, ())]))["unknown"] == 0


@pytest.mark.acceptance("DB11")
async def test_ten_times_more_work_than_connections_waits_in_bounds_and_is_over_with_it(server: SharedServer) -> None:
    async with server.place() as place:
        driver = await place.open(pool_size=5, pool_timeout=0.5)
        await driver.execute(CREATE, ())
        loop = asyncio.get_running_loop()
        waits: list[float] = []

        async def hog() -> None:
            began = loop.time()
            try:
                transaction = await driver.begin(5)
            except PoolTimeout:
                waits.append(loop.time() - began)
                raise
            await asyncio.sleep(1)
            await transaction.commit()

        outcomes = await asyncio.gather(*(hog() for _ in range(50)), return_exceptions=True)
        assert sum(isinstance(outcome, PoolTimeout) for outcome in outcomes) == 45
        assert sum(outcome is None for outcome in outcomes) == 5
        assert 0.5 <= min(waits) <= max(waits) < 3
        assert await assert_back_to_normal(driver) < BACK_SECONDS
        await until(lambda: at_most(place, 5))


@pytest.mark.acceptance("DB11")
async def test_more_connections_than_the_server_has_is_an_error_of_ours(own: OwnServer) -> None:
    own.settings = FEW_CONNECTIONS[own.name]
    await asyncio.to_thread(own.end)
    await asyncio.to_thread(own.start_again)
    own.settings = {}
    driver = make_driver(with_options(own.url, pool_size=20))
    await driver.open()
    outcomes = await asyncio.gather(
        *(driver.fetch(spelled(driver, "SELECT pg_sleep(0.3)"), ()) for _ in range(20)), return_exceptions=True
    )
    assert {isinstance(outcome, list) or type(outcome) for outcome in outcomes} == {True, Unavailable}
    messages = [outcome.message for outcome in outcomes if isinstance(outcome, Unavailable)]
    assert all("no connection left" in message for message in messages)
    assert len(await asyncio.gather(*(driver.fetch("SELECT 1", ()) for _ in range(4)))) == 4
    await driver.close()


@pytest.mark.acceptance("DB11")
async def test_a_server_that_is_not_there_at_the_start_is_told_in_time_and_tried_again(own: OwnServer) -> None:
    await asyncio.to_thread(own.end)
    driver = make_driver(with_options(own.url, connect_timeout=1))
    with pytest.raises(Unavailable, match="reached"):
        await driver.open()
    await asyncio.to_thread(own.start_again)
    await driver.open()
    assert await driver.fetch("SELECT 1", ()) == [(1,)]
    await driver.close()
