"""From a change of an entity, or a security event, to the message that tells of it; on the path of every write."""

from collections.abc import Iterable, Mapping
from typing import Any

from app_kernel.audit.tables import TOPIC
from app_kernel.audit.targets import target_of
from app_kernel.audit.values import (
    CLOSED,
    LARGEST_EVENT,
    OPEN,
    SECRET,
    Redaction,
    may_be_secret,
    plain,
    sentence,
    storable,
)
from app_kernel.core import clock
from app_kernel.core.context import Context, current_context
from app_kernel.core.events import EntityChanged, SecurityEvent
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import Message
from app_kernel.core.redaction import REDACTED, SHORTEST_CREDENTIAL

LONGEST_KEY = 500
_MOVED_BY_EVERY_CHANGE = frozenset({"id", "updated_at", "updated_by", "_version"})
_TOLD_BY_A_CREATE = frozenset({*_MOVED_BY_EVERY_CHANGE, "created_at", "created_by"})
"""Who and when: the event says so itself."""

Body = dict[str, Any]


class ChangeRecorder:
    """Tells the audit log of every change of one database, under the name of an app.

    Recorders of this kind are equal, so that a database has one: two would tell of each change twice.
    """

    def __init__(self, app: str, redaction: Redaction | None = None, exclude: Iterable[str] = ()) -> None:
        self.app = app
        self.redaction = redaction or Redaction()
        self.exclude = frozenset(exclude)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ChangeRecorder)

    def __hash__(self) -> int:
        return hash(ChangeRecorder)

    def __call__(self, change: EntityChanged) -> tuple[Message, ...]:
        entity = change.entity
        if entity in self.exclude:
            return ()
        after, before = change.after, change.before
        row: Mapping[str, Any] = after if after is not None else before or {}
        if "workspace_id" in row:
            given = row["workspace_id"]
            workspace_id = given if given is None or type(given) is str else str(given)
        else:
            workspace_id = change.workspace_id
        entity_id = change.id if type(change.id) is str else str(change.id)
        comment, trace, user_id = change.comment, change.traceparent, change.actor_id
        body = {
            "app": self.app,
            "action": str(change.action),
            "entity": entity,
            "entity_id": entity_id,
            "version": change.version,
            "changes": self.changes(entity, before, after),
            "user_id": user_id if user_id is None or type(user_id) is str else str(user_id),
            "api_key_id": change.api_key_id,
            "job_id": change.job_id,
            "source": source_of(change),
            "command": change.command,
            "request_id": change.request_id,
            "trace_id": None if trace is None else trace[3:35],
            "address": change.address,
            "workspace_id": workspace_id,
            "reason": None if comment is None else sentence(comment),
            "timestamp": change.at,
        }
        return (Message(TOPIC, body, f"{self.app}:{entity}:{entity_id}"[:LONGEST_KEY], clock.new_id(), change.at),)

    def changes(self, entity: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> dict[str, Any]:
        """What differs, as field to [old, new], without what every change moves, without secrets, and as JSON."""
        if before is None or after is None:
            return self._whole(entity, after or {}, 1) if before is None else self._whole(entity, before, 0)
        redaction, left = self.redaction, [LARGEST_EVENT]
        known = redaction.of_entity(entity)
        shown: dict[str, Any] = {}
        names: Iterable[str] = after if len(after) >= len(before) else dict.fromkeys((*after, *before))
        for name in names:
            old, new = before.get(name), after.get(name)
            if old == new or name in _MOVED_BY_EVERY_CHANGE:
                continue
            decided = known.get(name)
            if decided is None:
                decided = redaction.look(entity, name, known)
            if decided is not OPEN and _hides(decided, name, old, new):
                shown[name] = [REDACTED, REDACTED]
            else:
                shown[name] = [plain(old, redaction, left), plain(new, redaction, left)]
        return shown

    def _whole(self, entity: str, row: Mapping[str, Any], position: int) -> dict[str, Any]:
        """The same of a row that there was not before, or that is gone: all of its values."""
        redaction, left = self.redaction, [LARGEST_EVENT]
        known = redaction.of_entity(entity)
        skipped = _TOLD_BY_A_CREATE if position else _MOVED_BY_EVERY_CHANGE
        shown: dict[str, Any] = {}
        for name, value in row.items():
            if value is None or name in skipped:
                continue
            decided = known.get(name)
            if decided is None:
                decided = redaction.look(entity, name, known)
            if decided is not OPEN and _hides(decided, name, value, None):
                shown[name] = [REDACTED, REDACTED]
                continue
            # Most values are short texts: on the path of every write the call would cost more than the rest.
            is_short = type(value) is str and len(value) < SHORTEST_CREDENTIAL and value.isascii()
            told = value if is_short else plain(value, redaction, left)
            shown[name] = [None, told] if position else [told, None]
        return shown


def _hides(decided: int, name: str, old: Any, new: Any) -> bool:
    return decided is CLOSED or (decided is SECRET and (may_be_secret(name, old) or may_be_secret(name, new)))


def source_of(origin: EntityChanged | Context) -> str:
    """Through what it was done: job, api_key, command, request or code."""
    if origin.job_id is not None:
        return "job"
    if origin.api_key_id is not None:
        return "api_key"
    if origin.command is not None:
        return "command"
    return "code" if origin.request_id is None else "request"


class SecurityRecorder:
    """Tells the audit log of security events, under the name that the changes have."""

    def __init__(self, changes: ChangeRecorder) -> None:
        self._changes = changes

    def __call__(self, kernel: Kernel, event: SecurityEvent) -> tuple[Message, ...]:
        recorder = self._changes
        entity, entity_id, workspace_id = target_of(event)
        if entity in recorder.exclude:
            return ()
        actor = event.actor_id
        if actor is None and event.name in _BY_ONESELF and current_context().request_id is not None:
            actor = event.user_id
        # Whose account it is about, where the target is not that account.
        about = {} if event.user_id is None or entity == "users" else {"user_id": event.user_id}
        body = event_body(
            recorder.app,
            event.name,
            entity,
            entity_id,
            {**about, **event.detail},
            recorder.redaction,
            workspace_id=workspace_id,
        )
        body["user_id"], body["address"] = None if actor is None else str(actor), event.address
        return (event_message(body),)


_BY_ONESELF = frozenset({"auth.login", "auth.registered", "auth.password_reset", "auth.email_verified"})
"""Who does these in a request is nobody yet when it is told, and acts for themselves."""


def event_body(
    app: str,
    action: str,
    entity: str | None,
    entity_id: str | None,
    meta: Mapping[str, Any] | None,
    redaction: Redaction,
    *,
    workspace_id: str | None = None,
    reason: str | None = None,
) -> Body:
    """What is told of an event that is no change of a row, in the running request, job or command."""
    context = current_context()
    user_id = context.actor_id
    return {
        "app": app,
        "action": action,
        "entity": entity,
        "entity_id": entity_id,
        "meta": plain(meta, redaction, [LARGEST_EVENT]) if meta else None,
        "user_id": None if user_id is None else str(user_id),
        "api_key_id": context.api_key_id,
        "job_id": context.job_id,
        "source": source_of(context),
        "command": context.command,
        "request_id": context.request_id,
        "trace_id": None if context.traceparent is None else context.traceparent[3:35],
        "address": context.address,
        "workspace_id": workspace_id,
        "reason": None if reason is None else sentence(reason),
        "timestamp": clock.timestamp(),
    }


def event_message(body: Body) -> Message:
    """An event on its way, in order with what else happens to the same thing."""
    key = f"{body['app']}:{body['entity']}:{body['entity_id']}"[:LONGEST_KEY] if body["entity_id"] else ""
    return Message(TOPIC, body, storable(key), created_at=body["timestamp"])
