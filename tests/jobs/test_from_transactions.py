"""Jobs and transactions: keys that decide after the commit, progress told inside, the test kit; what log lines say."""

import asyncio
import logging
from typing import Any

import pytest
from fastapi import APIRouter

from app_kernel import JobContext, JobRegistry, get_job_client, get_logger
from app_kernel.db import get_db_connection
from app_kernel.jobs.handover import LOOK_SECONDS
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tests.small_service import events, log_lines


class Gate:
    """Holds the handler of `held` until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.ran: list[str] = []
        self.registry = JobRegistry()

        @self.registry.task("held")
        async def held(ctx: JobContext) -> None:
            self.ran.append(ctx.job_id)
            await self.opened.wait()


@pytest.mark.slow
@pytest.mark.acceptance("JB8")
async def test_a_job_of_a_transaction_whose_unique_key_is_taken_is_none(
    place: JobPlace, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    async with place.service(gate.registry, jobs="worker") as client:
        jobs = get_job_client()
        first = await jobs.enqueue("held", unique_key="once")

        async def runs() -> bool:
            return gate.ran == [first.job_id]

        await until(runs)
        async with client.db.transaction():
            await jobs.enqueue("held", unique_key="once")
        # Longer than it takes to notice what Redis does not know.
        await asyncio.sleep(2 * LOOK_SECONDS + 0.5)
        gate.opened.set()

        async def done() -> bool:
            figures = await jobs.figures()
            return not figures.counts and figures.outstanding == 0

        await until(done)
        await asyncio.sleep(LOOK_SECONDS + 0.5)
        assert gate.ran == [first.job_id]
        async with client.db.transaction():
            again = await jobs.enqueue("held", unique_key="once")

        async def ran_again() -> bool:
            return gate.ran == [first.job_id, again.job_id]

        await until(ran_again)
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_progress_that_is_told_in_a_transaction_is_seen_before_its_commit_or_after(place: JobPlace) -> None:
    told, ended = asyncio.Event(), asyncio.Event()
    registry = JobRegistry()

    @registry.task("long")
    async def long(ctx: JobContext) -> None:
        async with get_db_connection() as db:
            try:
                async with db.transaction():
                    await db.save_entity("steps", {"name": "one"})
                    await ctx.progress(0.5, "half")
                    raise RuntimeError
            except RuntimeError:
                told.set()
        await ended.wait()

    async with place.working(registry) as jobs:
        id = (await jobs.enqueue("long")).job_id
        await told.wait()

        async def half() -> Any:
            view = await jobs.get(id)
            return view if view is not None and view.progress == 0.5 else None

        view = await until(half)
        assert (view.status, view.progress_text) == ("running", "half")
        ended.set()


@pytest.mark.parametrize("jobs", ["manual", "inline"])
async def test_the_test_kit_finds_jobs_of_transactions_and_what_their_handlers_enqueue_in_some(
    place: JobPlace, jobs: str
) -> None:
    registry = JobRegistry()

    @registry.task("first")
    async def first() -> None:
        async with get_db_connection() as db, db.transaction():
            await get_job_client().enqueue("second")

    @registry.task("second")
    async def second() -> str:
        return "done"

    async with place.service(registry, jobs=jobs) as client:
        async with client.db.transaction():
            await get_job_client().enqueue("first", {"number": 1})
        await client.jobs.assert_enqueued("first", {"number": 1}, times=1, status="queued")
        assert [job.task_name for job in await client.jobs.drain()] == ["first", "second"]
        await client.jobs.assert_enqueued("second", status="completed", result="done")


async def test_the_lines_of_a_handler_carry_the_job_and_the_request(
    place: JobPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, router, log = JobRegistry(), APIRouter(), get_logger("handlers")

    @registry.task("speak")
    async def speak() -> None:
        log.info("spoken")

    @registry.task("fail", max_attempts=1)
    async def fail() -> None:
        raise ValueError("it cannot")

    @router.post("/speak")
    async def ask() -> list[str]:
        return [(await get_job_client().enqueue(name)).job_id for name in ("speak", "fail")]

    async with place.service(registry, router) as client:
        ids = (await client.post("/speak", headers={"X-Request-ID": "req-7"})).json()
        await client.jobs.drain()
    lines = log_lines(capsys)
    (spoken,), (finished,), (failed,) = (events(lines, name) for name in ("spoken", "job_finished", "job_failed"))
    assert (spoken["job_id"], spoken["request_id"]) == (ids[0], "req-7")
    assert (finished["job_id"], finished["request_id"]) == (ids[0], "req-7")
    assert (failed["job_id"], failed["request_id"], failed["reason"]) == (ids[1], "req-7", "ValueError: it cannot")


def test_a_context_of_a_test_has_its_times() -> None:
    ctx = JobContext(job_id="1")
    assert ctx.enqueued_at <= ctx.started_at
    assert ctx.started_at.utcoffset() is not None
