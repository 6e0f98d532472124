"""Who asks Redis and leaves, is not answered or answered twice: nobody waits for a lease that nobody has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from unittest.mock import ANY

import pytest

from app_kernel.cache import cache, cached
from app_kernel.cache import shared as shared_module
from app_kernel.cache.shared import SharedCache
from app_kernel.testing import KernelClient
from tests.cache.serving import counted, internals, serving, until
from tests.faults.tcp_proxy import tcp_proxy

SOON = 3.0
"""Less than a lease."""


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[KernelClient]:
    async with serving(redis_url) as running:
        yield running


def shared_of(client: KernelClient) -> SharedCache:
    shared = internals(client)._shared
    assert shared is not None
    return shared


async def ask(key: str = "a") -> Any:
    async with asyncio.timeout(SOON):
        return await cache.get_or_set(key, lambda: 1, ttl=60)


class Between:
    """Between the cache and Redis."""

    def __init__(self, shared: SharedCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shared = shared
        self.asked: list[int] = []
        self.answered = asyncio.Event()
        self.lets_through = asyncio.Event()
        self.lets_through.set()
        self.times = 1
        self._ask = shared._wire.ask
        monkeypatch.setattr(shared._wire, "ask", self.ask)

    async def ask(self, commands: Sequence[tuple[Any, ...]]) -> Any:
        self.asked.append(len(commands))
        for _ in range(self.times):
            answer = await self._ask(commands)
        self.answered.set()
        await self.lets_through.wait()
        return answer


@pytest.fixture
def wire(client: KernelClient, monkeypatch: pytest.MonkeyPatch) -> Between:
    return Between(shared_of(client), monkeypatch)


async def test_a_hit_is_one_command_on_a_connection_that_is_kept(
    client: KernelClient, wire: Between, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ask()
    wire.asked.clear()
    with monkeypatch.context() as patch:
        patch.setattr(client.kernel.redis.connection_pool, "get_connection", None)
        assert await ask() == 1
        assert await cache.get("a") == 1
        assert await cache.get_many(["a"] * 50) == {"a": 1}
        assert await cache.get_many("abcd") == {"a": 1}
    assert wire.asked == [1, 1, 1, 4]


async def test_what_was_left_unread_is_never_the_answer_to_something_else(
    client: KernelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    await cache.set_many({str(number): number for number in range(20)}, ttl=60)
    wire = shared_of(client)._wire
    for turns in range(12):
        asking = asyncio.create_task(wire.ask([("ECHO", f"left {number}") for number in range(3)]))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert await wire.ask([("ECHO", "mine"), ("NONSENSE",), ("ECHO", "too")]) == [b"mine", ANY, b"too"]
        assert await cache.get_many(str(number) for number in range(20)) == {str(n): n for n in range(20)}


async def test_the_other_protocol_of_redis_changes_nothing(redis_url: str) -> None:
    async with serving(f"{redis_url}?protocol=3") as client:
        assert await ask() == await cache.get("a") == 1
        await cache.delete_pattern("a*")
        assert await cache.get("a") is None
        assert not shared_of(client).is_away


async def test_who_leaves_when_redis_has_answered_holds_nobody_up(wire: Between) -> None:
    wire.lets_through.clear()
    gone = asyncio.create_task(ask())
    await wire.answered.wait()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    wire.lets_through.set()
    assert await ask() == 1
    assert not wire.shared._unanswered


@pytest.mark.parametrize("turns", range(8))
async def test_who_leaves_at_any_moment_holds_nobody_up(client: KernelClient, turns: int) -> None:
    # One that is alone, and those that travel together.
    callers = [asyncio.create_task(ask(key)) for key in "aabbc"]
    for _ in range(turns):
        await asyncio.sleep(0)
    await until(lambda: turns % 2 or not shared_of(client)._unanswered)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert [await ask(key) for key in "abc"] == [1, 1, 1]


async def test_who_is_asked_while_an_answer_is_on_its_way_waits_for_its_computation(wire: Between) -> None:
    calls: list[int] = []

    @cached(ttl=60, key="a")
    async def value() -> int:
        calls.append(1)
        await asyncio.sleep(0.01)
        return len(calls)

    wire.lets_through.clear()
    first = asyncio.create_task(value())
    await wire.answered.wait()
    wire.lets_through.set()
    assert await asyncio.gather(first, *(value() for _ in range(20))) == [1] * 21
    assert calls == [1]


async def test_a_command_that_was_sent_twice_has_the_lease_that_it_was_given(wire: Between) -> None:
    # As the client of Redis does when the connection breaks before the answer is there.
    wire.times = 2
    assert await ask() == 1
    wire.times = 1
    assert await cache.get("a") == 1


async def test_an_answer_that_is_lost_holds_nobody_up_when_redis_is_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_module, "PAUSE_SECONDS", 0.02)
    host, _, port = redis_url.removeprefix("redis://").rpartition("/")[0].rpartition(":")
    async with tcp_proxy(int(port)) as proxy, serving(f"redis://{host}:{proxy.port}/0") as client:
        proxy.cuts_answers = True
        assert await ask() == 1
        assert shared_of(client).is_away
        proxy.cuts_answers = False
        await until(lambda: not shared_of(client).is_away)
        assert await ask() == 1
        assert await cache.get("a") == 1


async def test_redis_that_answers_too_slowly_is_not_taken_for_back(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = redis_url.removeprefix("redis://").rpartition("/")[0].rpartition(":")
    async with tcp_proxy(int(port)) as proxy, serving(f"redis://{host}:{proxy.port}/0") as client:
        shared, looks = shared_of(client), 0
        failure = shared._breaker._probe

        async def counted_failure() -> Exception | None:
            nonlocal looks
            found = await failure()
            looks += 1
            return found

        monkeypatch.setattr(shared._breaker, "_probe", counted_failure)
        monkeypatch.setattr(shared._breaker, "_pause", 0.0)
        monkeypatch.setattr(shared_module, "OPERATION_SECONDS", 0.05)
        proxy.delay = 0.05
        assert await cache.get("a") is None
        await until(lambda: looks >= 3)
        assert shared.is_away
        assert counted(client, "outage", "error", "redis") == 1
        proxy.delay = 0.0
        monkeypatch.setattr(shared_module, "OPERATION_SECONDS", 5.0)
        await until(lambda: not shared.is_away)


async def test_redis_is_used_again_although_values_are_taken_away_all_the_time(
    client: KernelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = shared_of(client)
    monkeypatch.setattr(shared._breaker, "_pause", 0.01)
    await cache.set("last", 1, ttl=60)
    shared._give_up(ConnectionError())
    async with asyncio.timeout(10):
        while shared.is_away:
            await cache.delete("last", *(str(number) for number in range(5)))
            await asyncio.sleep(0)
    # What came up in the last moment is told before anybody reads.
    assert await cache.get("last") is None
    await until(lambda: not len(internals(client)._owed))


async def test_a_refresh_while_redis_is_away_takes_the_old_value_out_of_it(
    client: KernelClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared, row, gate = shared_of(client), ["old"], asyncio.Event()
    monkeypatch.setattr(shared._breaker, "_pause", 0.01)
    gate.set()

    @cached(ttl=60, key="row")
    async def read() -> str:
        found = row[0]
        await gate.wait()
        return found

    for way in ("before", "after"):
        row[0] = "old"
        await read.refresh()
        shared._give_up(ConnectionError())
        row[0] = "new"
        if way == "after":
            gate.clear()
        refreshed = asyncio.create_task(read.refresh())
        if way == "before":
            assert await refreshed == "new"
        await until(lambda: not shared.is_away)
        gate.set()
        assert await refreshed == await read() == "new", way
