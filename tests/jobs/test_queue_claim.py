"""Workers get each job once: the highest priority first, then what has been due longest, then what came first."""

import asyncio
import random
from collections import Counter

import pytest

from app_kernel.core.clock import frozen
from app_kernel.jobs.queues.backend import Backend
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace


async def test_an_empty_queue_gives_nothing(backend: Backend) -> None:
    claims = await backend.claim("nobody-knows-it", 10, "worker")
    assert (list(claims.jobs), claims.next_due) == ([], None)


async def test_a_claimed_job_runs_its_first_attempt(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "a", body='{"payload":"x"}', user_id="ada")
        clock.advance(3)
        (row,) = await claim(backend)
    assert (row.id, row.status, row.attempts, row.body, row.user_id) == ("a", "running", 1, '{"payload":"x"}', "ada")
    assert (row.enqueued_at, row.due) == (NOON.timestamp(), NOON.timestamp())
    assert row.started_at == NOON.timestamp() + 3
    assert row.token
    assert await standing(backend, "a") == row


async def test_a_running_job_is_given_to_nobody_else(place: JobPlace, backend: Backend) -> None:
    await started(backend, "a")
    async with place.backend() as other:
        assert await claim_ids(backend) == []
        assert await claim_ids(other) == []


async def test_no_more_jobs_are_given_than_asked_for(backend: Backend) -> None:
    ids = [f"j{n}" for n in range(7)]
    await backend.enqueue([new(id) for id in ids])
    assert await claim_ids(backend, 3) == ids[:3]
    assert await claim_ids(backend, 1) == ids[3:4]
    assert await claim_ids(backend, 50) == ids[4:]
    assert await claim_ids(backend, 50) == []


async def test_queues_do_not_see_each_others_jobs(backend: Backend) -> None:
    await enqueue(backend, "a", queue="one")
    await enqueue(backend, "b", queue="two")
    assert await claim_ids(backend, queue="default") == []
    assert await claim_ids(backend, queue="two") == ["b"]
    assert await claim_ids(backend, queue="one") == ["a"]


async def test_the_highest_priority_comes_first(backend: Backend) -> None:
    ranks = [0, 100, -100, 5, -5, 99, -99, 1, -1, 0]
    await backend.enqueue([new(f"{rank}/{n}", rank=rank) for n, rank in enumerate(ranks)])
    expected = [f"{rank}/{n}" for n, rank in sorted(enumerate(ranks), key=lambda pair: (pair[1], pair[0]))]
    assert await claim_ids(backend) == expected


async def test_a_higher_priority_comes_before_what_was_due_long_ago(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "old", rank=0)
        clock.advance(86400 * 365)
        await enqueue(backend, "urgent", rank=-1)
        assert await claim_ids(backend) == ["urgent", "old"]


async def test_of_one_priority_what_has_been_due_longest_comes_first(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await enqueue(backend, "in 30", delay=30)
        await enqueue(backend, "at once")
        await enqueue(backend, "in 10", delay=10)
        await enqueue(backend, "long ago", due=NOON.timestamp() - 60)
        clock.advance(20)
        await enqueue(backend, "in 0 after 20")
        clock.advance(20)
        assert await claim_ids(backend) == ["long ago", "at once", "in 10", "in 0 after 20", "in 30"]


async def test_what_came_in_one_instant_comes_in_the_order_of_its_arrival(backend: Backend) -> None:
    ids = [f"{n:03}" for n in range(60)]
    random.Random(7).shuffle(ids)
    with frozen(NOON):
        for id in ids[:20]:
            await enqueue(backend, id)
        await backend.enqueue([new(id) for id in ids[20:]])
        taken = [id for limit in (1, 9, 100) for id in await claim_ids(backend, limit)]
    assert taken == ids


async def test_what_becomes_due_in_one_instant_comes_in_the_order_of_its_arrival(backend: Backend) -> None:
    ids = [f"{n:02}" for n in range(30)]
    random.Random(7).shuffle(ids)
    with frozen(NOON) as clock:
        await backend.enqueue([new(id, delay=5) for id in ids])
        clock.advance(5)
        assert await claim_ids(backend) == ids


async def test_jobs_come_in_the_order_of_their_arrival_while_time_runs(backend: Backend) -> None:
    ids = [f"{n:03}" for n in range(40)]
    random.Random(3).shuffle(ids)
    for id in ids:
        await enqueue(backend, id)
    assert await claim_ids(backend) == ids


async def test_more_jobs_than_any_page_become_due_at_once(backend: Backend) -> None:
    with frozen(NOON) as clock:
        await backend.enqueue([new(f"{n:04}", delay=1 + n / 100) for n in range(1100)])
        clock.advance(3600)
        taken: list[str] = []
        while found := await claim_ids(backend, 400):
            assert len(found) <= 400
            taken += found
    assert taken == [f"{n:04}" for n in range(1100)]


async def test_each_claim_has_a_token_of_its_own(backend: Backend) -> None:
    await backend.enqueue([new("a"), new("b")])
    (first,) = await claim(backend, 1)
    (second,) = await claim(backend, 1)
    assert first.token != second.token
    await backend.settle([end(first, "queued")])
    (again,) = await claim(backend)
    assert again.id == first.id
    assert again.token not in (first.token, second.token)


async def test_a_new_attempt_begins_without_what_the_one_before_left(backend: Backend) -> None:
    row = await started(backend, "a")
    await backend.report("a", row.token or "", 0.7, "nearly")
    await backend.settle([end(row, "queued", error="it broke")])
    (again,) = await claim(backend)
    assert (again.attempts, again.progress, again.progress_text, again.cancel) == (2, 0.0, None, False)
    assert again.error == "it broke"
    assert [beats for _, _, beats in await backend.running()] == [0]


async def test_twenty_who_claim_at_once_never_get_the_same_job(place: JobPlace, backend: Backend) -> None:
    await backend.enqueue([new(rank=n % 3) for n in range(300)])
    taken: Counter[str] = Counter()

    async def work(from_: Backend, limit: int) -> None:
        while rows := await claim(from_, limit):
            assert len(rows) <= limit
            taken.update(row.id for row in rows)

    async with place.backend() as other:
        await asyncio.gather(*(work((backend, other)[n % 2], 1 + n % 5) for n in range(20)))
        # Those of others may have stood locked when each looked for the last time.
        await work(backend, 100)
    assert len(taken) == 300
    assert set(taken.values()) == {1}


async def test_no_job_is_missed_by_those_who_claim_while_others_enqueue_and_settle(
    place: JobPlace, backend: Backend
) -> None:
    taken: Counter[str] = Counter()

    async def work(on: Backend) -> None:
        while taken.total() < 200:
            rows = await claim(on, 7)
            taken.update(row.id for row in rows)
            assert await on.settle([end(row) for row in rows]) == {row.id for row in rows}
            await asyncio.sleep(0)

    async def put(into: Backend) -> None:
        for _ in range(10):
            await into.enqueue([new() for _ in range(10)])

    async with place.backend() as other, asyncio.timeout(20):
        await asyncio.gather(*(work(on) for on in (backend, other) * 5), put(backend), put(other))
    assert (len(taken), taken.total()) == (200, 200)


@pytest.mark.parametrize("limit", [1, 2])
async def test_the_limit_holds_also_for_a_handful_of_jobs(backend: Backend, limit: int) -> None:
    # A planner that looked for the jobs anew for each row would take more than the limit of a small table.
    await backend.enqueue([new(f"j{n}") for n in range(6)])
    taken = [await claim_ids(backend, limit) for _ in range(6 // limit)]
    assert taken == [[f"j{n}" for n in range(at, at + limit)] for at in range(0, 6, limit)]
