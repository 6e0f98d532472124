"""Runs of a schedule are enqueued ahead, once for all workers, and a time that nobody was there for is made up once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app_kernel import JobContext, JobRegistry
from app_kernel.core.clock import frozen
from app_kernel.core.errors import Unavailable
from app_kernel.jobs import get_job_client
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.records import JobFilter
from app_kernel.jobs.schedule import LONGEST_SLEEP, Schedule
from app_kernel.testing import KernelClient
from tests.jobs.making import NOON, standing
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


class Reports:
    """A task with a schedule, and the times for which it ran."""

    def __init__(self, cron: str = "*/5 * * * *", timezone: str = "UTC", **options: Any) -> None:
        self.registry = JobRegistry()
        self.ran: list[str] = []

        @self.registry.task("report", cron=cron, timezone=timezone, **options)
        async def report(ctx: JobContext) -> str:
            self.ran.append(ctx.metadata["scheduled_for"])
            return ctx.job_id

    def schedule(self, backend: Backend) -> Schedule:
        return Schedule(backend, self.registry.tasks)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


async def runs_of(place: JobPlace, reports: Reports, begin: str, hours: float, step: float) -> list[str]:
    """The UTC times, as hh:mm, at which a worker that looks every `step` minutes runs the task."""
    async with place.service(reports.registry, frozen_at=at(begin)) as client:
        schedule = reports.schedule(get_job_client().backend)
        for _ in range(int(hours * 60 / step)):
            await schedule.look()
            client.clock.advance(step * 60)
            await client.jobs.drain()
    return [text[11:16] for text in reports.ran]


async def test_the_next_run_is_enqueued_ahead_under_an_id_that_says_when_it_is(backend: Backend) -> None:
    reports = Reports(queue="reports", priority=5, max_attempts=2)
    with frozen(NOON) as clock:
        clock.advance(61)
        seconds = await reports.schedule(backend).look()
        (row,) = await backend.find(_all())
    due = NOON + timedelta(minutes=5)
    assert row.id == f"cron:report:{int(due.timestamp())}"
    assert (row.status, row.due, row.queue, row.rank, row.max_attempts) == (
        "scheduled", due.timestamp(), "reports", -5, 2,
    )  # fmt: skip
    assert 0 < seconds <= LONGEST_SLEEP


async def test_a_schedule_looks_again_when_its_time_has_come_and_now_and_then_before(backend: Backend) -> None:
    with frozen(NOON) as clock:
        schedule = Reports().schedule(backend)
        assert await schedule.look() == LONGEST_SLEEP
        clock.advance(299)
        assert await schedule.look() == pytest.approx(1.01)


async def test_runs_come_one_after_another(place: JobPlace) -> None:
    assert await runs_of(place, Reports(), "2026-06-01T12:00:30Z", 0.5, 1) == [
        "12:05", "12:10", "12:15", "12:20", "12:25", "12:30",
    ]  # fmt: skip


async def test_a_run_begins_when_its_time_has_come_and_not_before(place: JobPlace) -> None:
    reports = Reports()
    async with place.service(reports.registry, frozen_at=NOON) as client:
        await reports.schedule(get_job_client().backend).look()
        client.clock.advance(299.9)
        assert await client.jobs.drain() == []
        client.clock.advance(0.1)
        (view,) = await client.jobs.drain()
    assert (view.status, view.result) == ("completed", view.id)
    assert view.metadata == {"scheduled_for": "2026-06-01T12:05:00.000000Z"}


async def test_many_workers_enqueue_a_run_once(place: JobPlace, backend: Backend) -> None:
    reports = Reports()
    async with place.backend() as other:
        with frozen(NOON) as clock:
            schedules = [reports.schedule((backend, other)[n % 2]) for n in range(10)]
            for _ in range(3):
                await asyncio.gather(*(schedule.look() for schedule in schedules))
                clock.advance(1)
            assert len(await backend.find(_all())) == 1


@pytest.mark.parametrize("ttl", [3600, 0])
async def test_a_run_is_not_repeated_by_a_worker_that_starts_later(place: JobPlace, ttl: float) -> None:
    reports = Reports(result_ttl=ttl)
    async with place.service(reports.registry, frozen_at=NOON) as client:
        backend = get_job_client().backend
        await reports.schedule(backend).look()
        client.clock.advance(300)
        await client.jobs.drain()
        await backend.prune()
        # Its clock is a little behind, so that the time which has just passed is still to come.
        client.clock.advance(-1)
        await reports.schedule(backend).look()
        client.clock.advance(2)
        await client.jobs.drain()
    assert [text[11:16] for text in reports.ran] == ["12:05"]


async def test_a_time_that_nobody_was_there_for_is_made_up_once(place: JobPlace) -> None:
    reports = Reports()
    async with place.service(reports.registry, frozen_at=NOON) as client:
        await reports.schedule(get_job_client().backend).look()
        client.clock.advance(3 * 86400)
        later = reports.schedule(get_job_client().backend)
        await later.look()
        assert len(await client.jobs.drain()) == 1
        await later.look()
        assert await client.jobs.drain() == []
        client.clock.advance(300)
        assert len(await client.jobs.drain()) == 1
    assert reports.ran == ["2026-06-01T12:05:00.000000Z", "2026-06-04T12:05:00.000000Z"]


async def test_a_run_of_a_schedule_that_was_changed_since_is_dropped(place: JobPlace) -> None:
    old, new = Reports("*/5 * * * *"), Reports("*/7 * * * *")
    async with place.service(new.registry, frozen_at=NOON) as client:
        backend = get_job_client().backend
        await old.schedule(backend).look()
        await new.schedule(backend).look()
        client.clock.advance(5 * 60)
        (dropped,) = await client.jobs.drain()
        assert (dropped.status, dropped.result) == ("completed", None)
        client.clock.advance(2 * 60)
        await client.jobs.drain()
    assert [text[11:16] for text in new.ran] == ["12:07"]
    assert old.ran == []


async def test_a_run_of_a_schedule_whose_time_zone_was_changed_is_dropped(place: JobPlace) -> None:
    old, new = Reports("30 14 * * *", "Europe/Zurich"), Reports("30 14 * * *", "UTC")
    async with place.service(new.registry, frozen_at=NOON) as client:
        await old.schedule(get_job_client().backend).look()
        await new.schedule(get_job_client().backend).look()
        client.clock.advance(3 * 3600)
        views = await client.jobs.drain()
    assert [view.result for view in views] == [None, views[1].id]
    assert [text[11:16] for text in new.ran] == ["14:30"]


async def test_a_run_that_fails_is_repeated_like_any_job(place: JobPlace) -> None:
    registry = JobRegistry()
    attempts: list[int] = []

    @registry.task("report", cron="* * * * *", max_attempts=3, retry_delay=0.0)
    async def report(ctx: JobContext) -> None:
        attempts.append(ctx.attempt)
        raise ValueError("it broke")

    async with place.service(registry, frozen_at=NOON) as client:
        await Schedule(get_job_client().backend, registry.tasks).look()
        client.clock.advance(60)
        await client.jobs.drain()
    assert attempts == [1, 2, 3]


async def test_a_task_with_a_schedule_may_be_enqueued_by_hand_too(place: JobPlace) -> None:
    registry = JobRegistry()
    got: list[Any] = []

    @registry.task("report", cron="0 0 1 1 *")
    async def report(payload: Any) -> None:
        got.append(payload)

    async with place.service(registry, frozen_at=NOON) as client:
        await Schedule(get_job_client().backend, registry.tasks).look()
        await get_job_client().enqueue("report", {"by": "hand"})
        await client.jobs.drain()
    assert got == [{"by": "hand"}]


ZURICH, NEW_YORK = "Europe/Zurich", "America/New_York"


@pytest.mark.parametrize(
    ("zone", "begin", "expected"),
    [
        # 02:00 became 03:00, so that 02:30 did not exist; it runs right after the gap.
        (ZURICH, "2026-03-28T20:00:00Z", ["01:00", "00:30"]),
        (NEW_YORK, "2026-03-08T00:00:00Z", ["07:00", "06:30"]),
        # 03:00 became 02:00, so that 02:30 came twice in Zurich; in New York it is 01:30 that does.
        (ZURICH, "2026-10-24T20:00:00Z", ["00:30", "01:30"]),
        (NEW_YORK, "2026-11-01T00:00:00Z", ["07:30", "07:30"]),
    ],
)
async def test_a_daily_run_comes_once_a_day_also_when_the_clocks_are_changed(
    place: JobPlace, zone: str, begin: str, expected: list[str]
) -> None:
    assert await runs_of(place, Reports("30 2 * * *", zone), begin, 32, 60) == expected


async def test_a_doubled_time_in_new_york_comes_once(place: JobPlace) -> None:
    assert await runs_of(place, Reports("30 1 * * *", NEW_YORK), "2026-11-01T00:00:00Z", 32, 60) == ["05:30", "06:30"]


@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        (ZURICH, "2026-03-28T23:01:00Z"),
        (ZURICH, "2026-10-24T22:01:00Z"),
        (NEW_YORK, "2026-03-08T04:01:00Z"),
        (NEW_YORK, "2026-11-01T03:01:00Z"),
    ],
)
async def test_an_hourly_run_comes_every_hour_also_when_the_clocks_are_changed(
    place: JobPlace, zone: str, begin: str
) -> None:
    first = at(begin).replace(minute=0)
    expected = [f"{first + timedelta(hours=n):%H:%M}" for n in range(1, 7)]
    assert await runs_of(place, Reports("0 * * * *", zone), begin, 6, 60) == expected


async def test_a_schedule_waits_while_the_queue_is_away(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.jobs.schedule.RETRY_SECONDS", 0.01)
    tries = 0
    enqueue = backend.enqueue

    async def away(jobs: Any) -> Any:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise Unavailable("away")
        return await enqueue(jobs)

    monkeypatch.setattr(backend, "enqueue", away)
    running = asyncio.create_task(Reports().schedule(backend).run())

    async def enqueued() -> bool:
        return bool(await backend.find(_all()))

    await until(enqueued)
    running.cancel()
    await asyncio.wait([running])
    assert tries == 4


async def test_a_worker_enqueues_the_next_run_and_runs_it(place: JobPlace) -> None:
    reports = Reports("* * * * *")
    almost = at("2026-06-01T12:00:59.9Z")
    client: KernelClient
    async with place.service(reports.registry, jobs="worker", frozen_at=almost) as client:
        backend = get_job_client().backend
        id = f"cron:report:{int(at('2026-06-01T12:01:00Z').timestamp())}"

        async def there() -> bool:
            return await backend.get(id) is not None

        await until(there)
        client.clock.advance(0.2)

        async def ran() -> bool:
            return (await standing(backend, id)).status == "completed"

        await until(ran)
        # And the one after that is there already.
        await until(lambda: _is_there(backend, f"cron:report:{int(at('2026-06-01T12:02:00Z').timestamp())}"))
    assert reports.ran == ["2026-06-01T12:01:00.000000Z"]


async def _is_there(backend: Backend, id: str) -> bool:
    return await backend.get(id) is not None


def _all() -> JobFilter:
    return JobFilter()
