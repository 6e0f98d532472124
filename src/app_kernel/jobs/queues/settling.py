"""Ends of attempts: those of one moment travel together, and none is forgotten while the queue is away."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol, TypeAlias

from app_kernel.core.errors import Unavailable
from app_kernel.jobs.queues.backend import Backend, reason_of
from app_kernel.jobs.records import Outcome

MOST_AT_ONCE = 128
LONGEST_BATCH = 2_000_000
"""Characters of results with which no further end is added: what takes long to send might never arrive."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0

_log = logging.getLogger("app_kernel.jobs")


class Refill(Protocol):
    """What claims jobs for the places that become free."""

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        """As `Backend.settle`, for attempts of its own queue."""


End: TypeAlias = tuple[Outcome, "asyncio.Future[bool]", Refill | None]
"""An outcome, who waits for it to be kept, and whose place it frees."""


class Settler:
    """Settles for all queues of a worker process."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiting: list[End] = []
        self._task: asyncio.Task[None] | None = None

    async def settle(self, outcome: Outcome, refill: Refill | None = None) -> bool:
        """Whether the attempt still counted; returns when that is kept, however long the queue is away.

        With `refill`, whose place becomes free by it may get its next job on the same way.
        """
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((outcome, told, refill))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="jobs-settle")
        # The end stands also when whoever waits for it is stopped meanwhile.
        return await asyncio.shield(told)

    async def stop(self, seconds: float) -> None:
        """Waits for what is under way, and gives up on a queue that stays away: its jobs run again elsewhere."""
        if self._task is not None and not self._task.done():
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        try:
            while self._waiting:
                count = _batch_of(self._waiting)
                batch, self._waiting = self._waiting[:count], self._waiting[count:]
                await self._settle(batch)
        finally:
            for _, told, _ in self._waiting:
                told.cancel()

    async def _settle(self, batch: list[End]) -> None:
        refills = {refill for _, _, refill in batch}
        # One way leads to one queue.
        backend: Refill = (refills.pop() if len(refills) == 1 else None) or self._backend
        try:
            accepted = await self._accepted(backend, [outcome for outcome, _, _ in batch])
        except BaseException as exc:
            if isinstance(exc, Exception) and len(batch) > 1:
                # One of them cannot be written; the others must not suffer for it.
                for each in batch:
                    await self._settle([each])
                return
            self._tell_failure(batch, exc)
            if not isinstance(exc, Exception):
                raise
            return
        for outcome, told, _ in batch:
            if not told.done():
                told.set_result(outcome.id in accepted)

    async def _accepted(self, backend: Refill, outcomes: list[Outcome]) -> set[str]:
        failures = 0
        while True:
            try:
                return await backend.settle(outcomes)
            except Unavailable as exc:
                failures += 1
                if failures == 1:
                    _log.warning("job_settle_waits", extra={"reason": reason_of(exc)})
                await asyncio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10)))

    def _tell_failure(self, batch: list[End], exc: BaseException) -> None:
        """Nobody knows how they ended, so they run again."""
        _log.error("job_settle_failed", extra={"jobs": [each.id for each, _, _ in batch]}, exc_info=exc)
        for _, told, _ in batch:
            if not told.done():
                told.set_result(False)


def _batch_of(waiting: Sequence[End]) -> int:
    """How many of those that wait to send at once."""
    size = 0
    for count, (outcome, _, _) in enumerate(waiting[:MOST_AT_ONCE]):
        size += len(outcome.result or "") + sum(len(job.body) for job in outcome.followups)
        if count and size > LONGEST_BATCH:
            return count
    return min(len(waiting), MOST_AT_ONCE)
