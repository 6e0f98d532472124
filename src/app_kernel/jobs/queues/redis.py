"""Jobs in Redis: scripts that are one step each, and a channel by which those who wait are woken."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from app_kernel.core import clock
from app_kernel.core.cancellation import cancel_tasks
from app_kernel.core.errors import JobConflict, QueueUnavailable
from app_kernel.core.jobs import DEAD_TTL, JobFigures, Status
from app_kernel.jobs.queues import scripts
from app_kernel.jobs.queues.backend import PRUNED_AT_ONCE, Backend
from app_kernel.jobs.queues.redis_rows import (
    arguments_of,
    claims_of,
    decoded,
    ends_of,
    in_milliseconds,
    is_wanted,
    job_row,
    status_of,
)
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
            await cancel_tasks([self._listener])
            self._listener = None

    def describe(self) -> str:
        given = self._redis.connection_pool.connection_kwargs
        place = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
        return f"redis {place}/{given.get('db', 0)}"

    async def enqueue(self, jobs: Sequence[NewJob]) -> list[Enqueued]:
        rows = await self._run("ENQUEUE", *(value for job in jobs for value in arguments_of(job)))
        return [
            Enqueued(decoded(id), decoded(queue), decoded(task), status_of(status), is_new=bool(is_new))
            for id, queue, task, status, is_new in rows
        ]

    async def claim(self, queue: str, limit: int, worker: str) -> Claims:
        await self._unclaim()
        token = clock.new_id()
        try:
            return claims_of(await self._run("CLAIM", queue, limit, token, worker))
        except QueueUnavailable:
            self._unsure.add(token)
            raise

    async def turn(self, outcomes: Sequence[Outcome], queue: str, limit: int, worker: str) -> tuple[set[str], Claims]:
        await self._unclaim()
        token = clock.new_id()
        try:
            # Two steps that travel together, in this order: Redis syncs its file once for both.
            accepted, claimed = await self._run_all(
                ("SETTLE", *ends_of(outcomes)), ("CLAIM", queue, limit, token, worker)
            )
        except Exception:
            # Also when only the ends were refused: the claim came after them all the same.
            self._unsure.add(token)
            raise
        return {decoded(id) for id in accepted}, claims_of(claimed)

    async def settle(self, outcomes: Sequence[Outcome]) -> set[str]:
        return {decoded(id) for id in await self._run("SETTLE", *ends_of(outcomes))}

    async def beat(self, held: Sequence[tuple[str, str]]) -> dict[str, bool]:
        if not held:
            return {}
        rows = await self._run("BEAT", *(value for pair in held for value in pair))
        return {decoded(id): bool(cancel) for id, cancel in rows}

    async def running(self) -> list[tuple[str, str, int]]:
        found = []
        for id, value in await self._run("RUNNING"):
            token, _, beat = decoded(value).partition(" ")
            found.append((decoded(id), token, int(beat) if beat.isdigit() else 0))
        return found

    async def report(self, id: str, token: str, progress: float, text: str | None) -> bool:
        return bool(await self._run("REPORT", id, token, progress, text or ""))

    async def get(self, id: str) -> JobRow | None:
        row = await self._run("GET", id)
        return None if not row or row[0] is None else job_row(row)

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
            whole = (job_row(row) for row in rows if len(row) > 3 and row[3] is not None)
            found += (row for row in whole if is_wanted(row, wanted))
            at += _PAGE
            if len(rows) < _PAGE:
                break
        return found[: wanted.limit]

    async def cancel(self, id: str) -> Status | None:
        status = await self._run("CANCEL", id, in_milliseconds(DEAD_TTL))
        return None if not status else status_of(status)

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
                    counts[decoded(queue), status] = int(number)
        seconds = {decoded(queue): int(milliseconds) / 1000 for queue, milliseconds in oldest}
        return JobFigures(counts, seconds, tuple(sorted(map(decoded, paused))))

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
        return {id: status_of(status) for id, status in zip(ids, answers, strict=True) if status is not None}

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
            self._has_mark = True
            # A user of Redis who may not ask for that may use it all the same.
            with suppress(QueueUnavailable):
                await self._warn_of_settings()

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
            # Its connection is a new one, which nobody has told of any channel.
            self._changed.set()
            began = time.monotonic()
            try:
                await self._hear(pubsub)
            except (RedisError, OSError, TimeoutError):
                if time.monotonic() - began > longest:
                    pause = RECONNECT_SECONDS[0]
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
                self._call(decoded(message["channel"]))

    def _call(self, channel: str) -> None:
        for callback in tuple(self._callbacks.get(channel, ())):
            callback()

    async def _run(self, name: str, *given: Any) -> Any:
        """The answer of a script; raises QueueUnavailable."""
        # The package need not be there where there is no Redis.
        from redis.exceptions import NoScriptError, RedisError  # noqa: PLC0415

        redis: Any = self._redis
        arguments = self._with_time(given)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                try:
                    return await redis.evalsha(self._scripts[name].sha, *arguments)
                except NoScriptError:
                    return await redis.eval(getattr(scripts, name), *arguments)
        except (RedisError, OSError, TimeoutError) as exc:
            if (away := _away(exc)) is None:
                raise
            raise away from exc

    async def _run_all(self, *calls: Sequence[Any]) -> list[Any]:
        """The answers of several scripts, each a name and what it is given, one after another in one message."""
        from redis.exceptions import NoScriptError, RedisError  # noqa: PLC0415 - see _run

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                pipeline = self._redis.pipeline(transaction=False)
                for name, *given in calls:
                    pipeline.evalsha(self._scripts[name].sha, *self._with_time(given))
                answers = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as exc:
            raise QueueUnavailable from exc
        for at, (name, *given) in enumerate(calls):
            if isinstance(answers[at], NoScriptError):
                answers[at] = await self._run(name, *given)
            elif isinstance(answers[at], Exception):
                raise _away(answers[at]) or answers[at]
        return answers

    def _with_time(self, given: Sequence[Any]) -> tuple[Any, ...]:
        now = clock.frozen_epoch()
        return 1, self._prefix, "" if now is None else in_milliseconds(now), *given

    async def _unclaim(self) -> None:
        """Gives back what claims took of whose end nobody heard."""
        for unsure in tuple(self._unsure):
            await self._run("UNCLAIM", unsure)
            self._unsure.discard(unsure)

    async def _command(self, name: str, *given: Any) -> Any:
        from redis.exceptions import RedisError  # noqa: PLC0415 - see _run

        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await getattr(self._redis, name)(*given)
        except (RedisError, OSError, TimeoutError) as exc:
            raise QueueUnavailable from exc


def _away(exc: BaseException) -> QueueUnavailable | None:
    """What says that Redis cannot now; None for an answer that it would give again."""
    from redis.exceptions import ResponseError  # noqa: PLC0415 - see _run

    if not isinstance(exc, ResponseError):
        return QueueUnavailable()
    # The client takes the first word of what it knows off the text.
    said = f"{exc.status_code or ''} {exc}".strip()
    if said.startswith(_AWAY) or any(f" {word} " in said for word in _AWAY):
        return QueueUnavailable(f"Redis refuses jobs now: {said[:200]}")
    return None
