"""A feature that sends every change out and writes down what arrives, as often and in the order in which it does."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import apsw

from app_kernel.core.events import EntityChanged
from app_kernel.core.feature import Feature
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore

TOPIC = "admin:test_changes"


def every_change(change: EntityChanged) -> Iterable[Message]:
    """One message for each change, in order for each entity."""
    return [Message(TOPIC, {"id": change.id, "version": change.version}, key=str(change.id))]


async def write_down(db: EntityStore, messages: Sequence[Message]) -> None:
    """A row for each message; nothing but the inbox keeps one from being written twice."""
    for message in messages:
        await db.execute(
            "INSERT INTO [effects] ([entity], [version]) VALUES (?, ?)", (message.body["id"], message.body["version"])
        )


def make_effects(path: Path) -> None:
    """The table in which the rows are numbered as they arrive."""
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("CREATE TABLE effects (n INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT, version INTEGER)")


def read_effects(path: Path) -> dict[str, list[int]]:
    """The versions of each entity, as they arrived."""
    found: dict[str, list[int]] = {}
    with closing(apsw.Connection(str(path))) as connection:
        for entity, version in connection.execute("SELECT entity, version FROM effects ORDER BY n"):
            found.setdefault(str(entity), []).append(int(str(version)))
    return found


FEATURE = Feature(name="test_changes", recorders=(every_change,), sinks={TOPIC: write_down})
