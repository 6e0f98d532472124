"""What goes into a queue is there once, under its id and under its unique key, however many put it there."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from app_kernel import JobRegistry
from app_kernel.core.clock import frozen
from app_kernel.core.errors import KernelError
from app_kernel.jobs import get_job_client
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.statements import INSERT_CHUNK
from tests.jobs.making import NOON, claim, claim_ids, end, enqueue, new, standing, started
from tests.jobs.places import JobPlace


async def test_a_new_job_is_queued_and_kept_as_it_was_given(backend: Backend) -> None:
    with frozen(NOON):
        made = await enqueue(
            backend, "a", task="mail", queue="emails", body='{"payload":1}', rank=-7, max_attempts=5,
            unique_key="one", user_id="ada", workspace_id="home",
        )  # fmt: skip
    assert (made.id, made.queue, made.task, made.status, made.is_new) == ("a", "emails", "mail", "queued", True)
    row = await standing(backend, "a")
    assert (row.id, row.queue, row.task, row.status, row.rank) == ("a", "emails", "mail", "queued", -7)
    assert (row.body, row.unique_key, row.user_id, row.workspace_id) == ('{"payload":1}', "one", "ada", "home")
    assert (row.attempts, row.max_attempts, row.cancel, row.progress) == (0, 5, False, 0.0)
    assert (row.due, row.enqueued_at) == (NOON.timestamp(), NOON.timestamp())
    absent = (row.started_at, row.finished_at, row.token, row.progress_text, row.result, row.error)
    assert absent == (None,) * 6


async def test_what_a_job_does_not_have_is_none(backend: Backend) -> None:
    await enqueue(backend, "a")
    row = await standing(backend, "a")
    assert (row.unique_key, row.user_id, row.workspace_id) == (None, None, None)


async def test_an_unknown_job_is_none(backend: Backend) -> None:
    assert await backend.get("nobody") is None


async def test_an_id_that_is_there_already_is_not_enqueued_again(backend: Backend) -> None:
    await enqueue(backend, "a", task="first", queue="one")
    again = await enqueue(backend, "a", task="second", queue="two")
    assert (again.id, again.task, again.queue, again.is_new) == ("a", "first", "one", False)
    assert await claim_ids(backend, queue="two") == []
    assert await claim_ids(backend, queue="one") == ["a"]


@pytest.mark.parametrize("status", ["scheduled", "queued", "running", "completed", "dead", "cancelled"])
async def test_the_answer_says_how_the_job_of_that_id_stands(backend: Backend, status: Any) -> None:
    await _job_that_is(backend, status, "a")
    assert (await enqueue(backend, "a")).status == status


@pytest.mark.acceptance("JB8")
@pytest.mark.parametrize("status", ["scheduled", "queued", "running"])
async def test_an_unfinished_job_keeps_its_unique_key(backend: Backend, status: Any) -> None:
    await _job_that_is(backend, status, "a", unique_key="report")
    second = await enqueue(backend, "b", unique_key="report")
    assert (second.id, second.status, second.is_new) == ("a", status, False)
    assert await backend.get("b") is None


@pytest.mark.acceptance("JB8")
async def test_a_job_that_waits_for_its_next_attempt_keeps_its_unique_key(backend: Backend) -> None:
    row = await started(backend, "a", unique_key="report")
    await backend.settle([end(row, "scheduled", delay=60.0)])
    assert (await enqueue(backend, "b", unique_key="report")).id == "a"


@pytest.mark.parametrize("status", ["completed", "dead", "cancelled"])
async def test_a_finished_job_leaves_its_unique_key_to_others(backend: Backend, status: Any) -> None:
    await _job_that_is(backend, status, "a", unique_key="report")
    second = await enqueue(backend, "b", unique_key="report")
    assert (second.id, second.is_new) == ("b", True)
    assert (await standing(backend, "a")).unique_key == "report"
    assert (await enqueue(backend, "c", unique_key="report")).id == "b"


async def test_a_waiting_job_that_is_cancelled_leaves_its_unique_key_to_others(backend: Backend) -> None:
    for waiting in ({}, {"delay": 60.0}):
        made = await enqueue(backend, unique_key="report", **waiting)
        assert made.is_new
        await backend.cancel(made.id)
    assert (await enqueue(backend, "b", unique_key="report")).is_new


async def test_of_an_id_and_a_unique_key_that_are_both_taken_the_id_counts(backend: Backend) -> None:
    await enqueue(backend, "a", unique_key="one")
    await enqueue(backend, "b", unique_key="two")
    assert (await enqueue(backend, "b", unique_key="one")).id == "b"
    assert (await enqueue(backend, "a", unique_key="two")).id == "a"


async def test_a_unique_key_counts_over_all_queues(backend: Backend) -> None:
    await enqueue(backend, "a", queue="one", unique_key="report")
    assert (await enqueue(backend, "b", queue="two", unique_key="report")).id == "a"


async def test_a_batch_of_many_is_enqueued_in_its_order(backend: Backend) -> None:
    jobs = [new() for _ in range(2 * INSERT_CHUNK + 3)]
    made = await backend.enqueue(jobs)
    assert [each.id for each in made] == [each.id for each in jobs]
    assert all(each.is_new and each.status == "queued" for each in made)
    assert await claim_ids(backend, len(jobs) + 1) == [each.id for each in jobs]


@pytest.mark.acceptance("JB8")
async def test_a_job_that_stands_twice_in_a_batch_is_one_job(backend: Backend) -> None:
    made = await backend.enqueue(
        [new("a"), new("b", unique_key="k"), new("a", task="other"), new("c", unique_key="k"), new("d")]
    )
    assert [each.id for each in made] == ["a", "b", "a", "b", "d"]
    assert [each.is_new for each in made] == [True, True, False, False, True]
    assert made[2].task == "work"
    assert await claim_ids(backend) == ["a", "b", "d"]


@pytest.mark.acceptance("JB8")
async def test_a_job_that_stands_twice_in_a_batch_far_apart_is_one_job(backend: Backend) -> None:
    jobs = [new("a", unique_key="k"), *(new() for _ in range(INSERT_CHUNK)), new("a"), new("b", unique_key="k")]
    made = await backend.enqueue(jobs)
    assert [(each.id, each.is_new) for each in made[-2:]] == [("a", False), ("a", False)]
    assert sum(each.is_new for each in made) == INSERT_CHUNK + 1
    assert len(await claim_ids(backend, len(jobs))) == INSERT_CHUNK + 1


async def test_a_batch_of_which_some_are_there_adds_the_others(backend: Backend) -> None:
    await backend.enqueue([new("a"), new("c", unique_key="k")])
    made = await backend.enqueue([new("a"), new("b"), new("x", unique_key="k"), new("d")])
    assert [(each.id, each.is_new) for each in made] == [("a", False), ("b", True), ("c", False), ("d", True)]
    assert await claim_ids(backend) == ["a", "c", "b", "d"]


async def test_of_a_batch_with_a_job_that_cannot_be_kept_none_is_there(backend: Backend) -> None:
    body: Any = None
    with pytest.raises(KernelError):
        await backend.enqueue([new("a"), new("b", body=body), new("c")])
    assert [await backend.get(id) for id in "abc"] == [None, None, None]


@pytest.mark.acceptance("JB8")
async def test_one_id_enqueued_100_times_at_once_is_one_job(place: JobPlace, backend: Backend) -> None:
    async with place.backend() as other:
        made = await asyncio.gather(*(enqueue((backend, other)[n % 2], "a", body=str(n)) for n in range(100)))
    assert {each.id for each in made} == {"a"}
    assert sum(each.is_new for each in made) == 1
    assert await claim_ids(backend) == ["a"]


@pytest.mark.acceptance("JB8")
async def test_one_unique_key_enqueued_100_times_at_once_is_one_job(place: JobPlace, backend: Backend) -> None:
    async with place.backend() as other:
        made = await asyncio.gather(*(enqueue((backend, other)[n % 2], f"j{n}", unique_key="k") for n in range(100)))
    (first,) = [each.id for each in made if each.is_new]
    assert {each.id for each in made} == {first}
    assert await claim_ids(backend) == [first]


@pytest.mark.acceptance("JB8")
async def test_batches_with_the_same_ids_in_other_orders_at_once_are_one_job_each(
    place: JobPlace, backend: Backend
) -> None:
    ids = [f"j{n}" for n in range(40)]
    if place.database_url.startswith("postgres"):
        # Each deadlock that PostgreSQL ends costs it a second, for which others wait for a connection.
        place = replace(place, database_url=f"{place.database_url}&pool_timeout=60")
    async with place.backend() as one, place.backend() as other:
        batches = [ids[n:] + ids[:n] if n % 2 else ids[::-1] for n in range(20)]
        made = await asyncio.gather(
            *((one, other)[n % 2].enqueue([new(id) for id in batch]) for n, batch in enumerate(batches))
        )
    assert sum(each.is_new for batch in made for each in batch) == len(ids)
    assert sorted(await claim_ids(backend)) == sorted(ids)


@pytest.mark.acceptance("JB8")
async def test_a_unique_key_is_never_held_by_two_while_its_jobs_come_and_go(place: JobPlace, backend: Backend) -> None:
    async def put(to: Backend, n: int) -> str:
        return (await enqueue(to, f"j{n}", unique_key="k")).id

    async def work() -> int:
        done = 0
        for _ in range(30):
            rows = await claim(backend)
            assert len(rows) <= 1
            if rows:
                done += 1
                await backend.settle([end(rows[0])])
            await asyncio.sleep(0)
        return done

    async with place.backend() as other:
        done, *made = await asyncio.gather(work(), *(put((backend, other)[n % 2], n) for n in range(60)))
    waiting = await claim(backend)
    assert len(waiting) <= 1
    assert len(set(made)) == done + len(waiting)


@pytest.mark.acceptance("JB8")
async def test_the_client_names_the_job_that_is_there(place: JobPlace) -> None:
    registry = JobRegistry()

    @registry.task("work")
    async def work() -> None: ...

    async with place.service(registry):
        jobs = get_job_client()
        by_id = await asyncio.gather(*(jobs.enqueue("work", {"n": n}, job_id="a") for n in range(100)))
        by_key = await asyncio.gather(*(jobs.enqueue("work", {"n": n}, unique_key="k") for n in range(100)))
        for made in (by_id, by_key):
            assert len({each.job_id for each in made}) == 1
            assert sum(not each.deduplicated for each in made) == 1
        assert (await jobs.figures()).counts == {("default", "queued"): 2}


async def _job_that_is(backend: Backend, status: Any, id: str, **fields: Any) -> None:
    if status in ("scheduled", "queued"):
        await enqueue(backend, id, delay=60.0 if status == "scheduled" else 0.0, **fields)
        return
    row = await started(backend, id, **fields)
    if status != "running":
        await backend.settle([end(row, status)])
