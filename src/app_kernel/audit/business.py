"""Events that an application tells of itself, such as `invoice.voided`."""

import re
from collections.abc import Mapping
from typing import Any

from app_kernel.audit.recorder import event_body, event_message
from app_kernel.audit.trail import recorder_of
from app_kernel.core.context import current_context
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import InvalidAuditEvent, OutsideWorkspace
from app_kernel.core.ports import EntityStore

LONGEST_ACTION = 100
LONGEST_ID = 191
LONGEST_REASON = 10_000
_ACTION = re.compile(r"[A-Za-z0-9_:-]+(\.[A-Za-z0-9_:-]+)*")
_OF_ROWS = frozenset({"create", "update", "delete", "restore", "purge"})
_unstorable = re.compile(r"[\x00\ud800-\udfff]").search


async def record(
    action: str,
    target: tuple[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    *,
    workspace_id: str | None = None,
    reason: str | None = None,
    db: EntityStore | None = None,
) -> str:
    """Adds an event of the application's own to the audit log, and returns its id.

    `await record("invoice.voided", ("invoices", invoice_id), {"amount": "12.50"}, reason="paid twice")`. Inside
    `async with db.transaction()` it is there exactly if that commits; outside it is a commit of its own. Who, from
    where and when are those of the running request, job or command; so is the workspace, unless `workspace_id` or the
    handle says another. `meta` is redacted and bounded as changes are. Raises InvalidAuditEvent, OutsideWorkspace for
    a handle of another workspace, and AuditError where nothing is audited.
    """
    handle = db if db is not None else current_kernel().db.connection()
    recorder = recorder_of(handle)
    entity, entity_id = _target(target)
    body = event_body(
        recorder.app,
        _action(action),
        entity,
        entity_id,
        _meta(meta),
        recorder.redaction,
        workspace_id=_workspace(handle, workspace_id),
        reason=_reason(reason),
    )
    message = event_message(body)
    await handle.privileged.send_messages([message])
    return message.id


def _action(action: Any) -> str:
    if not isinstance(action, str) or len(action) > LONGEST_ACTION or not _ACTION.fullmatch(action):
        raise InvalidAuditEvent(f"action is a name such as invoice.voided, of at most {LONGEST_ACTION} characters.")
    if action in _OF_ROWS:
        raise InvalidAuditEvent(f"The action {action} is of rows alone; name the event, such as invoice.{action}.")
    return action


def _target(target: Any) -> tuple[str | None, str | None]:
    if target is None:
        return None, None
    if not isinstance(target, tuple | list) or len(target) != 2 or target[1] is None:
        raise InvalidAuditEvent('target is a pair of an entity and an id, such as ("invoices", invoice_id).')
    return _name("The entity of the target", target[0]), _name("The id of the target", str(target[1]))


def _name(what: str, value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID or _unstorable(value):
        raise InvalidAuditEvent(f"{what} is a text of 1 to {LONGEST_ID} characters.")
    return value


def _meta(meta: Any) -> Mapping[str, Any] | None:
    if meta is not None and not isinstance(meta, Mapping):
        raise InvalidAuditEvent("meta is a dict.")
    return meta


def _reason(reason: Any) -> str | None:
    if reason is not None and (not isinstance(reason, str) or len(reason) > LONGEST_REASON or _unstorable(reason)):
        raise InvalidAuditEvent(f"reason is a text of at most {LONGEST_REASON} characters.")
    return reason


def _workspace(db: EntityStore, given: str | None) -> str | None:
    if given is not None:
        _name("workspace_id", given)
    if db.workspace_id is None:
        return given if given is not None else current_context().workspace_id
    if given not in {None, db.workspace_id}:
        raise OutsideWorkspace("The event belongs to another workspace than the handle.")
    return db.workspace_id
