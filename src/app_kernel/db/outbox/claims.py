"""A stream is drained into one admin database; a second one would get what the first has not taken, and some twice."""

from typing import TYPE_CHECKING, Any

from app_kernel.core.errors import Unavailable
from app_kernel.db.outbox.streams import answer_of, is_full

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def claim_stream(redis: "Redis", topic: str, database_id: str) -> bool:
    """Whether the stream is this admin database's, from now on or already; raises Unavailable."""
    key = claim_key(topic)
    try:
        await answer_of(redis.set(key, database_id, nx=True))
    except Unavailable as exc:
        # A Redis that is full has to be drained all the same; it is claimed by the next worker that starts.
        if not is_full(exc):
            raise
    holder: Any = await answer_of(redis.get(key))
    return holder is None or holder == database_id.encode()


def claim_key(topic: str) -> str:
    """Where Redis keeps the identity of the admin database that a stream is for."""
    return f"app_kernel:admin_database:{topic}"
