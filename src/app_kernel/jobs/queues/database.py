"""Jobs as rows of the app database, SQLite or PostgreSQL: an enqueue in a transaction is a row of it."""

import asyncio
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import ConfigurationError, JobConflict, Unavailable, UniqueViolation
from app_kernel.core.jobs import DEAD_TTL, UNFINISHED, JobFigures, Status
from app_kernel.core.ports import Statements
from app_kernel.core.sql_words import MYSQL
from app_kernel.jobs.queues import statements as sql
from app_kernel.jobs.queues.backend import NEEDS_REDIS, PRUNED_AT_ONCE, Backend
from app_kernel.jobs.records import Claims, Enqueued, JobFilter, JobRow, NewJob, Outcome, as_number

LOOK_SECONDS = 1.0
"""Longest time between two looks at what is scheduled: others may have scheduled something, clocks may jump."""
HELD_SECONDS = 0.1
"""Until the next look at due jobs that somebody else's transaction holds."""
CANCELLED = "jobs.cancel"
_CONFLICT_TRIES = 5

Rows = Sequence[Sequence[Any]]
Work = Generator[tuple[str, Sequence[Any]], Any, Any]


async def ensure_tables(db: Statements) -> None:
    """Makes what the app database is to have for jobs, wherever they are kept."""
    tables = sql.TABLES[db.backend]
    found = await db.fetch(sql.FIND_TABLE[db.backend], tables)
    if int(found[0][0]) != len(tables):
        await db.define(sql.create(db.backend))


class DatabaseBackend(Backend):
    """Over the statements of an open database."""

    def __init__(self, statements: Statements, *, place: str = "") -> None:
        self._db = statements
        self._place = place
        self._unsure: set[str] = set()
        """Tokens of claims of whose end nobody heard."""
        self._looks: dict[str, float] = {}
        """By queue, when to look next for scheduled jobs that became due, on the monotonic clock."""

    async def open(self) -> None:
        if self._db.backend == MYSQL:
            raise ConfigurationError([NEEDS_REDIS])
        await ensure_tables(self._db)

    async def close(self) -> None:
        self._looks.clear()

    def describe(self) -> str:
        return f"{self._db.backend} {self._place}".strip()

    async def enqueue(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        enqueued: list[Enqueued] = await self._db.write(lambda: self._enqueue(jobs))
        queues = {job.queue for job in enqueued if job.is_new}
        self._db.after_commit(lambda: self._wake(queues))
        return enqueued

    async def claim(self, queue: str, limit: int, worker: str) -> Claims:
        next_due = await self._promote(queue)
        await self._unclaim()
        # A read costs SQLite next to nothing, and a write that finds nothing would wait for every other writer.
        if self._db.backend == "sqlite" and not await self._db.fetch(sql.IS_WAITING, (queue,)):
            return Claims((), next_due)
        token = clock.new_id()
        try:
            rows = await self._run(sql.CLAIM, token, worker, self._now(), queue, queue, limit)
        except Unavailable:
            self._unsure.add(token)
            raise
        return Claims(_in_order(rows), next_due)

    async def turn(self, outcomes: Sequence[Outcome], queue: str, limit: int, worker: str) -> tuple[set[str], Claims]:
        if any(each.followups for each in outcomes):
            return await super().turn(outcomes, queue, limit, worker)
        next_due = await self._promote(queue)
        await self._unclaim()
        token = clock.new_id()

        def work() -> Work:
            settled = yield self._settle(outcomes)
            claim = token, worker, self._now(), queue, queue, limit
            claimed = yield sql.spell(sql.CLAIM, self._db.backend), claim
            return settled, claimed

        try:
            settled, claimed = await self._db.write(work)
            accepted = {str(row[0]) for row in settled}
            accepted |= await self._settled_before(outcomes, accepted)
        except Unavailable:
            self._unsure.add(token)
            raise
        self._wake({each.queue for each in outcomes if each.status in ("scheduled", "queued")})
        return accepted, Claims(_in_order(claimed), next_due)

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        if not outcomes:
            return set()
        again = {each.queue for each in outcomes if each.status in ("scheduled", "queued")}
        if not any(outcome.followups for outcome in outcomes):
            statement, params = self._settle(outcomes)
            accepted = {str(row[0]) for row in await self._db.run(statement, params)}
            self._wake(again)
            return accepted | await self._settled_before(outcomes, accepted)

        def work() -> Work:
            rows = yield self._settle(outcomes)
            settled = {str(row[0]) for row in rows}
            followups = [job for each in outcomes if each.id in settled for job in each.followups]
            if followups:
                yield from self._enqueue(followups)
            return settled, {job.queue for job in followups}

        settled, queues = await self._db.write(work)
        self._wake(queues | again)
        accepted = set(settled)
        return accepted | await self._settled_before(outcomes, accepted)

    async def beat(self, held: Sequence[tuple[str, str]]) -> dict[str, bool]:
        if not held:
            return {}
        # In one order everywhere, so that no two statements wait for each other's rows.
        padded = _padded(sorted(held))
        params = [value for pair in padded for value in pair]
        rows = await self._db.run(sql.beat(len(padded), self._db.backend), params)
        return {str(row[0]): bool(row[1]) for row in rows}

    async def running(self) -> list[tuple[str, str, int]]:
        # In SQLite with the writers, whom one open transaction holds up: while no beat can be written, nobody is to
        # see that they stand still.
        read = self._db.run if self._db.backend == "sqlite" else self._db.fetch
        return [(str(row[0]), str(row[1]), int(row[2])) for row in await read(sql.RUNNING)]

    async def report(self, id: str, token: str, progress: float, text: str | None) -> bool:
        return bool(await self._db.run(sql.REPORT, (progress, text, id, token)))

    async def get(self, id: str) -> JobRow | None:
        rows = await self._db.fetch(sql.GET, (id,))
        return _job_row(rows[0]) if rows else None

    async def find(self, wanted: JobFilter) -> list[JobRow]:
        given = {"status": wanted.status, "queue": wanted.queue, "task": wanted.task, "user_id": wanted.user_id}
        chosen = {name: value for name, value in given.items() if value is not None}
        conditions = [f"[{name}] = ?" for name in chosen]
        params: list[Any] = list(chosen.values())
        if wanted.before is not None:
            # Of the same user: whether there is somebody else's job is nobody's business.
            owned = "" if wanted.user_id is None else " AND [user_id] = ?"
            conditions.append(f"[seq] < (SELECT [seq] FROM [kernel_jobs] WHERE [id] = ?{owned})")  # noqa: S608 - words
            params += [wanted.before] if wanted.user_id is None else [wanted.before, wanted.user_id]
        rows = await self._db.fetch(sql.find(tuple(conditions)), (*params, wanted.limit))
        return [_job_row(row) for row in rows]

    async def cancel(self, id: str) -> Status | None:
        status: Status | None = None
        # It may begin between the first statement and the second, and wait again after that.
        for _ in range(_CONFLICT_TRIES):
            if await self._run(sql.CANCEL_WAITING, self._now(), self._now(), DEAD_TTL, id):
                return "cancelled"
            if await self._db.run(sql.CANCEL_RUNNING, (id,)):
                self._db.after_commit(lambda: self._db.signal(CANCELLED))
                return "running"
            rows = await self._db.fetch(sql.STATUS, (id,))
            status = rows[0][0] if rows else None
            if status not in UNFINISHED:
                break
        return status

    async def retry(self, id: str) -> Status | None:
        try:
            rows = await self._run(sql.RETRY, self._now(), id)
        except UniqueViolation:
            raise JobConflict("Another unfinished job has the unique key of this one.") from None
        if not rows:
            return None
        self._db.after_commit(lambda: self._wake({str(rows[0][0])}))
        return "queued"

    async def pause(self, queue: str, paused: bool) -> None:
        await self._db.run(sql.PAUSE, (queue, int(paused)))
        self._db.after_commit(lambda: self._wake({queue}))

    async def prune(self) -> int:
        if not await self._fetch(sql.IS_EXPIRED, self._now()):
            return 0
        return len(await self._run(sql.PRUNE, self._now(), PRUNED_AT_ONCE))

    async def figures(self) -> JobFigures:
        counts = {
            (str(queue), str(status)): int(count) for queue, status, count in _three(await self._fetch(sql.COUNTS))
        }
        oldest = {str(row[0]): max(0.0, float(row[1])) for row in await self._fetch(sql.OLDEST, self._now())}
        paused = tuple(str(row[0]) for row in await self._db.fetch(sql.PAUSED))
        return JobFigures(counts, oldest, paused)

    def on_wake(self, queue: str, callback: Callable[[], object]) -> Callable[[], None]:
        def woken() -> None:
            # It may be about a job that was scheduled, for sooner than any known so far.
            self._looks.pop(queue, None)
            callback()

        return self._db.on_signal(_channel(queue), woken)

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        return self._db.on_signal(CANCELLED, callback)

    def _wake(self, queues: Iterable[str]) -> None:
        for queue in queues:
            self._looks.pop(queue, None)
            self._db.signal(_channel(queue))

    async def _unclaim(self) -> None:
        """Gives back what claims took of whose end nobody heard."""
        for unsure in tuple(self._unsure):
            await self._db.run(sql.UNCLAIM, (unsure,))
            self._unsure.discard(unsure)

    async def _settled_before(self, outcomes: Sequence[Outcome], accepted: set[str]) -> set[str]:
        """Those that a try had settled of whose end nobody heard."""
        asked = [each for each in outcomes if each.id not in accepted]
        # The time of one that was to wait may have come meanwhile.
        stands = {"scheduled": "queued"}
        return {
            each.id
            for each in asked
            if await self._db.fetch(
                sql.IS_SETTLED, (each.id, each.token, each.status, stands.get(each.status, each.status))
            )
        }

    async def _promote(self, queue: str) -> float | None:
        """Makes due jobs queued; in how many seconds to look again, None where nothing is scheduled."""
        now = time.monotonic()
        if clock.frozen_epoch() is None and (looks_at := self._looks.get(queue, 0.0)) > now:
            return looks_at - now
        self._looks[queue] = now + LOOK_SECONDS
        while (seconds := (await self._fetch(sql.NEXT_DUE, self._now(), queue))[0][0]) is not None and seconds <= 0:
            if not await self._run(sql.PROMOTE, queue, self._now()):
                # Others hold them: a worker that does the same now, or a transaction that may stay open for long.
                seconds = HELD_SECONDS
                break
            await asyncio.sleep(0)
        if seconds is not None and seconds < LOOK_SECONDS:
            self._looks[queue] = now + float(seconds)
        return None if seconds is None else float(seconds)

    def _enqueue(self, jobs: Sequence[NewJob]) -> Work:
        """Inserts what is not there yet; the jobs as they stand, in their order."""
        found: dict[str, Enqueued] = {}
        for at in range(0, len(jobs), sql.INSERT_CHUNK):
            chunk = jobs[at : at + sql.INSERT_CHUNK]
            waiting = list(chunk)
            # Whoever finishes between the insert that met it and the look at it is there no more, so it is tried again.
            for _ in range(_CONFLICT_TRIES):
                padded = _padded(waiting)
                params = [value for job in padded for value in self._inserted(job)]
                rows = yield sql.insert(len(padded), self._db.backend), params
                new = {str(row[0]) for row in rows}
                for job in waiting:
                    if job.id in new and job.id not in found:
                        found[job.id] = Enqueued(
                            job.id, job.queue, job.task, "scheduled" if job.waits else "queued", is_new=True
                        )
                waiting = [job for job in waiting if job.id not in found]
                for job in waiting:
                    rows = yield sql.FIND_EXISTING, (job.id, job.unique_key, job.id)
                    if rows:
                        id, queue, task, status = rows[0][:4]
                        found[job.id] = Enqueued(id, queue, task, status, is_new=False)
                waiting = [job for job in waiting if job.id not in found]
                if not waiting:
                    break
        return _answers(jobs, found)

    def _inserted(self, job: NewJob) -> tuple[Any, ...]:
        now, status = self._now(), "scheduled" if job.waits else "queued"
        return (
            job.id, job.queue, job.task, status, job.rank, job.due, now, job.delay, job.body, job.unique_key,
            job.user_id, job.workspace_id, job.max_attempts, now,
        )  # fmt: skip

    def _settle(self, outcomes: Sequence[Outcome]) -> tuple[str, list[Any]]:
        padded, now = _padded(sorted(outcomes, key=lambda each: each.id)), self._now()
        params: list[Any] = [now, now, now]
        for each in padded:
            params += (each.id, each.token, each.status, each.delay, each.count, each.result, each.error, each.ttl)
        return sql.settle(len(padded), self._db.backend), params

    def _now(self) -> float | None:
        """The parameter of `{now}`."""
        return clock.epoch() if self._db.backend == "sqlite" else clock.frozen_epoch()

    async def _fetch(self, statement: str, *params: Any) -> Rows:
        return await self._db.fetch(sql.spell(statement, self._db.backend), params)

    async def _run(self, statement: str, *params: Any) -> Rows:
        return await self._db.run(sql.spell(statement, self._db.backend), params)


def _answers(jobs: Sequence[NewJob], found: dict[str, Enqueued]) -> list[Enqueued]:
    """What became of each; of one that stands there several times, only the first can be new."""
    told: set[str] = set()
    answers = []
    for job in jobs:
        answer = found[job.id]
        answers.append(replace(answer, is_new=False) if job.id in told else answer)
        told.add(job.id)
    return answers


def _claim_order(row: Sequence[Any]) -> tuple[float, float, int]:
    return as_number(row[5]), as_number(row[6]), int(row[0])


def _channel(queue: str) -> str:
    return f"jobs:{queue}"


def _three(rows: Rows) -> list[tuple[Any, Any, Any]]:
    return [(row[0], row[1], row[2]) for row in rows]


def _in_order(rows: Rows) -> list[JobRow]:
    """Claimed jobs by rank, due time and order of arrival."""
    ordered = sorted((list(row[: len(sql.COLUMNS) + 1]) for row in rows), key=_claim_order)
    return [_job_row(row[1:]) for row in ordered]


def _padded(values: Sequence[Any]) -> list[Any]:
    """The values, the last one repeated up to a power of two: few lengths make few statements to prepare."""
    length = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (length - len(values))]


def _instant(value: Any) -> float | None:
    return None if value is None else as_number(value)


def _job_row(row: Sequence[Any]) -> JobRow:
    """A row as it is kept; SQLite holds anything in any column, if somebody writes it there."""
    values: list[Any] = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in row]
    return JobRow(
        id=values[0], queue=values[1], task=values[2], status=values[3], rank=int(as_number(values[4])),
        due=as_number(values[5]), body=values[6], unique_key=values[7], user_id=values[8], workspace_id=values[9],
        attempts=int(as_number(values[10])), max_attempts=int(as_number(values[11])),
        enqueued_at=as_number(values[12]), started_at=_instant(values[13]), finished_at=_instant(values[14]),
        token=values[15], cancel=bool(values[16]), progress=as_number(values[17]), progress_text=values[18],
        result=values[19], error=values[20],
    )  # fmt: skip
