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
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app_kernel.core import clock
from app_kernel.core.cancellation import cancel_tasks
from app_kernel.core.errors import Unavailable
from app_kernel.core.outbox import Message, Sink
from app_kernel.core.sql_words import MYSQL, insert_once
from app_kernel.db.database import Database
from app_kernel.db.outbox.backoff import Backoff
from app_kernel.db.outbox.channel import PAGE, RETRY_SECONDS
from app_kernel.db.outbox.inbox import MAX_ATTEMPTS, TOO_LONG, check_writable, reason_of, write_batch
from app_kernel.db.outbox.rows import BURY, decode_body, encode_body
from app_kernel.db.outbox.streams import GROUP, REDIS_SECONDS, answer_of, is_full, is_timeout

if TYPE_CHECKING:
    from redis.asyncio import Redis

IN_TRANSACTION = 2.0
"""Seconds for an answer of Redis while a transaction is open."""
TAKEN_AT_ONCE = 4_000_000
"""Bytes of entries in hand with which no more are taken."""
LONGEST_ID = 191
LONGEST_SHOWN = 10_000
WAIT_SECONDS = 1.0
"""How long a worker waits for new entries before it looks for ones that nobody finished."""

_LOCK = "INSERT INTO [kernel_relay] ([name], [value]) VALUES (?, '')"

# A script and no MULTI, in which a Redis that is full refuses even what makes it emptier.
_FINISH = """
local half = (#ARGV - 1) / 2
for at = 2, half + 1 do
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[at])
  redis.call('XDEL', KEYS[1], ARGV[at])
  redis.call('HDEL', KEYS[2], ARGV[at + half])
end
return 1
"""
# Entries that are left in a worker's name would go with it, and others need them.
_LEAVE = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 1
"""

_log = logging.getLogger("app_kernel.admin_worker")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream."""

    entry_id: str
    message: Message
    problem: str = ""
    """Why it is no message; empty when it is one."""
    size: int = 0
    """Bytes of its fields."""


class StreamReader:
    """Drains one stream into the admin database; `run` ends after `end` with the batch under way."""

    def __init__(self, redis: "Redis", database: Database, topic: str, sink: Sink, *, consumer: str) -> None:
        self._redis = redis
        self._finish = redis.register_script(_FINISH)
        self._leave = redis.register_script(_LEAVE)
        self._db = database.connection()
        self._topic = topic
        self._sink = sink
        self._consumer = consumer
        self._last: Any = "0"
        """The latest entry when the stream was last drained."""
        self._size = PAGE
        """Entries in one transaction: fewer while the sink is slow."""
        self._asked = PAGE
        """Entries in one answer of Redis: fewer while they are large, or the way to Redis is slow."""
        self._may_grow = True
        """Whether the latest answers were small enough to ask for more."""
        self._blocked: set[str] = set()
        """Keys of which an earlier entry of the same take is held."""
        self._attempts: dict[str, int] = {}
        """Failures by message that Redis did not count because it was full."""
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
        await self._run()
        with suppress(Unavailable):
            await answer_of(self._leave(keys=[self._topic], args=[GROUP, self._consumer]), IN_TRANSACTION)

    async def _run(self) -> None:
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
            await cancel_tasks({read, ended})

    async def _drain(self) -> None:
        """Batch after batch until the stream has nothing more for this worker."""
        more = True
        while more and not self._ending.is_set():
            try:
                done, more = await self._write_batch()
            except TOO_LONG as exc:
                done = await self._after_too_long(exc)
            except Unavailable as exc:
                if self._asked == 1 or not is_timeout(exc):
                    raise
                self._asked //= 2
                continue
            else:
                self._size = min(PAGE, self._size * 2)
                if self._may_grow:
                    self._asked = min(PAGE, self._asked + max(1, self._asked // 4))
            await self._acknowledge(done)

    async def _write_batch(self) -> tuple[list[Entry], bool]:
        """The entries that are done with, and whether there may be more."""
        self._trying = []
        async with self._db.transaction():
            await self._keep_others_out()
            entries, more = await self._take()
            done = [entry for entry in entries if entry.problem]
            for entry in done:
                await self._bury(entry.message, 1, entry.problem)
                _log.error("entry_is_no_message", extra={"topic": self._topic, "entry": entry.entry_id})
            ready = [entry for entry in entries if not entry.problem]
            self._trying = ready[: self._size]
            if self._trying:
                done += await self._write(self._trying)
        return done, more or len(ready) > len(self._trying)

    async def _take(self) -> tuple[list[Entry], bool]:
        """Whose turn it is of what is taken and unfinished, then of new entries, in the stream's order, and whatever is
        no message; whether there may be more."""
        now = time.monotonic()
        self._held = {id: due for id, due in self._held.items() if due > now}
        self._blocked = set()
        self._may_grow = True
        try:
            taken, is_whole = await self._take_over()
            count = min(self._size - len(taken), self._asked)
            if not is_whole or count <= 0:
                return taken, True
            answer = await answer_of(
                self._redis.xreadgroup(GROUP, self._consumer, {self._topic: ">"}, count=count), IN_TRANSACTION
            )
        except Unavailable as exc:
            if "NOGROUP" not in exc.message:
                raise
            # The stream is new, or Redis lost it.
            await self._make_group()
            return [], True
        new = [_entry(self._topic, *raw) for _, entries in answer for raw in entries] if answer else []
        self._adapt(new)
        return taken + list(self._ready(new)), len(new) == count

    async def _take_over(self) -> tuple[list[Entry], bool]:
        """What is taken and unfinished, as far as it is good for one batch, and whether that is all of it."""
        taken: list[Entry] = []
        start, size, until = b"0-0", 0, time.monotonic() + IN_TRANSACTION / 2
        while not taken or (len(taken) < self._size and size < TAKEN_AT_ONCE and time.monotonic() < until):
            claiming = self._redis.xautoclaim(self._topic, GROUP, self._consumer, 0, start, count=self._asked)
            start, found, *_ = await answer_of(claiming, IN_TRANSACTION)
            # An entry that somebody deleted by hand has no fields on older servers.
            entries = [_entry(self._topic, entry_id, fields) for entry_id, fields in found if fields is not None]
            self._adapt(entries)
            ready = list(self._ready(entries))
            taken += ready
            size += sum(entry.size for entry in ready)
            if _text(start) == "0-0":
                return taken, True
        return taken, False

    def _adapt(self, entries: Sequence[Entry]) -> None:
        """Asks for fewer entries after a large answer."""
        size = sum(entry.size for entry in entries)
        if size > TAKEN_AT_ONCE:
            self._asked = max(1, len(entries) * TAKEN_AT_ONCE // size)
            self._may_grow = False

    async def _make_group(self) -> None:
        try:
            await answer_of(self._redis.xgroup_create(self._topic, GROUP, id="0", mkstream=True), IN_TRANSACTION)
        except Unavailable as exc:
            if "BUSYGROUP" not in exc.message:
                raise

    def _ready(self, entries: Sequence[Entry]) -> Iterator[Entry]:
        """The entries whose turn it is; those behind a held one of the same key wait with it."""
        for entry in entries:
            message = entry.message
            if entry.problem:
                yield entry
            elif message.id in self._held:
                self._blocked |= {message.key} - {""}
            elif message.key not in self._blocked:
                yield entry

    async def _write(self, entries: Sequence[Entry]) -> list[Entry]:
        """The entries whose messages are in the database or dead."""
        outcome = await write_batch(self._db, self._sink, [entry.message for entry in entries])
        finished = {message.id for message in outcome.written}
        self.written += len(finished)
        for message, exc in outcome.failed:
            if await self._count_failure(message, exc):
                finished.add(message.id)
        return [entry for entry in entries if entry.message.id in finished]

    async def _after_too_long(self, exc: Exception) -> list[Entry]:
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
        return [entry] if is_dead else []

    async def _count_failure(self, message: Message, exc: Exception) -> bool:
        """Whether this one was the message's last chance; then it is a dead letter when the transaction commits."""
        attempts = await self._count_attempt(message)
        reason = reason_of(exc)
        told = {"topic": self._topic, "message_id": message.id, "attempts": attempts, "reason": reason}
        if attempts < MAX_ATTEMPTS:
            self._held[message.id] = time.monotonic() + RETRY_SECONDS[attempts - 1]
            _log.warning("message_failed", extra=told)
            return False
        await self._bury(message, attempts, reason)
        _log.error("message_died", extra=told)
        return True

    async def _count_attempt(self, message: Message) -> int:
        """How often the message has failed now, here and with workers before."""
        counting: Any = self._redis.hincrby(_attempts_key(self._topic), message.id, 1)
        try:
            counted = int(await answer_of(counting, IN_TRANSACTION))
        except Unavailable as exc:
            if not is_full(exc):
                raise
            counted = 0
            self._attempts[message.id] = self._attempts.get(message.id, 0) + 1
        return min(MAX_ATTEMPTS, max(1, counted + self._attempts.get(message.id, 0)))

    async def _bury(self, message: Message, attempts: int, reason: str) -> None:
        died_at, body = clock.timestamp(), encode_body(message.body)
        values = (message.id, message.topic, message.key, body, message.created_at, died_at, attempts, reason)
        once = insert_once(self._db.backend, "kernel_dead_letters", "id")
        await self._db.privileged.execute(f"{BURY} VALUES (?, ?, ?, ?, ?, ?, ?, ?){once}", values)

    async def _acknowledge(self, done: Sequence[Entry]) -> None:
        """After the commit: what is not acknowledged comes again, and is dropped by its id then."""
        if not done:
            return
        entry_ids, message_ids = [entry.entry_id for entry in done], [entry.message.id for entry in done]
        keys = [self._topic, _attempts_key(self._topic)]
        await answer_of(self._finish(keys=keys, args=[GROUP, *entry_ids, *message_ids]))
        for id in message_ids:
            self._attempts.pop(id, None)

    async def _keep_others_out(self) -> None:
        """Lets one worker at a time go on; a transaction on SQLite does so by itself."""
        if self._db.backend == "postgres":
            await self._db.privileged.execute("SELECT pg_advisory_xact_lock(?)", (_lock_number(self._topic),))
        elif self._db.backend == MYSQL:
            # A row that is there is locked as well, until the transaction ends.
            once = insert_once(MYSQL, "kernel_relay", "name")
            await self._db.privileged.execute(_LOCK + once, (f"reader:{self._topic}",))


def _entry(topic: str, entry_id: Any, raw: Mapping[Any, Any]) -> Entry:
    """An entry as a message; one that somebody else put there, and that is none, with what is wrong with it."""
    name, size = _text(entry_id), sum(map(len, raw.values()))
    fields = {_text(key): _text(value) for key, value in raw.items()}
    body = decode_body(fields.get("body", ""))
    known = {"key": fields.get("key", ""), "created_at": fields.get("created_at", clock.timestamp())}
    id = fields.get("id", "")
    if body is None or not 0 < len(id) <= LONGEST_ID or "\0" in id + known["key"] + known["created_at"]:
        shown = {"entry": {key: value.replace("\0", "\ufffd")[:LONGEST_SHOWN] for key, value in fields.items()}}
        message = Message(topic, shown, id=f"{topic}/{name}"[-LONGEST_ID:])
        return Entry(
            name, message, "The entry of the stream is no message: it needs an id and a JSON object as body.", size
        )
    return Entry(name, Message(topic, body, id=id, **known), size=size)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _attempts_key(topic: str) -> str:
    return f"app_kernel:attempts:{topic}"


def _lock_number(topic: str) -> int:
    """A number for the topic's lock that no other use of such locks is likely to have."""
    return int.from_bytes(hashlib.sha256(f"app_kernel/{topic}".encode()).digest()[:8], signed=True)
