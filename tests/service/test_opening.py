"""A start while a server is down: the service lives, says which component is missing, and goes on by itself."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import FEATURES, Feature
from app_kernel.core.errors import KernelError, NoRunningKernel, Unavailable
from app_kernel.core.tables import Table
from app_kernel.db import Database, admin_db_connection, create_database, db_connection, get_admin_db_connection
from app_kernel.db.url import make_driver
from app_kernel.testing import KernelClient, kernel_client
from tests.redis_server import own_redis
from tests.small_service import events, features_without_admin_database, http_scope, log_lines, serving, small_app

LOGS = Table("own_logs", {"action": str})
OWN = Feature(name="own", admin_tables=(LOGS,))

router = APIRouter()


@router.get("/logs")
async def logs(admin_db: Any = Depends(admin_db_connection)) -> Any:
    return await admin_db.count_entities("own_logs")


@router.get("/things")
async def things(db: Any = Depends(db_connection)) -> Any:
    return await db.count_entities("things")


async def connect_to(client: KernelClient) -> list[dict[str, Any]]:
    """What the service says to a websocket."""
    scope = {**http_scope(path="/socket"), "type": "websocket", "subprotocols": []}
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await client.app(scope, receive, send)
    return sent


class Blocked(Database):
    """A database whose server is down until it is let in."""

    def __init__(self, error: Exception | None = None, *, hangs: bool = False) -> None:
        super().__init__(make_driver("sqlite://:memory:"))
        self._error = error or Unavailable("the server at 10.0.0.7 is down")
        self._hangs = hangs
        self.tries = 0
        self.down = True
        self.closed = False

    async def open(self) -> None:
        self.tries += 1
        if self.down and self._hangs:
            await asyncio.Event().wait()
        if self.down:
            raise self._error
        await super().open()

    async def close(self) -> None:
        self.closed = True
        await super().close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_kernel.service.opening.RETRY_SECONDS", 0.01)
    monkeypatch.setattr("app_kernel.service.opening.FIRST_SECONDS", 0.2)


async def until_ready(client: KernelClient, seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while (await client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - see below
            await asyncio.sleep(0.01)  # what is waited for happens in a server, which tells nobody here


def databases_in(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.db"))


async def components(client: KernelClient) -> dict[str, str]:
    """What /readyz says; /healthz must say that the service lives, at once."""
    await client.get("/healthz")  # FastAPI builds its routes with the first request
    began = time.monotonic()
    assert (await client.get("/healthz")).status_code == 200
    assert time.monotonic() - began < 0.1 * max(1.0, os.getloadavg()[0])  # other work may run beside this test
    answer = await client.get("/readyz")
    found: dict[str, str] = answer.json()["components"]
    found.pop("outbox", None)  # it waits for the databases
    assert (answer.status_code == 200) == all(state == "ok" for state in found.values())
    return found


def app_with(admin_db: Any = None, db: Any = None, **options: Any) -> Any:
    app = small_app(router, features=[*FEATURES, OWN], **options)
    app.state.kernel.admin_db = admin_db if admin_db is not None else create_database("sqlite://:memory:")
    if db is not None:
        app.state.kernel.db = db
        app.state.kernel.config = app.state.kernel.config.with_values(database_name="postgres://db/app")
    return app


@pytest.mark.acceptance("OP5")
@pytest.mark.parametrize("hangs", [False, True])
async def test_a_service_starts_without_its_admin_database_and_takes_it_when_it_comes(
    hangs: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = Blocked(hangs=hangs)
    async with kernel_client(app_with(blocked), database=None) as client:
        assert await components(client) == {"database": "ok", "admin_database": "unavailable"}
        assert (await client.get("/things")).json() == 0
        answer = await client.get("/logs")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "10.0.0.7" not in answer.text
        blocked.down = False
        if not hangs:
            await until_ready(client)
            assert (await client.get("/logs")).json() == 0
            await client.kernel.admin_store().privileged.save_entity("own_logs", {"action": "create"})
            assert (await client.get("/logs")).json() == 1
    assert blocked.closed is not hangs
    assert not client.kernel.admin_is_open
    told = [line["component"] for line in events(log_lines(capsys), "component_not_opened")]
    assert told == ["admin_database"]


async def test_an_admin_database_that_is_wrong_stops_the_start() -> None:
    with pytest.raises(KernelError, match="the file is no database"):
        async with kernel_client(app_with(Blocked(KernelError("the file is no database"))), database=None):
            pass


async def test_a_service_that_has_no_admin_database_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(router, features=features_without_admin_database()) as client:
        assert "admin_database" not in await components(client)
        assert (await client.get("/logs")).status_code == 500
        with pytest.raises(KernelError, match="no admin database"):
            async with get_admin_db_connection():
                pass
    with pytest.raises(NoRunningKernel):
        await admin_db_connection()


async def test_an_admin_database_is_at_hand_in_scripts_and_in_tests() -> None:
    async with serving(features=[*FEATURES, OWN]) as client:
        assert await components(client) == {"database": "ok", "admin_database": "ok"}
        async with get_admin_db_connection() as admin_db:
            await admin_db.privileged.save_entity("own_logs", {"action": "create"})
        assert await client.admin_db.count_entities("own_logs") == 1
        assert await client.db.count_entities("own_logs") == 0


async def test_the_admin_database_lies_beside_that_of_the_app(tmp_path: Path) -> None:
    app = small_app(features=[*FEATURES, OWN], database_name=str(tmp_path / "app.db"))
    async with kernel_client(app, database=None):
        assert databases_in(tmp_path) == ["app.db", "app_admin.db"]


@pytest.mark.acceptance("OP5")
@pytest.mark.parametrize("hangs", [False, True])
async def test_a_service_waits_for_the_server_of_its_database_and_answers_probes_meanwhile(hangs: bool) -> None:
    seen: list[str] = []

    async def db_seed(db: Any) -> None:
        seen.append("db_seed")

    blocked = Blocked(hangs=hangs)
    app = app_with(db=blocked, db_seed=db_seed, on_startup=lambda: seen.append("on_startup"))
    async with kernel_client(app, database=None) as client:
        assert await components(client) == {"database": "unavailable"}
        answer = await client.get("/things")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert seen == []
        assert await connect_to(client) == [{"type": "websocket.close", "code": 1013}]
        blocked.down = False
        if not hangs:
            await until_ready(client)
            assert seen == ["db_seed", "on_startup"]
            assert (await client.get("/things")).json() == 0
            assert await components(client) == {"database": "ok", "admin_database": "ok"}
    assert blocked.closed is not hangs
    assert not client.kernel.running
    assert client.kernel.waiting_for == ""


@pytest.mark.acceptance("OP5")
async def test_a_late_start_that_fails_ends_the_service_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = asyncio.Event()
    monkeypatch.setattr("app_kernel.service.lifespan.signal.raise_signal", lambda number: ended.set())
    monkeypatch.setattr("app_kernel.service.lifespan.signal.getsignal", lambda number: print)

    async def db_seed(db: Any) -> None:
        raise LookupError("no seed")

    blocked = Blocked()
    running = kernel_client(app_with(db=blocked, db_seed=db_seed), database=None)
    client = await running.__aenter__()
    blocked.down = False
    await asyncio.wait_for(ended.wait(), 5)
    assert (await client.get("/things")).status_code == 503
    assert await components(client) == {"service": "unavailable"}
    with pytest.raises(LookupError, match="no seed"):
        await running.__aexit__(None, None, None)
    assert [line["step"] for line in events(log_lines(capsys), "startup_failed")] == ["db_seed"]
    assert blocked.closed


@pytest.mark.acceptance("OP5")
async def test_a_service_may_be_stopped_while_it_waits() -> None:
    blocked = Blocked()
    app = app_with(db=blocked)
    for _ in range(2):
        async with kernel_client(app, database=None) as client:
            assert await components(client) == {"database": "unavailable"}
    assert blocked.tries >= 2
    assert not blocked.closed


class Stubborn(Blocked):
    """One that opens while it is being cancelled."""

    async def open(self) -> None:
        try:
            await super().open()
        except asyncio.CancelledError:
            self.down = False
            await super().open()


@pytest.mark.parametrize("place", ["db", "admin_db"])
async def test_a_database_that_opens_while_it_is_given_up_is_closed_again(place: str) -> None:
    blocked = Stubborn(hangs=True)
    async with kernel_client(app_with(**{place: blocked}), database=None):
        assert not blocked.closed
    assert not blocked.down
    assert blocked.closed


@pytest.mark.parametrize("seconds", [0, 0.01])
async def test_a_start_that_is_cancelled_leaves_nothing_behind(seconds: float) -> None:
    blocked = Blocked(hangs=True)
    starting = asyncio.create_task(kernel_client(app_with(db=blocked), database=None).__aenter__())
    await asyncio.sleep(seconds)
    starting.cancel()
    await asyncio.wait({starting})
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.acceptance("OP5")
async def test_redis_may_be_down_at_the_start_and_go_and_come_again(tmp_path: Path) -> None:
    async with own_redis(tmp_path) as server:
        app = small_app(router, redis_url=server.url)
        async with kernel_client(app, database=None) as client:
            for _ in range(2):
                assert await components(client) == {"database": "ok", "admin_database": "ok", "redis": "unavailable"}
                assert (await client.get("/things")).json() == 0
                await server.start()
                await until_ready(client)
                server.pause(signal.SIGSTOP)
                assert await components(client) == {"database": "ok", "admin_database": "ok", "redis": "unavailable"}
                server.kill()
