"""The outbox's own tables, as statements: rows that wait, rows that were sent, dead letters, and the relay's memory.

A row is claimed because it is unsent, in the order of its number within its topic, and never because its number is
above one seen before: numbers commit out of order.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from app_kernel.core import clock
from app_kernel.core.outbox import ADMIN_TOPICS, Message
from app_kernel.core.sql_words import MYSQL, Runner, bytes_of, insert_once, remove_some, text_param
from app_kernel.db.drivers.base import ANY_GENERATION, Driver, Row, Statement, Work
from app_kernel.db.portable import compile_raw

KEPT_SENT = timedelta(hours=24)
"""How long a sent row can be sent again, should Redis lose what it was given."""
KEPT_INBOX = timedelta(days=7)
"""How long a receiver knows a message that comes again."""
PAGE_BYTES = 4_000_000
"""Length of the bodies of a page with which no further row is added to it."""
PRUNED_AT_ONCE = 1000
RESENT_AT_ONCE = 5000

_UNSENT = (
    "SELECT o.[seq], o.[id], o.[topic], o.[key], o.[body], o.[created_at], o.[attempts] FROM"
    " (SELECT [seq], SUM([size]) OVER (ORDER BY [seq]) - [size] AS [before] FROM (SELECT [seq], SIZE AS [size]"
    " FROM [kernel_outbox] WHERE [batch] IS NULL AND [topic] = ? AND [seq] > ? ORDER BY [seq] LIMIT ?) AS w) AS p"
    " JOIN [kernel_outbox] AS o ON o.[seq] = p.[seq] WHERE p.[before] < ? ORDER BY o.[seq]"
)
BURY = "INSERT INTO [kernel_dead_letters] ([id], [topic], [key], [body], [created_at], [died_at], [attempts], [reason])"
_BURIED = (
    " SELECT [id], [topic], [key], [body], [created_at], TEXT, [attempts] + 1, TEXT FROM [kernel_outbox]"
    " WHERE [seq] = ?"
)
_FIRST_MEMORY = "INSERT INTO [kernel_relay] ([name], [value]) VALUES ('database_id', ?), ('batch', ?)"
_MOVE_MARK = "UPDATE [kernel_relay] SET [value] = ? WHERE [name] = 'batch' AND [value] = ? RETURNING [name]"
_HOLD_MARK = "SELECT [value] FROM [kernel_relay] WHERE [name] = 'batch' FOR UPDATE"
_SET_MARK = "UPDATE [kernel_relay] SET [value] = ? WHERE [name] = 'batch'"
_SENT_LATER = "[batch] > ? AND [sent_at] > ? ORDER BY [sent_at] LIMIT ?"
_UNSEND = "UPDATE [kernel_outbox] SET [batch] = NULL, [sent_at] = NULL WHERE"
_FIND_SENT = f"SELECT [seq] FROM [kernel_outbox] WHERE {_SENT_LATER}"  # noqa: S608 - words of this module
_SEND_AGAIN = f"{_UNSEND} [seq] IN ({_FIND_SENT}) RETURNING [seq]"


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An unsent row."""

    seq: int
    message: Message
    attempts: int
    """How often a receiver has failed with it."""
    is_readable: bool = True
    """Whether its body is a JSON object; nothing of the kernel's own writes another one."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What has not left yet."""

    unsent: int
    oldest_seconds: float
    """Age of the oldest unsent row; 0 when there is none."""
    dead: int
    """Dead letters in this database."""


class OutOfStep(Exception):
    """A transport had lost or gained messages; that is settled, and the outbox is to be looked at anew."""


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a database has fed Redis; both remember it, as `nonce:number`."""

    nonce: str
    """Another one after every loss, so that an older copy of Redis is told from one that has everything. Empty in a
    database of an earlier layout that has seen no loss yet."""
    number: int
    """The number of the latest batch; 0 before the first."""

    def __str__(self) -> str:
        return f"{self.nonce}:{self.number}" if self.nonce else str(self.number)

    def next(self) -> "Mark":
        """The mark after one more batch."""
        return Mark(self.nonce, self.number + 1)

    def after_loss(self) -> "Mark":
        """The same number under a nonce that no copy of Redis knows."""
        return Mark(new_nonce(), self.number)


@dataclass(frozen=True, slots=True)
class Epoch:
    """How far this database has fed Redis, and who it is."""

    database_id: str
    mark: Mark


class OutboxRows:
    """The statements over one database's outbox."""

    def __init__(self, driver: Driver, app: str = "") -> None:
        """`app` takes the place of an empty one in the body of a message: see `OutboxRows.unsent`."""
        self._driver = driver
        self._app = app

    @property
    def backend(self) -> str:
        """sqlite, postgres or mysql."""
        return self._driver.dialect.name

    async def execute(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """The rows of one statement, all or nothing."""
        return await self._driver.run(compile_raw(sql, self._driver.dialect), params)

    async def topics(self) -> list[str]:
        """The topics of unsent rows."""
        rows = await self._fetch("SELECT DISTINCT [topic] FROM [kernel_outbox] WHERE [batch] IS NULL")
        return [str(row[0]) for row in rows]

    async def unsent(self, topic: str, after: int, limit: int) -> list[OutboxRow]:
        """Unsent rows of a topic with numbers above `after`, in their order.

        Fewer than `limit` where their bodies are longer than PAGE_BYTES together, and none only when none is left.
        A command of a terminal may not know which service it looks after, so its admin messages leave `app` empty:
        they are of the service that carries them.
        """
        sql = _UNSENT.replace("SIZE", bytes_of(self.backend, "body"))
        rows = await self._fetch(sql, topic, after, limit, PAGE_BYTES)
        return [self._named(_outbox_row(row)) for row in rows]

    def _named(self, row: OutboxRow) -> OutboxRow:
        message = row.message
        # Of an application's own topics `app` means what it likes.
        if message.body.get("app") != "" or not message.topic.startswith(ADMIN_TOPICS):
            return row
        return replace(row, message=replace(message, body={**message.body, "app": self._app}))

    async def last_unsent(self, topic: str) -> int:
        """The highest number of an unsent row of a topic; 0 when there is none."""
        rows = await self._fetch("SELECT MAX([seq]) FROM [kernel_outbox] WHERE [batch] IS NULL AND [topic] = ?", topic)
        return int(rows[0][0] or 0)

    async def remove(self, seqs: Sequence[int]) -> None:
        """Forgets rows whose receiver has committed them."""
        await self._write(_matching("DELETE FROM [kernel_outbox] WHERE [seq] IN", seqs))

    async def mark_sent(self, seqs: Sequence[int], mark: Mark) -> None:
        """Rows that Redis has as the batch after `mark`; raises OutOfStep when that is not the stored mark any more."""
        batch = mark.next()
        sql, numbers = _matching(
            "UPDATE [kernel_outbox] SET [batch] = ?, [sent_at] = ? WHERE [batch] IS NULL AND [seq] IN", seqs
        )
        await self._run_at(mark, batch, (sql, (batch.number, clock.timestamp(), *numbers)))

    async def count_attempt(self, seq: int) -> None:
        """One more failure of a receiver with this row."""
        await self._write(("UPDATE [kernel_outbox] SET [attempts] = [attempts] + 1 WHERE [seq] = ?", (seq,)))

    async def bury(self, seq: int, reason: str) -> None:
        """Turns a row into a dead letter."""
        await self._write(
            (self._burying(), (clock.timestamp(), reason, seq)),
            ("DELETE FROM [kernel_outbox] WHERE [seq] = ?", (seq,)),
        )

    async def epoch(self) -> Epoch:
        """Who this database is to Redis, and the latest batch; makes up an identity where there is none."""
        found = await self._memory()
        if "database_id" not in found:
            once = insert_once(self.backend, "kernel_relay", "name")
            await self._write((_FIRST_MEMORY + once, (clock.new_id(), str(Mark(new_nonce(), 0)))))
            found = await self._memory()
        mark = parse_mark(found["batch"])
        if mark is None:
            raise ValueError("kernel_relay holds no mark that this version can read")
        return Epoch(found["database_id"], mark)

    async def set_mark(self, mark: Mark, new: Mark) -> None:
        """The latest batch that Redis has; raises OutOfStep when `mark` is not the stored one any more."""
        await self._run_at(mark, new)

    async def send_again(self, mark: Mark, after_batch: int) -> int:
        """Makes what was sent in later batches unsent, as far as it is kept; the number of rows.

        In steps, each a commit of its own: one that is broken off has only to be done again. Raises OutOfStep when
        `mark` is not the stored one any more.
        """
        count, oldest = 0, clock.to_text(clock.now() - KEPT_SENT)
        while True:
            again = await self._unsend(mark, (after_batch, oldest, RESENT_AT_ONCE))
            count += again
            if again < RESENT_AT_ONCE:
                return count

    async def prune(self) -> None:
        """Removes sent rows and remembered ids that are past their time, some in each commit."""
        while await self._prune_sent() or await prune_inbox(self):
            pass

    async def lag(self) -> Lag:
        """What has not left yet."""
        rows = await self._fetch(
            "SELECT COUNT(*), MIN([created_at]), (SELECT COUNT(*) FROM [kernel_dead_letters])"
            " FROM [kernel_outbox] WHERE [batch] IS NULL"
        )
        unsent, oldest, dead = rows[0][:3]
        return Lag(int(unsent), seconds_since(oldest) if oldest else 0.0, int(dead))

    async def _prune_sent(self) -> bool:
        old = (clock.to_text(clock.now() - KEPT_SENT),)
        clause = "[batch] IS NOT NULL AND [sent_at] < ?"
        removed = await remove_some(self, "kernel_outbox", clause, old, PRUNED_AT_ONCE, order_by="sent_at", key="seq")
        return removed == PRUNED_AT_ONCE

    async def _memory(self) -> dict[str, str]:
        return {str(row[0]): str(row[1]) for row in await self._fetch("SELECT [name], [value] FROM [kernel_relay]")}

    async def _fetch(self, sql: str, *params: Any) -> list[Row]:
        return await self._driver.fetch(compile_raw(sql, self._driver.dialect), params)

    async def _run_at(self, mark: Mark, new: Mark, *statements: Statement) -> None:
        """Moves the mark and runs statements in one commit; raises OutOfStep at another mark."""

        def work() -> Work[None]:
            yield from self._move(mark, new)
            for statement in statements:
                yield self._compiled(*statement)

        await self._driver.write(work, ANY_GENERATION, "kernel_outbox")

    def _move(self, mark: Mark, new: Mark) -> Work[None]:
        """Moves the mark, which nobody else does until the unit ends; raises OutOfStep at another mark."""
        if self.backend == MYSQL:
            rows = yield self._compiled(_HOLD_MARK, ())
            is_there = bool(rows) and rows[0][0] == str(mark)
        else:
            is_there = bool((yield self._compiled(_MOVE_MARK, (str(new), str(mark)))))
        if not is_there:
            raise OutOfStep
        if self.backend == MYSQL:
            yield self._compiled(_SET_MARK, (str(new),))

    async def _unsend(self, mark: Mark, params: Sequence[Any]) -> int:
        """Makes some rows unsent, at this mark; how many."""

        def work() -> Work[int]:
            yield from self._move(mark, mark)
            if self.backend != MYSQL:
                return len((yield self._compiled(_SEND_AGAIN, params)))
            # Whoever else changes what is sent has to move the mark first; only what is too old may be gone meanwhile.
            found = yield self._compiled(_FIND_SENT, params)
            yield self._compiled(f"{_UNSEND} {_SENT_LATER}", params)
            return len(found)

        return await self._driver.write(work, ANY_GENERATION, "kernel_outbox")

    def _burying(self) -> str:
        text = text_param(self.backend)
        return BURY + _BURIED.replace("TEXT", text) + insert_once(self.backend, "kernel_dead_letters", "id")

    async def _write(self, *statements: Statement) -> None:
        """All of the statements in one commit."""

        def work() -> Work[None]:
            for statement in statements:
                yield self._compiled(*statement)

        await self._driver.write(work, ANY_GENERATION, "kernel_outbox")

    def _compiled(self, sql: str, params: Sequence[Any]) -> Statement:
        return compile_raw(sql, self._driver.dialect), params


async def prune_inbox(db: Runner) -> bool:
    """Forgets some messages that are past their time; whether there may be more of them."""
    old = (clock.to_text(clock.now() - KEPT_INBOX),)
    clause = "[received_at] < ?"
    removed = await remove_some(db, "kernel_inbox", clause, old, PRUNED_AT_ONCE, order_by="received_at")
    return removed == PRUNED_AT_ONCE


def parse_mark(text: str | None) -> Mark | None:
    """A mark as it is stored; None for a text that is none."""
    nonce, colon, number = (text or "").rpartition(":")
    if bool(nonce) != bool(colon) or not (number.isascii() and number.isdigit()):
        return None
    return Mark(nonce, int(number))


def new_nonce() -> str:
    """What no other mark begins with."""
    return secrets.token_hex(8)


def padded(values: Sequence[Any]) -> list[Any]:
    """The values, the last one repeated up to a power of two: few lengths make few statements to prepare."""
    length = 1 << (len(values) - 1).bit_length()
    return [*values, *[values[-1]] * (length - len(values))]


def seconds_since(timestamp: str) -> float:
    """Seconds since an instant in the store's text form; 0 for one that is still to come."""
    return max(0.0, clock.epoch() - datetime.fromisoformat(timestamp).timestamp())


def encode_body(body: Mapping[str, Any]) -> str:
    """A message's body as it is stored and sent."""
    return orjson.dumps(body).decode()


def decode_body(text: str | bytes) -> dict[str, Any] | None:
    """A message's body; None for a text that is no JSON object."""
    try:
        body = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return body if isinstance(body, dict) else None


def _outbox_row(row: Row) -> OutboxRow:
    seq, id, topic, key, text, created_at, attempts = row[:7]
    body = decode_body(text)
    message = Message(topic=topic, body=body or {}, key=key, id=id, created_at=created_at)
    return OutboxRow(int(seq), message, int(attempts), body is not None)


def _matching(sql: str, seqs: Sequence[int]) -> Statement:
    numbers = padded(list(seqs))
    return f"{sql} ({', '.join('?' * len(numbers))})", tuple(numbers)
