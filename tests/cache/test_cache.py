"""`cache`, in memory and in a real Redis."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi import APIRouter

from app_kernel import FEATURES, ServiceConfig, create_service
from app_kernel.cache import cache, cached, create_feature, escape_key
from app_kernel.cache import memory as memory_module
from app_kernel.cache.invalidations import ALL, MOST_OWED, MOST_PATTERNS, Invalidation, Owed
from app_kernel.cache.memory import MemoryCache
from app_kernel.core.clock import new_id
from app_kernel.core.errors import AmbiguousKernel, CacheError, InvalidCacheKey, NoRunningKernel, UncacheableValue
from app_kernel.testing import KernelClient, kernel_client
from tests.cache.serving import counted, forget, internals, serving
from tests.small_service import SECRET

VALUES = [None, False, True, 0, 0.0, "", [], {}, "text", 1.5, 2**64 - 1, [1, [None]], {"a": {"b": [False]}}]


@pytest.mark.acceptance("RL6")
async def test_every_json_value_comes_back_and_absence_is_none_of_them(client: KernelClient) -> None:
    missing = object()
    for number, value in enumerate(VALUES):
        await cache.set(f"v:{number}", value, ttl=60)
    found = [await cache.get(f"v:{number}", missing) for number in range(len(VALUES))]
    assert found == VALUES
    assert [type(value) for value in found] == [type(value) for value in VALUES]
    assert await cache.get("v:none", missing) is missing
    assert await cache.get("v:none") is None
    many = await cache.get_many([f"v:{number}" for number in range(len(VALUES) + 5)])
    assert list(many.values()) == VALUES


async def test_a_reader_gets_a_copy_of_its_own(client: KernelClient) -> None:
    value = {"members": ["ada"]}
    await cache.set("a", value, ttl=60)
    value["members"].append("bob")
    first = await cache.get("a")
    first["members"].append("eve")
    assert await cache.get("a") == {"members": ["ada"]}
    computed = await cache.get_or_set("b", lambda: value, ttl=60)
    computed["members"].append("mal")
    assert value == {"members": ["ada", "bob"]}
    assert await cache.get("b") == value


async def test_deleting_takes_away_what_it_names_and_nothing_else(client: KernelClient) -> None:
    names = ["p:1", "p:2", "p:2:x", "p", "q:p:1", "p:[1]", "p:?", "P:1"]

    async def left_after(action: Any) -> list[str]:
        await cache.set_many({name: name for name in names}, ttl=60)
        await action
        return [name for name in names if await cache.get(name) is None]

    assert await left_after(cache.delete("p:1", "none", "p:*")) == ["p:1"]
    assert await left_after(cache.delete_pattern("p:*")) == ["p:1", "p:2", "p:2:x", "p:[1]", "p:?"]
    assert await left_after(cache.delete_pattern("*:1")) == ["p:1", "q:p:1", "P:1"]
    assert await left_after(cache.delete_pattern("p:[1]")) == ["p:[1]"]
    assert await left_after(cache.delete_pattern("p:?")) == ["p:?"]
    assert await left_after(cache.delete_pattern("*")) == names
    assert await left_after(cache.clear()) == names
    assert await left_after(cache.delete()) == []


@pytest.mark.acceptance("RL6")
async def test_the_pattern_of_one_tenant_reaches_no_other_one(client: KernelClient) -> None:
    tenants = ["a", "a:b", "*", "a*", "{a}", "", "[ab]", "?", "\\", "ä"]
    for tenant in tenants:
        await cache.set(f"projects:{escape_key(tenant)}:1", tenant, ttl=60)
    for number, tenant in enumerate(tenants):
        await cache.delete_pattern(f"projects:{escape_key(tenant)}:*")
        left = [await cache.get(f"projects:{escape_key(other)}:1") for other in tenants]
        assert left == [None] * (number + 1) + tenants[number + 1 :]


async def test_tags_take_away_everything_that_has_one_of_them(client: KernelClient) -> None:
    await cache.set("a", 1, ttl=60, tags=["x", "y"])
    await cache.set("b", 2, ttl=60, tags=["y"])
    await cache.set("c", 3, ttl=60)
    await cache.get_or_set("d", lambda: 4, ttl=60, tags=["x", "z"])
    await cache.delete_tags("z", "unheard of")
    assert await cache.get_many("abcd") == {"a": 1, "b": 2, "c": 3}
    await cache.delete_tags("x")
    assert await cache.get_many("abcd") == {"b": 2, "c": 3}
    # Set anew it has other tags.
    await cache.set("b", 5, ttl=60, tags=["x"])
    await cache.delete_tags("y")
    assert await cache.get("b") == 5
    await cache.delete_tags("x")
    assert await cache.get_many("abcd") == {"c": 3}


@pytest.mark.acceptance("RL6")
async def test_in_memory_a_value_ends_with_its_time_by_the_frozen_clock() -> None:
    async with serving(frozen_at=datetime(2026, 1, 1, tzinfo=UTC)) as client:
        await cache.set("a", 1, ttl=timedelta(seconds=10))
        await cache.set("b", 1, ttl=20)
        client.clock.advance(9.99)
        assert await cache.get_many("ab") == {"a": 1, "b": 1}
        client.clock.advance(0.01)
        assert await cache.get_many("ab") == {"b": 1}
        client.clock.advance(10)
        assert await cache.get("b") is None
        assert len(internals(client)._memory) == 0


async def test_in_redis_a_value_ends_by_itself_and_the_clock_of_redis(redis_url: str) -> None:
    async with serving(redis_url) as client:
        await cache.set("a", 1, ttl=100)
        await cache.get_or_set("b", lambda: 2, ttl=50.5)
        redis, prefix = client.kernel.redis, f"{client.kernel.name}:cache:"
        assert 98_000 < await redis.pttl(f"{prefix}e:a") <= 100_000
        assert 48_000 < await redis.pttl(f"{prefix}e:b") <= 50_500
        await cache.set("c", 1, ttl=0.02)
        async with asyncio.timeout(10):
            while await cache.get("c") is not None:  # noqa: ASYNC110 - Redis ends it
                await asyncio.sleep(0.01)
        keys = [key async for key in redis.scan_iter(match=f"{prefix}*", count=1000)]
        assert all([await redis.pttl(key) > 0 for key in keys]), "a key that never ends"
        assert f"{prefix}l:b".encode() not in keys


async def test_jitter_only_shortens(client: KernelClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[float] = []
    shared = internals(client)._shared
    monkeypatch.setattr("app_kernel.cache.service.random.random", lambda: 0.5)
    if shared is None:
        monkeypatch.setattr(internals(client)._memory, "set", lambda key, data, ttl, tags: seconds.append(ttl))
    else:
        keep = shared.keep
        monkeypatch.setattr(shared, "keep", lambda *given: seconds.append(given[-1]) or keep(*given))
    await cache.get_or_set("a", lambda: 1, ttl=100, jitter=0.2)
    await cache.get_or_set("b", lambda: 1, ttl=100)
    assert seconds == [90.0, 100.0]


async def test_memory_is_bounded_and_the_least_recently_used_goes() -> None:
    async with serving(cache_entries=3) as client:
        for name in "abc":
            await cache.set(name, name, ttl=60, tags=["t"])
        await cache.get("a")
        await cache.set("d", "d", ttl=60)
        assert await cache.get_many("abcd") == {"a": "a", "c": "c", "d": "d"}
        assert len(internals(client)._memory) == 3


def test_memory_is_bounded_in_bytes_too_and_keeps_no_tag_of_what_is_gone() -> None:
    memory = MemoryCache(1000, most_bytes=1000)
    for number in range(100):
        memory.set(f"{number}", b"x" * 98, 60, (f"t{number}", "all"))
    assert len(memory) == 10
    assert sorted(memory._tagged) == sorted(["all", *(f"t{number}" for number in range(90, 100))])
    memory.drop(Invalidation("tag", "all"))
    assert (len(memory), memory._bytes, memory._tagged) == (0, 0, {})
    assert memory_module.MOST_BYTES == 64 << 20


def test_more_invalidations_than_can_be_remembered_become_one_of_everything() -> None:
    owed = Owed()
    for number in range(MOST_OWED):
        owed.add(Invalidation("key", str(number)))
    owed.add(Invalidation("key", "0"))
    assert len(owed) == MOST_OWED
    assert owed.add(Invalidation("pattern", "p*"))[0] == ALL
    assert [each[0] for each in owed.quick()] == [ALL]
    assert not owed.covers("p1")


def test_more_patterns_than_redis_can_soon_look_for_become_one_of_everything() -> None:
    owed = Owed()
    for number in range(MOST_PATTERNS):
        owed.add(Invalidation("pattern", f"{number}:*"))
    assert owed.add(Invalidation("pattern", "0:*"))[0] != ALL
    assert owed.add(Invalidation("pattern", "x:*"))[0] == ALL
    assert (len(owed), owed.patterns()) == (1, [])


def test_an_invalidation_that_came_up_again_is_not_settled_by_the_earlier_one() -> None:
    owed = Owed()
    for invalidation in (Invalidation("key", "a"), Invalidation("pattern", "a*")):
        first, second = owed.add(invalidation), owed.add(invalidation)
        owed.settle(*first)
        assert len(owed) == 1
        assert owed.covers("ab") == (invalidation.kind == "pattern")
        owed.settle(*second)
        assert len(owed) == 0
        assert not owed.covers("ab")


async def test_what_cannot_be_kept_is_refused_by_name_and_changes_nothing(client: KernelClient) -> None:
    await cache.set("a", 1, ttl=60)
    for value in ((1,), {1}, float("nan"), {1: 1}, datetime.now(UTC)):
        with pytest.raises(UncacheableValue, match=r"^a: value"):
            await cache.set("a", value, ttl=60)
    with pytest.raises(UncacheableValue, match=r"a: the value has .* the most is 1048576"):
        await cache.set("a", "x" * (1 << 20), ttl=60)
    with pytest.raises(UncacheableValue, match="b: value"):
        await cache.set_many({"a": 2, "b": (1,)}, ttl=60)
    with pytest.raises(UncacheableValue, match=r"^b: value is a tuple"):
        await cache.get_or_set("b", lambda: (1,), ttl=60)
    for call in (cache.get(""), cache.set("a", 1, ttl=0), cache.delete("\n"), cache.delete_pattern("")):
        with pytest.raises(InvalidCacheKey):
            await call
    for call in (cache.delete_tags(""), cache.get_or_set("", lambda: 1, ttl=1), cache.set("c", 1, 1, tags="t")):
        with pytest.raises(InvalidCacheKey):
            await call
    assert await cache.get_many("abc") == {"a": 1}


async def test_a_computed_value_that_is_too_large_is_given_and_not_kept(
    client: KernelClient, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[int] = []

    @cached(ttl=60, key="large:{size}")
    async def large(size: int) -> str:
        calls.append(size)
        return "x" * size

    for _ in range(3):
        assert len(await large(2 << 20)) == 2 << 20
    assert len(calls) == 3
    printed = capsys.readouterr().out
    assert printed.count("cache_value_too_large") == 1
    assert "large:{size}" in printed
    assert counted(client, "set", "too_large", "none") == 3


async def test_two_services_with_one_redis_do_not_see_each_other(redis_url: str) -> None:
    router = APIRouter()

    @router.get("/values/{name}")
    async def read(name: str) -> Any:
        return await cache.get(name)

    @router.put("/values/{name}/{value}")
    async def write(name: str, value: str) -> None:
        await cache.set(name, value, ttl=60)

    @router.delete("/values/{name}")
    async def remove(name: str) -> None:
        await (cache.clear() if name == "all" else cache.delete_pattern(f"{name}*"))

    async with serving(redis_url, routers=[router]) as one, serving(redis_url, routers=[router]) as other:
        await one.put("/values/a/1")
        await other.put("/values/a/2")
        assert ((await one.get("/values/a")).json(), (await other.get("/values/a")).json()) == ("1", "2")
        await one.delete("/values/a")
        assert ((await one.get("/values/a")).json(), (await other.get("/values/a")).json()) == (None, "2")
        await one.delete("/values/all")
        assert (await other.get("/values/a")).json() == "2"
        with pytest.raises(AmbiguousKernel):
            await cache.get("a")


async def test_outside_of_a_service_there_is_no_cache() -> None:
    @cached(ttl=1, key="a")
    async def get() -> int:
        return 1

    for call in (cache.get("a"), cache.set("a", 1, ttl=1), cache.clear(), get(), get.invalidate(), get.refresh()):
        with pytest.raises(NoRunningKernel):
            await call


RUBBISH = [
    {"v": b"no line break", "d": b""}, {"v": b"\n{", "d": b""}, {"v": b"\n\xff", "d": b""}, {"v": b"", "d": b""},
    {"v": b"\n1"}, {"d": b"x"}, b"text", ["list"],
]  # fmt: skip


async def test_what_something_else_has_written_into_redis_is_a_miss_and_no_outage(redis_url: str) -> None:
    async with serving(redis_url) as client:
        redis, prefix = client.kernel.redis, f"{client.kernel.name}:cache:"

        async def spoil(kind: str, rubbish: Any) -> None:
            key = f"{prefix}{kind}"
            await redis.delete(key)
            if isinstance(rubbish, dict):
                await redis.hset(key, mapping=rubbish)
            elif isinstance(rubbish, bytes):
                await redis.set(key, rubbish)
            else:
                await redis.rpush(key, *rubbish)

        for number, rubbish in enumerate(RUBBISH):
            a, b = f"a{number}", f"b{number}"
            await cache.set(a, 1, ttl=60)
            await spoil(f"e:{a}", rubbish)
            assert await cache.get(a) is None, rubbish
            await spoil(f"e:{a}", rubbish)
            assert await cache.get_or_set(a, lambda: 2, ttl=60) == 2, rubbish
            assert await cache.get_or_set(a, lambda: 3, ttl=60) in (2, 3), rubbish
            await spoil(f"l:{b}", rubbish)
            assert await cache.get_or_set(b, lambda: 4, ttl=60) == 4, rubbish
            assert await cache.get(b) == 4, rubbish
            for version in ("v:#", "v:*", "v:t:tag"):
                await spoil(version, rubbish)
            assert await cache.get_or_set(b, lambda: 5, ttl=60, tags=["tag"]) == 5, rubbish
            await cache.delete_tags("tag")
            assert await cache.get(b) is None, rubbish
        assert not internals(client)._shared.is_away  # type: ignore[union-attr]
        assert counted(client, "get", "error", "redis") == 2 * sum(
            isinstance(each, dict) and each.keys() == {"v", "d"} for each in RUBBISH
        )


async def test_what_redis_has_evicted_or_lost_takes_its_values_with_it(redis_url: str) -> None:
    async with serving(redis_url) as client:
        redis, prefix = client.kernel.redis, f"{client.kernel.name}:cache:"
        await cache.set("a", 1, ttl=60, tags=["t"])
        await cache.delete_tags("t")
        await redis.delete(f"{prefix}v:t:t")
        assert await cache.get("a") is None
        await cache.set("a", 2, ttl=60, tags=["t"])
        await redis.delete(f"{prefix}v:#")
        assert await cache.get("a") is None
        await cache.set("a", 3, ttl=60, tags=["t"])
        assert await cache.get("a") == 3
        await forget(client)
        assert await cache.get("a") is None


async def test_what_is_taken_away_while_the_service_starts_reaches_redis(redis_url: str) -> None:
    name = f"cache-{new_id()}"
    async with serving(redis_url, name=name):
        await cache.set("a", 1, ttl=60)
        await cache.set("b", 1, ttl=60)

    async def seed(db: Any) -> None:
        assert await cache.get("a") is None
        await cache.set("c", 3, ttl=60)
        assert await cache.get("c") == 3
        await cache.delete("a")

    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:", redis_url=redis_url)
    app = create_service(name, config=config, db_seed=seed)
    async with kernel_client(app, redis_url=redis_url) as again:
        assert await cache.get_many("abc") == {"b": 1}
        await forget(again)


async def test_a_service_that_was_made_without_the_cache_says_so() -> None:
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:")
    features = [each for each in FEATURES if each is not create_feature]
    async with kernel_client(create_service("bare", config=config, features=features)):
        with pytest.raises(CacheError, match=r"no feature cache: .* FEATURES has it"):
            await cache.get("a")
