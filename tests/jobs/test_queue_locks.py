"""A transaction that stays open holds up none but the jobs that it changes, and makes no running job look lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from app_kernel import JobRegistry
from app_kernel.jobs import JobClient, get_job_client
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.database import DatabaseBackend
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.queues.statements import CANCEL_RUNNING
from app_kernel.jobs.upkeep import LOOKS, Upkeep
from tests.jobs.making import claim, claim_ids, end, enqueue, new, standing
from tests.jobs.places import PLACES, JobPlace
from tests.jobs.waiting import until

registry = JobRegistry()


@registry.task("work")
async def work() -> None: ...


@pytest.fixture
async def postgres() -> AsyncIterator[JobPlace]:
    """Only there is a lock one of rows: SQLite has one for all, and Redis none."""
    async with PLACES["postgres"]() as place:
        yield place


@asynccontextmanager
async def planned_badly(place: JobPlace) -> AsyncIterator[None]:
    """Inside the block PostgreSQL joins rows in the one way that looks for the inner ones again for each outer one.

    It takes that way by itself where it believes that a table has next to no rows.
    """
    address = place.database_url.partition("?")[0]
    connection = await asyncpg.connect(address)
    name = await connection.fetchval("SELECT current_database()")
    ways = [f"enable_{way}" for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize")]
    try:
        for way in ways:
            await connection.execute(f"ALTER DATABASE {name} SET {way} = off")
        yield
    finally:
        for way in ways:
            await connection.execute(f"ALTER DATABASE {name} RESET {way}")
        await connection.close()


async def test_a_claim_begins_no_more_jobs_than_asked_for_whatever_the_planner_does(postgres: JobPlace) -> None:
    async with planned_badly(postgres), postgres.backend() as worker:
        await worker.enqueue([new(f"j{n}") for n in range(10)])
        assert await claim_ids(worker, 1) == ["j0"]
        assert await claim_ids(worker, 2) == ["j1", "j2"]
        assert (await worker.figures()).counts == {("default", "running"): 3, ("default", "queued"): 7}


@asynccontextmanager
async def holding_due_job(place: JobPlace, **service: Any) -> AsyncIterator[None]:
    """Inside the block an open transaction has cancelled the job `held`, whose time has come."""
    async with place.service(registry, **service) as client:
        jobs = get_job_client()
        await jobs.enqueue("work", job_id="held", delay_seconds=0.1)
        async with client.db.transaction():
            await jobs.cancel("held")
            await asyncio.sleep(0.12)
            yield


async def test_a_due_job_that_a_transaction_holds_stops_no_other(postgres: JobPlace) -> None:
    async with postgres.backend() as worker, holding_due_job(postgres):
        await enqueue(worker, "free", delay=0.01)
        assert await until(lambda: claim_ids(worker), 3) == ["free"]
        claims = await worker.claim("default", 10, "worker")
        assert claims.next_due is not None
        assert 0 < claims.next_due <= 0.1
    async with postgres.backend() as later:
        assert (await standing(later, "held")).status == "cancelled"


async def test_a_worker_does_not_spin_on_a_due_job_that_a_transaction_holds(
    postgres: JobPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    fetch = DatabaseBackend._fetch

    async def counted(self: DatabaseBackend, statement: str, *params: Any) -> Any:
        nonlocal looks
        looks += 1
        return await fetch(self, statement, *params)

    async with holding_due_job(postgres, jobs="worker"):
        monkeypatch.setattr(DatabaseBackend, "_fetch", counted)
        await asyncio.sleep(0.5)
    assert 0 < looks < 30


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
async def test_a_job_that_begins_and_waits_again_while_it_is_being_cancelled_is_cancelled(name: str) -> None:
    async with PLACES[name]() as place, place.backend() as backend, place.backend() as worker:
        assert isinstance(backend, DatabaseBackend)
        await enqueue(worker, "a")
        (row,) = await claim(worker)
        run = backend._db.run
        settled: list[set[str]] = []

        async def slow(sql: str, params: Any = ()) -> Any:
            if sql == CANCEL_RUNNING and not settled:
                settled.append(await worker.settle([end(row, "scheduled", delay=60.0)]))
            return await run(sql, params)

        backend._db.run = slow  # type: ignore[method-assign]  # the moment between two statements
        assert await backend.cancel("a") == "cancelled"
        assert settled == [{"a"}]
        assert (await standing(backend, "a")).status == "cancelled"


async def test_a_running_job_that_a_transaction_holds_stops_the_beats_of_no_other(postgres: JobPlace) -> None:
    async with postgres.service(registry) as client, postgres.backend() as worker:
        jobs: JobClient = get_job_client()
        await worker.enqueue([new(id) for id in "abc"])
        held = [(row.id, row.token or "") for row in await claim(worker)]
        async with client.db.transaction(), asyncio.timeout(10):
            await jobs.cancel("b")
            # Nobody outside of the transaction has heard of that yet.
            assert await worker.beat(held) == {"a": False, "b": False, "c": False}
        assert await worker.beat(held) == {"a": False, "b": True, "c": False}
        assert {id: beats for id, _, beats in await worker.running()} == {"a": 2, "b": 1, "c": 2}


async def test_a_transaction_that_stays_open_makes_no_running_job_look_lost(place: JobPlace) -> None:
    async with place.service(registry) as client, place.backend() as owner, place.backend() as other:
        await enqueue(owner, "a", task="work")
        (row,) = await claim(owner)
        beating = asyncio.create_task(_beat_always(owner, (row.id, row.token or "")))
        looking = asyncio.create_task(_look_often(other))
        async with client.db.transaction():
            await client.db.save_entity("notes", {"text": "while others wait"})
            await asyncio.sleep(0.5)
        await looking
        beating.cancel()
        await asyncio.wait([beating])
        assert await standing(owner, "a") == row


async def _beat_always(backend: Backend, held: tuple[str, str]) -> None:
    while True:
        await backend.beat([held])
        await asyncio.sleep(0.02)


async def _look_often(backend: Backend) -> None:
    """Looks more often than there are looks until a job is lost, as long as the transaction is open and beyond."""

    async def emit(event: object) -> None: ...

    upkeep = Upkeep(backend, {}, dict(registry.tasks), emit, Settler(backend))
    for _ in range(3 * LOOKS):
        await upkeep._search()
        await asyncio.sleep(0.05)
