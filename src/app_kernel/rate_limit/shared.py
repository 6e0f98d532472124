"""Limits that all processes of a service share, kept in Redis; imported only where Redis is configured.

Hits that wait at the same time travel together, one script call for all of them: a request causes at most one round
trip, and many at once far fewer. What Redis does not answer in time is not answered here at all, and for as long as it
is away nobody waits for it: a task of its own asks every second whether it is back. A hit is held up by at most 50 ms.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from redis.exceptions import NoScriptError

from app_kernel.core.cancellation import cancel_task
from app_kernel.core.circuit_breaker import CircuitBreaker
from app_kernel.core.clock import frozen_epoch
from app_kernel.core.ports import Allowance
from app_kernel.rate_limit.script import HIT

HIT_SECONDS = 0.04
"""How long a hit may wait for an answer, the one before its own included."""
TURN_SECONDS = 0.003
LEAST_TURNS = 3
"""Turns of the event loop that every answer is given: a loop that was held up itself has not waited for Redis."""
CONNECT_SECONDS = 1.0
"""How long an answer may take for which nobody waits, as a new connection has more to say than one script call."""
PAUSE_SECONDS = 1.0
"""How long after a failure, and after each one more, Redis is asked again."""
BATCH = 100
"""Most hits of one script call, during which Redis does nothing else: less than 1 ms."""

MOST = 10**9
"""Larger limits, and windows of more seconds, are counted as this: so many hits nobody makes, so long nobody waits, and
with more the numbers of Redis are no longer exact."""

_SHA = hashlib.sha1(HIT.encode(), usedforsecurity=False).hexdigest()


class _Hit(NamedTuple):
    key: bytes
    limit: int
    window: int
    came_at: float
    """By the clock of the event loop."""
    answer: "asyncio.Future[Allowance | None]"


class SharedLimiter:
    """Asks Redis, of one event loop; `on_change(error)` hears when Redis goes away, and with None when it is back."""

    def __init__(self, redis: Any, prefix: str, on_change: Callable[[Exception | None], None]) -> None:
        self._redis = redis
        self._prefix = prefix
        self._breaker = CircuitBreaker(self._failure, PAUSE_SECONDS, on_change)
        self._waiting: list[_Hit] = []
        self._sender: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether Redis did not answer the last time."""
        return self._breaker.is_open

    async def connect(self) -> None:
        """Asks Redis for the first time, so that the first hit finds a connection and the script."""
        failure = await self._failure()
        if failure is not None:
            self._breaker.trip(failure)

    async def hit(self, bucket: str, limit: int, window: int) -> Allowance | None:
        """Counts one hit if there is room for it; None when Redis is away, of which it never takes long to know.

        What Redis could not take is refused or made fit here: there it would fail all hits that travel together.
        """
        if self._breaker.is_open:
            return None
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        key = f"{self._prefix}{window}:{bucket}".encode("utf-8", "surrogatepass")
        self._waiting.append(_Hit(key, int(limit), int(window), loop.time(), answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        allowance: Allowance | None = await answer
        return allowance

    async def close(self) -> None:
        """Ends what it does by itself; whoever still waits is told that Redis is away."""
        await cancel_task(self._sender)
        # The sender may have tripped it meanwhile.
        await self._breaker.end()
        self._tell_that_redis_is_away(self._waiting)

    async def _send(self) -> None:
        batch: list[_Hit] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                for hit, allowance in zip(batch, await self._ask(batch, batch[0].came_at + HIT_SECONDS), strict=True):
                    _settle(hit, allowance)
        except Exception as exc:  # noqa: BLE001 - whatever its client raises, no request fails for it
            self._breaker.trip(exc)
        finally:
            self._sender = None
            self._tell_that_redis_is_away([*batch, *self._waiting])

    def _tell_that_redis_is_away(self, hits: list[_Hit]) -> None:
        self._waiting = []
        for hit in hits:
            _settle(hit, None)

    async def _failure(self) -> Exception | None:
        """Why Redis does not count a hit in a bucket of nobody's; None when it does."""
        loop = asyncio.get_running_loop()
        hit = _Hit(f"{self._prefix}probe".encode(), 1, 1, loop.time(), loop.create_future())
        try:
            await self._ask([hit], hit.came_at + CONNECT_SECONDS)
        except Exception as exc:  # noqa: BLE001 - as above
            return exc
        return None

    async def _ask(self, batch: list[_Hit], deadline: float) -> list[Allowance]:
        """What Redis says to each hit; raises what its client raises, or TimeoutError."""
        frozen = frozen_epoch()
        values: list[Any] = ["" if frozen is None else round(frozen * 1_000_000)]
        for hit in batch:
            values += (min(hit.limit, MOST), min(hit.window, MOST))
        keys = [hit.key for hit in batch]
        async with _patience_until(deadline):
            try:
                told = await self._redis.evalsha(_SHA, len(keys), *keys, *values)
            except NoScriptError:
                # Redis has started anew.
                told = await self._redis.eval(HIT, len(keys), *keys, *values)
        return [
            Allowance(told[at] == 1, hit.limit, hit.window, told[at + 1], told[at + 2] / 1_000_000)
            for at, hit in zip(range(0, 3 * len(batch), 3), batch, strict=True)
        ]


def _settle(hit: _Hit, allowance: Allowance | None) -> None:
    if not hit.answer.done():  # whoever waited may have left
        hit.answer.set_result(allowance)


@asynccontextmanager
async def _patience_until(deadline: float) -> AsyncIterator[None]:
    """Raises TimeoutError out of its block at an instant of the event loop's clock, and not before LEAST_TURNS."""
    loop = asyncio.get_running_loop()
    turns = 0
    timer: asyncio.TimerHandle

    def turn() -> None:
        nonlocal turns, timer
        turns += 1
        if turns >= LEAST_TURNS:
            limit.reschedule(max(deadline, loop.time()))
        else:
            timer = loop.call_later(TURN_SECONDS, turn)

    async with asyncio.timeout(None) as limit:
        timer = loop.call_later(TURN_SECONDS, turn)
        try:
            yield
        finally:
            timer.cancel()
