"""Writes what the outbox carried into the audit log of the admin database."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app_kernel.audit import store
from app_kernel.audit.tables import FIELDS
from app_kernel.core import clock
from app_kernel.core.errors import InvalidAuditEvent
from app_kernel.core.outbox import Message
from app_kernel.core.ports import EntityStore

_TEXTS = tuple(name for name, kind in FIELDS.items() if kind is str)
_NEEDED = ("app", "action", "timestamp")


async def write_events(db: EntityStore, messages: Sequence[Message]) -> None:
    """Adds an entry for each message, under its id, once. Raises InvalidAuditEvent for what is none."""
    await store.insert_entries(db, [_values(message) for message in messages], clock.timestamp())


def _values(message: Message) -> list[Any]:
    body = message.body
    _check(body)
    values: list[Any] = [message.id]
    for name, kind in FIELDS.items():
        value = body.get(name)
        values.append(_json(value) if kind is dict and value is not None else value)
    return values


def _check(body: Mapping[str, Any]) -> None:
    for name in _TEXTS:
        value = body.get(name)
        if value is None and name not in _NEEDED:
            continue
        if type(value) is not str or "\0" in value:
            raise InvalidAuditEvent(f"{name} of an audit event is a text.")
    version = body.get("version")
    if version is not None and type(version) is not int:
        raise InvalidAuditEvent("version of an audit event is a number.")
    for name in ("changes", "meta"):
        if not isinstance(body.get(name), dict | None):
            raise InvalidAuditEvent(f"{name} of an audit event is an object.")


def _json(value: Any) -> str:
    written = orjson.dumps(value).decode()
    if "\\u0000" in written:
        # PostgreSQL stores no such character, not even in JSON.
        written = orjson.dumps(_without_nul(value)).decode()
    return written


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return [_without_nul(item) for item in value] if isinstance(value, list) else value
