"""From a transaction of the app database to a queue in Redis: the job leaves with the commit, through the outbox.

It is remembered in the app database until it is known to be finished, so a Redis that loses its data loses no such job.
"""

import asyncio
import logging
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import orjson

from app_kernel.core import clock
from app_kernel.core.errors import Unavailable
from app_kernel.core.jobs import FINISHED, JOB_TOPIC
from app_kernel.core.outbox import Message
from app_kernel.core.ports import Lease, Statements
from app_kernel.core.sql_words import insert_once
from app_kernel.jobs.queues.backend import reason_of
from app_kernel.jobs.queues.redis import RedisBackend
from app_kernel.jobs.records import NewJob

LEASE = "jobs-handover"
LOOK_SECONDS = 2.0
PAGE = 500
PAGE_SECONDS = 0.2
"""Between two pages: a long queue is looked through at leisure."""

_TABLE = "kernel_job_handovers"
_KEEP = "INSERT INTO [kernel_job_handovers] ([id], [body], [sent_at]) VALUES (?, ?, ?)"
_PAGE_AFTER = "SELECT [seq], [id] FROM [kernel_job_handovers] WHERE [seq] > ? ORDER BY [seq] LIMIT ?"
_BODY = "SELECT [body] FROM [kernel_job_handovers] WHERE [id] = ?"
_FORGET = "DELETE FROM [kernel_job_handovers] WHERE [id] = ?"
_COUNT = "SELECT COUNT(*) FROM [kernel_job_handovers]"

_log = logging.getLogger("app_kernel.jobs")


def message_of(job: NewJob) -> Message:
    """A job on its way out of a transaction."""
    return Message(topic=JOB_TOPIC, body=asdict(job))


async def hand_over(statements: Statements, backend: RedisBackend, messages: Sequence[Message]) -> None:
    """Puts jobs into Redis and remembers them, inside the relay's transaction; raises Unavailable while Redis is away.

    When the transaction fails after all, the messages come again, and Redis knows the jobs by their ids.
    """
    jobs = [NewJob(**{**message.body, "handed": True}) for message in messages]
    keeping = _KEEP + insert_once(statements.backend, _TABLE, "id")

    def keep() -> Generator[tuple[str, Sequence[Any]], Any, None]:
        now = clock.epoch()
        for job in jobs:
            yield keeping, (job.id, orjson.dumps(asdict(job)).decode(), now)

    await statements.write(keep)
    enqueued = await backend.enqueue(jobs)
    # An unfinished job with the unique key stands for these: Redis will never know them.
    others = [job.id for job, there in zip(jobs, enqueued, strict=True) if there.id != job.id]

    def drop() -> Generator[tuple[str, Sequence[Any]], Any, None]:
        for id in others:
            yield _FORGET, (id,)

    if others:
        await statements.write(drop)


class Handovers:
    """Looks after the jobs that the app database remembers: forgets the finished, enqueues again what Redis lost."""

    def __init__(self, statements: Statements, backend: RedisBackend) -> None:
        self._db = statements
        self._backend = backend
        self._after = 0

    async def outstanding(self) -> int:
        """Jobs that are not known to be finished."""
        return int((await self._db.fetch(_COUNT))[0][0])

    async def run(self) -> None:
        """Until it is cancelled; in one process of all at a time."""
        lease: Lease | None = None
        told = False
        try:
            while True:
                try:
                    if lease is None:
                        lease = await self._db.acquire_lease(LEASE)
                    elif not await lease.renew():
                        lease = None
                    more = await self.look() if lease is not None else False
                    told = False
                except Exception as exc:  # noqa: BLE001 - it is tried again, and nothing is forgotten meanwhile
                    if not told:
                        shown = None if isinstance(exc, Unavailable) else exc
                        reason = reason_of(exc)
                        _log.warning("job_handover_waits", extra={"reason": reason}, exc_info=shown)
                    told, more = True, False
                await asyncio.sleep(PAGE_SECONDS if more else LOOK_SECONDS)
        finally:
            if lease is not None:
                with suppress(asyncio.CancelledError):
                    await asyncio.shield(asyncio.ensure_future(lease.release()))

    async def look(self) -> bool:
        """Looks at one page; whether the next one should be looked at soon."""
        rows = await self._db.fetch(_PAGE_AFTER, (self._after, PAGE))
        self._after = int(rows[-1][0]) if len(rows) == PAGE else 0
        if not rows:
            return False
        statuses = await self._backend.statuses([str(row[1]) for row in rows])
        lost = [str(row[1]) for row in rows if row[1] not in statuses]
        if lost:
            await self._enqueue_again(lost)
        await self._forget([id for id, status in statuses.items() if status in FINISHED])
        return bool(self._after)

    async def _enqueue_again(self, ids: Sequence[str]) -> None:
        others = []
        # One by one: a body may have a megabyte.
        for id in ids:
            for row in await self._db.fetch(_BODY, (id,)):
                (there,) = await self._backend.enqueue([NewJob(**{**orjson.loads(row[0]), "handed": True})])
                others += [id] if there.id != id else []
        if len(others) < len(ids):
            reason = "Redis did not know them any more: it lost its data"
            _log.error("jobs_enqueued_again", extra={"count": len(ids) - len(others), "reason": reason})
        # An unfinished job with the unique key stands for them.
        await self._forget(others)

    async def _forget(self, ids: Sequence[str]) -> None:
        if not ids:
            return

        def forget() -> Generator[tuple[str, Sequence[Any]], Any, None]:
            for id in ids:
                yield _FORGET, (id,)

        await self._db.write(forget)
        await self._backend.forget_handed(ids)
