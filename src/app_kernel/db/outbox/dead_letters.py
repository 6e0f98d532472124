"""What waits, and what no receiver took: listed with the reason, and sent again by hand under the same id."""

from dataclasses import dataclass
from typing import Any

from app_kernel.core.errors import InvalidQuery
from app_kernel.core.ports import EntityStore
from app_kernel.core.sql_words import MYSQL
from app_kernel.db.outbox.rows import decode_body, seconds_since

_LIST = "SELECT [id], [topic], [key], [body], [created_at], [died_at], [attempts], [reason] FROM [kernel_dead_letters]"
_LATEST_FIRST = " ORDER BY [died_at] DESC, [id] DESC LIMIT ?"
_WAITING = (
    "SELECT [topic], COUNT(*), MIN([created_at]) FROM [kernel_outbox] WHERE [batch] IS NULL"
    " GROUP BY [topic] ORDER BY [topic]"
)
_RETRY = (
    "INSERT INTO [kernel_outbox] ([id], [topic], [key], [body], [created_at])"
    " SELECT [id], [topic], [key], [body], [created_at] FROM [kernel_dead_letters] WHERE [id] = ?"
)
_HOLD = "SELECT [id] FROM [kernel_dead_letters] WHERE [id] = ? FOR UPDATE"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message and how it died."""

    id: str
    topic: str
    key: str
    body: dict[str, Any] | None
    """None when it is no JSON object."""
    created_at: str
    died_at: str
    attempts: int
    reason: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """The messages of one topic that have not left."""

    topic: str
    unsent: int
    oldest_at: str

    @property
    def seconds(self) -> float:
        """Age of the oldest of them; 0 when its text tells no instant, which nothing of the kernel's writes."""
        try:
            return seconds_since(self.oldest_at)
        except (TypeError, ValueError, OverflowError):
            return 0.0


async def list_waiting(db: EntityStore) -> list[Waiting]:
    """What has not left this database, by topic."""
    rows = await db.privileged.execute(_WAITING)
    return [Waiting(row[0], row[1], row[2]) for row in rows]


async def count_dead(db: EntityStore) -> int:
    """How many dead letters there are in this database."""
    rows = await db.privileged.execute("SELECT COUNT(*) FROM [kernel_dead_letters]")
    return int(rows[0][0])


async def list_dead_letters(db: EntityStore, *, topic: str | None = None, limit: int = 100) -> list[DeadLetter]:
    """Dead letters of this database, the latest first; of one topic or of all."""
    if type(limit) is not int or limit < 0:
        raise InvalidQuery("limit is a whole number from 0.")
    of_topic, params = ("", (limit,)) if topic is None else (" WHERE [topic] = ?", (topic, limit))
    rows = await db.privileged.execute(_LIST + of_topic + _LATEST_FIRST, params)
    return [
        DeadLetter(
            id=row["id"],
            topic=row["topic"],
            key=row["key"],
            body=decode_body(row["body"]),
            created_at=row["created_at"],
            died_at=row["died_at"],
            attempts=row["attempts"],
            reason=row["reason"],
        )
        for row in rows
    ]


async def retry_dead_letter(db: EntityStore, id: str) -> bool:
    """Sends a dead letter again, under its own id, behind what waits already; False when there is none of this id.

    Where several topics have one of this id, all of them. A receiver that had written it after all drops it. The order
    among messages of its key is not kept.
    """
    async with db.transaction():
        if db.backend == MYSQL:
            rows = await db.privileged.execute(_HOLD, (id,))
            await db.privileged.execute(_RETRY, (id,))
        else:
            rows = await db.privileged.execute(f"{_RETRY} RETURNING [id]", (id,))
        await db.privileged.execute("DELETE FROM [kernel_dead_letters] WHERE [id] = ?", (id,))
    return bool(rows)
