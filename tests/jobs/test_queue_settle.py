"""The end of an attempt counts once, and only from who has the job; what follows from it happens with it, or never."""

from collections.abc import Callable
from typing import Any

import pytest

from app_kernel.core.clock import frozen
from app_kernel.core.jobs import FINISHED
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import JobRow, Outcome
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace

ENDS: dict[str, Callable[[JobRow], Outcome]] = {
    "completed": lambda row: end(row, result='{"n":1}'),
    "dead": lambda row: end(row, "dead", error="it broke"),
    "cancelled": lambda row: end(row, "cancelled"),
    "scheduled": lambda row: end(row, "scheduled", delay=60.0, error="it broke"),
    "queued": lambda row: end(row, "queued", error="it broke"),
    "released": lambda row: end(row, "queued", count=-1),
}


async def test_nothing_to_do_is_done(backend: Backend) -> None:
    assert await backend.settle([]) == set()
    assert await backend.beat([]) == {}
    assert await backend.enqueue([]) == []
    assert await backend.statuses([]) == {}


async def test_a_completed_job_keeps_its_result(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        clock.advance(2)
        assert await backend.settle([end(row, result='{"n":1}')]) == {"a"}
        kept = await standing(backend, "a")
    assert (kept.status, kept.result, kept.error, kept.progress) == ("completed", '{"n":1}', None, 1.0)
    assert (kept.attempts, kept.finished_at) == (1, NOON.timestamp() + 2)
    assert await backend.running() == []


async def test_a_completed_job_without_a_result_has_none(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row)])
    kept = await standing(backend, "a")
    assert (kept.status, kept.result, kept.error) == ("completed", None, None)


async def test_a_dead_job_keeps_its_traceback_and_how_far_it_was(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.report("a", row.token or "", 0.5, "half")
    assert await backend.settle([end(row, "dead", error="Traceback\n  it broke")]) == {"a"}
    kept = await standing(backend, "a")
    assert (kept.status, kept.error, kept.progress) == ("dead", "Traceback\n  it broke", 0.5)
    assert kept.finished_at is not None
    assert kept.result is None


async def test_a_failed_attempt_is_kept_while_the_next_one_waits_and_gone_when_that_completes(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, "queued", error="it broke")])
    kept = await standing(backend, "a")
    assert (kept.status, kept.error, kept.attempts, kept.finished_at) == ("queued", "it broke", 1, None)
    (again,) = await claim(backend)
    assert again.attempts == 2
    await backend.settle([end(again)])
    assert (await standing(backend, "a")).error is None


async def test_an_attempt_that_is_given_back_counts_as_not_begun(backend: Backend) -> None:
    for _ in range(3):
        row = await started(backend, "a") if await backend.get("a") is None else (await claim(backend))[0]
        assert row.attempts == 1
        assert await backend.settle([end(row, "queued", count=-1)]) == {"a"}
        assert (await standing(backend, "a")).attempts == 0


async def test_a_job_that_is_given_back_keeps_its_place(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        clock.advance(1)
        await enqueue(backend, "b")
        await enqueue(backend, "urgent", rank=-1)
        clock.advance(1)
        await backend.settle([end(row, "queued", count=-1)])
        assert await claim_ids(backend) == ["urgent", "a", "b"]


async def test_many_ends_travel_together(backend: Backend) -> None:
    await backend.enqueue([new(f"j{n:03}") for n in range(150)])
    rows = await claim(backend, 150)
    stale = Outcome(id="j149", token="nobody's", queue="default", status="dead")
    nobody = Outcome(id="nobody", token="nobody's", queue="default", status="dead")
    mixed = [end(row, ("completed", "dead", "scheduled")[n % 3], delay=60.0) for n, row in enumerate(rows[:149])]
    assert await backend.settle([nobody, *mixed, stale]) == {row.id for row in rows[:149]}
    assert (await backend.figures()).counts == {
        ("default", "dead"): 50, ("default", "scheduled"): 49, ("default", "running"): 1,
    }  # fmt: skip


@pytest.mark.acceptance("JB7")
@pytest.mark.parametrize("how", ENDS)
async def test_an_end_with_a_token_of_somebody_else_changes_nothing(backend: Backend, how: str) -> None:
    row = await started(backend, "a")
    wrong = Outcome(**{**_fields(ENDS[how](row)), "token": "somebody-else"})
    assert await backend.settle([wrong]) == set()
    assert await standing(backend, "a") == row
    assert await backend.settle([end(row)]) == {"a"}


@pytest.mark.parametrize("how", ENDS)
async def test_an_end_whose_answer_was_lost_may_be_told_again(place: JobPlace, backend: Backend, how: str) -> None:
    with frozen(NOON):
        row = await started(backend, "a")
        outcome = ENDS[how](row)
        assert await backend.settle([outcome]) == {"a"}
        before = await standing(backend, "a")
        async with place.backend() as other:
            assert await other.settle([outcome]) == {"a"}
            assert await other.settle([outcome, outcome]) == {"a"}
        assert await standing(backend, "a") == before


async def test_an_end_that_is_told_twice_in_one_step_counts_once(backend: Backend) -> None:
    row = await started(backend, "a")
    outcome = end(row, "queued", count=-1)
    assert await backend.settle([outcome, outcome]) == {"a"}
    assert (await standing(backend, "a")).attempts == 0
    assert await claim_ids(backend) == ["a"]


async def test_the_end_of_a_wait_may_be_told_again_when_its_time_has_come(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        outcome = end(row, "scheduled", delay=1.0)
        assert await backend.settle([outcome]) == {"a"}
        await backend.pause("default", True)
        clock.advance(5)
        assert await claim_ids(backend) == []
        assert (await standing(backend, "a")).status == "queued"
        assert await backend.settle([outcome]) == {"a"}
        assert (await standing(backend, "a")).status == "queued"


@pytest.mark.acceptance("JB7")
@pytest.mark.parametrize("how", ENDS)
async def test_the_end_of_an_attempt_that_was_rescued_meanwhile_is_refused(
    place: JobPlace, backend: Backend, how: str
) -> None:
    row = await started(backend, "a")
    async with place.backend() as rescuer:
        (found,) = await rescuer.running()
        assert found == ("a", row.token, 0)
        assert await rescuer.settle([end(row, "queued", error="its worker is gone")]) == {"a"}
        (again,) = await claim(rescuer)
        assert (again.attempts, again.error) == (2, "its worker is gone")
        assert await backend.settle([ENDS[how](row)]) == set()
        assert await standing(backend, "a") == again
        assert await rescuer.settle([end(again, result='"of the second"')]) == {"a"}
    assert await backend.settle([ENDS[how](row)]) == set()
    assert (await standing(backend, "a")).result == '"of the second"'


@pytest.mark.acceptance("JB7")
async def test_a_completion_after_the_rescue_and_before_the_next_claim_is_refused(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, "queued")])
    assert await backend.settle([end(row, result='"late"')]) == set()
    kept = await standing(backend, "a")
    assert (kept.status, kept.result) == ("queued", None)
    assert await claim_ids(backend) == ["a"]


@pytest.mark.parametrize("status", FINISHED)
async def test_a_finished_job_is_given_to_nobody(backend: Backend, status: Any) -> None:
    row = await started(backend, "a")
    await backend.settle([end(row, status)])
    assert await claim_ids(backend) == []
    assert await backend.running() == []


async def test_what_follows_from_an_end_is_enqueued_with_it(backend: Backend) -> None:
    row = await started(backend, "a")
    after = [new("b", task="after"), new("c", queue="other", delay=60.0), new("d", unique_key="k")]
    assert await backend.settle([end(row, followups=after)]) == {"a"}
    assert await claim_ids(backend) == ["b", "d"]
    assert (await standing(backend, "c")).status == "scheduled"
    assert (await standing(backend, "b")).task == "after"


@pytest.mark.acceptance("JB7")
async def test_nothing_follows_from_an_end_that_is_refused(backend: Backend) -> None:
    row = await started(backend, "a")
    refused = Outcome(**{**_fields(end(row)), "token": "somebody-else", "followups": [new("b")]})
    assert await backend.settle([refused]) == set()
    assert await backend.get("b") is None


async def test_what_follows_from_an_end_follows_once_though_that_is_told_twice(backend: Backend) -> None:
    row = await started(backend, "a")
    outcome = end(row, followups=[new("b")])
    assert await backend.settle([outcome]) == {"a"}
    (b,) = await claim(backend)
    await backend.settle([end(b)])
    assert await backend.settle([outcome]) == {"a"}
    assert (await standing(backend, "b")).status == "completed"
    assert await claim_ids(backend) == []


async def test_of_many_ends_only_those_that_count_have_followers(backend: Backend) -> None:
    await backend.enqueue([new(f"j{n}") for n in range(4)])
    rows = await claim(backend)
    outcomes = [end(row, followups=[new(f"after-{row.id}")]) for row in rows]
    await backend.settle([end(rows[1], "queued"), end(rows[2], "dead")])
    assert await backend.settle(outcomes) == {"j0", "j3"}
    assert await claim_ids(backend) == ["j1", "after-j0", "after-j3"]


async def test_a_follower_with_the_unique_key_of_the_job_itself_finds_it_free(backend: Backend) -> None:
    row = await started(backend, "a", unique_key="nightly")
    await backend.settle([end(row, followups=[new("b", unique_key="nightly")])])
    assert await claim_ids(backend) == ["b"]


def _fields(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in Outcome.__slots__}
