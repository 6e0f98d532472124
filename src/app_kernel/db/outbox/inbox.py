"""The receiving side: a batch is written in one transaction together with the ids of its messages, so it counts once.

A batch that fails is done again message by message, so that one that cannot be written is told from the others. After
a failure the later messages of the same key wait, because they would overtake it.
"""

import asyncio
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from app_kernel.core import clock
from app_kernel.core.errors import (
    ConstraintViolation,
    InvalidQuery,
    KernelError,
    QueryTimeout,
    TransactionTimeout,
    Unavailable,
    UnsupportedModel,
)
from app_kernel.core.outbox import Message, Sink
from app_kernel.core.ports import EntityStore
from app_kernel.core.sql_words import MYSQL, insert_once
from app_kernel.db.drivers.base import TRANSACTION_SECONDS
from app_kernel.db.outbox.rows import padded

MAX_ATTEMPTS = 5
"""Failures of a receiver after which a message is a dead letter."""
LONGEST_REASON = 500
TOO_LONG = (TransactionTimeout, QueryTimeout)
"""Of all that makes a database unavailable, what a smaller batch may cure and waiting does not."""
CHECK_SECONDS = 2.0


class SinkCancelled(Exception):
    """A sink let a CancelledError out although nobody had cancelled it: a task that it waited for was cancelled."""


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
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Let through, it would end the loop over the topic, and nobody would hear of it.
        raise SinkCancelled from exc


async def _remember(db: EntityStore, messages: Sequence[Message]) -> list[Message]:
    """Puts the messages into the inbox, with the open transaction; those that were not in it, each once."""
    by_name = {_name(message): message for message in messages}
    # In one order, so that of two who receive the same one waits for the other, and never each for the other.
    names = padded(sorted(by_name))
    received_at = clock.timestamp()
    if db.backend == MYSQL:
        received_at = f"{received_at} {secrets.token_hex(8)}"
    once = insert_once(db.backend, "kernel_inbox", "id")
    sql = f"INSERT INTO [kernel_inbox] ([id], [received_at]) VALUES {', '.join(['(?, ?)'] * len(names))}{once}"  # noqa: S608 - marks only
    params = [value for name in names for value in (name, received_at)]
    if db.backend == MYSQL:
        await db.privileged.execute(sql, params)
        # No other statement has written this text, so these are the rows that this one has made.
        rows = await db.privileged.execute("SELECT [id] FROM [kernel_inbox] WHERE [received_at] = ?", (received_at,))
    else:
        rows = await db.privileged.execute(f"{sql} RETURNING [id]", params)
    new = {str(row[0]) for row in rows}
    return [message for name, message in by_name.items() if name in new]


def _name(message: Message) -> str:
    """What the inbox knows a message by: two topics may use one id. No topic has a space, so no two names are equal."""
    return f"{message.topic} {message.id}"


def reason_of(exc: Exception) -> str:
    """Why a message died, in ASCII, which every database can store: the error's type, and its text or its place.

    The text only of an error of the kernel's own that holds no values; any other text may repeat the message.
    """
    name = type(exc).__name__
    text = f"{name}: {_text(exc)}" if _holds_no_values(exc) else f"{name}{_place(exc)}"
    cleaned = " ".join(text.replace("\0", "?").split())
    return cleaned.encode("ascii", "backslashreplace").decode()[:LONGEST_REASON]


def _holds_no_values(exc: Exception) -> bool:
    # A class that an application derives from one of the kernel's says what the application likes.
    if not isinstance(exc, KernelError) or not type(exc).__module__.startswith("app_kernel."):
        return False
    # These may quote a value, a statement, or what a trigger of the application says.
    return not isinstance(exc, InvalidQuery | UnsupportedModel) and type(exc) is not ConstraintViolation


def _text(exc: Exception) -> str:
    try:
        return str(exc)
    except Exception:  # noqa: BLE001 - whatever it was made with
        return "its text cannot be read"


def _place(exc: Exception) -> str:
    """Where it was raised, as module and line; in the kernel itself, what called it there."""
    found, trace = "", exc.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__", "?"))
        if not found or not module.startswith("app_kernel.") or found.startswith(" at app_kernel."):
            found = f" at {module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found
