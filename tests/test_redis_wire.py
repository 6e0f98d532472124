"""The Redis client of a service: bounded in time and connections, and known to Redis by the service's name."""

import asyncio
import inspect
import signal
import subprocess
import sys
import time
from asyncio import selector_events
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions
from fastapi import APIRouter, Depends

from app_kernel import redis_client
from app_kernel.redis_connection import QuickConnection
from app_kernel.redis_wire import create_redis
from app_kernel.testing import kernel_client
from tests.redis_server import own_redis
from tests.small_service import serving, small_app

router = APIRouter()


@router.get("/stored")
async def stored(store: Any = Depends(redis_client)) -> Any:
    if store is None:
        return "no Redis"
    await store.set("k", "v", px=10_000)
    return (await store.get("k")).decode()


async def test_a_route_is_given_the_client_of_the_service(redis_url: str) -> None:
    app = small_app(router, redis_url=redis_url)
    async with kernel_client(app, database=None) as client:
        assert (await client.get("/stored")).json() == "v"
        names = [entry["name"] for entry in await client.kernel.redis.client_list()]
        assert "app-kernel:small" in names
        assert (await client.get("/readyz")).json()["components"]["redis"] == "ok"
    assert client.kernel.redis is None


async def test_without_redis_a_route_is_given_none() -> None:
    async with serving(router) as client:
        assert (await client.get("/stored")).json() == "no Redis"
        assert "redis" not in (await client.get("/readyz")).json()["components"]


async def test_in_a_test_a_service_has_only_the_redis_that_the_test_names(redis_url: str) -> None:
    app = small_app(router, redis_url="redis://redis.production.example")
    async with kernel_client(app) as client:
        assert (await client.get("/stored")).json() == "no Redis"
    async with kernel_client(app, redis_url=redis_url) as client:
        assert (await client.get("/stored")).json() == "v"


async def test_the_name_of_a_service_may_have_spaces(redis_url: str) -> None:
    client = create_redis(redis_url, "my shop\nü")
    try:
        assert await client.client_getname() == "app-kernel:my_shop_"
    finally:
        await client.aclose()


async def test_the_connections_of_a_process_are_bounded(redis_url: str) -> None:
    client = create_redis(f"{redis_url}?max_connections=3", "bounded")
    try:
        assert await asyncio.gather(*(client.ping() for _ in range(50))) == [True] * 50
        own = [entry for entry in await client.client_list() if entry["name"] == "app-kernel:bounded"]
        assert len(own) == 3
    finally:
        await client.aclose()


async def test_a_redis_that_hangs_fails_a_command_within_seconds(tmp_path: Path) -> None:
    async with own_redis(tmp_path) as server:
        await server.start()
        client = create_redis(f"{server.url}?socket_timeout=0.2", "small")
        try:
            await client.ping()
            server.pause(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(redis.exceptions.TimeoutError):
                await client.get("k")
            assert time.monotonic() - began < 2
            server.pause(signal.SIGCONT)
            assert await client.ping()
        finally:
            await client.aclose()


async def test_a_redis_that_was_started_anew_is_used_without_an_error(tmp_path: Path) -> None:
    async with own_redis(tmp_path) as server:
        await server.start()
        client = create_redis(server.url, "small")
        try:
            await client.ping()
            server.kill()
            await server.start()
            assert await client.ping()
            server.kill()
            with pytest.raises(redis.exceptions.ConnectionError):
                await client.ping()
        finally:
            await client.aclose()


def test_a_service_without_redis_does_not_load_its_client() -> None:
    code = "import sys, app_kernel; assert 'redis' not in sys.modules; assert 'asyncpg' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments",
    [("GET", "k"), ("CLIENT SETNAME", "ü"), ("SET", b"\0\xff", 1, -2.5, ""), ("EVAL", "return 1", 0, memoryview(b"m"))],
)
async def test_a_command_is_packed_as_redis_py_packs_it(redis_url: str, arguments: tuple[Any, ...]) -> None:
    quick, plain = (kind.from_url(redis_url) for kind in (_QuickPool, redis.asyncio.ConnectionPool))
    packed = [b"".join(pool.make_connection().pack_command(*arguments)) for pool in (quick, plain)]
    assert packed[0] == packed[1]
    assert isinstance(quick.make_connection(), QuickConnection)


@pytest.mark.parametrize("value", [None, True, ["a"], {"a": 1}])
async def test_a_value_that_redis_cannot_take_is_refused_as_redis_py_does(redis_url: str, value: Any) -> None:
    client = create_redis(redis_url, "small")
    try:
        with pytest.raises(redis.exceptions.DataError):
            await client.set("k", value)
        assert await client.ping() is True
    finally:
        await client.aclose()


def _holds_writers_back() -> bool:
    """Whether who writes waits while nobody reads: `writelines` of some releases of 3.12 and 3.13 does not, and then it
    is the answer that does not come."""
    source = inspect.getsource(selector_events._SelectorSocketTransport.writelines)
    return "_write_ready" not in source or "_maybe_pause_protocol" in source


async def test_a_redis_that_takes_nothing_in_fails_a_long_command_within_seconds(tmp_path: Path) -> None:
    async with own_redis(tmp_path) as server:
        await server.start()
        client = create_redis(f"{server.url}?socket_timeout=0.2", "small")
        try:
            await client.ping()
            server.pause(signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(redis.exceptions.TimeoutError, match="writing" if _holds_writers_back() else "reading"):
                await client.set("k", b"x" * 50_000_000)
            assert time.monotonic() - began < 5
            server.pause(signal.SIGCONT)
            assert await client.ping() is True, "the connection that was written in part is not used again"
        finally:
            server.pause(signal.SIGCONT)
            await client.aclose()


class _QuickPool(redis.asyncio.ConnectionPool):
    def __init__(self, **given: Any) -> None:
        super().__init__(connection_class=QuickConnection, **given)
