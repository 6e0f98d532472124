"""One holder at a time, by the server's clock; when it dies, the next one gets the lease soon."""

import asyncio

import pytest

from app_kernel.db.drivers import table_lease
from tests.db.server_places import SERVERS, shared_server


@pytest.fixture(params=SERVERS)
async def place(request):
    async with shared_server(request).place() as fresh:
        yield fresh


async def test_one_of_many_gets_the_lease_and_the_others_get_none(place):
    drivers = [await place.open(pool_size=1) for _ in range(5)]
    leases = await asyncio.gather(*(driver.acquire_lease("relay") for driver in drivers for _ in range(4)))
    (held,) = [lease for lease in leases if lease is not None]
    assert await drivers[0].acquire_lease("other") is not None
    assert await held.renew()
    await held.release()
    assert await drivers[1].acquire_lease("relay") is not None
    assert not await held.renew()


async def test_a_lease_whose_holder_died_is_free_within_four_seconds(place):
    one, other = await place.open(), await place.open()
    lease = await one.acquire_lease("relay")
    assert lease is not None
    began = asyncio.get_running_loop().time()
    while (taken := await other.acquire_lease("relay")) is None:  # noqa: ASYNC110 - as who wants it does
        await asyncio.sleep(0.1)
    assert 2.5 < asyncio.get_running_loop().time() - began < 4
    assert not await lease.renew()
    await lease.release()
    assert await taken.renew(), "the former holder released what is not its own"


async def test_a_lease_that_is_renewed_stays(place, monkeypatch):
    monkeypatch.setattr(table_lease, "LEASE_SECONDS", 0.3)
    one, other = await place.open(), await place.open()
    lease = await one.acquire_lease("relay")
    for _ in range(10):
        await asyncio.sleep(0.1)
        assert await lease.renew()
        assert await other.acquire_lease("relay") is None


async def test_a_lease_is_lost_when_the_database_does_not_answer(place, monkeypatch):
    monkeypatch.setattr(table_lease, "LEASE_SECONDS", 0.3)
    driver = await place.open(pool_size=1)
    lease = await driver.acquire_lease("relay")
    transaction = await driver.begin(5)
    began = asyncio.get_running_loop().time()
    assert not await lease.renew()
    await lease.release()
    assert asyncio.get_running_loop().time() - began < 1
    await transaction.rollback()
    assert await driver.acquire_lease("relay") is not None
