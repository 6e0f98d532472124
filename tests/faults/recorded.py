"""A database whose every change leaves one message in the outbox, as a feature's recorder would."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from app_kernel.core.events import EntityChanged
from app_kernel.core.outbox import Message
from app_kernel.db.database import create_database
from app_kernel.db.store import Store

TOPIC = "test:changes"


def every_change(change: EntityChanged) -> Iterable[Message]:
    """One message for each change, which says which version of what it was."""
    body = {"entity": change.entity, "id": change.id, "version": change.version, "action": change.action}
    return [Message(TOPIC, body, key=f"{change.entity}/{change.id}")]


@asynccontextmanager
async def connect_recorded(url: str) -> AsyncIterator[Store]:
    """As `connect`, with that recorder."""
    database = create_database(url, recorders=[every_change])
    await database.open()
    try:
        yield database.connection()
    finally:
        await database.close()
