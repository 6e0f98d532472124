"""Claims for one queue: as many as there are free places, woken by a signal, patient while the queue is away."""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from app_kernel.core.errors import Unavailable
from app_kernel.jobs.queues.backend import Backend, reason_of
from app_kernel.jobs.records import JobRow, Outcome

POLL_SECONDS = 1.0
"""How long a lost signal delays a job."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 2.0
"""Between tries while the queue is away."""
MOST_AT_ONCE = 100

J = TypeVar("J")

_log = logging.getLogger("app_kernel.jobs")


class Fetcher(Generic[J]):
    """Hands claimed jobs to those who wait for one."""

    def __init__(
        self,
        backend: Backend,
        queue: str,
        begin: Callable[[JobRow], J],
        give_back: Callable[[J], Awaitable[None]],
    ) -> None:
        self._backend = backend
        self._queue = queue
        self._begin = begin
        self._give_back = give_back
        self._refused: set[asyncio.Task[None]] = set()
        self._worker = f"{socket.gethostname()}:{os.getpid()}"
        self._waiting: deque[asyncio.Future[J | None]] = deque()
        self._kept: deque[J] = deque()
        """Claimed for places that are about to ask."""
        self._turning: asyncio.Future[None] | None = None
        self._has_more = False
        """Whether the latest claim got all it asked for, so that there may be more."""
        self._wanted = asyncio.Event()
        self._woken = asyncio.Event()
        self._stopped = False
        self._task: asyncio.Task[None] | None = None
        self.trouble = ""
        """What failed with the latest claim, where that is not only that the queue is away."""

    async def next(self) -> J | None:
        """The next job; None once stopped."""
        if self._stopped:
            return None
        if self._kept:
            return self._kept.popleft()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"jobs-fetch-{self._queue}")
        waiter: asyncio.Future[J | None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self._wanted.set()
        try:
            return await waiter
        except asyncio.CancelledError:
            job = waiter.result() if waiter.done() and not waiter.cancelled() else None
            if job is not None:
                self._refuse(job)
            raise

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        """As `Backend.settle`; the places that this frees get their next jobs by the same step, where there are some.

        So a place never holds two, and a worker that is busy writes half as often.
        """
        if self._stopped or not self._has_more or self._free():
            return await self._backend.settle(outcomes)
        self._has_more = False
        limit = min(len(outcomes), MOST_AT_ONCE)
        turning = self._turning = asyncio.get_running_loop().create_future()
        try:
            accepted, claims = await self._backend.turn(outcomes, self._queue, limit, self._worker)
            self._has_more = len(claims.jobs) >= limit
            for row in claims.jobs:
                # Somebody may wait for one by now.
                if self._free():
                    self._hand_out(row)
                else:
                    self._kept.append(self._begin(row))
        finally:
            turning.set_result(None)
        return accepted

    async def stop(self) -> None:
        """Gives None to whoever waits, after the claim that is under way."""
        self._stopped = True
        self._wanted.set()
        self._woken.set()
        under_way = [each for each in (self._task, self._turning) if each is not None]
        if under_way:
            await asyncio.wait(under_way)
        self._release()
        while self._kept:
            self._refuse(self._kept.popleft())
        if self._refused:
            await asyncio.wait(self._refused)

    def _release(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _free(self) -> int:
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        return len(self._waiting)

    async def _run(self) -> None:
        end = self._backend.on_wake(self._queue, self._woken.set)
        try:
            await self._fetch_until_stopped()
        finally:
            end()
            self._release()

    async def _fetch_until_stopped(self) -> None:
        failures = 0
        while not self._stopped:
            free = self._free()
            if not free:
                self._wanted.clear()
                await self._wanted.wait()
                continue
            self._woken.clear()
            try:
                claims = await self._backend.claim(self._queue, min(free, MOST_AT_ONCE), self._worker)
            except Exception as exc:  # noqa: BLE001 - whatever it was, the worker waits and tries again
                failures += 1
                await self._pause_after(exc, failures)
                continue
            if failures:
                _log.info("job_queue_back", extra={"queue": self._queue, "failures": failures})
                failures, self.trouble = 0, ""
            for row in claims.jobs:
                self._hand_out(row)
            self._has_more = len(claims.jobs) >= min(free, MOST_AT_ONCE)
            if not self._has_more:
                await self._wait(claims.next_due)

    def _hand_out(self, row: JobRow) -> None:
        job = self._begin(row)
        while self._waiting and not self._stopped:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(job)
                return
        # Whoever wanted it was cancelled meanwhile, or the worker stops and begins nothing more.
        self._refuse(job)

    def _refuse(self, job: J) -> None:
        """Gives a job back that nobody here runs."""
        task = asyncio.ensure_future(self._give_back(job))
        self._refused.add(task)
        task.add_done_callback(self._refused.discard)

    async def _wait(self, next_due: float | None) -> None:
        seconds = POLL_SECONDS if next_due is None else min(POLL_SECONDS, max(next_due, 0.0) + 0.001)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    async def _pause_after(self, exc: Exception, failures: int) -> None:
        if not isinstance(exc, Unavailable):
            self.trouble = f"claiming from {self._queue} fails: {type(exc).__name__}"
        if failures == 1:
            told = {"queue": self._queue, "reason": reason_of(exc)}
            _log.warning("job_queue_away", extra=told, exc_info=None if isinstance(exc, Unavailable) else exc)
        seconds = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._stopped:
                    self._woken.clear()
                    await self._woken.wait()
