"""Redis as a transport: a batch enters a stream together with its number, so that Redis shows what it has lost.

The mark of the latest batch, `nonce:number`, is kept here and there. Equal: all is well. Redis is one ahead: the relay
died before it could note a batch down, whose rows go out again under the same ids. Redis is behind: it lost its latest
seconds or was restored from an older copy, and what it lost is sent again. All else, such as nothing or another nonce,
proves nothing, and everything that is kept is sent again. Every loss makes a new nonce, so that a copy of Redis from
before it is never taken for one that has what was sent since.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from app_kernel.core.errors import Unavailable
from app_kernel.core.outbox import Message
from app_kernel.db.outbox.channel import PAGE, Carrier
from app_kernel.db.outbox.inbox import Outcome
from app_kernel.db.outbox.rows import Epoch, OutboxRow, OutboxRows, OutOfStep, encode_body, parse_mark

if TYPE_CHECKING:
    from redis.asyncio import Redis

REDIS_SECONDS = 5.0
"""How long one answer of Redis may take."""
CHECK_SECONDS = 1.0
"""Time between two looks at whether Redis still has what it was given, while nothing is sent."""
NOTHING = -1
"""A number below that of every batch."""
LONGEST_BATCH = 1_000_000
"""Characters of bodies in one batch, so that Redis serves others soon."""
GROUP = "admin_worker"
"""Who reads the streams."""

T = TypeVar("T")

_log = logging.getLogger("app_kernel.outbox")

# Redis runs a script as one step, and lets one that it began in time finish when memory runs out midway. The group is
# made here because a Redis that is full by then would refuse it, and could never be drained.
_SEND = """
local known = redis.call('GET', KEYS[1]) or ''
if known ~= ARGV[1] and not (known == '' and ARGV[3] == 'first') then return {0, known} end
redis.pcall('XGROUP', 'CREATE', KEYS[2], ARGV[4], '0', 'MKSTREAM')
for at = 5, #ARGV, 4 do
  redis.call('XADD', KEYS[2], '*',
    'id', ARGV[at], 'key', ARGV[at + 1], 'body', ARGV[at + 2], 'created_at', ARGV[at + 3])
end
redis.call('SET', KEYS[1], ARGV[2])
return {1, ARGV[2]}
"""
_SETTLE = """
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""


class Streams:
    """The way into Redis for one database: one batch at a time, whatever its topic."""

    def __init__(self, redis: "Redis", outbox: OutboxRows) -> None:
        self._redis = redis
        self._outbox = outbox
        self._send = redis.register_script(_SEND)
        self._settle = redis.register_script(_SETTLE)
        self._turn = asyncio.Lock()
        self._nonce: str | None = None
        self.settled = 0
        """Counts up whenever rows may have become unsent: what was read before is not to be sent any more."""

    async def warn_of_eviction(self) -> None:
        """Says so when Redis may drop streams to make room, which nobody would notice. Raises Unavailable."""
        memory: Any = await answer_of(self._redis.info("memory"))
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys"):
            _log.warning("redis_may_evict_messages", extra={"maxmemory_policy": policy, "use": "noeviction"})

    async def send(self, topic: str, rows: Sequence[OutboxRow], settled: int) -> None:
        """Puts rows into the topic's stream and marks them sent; `settled` is the count when they were read.

        Raises OutOfStep when something was settled since, now or before: the caller looks at the outbox anew. Raises
        Unavailable.
        """
        async with self._turn:
            epoch = await self._look()
            if settled != self.settled:
                raise OutOfStep
            mark = epoch.mark
            first = "" if mark.number else "first"
            arguments: list[Any] = [str(mark), str(mark.next()), first, GROUP]
            for row in rows:
                arguments += _fields(row.message)
            sending = self._send(keys=[epoch_key(epoch.database_id), topic], args=arguments)
            was_added, found = await answer_of(sending)
            if not was_added:
                await self._reconcile(epoch, found)
                raise OutOfStep
            await self._outbox.mark_sent([row.seq for row in rows], mark)

    async def check(self) -> bool:
        """Whether Redis has what it was given; if not, what it lost waits to be sent again. Raises Unavailable."""
        async with self._turn:
            epoch = await self._look()
            found = await answer_of(self._redis.get(epoch_key(epoch.database_id))) or b""
            if _text(found) == str(epoch.mark) or not (found or epoch.mark.number):
                return True
            with suppress(OutOfStep):
                await self._reconcile(epoch, found)
            return False

    async def _look(self) -> Epoch:
        """The mark of the database, and a note of whether another relay has settled a loss."""
        epoch = await self._outbox.epoch()
        if self._nonce not in {None, epoch.mark.nonce}:
            self.settled += 1
        self._nonce = epoch.mark.nonce
        return epoch

    async def _reconcile(self, epoch: Epoch, raw: bytes) -> None:
        """Makes the two marks one again; raises OutOfStep when another relay is at it."""
        self.settled += 1
        mark, found = epoch.mark, parse_mark(_text(raw))
        if found == mark.next():
            _log.info("redis_ahead", extra={"batch": mark.number})
            await self._outbox.set_mark(mark, found)
            return
        is_behind = found is not None and found.nonce == mark.nonce and found.number < mark.number
        # The database's mark last: whoever is killed or refused in between finds a difference again and does the rest.
        count = await self._outbox.send_again(mark, found.number if found is not None and is_behind else NOTHING)
        new = mark.after_loss()
        settling = self._settle(keys=[epoch_key(epoch.database_id)], args=[raw, str(new)])
        if not await answer_of(settling):
            raise OutOfStep
        await self._outbox.set_mark(mark, new)
        self._nonce = new.nonce
        lost = {"batch": mark.number, "redis_batch": None if found is None else found.number, "sent_again": count}
        _log.warning("redis_lost_messages", extra=lost)


class StreamCarrier(Carrier):
    """Puts a topic's rows into the stream of the topic's name."""

    def __init__(self, streams: Streams, topic: str) -> None:
        self._streams = streams
        self._topic = topic
        self._settled = streams.settled

    def look(self) -> None:
        self._settled = self._streams.settled

    async def carry(self, rows: Sequence[OutboxRow]) -> Outcome:
        outcome = Outcome()
        for part in _parts(rows):
            try:
                await self._streams.send(self._topic, part, self._settled)
            except OutOfStep:
                # Rows with lower numbers may have become unsent: the next look begins with them.
                self.look()
                raise
            outcome.written += [row.message for row in part]
        return outcome


async def answer_of(call: Awaitable[T], seconds: float = REDIS_SECONDS) -> T:
    """What Redis answers; raises Unavailable for all else: it is away, loading, full, read-only, or not for us."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except _failures() as exc:
        raise Unavailable(f"Redis: {type(exc).__name__}: {exc}".rstrip(": ")) from exc


def is_full(exc: Unavailable) -> bool:
    """Whether Redis refused for want of memory."""
    return "OutOfMemory" in exc.message


def is_timeout(exc: Unavailable) -> bool:
    """Whether an answer of Redis took too long."""
    return exc.message.startswith("Redis: TimeoutError")


@cache
def _failures() -> tuple[type[Exception], ...]:
    # As late as it is needed: the package is an extra, and takes a third of a second to import.
    from redis.exceptions import RedisError  # noqa: PLC0415

    return RedisError, OSError


def epoch_key(database_id: str) -> str:
    """Where Redis keeps the number of the latest batch of a database."""
    return f"app_kernel:outbox:{database_id}"


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "replace")


def _fields(message: Message) -> tuple[str, str, str, str]:
    return message.id, message.key, encode_body(message.body), message.created_at


def _parts(rows: Sequence[OutboxRow]) -> Iterator[list[OutboxRow]]:
    part: list[OutboxRow] = []
    size = 0
    for row in rows:
        length = len(encode_body(row.message.body))
        if part and (size + length > LONGEST_BATCH or len(part) == PAGE):
            yield part
            part, size = [], 0
        part.append(row)
        size += length
    if part:
        yield part
