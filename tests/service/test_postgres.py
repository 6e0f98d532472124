"""A service on a real PostgreSQL server: by its parts or its URL, down at the start, gone and back."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from fastapi import APIRouter, Depends

from app_kernel import FEATURES, Feature, ServiceConfig, create_service
from app_kernel.core.database_urls import with_option
from app_kernel.core.tables import Table
from app_kernel.db import admin_db_connection, connect, db_connection
from app_kernel.testing import KernelClient, kernel_client
from tests.redis_server import own_redis
from tests.small_service import SECRET, events, log_lines, small_app
from tools.services import HOST, free_port

OWN = Feature(name="own", admin_tables=(Table("logs_of_parts", {"action": str}),))

router = APIRouter()


@router.post("/things")
async def make(db: Any = Depends(db_connection)) -> Any:
    return await db.save_entity("things", {"name": "gear"})


@router.get("/logs")
async def logs(admin_db: Any = Depends(admin_db_connection)) -> Any:
    return await admin_db.count_entities("logs_of_parts")


class Gate:
    """A TCP proxy in front of a server: closed at first, and what runs through it is cut when it closes again."""

    def __init__(self, url: str) -> None:
        target = urlsplit(url)
        self._target = target.hostname, target.port
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.StreamWriter] = set()
        self.port = free_port()
        self.url = url.replace(f":{target.port}/", f":{self.port}/")

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, HOST, self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in self._passing:
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(*self._target)
        both = {writer, forth}
        self._passing |= both
        try:
            await asyncio.gather(_copy(reader, forth), _copy(back, writer))
        finally:
            self._passing -= both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):  # one of the two ends went away, which is what this is for
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def gate_to(url: str) -> AsyncIterator[Gate]:
    gate = Gate(url)
    try:
        yield gate
    finally:
        await gate.close()


FIRST_SECONDS = 20
"""For a start that has all tables of two databases to make, beside other tests. To come back takes at most 5 (OP5)."""


@pytest.fixture
def url(postgres_url: str) -> str:
    """A schema of the test's own."""
    return with_option(postgres_url, "schema", f"s_{secrets.token_hex(6)}")


async def until(client: KernelClient, status: int, seconds: float = 5) -> dict[str, str]:
    async with asyncio.timeout(seconds):
        while (answer := await client.get("/readyz")).status_code != status:  # noqa: ASYNC110 - a server tells nobody here
            await asyncio.sleep(0.02)
    assert (await client.get("/healthz")).status_code == 200
    found: dict[str, str] = answer.json()["components"]
    found.pop("outbox", None)  # it waits for the databases
    return found


async def test_a_service_works_on_a_server_that_is_named_by_its_parts(postgres_url: str) -> None:
    parts = urlsplit(postgres_url)
    config = ServiceConfig(
        jwt_secret=SECRET,
        database_type="postgres",
        database_name=parts.path[1:],
        database_host=parts.hostname or "",
        database_port=parts.port or 0,
        database_user=parts.username,
        database_password=parts.password,
        database_pool_size=3,
    )
    app = create_service("parts", config=config, routers=[router], features=[*FEATURES, OWN])
    async with kernel_client(app, database=None) as client:
        assert (await client.post("/things")).json()["name"] == "gear"
        assert await until(client, 200) == {"database": "ok", "admin_database": "ok"}
    async with connect(with_option(postgres_url, "schema", "kernel_admin")) as admin_db:
        found = await admin_db.execute(
            "SELECT table_schema FROM information_schema.tables WHERE table_name = ?", ("logs_of_parts",)
        )
        # Other tests have schemas of their own in this database.
        assert {row[0] for row in found} & {"kernel_admin", "public"} == {"kernel_admin"}


@pytest.mark.acceptance("OP5")
async def test_a_service_waits_for_its_server_and_goes_on_by_itself(url: str) -> None:
    async with gate_to(url) as gate:
        seeded: list[int] = []

        async def db_seed(db: Any) -> None:
            await db.save_entity("things", {"name": "first"})
            seeded.append(1)

        app = small_app(router, database_name=gate.url, db_seed=db_seed)
        async with kernel_client(app, database=None) as client:
            assert await until(client, 503) == {"database": "unavailable"}
            assert (await client.post("/things")).status_code == 503
            assert seeded == []
            await gate.open()
            assert await until(client, 200, FIRST_SECONDS) == {"database": "ok", "admin_database": "ok"}
            assert seeded == [1]
            assert (await client.post("/things")).status_code == 200


@pytest.mark.acceptance("OP5")
async def test_a_server_that_goes_and_comes_again_is_used_again(url: str) -> None:
    async with gate_to(url) as gate:
        await gate.open()
        app = small_app(router, database_name=gate.url)
        async with kernel_client(app, database=None) as client:
            assert (await client.post("/things")).status_code == 200
            for _ in range(2):
                await gate.close()
                assert await until(client, 503) == {"database": "unavailable", "admin_database": "unavailable"}
                began = time.monotonic()
                answer = await client.post("/things")
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
                assert time.monotonic() - began < 15
                await gate.open()
                assert await until(client, 200) == {"database": "ok", "admin_database": "ok"}
                assert (await client.post("/things")).status_code == 200


@pytest.mark.acceptance("OP5")
async def test_an_admin_database_on_another_server_may_be_away_at_the_start_and_later(url: str, tmp_path: Any) -> None:
    async with gate_to(url) as gate:
        database = str(tmp_path / "app.db")
        app = small_app(router, features=[*FEATURES, OWN], database_name=database, admin_db_url=gate.url)
        async with kernel_client(app, database=None) as client:
            for _ in range(2):
                assert await until(client, 503) == {"database": "ok", "admin_database": "unavailable"}
                assert (await client.get("/logs")).status_code == 503
                assert (await client.post("/things")).status_code == 200
                await gate.open()
                assert await until(client, 200) == {"database": "ok", "admin_database": "ok"}
                assert (await client.get("/logs")).json() == 0
                await gate.close()


@pytest.mark.acceptance("OP5")
async def test_everything_may_be_away_at_once_at_the_start_and_later(url: str, tmp_path: Any) -> None:
    admin_url = with_option(url, "schema", f"s_{secrets.token_hex(6)}")
    async with gate_to(url) as gate, gate_to(admin_url) as admin_gate, own_redis(tmp_path) as redis:
        settings = {"database_name": gate.url, "admin_db_url": admin_gate.url, "redis_url": redis.url}
        async with kernel_client(small_app(router, **settings), database=None) as client:
            assert await until(client, 503) == {"database": "unavailable"}
            for seconds in (FIRST_SECONDS, 5):
                await gate.open()
                await admin_gate.open()
                await redis.start()
                found = await until(client, 200, seconds)
                assert found == {"database": "ok", "admin_database": "ok", "redis": "ok"}
                assert (await client.post("/things")).status_code == 200
                await gate.close()
                await admin_gate.close()
                redis.kill()
                found = await until(client, 503)
                assert found == dict.fromkeys(("database", "admin_database", "redis"), "unavailable")
                assert (await client.post("/things")).status_code == 503


async def test_a_wrong_password_is_told_in_the_log_and_not_repeated(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = url.replace(f":{urlsplit(url).password}@", ":hunter2-canary@")
    async with kernel_client(small_app(router, database_name=wrong), database=None) as client:
        assert await until(client, 503) == {"database": "unavailable"}
    lines = log_lines(capsys)
    assert "refused the user or the password" in events(lines, "component_not_opened")[0]["reason"]
    assert "hunter2" not in str(lines)
