"""The end of some attempts and the beginning of the next ones may travel together, and mean the same as one by one."""

import asyncio
from collections import Counter

import pytest

from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import Outcome
from tests.jobs.making import claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace


async def test_places_that_become_free_get_the_next_jobs(backend: Backend) -> None:
    await backend.enqueue([new(id) for id in "abcd"])
    rows = await claim(backend, 2)
    accepted, claims = await backend.turn([end(row, result='"done"') for row in rows], "default", 2, "worker")
    assert accepted == {"a", "b"}
    assert [(row.id, row.status, row.attempts) for row in claims.jobs] == [("c", "running", 1), ("d", "running", 1)]
    assert [(await standing(backend, id)).status for id in "abcd"] == ["completed"] * 2 + ["running"] * 2
    assert (await standing(backend, "a")).result == '"done"'
    accepted, claims = await backend.turn([end(row) for row in claims.jobs], "default", 2, "worker")
    assert (accepted, list(claims.jobs)) == ({"c", "d"}, [])


async def test_no_more_are_begun_than_asked_for_and_the_first_come_first(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.enqueue([new("b"), new("urgent", rank=-5), new("other", queue="other"), new("c")])
    _, claims = await backend.turn([end(row)], "default", 2, "worker")
    assert [row.id for row in claims.jobs] == ["urgent", "b"]
    assert await claim_ids(backend, queue="other") == ["other"]


@pytest.mark.acceptance("JB7")
async def test_an_end_that_is_refused_keeps_nobody_from_the_next_job(backend: Backend) -> None:
    row = await started(backend, "a")
    await enqueue(backend, "b")
    stale = Outcome(id="a", token="somebody-else", queue="default", status="completed", ttl=1.0)
    accepted, claims = await backend.turn([stale], "default", 1, "worker")
    assert accepted == set()
    assert [row.id for row in claims.jobs] == ["b"]
    assert await standing(backend, "a") == row


async def test_a_turn_whose_answer_was_lost_may_be_made_again(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.enqueue([new("b"), new("c")])
    for expected in ("b", "c"):
        accepted, claims = await backend.turn([end(row)], "default", 1, "worker")
        assert accepted == {"a"}
        assert [each.id for each in claims.jobs] == [expected]


async def test_many_who_take_turns_run_each_job_once(place: JobPlace, backend: Backend) -> None:
    await backend.enqueue([new() for _ in range(200)])
    taken: Counter[str] = Counter()

    async def work(on: Backend) -> None:
        rows = await claim(on, 3)
        while rows:
            taken.update(row.id for row in rows)
            accepted, claims = await on.turn([end(row) for row in rows], "default", 3, "worker")
            assert accepted == {row.id for row in rows}
            rows = list(claims.jobs)

    async with place.backend() as other:
        await asyncio.gather(*(work(on) for on in (backend, other) * 5))
        await work(backend)
    assert (len(taken), taken.total()) == (200, 200)
    assert (await backend.figures()).counts == {}
