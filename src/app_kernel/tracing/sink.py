"""Writes what was slow or failed into the admin database, and keeps the latest of it."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.tracing.store import insert_traces, prune_traces

TOPIC = "admin:traces"
SLACK = 20
"""The table may be by one in so many longer than it should be, so that it need not be looked at with every message."""
PRUNED_AT_ONCE = 1000


class TraceSink:
    """The sink of one process."""

    def __init__(self) -> None:
        self._since: Counter[str] = Counter()
        """By service, the rows written since its oldest ones were looked for."""

    async def receive(self, db: EntityStore, messages: Sequence[Message]) -> None:
        """Writes the rows of the messages."""
        rows = [_row(row, message.body["app"]) for message in messages for row in message.body["traces"]]
        await insert_traces(db, rows)
        kept = {message.body["app"]: int(message.body["kept"]) for message in messages}
        # With the first message too, as the process before may have ended short of it.
        first = kept.keys() - self._since.keys()
        self._since.update(row["app"] for row in rows)
        for app, most in kept.items():
            # Twice as many go as came, or the table would grow for ever where much is kept or comes at once.
            if app in first or self._since[app] > min(most // SLACK, PRUNED_AT_ONCE // 2):
                await prune_traces(db, app, most, max(PRUNED_AT_ONCE, 2 * self._since[app]))
                self._since[app] = 0


def _row(given: dict[str, Any], app: str) -> dict[str, Any]:
    return {**given, "app": app, "started_at": datetime.fromisoformat(given["started_at"])}
