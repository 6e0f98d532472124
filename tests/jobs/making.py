"""Jobs and ends of attempts with no more said of them than a case needs, and the clock that stands still."""

from datetime import UTC, datetime
from itertools import count
from typing import Any

from app_kernel.core.jobs import FINISHED, JobView
from app_kernel.jobs import JobClient
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import Enqueued, JobRow, NewJob, Outcome
from tests.jobs.waiting import until

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
"""When frozen clocks begin."""
QUEUE = "default"

_numbers = count(1)


def new(id: str | None = None, **fields: Any) -> NewJob:
    """A job that nothing is said of but what is given."""
    given = {"queue": QUEUE, "task": "work", "body": "{}", "max_attempts": 3, **fields}
    return NewJob(id=id or f"job-{next(_numbers)}", **given)


def end(row: JobRow, status: Any = "completed", **fields: Any) -> Outcome:
    """The end of the attempt that `row` was claimed for."""
    if status in FINISHED:
        fields.setdefault("ttl", 3600.0)
    given = {"id": row.id, "token": row.token or "", "queue": row.queue, "status": status, **fields}
    return Outcome(**given)


async def enqueue(backend: Backend, id: str | None = None, **fields: Any) -> Enqueued:
    """Enqueues one job."""
    return (await backend.enqueue([new(id, **fields)]))[0]


async def claim(backend: Backend, limit: int = 100, queue: str = QUEUE) -> list[JobRow]:
    """What a worker gets."""
    return list((await backend.claim(queue, limit, "worker")).jobs)


async def claim_ids(backend: Backend, limit: int = 100, queue: str = QUEUE) -> list[str]:
    """The ids of what a worker gets."""
    return [row.id for row in await claim(backend, limit, queue)]


async def started(backend: Backend, id: str | None = None, **fields: Any) -> JobRow:
    """A job that runs: the only one that waits in its queue."""
    made = await enqueue(backend, id, **fields)
    (row,) = await claim(backend, queue=made.queue)
    assert row.id == made.id
    return row


async def standing(backend: Backend, id: str) -> JobRow:
    """A job that is there."""
    row = await backend.get(id)
    assert row is not None
    return row


async def finished(jobs: JobClient, id: str, seconds: float = 20) -> JobView:
    """A job, once it is over."""

    async def look() -> JobView | None:
        view = await jobs.get(id)
        return view if view is not None and view.status in FINISHED else None

    found = await until(look, seconds)
    assert found is not None
    return found


async def ran(jobs: JobClient, name: str, payload: Any = None, **options: Any) -> JobView:
    """Enqueues a job and waits for its end."""
    return await finished(jobs, (await jobs.enqueue(name, payload, **options)).job_id)
