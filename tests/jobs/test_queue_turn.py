"""The end of some attempts and the beginning of the next ones may travel together, and mean the same as one by one."""

import asyncio
from collections import Counter

import pytest

from app_kernel.core.clock import frozen
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import Outcome
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
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


async def test_what_follows_from_an_end_may_begin_with_it(backend: Backend) -> None:
    # Once Redis knows the script; before that, the end comes after the beginning.
    await backend.settle([])
    row = await started(backend, "a")
    outcome = end(row, followups=[new("after"), new("later", delay=60.0)])
    accepted, claims = await backend.turn([outcome], "default", 5, "worker")
    assert accepted == {"a"}
    assert [each.id for each in claims.jobs] == ["after"]
    assert (await standing(backend, "later")).status == "scheduled"


async def test_a_job_that_fails_may_be_the_next_one_itself(backend: Backend) -> None:
    await backend.settle([])
    row = await started(backend, "a")
    accepted, claims = await backend.turn([end(row, "queued", error="again")], "default", 1, "worker")
    assert accepted == {"a"}
    assert [(each.id, each.attempts, each.error) for each in claims.jobs] == [("a", 2, "again")]
    assert claims.jobs[0].token != row.token


async def test_a_turn_brings_what_became_due_and_nothing_else(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        await backend.enqueue([new("in 5", delay=5.0), new("in 60", delay=60.0)])
        clock.advance(10)
        _, claims = await backend.turn([end(row)], "default", 5, "worker")
        assert [each.id for each in claims.jobs] == ["in 5"]
        assert claims.next_due == pytest.approx(50, abs=0.01)


async def test_a_turn_begins_nothing_of_a_paused_queue(backend: Backend) -> None:
    row = await started(backend, "a")
    await enqueue(backend, "b")
    await backend.pause("default", True)
    accepted, claims = await backend.turn([end(row)], "default", 5, "worker")
    assert (accepted, list(claims.jobs)) == ({"a"}, [])


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
