"""Inside a transaction a job is enqueued exactly if that commits, whatever keeps the jobs."""

import asyncio
from typing import Any

import pytest

from app_kernel import JobRegistry, get_job_client
from app_kernel.db import get_db_connection
from tests.jobs.places import ALL_PLACES, JobPlace
from tests.jobs.waiting import until

pytestmark = pytest.mark.parametrize("place", ALL_PLACES, indirect=True)

registry = JobRegistry()


@registry.task("note")
async def note(payload: dict[str, Any]) -> None:
    async with get_db_connection() as db:
        await db.save_entity("notes", {"text": payload["text"]})


async def notes(db: Any, expected: int) -> list[str]:
    async def look() -> list[str]:
        found = sorted(each["text"] for each in await db.find_entities("notes"))
        return found if len(found) >= expected else []

    return await until(look)


@pytest.mark.acceptance("JB3")
async def test_a_job_of_a_transaction_runs_exactly_if_that_commits(place: JobPlace) -> None:
    async with place.service(registry, jobs="worker") as client:
        jobs, db = get_job_client(), client.db
        with pytest.raises(RuntimeError):
            async with db.transaction():
                await jobs.enqueue("note", {"text": "rolled back"})
                raise RuntimeError
        async with db.transaction():
            await db.save_entity("orders", {"total": 1})
            await jobs.enqueue("note", {"text": "kept"})
            with pytest.raises(RuntimeError):
                async with db.transaction():
                    await jobs.enqueue("note", {"text": "in a part that is taken back"})
                    raise RuntimeError
        await jobs.enqueue("note", {"text": "outside"})
        assert await notes(db, 2) == ["kept", "outside"]
        await asyncio.sleep(0.3)
        assert await notes(db, 2) == ["kept", "outside"]


async def test_a_job_of_an_open_transaction_is_seen_by_nobody_else(place: JobPlace) -> None:
    async with place.service(registry) as client:
        jobs = get_job_client()
        async with client.db.transaction():
            made = await jobs.enqueue("note", {"text": "not yet"})
            async with place.backend() as other:
                assert await other.get(made.job_id) is None
