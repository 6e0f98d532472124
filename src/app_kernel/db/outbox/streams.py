"""Redis as a transport: a batch enters a stream together with its number, so that Redis shows what it has lost.

The number of the latest batch is kept here and there. Equal: all is well. Redis is ahead: the relay died before it
could note a batch down, whose rows go out again under the same ids. Redis is behind, or knows nothing: it lost its
latest seconds, was restored from an older copy or emptied, and what it lost is sent again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from app_kernel.core.errors import Unavailable
from app_kernel.core.outbox import Message
from app_kernel.db.outbox.channel import PAGE, Carrier, OutOfStep
from app_kernel.db.outbox.inbox import Outcome
from app_kernel.db.outbox.rows import Epoch, OutboxRow, OutboxRows, encode_body

if TYPE_CHECKING:
    from redis.asyncio import Redis

REDIS_SECONDS = 5.0
"""How long one answer of Redis may take."""
CHECK_SECONDS = 1.0
"""Time between two looks at whether Redis still has what it was given, while nothing is sent."""
LONGEST_BATCH = 1_000_000
"""Characters of bodies in one batch, so that Redis serves others soon."""
FIELDS = ("id", "key", "body", "created_at")

T = TypeVar("T")

_log = logging.getLogger("app_kernel.outbox")

# Redis runs a script as one step, and lets one that it began in time finish when memory runs out midway.
_SEND = """
local known = redis.call('GET', KEYS[1])
if not known or not string.match(known, '^%d+$') then known = '0' end
if known ~= ARGV[1] then return {0, known} end
for at = 3, #ARGV, 4 do
  redis.call('XADD', KEYS[2], '*',
    'id', ARGV[at], 'key', ARGV[at + 1], 'body', ARGV[at + 2], 'created_at', ARGV[at + 3])
end
redis.call('SET', KEYS[1], ARGV[2])
return {1, ARGV[2]}
"""


class Streams:
    """The way into Redis for one database: one batch at a time, whatever its topic."""

    def __init__(self, redis: "Redis", outbox: OutboxRows) -> None:
        self._redis = redis
        self._outbox = outbox
        self._send = redis.register_script(_SEND)
        self._turn = asyncio.Lock()

    async def warn_of_eviction(self) -> None:
        """Says so when Redis may drop streams to make room, which nobody would notice. Raises Unavailable."""
        memory: Any = await answer_of(self._redis.info("memory"))
        policy = str(memory.get("maxmemory_policy", ""))
        if policy.startswith("allkeys"):
            _log.warning("redis_may_evict_messages", extra={"maxmemory_policy": policy, "use": "noeviction"})

    async def send(self, topic: str, rows: Sequence[OutboxRow]) -> bool:
        """Puts rows into the topic's stream and marks them sent; False when Redis was not where it was expected.

        Then that is settled, and the caller looks at the outbox anew. Raises Unavailable.
        """
        async with self._turn:
            epoch = await self._outbox.epoch()
            batch = epoch.batch + 1
            arguments: list[Any] = [str(epoch.batch), str(batch)]
            for row in rows:
                arguments += _fields(row.message)
            sending = self._send(keys=[epoch_key(epoch.database_id), topic], args=arguments)
            was_added, found = await answer_of(sending)
            if not was_added:
                await self._reconcile(epoch, int(found))
                return False
            await self._outbox.mark_sent([row.seq for row in rows], batch)
            return True

    async def check(self) -> bool:
        """Whether Redis has what it was given; if not, what it lost waits to be sent again. Raises Unavailable."""
        async with self._turn:
            epoch = await self._outbox.epoch()
            found = await answer_of(self._redis.get(epoch_key(epoch.database_id)))
            number = int(found) if found is not None and found.isdigit() else 0
            if number == epoch.batch:
                return True
            await self._reconcile(epoch, number)
            return False

    async def _reconcile(self, epoch: Epoch, found: int) -> None:
        """Makes the two numbers one again; `found` is 0 where Redis has none."""
        if found > epoch.batch:
            _log.info("redis_ahead", extra={"batch": epoch.batch, "redis_batch": found})
            await self._outbox.set_batch(found)
            return
        # The number last: whoever is killed in between finds the same difference and does the rest.
        count = await self._outbox.send_again(found)
        await self._outbox.set_batch(found)
        lost = {"batch": epoch.batch, "redis_batch": found, "sent_again": count}
        _log.warning("redis_lost_messages", extra=lost)


class StreamCarrier(Carrier):
    """Puts a topic's rows into the stream of the topic's name."""

    def __init__(self, streams: Streams, topic: str) -> None:
        self._streams = streams
        self._topic = topic

    async def carry(self, rows: Sequence[OutboxRow]) -> Outcome:
        outcome = Outcome()
        for part in _parts(rows):
            if not await self._streams.send(self._topic, part):
                # Rows with lower numbers may have become unsent: the next look begins with them.
                raise OutOfStep
            outcome.written += [row.message for row in part]
        return outcome


async def answer_of(call: Awaitable[T], seconds: float = REDIS_SECONDS) -> T:
    """What Redis answers; raises Unavailable for all else: it is away, loading, full, read-only, or not for us."""
    try:
        async with asyncio.timeout(seconds):
            return await call
    except _failures() as exc:
        raise Unavailable(f"Redis: {type(exc).__name__}: {exc}".rstrip(": ")) from exc


@cache
def _failures() -> tuple[type[Exception], ...]:
    # As late as it is needed: the package is an extra, and takes a third of a second to import.
    from redis.exceptions import RedisError  # noqa: PLC0415

    return RedisError, OSError


def epoch_key(database_id: str) -> str:
    """Where Redis keeps the number of the latest batch of a database."""
    return f"app_kernel:outbox:{database_id}"


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
