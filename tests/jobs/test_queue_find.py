"""Jobs are listed the latest first, by what is asked for, page by page; figures count them."""

import asyncio
import random
from typing import Any

import pytest

from app_kernel.core.clock import frozen
from app_kernel.core.jobs import JobFigures
from app_kernel.jobs.queues.backend import PRUNED_AT_ONCE, Backend
from app_kernel.jobs.records import JobFilter
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace

STATUSES = ("scheduled", "queued", "running", "completed", "dead", "cancelled")


async def found(backend: Backend, **wanted: Any) -> list[str]:
    return [row.id for row in await backend.find(JobFilter(**wanted))]


async def test_of_nothing_there_is_nothing(backend: Backend) -> None:
    assert await found(backend) == []
    assert await found(backend, user_id="ada", status="dead", queue="q", before="nobody") == []
    assert await backend.figures() == JobFigures({}, {}, ())


async def test_the_latest_enqueued_comes_first(backend: Backend) -> None:
    ids = [f"{n:02}" for n in range(30)]
    random.Random(5).shuffle(ids)
    for id in ids:
        await enqueue(backend, id, due=NOON.timestamp() + int(id) if int(id) % 2 else None, rank=int(id))
    assert await found(backend) == ids[::-1]


async def test_of_one_instant_the_latest_enqueued_comes_first_too(backend: Backend) -> None:
    ids = [f"{n:02}" for n in range(30)]
    random.Random(6).shuffle(ids)
    with frozen(NOON):
        await backend.enqueue([new(id, user_id="ada") for id in ids])
        assert await found(backend) == ids[::-1]
        assert await found(backend, user_id="ada") == ids[::-1]
        for row in await claim(backend):
            await backend.settle([end(row, "dead")])
        assert await found(backend, status="dead", queue="default") == ids[::-1]


async def test_no_more_are_listed_than_asked_for(backend: Backend) -> None:
    await backend.enqueue([new(f"{n:03}") for n in range(60)])
    assert await found(backend, limit=3) == ["059", "058", "057"]
    assert len(await found(backend)) == 50
    assert len(await found(backend, limit=1000)) == 60


@pytest.mark.parametrize("status", STATUSES)
async def test_a_status_can_be_asked_for(backend: Backend, status: Any) -> None:
    ids = await _one_of_each(backend)
    assert await found(backend, status=status) == [ids[status]]


async def test_a_row_in_a_list_is_whole_but_for_its_body(backend: Backend) -> None:
    row = await started(backend, "a", task="mail", user_id="ada", workspace_id="home", unique_key="k", rank=-1)
    await backend.report("a", row.token or "", 0.5, "half")
    (listed,) = await backend.find(JobFilter())
    kept = await standing(backend, "a")
    kept.body = listed.body
    assert listed == kept


async def test_every_filter_narrows_and_all_of_them_together_do_too(backend: Backend) -> None:
    for n in range(48):
        fields = {"queue": f"q{n % 2}", "task": f"t{n // 2 % 2}", "user_id": ("ada", "bob", None)[n % 3]}
        await enqueue(backend, f"{n:02}", delay=60.0 if n // 4 % 2 else 0.0, **fields)
    everything = list(reversed(await backend.find(JobFilter(limit=100))))
    wishes: list[dict[str, Any]] = [
        {"queue": "q1"}, {"task": "t0"}, {"user_id": "ada"}, {"status": "scheduled"}, {"queue": "q0", "task": "t1"},
        {"user_id": "bob", "status": "queued"}, {"queue": "q1", "user_id": "ada"},
        {"queue": "q0", "task": "t1", "user_id": "bob", "status": "scheduled"}, {"queue": "none"}, {"task": "none"},
        {"user_id": "none"},
    ]  # fmt: skip
    for wish in wishes:
        fits = [row.id for row in everything if all(getattr(row, name) == value for name, value in wish.items())]
        assert await found(backend, **wish, limit=100) == fits[::-1], wish


async def test_a_filter_finds_what_lies_behind_many_others(backend: Backend) -> None:
    await enqueue(backend, "needle", task="rare", queue="q")
    await backend.enqueue([new(queue="q") for _ in range(450)])
    assert await found(backend, task="rare") == ["needle"]
    assert await found(backend, task="rare", limit=1) == ["needle"]


@pytest.mark.parametrize(
    "wish",
    [{}, {"user_id": "ada"}, {"status": "dead"}, {"status": "dead", "queue": "default"}, {"task": "work"}],
    ids=str,
)
async def test_pages_show_each_job_once_while_others_come(backend: Backend, wish: Any) -> None:
    ids = [f"{n:02}" for n in range(25)]
    await backend.enqueue([new(id, user_id="ada") for id in ids])
    # They die in another order than they came.
    for row in sorted(await claim(backend), key=lambda row: row.id[::-1]):
        await backend.settle([end(row, "dead")])
    seen: list[str] = []
    before: str | None = None
    while page := await found(backend, **wish, limit=4, before=before):
        seen += page
        before = page[-1]
        await enqueue(backend, user_id="ada")
    assert seen == ids[::-1]


async def test_a_page_goes_on_after_a_job_that_fits_no_longer(backend: Backend) -> None:
    await backend.enqueue([new(id, user_id="ada") for id in "abcd"])
    for row in await claim(backend):
        await backend.settle([end(row, "dead")])
    assert await found(backend, status="dead", queue="default", limit=2) == ["d", "c"]
    await backend.retry("c")
    assert await found(backend, status="dead", queue="default", before="c") == ["b", "a"]
    assert await found(backend, status="dead", before="c") == ["b", "a"]


async def test_a_users_page_does_not_begin_after_a_job_of_somebody_else(backend: Backend) -> None:
    for id, user in (("a", "ada"), ("b", "bob"), ("c", "ada"), ("d", "bob")):
        await enqueue(backend, id, user_id=user)
    # Else it would tell when that one came.
    assert await found(backend, user_id="ada", before="d") == []
    assert await found(backend, user_id="ada", before="c") == ["a"]
    assert await found(backend, before="d") == ["c", "b", "a"]


async def test_a_page_after_an_unknown_job_is_empty(backend: Backend) -> None:
    await enqueue(backend, "a")
    assert await found(backend, before="nobody") == []


async def test_statuses_of_many_are_told_at_once(backend: Backend) -> None:
    ids = await _one_of_each(backend)
    told = await backend.statuses([*ids.values(), "nobody"])
    assert told == {id: status for status, id in ids.items()}


async def test_figures_count_what_is_not_over_and_what_is_dead(backend: Backend) -> None:
    await _one_of_each(backend)
    for _ in range(2):
        await enqueue(backend, queue="emails")
    figures = await backend.figures()
    assert figures.counts == {
        ("default", "scheduled"): 1, ("default", "queued"): 1, ("default", "running"): 1, ("default", "dead"): 1,
        ("emails", "queued"): 2,
    }  # fmt: skip
    assert (figures.paused, figures.outstanding) == ((), 0)


async def test_figures_tell_for_how_long_the_oldest_has_been_due(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "a", rank=5)
        clock.advance(10)
        await enqueue(backend, "b", rank=-5)
        await enqueue(backend, "c", queue="other", delay=3600.0)
        clock.advance(20)
        assert (await backend.figures()).oldest_seconds == pytest.approx({"default": 30}, abs=0.01)
        assert await claim_ids(backend, 1) == ["b"]
        assert (await backend.figures()).oldest_seconds == pytest.approx({"default": 30}, abs=0.01)
        await claim(backend)
        assert (await backend.figures()).oldest_seconds == {}
        clock.advance(3600)
        await backend.claim("other", 0 + 1, "worker")
        assert (await backend.figures()).oldest_seconds == {}


async def test_a_paused_queue_gives_nothing_and_takes_everything(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "a")
        await backend.pause("default", True)
        await backend.pause("default", True)
        await enqueue(backend, "b")
        await enqueue(backend, "c", delay=5.0)
        await enqueue(backend, "d", queue="other")
        clock.advance(10)
        assert await claim_ids(backend) == []
        assert await claim_ids(backend, queue="other") == ["d"]
        assert (await backend.figures()).paused == ("default",)
        await backend.pause("default", False)
        assert await claim_ids(backend) == ["a", "b", "c"]
        assert (await backend.figures()).paused == ()


async def test_a_pause_ends_no_job_that_runs(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.pause("default", True)
    assert await backend.beat([("a", row.token or "")]) == {"a": False}
    assert await backend.report("a", row.token or "", 0.5, None)
    await backend.settle([end(row, "queued", error="again")])
    assert await claim_ids(backend) == []
    await backend.pause("default", False)
    assert await claim_ids(backend) == ["a"]


async def test_a_pause_holds_until_somebody_ends_it(place: JobPlace) -> None:
    async with place.backend() as before:
        await before.pause("b", True)
        await before.pause("a", True)
        await before.pause("c", False)
        await enqueue(before, "x", queue="a")
    async with place.backend() as after:
        assert (await after.figures()).paused == ("a", "b")
        assert await claim_ids(after, queue="a") == []
        await after.pause("a", False)
        assert await claim_ids(after, queue="a") == ["x"]


async def test_finished_jobs_are_forgotten_when_their_time_is_over_and_no_others(backend: Backend) -> None:
    with frozen(NOON) as clock:
        kept = await _one_of_each(backend)
        for id, seconds in (("short", 10.0), ("long", 60.0)):
            row = await _claimed(backend, id, user_id="ada", unique_key=id)
            await backend.settle([end(row, ttl=seconds)])
        assert await backend.prune() == 0
        clock.advance(10.001)
        assert await backend.prune() == 1
        assert await backend.get("short") is None
        assert await found(backend, user_id="ada") == ["long"]
        clock.advance(60)
        assert await backend.prune() == 1
        assert await backend.prune() == 0
        assert sorted(await found(backend)) == sorted(kept.values())
        assert (await enqueue(backend, "short")).is_new


async def test_a_finished_job_without_a_time_stays(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        await backend.settle([end(row, ttl=None)])
        clock.advance(10 * 365 * 86400)
        assert await backend.prune() == 0
        assert (await standing(backend, "a")).status == "completed"


async def test_a_job_that_is_kept_for_no_time_at_all_is_forgotten_at_once(backend: Backend) -> None:
    with frozen(NOON):
        row = await started(backend, "a")
        await backend.settle([end(row, ttl=0.0)])
        assert await backend.prune() == 1
        assert await backend.get("a") is None


async def test_a_dead_job_that_is_forgotten_counts_no_more(backend: Backend) -> None:
    with frozen(NOON) as clock:
        row = await started(backend, "a")
        await backend.settle([end(row, "dead", ttl=60.0)])
        assert (await backend.figures()).counts == {("default", "dead"): 1}
        clock.advance(61)
        await backend.prune()
        assert (await backend.figures()).counts == {}
        assert await found(backend, status="dead", queue="default") == []


async def test_many_are_forgotten_in_parts_also_by_several_at_once(place: JobPlace, backend: Backend) -> None:
    with frozen(NOON) as clock:
        await backend.enqueue([new() for _ in range(PRUNED_AT_ONCE + 100)])
        for _ in range(6):
            await backend.settle([end(row, ttl=1.0) for row in await claim(backend, 100)])
        clock.advance(2)
        async with place.backend() as other:
            counts = await asyncio.gather(*(each.prune() for each in (backend, other, backend, other)))
        assert all(count <= PRUNED_AT_ONCE for count in counts)
        assert sum(counts) == PRUNED_AT_ONCE + 100
        assert await found(backend) == []


async def _claimed(backend: Backend, id: str, **fields: Any) -> Any:
    await enqueue(backend, id, queue="for-one", **fields)
    (row,) = await claim(backend, queue="for-one")
    return row


async def _one_of_each(backend: Backend) -> dict[str, str]:
    """The id of a job in each status."""
    for status in ("completed", "dead", "cancelled", "running"):
        row = await started(backend, f"is {status}")
        if status != "running":
            await backend.settle([end(row, status)])
    await enqueue(backend, "is scheduled", delay=3600.0)
    await enqueue(backend, "is queued")
    return {status: f"is {status}" for status in STATUSES}
