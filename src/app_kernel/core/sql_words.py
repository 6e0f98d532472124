"""What databases spell differently in statements over the kernel's own tables: words by the name of the backend.

Portable text, with [name] and ?, for `EntityStore.execute` and `Statements`. MySQL, which is MariaDB too, has no
RETURNING for most statements and no LIMIT inside IN; what they would tell is asked there by a statement of its own.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

MYSQL = "mysql"


class Runner(Protocol):
    """What runs statements one by one, such as an `EntityStore`."""

    @property
    def backend(self) -> str:
        """sqlite, postgres or mysql."""

    async def execute(self, sql: str, params: Sequence[Any], /) -> Sequence[Sequence[Any] | Any]:
        """Runs one portable statement and gives its rows."""


@cache
def insert_once(backend: str, table: str, key: str) -> str:
    """The end of an INSERT that leaves alone a row which is there already, by a unique key; `key` is a field of one.

    Whoever inserts one waits for the transaction that has just inserted the same; on MySQL it holds the row
    afterwards, also one that was there. Only a duplicate is passed over, which INSERT IGNORE would not keep to.
    """
    if backend == MYSQL:
        return f" ON DUPLICATE KEY UPDATE [{table}].[{key}] = [{table}].[{key}]"
    return " ON CONFLICT DO NOTHING"


def upsert(backend: str, key: str, changes: Sequence[str]) -> str:
    """The end of an INSERT that changes the row which has the same `key` already.

    Each change is an assignment; in it [table].[field] is what was there and `added` what the INSERT gives. None may
    read a field that one before it changes: MySQL would read the new value.
    """
    keyed = " ON DUPLICATE KEY UPDATE" if backend == MYSQL else f" ON CONFLICT ([{key}]) DO UPDATE SET"
    return f"{keyed} {', '.join(changes)}"


def added(backend: str, field: str) -> str:
    """In a change of `upsert`: the value that the INSERT would have given to a field."""
    return f"VALUES([{field}])" if backend == MYSQL else f"excluded.[{field}]"


def text_param(backend: str) -> str:
    """A text among the columns of a SELECT, where PostgreSQL has to be told what it is."""
    return "?" if backend == MYSQL else "CAST(? AS TEXT)"


def bytes_of(backend: str, field: str) -> str:
    """The length of a text in bytes; in characters on SQLite, which would have to read all of it for its bytes."""
    return f"LENGTH([{field}])" if backend == "sqlite" else f"OCTET_LENGTH([{field}])"


async def remove_some(
    db: Runner, table: str, clause: str, params: Sequence[Any], limit: int, *, order_by: str = "", key: str = "id"
) -> int:
    """Removes rows that fulfil a clause, `limit` of them at most, the first by [order_by]; how many.

    On MySQL that is how many there were: fewer are removed where another one removes them at the same moment. `key`
    is the primary key of the table.
    """
    order = f" ORDER BY [{order_by}]" if order_by else ""
    if db.backend != MYSQL:
        chosen = f"SELECT [{key}] FROM [{table}] WHERE {clause}{order} LIMIT ?"  # noqa: S608 - words of the kernel's
        sql = f"DELETE FROM [{table}] WHERE [{key}] IN ({chosen}) RETURNING [{key}]"  # noqa: S608 - as above
        return len(await db.execute(sql, (*params, limit)))
    some = f"SELECT 1 FROM [{table}] WHERE {clause} LIMIT ?"  # noqa: S608 - as above
    rows = await db.execute(f"SELECT COUNT(*) FROM ({some}) AS found", (*params, limit))  # noqa: S608 - as above
    found = int(rows[0][0])
    if found:
        await db.execute(f"DELETE FROM [{table}] WHERE {clause}{order} LIMIT ?", (*params, found))  # noqa: S608 - as above
    return found
