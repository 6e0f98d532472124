"""What is read before a change is never kept after it, and nobody who asks after a change is given what was before."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app_kernel.cache import cache, cached
from app_kernel.core.context import Context, in_context
from app_kernel.testing import KernelClient
from tests.cache.serving import counted, internals, serving, swept, until
from tests.cache.test_cached import Source

WAYS: dict[str, Callable[[], Awaitable[None]]] = {
    "delete": lambda: cache.delete("p:a"),
    "delete_pattern": lambda: cache.delete_pattern("p:*"),
    "delete_tags": lambda: cache.delete_tags("ws:a"),
    "clear": cache.clear,
    "invalidate": lambda: read.invalidate("a"),
    "set": lambda: cache.set("p:a", "set", ttl=60),
}

source = Source()


@cached(ttl=60, key="p:{it}", tags=["ws:{it}"])
async def read(it: str) -> Any:
    return await source.read(it)


@pytest.fixture(autouse=True)
def fresh_source() -> None:
    global source  # noqa: PLW0603 - the function that is cached stands at the top, as it does in a service
    source = Source()


@pytest.mark.parametrize("way", WAYS)
async def test_a_value_read_before_a_change_is_not_kept_after_it(client: KernelClient, way: str) -> None:
    source.gate.clear()
    early = asyncio.create_task(read("a"))
    await until(lambda: source.calls)
    await WAYS[way]()
    await swept(client)
    if way == "set":
        source.gate.set()
        assert await read("a") == "set"
    else:
        late = asyncio.create_task(read("a"))
        await until(lambda: len(source.calls) == 2)
        source.gate.set()
        assert await late == ["a", 2], "it was given what was read before the change"
    assert await early == ["a", 1]
    assert await read("a") == ("set" if way == "set" else ["a", 2])


@pytest.mark.parametrize("way", WAYS)
async def test_the_same_without_anybody_who_asks_meanwhile(client: KernelClient, way: str) -> None:
    source.gate.clear()
    early = asyncio.create_task(read("a"))
    await until(lambda: source.calls)
    await WAYS[way]()
    source.gate.set()
    assert await early == ["a", 1]
    await swept(client)
    assert await cache.get("p:a") == ("set" if way == "set" else None)


async def test_a_change_of_something_else_keeps_what_is_computed(client: KernelClient) -> None:
    source.gate.clear()
    early = asyncio.create_task(read("a"))
    await until(lambda: source.calls)
    await read.invalidate("b")
    await cache.delete_tags("ws:b")
    await cache.set("p:b", 1, ttl=60)
    source.gate.set()
    assert await early == await read("a") == ["a", 1]
    assert len(source.calls) == 1


async def test_of_two_refreshes_the_one_that_began_later_stays(client: KernelClient) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    begun: list[int] = []

    @cached(ttl=60, key="r")
    async def value() -> int:
        mine = len(begun)
        begun.append(mine)
        await gates[mine].wait()
        return mine

    first = asyncio.create_task(value.refresh())
    await until(lambda: len(begun) == 1)
    second = asyncio.create_task(value.refresh())
    await until(lambda: len(begun) == 2)
    gates[1].set()
    assert await second == 1
    gates[0].set()
    assert await first == 0
    assert await cache.get("r") == 1


@pytest.fixture
async def two(redis_url: str) -> AsyncIterator[tuple[KernelClient, KernelClient]]:
    """Two processes of one service, as far as Redis can tell."""
    async with serving(redis_url) as one, serving(redis_url, name=one.kernel.name) as other:
        yield one, other


async def as_of(client: KernelClient, call: Callable[[], Awaitable[Any]]) -> Any:
    with in_context(Context(kernel=client.kernel)):
        return await call()


@pytest.mark.parametrize("way", WAYS)
async def test_a_change_in_another_process_has_the_same_effect(
    two: tuple[KernelClient, KernelClient], way: str
) -> None:
    one, other = two
    source.gate.clear()
    early = asyncio.create_task(as_of(one, lambda: read("a")))
    await until(lambda: source.calls)
    await as_of(other, WAYS[way])
    await swept(other)
    if way == "set":
        source.gate.set()
    else:
        late = [asyncio.create_task(as_of(each, lambda: read("a"))) for each in (one, other)]
        await until(lambda: len(source.calls) >= 2)
        await asyncio.sleep(0.02)
        source.gate.set()
        assert await asyncio.gather(*late) == [["a", 2]] * 2
        assert len(source.calls) == 2
    assert await early == ["a", 1]
    assert await as_of(one, lambda: cache.get("p:a")) == ("set" if way == "set" else ["a", 2])


@pytest.mark.parametrize("way", WAYS)
async def test_nor_is_it_kept_when_nobody_asks_between_the_change_and_the_end(
    two: tuple[KernelClient, KernelClient], way: str
) -> None:
    one, other = two
    source.gate.clear()
    early = asyncio.create_task(as_of(one, lambda: read("a")))
    await until(lambda: source.calls)
    await as_of(other, WAYS[way])
    source.gate.set()
    assert await early == ["a", 1]
    assert await as_of(one, lambda: cache.get("p:a")) == ("set" if way == "set" else None)
    assert counted(one, "set", "late", "redis") == 1


async def test_who_dies_or_hangs_while_it_computes_holds_others_up_for_a_lease_at_most(
    two: tuple[KernelClient, KernelClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr("app_kernel.cache.shared.LEASE_SECONDS", 0.1)
    dead = internals(one)._shared
    assert dead is not None
    answer = await dead.look("p:a", ("ws:a",))
    assert answer is not None
    assert answer.word == "lease"
    async with asyncio.timeout(5):
        assert await as_of(other, lambda: read("a")) == ["a", 1]
    # Whoever lives renews its lease, and is waited for; not for ever.
    monkeypatch.setattr("app_kernel.cache.service.RENEW_SECONDS", 0.02)
    source.gate.clear()
    slow = asyncio.create_task(as_of(one, lambda: read("b")))
    await until(lambda: len(source.calls) == 2)
    waiting = asyncio.create_task(as_of(other, lambda: read("b")))
    await asyncio.sleep(0.3)
    assert len(source.calls) == 2
    monkeypatch.setattr("app_kernel.cache.service.WAIT_SECONDS", 0.05)
    impatient = asyncio.create_task(as_of(other, lambda: read("b")))
    await until(lambda: len(source.calls) == 3)
    source.gate.set()
    assert await asyncio.gather(slow, waiting, impatient) == [["b", 2], ["b", 2], ["b", 3]]
    assert await as_of(other, lambda: cache.get("p:b")) == ["b", 2]


async def test_a_computation_that_fails_gives_its_lease_back_at_once(
    two: tuple[KernelClient, KernelClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two

    async def fail() -> None:
        raise LookupError("a")

    with pytest.raises(LookupError):
        await as_of(one, lambda: cache.get_or_set("a", fail, ttl=60))
    monkeypatch.setattr("app_kernel.cache.service.WAIT_SECONDS", 60.0)
    async with asyncio.timeout(2):
        assert await as_of(other, lambda: cache.get_or_set("a", lambda: 1, ttl=60)) == 1


async def test_a_refresh_that_comes_to_too_much_takes_the_old_value_away(client: KernelClient) -> None:
    size = [1]

    @cached(ttl=60, key="size")
    async def text() -> str:
        return "x" * size[0]

    assert await text() == "x"
    size[0] = 2 << 20
    assert len(await text.refresh()) == size[0]
    assert len(await text()) == size[0]
    assert await cache.get("size") is None
