"""The figures of jobs: what ended in this process, and how the queues stand."""

import asyncio
import math
from datetime import UTC, datetime
from typing import Any

import pytest

from app_kernel import DoNotRetry, JobContext, RetryLater, get_job_client
from app_kernel.core.errors import QueueUnavailable
from app_kernel.metrics import jobs as job_metrics
from app_kernel.testing import KernelClient
from tests.jobs.making import finished
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tests.test_metrics import samples

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def note(payload: Any) -> None:
    """Ends well."""


async def fail(payload: Any) -> None:
    """Fails for good."""
    raise DoNotRetry("no")


async def twice(ctx: JobContext) -> None:
    """Needs a second attempt."""
    if ctx.attempt == 1:
        raise RetryLater(0)


async def slow(payload: Any) -> None:
    """Takes a moment."""
    await asyncio.sleep(0.06)


async def endless(payload: Any) -> None:
    """Runs until it is cancelled."""
    await asyncio.Event().wait()


TASKS = {"note": note, "fail": fail, "twice": twice, "slow": slow, "endless": endless}


async def figures(client: KernelClient, name: str) -> dict[str, float]:
    """The series of one metric, by their labels; of attempts those that there were."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    found = samples(answer.text, f"app_kernel_{name}")
    # Deaths of a task are there from its first attempt on, so that an alert sees the first one.
    return {labels: value for labels, value in found.items() if value or name != "job_attempts_total"}


async def figure(client: KernelClient, name: str) -> float:
    """A metric without labels."""
    text = (await client.get("/metrics")).text
    return float(next(line.split()[1] for line in text.splitlines() if line.startswith(f"app_kernel_{name} ")))


async def test_attempts_are_counted_by_task_and_outcome_and_timed(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        for name, count in (("note", 3), ("fail", 2), ("twice", 1), ("slow", 1)):
            await jobs.enqueue_many(name, [{}] * count)
        assert await figures(client, "job_attempts_total") == {}
        await client.jobs.drain()
        assert await figures(client, "job_attempts_total") == {
            'outcome="completed",task="note"': 3, 'outcome="dead",task="fail"': 2,
            'outcome="retried",task="twice"': 1, 'outcome="completed",task="twice"': 1,
            'outcome="completed",task="slow"': 1,
        }  # fmt: skip
        counts = {'task="note"': 3, 'task="fail"': 2, 'task="twice"': 2, 'task="slow"': 1}
        assert await figures(client, "job_run_seconds_count") == counts
        assert await figures(client, "job_wait_seconds_count") == counts
        took = await figures(client, "job_run_seconds_sum")
        assert 0.06 <= took['task="slow"'] < 5
        assert all(0 <= seconds < 5 for seconds in took.values())
        assert all(0 <= seconds < 60 for seconds in (await figures(client, "job_wait_seconds_sum")).values())


async def test_the_wait_counts_from_when_an_attempt_was_due(place: JobPlace) -> None:
    async with place.service(TASKS, frozen_at=NOON) as client:
        await get_job_client().enqueue("note", delay_seconds=100)
        client.clock.advance(107)
        await client.jobs.drain()
        assert await figures(client, "job_wait_seconds_sum") == {'task="note"': 7}
        assert await figures(client, "job_run_seconds_sum") == {'task="note"': 0}


async def test_the_queues_are_shown_as_they_stand(place: JobPlace) -> None:
    async with place.service(TASKS, frozen_at=NOON) as client:
        jobs = get_job_client()
        await jobs.enqueue_many("note", [1, 2, 3])
        client.clock.advance(30)
        await jobs.enqueue("note", queue="emails")
        await jobs.enqueue("note", delay_seconds=60, queue="emails")
        await jobs.enqueue("fail", queue="bad")
        await jobs.pause("emails")
        client.clock.advance(10)
        (dead,) = [view for view in await client.jobs.drain() if view.task_name == "fail"]
        assert dead.status == "dead"
        await jobs.enqueue("note")
        client.clock.advance(5)
        shown = await figures(client, "jobs")
        assert {labels: count for labels, count in shown.items() if count} == {
            'queue="default",status="queued"': 1, 'queue="emails",status="queued"': 1,
            'queue="emails",status="scheduled"': 1, 'queue="bad",status="dead"': 1,
        }  # fmt: skip
        assert len(shown) == 12
        assert await figures(client, "jobs_oldest_seconds") == {
            'queue="default"': 5, 'queue="emails"': 15, 'queue="bad"': 0,
        }  # fmt: skip
        assert await figures(client, "jobs_paused") == {'queue="default"': 0, 'queue="emails"': 1, 'queue="bad"': 0}
        await jobs.resume("emails")
        await client.jobs.drain()
        await jobs.retry(dead.id)
        await jobs.cancel(dead.id)
        shown = await figures(client, "jobs")
        assert {labels for labels, count in shown.items() if count} == {'queue="emails",status="scheduled"'}
        assert set((await figures(client, "jobs_paused")).values()) == {0}


async def test_a_running_and_a_cancelled_job_are_seen(place: JobPlace) -> None:
    async with place.service(TASKS, jobs="worker") as client:
        jobs = get_job_client()
        id = (await jobs.enqueue("endless")).job_id

        async def runs() -> bool:
            return (await figures(client, "jobs")).get('queue="default",status="running"') == 1

        assert await until(runs)
        await jobs.cancel(id)
        assert (await finished(jobs, id)).status == "cancelled"

        async def counted() -> dict[str, float]:
            return await figures(client, "job_attempts_total")

        assert await until(counted) == {'outcome="cancelled",task="endless"': 1}


async def test_while_the_queue_is_away_nothing_is_known_of_it(place: JobPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    async with place.service(TASKS) as client:
        jobs = get_job_client()
        await jobs.enqueue("note")
        await client.jobs.drain()
        await jobs.enqueue("note")
        assert (await figures(client, "jobs"))['queue="default",status="queued"'] == 1

        async def refuse() -> Any:
            raise QueueUnavailable

        async def hang() -> Any:
            await asyncio.Event().wait()

        monkeypatch.setattr(job_metrics, "JOBS_SECONDS", 0.05)
        for away in (refuse, hang):
            monkeypatch.setattr(jobs.backend, "figures", away)
            for name in ("jobs", "jobs_oldest_seconds", "jobs_paused"):
                shown = await figures(client, name)
                assert shown
                assert all(math.isnan(value) for value in shown.values())
            assert math.isnan(await figure(client, "jobs_outstanding"))
            # What this process did is known all the same.
            assert await figures(client, "job_attempts_total") == {'outcome="completed",task="note"': 1}
        monkeypatch.undo()
        assert (await figures(client, "jobs"))['queue="default",status="queued"'] == 1


async def test_what_left_a_transaction_for_redis_is_outstanding_until_it_is_finished(place: JobPlace) -> None:
    async with place.service(TASKS) as client:
        assert await figure(client, "jobs_outstanding") == 0
        async with client.db.transaction():
            await get_job_client().enqueue_many("note", [1, 2])
        await client.jobs.assert_enqueued("note", times=2)
        assert await figure(client, "jobs_outstanding") == (2 if place.name == "redis" else 0)
        await client.jobs.drain()

        async def forgotten() -> bool:
            return await figure(client, "jobs_outstanding") == 0

        assert await until(forgotten)


async def test_names_that_nobody_knows_make_no_series_of_their_own(place: JobPlace) -> None:
    async with place.service(None, embedded_worker=False, frozen_at=NOON) as client:
        for number in range(20):
            await get_job_client().enqueue(f"nobodys.{number}", max_attempts=1)
        views = await client.jobs.drain()
        assert {view.status for view in views} == {"dead"}
        assert await figures(client, "job_attempts_total") == {'outcome="dead",task="unknown"': 20}


async def test_two_services_in_a_process_do_not_mix(place: JobPlace) -> None:
    from app_kernel.testing import kernel_client
    from tests.small_service import small_app

    async with place.service(TASKS) as one:
        await get_job_client().enqueue("note")
        await one.jobs.drain()
        async with kernel_client(small_app(tasks=TASKS)) as two:
            assert await figures(two, "job_attempts_total") == await figures(two, "jobs") == {}
            assert await figures(one, "job_attempts_total") == {'outcome="completed",task="note"': 1}
