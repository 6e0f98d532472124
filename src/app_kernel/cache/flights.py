"""One computation of a value for all who want it at the same time in this process."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar

from app_kernel.cache.invalidations import Invalidation
from app_kernel.cache.keys import matcher
from app_kernel.core.cancellation import cancel_tasks

_flying: ContextVar["Flight | None"] = ContextVar("app_kernel_cache_flight", default=None)
"""The computation that the running code is a part of."""


class Flight:
    """A computation under way, in a task of its own, so that a caller who leaves takes it from nobody else."""

    def __init__(self, key: str, shape: str, tags: tuple[str, ...], token: str | None) -> None:
        self.key = key
        self.shape = shape
        self.tags = tags
        self.token = token
        """Of its lease in Redis; None without one."""
        self.is_void = False
        """Whether what it computes was taken away meanwhile, so that it must not be kept."""
        self.waits_for: set[Flight] = set()
        self.passengers = 0
        self.task: asyncio.Task[bytes] | None = None
        self.alarm: asyncio.TimerHandle | None = None
        """What is due while it is under way."""

    def would_wait_for(self, other: "Flight") -> bool:
        """Whether `other` could never end if this one waited for it."""
        waiting, seen = [other], set()
        while waiting:
            flight = waiting.pop()
            if flight is self:
                return True
            if flight not in seen:
                seen.add(flight)
                waiting.extend(flight.waits_for)
        return False


class Flights:
    """The computations of one service in one process, by key."""

    def __init__(self) -> None:
        self._by_key: dict[str, Flight] = {}
        self._all: set[Flight] = set()

    def __iter__(self) -> Iterator[Flight]:
        return iter(tuple(self._all))

    def find(self, key: str) -> Flight | None:
        """The computation that newcomers may join; None when there is none."""
        return self._by_key.get(key)

    def start(self, flight: Flight, compute: Callable[[], Awaitable[bytes]]) -> Flight:
        """Begins a computation, in the context of the running code; newcomers join it from now on."""

        async def fly() -> bytes:
            _flying.set(flight)
            return await compute()

        flight.task = asyncio.create_task(fly())
        before = self._by_key.get(flight.key)
        if before is not None:
            # It began earlier, so it may know less.
            before.is_void = True
        self._by_key[flight.key] = flight
        self._all.add(flight)
        flight.task.add_done_callback(lambda task: self._land(flight, task))
        return flight

    async def join(self, flight: Flight) -> bytes | None:
        """What it comes to, or raises what it raised; None when waiting for it would never end, or it was ended."""
        own, task = _flying.get(), flight.task
        if task is None or (own is not None and own.would_wait_for(flight)):
            return None
        if own is not None:
            own.waits_for.add(flight)
        flight.passengers += 1
        try:
            await asyncio.wait((task,))
        finally:
            flight.passengers -= 1
            if own is not None:
                own.waits_for.discard(flight)
            if not flight.passengers and not task.done():
                self._leave(flight)
                task.cancel()
        return None if task.cancelled() else task.result()

    def drop(self, invalidation: Invalidation) -> None:
        """Keeps what an invalidation concerns from being kept, and newcomers from joining it."""
        if not self._all:
            return
        kind, name = invalidation
        fits = matcher(name) if kind == "pattern" else None
        for flight in tuple(self._all):
            if (
                kind == "all"
                or (kind == "key" and flight.key == name)
                or (kind == "tag" and name in flight.tags)
                or (fits is not None and fits(flight.key))
            ):
                flight.is_void = True
                self._leave(flight)

    async def end(self) -> None:
        """Cancels what is under way."""
        await cancel_tasks([flight.task for flight in self._all if flight.task is not None])

    def _leave(self, flight: Flight) -> None:
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]

    def _land(self, flight: Flight, task: "asyncio.Task[bytes]") -> None:
        self._leave(flight)
        self._all.discard(flight)
        if flight.alarm is not None:
            flight.alarm.cancel()
        if not task.cancelled():
            task.exception()  # Whoever waited has it; when all have left, nobody misses it.
