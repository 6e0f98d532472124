"""What looks after jobs in a worker process: beats for those that run here, a search for those nobody beats for.

No clock is compared with another one. A job is lost when its beats were seen to stand still in several looks in a row;
so neither a jump of a clock, nor an outage of the queue, nor a worker that stood still itself makes one look dead.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app_kernel.core import clock
from app_kernel.core.errors import Unavailable
from app_kernel.core.events import JobFinished
from app_kernel.core.jobs import DEAD_TTL, Task
from app_kernel.jobs.ends import finished
from app_kernel.jobs.queues.backend import PRUNED_AT_ONCE, Backend, reason_of
from app_kernel.jobs.queues.base import UNKNOWN, Emit, KernelJob, followups, most_attempts
from app_kernel.jobs.queues.settling import Settler
from app_kernel.jobs.records import Body, JobRow, Outcome

if TYPE_CHECKING:
    from app_kernel.jobs.runner import QueueWorker

BEAT_SECONDS = 2.0
LOOK_SECONDS = 2.0
LOOKS = 5
"""Looks in which the beats of a job stood still, until it is lost: some 10 to 12 seconds after its worker died."""
LOOKS_FOR_OTHERS = 30
"""The same for a job whose task this worker does not know, so that one which knows it comes first."""
PRUNE_SECONDS = 5.0
LOST = "The worker that ran it is gone: it was killed, its machine ended, or it stood still for too long."

_log = logging.getLogger("app_kernel.jobs")


class Upkeep:
    """The loops of one worker process."""

    def __init__(
        self,
        backend: Backend,
        workers: "Mapping[str, QueueWorker]",
        tasks: dict[str, Task],
        emit: Emit,
        settler: Settler,
    ) -> None:
        self._backend = backend
        self._workers = workers
        self._tasks = tasks
        self._emit = emit
        self._settler = settler
        self._away: set[Callable[[], Awaitable[None]]] = set()
        """The loops for which the queue is away."""
        self._asked = asyncio.Event()
        """Somebody cancelled a running job."""
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}
        """By (id, token), the beats and in how many looks they stood still."""

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """To be run as tasks until they are cancelled."""
        return [
            self._beat_always(),
            self._search_always(),
            self._every(PRUNE_SECONDS, self._prune),
            self._every(PRUNE_SECONDS, self._backend.look),
        ]

    async def _beat_always(self) -> None:
        end = self._backend.on_cancel(self._asked.set)
        try:
            await self._every(BEAT_SECONDS, self._beat, wake=self._asked)
        finally:
            end()

    async def _search_always(self) -> None:
        await self._every(LOOK_SECONDS, self._search, failed=self._forget_looks)

    async def _every(
        self,
        seconds: float,
        work: Callable[[], Awaitable[None]],
        *,
        wake: asyncio.Event | None = None,
        failed: Callable[[], object] = lambda: None,
    ) -> None:
        """Works again and again; what fails is told once, until it works again."""
        told = False
        while True:
            pause = seconds * random.uniform(0.9, 1.0)  # noqa: S311 - keeps workers apart, hides nothing
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await (wake or asyncio.Event()).wait()
            if wake is not None:
                wake.clear()
            try:
                await work()
                told = False
                self._away.discard(work)
            except Exception as exc:  # noqa: BLE001 - it is tried again, and a worker outlives whatever it was
                failed()
                is_away = isinstance(exc, Unavailable)
                # One of the loops says it for all of them.
                if not told and not (is_away and self._away):
                    shown = None if is_away else exc
                    _log.warning("job_upkeep_waits", extra={"reason": reason_of(exc)}, exc_info=shown)
                told = True
                if is_away:
                    self._away.add(work)

    def _held(self) -> list[tuple["QueueWorker", KernelJob]]:
        return [(worker, job) for worker in self._workers.values() for job in worker.kernel_queue.held.values()]

    async def _beat(self) -> None:
        """Shows what runs here, and learns what was cancelled, or taken over while this process stood still."""
        held = self._held()
        if not held:
            return
        answers = await self._backend.beat([(job.key, job.row.token or "") for _, job in held])
        for worker, job in held:
            if job.outcome or worker.kernel_queue.held.get(job.key) is not job:
                continue
            cancel = answers.get(job.key)
            if cancel is None:
                worker.kernel_queue.forget(job)
            elif cancel and not job.cancelling:
                job.cancelling = True
                job.end_early()
            await self._write_down(job)

    async def _write_down(self, job: KernelJob) -> None:
        latest = job.ctx.latest if job.ctx is not None else None
        if latest is not None and job.ctx is not None:
            await self._backend.report(job.key, job.row.token or "", *latest)
            if job.ctx.latest is latest:
                job.ctx.latest = None

    def _forget_looks(self) -> None:
        # While nobody could look, nobody could beat either.
        self._seen = {}

    async def _search(self) -> None:
        own = {(job.key, job.row.token or "") for _, job in self._held()}
        seen: dict[tuple[str, str], tuple[int, int]] = {}
        for id, token, beats in await self._backend.running():
            before = self._seen.get((id, token))
            still = before[1] + 1 if before is not None and before[0] == beats else 0
            if still < LOOKS or (id, token) in own or not await self._is_rescued(id, token, still):
                seen[id, token] = (beats, still)
        self._seen = seen

    async def _is_rescued(self, id: str, token: str, looks: int) -> bool:
        try:
            return await self._rescue(id, token, looks)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 - one that cannot be ended must not keep the others from it
            if looks == LOOKS:
                _log.exception("job_not_rescued", extra={"job_id": id})
            return False

    async def _rescue(self, id: str, token: str, looks: int) -> bool:
        """Whether that is settled; it is not while a worker that knows the task may still come by."""
        row = await self._backend.get(id)
        if row is None or row.status != "running" or row.token != token:
            return True
        body, task = Body.read(row.body), self._tasks.get(row.task)
        if task is None and looks < LOOKS_FOR_OTHERS:
            # Who knows the task knows how often it may run.
            return False
        most = most_attempts(row, body, task)
        told = {"job_id": id, "task": row.task, "attempt": row.attempts, "max_attempts": most}
        if row.cancel:
            outcome = Outcome(id=id, token=token, queue=row.queue, status="cancelled", error=LOST, ttl=DEAD_TTL)
        elif row.attempts < most:
            outcome = Outcome(id=id, token=token, queue=row.queue, status="queued", error=LOST)
        else:
            after = followups(row, body, self._tasks, "dead", result=None, error=LOST)
            outcome = Outcome(
                id=id, token=token, queue=row.queue, status="dead", error=LOST, ttl=DEAD_TTL, followups=after
            )
        if id not in await self._backend.settle([outcome]):
            return True
        _log.warning("job_rescued", extra={**told, "outcome": outcome.status, "reason": LOST})
        if outcome.status in ("dead", "cancelled"):
            await self._emit(_finished(row, outcome.status, row.task if task is not None else UNKNOWN))
        return True

    async def _prune(self) -> None:
        while await self._backend.prune() >= PRUNED_AT_ONCE:
            pass


def _finished(row: JobRow, outcome: str, name: str) -> JobFinished:
    began = row.started_at or row.due
    ran = max(0.0, clock.epoch() - began)
    error = "WorkerLost" if outcome == "dead" else None
    return finished(row, Body.read(row.body), task_name=name, outcome=outcome, ran=ran, error=error)
