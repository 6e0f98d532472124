"""Beats show which attempts run, tell who asked them to end, and count, as progress does, only from who has the job."""

import pytest

from app_kernel.jobs.queues.backend import Backend
from tests.jobs.making import claim, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


async def test_beats_of_running_jobs_are_counted(place: JobPlace, backend: Backend) -> None:
    await backend.enqueue([new("a"), new("b"), new("waits")])
    rows = await claim(backend, 2)
    held = [(row.id, row.token or "") for row in rows]
    assert sorted(await backend.running()) == [(id, token, 0) for id, token in held]
    assert await backend.beat(held) == {"a": False, "b": False}
    assert await backend.beat(held[:1]) == {"a": False}
    async with place.backend() as other:
        beats = {id: count for id, _, count in await other.running()}
    assert beats == {"a": 2, "b": 1}


async def test_many_beats_travel_together(backend: Backend) -> None:
    await backend.enqueue([new() for _ in range(130)])
    rows = await claim(backend, 130)
    assert len(await backend.beat([(row.id, row.token or "") for row in rows])) == 130
    assert {count for _, _, count in await backend.running()} == {1}


@pytest.mark.acceptance("JB7")
async def test_a_beat_of_who_lost_the_job_is_not_answered_and_does_not_count(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, "queued")])
    assert await backend.beat([("a", row.token or "")]) == {}
    (again,) = await claim(backend)
    assert await backend.beat([("a", row.token or ""), ("nobody", "x")]) == {}
    assert await backend.running() == [("a", again.token, 0)]


async def test_a_beat_after_the_end_is_not_answered(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row)])
    assert await backend.beat([("a", row.token or "")]) == {}
    assert await backend.running() == []


async def test_a_beat_tells_that_the_job_is_to_end(backend: Backend) -> None:
    row = await started(backend, "a")
    assert await backend.cancel("a") == "running"
    held = [("a", row.token or "")]
    assert await backend.beat(held) == {"a": True}
    assert await backend.beat(held) == {"a": True}
    assert (await standing(backend, "a")).cancel


async def test_who_waits_for_cancellations_is_called(place: JobPlace, backend: Backend) -> None:
    called: list[str] = []
    stop = backend.on_cancel(lambda: called.append("yes"))
    row = await started(backend, "a")
    async with place.backend() as other:

        async def cancelled() -> bool:
            await other.cancel("a")
            return bool(called)

        await until(cancelled)
    stop()
    assert called
    assert await backend.beat([("a", row.token or "")]) == {"a": True}


async def test_who_waits_for_jobs_is_called(place: JobPlace, backend: Backend) -> None:
    called: list[str] = []
    backend.on_wake("one", lambda: called.append("one"))
    stop = backend.on_wake("two", lambda: called.append("two"))
    async with place.backend() as other:
        # Listening may take a moment to begin.
        await until(lambda: _put_and_look(other, "one", called))
        await until(lambda: _put_and_look(other, "two", called))
    stop()
    assert {"one", "two"} <= set(called)


async def test_progress_is_kept_from_who_has_the_job(backend: Backend) -> None:
    row = await started(backend, "a")
    assert await backend.report("a", row.token or "", 0.25, "a quarter")
    kept = await standing(backend, "a")
    assert (kept.progress, kept.progress_text) == (0.25, "a quarter")
    assert await backend.report("a", row.token or "", 0.5, None)
    kept = await standing(backend, "a")
    assert (kept.progress, kept.progress_text) == (0.5, None)


@pytest.mark.acceptance("JB7")
async def test_progress_of_who_lost_the_job_is_refused(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, "queued")])
    assert not await backend.report("a", row.token or "", 0.9, "too late")
    (again,) = await claim(backend)
    assert not await backend.report("a", row.token or "", 0.9, "too late")
    assert await backend.report("a", again.token or "", 0.1, "anew")
    await backend.settle([end(again)])
    assert not await backend.report("a", again.token or "", 0.2, "over")
    assert not await backend.report("nobody", "x", 0.2, None)
    kept = await standing(backend, "a")
    assert (kept.progress, kept.progress_text) == (1.0, "anew")


async def _put_and_look(backend: Backend, queue: str, called: list[str]) -> bool:
    await enqueue(backend, queue=queue)
    # So that the next one finds the queue empty again, which is when Redis calls.
    await claim(backend, queue=queue)
    return queue in called
