"""What a review of the engine found: each case failed before it was mended."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from app_kernel import JobContext, JobRegistry, create_service, get_job_client
from app_kernel.core import clock
from app_kernel.core.errors import InvalidJob, QueueUnavailable
from app_kernel.jobs import Task
from app_kernel.jobs.execution import is_still_wanted
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.redis import RedisBackend
from app_kernel.jobs.records import Body, JobFilter
from app_kernel.redis_wire import create_redis
from app_kernel.testing import kernel_client
from tests.jobs.making import claim, end, enqueue, new, standing, started
from tests.jobs.places import PLACES, JobPlace
from tests.jobs.waiting import until


async def finished(job_id: str) -> Any:
    async def look() -> Any:
        view = await get_job_client().get(job_id)
        return view if view is not None and view.status in ("completed", "dead", "cancelled") else None

    return await until(look)


@pytest.mark.parametrize("status", ["queued", "scheduled"])
async def test_an_accepted_cancel_stands_when_the_attempt_fails_first(backend: Backend, status: str) -> None:
    row = await started(backend, "a")
    assert await backend.cancel("a") == "running"
    assert await backend.settle([end(row, status, error="it broke")]) == {"a"}
    kept = await standing(backend, "a")
    assert (kept.status, kept.error) == ("cancelled", "it broke")
    assert kept.finished_at is not None
    assert await claim(backend) == []


async def test_a_job_that_is_done_is_completed_although_its_cancel_came(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.cancel("a")
    await backend.settle([end(row, result="1")])
    assert (await standing(backend, "a")).status == "completed"


async def test_a_repeated_claim_gives_what_the_lost_answer_gave() -> None:
    async with PLACES["redis"]() as place, place.backend() as opened:
        assert isinstance(opened, RedisBackend)
        for _ in range(4):
            await enqueue(opened)
        first = await opened._run("CLAIM", "default", 2, "token", "worker")
        again = await opened._run("CLAIM", "default", 2, "token", "worker")
        assert sorted(row[0] for row in first[1:]) == sorted(row[0] for row in again[1:])
        assert len(await claim(opened)) == 2


async def test_a_claim_whose_answer_got_lost_costs_no_attempt(backend: Backend, monkeypatch: Any) -> None:
    await enqueue(backend, "a", max_attempts=1)
    is_redis = isinstance(backend, RedisBackend)
    owner, name = (backend, "_run") if is_redis else (backend._db, "run")  # type: ignore[attr-defined]
    inner, lose = getattr(owner, name), [True]

    async def run(statement: str, *given: Any) -> Any:
        answer = await inner(statement, *given)
        if lose and (statement == "CLAIM" or "SET [status] = 'running'" in statement):
            lose.clear()
            raise QueueUnavailable
        return answer

    monkeypatch.setattr(owner, name, run)
    with pytest.raises(QueueUnavailable):
        await claim(backend)
    (row,) = await claim(backend)
    assert (row.id, row.attempts) == ("a", 1)


async def test_a_user_learns_nothing_of_the_jobs_of_others_by_a_page(backend: Backend) -> None:
    await enqueue(backend, "theirs", user_id="bob")
    await enqueue(backend, "mine", user_id="ada")
    await enqueue(backend, "theirs too", user_id="bob")
    for before in ("theirs", "theirs too", "nobody's"):
        assert await backend.find(JobFilter(user_id="ada", before=before)) == []


class Unreadable(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("no")

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no")

    def __len__(self) -> int:
        return 1


async def test_a_result_that_cannot_be_read_does_not_keep_the_job_running(place: JobPlace) -> None:
    async def odd() -> Any:
        return Unreadable()

    async with place.working({"odd": odd}) as jobs:
        view = await finished((await jobs.enqueue("odd")).job_id)
        assert (view.status, view.result) == ("completed", None)


async def test_a_handler_that_catches_its_cancellation_and_returns_has_not_done_its_work(place: JobPlace) -> None:
    registry, runs = JobRegistry(), []

    @registry.task("tidy", timeout=0.2, max_attempts=2, retry_delay=0)
    async def tidy(ctx: JobContext) -> str:
        runs.append(ctx.attempt)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "tidied up"
        return "done"

    async with place.working(registry) as jobs:
        view = await finished((await jobs.enqueue("tidy")).job_id)
    assert (view.status, view.result, runs) == ("dead", None, [1, 2])
    assert view.error.startswith("TimeoutError")


async def test_a_follow_up_tells_no_more_of_an_error_than_its_type(place: JobPlace) -> None:
    registry, told = JobRegistry(), []

    @registry.task("break", max_attempts=1)
    async def fails() -> None:
        raise ValueError("a secret of the service")

    @registry.task("after")
    async def after(payload: dict[str, Any]) -> None:
        told.append(payload["error"])

    async with place.service(registry) as client:
        made = await get_job_client().enqueue("break", on_failure="after")
        await client.jobs.drain()
        assert told == ["ValueError"]
        await get_job_client().retry(made.job_id)
        await client.jobs.drain()
        assert told == ["ValueError", "ValueError"], "each death has its own follow-up"


def test_a_run_of_a_schedule_counts_as_long_as_its_time_does() -> None:
    async def work() -> None: ...

    at = datetime(2026, 6, 1, 12, tzinfo=UTC)
    body = Body(cron="0 * * * * UTC", metadata={"scheduled_for": clock.to_text(at)})
    assert is_still_wanted(Task(handler=work, cron="0 * * * *", timezone="Etc/UTC"), body)
    assert is_still_wanted(Task(handler=work, cron="0 12 * * *"), body)
    assert not is_still_wanted(Task(handler=work, cron="30 * * * *"), body)
    assert not is_still_wanted(Task(handler=work), body)


async def test_jobs_begin_after_on_startup_and_end_before_on_shutdown(place: JobPlace) -> None:
    seen: list[str] = []
    state = {"pool": "none"}

    async def work(ctx: JobContext) -> None:
        seen.append(state["pool"])
        await asyncio.sleep(0.3)
        seen.append(state["pool"])

    async def begin(app: FastAPI) -> None:
        await get_job_client().enqueue("work")
        await asyncio.sleep(0.1)
        state["pool"] = "open"

    def close() -> None:
        state["pool"] = "closed"

    app = create_service("hooks", tasks={"work": work}, config=place.config(), on_startup=begin, on_shutdown=close)
    async with kernel_client(app, database=None, jobs="worker"):
        await until(lambda: asyncio.sleep(0, bool(seen)))
    assert seen == ["open", "open"]
    assert state["pool"] == "closed"


async def test_too_many_payloads_at_a_time_are_refused(place: JobPlace) -> None:
    async with place.service({"work": print}):
        with pytest.raises(InvalidJob, match="10000 payloads at a time"):
            await get_job_client().enqueue_many("work", [None] * 10_001)
        assert (await get_job_client().figures()).counts == {}


async def test_a_redis_user_who_may_not_ask_for_its_settings_may_use_it() -> None:
    async with PLACES["redis"]() as place, place.backend() as opened:
        assert isinstance(opened, RedisBackend)
        admin, name = opened._redis, f"user-{clock.new_id()}"
        await admin.execute_command("ACL", "SETUSER", name, "on", ">pass", "~*", "&*", "+@all", "-@dangerous")
        given = admin.connection_pool.connection_kwargs
        redis = create_redis(f"redis://{name}:pass@{given['host']}:{given['port']}/{given.get('db', 0)}", "test")
        try:
            limited = RedisBackend(redis, clock.new_id())
            await limited.look()
            await limited.look()
            await limited.enqueue([new("a")])
            assert await limited.prune() == 0
        finally:
            await redis.aclose()
            await admin.execute_command("ACL", "DELUSER", name)


async def test_a_schedule_is_kept_although_the_queue_was_emptied(monkeypatch: Any) -> None:
    from app_kernel.jobs.schedule import Schedule

    async def work() -> None: ...

    async with PLACES["redis"]() as place, place.backend() as opened:
        assert isinstance(opened, RedisBackend)
        schedule = Schedule(opened, {"nightly": Task(handler=work, cron="0 3 * * *")})
        await schedule.look()
        (planned,) = await opened.find(JobFilter())
        async for key in opened._redis.scan_iter(f"{opened._prefix}*"):
            await opened._redis.delete(key)
        assert await opened.get(planned.id) is None
        await schedule.look()
        again = await standing(opened, planned.id)
        assert timedelta(0) < datetime.fromtimestamp(again.due, UTC) - clock.now() <= timedelta(days=1)
