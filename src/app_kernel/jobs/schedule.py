"""Tasks with a schedule: the next run of each is always enqueued already, under an id that says when it is.

So many workers agree without talking to each other, and a time that passes while none is there is made up for, once.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime

from app_kernel.core import clock
from app_kernel.core.errors import Unavailable
from app_kernel.core.jobs import Task
from app_kernel.jobs.cron import next_time
from app_kernel.jobs.queues.backend import Backend, reason_of
from app_kernel.jobs.records import Body, NewJob

LONGEST_SLEEP = 20.0
"""Between two looks, because a clock may jump."""
RETRY_SECONDS = 1.0

_log = logging.getLogger("app_kernel.jobs")


class Schedule:
    """Enqueues the next run of each task with a schedule."""

    def __init__(self, backend: Backend, tasks: Mapping[str, Task]) -> None:
        self._backend = backend
        self._tasks = {name: task for name, task in tasks.items() if task.cron is not None}

    async def run(self) -> None:
        """Until it is cancelled; does nothing where no task has a schedule."""
        told = False
        while self._tasks:
            try:
                seconds = await self.look()
                told = False
            except Exception as exc:  # noqa: BLE001 - it is tried again, and no other run is to be missed for it
                if not told:
                    shown = None if isinstance(exc, Unavailable) else exc
                    reason = reason_of(exc)
                    _log.warning("job_schedule_waits", extra={"reason": reason}, exc_info=shown)
                told = True
                seconds = RETRY_SECONDS
            await asyncio.sleep(seconds)

    async def look(self) -> float:
        """Enqueues what is to be enqueued; in how many seconds to look again."""
        now = clock.now()
        times = {name: next_time(task.cron or "", task.timezone, now) for name, task in self._tasks.items()}
        # Each time, as the queue may have been emptied; what is there already stays as it is.
        await self._backend.enqueue([_job(name, self._tasks[name], at) for name, at in times.items()])
        seconds = min((at - now).total_seconds() for at in times.values())
        return max(0.01, min(seconds + 0.01, LONGEST_SLEEP))

    async def make_up(self, since: datetime) -> None:
        """Enqueues once what came up after `since`: what is there after a time without any worker."""
        now = clock.now()
        times = {name: next_time(task.cron or "", task.timezone, since) for name, task in self._tasks.items()}
        due = [_job(name, self._tasks[name], at) for name, at in times.items() if at <= now]
        if due:
            await self._backend.enqueue(due)


def _job(name: str, task: Task, at: datetime) -> NewJob:
    seconds = int(at.timestamp())
    return NewJob(
        id=f"cron:{name}:{seconds}",
        queue=task.queue,
        task=name,
        body=Body(cron=f"{task.cron} {task.timezone}", metadata={"scheduled_for": clock.to_text(at)}).text(),
        rank=-task.priority,
        due=float(seconds),
        max_attempts=task.max_attempts,
    )
