"""The other end of the streams: entries become rows of the admin database, in their order, by any number of workers.

A worker takes entries from Redis only inside a transaction of the admin database that keeps the other workers out. So
whatever another one was given and has not acknowledged belongs to a worker that died or has committed: it is taken
over at once, and what was committed is dropped by its id. Entries leave the stream when their transaction is over.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app_kernel.core import clock
from app_kernel.core.errors import Unavailable
from app_kernel.core.outbox import Message, Sink
from app_kernel.db.database import Database
from app_kernel.db.outbox.backoff import Backoff
from app_kernel.db.outbox.channel import PAGE, RETRY_SECONDS
from app_kernel.db.outbox.inbox import MAX_ATTEMPTS, TOO_LONG, check_writable, reason_of, write_batch
from app_kernel.db.outbox.rows import decode_body, encode_body
from app_kernel.db.outbox.streams import REDIS_SECONDS, answer_of

if TYPE_CHECKING:
    from redis.asyncio import Redis

GROUP = "admin_worker"
IN_TRANSACTION = 2.0
"""Seconds for an answer of Redis while a transaction is open."""
LONGEST_ID = 191
LONGEST_SHOWN = 10_000
WAIT_SECONDS = 1.0
"""How long a worker waits for new entries before it looks for ones that nobody finished."""

_BURY = (
    "INSERT INTO [kernel_dead_letters] ([id], [topic], [key], [body], [created_at], [died_at], [attempts], [reason])"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)

_log = logging.getLogger("app_kernel.admin_worker")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream."""

    entry_id: str
    message: Message
    problem: str = ""
    """Why it is no message; empty when it is one."""


class StreamReader:
    """Drains one stream into the admin database; `run` ends after `end` with the batch under way."""

    def __init__(self, redis: "Redis", database: Database, topic: str, sink: Sink, *, consumer: str) -> None:
        self._redis = redis
        self._db = database.connection()
        self._is_postgres = database.driver.dialect.name == "postgres"
        self._topic = topic
        self._sink = sink
        self._consumer = consumer
        self._last: Any = "0"
        """The latest entry when the stream was last drained."""
        self._size = PAGE
        self._trying: list[Entry] = []
        """What the batch under way gives to the sink."""
        self._held: dict[str, float] = {}
        """Messages that the sink refused, by id, and when they may be tried again."""
        self._ending = asyncio.Event()
        self._backoff = Backoff(_log, topic, self._ending)
        self.written = 0
        """Messages written since the start, those that were known already included."""

    def end(self) -> None:
        """Finishes the batch under way and then ends."""
        self._ending.set()

    async def run(self) -> None:
        """Reads and writes until told to end."""
        while not self._ending.is_set():
            try:
                if await self._wait_for_entries():
                    latest = await answer_of(self._redis.xrevrange(self._topic, count=1))
                    await self._drain()
                    self._last = latest[0][0] if latest else self._last
            except Exception as exc:  # noqa: BLE001 - whatever it was, the entries are still there
                await self._backoff.wait_after(exc)
            else:
                self._backoff.succeeded()

    async def _wait_for_entries(self) -> bool:
        """Whether there is something new, something whose turn has come again, or something that nobody finished."""
        due = min(self._held.values(), default=float("inf")) - time.monotonic()
        seconds = max(0.01, min(WAIT_SECONDS, due))
        # Looked at and not taken: who takes them is settled inside a transaction.
        read = self._redis.xread({self._topic: self._last}, count=1, block=int(seconds * 1000))
        if await self._before_the_end(answer_of(read, seconds + REDIS_SECONDS)):
            return True
        if self._ending.is_set():
            return False
        if self._held:
            return due <= seconds
        return bool(await answer_of(self._redis.xlen(self._topic)))

    async def _before_the_end(self, reading: Coroutine[Any, Any, Any]) -> Any:
        """What was read; None when the reader is to end meanwhile."""
        read, ended = asyncio.create_task(reading), asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait({read, ended}, return_when=asyncio.FIRST_COMPLETED)
            return await read if read.done() else None
        finally:
            read.cancel()
            ended.cancel()
            await asyncio.wait({read, ended})
            if not read.cancelled():
                read.exception()  # looked at, so that the loop does not report it as forgotten

    async def _drain(self) -> None:
        """Batch after batch until the stream has nothing more for this worker."""
        more = True
        while more and not self._ending.is_set():
            try:
                done, more = await self._write_batch()
            except TOO_LONG as exc:
                done = await self._after_too_long(exc)
            else:
                self._size = min(PAGE, self._size * 2)
            await self._acknowledge(done)

    async def _write_batch(self) -> tuple[list[str], bool]:
        """The entries that are done with, and whether there may be more."""
        self._trying = []
        async with self._db.transaction():
            await self._keep_others_out()
            entries, more = await self._take()
            done = [entry.entry_id for entry in entries if entry.problem]
            for entry in entries:
                if entry.problem:
                    await self._bury(entry.message, 1, entry.problem)
                    _log.error("entry_is_no_message", extra={"topic": self._topic, "entry": entry.entry_id})
            ready = list(self._ready(entries))
            self._trying = ready[: self._size]
            if self._trying:
                done += await self._write(self._trying)
        return done, more or len(ready) > len(self._trying)

    async def _take(self) -> tuple[list[Entry], bool]:
        """Whatever is taken and unfinished, then new entries, in the stream's order; whether there may be more."""
        try:
            taken = await self._take_over()
            if len(list(self._ready(taken))) >= self._size:
                return taken, True
            answer = await answer_of(
                self._redis.xreadgroup(GROUP, self._consumer, {self._topic: ">"}, count=self._size), IN_TRANSACTION
            )
        except Unavailable as exc:
            if "NOGROUP" not in exc.message:
                raise
            # The stream is new, or Redis lost it.
            await self._make_group()
            return [], True
        new = [_entry(self._topic, *raw) for _, entries in answer for raw in entries] if answer else []
        return taken + new, len(new) == self._size

    async def _take_over(self) -> list[Entry]:
        taken, start = [], b"0-0"
        while True:
            claiming = self._redis.xautoclaim(self._topic, GROUP, self._consumer, 0, start, count=PAGE)
            start, entries, *_ = await answer_of(claiming, IN_TRANSACTION)
            # An entry that somebody deleted by hand has no fields on older servers.
            taken += [_entry(self._topic, entry_id, fields) for entry_id, fields in entries if fields is not None]
            if _text(start) == "0-0":
                return taken

    async def _make_group(self) -> None:
        try:
            await answer_of(self._redis.xgroup_create(self._topic, GROUP, id="0", mkstream=True), IN_TRANSACTION)
        except Unavailable as exc:
            if "BUSYGROUP" not in exc.message:
                raise

    def _ready(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """The entries whose turn it is; those behind a held one of the same key wait with it."""
        now = time.monotonic()
        self._held = {id: due for id, due in self._held.items() if due > now}
        blocked: set[str] = set()
        for entry in entries:
            message = entry.message
            if message.id in self._held:
                blocked |= {message.key} - {""}
            elif not entry.problem and message.key not in blocked:
                yield entry

    async def _write(self, entries: Sequence[Entry]) -> list[str]:
        """The entries whose messages are in the database or dead."""
        outcome = await write_batch(self._db, self._sink, [entry.message for entry in entries])
        finished = {message.id for message in outcome.written}
        self.written += len(finished)
        for message, exc in outcome.failed:
            if await self._count_failure(message, exc):
                finished.add(message.id)
        return [entry.entry_id for entry in entries if entry.message.id in finished]

    async def _after_too_long(self, exc: Exception) -> list[str]:
        """Makes the next batch smaller; one message that took too long by itself has failed. Gives what is done."""
        if not self._trying:
            raise exc
        if len(self._trying) > 1:
            self._size = len(self._trying) // 2
            return []
        await check_writable(self._db)
        entry = self._trying[0]
        async with self._db.transaction():
            is_dead = await self._count_failure(entry.message, exc)
        return [entry.entry_id] if is_dead else []

    async def _count_failure(self, message: Message, exc: Exception) -> bool:
        """Whether this one was the message's last chance; then it is a dead letter when the transaction commits."""
        counting: Any = self._redis.hincrby(_attempts_key(self._topic), message.id, 1)
        attempts = int(await answer_of(counting, IN_TRANSACTION))
        reason = reason_of(exc, message.body)
        told = {"topic": self._topic, "message_id": message.id, "attempts": attempts, "reason": reason}
        if attempts < MAX_ATTEMPTS:
            self._held[message.id] = time.monotonic() + RETRY_SECONDS[attempts - 1]
            _log.warning("message_failed", extra=told)
            return False
        await self._bury(message, attempts, reason)
        _log.error("message_died", extra=told)
        return True

    async def _bury(self, message: Message, attempts: int, reason: str) -> None:
        died_at, body = clock.timestamp(), encode_body(message.body)
        values = (message.id, message.topic, message.key, body, message.created_at, died_at, attempts, reason)
        await self._db.privileged.execute(_BURY, values)

    async def _acknowledge(self, entry_ids: Sequence[str]) -> None:
        """After the commit: what is not acknowledged comes again, and is dropped by its id then."""
        if not entry_ids:
            return
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.xack(self._topic, GROUP, *entry_ids)
        pipeline.xdel(self._topic, *entry_ids)
        await answer_of(pipeline.execute())

    async def _keep_others_out(self) -> None:
        """Lets one worker at a time go on; a transaction on SQLite does so by itself."""
        if self._is_postgres:
            await self._db.privileged.execute("SELECT pg_advisory_xact_lock(?)", (_lock_number(self._topic),))


def _entry(topic: str, entry_id: Any, raw: Mapping[Any, Any]) -> Entry:
    """An entry as a message; one that somebody else put there, and that is none, with what is wrong with it."""
    name = _text(entry_id)
    fields = {_text(key): _text(value) for key, value in raw.items()}
    body = decode_body(fields.get("body", ""))
    known = {"key": fields.get("key", ""), "created_at": fields.get("created_at", clock.timestamp())}
    id = fields.get("id", "")
    if body is None or not 0 < len(id) <= LONGEST_ID or "\0" in id + known["key"] + known["created_at"]:
        shown = {"entry": {key: value.replace("\0", "\ufffd")[:LONGEST_SHOWN] for key, value in fields.items()}}
        message = Message(topic, shown, id=f"{topic}/{name}"[-LONGEST_ID:])
        return Entry(name, message, "The entry of the stream is no message: it needs an id and a JSON object as body.")
    return Entry(name, Message(topic, body, id=id, **known))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _attempts_key(topic: str) -> str:
    return f"app_kernel:attempts:{topic}"


def _lock_number(topic: str) -> int:
    """A number for the topic's lock that no other use of such locks is likely to have."""
    return int.from_bytes(hashlib.sha256(f"app_kernel/{topic}".encode()).digest()[:8], signed=True)
