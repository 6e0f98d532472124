"""The sliding window in memory and in Redis, beside a model that keeps every hit."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kernel.core.clock import FrozenClock, frozen, new_id
from app_kernel.core.ports import Allowance
from app_kernel.rate_limit.memory import MemoryLimiter
from app_kernel.rate_limit.shared import SharedLimiter
from app_kernel.redis_wire import create_redis

pytestmark = pytest.mark.usefixtures("patient")

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
WINDOW = 4
BUCKET = "user:ada"

# Steps of an eighth of a second, so that hits fall on the very edges of windows, and jumps over several windows.
steps = st.lists(st.sampled_from([0, 0, 0, 1, 2, 8, 31, 32, 33, 100]), max_size=60)


class Model:
    """Every hit that was allowed."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.hits: list[float] = []

    def hit(self, now: float) -> Allowance:
        counting = sorted(at for at in self.hits if at > now - WINDOW)
        if len(counting) >= self.limit:
            reset = counting[len(counting) - self.limit] + WINDOW - now
            return Allowance(False, self.limit, WINDOW, 0, reset)
        self.hits.append(now)
        return Allowance(True, self.limit, WINDOW, self.limit - len(counting) - 1, min([*counting, now]) + WINDOW - now)


def same(told: Allowance, expected: Allowance) -> bool:
    return (
        (told.allowed, told.limit, told.window, told.remaining)
        == (expected.allowed, expected.limit, expected.window, expected.remaining)
    ) and abs(told.reset_after - expected.reset_after) < 1e-5


def most_in_a_window(hits: list[float]) -> int:
    return max((sum(1 for at in hits if begin <= at < begin + WINDOW) for begin in hits), default=0)


async def compared(
    model: Model, hit: Callable[[int], Awaitable[Allowance]], waits: list[int], clock: FrozenClock
) -> list[float]:
    """Hits the model and the limiter after each wait; the instants of what was allowed."""
    allowed = []
    for wait in waits:
        clock.advance(wait / 8)
        now = clock.now().timestamp()
        told, expected = await hit(model.limit), model.hit(now)
        assert same(told, expected), (told, expected)
        if told.allowed:
            allowed.append(now)
    return allowed


@given(st.integers(1, 9), steps)
def test_in_memory_it_says_what_the_model_says(limit: int, waits: list[int]) -> None:
    memory = MemoryLimiter()

    async def hit(limit: int) -> Allowance:
        return memory.hit(BUCKET, limit, WINDOW)

    with frozen(START) as clock:
        allowed = asyncio.run(compared(Model(limit), hit, waits, clock))
    assert most_in_a_window(allowed) <= limit


@given(limit=st.integers(1, 9), waits=steps)
@settings(max_examples=50, deadline=None)
def test_in_redis_it_says_what_the_model_says(redis_url: str, limit: int, waits: list[int]) -> None:
    async def run() -> list[float]:
        redis = create_redis(redis_url, "window")
        shared = SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)

        async def hit(limit: int) -> Allowance:
            told = await shared.hit(BUCKET, limit, WINDOW)
            assert told is not None, "Redis is away"
            return told

        try:
            return await compared(Model(limit), hit, waits, clock)
        finally:
            await shared.close()
            await redis.aclose()

    with frozen(START) as clock:
        allowed = asyncio.run(run())
    assert most_in_a_window(allowed) <= limit


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_a_large_limit_is_never_exceeded_and_freed_a_thousandth_late_at_most(place: str, redis_url: str) -> None:
    limit, grain = 1100, WINDOW / 1000
    allowed: list[float] = []
    refused = 0
    redis = create_redis(redis_url, "window")
    memory, shared = MemoryLimiter(), SharedLimiter(redis, key := f"test:{new_id()}:", lambda error: None)

    async def hit() -> Allowance | None:
        return memory.hit(BUCKET, limit, WINDOW) if place == "memory" else await shared.hit(BUCKET, limit, WINDOW)

    with frozen(START) as clock:
        for step in range(420):
            clock.advance(0.007 if step % 300 else 2.5)
            now = clock.now().timestamp()
            for told in await asyncio.gather(*(hit() for _ in range(5))):
                assert told is not None
                if told.allowed:
                    allowed.append(now)
                else:
                    refused += 1
                    assert sum(at > now - WINDOW - grain - 1e-6 for at in allowed[-limit - 50 :]) >= limit
        if place == "redis":
            assert await redis.llen(f"{key}{WINDOW}:{BUCKET}") <= 1002
    await shared.close()
    await redis.aclose()
    assert refused > 100
    assert all(later - early >= WINDOW for early, later in zip(allowed, allowed[limit:], strict=False))


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_a_limit_that_was_lowered_counts_the_hits_of_before(place: str, redis_url: str) -> None:
    with frozen(START) as clock:
        redis = create_redis(redis_url, "window")
        memory, shared = MemoryLimiter(), SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)

        async def hit(limit: int) -> Allowance:
            told = memory.hit(BUCKET, limit, WINDOW) if place == "memory" else await shared.hit(BUCKET, limit, WINDOW)
            assert told is not None
            return told

        for _ in range(4):
            assert (await hit(5)).allowed
            clock.advance(0.5)
        lowered = await hit(2)
        assert (lowered.allowed, lowered.remaining) == (False, 0)
        assert lowered.reset_after == pytest.approx(3)  # the third of four hits was a second ago
        clock.advance(3)
        assert (await hit(2)).allowed
        await shared.close()
        await redis.aclose()


@pytest.mark.parametrize("place", ["memory", "redis"])
async def test_a_clock_that_was_set_back_by_hours_locks_nobody_out(place: str, redis_url: str) -> None:
    redis = create_redis(redis_url, "window")
    memory, shared = MemoryLimiter(), SharedLimiter(redis, f"test:{new_id()}:", lambda error: None)
    told = []
    for start in (START, START, START - timedelta(hours=3)):
        with frozen(start):
            if place == "memory":
                told.append(memory.hit(BUCKET, 1, WINDOW))
            else:
                told.append(await shared.hit(BUCKET, 1, WINDOW))
    await shared.close()
    await redis.aclose()
    assert [each.allowed for each in told if each] == [True, False, True]


async def test_what_redis_keeps_ends_with_the_window(redis_url: str) -> None:
    redis = create_redis(redis_url, "window")
    shared = SharedLimiter(redis, key := f"test:{new_id()}:", lambda error: None)
    told = [await shared.hit(BUCKET, 3, WINDOW) for _ in range(5)]
    assert [each.allowed for each in told if each] == [True] * 3 + [False] * 2
    assert await redis.llen(f"{key}{WINDOW}:{BUCKET}") == 4
    # The grain of the window, a microsecond, is a whole millisecond to Redis.
    assert 0 < await redis.pttl(f"{key}{WINDOW}:{BUCKET}") <= (WINDOW + 1) * 1000 + 1
    await shared.close()
    await redis.aclose()
