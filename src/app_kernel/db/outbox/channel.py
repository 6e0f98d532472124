"""One topic on its way out, page by page and apart from every other topic; it waits while nobody receives."""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress

from app_kernel.core.events import MessagesCarried
from app_kernel.core.outbox import ADMIN_TOPICS, Sink
from app_kernel.core.ports import EntityStore
from app_kernel.db.outbox.backoff import Backoff, pause
from app_kernel.db.outbox.inbox import (
    MAX_ATTEMPTS,
    TOO_LONG,
    Outcome,
    check_writable,
    reason_of,
    write_batch,
)
from app_kernel.db.outbox.rows import OutboxRow, OutboxRows, OutOfStep, prune_inbox

POLL_SECONDS = 1.0
"""How long a lost signal delays a message."""
LINGER_SECONDS = 0.05
"""Least time between two looks at the outbox, so that a busy one is carried in batches."""
BUSY, BUSY_LINGER_SECONDS = 10, 0.2
"""Messages in one look from which on the next one waits longer, where nobody waits for what they bring: each look has
its price, whatever it finds."""
PAGE = 500
PRUNE_SECONDS = 3600.0
"""Time between two looks for what a receiver need not remember any longer."""
RETRY_SECONDS = (0.5, 1.0, 2.0, 4.0)
"""Waits between the attempts with one message that the receiver refuses."""

_log = logging.getLogger("app_kernel.outbox")

Report = Callable[[MessagesCarried], Awaitable[None]]


class Carrier(ABC):
    """What takes a topic's rows to their receiver, and settles them in the outbox."""

    def look(self) -> None:  # noqa: B027 - most carriers have nothing to remember
        """The rows of the next calls are read from now on; one that lost its step meanwhile raises OutOfStep."""

    @abstractmethod
    async def carry(self, rows: Sequence[OutboxRow]) -> Outcome:
        """Delivers rows in their order and forgets those that arrived; raises Unavailable when it cannot now."""


class DirectCarrier(Carrier):
    """Calls the sink in a transaction of the database that it writes to."""

    def __init__(self, outbox: OutboxRows, receiver: Callable[[], EntityStore], sink: Sink) -> None:
        self._outbox = outbox
        self._receiver = receiver
        self._sink = sink
        self._size = PAGE
        """Rows in one transaction: fewer while the sink is slow."""
        self._pruned_at = float("-inf")

    async def carry(self, rows: Sequence[OutboxRow]) -> Outcome:
        outcome = await self._carry(rows)
        # After them, so that whoever does not answer is found out by what tells that from a refusal.
        await self._prune()
        return outcome

    async def _prune(self) -> None:
        """Forgets what the receiver knows for too long, a little at a time; its inbox has nobody else to do so."""
        now = time.monotonic()
        if now - self._pruned_at < PRUNE_SECONDS:
            return
        more = False
        try:
            more = await prune_inbox(self._receiver().privileged)
        except Exception as exc:  # noqa: BLE001 - what was carried is carried; it is tried again in its time
            _log.warning("inbox_prune_failed", extra={"reason": reason_of(exc)})
        if not more:
            self._pruned_at = now

    async def _carry(self, rows: Sequence[OutboxRow]) -> Outcome:
        whole, waiting = Outcome(), list(rows)
        while waiting:
            part, waiting = waiting[: self._size], waiting[self._size :]
            outcome = await self._write(part)
            if outcome is None:
                waiting = part + waiting
                continue
            arrived = {message.id for message in outcome.written}
            if arrived:
                await self._outbox.remove([row.seq for row in part if row.message.id in arrived])
            whole.written += outcome.written
            whole.failed += outcome.failed
            blocked = {message.key for message, _ in whole.failed} - {""}
            waiting = [row for row in waiting if row.message.key not in blocked]
        return whole

    async def _write(self, rows: Sequence[OutboxRow]) -> Outcome | None:
        """None when a smaller part has to be tried."""
        messages, db = [row.message for row in rows], self._receiver()
        try:
            async with db.transaction():
                outcome = await write_batch(db, self._sink, messages)
        except TOO_LONG as exc:
            self._size = max(1, len(rows) // 2)
            if len(rows) > 1:
                return None
            await check_writable(db)
            return Outcome(failed=[(messages[0], exc)])
        self._size = min(PAGE, self._size * 2)
        return outcome


class Channel:
    """The loop over one topic. `wake` is for signals; `run` ends once it was told to and nothing is left."""

    def __init__(self, topic: str, outbox: OutboxRows, carrier: Carrier, report: Report) -> None:
        self.topic = topic
        self._outbox = outbox
        self._carrier = carrier
        self._report = report
        self._woken = asyncio.Event()
        self._ending = asyncio.Event()
        self._backoff = Backoff(_log, topic, self._ending)
        self._is_patient = topic.startswith(ADMIN_TOPICS)
        self._carried = 0
        """Messages of the latest look."""
        self._held: dict[int, float] = {}
        """Rows that the receiver refused, and when they may be tried again."""

    def wake(self) -> None:
        """There may be something to carry."""
        self._woken.set()

    def end(self) -> None:
        """Carries what is there and then ends."""
        self._ending.set()
        self._woken.set()

    async def run(self) -> None:
        """Carries until told to end."""
        while True:
            last = self._ending.is_set()
            self._woken.clear()
            try:
                await self._pass()
            except OutOfStep:
                continue
            except Exception as exc:  # noqa: BLE001 - whatever it was, this topic waits and is tried again
                await self._report(MessagesCarried(self.topic, interrupted=True))
                await self._backoff.wait_after(exc)
            else:
                self._backoff.succeeded()
                if not last:
                    await self._wait_for_work()
            if last:
                return

    async def _pass(self) -> None:
        """Once over all unsent rows of the topic: from the start, because numbers commit out of order.

        A row that commits meanwhile may have a number below those already seen. What follows it, of the same key, was
        numbered after its commit, so above every number there is now, and both wait for the next time.
        """
        now = time.monotonic()
        self._held = {seq: due for seq, due in self._held.items() if due > now}
        after, blocked, self._carried = 0, set[str](), 0
        self._carrier.look()
        until = await self._outbox.last_unsent(self.topic)
        while after < until:
            page = [row for row in await self._outbox.unsent(self.topic, after, PAGE) if row.seq <= until]
            if not page:
                return
            after = page[-1].seq
            await self._bury_unreadable(page)
            ready = list(self._ready(page, blocked))
            if ready:
                self._carried += len(ready)
                outcome = await self._carrier.carry(ready)
                await self._settle(ready, outcome)
                blocked |= {message.key for message, _ in outcome.failed} - {""}

    def _ready(self, page: Sequence[OutboxRow], blocked: set[str]) -> Iterator[OutboxRow]:
        """The rows whose turn it is; those behind a held one of the same key wait with it."""
        for row in page:
            if row.seq in self._held:
                blocked |= {row.message.key} - {""}
            elif row.is_readable and row.message.key not in blocked:
                yield row

    async def _bury_unreadable(self, page: Sequence[OutboxRow]) -> None:
        for row in page:
            if not row.is_readable:
                await self._outbox.bury(row.seq, "Its body is no JSON object.")
                await self._report(MessagesCarried(self.topic, failed=1, dead=1))
                _log.error("message_died", extra={"topic": self.topic, "message_id": row.message.id})

    async def _settle(self, rows: Sequence[OutboxRow], outcome: Outcome) -> None:
        dead = 0
        by_id = {row.message.id: row for row in rows}
        for message, exc in outcome.failed:
            dead += await self._count_failure(by_id[message.id], exc)
        await self._report(MessagesCarried(self.topic, len(outcome.written), len(outcome.failed), dead))

    async def _count_failure(self, row: OutboxRow, exc: Exception) -> bool:
        """Whether this one was the message's last chance."""
        attempts = row.attempts + 1
        reason = reason_of(exc)
        told = {"topic": self.topic, "message_id": row.message.id, "attempts": attempts, "reason": reason}
        if attempts >= MAX_ATTEMPTS:
            await self._outbox.bury(row.seq, reason)
            _log.error("message_died", extra=told)
            return True
        await self._outbox.count_attempt(row.seq)
        self._held[row.seq] = time.monotonic() + RETRY_SECONDS[attempts - 1]
        _log.warning("message_failed", extra=told)
        return False

    async def _wait_for_work(self) -> None:
        soonest = min(self._held.values(), default=float("inf")) - time.monotonic()
        # The first message after a quiet time goes at once; a second one soon after it waits for company.
        is_busy = self._is_patient and self._carried >= BUSY
        await pause(self._ending, BUSY_LINGER_SECONDS if is_busy else LINGER_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(POLL_SECONDS, soonest))):
                await self._woken.wait()
