"""The measuring half of P10, in a process of its own with a running kernel in it."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop

from benchmarks import p10_cache
from benchmarks.harness import answer, turns
from benchmarks.inprocess import App, Caller, started
from benchmarks.kernel_side import PASSWORD, access_token

SIGN_UP = {"email": "small@example.com", "password": PASSWORD}
LIMIT, WINDOW = 1000, 60
BUCKETS = [f"user:{number}" for number in range(500)]

Once = Callable[[], Awaitable[Any]]


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Microseconds of CPU time a call, one figure a batch, and the round trips of a hit."""
    app: Any = importlib.import_module("benchmarks.peers.small_kernel").app
    async with started(app) as state:
        signed_up = await Caller(app, "/auth/register", state=state, method="POST", body=SIGN_UP).once()
        token = access_token(200, json.loads(signed_up))
        parts = {**memory_checks(), **library_checks(), **request_parts(app, token), **await flag_checks(app)}
        parts |= await p10_cache.memory_hits()
        samples: dict[str, list[float]] = {name: [] for name in parts}
        for once in parts.values():
            await batch(once, 100)
        for name in turns(list(parts), spec["rounds"]):
            samples[name].append(await batch(parts[name], spec["batch"]))
    bare = samples.pop("bare app")
    for name in ("no-op layer", "layer of limits"):
        samples[name] = [with_it - without for with_it, without in zip(samples[name], bare, strict=True)]
    shared, trips = await in_redis(spec["redis"], spec["rounds"], spec["batch"] // 20)
    cached, cache_trips = await cached_in_redis(spec["redis"], spec["rounds"], spec["batch"] // 50)
    return {"samples": samples | shared | cached, "trips": trips | cache_trips}


async def batch(once: Once, times: int) -> float:
    """Microseconds of CPU time a call."""
    gc.collect()
    begun = time.process_time()
    for _ in range(times):
        await once()
    return (time.process_time() - begun) / times * 1e6


def memory_checks() -> dict[str, Once]:
    """The kernel's limiter in memory, over many users and over one that is refused."""
    memory: Any = importlib.import_module("app_kernel.rate_limit.memory").MemoryLimiter()
    at = 0

    async def allowed() -> None:
        nonlocal at
        at += 1
        memory.hit(BUCKETS[at % 500], 100_000_000, WINDOW)

    async def refused() -> None:
        memory.hit("user:over", 1, WINDOW)

    return {"check allowed": allowed, "check refused": refused}


def library_checks() -> dict[str, Once]:
    """The same by the library `limits`, with what the headers need."""
    limits = importlib.import_module("limits")
    aio = importlib.import_module("limits.aio")
    window: Any = aio.strategies.MovingWindowRateLimiter(aio.storage.MemoryStorage())
    many, one = limits.RateLimitItemPerSecond(LIMIT, WINDOW), limits.RateLimitItemPerSecond(1, WINDOW)
    at = 0

    async def allowed() -> None:
        nonlocal at
        at += 1
        await window.hit(many, BUCKETS[at % 500])
        await window.get_window_stats(many, BUCKETS[at % 500])

    async def refused() -> None:
        await window.hit(one, "user:over")
        await window.get_window_stats(one, "user:over")

    return {"check allowed by limits": allowed, "check refused by limits": refused}


def request_parts(app: Any, token: str) -> dict[str, Once]:
    """What stands around a request: a layer that does nothing, the layer of limits, and who calls."""
    kernel: Any = app.state.kernel
    begin_exchange = importlib.import_module("app_kernel.core.exchange").begin_exchange
    context_of = importlib.import_module("app_kernel.core.context")
    limits_layer = next(feature for feature in kernel.features if feature.name == "rate_limit").middleware[0]
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())]
    context = context_of.Context(kernel=kernel, address="127.0.0.1")
    context.user = importlib.import_module("app_kernel").UserIdentity("u-1", "u@example.com")
    context_of.enter_context(context)

    def scope_of() -> dict[str, Any]:
        scope = {"type": "http", "app": app, "method": "GET", "path": "/plain", "root_path": "", "headers": headers}
        begin_exchange(scope, "bench", dict(headers))
        return scope

    def through(stack: App) -> Once:
        async def once() -> None:
            await stack(scope_of(), None, None)

        return once

    scope = scope_of()

    async def token_check() -> None:
        if await kernel.authenticator(kernel, scope) is None:
            raise RuntimeError("nobody is signed in")

    return {
        "token check": token_check,
        "bare app": through(nothing),
        "no-op layer": through(NoOp(nothing)),
        "layer of limits": through(limits_layer(nothing, kernel)),
    }


async def flag_checks(app: Any) -> dict[str, Once]:
    """A flag for half of the users, and one that lists a user among a hundred, both as a route asks for them."""
    flags: Any = importlib.import_module("app_kernel.flags")
    db = app.state.kernel.db.connection()
    await flags.set_flag(db, "half", enabled=True, rollout_percent=50)
    await flags.set_flag(db, "listed", enabled=True, users=BUCKETS[:100])
    at = 0

    async def by_percentage() -> None:
        nonlocal at
        at += 1
        await flags.flag_enabled(db, "half", user_id=BUCKETS[at % 500])

    async def of_a_listed_user() -> None:
        if not await flags.flag_enabled(db, "listed", user_id=BUCKETS[50]):
            raise RuntimeError("the flag is off")

    return {"flag by percentage": by_percentage, "flag of a listed user": of_a_listed_user}


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """An app that does nothing."""


class NoOp:
    """Pure ASGI, as every layer of the kernel is; does nothing."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def in_redis(url: str, rounds: int, times: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The limiter in Redis beside the library's, and how many scripts each had Redis run a hit."""
    redis = importlib.import_module("app_kernel.redis_wire").create_redis(url, "bench")
    limiter = importlib.import_module("app_kernel.rate_limit.shared").SharedLimiter(redis, "bench:", print)
    limits = importlib.import_module("limits")
    aio = importlib.import_module("limits.aio")
    storage: Any = aio.storage.RedisStorage(f"async+{url}", implementation="redispy")
    window, item = aio.strategies.MovingWindowRateLimiter(storage), limits.RateLimitItemPerSecond(LIMIT, WINDOW)
    at = 0

    async def ours() -> None:
        nonlocal at
        at += 1
        await limiter.hit(BUCKETS[at % 500], LIMIT, WINDOW)

    async def theirs() -> None:
        nonlocal at
        at += 1
        await window.hit(item, BUCKETS[at % 500])
        await window.get_window_stats(item, BUCKETS[at % 500])

    async def scripts() -> int:
        stats = await redis.info("commandstats")
        return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))

    await limiter.connect()
    await theirs()
    samples: dict[str, list[float]] = {"shared check": [], "shared check by limits": []}
    trips: dict[str, float] = {}
    parts: dict[str, Once] = {"shared check": ours, "shared check by limits": theirs}
    for name in turns(list(parts), rounds):
        before = await scripts()
        samples[name].append(await batch(parts[name], times))
        trips["limits" if name.endswith("limits") else "ours"] = (await scripts() - before) / times
    before = await scripts()
    await asyncio.gather(*(ours() for _ in range(100)))
    trips["ours, 100 callers"] = (await scripts() - before) / 100
    await limiter.close()
    await redis.aclose()
    return samples, trips


async def cached_in_redis(url: str, rounds: int, times: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """A hit of the cache in Redis beside cashews', and how many commands each had Redis run for it."""
    parts, close = await p10_cache.redis_hits(url)
    redis = importlib.import_module("app_kernel.redis_wire").create_redis(url, "bench")
    samples: dict[str, list[float]] = {name: [] for name in parts}
    for once in parts.values():
        await batch(once, 50)
    for name in turns(list(parts), rounds):
        samples[name].append(await batch(parts[name], times))
    trips = {name: await p10_cache.trips_of(redis, once, name, 100) for name, once in parts.items()}
    await close()
    await redis.aclose()
    return samples, trips


if __name__ == "__main__":
    answer(uvloop.run(asyncio.wait_for(run(json.load(sys.stdin)), 230)))
