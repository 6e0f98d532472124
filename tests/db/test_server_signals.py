"""A signal wakes every process that listens, many at once are one, and a listener survives its connection."""

import asyncio

import pytest

from tests.db.server_places import SERVERS, shared_server
from tests.db.server_tools import until


@pytest.fixture(params=SERVERS)
def server(request):
    return shared_server(request)


@pytest.fixture
async def place(server):
    async with server.place() as fresh:
        yield fresh


class Ear:
    """Counts the signals that a driver hears on a channel."""

    def __init__(self, driver, channel):
        self.count = 0
        self.heard = asyncio.Event()
        self.end = driver.on_signal(channel, self)

    def __call__(self):
        self.count += 1
        self.heard.set()

    async def wait(self, seconds=5):
        async with asyncio.timeout(seconds):
            await self.heard.wait()
        self.heard.clear()


async def listening(place, *drivers):
    """Returns when those that listen would hear a signal."""

    async def all_do():
        if place.backend == "mysql":
            # It looks, and has to know what it saw last.
            return all(driver._signals._seen is not None for driver in drivers)
        rows = await place.look(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = $1 AND query ILIKE 'LISTEN%'", place.schema
        )
        return len(rows) == len(drivers)

    await until(all_do)


async def test_a_signal_is_heard_in_this_and_every_other_open_database(place):
    drivers = [await place.open() for _ in range(3)]
    ears = [Ear(driver, "outbox") for driver in drivers]
    deaf = Ear(drivers[1], "other")
    await listening(place, *drivers)
    # Each is called once as its database begins to listen.
    for ear in (*ears, deaf):
        await ear.wait()
        ear.count = 0
    drivers[0].signal("outbox")
    for ear in ears:
        await ear.wait()
    await asyncio.sleep(0.3)
    # Where others look for signals, a process finds its own among them once more.
    assert ears[0].count <= 1 + (place.backend == "mysql")
    assert [ear.count for ear in ears[1:]] == [1, 1]
    assert deaf.count == 0


async def test_a_signal_is_not_heard_in_another_schema_of_the_same_database(place, server):
    async with server.place() as elsewhere:
        here, there = await place.open(), await elsewhere.open()
        heard, unheard = Ear(here, "outbox"), Ear(there, "outbox")
        await listening(place, here)
        await listening(elsewhere, there)
        for ear in (heard, unheard):
            await ear.wait()
            ear.count = 0
        other = await place.open()
        other.signal("outbox")
        await heard.wait()
        await asyncio.sleep(0.1)
        assert (heard.count, unheard.count) == (1, 0)


async def test_many_signals_of_one_moment_are_few(place):
    one, other = await place.open(), await place.open()
    here, there = Ear(one, "outbox"), Ear(other, "outbox")
    await listening(place, one, other)
    # Each is called once as its database begins to listen.
    for ear in (here, there):
        await ear.wait()
        ear.count = 0
    for _ in range(100):
        one.signal("outbox")
    await there.wait()
    for _ in range(100):
        one.signal("outbox")
        await asyncio.sleep(0)
    await asyncio.sleep(0.2)
    assert 1 <= there.count <= 8
    assert here.count <= 110


async def test_who_no_longer_listens_is_not_called(place):
    one, other = await place.open(), await place.open()
    ear, gone = Ear(other, "outbox"), Ear(other, "outbox")
    await listening(place, other)
    gone.end()
    gone.end()
    await asyncio.sleep(0.05)
    gone.count = 0
    one.signal("outbox")
    await ear.wait()
    assert gone.count == 0


@pytest.mark.acceptance("DB11")
async def test_a_listener_whose_connection_broke_listens_again_and_misses_nothing(place):
    one, other = await place.open(), await place.open()
    ear = Ear(other, "outbox")
    await listening(place, other)
    for _ in range(2):
        ear.heard.clear()
        await place.terminate()
        if place.backend != "mysql":
            # Whatever was said meanwhile: it is called once it listens again. A look finds what was said by itself.
            await ear.wait()
        await listening(place, other)
        await asyncio.sleep(0.05)
        await one.fetch("SELECT 1", ())
        # Together, with no await between: what was heard before does not count as heard after.
        ear.heard.clear()
        before = ear.count
        one.signal("outbox")
        await ear.wait()
        assert ear.count > before


async def test_a_signal_never_raises_and_never_blocks(place):
    driver = await place.open(pool_size=1, pool_timeout=0.1)
    ear = Ear(driver, "outbox")
    transaction = await driver.begin(5)
    driver.signal("outbox")
    driver.signal("a channel with 'quotes' and \0")
    await ear.wait()
    await asyncio.sleep(0.2)
    await transaction.rollback()
    await driver.close()
    called = ear.count
    driver.signal("outbox")
    await asyncio.sleep(0)
    assert ear.count == called
