"""Redis away, cut off, full, emptied, or set up to lose jobs: an error or a word about it, and never a fake success."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter

from app_kernel import JobRegistry, get_job_client
from app_kernel.core.errors import QueueUnavailable
from app_kernel.db import create_database
from app_kernel.jobs.queues.redis import RedisBackend
from app_kernel.redis_wire import create_redis
from tests.faults.durable_redis import DurableRedis, durable_redis
from tests.faults.job_fleet import job_fleet
from tests.faults.job_places import FaultPlace, fault_place
from tests.faults.outbox_feature import look
from tests.faults.tcp_proxy import HOST, tcp_proxy
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until

router = APIRouter()
registry = JobRegistry()
ran: list[str] = []


@router.post("/tasks")
async def make(id: str) -> dict[str, str]:
    made = await get_job_client().enqueue("note", {"id": id}, job_id=id)
    return {"id": made.job_id}


@registry.task("note", result_ttl=60)
async def note(payload: dict[str, Any]) -> None:
    ran.append(payload["id"])


@pytest.fixture
async def redis_place(tmp_path: Path) -> AsyncIterator[FaultPlace]:
    async with fault_place("redis", tmp_path, None) as place:
        yield place


def jobs_at(place: FaultPlace, redis_url: str | None = None) -> JobPlace:
    """The place as services in this process use it."""
    return JobPlace("redis", place.database_url, redis_url or place.redis_url, {"auth_enabled": False})


def server_of(place: FaultPlace) -> DurableRedis:
    """Its Redis."""
    assert place.redis is not None
    return place.redis


@pytest.mark.slow
@pytest.mark.acceptance("JB3")
async def test_while_redis_is_down_enqueueing_is_an_error_and_a_transaction_still_commits_its_job(
    redis_place: FaultPlace,
) -> None:
    redis = server_of(redis_place)
    async with jobs_at(redis_place).service(registry, router) as client:
        assert (await client.post("/tasks?id=before")).status_code == 200
        redis.kill()
        jobs = get_job_client()
        with pytest.raises(QueueUnavailable):
            await jobs.enqueue("note", {"id": "down"}, job_id="down")
        answer = await client.post("/tasks?id=asked")
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        async with client.db.transaction():
            await client.db.save_entity("orders", {"id": "committed"})
            made = await jobs.enqueue("note", {"id": "committed"}, job_id="committed")
        assert (made.job_id, made.status) == ("committed", "queued")
        redis.start()
        await until(lambda: jobs.get("committed"))
        assert {each.id for each in await jobs.list_jobs()} == {"before", "committed"}
        # The same request, made again as its client is told to.
        assert (await client.post("/tasks?id=asked")).status_code == 200
        assert len(await jobs.list_jobs()) == 3


@pytest.mark.acceptance("JB3")
async def test_a_job_on_its_way_waits_for_a_queue_that_is_not_open_yet(
    redis_place: FaultPlace, caplog: pytest.LogCaptureFixture
) -> None:
    """A relay begins before the queue of its service is open, and must not give up a message for that."""
    async with jobs_at(redis_place).service(registry, router) as client:
        jobs = get_job_client()
        async with client.db.transaction():
            await jobs.enqueue("note", {"id": "early"}, job_id="early")
            backend = jobs.backend
            jobs.attach(None)
        await until(lambda: has_told(caplog, "receiver_away", "message_failed"))
        waiting = await asyncio.to_thread(look, redis_place.database_url, "SELECT attempts FROM kernel_outbox")
        jobs.attach(backend)
        assert waiting == [(0,)]
        await until(lambda: jobs.get("early"))
    assert "message_failed" not in caplog.messages


async def has_told(caplog: pytest.LogCaptureFixture, *events: str) -> bool:
    return any(event in caplog.messages for event in events)


@pytest.mark.acceptance("JB3")
async def test_an_answer_that_is_cut_off_is_an_error_and_enqueueing_again_makes_no_second_job(
    redis_place: FaultPlace,
) -> None:
    async with tcp_proxy(server_of(redis_place).port) as proxy:
        behind = jobs_at(redis_place, f"redis://{HOST}:{proxy.port}/0")
        async with behind.service(registry, router) as client:
            jobs = get_job_client()
            await jobs.enqueue("note", {"id": "before"})
            proxy.cuts_answers = True
            with pytest.raises(QueueUnavailable):
                await jobs.enqueue("note", {"id": "cut"}, job_id="cut")
            assert (await client.post("/tasks?id=asked")).status_code == 503
            proxy.cuts_answers = False
            assert await jobs.get("cut") is not None, "it had been kept, only the answer was lost"
            again = await jobs.enqueue("note", {"id": "cut"}, job_id="cut")
            assert again.deduplicated
            assert [each.id for each in await jobs.list_jobs(task="note")].count("cut") == 1


@pytest.mark.slow
@pytest.mark.acceptance("JB3")
async def test_a_full_redis_takes_no_job_and_those_that_run_there_go_on_to_their_end(
    redis_place: FaultPlace, tmp_path: Path
) -> None:
    async with job_fleet(tmp_path, redis_place) as fleet:
        for _ in range(2):
            fleet.start()
        await fleet.started()
        await fleet.enqueue("long", seconds=5)
        await fleet.wait_for(lambda: fleet.ledger.read().starts, "its start")
        with server_of(redis_place).client() as admin:
            admin.config_set("maxmemory-policy", "noeviction")
            admin.config_set("maxmemory", 1)
            with pytest.raises(QueueUnavailable, match="OOM"):
                await fleet.enqueue("refused", tries=False)
            async with jobs_at(redis_place).service(registry, router) as client:
                assert (await client.post("/tasks?id=asked")).status_code == 503
            await fleet.ended("long")
            await fleet.settled()
            assert fleet.ledger.count("start", "long") == 1
            assert not fleet.logged("job_rescued"), "a full Redis made a running job look lost"
            assert {each.id for each in await fleet.client.list_jobs()} == {"long"}
            admin.config_set("maxmemory", 0)
        await fleet.enqueue("taken", tries=False)
        await fleet.ended("taken")


@pytest.mark.slow
@pytest.mark.acceptance("JB3")
async def test_after_flushall_the_jobs_of_transactions_run_and_the_loss_of_the_others_is_told(
    redis_place: FaultPlace, caplog: pytest.LogCaptureFixture
) -> None:
    ran.clear()
    committed = [f"committed-{number}" for number in range(20)]
    async with jobs_at(redis_place).service(registry, router, jobs="worker") as client:
        jobs = get_job_client()
        await jobs.pause()
        for id in committed:
            async with client.db.transaction():
                await client.db.save_entity("orders", {"id": id})
                await jobs.enqueue("note", {"id": id}, job_id=id)
        for number in range(5):
            await jobs.enqueue("note", {"id": f"outside-{number}"})

        async def are_all_there() -> bool:
            return len(await jobs.list_jobs(limit=100)) == 25

        await until(are_all_there)
        with server_of(redis_place).client() as admin, caplog.at_level(logging.ERROR, "app_kernel.jobs"):
            admin.flushall()

            async def is_made_up() -> bool:
                return len(ran) >= len(committed) and "job_queue_lost" in caplog.messages

            await until(is_made_up)
            await asyncio.sleep(0.5)
        assert sorted(ran) == sorted(committed)

        async def is_forgotten() -> bool:
            return (await jobs.figures()).outstanding == 0

        await until(is_forgotten)
    again = [record for record in caplog.records if record.message == "jobs_enqueued_again"]
    assert sum(record.count for record in again) == len(committed)  # type: ignore[attr-defined]
    assert caplog.messages.count("job_queue_lost") == 1


@asynccontextmanager
async def opened_backend(redis: DurableRedis, folder: Path) -> AsyncIterator[RedisBackend]:
    """A queue as a service opens it."""
    database = create_database(f"sqlite:///{folder / 'other.db'}")
    await database.open()
    client = create_redis(redis.url, "test")
    backend = RedisBackend(client, await database.statements.database_id())
    try:
        await backend.open()
        yield backend
    finally:
        await backend.close()
        await client.aclose()
        await database.close()


@pytest.mark.acceptance("JB3")
async def test_a_redis_that_is_set_up_to_lose_jobs_is_warned_of_at_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with durable_redis(tmp_path / "redis") as redis, redis.client() as admin:
        async with opened_backend(redis, tmp_path):
            assert not [message for message in caplog.messages if message.startswith("redis_may")]
        admin.config_set("maxmemory-policy", "allkeys-lru")
        admin.config_set("appendonly", "no")
        async with opened_backend(redis, tmp_path):
            pass
    found = [record for record in caplog.records if record.message.startswith("redis_may")]
    assert [record.message for record in found] == ["redis_may_evict_jobs", "redis_may_forget_jobs"]
    assert [record.use for record in found] == ["noeviction", "appendonly yes"]  # type: ignore[attr-defined]
