"""Jobs in Redis: scripts that are one step each, and a channel by which those who wait are woken."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app_kernel.core import clock
from app_kernel.core.errors import JobConflict, QueueUnavailable
from app_kernel.core.jobs import DEAD_TTL, JobFigures, Status
from app_kernel.jobs.queues import scripts
from app_kernel.jobs.queues.backend import PRUNED_AT_ONCE, Backend
from app_kernel.jobs.records import Claims, Enqueued, JobFilter, JobRow, NewJob, Outcome

if TYPE_CHECKING:
    from redis.asyncio import Redis

LISTEN_SECONDS = 5.0
RECONNECT_SECONDS = (0.1, 2.0)
ANSWER_SECONDS = 5.0
"""How long a script may take, the wait for a connection included."""
_PAGE = 200
_AWAY = (
    "OOM",
    "MISCONF",
    "READONLY",
    "LOADING",
    "BUSY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "NOREPLICAS",
    "NOAUTH",
    "WRONGPASS",
)
"""Answers by which Redis says that it cannot now."""

_log = logging.getLogger("app_kernel.jobs")


class RedisBackend(Backend):
    """All queues of one service, whose keys begin with the id of its database."""

    def __init__(self, redis: "Redis", database_id: str) -> None:
        self._redis = redis
        self._prefix = f"app_kernel:jobs:{{{database_id}}}:"
        self._scripts = {
            name: redis.register_script(getattr(scripts, name))
            for name in (
                "ENQUEUE", "CLAIM", "UNCLAIM", "SETTLE", "BEAT", "RUNNING", "REPORT", "CANCEL", "RETRY", "PAUSE",
                "PRUNE", "FORGET_HANDED", "FIGURES", "FIND", "GET",
            )
        }  # fmt: skip
        self._callbacks: dict[str, list[Callable[[], object]]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._unsure: set[str] = set()
        """Tokens of claims of whose end nobody heard."""
        self._has_mark = False

    async def open(self) -> None:
        """Needs no answer: a service may start before Redis does."""
        with suppress(QueueUnavailable):
            await self.look()

    async def close(self) -> None:
        self._callbacks.clear()
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
            self._listener = None

    def describe(self) -> str:
        given = self._redis.connection_pool.connection_kwargs
        place = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
        return f"redis {place}/{given.get('db', 0)}"

    async def enqueue(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        rows = await self._run("ENQUEUE", *(value for job in jobs for value in _arguments(job)))
        return [
            Enqueued(_text(id), _text(queue), _text(task), _status(status), is_new=bool(is_new))
            for id, queue, task, status, is_new in rows
        ]

    async def claim(self, queue: str, limit: int, worker: str) -> Claims:
        for unsure in tuple(self._unsure):
            await self._run("UNCLAIM", unsure)
            self._unsure.discard(unsure)
        token = clock.new_id()
        try:
            soon, *rows = await self._run("CLAIM", queue, limit, token, worker)
        except QueueUnavailable:
            self._unsure.add(token)
            raise
        jobs = []
        for row in rows:
            if len(row) == 1:
                _log.error(
                    "job_malformed", extra={"job_id": _text(row[0]), "reason": "no job has this id; it is put aside"}
                )
            else:
                jobs.append(_job_row(row))
        return Claims(jobs, None if soon < 0 else soon / 1000)

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        given: list[Any] = []
        for each in outcomes:
            ttl = "" if each.ttl is None else _milliseconds(each.ttl)
            given += (each.id, each.token, each.status, _milliseconds(each.delay), each.count, each.result or "")
            given += (each.error or "", ttl, len(each.followups))
            given += (value for job in each.followups for value in _arguments(job))
        return {_text(id) for id in await self._run("SETTLE", *given)}

    async def beat(self, held: Sequence[tuple[str, str]]) -> dict[str, bool]:
        if not held:
            return {}
        rows = await self._run("BEAT", *(value for pair in held for value in pair))
        return {_text(id): bool(cancel) for id, cancel in rows}

    async def running(self) -> list[tuple[str, str, int]]:
        found = []
        for id, value in await self._run("RUNNING"):
            token, _, beat = _text(value).partition(" ")
            found.append((_text(id), token, int(beat) if beat.isdigit() else 0))
        return found

    async def report(self, id: str, token: str, progress: float, text: str | None) -> bool:
        return bool(await self._run("REPORT", id, token, progress, text or ""))

    async def get(self, id: str) -> JobRow | None:
        row = await self._run("GET", id)
        return None if row[0] is None else _job_row(row)

    async def find(self, wanted: JobFilter) -> list[JobRow]:
        source = "all"
        if wanted.user_id is not None:
            source = f"user:{wanted.user_id}"
        elif wanted.status == "dead" and wanted.queue is not None:
            source = f"dead:{wanted.queue}"
        found: list[JobRow] = []
        at = 0
        while len(found) < wanted.limit:
            rows = await self._run("FIND", source, at, _PAGE, wanted.before or "")
            found += (
                row for row in map(_job_row, (row for row in rows if row[3] is not None)) if _is_wanted(row, wanted)
            )
            at += _PAGE
            if len(rows) < _PAGE:
                break
        return found[: wanted.limit]

    async def cancel(self, id: str) -> Status | None:
        status = await self._run("CANCEL", id, _milliseconds(DEAD_TTL))
        return None if not status else _status(status)

    async def retry(self, id: str) -> Status | None:
        done = await self._run("RETRY", id)
        if done < 0:
            raise JobConflict("Another unfinished job has the unique key of this one.")
        return "queued" if done else None

    async def pause(self, queue: str, paused: bool) -> None:
        await self._run("PAUSE", queue, int(paused))

    async def prune(self) -> int:
        return int(await self._run("PRUNE", PRUNED_AT_ONCE))

    async def figures(self) -> JobFigures:
        counted, oldest, paused = await self._run("FIGURES")
        counts = {}
        for queue, *numbers in counted:
            for status, number in zip(("queued", "scheduled", "running", "dead"), numbers, strict=True):
                if number:
                    counts[_text(queue), status] = int(number)
        seconds = {_text(queue): int(milliseconds) / 1000 for queue, milliseconds in oldest}
        return JobFigures(counts, seconds, tuple(sorted(map(_text, paused))))

    async def statuses(self, ids: Sequence[str]) -> Mapping[str, Status]:
        from redis.exceptions import RedisError  # noqa: PLC0415 - see _run

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                pipeline = self._redis.pipeline(transaction=False)
                for id in ids:
                    pipeline.hget(f"{self._prefix}job:{id}", "status")
                answers = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as exc:
            raise QueueUnavailable from exc
        return {id: _status(status) for id, status in zip(ids, answers, strict=True) if status is not None}

    async def forget_handed(self, ids: Sequence[str]) -> None:
        """Jobs that the app database need not remember any longer: from now on they are kept as long as any other."""
        await self._run("FORGET_HANDED", *ids)

    def on_wake(self, queue: str, callback: Callable[[], object]) -> Callable[[], None]:
        return self._listen_to(f"{self._prefix}wake:{queue}", callback)

    def on_cancel(self, callback: Callable[[], object]) -> Callable[[], None]:
        return self._listen_to(f"{self._prefix}cancel", callback)

    async def look(self) -> None:
        """Leaves a mark in Redis, and says so when it is gone: then Redis was emptied, and with it every queue."""
        was_there = bool(await self._command("exists", f"{self._prefix}mark"))
        if not was_there:
            if self._has_mark:
                _log.error(
                    "job_queue_lost",
                    extra={
                        "reason": "Redis lost its data: jobs enqueued outside of transactions are gone; those that"
                        " left a transaction are enqueued again"
                    },
                )
            await self._command("set", f"{self._prefix}mark", clock.timestamp())
        if not self._has_mark:
            await self._warn_of_settings()
        self._has_mark = True

    async def _warn_of_settings(self) -> None:
        """Says at start whether this Redis may lose jobs by its own settings."""
        found = {**await self._command("info", "memory"), **await self._command("info", "persistence")}
        policy = str(found.get("maxmemory_policy", ""))
        if policy not in ("", "noeviction"):
            _log.warning("redis_may_evict_jobs", extra={"maxmemory_policy": policy, "use": "noeviction"})
        if not found.get("aof_enabled"):
            reason = "without appendonly a restart of Redis forgets jobs that were enqueued outside of transactions"
            _log.warning("redis_may_forget_jobs", extra={"reason": reason, "use": "appendonly yes"})

    def _listen_to(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        self._callbacks.setdefault(channel, []).append(callback)
        self._changed.set()
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._listen(), name="jobs-listener")

        def end() -> None:
            listening = self._callbacks.get(channel, [])
            if callback in listening:
                listening.remove(callback)

        return end

    async def _listen(self) -> None:
        from redis.exceptions import RedisError  # noqa: PLC0415 - see _run

        pause, longest = RECONNECT_SECONDS
        while True:
            pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
            try:
                await self._hear(pubsub)
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
            finally:
                with suppress(RedisError, OSError, TimeoutError):
                    await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py has no type there

    async def _hear(self, pubsub: Any) -> None:
        while True:
            if self._changed.is_set():
                self._changed.clear()
                await pubsub.subscribe(*self._callbacks)
                # What was said while nobody listened.
                for channel in tuple(self._callbacks):
                    self._call(channel)
            message = await pubsub.get_message(timeout=LISTEN_SECONDS if not self._changed.is_set() else 0)
            if message is not None:
                self._call(_text(message["channel"]))

    def _call(self, channel: str) -> None:
        for callback in tuple(self._callbacks.get(channel, ())):
            callback()

    async def _run(self, name: str, *given: Any) -> Any:
        """The answer of a script; raises QueueUnavailable."""
        # The package need not be there where there is no Redis.
        from redis.exceptions import RedisError, ResponseError  # noqa: PLC0415

        now = clock.frozen_epoch()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._scripts[name](
                    keys=[self._prefix], args=["" if now is None else _milliseconds(now), *given]
                )
        except ResponseError as exc:
            if str(exc).startswith(_AWAY) or any(f" {word} " in str(exc) for word in _AWAY):
                raise QueueUnavailable(f"Redis refuses jobs now: {str(exc)[:200]}") from exc
            raise
        except (RedisError, OSError, TimeoutError) as exc:
            raise QueueUnavailable from exc

    async def _command(self, name: str, *given: Any) -> Any:
        from redis.exceptions import RedisError  # noqa: PLC0415 - see _run

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await getattr(self._redis, name)(*given)
        except (RedisError, OSError, TimeoutError) as exc:
            raise QueueUnavailable from exc


def _arguments(job: NewJob) -> tuple[Any, ...]:
    """As `add` in the scripts reads them."""
    due = "" if job.due is None else _milliseconds(job.due)
    return (
        job.id, job.queue, job.task, job.rank, due, _milliseconds(job.delay), job.unique_key or "", job.user_id or "",
        job.workspace_id or "", job.max_attempts, job.body, int(job.handed),
    )  # fmt: skip


def _is_wanted(row: JobRow, wanted: JobFilter) -> bool:
    pairs = ((wanted.status, row.status), (wanted.queue, row.queue), (wanted.task, row.task))
    return all(asked is None or asked == value for asked, value in pairs)


def _job_row(row: Sequence[Any]) -> JobRow:
    """A row of a script; a field that somebody wrote by hand and that is no number counts as 0."""
    given = [None if value is None else _text(value) for value in row]
    return JobRow(
        id=given[0] or "", queue=given[1] or "", task=given[2] or "", status=_status(given[3] or "dead"),
        rank=int(_number(given[4])), due=_number(given[5]) / 1000, body=given[6] or "", unique_key=given[7],
        user_id=given[8], workspace_id=given[9], attempts=int(_number(given[10])),
        max_attempts=int(_number(given[11])), enqueued_at=_number(given[12]) / 1000, started_at=_instant(given[13]),
        finished_at=_instant(given[14]), token=given[15], cancel=given[16] == "1", progress=_number(given[17]),
        progress_text=given[18], result=given[19], error=given[20],
    )  # fmt: skip


def _instant(text: str | None) -> float | None:
    return None if text is None else _number(text) / 1000


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _milliseconds(seconds: float) -> int:
    # Upwards, so that nothing is early.
    return -int(-seconds * 1000 // 1)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _status(value: Any) -> Status:
    status: Status = _text(value)  # type: ignore[assignment]  # the scripts write no other
    return status
