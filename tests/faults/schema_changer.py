"""A program that changes the schema of one entity and dies behind its nth statement that changes anything.

URL ENTITY CHANGE NUMBER. SIGKILL strikes in the very moment in which the server's answer has arrived; with a number
beyond the last one it says how many there were.
"""

import asyncio
import itertools
import os
import re
import signal
import sys
from typing import Any

from app_kernel.db.database import connect
from app_kernel.db.drivers.mysql_connection import Connection
from app_kernel.db.drivers.mysql_statements import first_word
from app_kernel.db.store import Store
from tests.faults.children import emit
from tests.faults.figures import figure

CHANGES: dict[str, dict[str, Any]] = {
    "create": {"id": "new", "n": 1, "t": "text"},
    "add": {"id": "a", "added": "a new field", "second": 2.5},
    "float": {"id": "a", "n": 1.5},
    "variant": {"id": "a", "n": "text in a column of numbers"},
    "text": {"id": "a", "t": 7},
    "unique": {},
}
"""What is saved, by the change that it needs; `unique` makes an index over [u]."""


COUNTED = re.compile(
    r"\b(?:COMMIT|CREATE|ALTER|LOCK TABLES|UNLOCK" + figure(short="", long="|INSERT|UPDATE|DROP") + r")\b"
)
"""Behind any other statement everything is as it was before; in the short run, what a COMMIT takes back is left out."""


def dies_after(number: int) -> list[str]:
    """Kills this process behind its statement of this number that changes anything; the words of those so far."""
    words: list[str] = []
    count = itertools.count(1)
    query = Connection._query

    async def counted(self: Connection, text: str, timeout: float | None) -> Any:
        rows = await query(self, text, timeout)
        word = first_word(text)
        if COUNTED.search(text):
            words.append(word)
            if next(count) == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return rows

    Connection._query = counted  # type: ignore[method-assign]  # this whole process is about it
    return words


async def change_schema(db: Store, entity: str, change: str) -> None:
    """Makes the change."""
    if change == "unique":
        await db.ensure_index(entity, ["u"], unique=True)
    else:
        await db.save_entity(entity, CHANGES[change])


async def main(url: str, entity: str, change: str, number: int) -> None:
    """Opens the database, changes the schema, says that it is alive."""
    async with connect(url) as db:
        words = dies_after(number)
        await change_schema(db, entity, change)
        emit(finished=words)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
