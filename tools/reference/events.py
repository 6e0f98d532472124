"""docs/reference/events.md: every event that a feature may listen to, with its fields."""

import dataclasses
import inspect

from app_kernel.core import events
from tools.reference.page import page, table
from tools.reference.source import fields_of

_INTRODUCTION = (
    "A feature hears of an event after the fact, of `UserRegistered`, `UserDeleted` and `OwnershipProven` inside"
    " the transaction, so that what it writes is part of the same commit:"
    " `Feature(name=..., listeners={UserRegistered: on_registered})`, where"
    " `on_registered(kernel, event)` is plain or async. A listener that fails is logged and"
    " counted, and harms nobody. `SecurityEvent` is told once the change is committed, and never if it is rolled"
    " back; async listeners of it run in a task then. `Feature(event_recorders={SecurityEvent: record})`, where"
    " `record(kernel, event)` gives outbox messages, sends them in the change's own commit; where it raises, the"
    " change is refused. What tells of a refusal alone (`auth.login_failed`, `auth.login_throttled`,"
    " `auth.csrf_refused`, `oauth.refused`, `api_key.refused`) is told at once and recorded in a commit of its own,"
    " 30 of a kind from one address and 1000 by one process in a minute at most."
)


def render_events() -> str:
    """Every event that a feature may listen to."""
    parts = []
    for name, event in inspect.getmembers(events, inspect.isclass):
        if not dataclasses.is_dataclass(event):
            continue
        rows = [(f"`{field.name}`", f"`{field.type}`", field.meaning) for field in fields_of(event)]
        shape = table(("field", "type", "meaning"), rows) if rows else "It has no fields."
        parts.append(f"## {name}\n\n{inspect.getdoc(event) or ''}\n\n{shape}\n")
    return page("Events", _INTRODUCTION, "\n".join(parts))
