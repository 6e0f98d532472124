"""Redis away or slow: the cache goes on in memory, nobody waits long, it is said once, and nothing stale comes back."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app_kernel.cache import cache, cached
from app_kernel.cache import patience as patience_module
from app_kernel.cache import shared as shared_module
from app_kernel.cache.invalidations import MOST_OWED
from app_kernel.core import clock
from app_kernel.core.context import Context, in_context
from app_kernel.testing import KernelClient
from tests.cache.serving import counted, internals, serving, swept, until
from tests.cache.test_cached import Source
from tests.faults.tcp_proxy import TcpProxy, tcp_proxy
from tests.redis_server import OwnRedis, own_redis
from tests.small_service import events, log_lines, tasks_of

OPERATION_SECONDS = shared_module.OPERATION_SECONDS


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(shared_module, "OPERATION_SECONDS", 0.5)
    monkeypatch.setattr(shared_module, "CONNECT_SECONDS", 1.0)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[OwnRedis]:
    async with own_redis(tmp_path) as running:
        await running.start()
        yield running


@pytest.fixture
async def proxy(server: OwnRedis) -> AsyncIterator[TcpProxy]:
    async with tcp_proxy(server.port) as running:
        yield running


def url_of(proxy: TcpProxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


async def until_shared(client: KernelClient) -> None:
    shared = internals(client)._shared
    assert shared is not None
    await until(lambda: not shared.is_away)


def is_away(client: KernelClient) -> bool:
    shared = internals(client)._shared
    return shared is not None and shared.is_away


@pytest.mark.acceptance("RL6")
async def test_when_redis_dies_the_cache_goes_on_in_memory_and_comes_back(
    server: OwnRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source()
    async with serving(server.url) as client:

        @cached(ttl=60, key="p:{it}")
        async def read(it: str) -> Any:
            return await source.read(it)

        assert await read("a") == ["a", 1]
        await cache.set("x", 1, ttl=60)
        capsys.readouterr()
        server.kill()
        assert await cache.get("x") is None
        assert await asyncio.gather(*(read("a") for _ in range(200))) == [["a", 2]] * 200
        await cache.set("y", None, ttl=60)
        assert await cache.get("y", "missing") is None
        await cache.delete("y")
        assert await cache.get("y", "missing") == "missing"
        await cache.delete_pattern("p:*")
        assert await read("a") == ["a", 3]
        await cache.delete_tags("t")
        await cache.clear()
        assert await read.refresh("a") == await read("a") == ["a", 4]
        assert is_away(client)
        text_before = counted(client, "get", "hit", "memory")
        assert text_before >= 2
        await server.start()
        await until_shared(client)
        # Another Redis, which knows nothing, and a memory that is not believed any more.
        assert await read("a") == ["a", 5]
        assert await read("a") == ["a", 5]
        assert counted(client, "outage", "error", "redis") == 1
    lines = log_lines(capsys)
    assert len(events(lines, "cache_falls_back_to_memory")) == 1
    assert len(events(lines, "cache_shared_again")) == 1
    assert not [line for line in lines if line["level"] == "error" and "cache" in line["logger"]]


async def test_a_service_that_starts_without_redis_caches_in_memory_until_it_comes(server: OwnRedis) -> None:
    server.kill()
    async with serving(server.url) as client:
        assert is_away(client)
        await cache.set("a", 1, ttl=60)
        assert await cache.get("a") == 1
        await server.start()
        await until_shared(client)
        await cache.set("a", 2, ttl=60)
        assert await client.kernel.redis.exists(f"{client.kernel.name}:cache:e:a")
        assert await cache.get("a") == 2


INVALIDATIONS = {
    "delete": lambda: cache.delete("p:a"),
    "delete_pattern": lambda: cache.delete_pattern("p:*"),
    "delete_tags": lambda: cache.delete_tags("t"),
    "clear": cache.clear,
    "set": lambda: cache.set("p:a", "new", ttl=60),
    "too many": lambda: cache.delete(*(str(number) for number in range(MOST_OWED + 1))),
}


@pytest.mark.acceptance("RL6")
async def test_what_was_taken_away_while_redis_was_away_is_gone_when_it_is_back(proxy: TcpProxy) -> None:
    async with serving(url_of(proxy)) as client:
        for way, take_away in INVALIDATIONS.items():
            await cache.set("p:a", "old", ttl=60, tags=["t"])
            assert await cache.get("p:a") == "old"
            proxy.refuses = True
            proxy.cut()
            if way in ("delete", "set"):
                # Nobody has noticed yet: the command itself is what fails.
                await take_away()
                assert is_away(client)
            else:
                await cache.get("p:a")
                assert is_away(client)
                await take_away()
            assert await cache.get("p:a") == ("new" if way == "set" else None), way
            proxy.refuses = False
            await until_shared(client)
            assert await cache.get("p:a") is None, way
            await swept(client)
            assert await cache.get("p:a") is None, way


async def test_what_is_kept_while_redis_is_away_lasts_for_5_seconds_at_most(server: OwnRedis) -> None:
    server.kill()
    async with serving(server.url):
        with clock.frozen() as frozen:
            await cache.set("a", 1, ttl=60)
            await cache.set("b", 1, ttl=2)
            await cache.get_or_set("c", lambda: 1, ttl=60)
            frozen.advance(1.9)
            assert await cache.get_many("abc") == {"a": 1, "b": 1, "c": 1}
            frozen.advance(0.2)
            assert await cache.get_many("abc") == {"a": 1, "c": 1}
            frozen.advance(2.91)
            assert await cache.get_many("abc") == {}


@pytest.mark.parametrize("trouble", ["frozen", "refused", "swallowed", "cut", "slow", "stopped", "read-only", "full"])
async def test_no_trouble_of_redis_is_a_failure_of_a_caller(
    trouble: str, server: OwnRedis, proxy: TcpProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Source()
    async with serving(url_of(proxy)) as client:
        redis = client.kernel.redis
        await cache.set("x", await cache.get_or_set("w", lambda: 1, ttl=60), ttl=60)
        if trouble == "frozen":
            proxy.freeze()
        elif trouble == "stopped":
            server.pause(signal.SIGSTOP)
        elif trouble == "slow":
            proxy.delay = 0.4
        elif trouble == "read-only":
            await redis.replicaof("127.0.0.1", 1)
        elif trouble == "full":
            await redis.config_set("maxmemory", 1)
        else:
            proxy.refuses = trouble == "refused"
            proxy.swallows = trouble == "swallowed"
            proxy.cuts_answers = trouble == "cut"
            proxy.cut()
        found = [await cache.get_or_set("a", lambda: source.read("a"), ttl=60) for _ in range(3)]
        assert found == [["a", 1]] * 3
        await cache.set("y", 2, ttl=60)
        await cache.delete("x")
        assert await cache.get_many("xy") == {"y": 2}
        assert is_away(client)
        if trouble == "stopped":
            server.pause(signal.SIGCONT)
        elif trouble == "read-only":
            await redis.replicaof("NO", "ONE")
        elif trouble == "full":
            await redis.config_set("maxmemory", 0)
        proxy.thaw()
        proxy.delay, proxy.refuses, proxy.swallows, proxy.cuts_answers = 0.0, False, False, False
        await until_shared(client)
        assert await cache.get("x") is None
    lines = log_lines(capsys)
    assert len(events(lines, "cache_falls_back_to_memory")) == 1
    assert not [line for line in lines if line["level"] == "error" and "cache" in line["logger"]]


async def test_a_redis_that_hangs_is_waited_for_once(proxy: TcpProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(url_of(proxy)) as client:
        await cache.set("a", 1, ttl=60)
        monkeypatch.setattr(shared_module, "OPERATION_SECONDS", OPERATION_SECONDS)
        proxy.freeze()
        first = await seconds_of_100(client)
        second = await seconds_of_100(client)
        proxy.thaw()
    assert OPERATION_SECONDS * 0.9 <= first < 1.0, "not the time limit of the cache"
    assert second < 0.1


async def seconds_of_100(client: KernelClient) -> float:
    begun = time.perf_counter()
    assert await asyncio.gather(*(cache.get("a") for _ in range(100))) == [None] * 100
    return time.perf_counter() - begun


async def test_a_loop_that_was_held_up_itself_does_not_give_redis_up(
    server: OwnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(server.url) as client:
        await cache.set("a", 1, ttl=60)
        monkeypatch.setattr(shared_module, "OPERATION_SECONDS", 0.05)
        monkeypatch.setattr(patience_module, "HELD_UP_SECONDS", 0.1)
        asked = asyncio.create_task(cache.get("a"))
        for _ in range(3):
            await asyncio.sleep(0)
        time.sleep(0.3)  # noqa: ASYNC251 - the work of a route that should have gone to a thread
        assert await asked == 1
        assert not is_away(client)


@pytest.mark.slow
@pytest.mark.acceptance("RL6")
async def test_redis_that_flaps_20_times_leaves_nothing_stale_and_is_used_again(proxy: TcpProxy) -> None:
    row = {"version": 0}

    @cached(ttl=60, key="row:{it}", tags=["t"])
    async def read(it: int) -> int:
        seen = row["version"]
        await asyncio.sleep(0.001)
        return seen

    stale: list[tuple[int, int, int]] = []
    done = False

    async def ask(client: KernelClient) -> None:
        """Whoever asks after a change, where it was made, finds it."""
        with in_context(Context(kernel=client.kernel)):
            while not done:
                known = row["settled"]
                for it in range(3):
                    found = await read(it)
                    if found < known:
                        stale.append((it, found, known))
                await asyncio.sleep(0.001)

    async with serving(url_of(proxy)) as client:
        row["settled"] = 0
        askers = [asyncio.create_task(ask(client)) for _ in range(5)]
        ways = [lambda: read.invalidate(0), lambda: cache.delete_tags("t"), lambda: cache.delete_pattern("row:*")]
        for flap in range(20):
            proxy.refuses = True
            proxy.cut()
            for _ in range(3):
                row["version"] += 1
                for it in range(3):
                    await read.invalidate(it)
                await ways[flap % 3]()
                row["settled"] = row["version"]
                await asyncio.sleep(0.005)
            proxy.refuses = False
            await until_shared(client)
            row["version"] += 1
            await cache.delete_tags("t")
            row["settled"] = row["version"]
            await swept(client)
            assert [await read(it) for it in range(3)] == [row["version"]] * 3
            await asyncio.sleep(0.005)
        done = True
        await asyncio.gather(*askers)
        assert stale == []
        assert not is_away(client)
        assert counted(client, "outage", "error", "redis") >= 20
        assert await client.kernel.redis.exists(f"{client.kernel.name}:cache:e:row:0")


async def test_it_returns_to_redis_within_two_seconds(server: OwnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_module, "PAUSE_SECONDS", 0.5)
    async with serving(server.url) as client:
        server.kill()
        await cache.get("a")
        assert is_away(client)
        await server.start()
        begun = time.perf_counter()
        await until_shared(client)
        assert time.perf_counter() - begun < 2


async def test_a_service_that_stops_in_an_outage_leaves_nothing_running(server: OwnRedis) -> None:
    async with serving(server.url) as client:
        server.pause(signal.SIGSTOP)
        assert await cache.get("a") is None
        await cache.delete_pattern("a*")
        assert is_away(client)
    server.pause(signal.SIGCONT)
    assert tasks_of("SharedCache", "CircuitBreaker") == []


async def test_a_redis_that_lost_the_script_is_given_it_again(server: OwnRedis) -> None:
    async with serving(server.url) as client:
        redis = client.kernel.redis
        await cache.set("a", 1, ttl=60)
        await redis.script_flush()
        assert await cache.get_many("ab") == {"a": 1}
        await redis.script_flush()
        assert await cache.get("a") == 1
        assert not is_away(client)
