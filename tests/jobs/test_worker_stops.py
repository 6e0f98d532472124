"""How a worker process ends, and how it lives while what it stands on is away."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from app_kernel import get_job_client
from tests.faults.tcp_proxy import HOST, tcp_proxy
from tests.jobs.making import finished
from tests.jobs.places import JobPlace, postgres, sqlite
from tests.jobs.test_worker_command import ask
from tests.jobs.waiting import until
from tests.jobs.worker_process import WorkerProcess, addresses, worker
from tests.redis_server import own_redis
from tools.services import free_port

TASKS = """
import asyncio, time
from pathlib import Path
from app_kernel import JobRegistry

registry = JobRegistry()

@registry.task("note")
async def note(payload):
    return payload

@registry.task("until_told")
async def until_told(payload, ctx):
    Path(payload["begun"]).touch()
    while not Path(payload["go"]).exists():
        await asyncio.sleep(0.02)
    return ctx.attempt
"""
MOST_LOAD = 0.2
SOON = 3.0
"""Seconds in which a worker without jobs ends."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application with tasks."""
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


@asynccontextmanager
async def working(place: JobPlace, folder: Path, **variables: str) -> AsyncIterator[WorkerProcess]:
    """A worker apart that has started, and a service that enqueues for it."""
    async with (
        place.service(None, embedded_worker=False),
        worker(folder, "--tasks", "tasks", **addresses(place), **variables) as process,
    ):
        await process.said("worker_started")
        yield process


async def begun(folder: Path, name: str = "a") -> str:
    """The id of a job that runs until the file `go` is there."""
    paths = {"begun": str(folder / f"begun-{name}"), "go": str(folder / "go")}
    id = (await get_job_client().enqueue("until_told", paths)).job_id

    async def look() -> bool:
        return (folder / f"begun-{name}").exists()

    await until(look)
    return id


# Signals.


@pytest.mark.slow
@pytest.mark.acceptance("JB2")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_without_jobs_it_ends_at_once_with_0(place: JobPlace, number: int, folder: Path) -> None:
    async with working(place, folder) as process:
        status, seconds = await process.stop(number)
        assert (status, process.complaints()) == (0, [])
        assert seconds < SOON
        assert process.events("worker_stopping")[0]["running"] == 0
        assert len(process.events("worker_ended")) == 1


@pytest.mark.slow
@pytest.mark.acceptance("JB2")
async def test_it_waits_for_the_job_that_runs_and_ends_right_after_it(place: JobPlace, folder: Path) -> None:
    async with working(place, folder) as process:
        id = await begun(folder)
        process.send()
        assert (await process.said("worker_stopping"))["running"] == 1
        late = (await get_job_client().enqueue("note", 1)).job_id
        await asyncio.sleep(1)
        assert process.process.poll() is None
        (folder / "go").touch()
        assert await process.ended(SOON + 5) == 0
        assert (await finished(get_job_client(), id)).result == 1
        view = await get_job_client().get(late)
        assert view is not None
        assert (view.status, view.attempt) == ("queued", 0)
        assert process.complaints() == []


@pytest.mark.slow
@pytest.mark.acceptance("JB2")
async def test_what_outlives_the_grace_time_is_given_back_and_does_not_count(place: JobPlace, folder: Path) -> None:
    async with working(place, folder, WORKER_GRACE_SECONDS="1") as process:
        id = await begun(folder)
        status, seconds = await process.stop()
        assert (status, process.complaints()) == (0, ["jobs_given_back"])
        assert 1 <= seconds < 1 + SOON
        view = await get_job_client().get(id)
        assert view is not None
        assert (view.status, view.attempt) == ("queued", 0)
        assert process.events("jobs_given_back")[0]["jobs"] == [id]
    (folder / "go").touch()
    async with working(place, folder):
        assert (await finished(get_job_client(), id, 40)).result == 1


@pytest.mark.slow
async def test_a_second_signal_gives_back_at_once(place: JobPlace, folder: Path) -> None:
    async with working(place, folder, WORKER_GRACE_SECONDS="600") as process:
        id = await begun(folder)
        process.send()
        await process.said("worker_stopping")
        status, seconds = await process.stop()
        assert status == 0
        assert seconds < SOON
        view = await get_job_client().get(id)
        assert view is not None
        assert (view.status, view.attempt) == ("queued", 0)


# Away at the start.


async def answers(port: int) -> tuple[int, ...]:
    """The status of each path of the health port."""
    return tuple([(await asyncio.to_thread(ask, port, path))[0] for path in ("/healthz", "/readyz", "/metrics")])


def assert_told_once(process: WorkerProcess) -> None:
    """One line says that the queue is away; what else of jobs noticed it said so once at most."""
    told = [event for event in process.complaints() if event.startswith("job")]
    assert told.count("job_queue_away") == 1
    assert sorted(told) == sorted(set(told))


@pytest.mark.slow
async def test_a_database_that_is_not_there_yet_is_waited_for(folder: Path) -> None:
    async with postgres() as place, AsyncExitStack() as stack:
        where = urlsplit(place.database_url)
        port = free_port()
        url = place.database_url.replace(f"{where.hostname}:{where.port}", f"{HOST}:{port}")
        health = free_port()
        async with worker(folder, "--tasks", "tasks", "--health-port", str(health), DATABASE_URL=url) as process:
            told = await process.said("component_not_opened")
            assert told["component"] == "database"
            assert await answers(health) == (200, 503, 200)
            assert await process.load() < MOST_LOAD
            assert process.complaints() == ["component_not_opened"]
            assert where.password not in process.text  # type: ignore[operator]  # it has one
            proxy = await stack.enter_async_context(tcp_proxy(where.port or 0, port))
            await process.said("worker_started")
            assert len(process.events("component_opened")) == 1
            assert await answers(health) == (200, 200, 200)
            async with place.service(None, embedded_worker=False):
                made = await get_job_client().enqueue("note", 1)
                assert (await finished(get_job_client(), made.job_id)).status == "completed"
            assert (await process.stop())[0] == 0
            assert proxy.accepted > 0


@pytest.mark.slow
async def test_a_redis_that_is_not_there_yet_is_waited_for(folder: Path, tmp_path: Path) -> None:
    async with sqlite() as place, own_redis(tmp_path) as server:
        variables = {"DATABASE_URL": place.database_url, "REDIS_URL": server.url}
        async with worker(folder, "--tasks", "tasks", "--queues", "default", **variables) as process:
            told = await process.said("job_queue_away")
            assert f":{server.port}" in told["reason"]
            assert await process.load() < MOST_LOAD
            assert_told_once(process)
            await server.start()
            await process.said("job_queue_back")
            apart = JobPlace("redis", place.database_url, server.url)
            async with apart.service(None, embedded_worker=False):
                made = await get_job_client().enqueue("note", 1)
                assert (await finished(get_job_client(), made.job_id)).status == "completed"
            assert (await process.stop())[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize("away", ["database", "redis"])
async def test_it_can_be_stopped_while_it_waits(away: str, folder: Path) -> None:
    url = f"postgres://me:hunter2@{HOST}:{free_port()}/app" if away == "database" else "sqlite:///app.db"
    redis = {"REDIS_URL": f"redis://:hunter2@{HOST}:{free_port()}/0"} if away == "redis" else {}
    async with worker(folder, "--tasks", "tasks", DATABASE_URL=url, **redis) as process:
        await process.said("component_not_opened" if away == "database" else "job_queue_away")
        status, seconds = await process.stop()
        assert status == 0
        assert seconds < SOON + 2
        assert "hunter2" not in process.text


# Away later.


@pytest.mark.slow
async def test_an_idle_worker_rests(place: JobPlace, folder: Path) -> None:
    async with working(place, folder) as process:
        assert await process.load() < MOST_LOAD
        assert process.complaints() == []


@pytest.mark.slow
async def test_a_database_that_goes_away_is_told_once_and_waited_for(folder: Path) -> None:
    async with postgres() as place:
        where = urlsplit(place.database_url)
        async with tcp_proxy(where.port or 0) as proxy:
            url = place.database_url.replace(f"{where.hostname}:{where.port}", f"{HOST}:{proxy.port}")
            async with (
                place.service(None, embedded_worker=False),
                worker(folder, "--tasks", "tasks", "--queues", "default", DATABASE_URL=url) as process,
            ):
                await process.said("worker_started")
                await proxy.stop()
                await process.said("job_queue_away")
                assert await process.load() < MOST_LOAD
                made = await get_job_client().enqueue("note", 1)
                assert_told_once(process)
                await proxy.start()
                assert (await finished(get_job_client(), made.job_id)).status == "completed"
                assert len(process.events("job_queue_back")) == 1
                assert (await process.stop())[0] == 0


@pytest.mark.slow
async def test_a_redis_that_goes_away_is_told_once_and_waited_for(folder: Path, tmp_path: Path) -> None:
    async with sqlite() as place, own_redis(tmp_path) as server:
        await server.start()
        apart, health = JobPlace("redis", place.database_url, server.url), free_port()
        async with (
            apart.service(None, embedded_worker=False),
            worker(
                folder, "--tasks", "tasks", "--queues", "default", "--health-port", str(health), **addresses(apart)
            ) as process,
        ):
            await process.said("worker_started")
            assert await answers(health) == (200, 200, 200)
            server.kill()
            await process.said("job_queue_away")
            assert await process.load() < MOST_LOAD
            assert_told_once(process)
            assert await answers(health) == (200, 503, 200)
            await server.start()
            made = await get_job_client().enqueue("note", 1)
            assert (await finished(get_job_client(), made.job_id)).status == "completed"
            assert await answers(health) == (200, 200, 200)
            assert len(process.events("job_queue_back")) == 1
            assert (await process.stop())[0] == 0
