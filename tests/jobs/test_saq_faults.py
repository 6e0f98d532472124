"""What SAQ 0.26 does wrong by default, shown on SAQ itself with a real Redis, and that it does not happen here."""

import asyncio
import math
import secrets
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import redis.asyncio as aioredis
from saq.job import Job, Status
from saq.queue.redis import RedisQueue
from saq.worker import Worker

from app_kernel import JobRegistry
from app_kernel.core.errors import InvalidJob, QueueUnavailable
from app_kernel.core.jobs import DEFAULT_ATTEMPTS
from app_kernel.jobs import get_job_client, upkeep
from app_kernel.jobs.queues.backend import Backend
from app_kernel.jobs.queues.fetching import Fetcher
from app_kernel.jobs.records import Body, Claims, NewJob, Outcome
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tools.services import HOST, free_port

ABORT_SECONDS = 0.3
"""How long SAQ's sweep waits for each job; 5 by default."""
DEAD_JOBS = 4

registry = JobRegistry()
ran: list[tuple[Any, int]] = []


@registry.task("note", retry_delay=0)
async def note(payload: Any, ctx: Any) -> Any:
    ran.append((payload, ctx.attempt))
    return payload


@registry.task("gives_up", retry_delay=0, max_attempts=2, result_ttl=0)
async def gives_up(payload: Any) -> None:
    ran.append((payload, 0))
    raise asyncio.CancelledError


@pytest.fixture
async def saq_queue(redis_url: str) -> AsyncIterator[RedisQueue]:
    """A queue of SAQ's, as it comes."""
    queue = RedisQueue.from_url(redis_url, name=f"saq-{secrets.token_hex(4)}")
    yield queue
    keys = [key async for key in queue.redis.scan_iter(f"*{queue.name}*")]
    if keys:
        await queue.redis.delete(*keys)
    await queue.redis.aclose()


async def killed_job(queue: RedisQueue, **options: Any) -> Job:
    """A job whose worker has been gone for a minute."""
    await queue.enqueue("note", **options)
    job = await queue.dequeue(timeout=1)
    assert job is not None
    job.attempts, job.started = 1, int(time.time() - 60) * 1000
    await job.update(status=Status.ACTIVE)
    return job


async def claimed(backend: Backend, *ids: str) -> list[Any]:
    """Jobs that a worker has begun which is gone."""
    body = Body(payload={}).text()
    await backend.enqueue([NewJob(id=id, queue="default", task="note", body=body, max_attempts=3) for id in ids])
    return list((await backend.claim("default", len(ids), "gone")).jobs)


async def test_saq_rescues_killed_jobs_one_by_one(saq_queue: RedisQueue) -> None:
    for _ in range(DEAD_JOBS):
        await killed_job(saq_queue, retries=3, timeout=1)
    began = time.monotonic()
    swept = await saq_queue.sweep(lock=1, abort=ABORT_SECONDS)
    assert len(swept) == DEAD_JOBS
    assert time.monotonic() - began > DEAD_JOBS * ABORT_SECONDS * 0.9


async def test_here_killed_jobs_are_rescued_all_at_once(place: JobPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "LOOK_SECONDS", 0.03)
    ran.clear()
    async with place.backend() as backend:
        await claimed(backend, *(f"killed-{number}" for number in range(50)))
    began = time.monotonic()
    async with place.working(registry):
        await until(lambda: has_run(50))
    assert time.monotonic() - began < 50 * ABORT_SECONDS / 2
    assert {attempt for _, attempt in ran} == {2}


async def has_run(count: int) -> bool:
    return len(ran) >= count


async def test_saq_runs_a_job_again_that_was_finished_while_it_was_swept(saq_queue: RedisQueue) -> None:
    await saq_queue.enqueue("note", retries=3)
    job = await saq_queue.dequeue(timeout=1)
    assert job is not None
    # Between SAQ's two steps, taking the job and saying so, it looks like one that nobody runs.
    sweeping = asyncio.create_task(saq_queue.sweep(lock=1, abort=ABORT_SECONDS))
    await asyncio.sleep(ABORT_SECONDS / 3)
    await job.finish(Status.COMPLETE)
    assert len(await sweeping) == 1
    assert await saq_queue.count("queued") == 1


async def test_here_a_finished_job_is_not_run_again_by_who_took_it_for_lost(backend: Backend) -> None:
    (row,) = await claimed(backend, "one")
    done = Outcome(id="one", token=row.token, queue="default", status="completed", ttl=60)
    rescued = Outcome(id="one", token=row.token, queue="default", status="queued")
    assert await backend.settle([done]) == {"one"}
    assert await backend.settle([rescued]) == set()
    assert not (await backend.claim("default", 1, "other")).jobs
    kept = await backend.get("one")
    assert kept is not None
    assert kept.status == "completed"


async def test_saq_does_not_run_a_killed_job_again_by_default(saq_queue: RedisQueue) -> None:
    job = await killed_job(saq_queue, timeout=1)
    await saq_queue.sweep(lock=1, abort=ABORT_SECONDS)
    await job.refresh()
    assert job.retries == 1
    assert job.status == Status.ABORTED
    assert await saq_queue.count("queued") == 0


async def test_saq_never_looks_after_a_killed_job_without_a_timeout(saq_queue: RedisQueue) -> None:
    job = await killed_job(saq_queue, timeout=0, retries=3)
    assert await saq_queue.sweep(lock=1, abort=ABORT_SECONDS) == []
    await job.refresh()
    assert job.status == Status.ACTIVE


async def test_here_every_job_has_a_timeout_and_more_than_one_attempt(place: JobPlace) -> None:
    async with place.service(registry):
        with pytest.raises(InvalidJob, match="timeout"):
            await get_job_client().enqueue("note", timeout=0)
        made = await get_job_client().enqueue("note")
        job = await get_job_client().get(made.job_id)
    assert job is not None
    assert job.max_attempts == DEFAULT_ATTEMPTS > 1


class Tries:
    """How often a worker asks a queue that is away, until `ended`."""

    def __init__(self) -> None:
        self.count = 0
        self.ended = asyncio.Event()


async def tries_within(seconds: float, work: Callable[[Tries], Awaitable[None]]) -> int:
    """How often it asks in this time."""
    tries = Tries()
    working = asyncio.ensure_future(work(tries))
    await asyncio.sleep(seconds)
    tries.ended.set()
    await asyncio.wait_for(working, 5)
    return tries.count


async def test_saq_spins_while_redis_is_away() -> None:
    # A client that does not wait by itself between its tries.
    client = aioredis.Redis(host=HOST, port=free_port(), retry=None)

    class Counting(RedisQueue):
        async def version(self) -> Any:
            return (7, 0, 0)

        async def dequeue(self, timeout: float = 0.0, poll_interval: float = 0.0) -> Job | None:
            asked.count += 1
            return await super().dequeue(timeout, poll_interval)

    asked = Tries()

    async def work(tries: Tries) -> None:
        nonlocal asked
        asked = tries
        worker = Worker(Counting(client), [], concurrency=1)
        while not tries.ended.is_set():
            await worker.process()
        worker.pool.shutdown()

    assert await tries_within(0.5, work) > 100
    await client.aclose()


async def test_here_a_worker_waits_longer_and_longer_while_the_queue_is_away() -> None:
    class Away:
        async def claim(self, queue: str, limit: int, worker: str) -> Claims:
            asked.count += 1
            raise QueueUnavailable

        def on_wake(self, queue: str, callback: Callable[[], object]) -> Callable[[], None]:
            return lambda: None

    asked = Tries()

    async def work(tries: Tries) -> None:
        nonlocal asked
        asked = tries
        fetcher: Fetcher[Any] = Fetcher(Away(), "default", lambda row: row, lambda job: asyncio.sleep(0))  # type: ignore[arg-type]
        waiting = asyncio.create_task(fetcher.next())
        await tries.ended.wait()
        await fetcher.stop()
        assert await waiting is None

    assert 2 <= await tries_within(0.5, work) <= 4


async def test_saq_forgets_a_job_that_failed(saq_queue: RedisQueue) -> None:
    job = await killed_job(saq_queue, ttl=1)
    await job.finish(Status.FAILED, error="it failed")
    assert await saq_queue.job(job.key) is not None
    await asyncio.sleep(1.1)
    assert await saq_queue.job(job.key) is None
    assert [job async for job in saq_queue.iter_jobs()] == []
    assert Job("note").ttl == 600, "ten minutes by default"


async def test_here_a_dead_job_is_kept_listed_and_run_again_by_hand(place: JobPlace) -> None:
    async with place.service(registry) as client:
        jobs = get_job_client()
        made = await jobs.enqueue("gives_up")
        await client.jobs.drain()
        await jobs.backend.prune()
        (dead,) = await jobs.list_jobs(status="dead")
        assert dead.id == made.job_id
        assert (await jobs.retry(dead.id)).status == "queued"


async def test_saq_leaves_a_job_running_whose_handler_raises_cancelled_error(saq_queue: RedisQueue) -> None:
    async def cancelled(ctx: Any) -> None:
        raise asyncio.CancelledError

    worker = Worker(saq_queue, [("gives_up", cancelled)], concurrency=1)
    made = await saq_queue.enqueue("gives_up", retries=2)
    assert made is not None
    await worker.process()
    await made.refresh()
    assert (made.status, made.attempts) == (Status.ACTIVE, 1)
    assert await saq_queue.count("active") == 1
    assert not worker.job_task_contexts, "and nobody runs it"
    worker.pool.shutdown()


async def test_here_a_handler_that_raises_cancelled_error_has_its_attempts_and_no_more(place: JobPlace) -> None:
    ran.clear()
    async with place.service(registry) as client:
        made = await get_job_client().enqueue("gives_up")
        await client.jobs.drain()
        job = await get_job_client().get(made.job_id)
    assert job is not None
    assert (job.status, job.attempt, len(ran)) == ("dead", 2, 2)
    assert "CancelledError" in (job.error or "")


async def test_saq_steals_arguments_that_are_named_like_fields_of_a_job(saq_queue: RedisQueue) -> None:
    job = await saq_queue.enqueue("note", key="a key", timeout=7, city="Bern")
    assert job is not None
    assert job.kwargs == {"city": "Bern"}
    assert (job.key, job.timeout) == ("a key", 7)


async def test_here_a_payload_arrives_whole(place: JobPlace) -> None:
    ran.clear()
    payload = {"key": "a key", "timeout": 7, "city": "Bern", "result": 1, "status": "new", "payload": {}, "ctx": None}
    async with place.service(registry) as client:
        await get_job_client().enqueue("note", payload)
        await client.jobs.drain()
    assert ran == [(payload, 1)]


async def test_saq_has_no_priorities_on_redis(saq_queue: RedisQueue) -> None:
    for number, priority in enumerate((5, 0, 9)):
        await saq_queue.enqueue("note", key=str(number), priority=priority)
    taken = [await saq_queue.dequeue(timeout=1) for _ in range(3)]
    assert [job.key for job in taken if job is not None] == ["0", "1", "2"]


async def test_here_the_highest_priority_runs_first(place: JobPlace) -> None:
    ran.clear()
    async with place.service(registry) as client:
        for priority in (5, 0, 9):
            await get_job_client().enqueue("note", priority, priority=priority)
        await client.jobs.drain()
    assert [payload for payload, _ in ran] == [9, 5, 0]


async def test_saq_knows_whole_seconds_only_and_so_begins_a_job_early(saq_queue: RedisQueue) -> None:
    assert Job.__annotations__["scheduled"] == "int"
    due = math.floor(time.time()) + 1.9
    job = await saq_queue.enqueue("note", scheduled=int(due))
    assert job is not None
    await asyncio.sleep(int(due) + 0.05 - time.time())
    assert await saq_queue.schedule(lock=1) == [job.id]
    assert time.time() < due - 0.5


async def test_here_a_delay_is_as_long_as_it_was_asked_for(place: JobPlace) -> None:
    ran.clear()
    async with place.working(registry) as jobs:
        began = time.time()
        made = await jobs.enqueue("note", delay_seconds=0.25)
        await until(lambda: has_run(1))
        job = await jobs.get(made.job_id)
    assert job is not None
    assert 0.25 <= time.time() - began < 2


class Signals:
    """In the place of a loop's `add_signal_handler`: the last one that was set counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.handlers: dict[int, Callable[[], object]] = {}
        loop = asyncio.get_running_loop()
        monkeypatch.setattr(loop, "add_signal_handler", self._add, raising=False)
        monkeypatch.setattr(loop, "remove_signal_handler", self.handlers.pop, raising=False)

    def _add(self, number: int, callback: Callable[[], object]) -> None:
        self.handlers[number] = callback


async def test_two_workers_of_saq_in_one_loop_fight_over_signals(
    saq_queue: RedisQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = Signals(monkeypatch)
    workers = [Worker(saq_queue, [], concurrency=1) for _ in range(2)]
    running = [asyncio.create_task(worker.start()) for worker in workers]
    await asyncio.sleep(0.1)
    signals.handlers[signal.SIGTERM]()
    await asyncio.sleep(0.1)
    assert [worker.event.is_set() for worker in workers] == [False, True]
    workers[0].event.set()
    signals.handlers.update(dict.fromkeys((signal.SIGINT, signal.SIGTERM), lambda: None))
    await asyncio.wait(running)


async def test_here_no_worker_of_a_queue_takes_a_signal(place: JobPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    signals = Signals(monkeypatch)
    async with place.working(registry, worker_queues=["default", "other"]) as jobs:
        await jobs.enqueue("note")
        assert signals.handlers == {}


async def test_saqs_update_overwrites_an_abort(saq_queue: RedisQueue) -> None:
    job = await killed_job(saq_queue)
    read = saq_queue.job

    async def read_then_aborted(key: str) -> Job | None:
        found, other = await read(key), await read(key)
        assert other is not None
        await saq_queue.abort(other, "stop it")
        return found

    saq_queue.job = read_then_aborted  # type: ignore[method-assign]
    await job.update(progress=0.5)
    kept = await read(job.key)
    assert kept is not None
    assert kept.status == Status.ACTIVE, "nobody will ever hear of the abort"


async def test_here_neither_progress_nor_a_beat_overwrites_a_cancellation(backend: Backend) -> None:
    (row,) = await claimed(backend, "one")
    await backend.cancel("one")
    await backend.report("one", row.token, 0.5, "half")
    await backend.beat([("one", row.token)])
    assert await backend.beat([("one", row.token)]) == {"one": True}
