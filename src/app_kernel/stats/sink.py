"""From the figures that processes send to the table in the admin database, added up there."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore
from app_kernel.stats import store
from app_kernel.stats.figures import Figures, hour_of

TOPIC = "admin:request_stats"


async def receive(db: EntityStore, messages: Sequence[Message]) -> None:
    """Adds the figures of the messages to those of their app, hour, method and route, and removes what is too old."""
    added: dict[store.Key, Figures] = {}
    days: dict[str, int] = {}
    for message in messages:
        app = str(message.body["app"])
        days[app] = int(message.body["days"])
        for hour, method, route, *values in message.body["figures"]:
            _add(added, (app, str(hour), str(method), str(route)), values)
    await store.add_figures(db, added)
    for app, kept in days.items():
        await store.remove_before(db, app, hour_of(clock.to_text(clock.now() - timedelta(days=kept))))


def _add(added: dict[store.Key, Figures], key: store.Key, values: Sequence[Any]) -> None:
    figures = Figures.from_values(values)
    known = added.setdefault(key, figures)
    if known is not figures:
        known.merge(figures)
