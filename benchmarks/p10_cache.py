"""The cache in P10: a hit in memory and in Redis, beside the library cashews."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

Once = Callable[[], Awaitable[Any]]

VALUE = [{"id": f"p-{number}", "name": "bolt", "count": 3, "active": True} for number in range(5)]
KEYS = [f"ws-{number}" for number in range(500)]


async def memory_hits() -> dict[str, Once]:
    """Hits of the running service's cache in memory and of cashews', by key and through the decorator."""
    kernel_cache = importlib.import_module("app_kernel.cache")
    theirs: Any = importlib.import_module("cashews").Cache()
    theirs.setup("mem://", size=10_000)
    await theirs.init()
    parts = {}
    for name, cache, decorate in (
        ("cache", kernel_cache.cache, kernel_cache.cached(ttl=3600, key="decorated:{workspace_id}")),
        ("cashews", theirs, theirs(ttl=3600, key="decorated:{workspace_id}")),
    ):
        for key in KEYS:
            await _set(cache, f"plain:{key}", name)
        parts |= _hits(name, cache, decorate(_projects))
    return parts


async def redis_hits(url: str) -> tuple[dict[str, Once], Callable[[], Awaitable[None]]]:
    """The same with a real Redis, and what closes it; JSON on both sides, as cashews would unpickle by default."""
    service: Any = importlib.import_module("app_kernel.cache.service")
    create_redis = importlib.import_module("app_kernel.redis_wire").create_redis
    picklers: Any = importlib.import_module("cashews.picklers")
    theirs: Any = importlib.import_module("cashews").Cache()
    theirs.setup(url, pickle_type=picklers.PicklerType.JSON)
    await theirs.init()
    redis = create_redis(url, "bench")
    kernel = SimpleNamespace(
        name="bench", redis=redis, connect_redis=create_redis, config=SimpleNamespace(cache_entries=10_000),
        hears=lambda event: False, emit=_nobody_listens,
    )  # fmt: skip
    ours = service.ServiceCache(kernel)
    opened = ours.open()
    await opened.__aenter__()
    await ours.set_many(dict.fromkeys(KEYS, VALUE), 3600.0, ())
    decorated = theirs(ttl=3600, key="decorated:{workspace_id}")(_projects)
    for key in KEYS:
        await decorated(key)
    at = 0

    async def our_hit() -> None:
        nonlocal at
        at += 1
        await ours.get_or_compute(service.Wanted(KEYS[at % 500], "", 3600.0, (), 0.0, _never, "bench"))

    async def their_hit() -> None:
        nonlocal at
        at += 1
        await decorated(KEYS[at % 500])

    async def close() -> None:
        await opened.__aexit__(None, None, None)
        await theirs.close()
        await redis.aclose()

    return {"cache in Redis": our_hit, "cache in Redis by cashews": their_hit}, close


async def trips_of(redis: Any, once: Once, name: str, times: int) -> float:
    """How many commands Redis was sent a hit, each of them a round trip of a caller who is alone.

    What a script does is counted by Redis as commands too, so only the kind that each side sends is looked at.
    """
    kind = "cmdstat_get" if name.endswith("cashews") else "cmdstat_evalsha"

    async def sent() -> int:
        return int((await redis.info("commandstats")).get(kind, {"calls": 0})["calls"])

    before = await sent()
    for _ in range(times):
        await once()
    return (await sent() - before) / times


def _hits(name: str, cache: Any, decorated: Any) -> dict[str, Once]:
    at = 0

    async def plain() -> None:
        nonlocal at
        at += 1
        await cache.get(f"plain:{KEYS[at % 500]}")

    async def through_the_decorator() -> None:
        nonlocal at
        at += 1
        await decorated(KEYS[at % 500])

    suffix = " by cashews" if name == "cashews" else ""
    return {f"cache get{suffix}": plain, f"cached function{suffix}": through_the_decorator}


async def _set(cache: Any, key: str, name: str) -> None:
    await (cache.set(key, VALUE, expire=3600) if name == "cashews" else cache.set(key, VALUE, ttl=3600))


async def _projects(workspace_id: str) -> list[dict[str, Any]]:
    return VALUE


async def _nobody_listens(event: object) -> None:
    """Takes an event."""


def _never() -> None:
    raise RuntimeError("a hit computes nothing")
