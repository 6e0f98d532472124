"""The receiving side: a batch is written in one transaction together with the ids of its messages, so it counts once.

A batch that fails is done again message by message, so that one that cannot be written is told from the others. After
a failure the later messages of the same key wait, because they would overtake it.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import QueryTimeout, TransactionTimeout, Unavailable
from app_kernel.core.outbox import Message, Sink
from app_kernel.core.ports import EntityStore
from app_kernel.db.drivers.base import TRANSACTION_SECONDS
from app_kernel.db.outbox.rows import padded

MAX_ATTEMPTS = 5
"""Failures of a receiver after which a message is a dead letter."""
LONGEST_REASON = 500
TOO_LONG = (TransactionTimeout, QueryTimeout)
"""Of all that makes a database unavailable, what a smaller batch may cure and waiting does not."""
CHECK_SECONDS = 2.0
_SHORTEST_HIDDEN = 4


@dataclass(slots=True)
class Outcome:
    """What became of a batch."""

    written: list[Message] = field(default_factory=list)
    """In the database now, by this batch or by an earlier one."""
    failed: list[tuple[Message, Exception]] = field(default_factory=list)
    """Refused by the sink. A message that waits behind one of these is in neither list."""


async def write_batch(db: EntityStore, sink: Sink, messages: Sequence[Message]) -> Outcome:
    """Writes messages through the sink, inside an open transaction of `db`: those that are not known there yet.

    Raises Unavailable when the database is away, and one of TOO_LONG when the transaction's time was not enough;
    the transaction is then lost.
    """
    try:
        async with db.transaction():
            await _write_new(db, sink, messages)
    except Unavailable:
        raise
    except Exception as exc:  # noqa: BLE001 - a sink is the application's; whichever message it was, the others go on
        if len(messages) == 1:
            return Outcome(failed=[(messages[0], exc)])
        return await _write_one_by_one(db, sink, messages)
    return Outcome(written=list(messages))


async def check_writable(db: EntityStore) -> None:
    """Raises Unavailable when the database does not take writes now: what took too long was then not the sink."""
    async with db.transaction(seconds=CHECK_SECONDS):
        await db.privileged.execute("DELETE FROM [kernel_inbox] WHERE [id] = ''")


async def _write_one_by_one(db: EntityStore, sink: Sink, messages: Sequence[Message]) -> Outcome:
    outcome = Outcome()
    blocked: set[str] = set()
    for message in messages:
        if message.key in blocked:
            continue
        try:
            async with db.transaction():
                await _write_new(db, sink, [message])
        except Unavailable:
            raise
        except Exception as exc:  # noqa: BLE001 - as above
            outcome.failed.append((message, exc))
            blocked |= {message.key} - {""}
        else:
            outcome.written.append(message)
    return outcome


async def _write_new(db: EntityStore, sink: Sink, messages: Sequence[Message]) -> None:
    new = await _remember(db, messages)
    if not new:
        return
    try:
        async with asyncio.timeout(TRANSACTION_SECONDS):
            await sink(db, new)
    except TimeoutError as exc:
        raise TransactionTimeout("The sink took longer than its transaction may.") from exc


async def _remember(db: EntityStore, messages: Sequence[Message]) -> list[Message]:
    """Puts the ids into the inbox; the messages that were not in it, each once."""
    received_at = clock.timestamp()
    params = [value for message in padded(messages) for value in (message.id, received_at)]
    rows = await db.privileged.execute(
        f"INSERT INTO [kernel_inbox] ([id], [received_at]) VALUES {', '.join(['(?, ?)'] * (len(params) // 2))}"  # noqa: S608 - marks only
        " ON CONFLICT DO NOTHING RETURNING [id]",
        params,
    )
    new = {str(row[0]) for row in rows}
    return [message for message in {message.id: message for message in messages}.values() if message.id in new]


def reason_of(exc: Exception, body: Mapping[str, Any]) -> str:
    """Why a message died: the error's type and text, without the values of the message that the text repeats."""
    text = " ".join(f"{type(exc).__name__}: {exc}".split())
    for value in sorted(set(_texts(body)), key=len, reverse=True):
        text = text.replace(value, "[...]")
    return text[:LONGEST_REASON]


def _texts(value: Any) -> Iterator[str]:
    """Every text and number in a body that is long enough to be told from an ordinary word or digit."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) >= _SHORTEST_HIDDEN:
        yield str(value)
