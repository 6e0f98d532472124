"""Triggering events, by code or by changes of entities: a message that leaves with the commit."""

import re
from collections.abc import Iterable
from typing import Any, TypeGuard

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import AmbiguousKernel, InvalidWebhook, NoRunningKernel, WebhookError
from app_kernel.core.events import EntityChanged
from app_kernel.core.feature import left_out
from app_kernel.core.outbox import Message, Recorder
from app_kernel.core.ports import EntityStore
from app_kernel.core.tracing import current_traceparent
from app_kernel.webhooks import store
from app_kernel.webhooks.bodies import make_body
from app_kernel.webhooks.event_names import check_event_name

TOPIC = "webhooks:events"
"""The outbox topic of events."""
LONGEST_WORKSPACE = 191
_unstorable = re.compile(r"[\x00\ud800-\udfff]").search
_VERBS = {"create": "created", "update": "updated", "delete": "deleted", "restore": "restored", "purge": "purged"}


async def trigger_webhook_event(db: EntityStore, workspace_id: str | None, *, event: str, data: Any = None) -> str:
    """Tells the webhooks of a workspace, and those of the whole service, that something happened; returns the event's
    id, which receivers see as `webhook-id`.

    Inside `async with db.transaction()` it leaves exactly if that commits; outside it is a commit of its own. Nothing
    is sent before it returns. `data` is JSON of at most 256 KB; dates, decimals and UUIDs become text. Without a
    `workspace_id` only the webhooks of the whole service are told. Raises InvalidWebhook, and OutsideWorkspace for a
    handle that is bound to another workspace. WebhookError in a service that was made without webhooks.
    """
    check_feature()
    message = make_message(check_workspace(workspace_id), check_event_name(event), data)
    await store.tables_in(db, workspace_id).send_messages([message])
    return message.id


def check_feature() -> None:
    """Raises WebhookError in a service without the feature: what is written there, nobody would ever send."""
    try:
        kernel = current_kernel()
    except (NoRunningKernel, AmbiguousKernel):
        return
    if kernel.running and not any(feature.name == "webhooks" for feature in kernel.features):
        raise WebhookError(left_out("webhooks"))


def make_message(workspace_id: str | None, event: str, data: Any, at: str | None = None) -> Message:
    """An event on its way out; raises InvalidWebhook for data that cannot be sent."""
    event_id, at = f"evt_{clock.new_id()}", at or clock.timestamp()
    body = make_body(event_id, event, at, workspace_id, data)
    told = {"event": event, "workspace_id": workspace_id, "at": at, "body": body}
    traceparent = current_traceparent()
    return Message(TOPIC, told if traceparent is None else {**told, "traceparent": traceparent}, id=event_id)


def check_workspace(workspace_id: Any) -> str | None:
    """The id of a workspace, or None; raises InvalidWebhook."""
    if workspace_id is None or _is_workspace(workspace_id):
        return workspace_id
    raise InvalidWebhook(f"workspace_id is a text of 1 to {LONGEST_WORKSPACE} characters, or None.")


def _is_workspace(given: Any) -> TypeGuard[str]:
    # One that a database cannot hold would be found out when the event has left its transaction.
    return isinstance(given, str) and 0 < len(given) <= LONGEST_WORKSPACE and not _unstorable(given)


def make_recorder(entities: Iterable[str]) -> Recorder:
    """What turns changes of these entities into events such as `projects.created`, in the same commit.

    The data is the row as the change left it, of a purge as it was last; the event belongs to the row's workspace_id. A
    row that is too large, or no JSON, never refuses its change: the event then has its id alone, and `omitted`.
    """
    wanted = frozenset(entities)

    def record(change: EntityChanged) -> Iterable[Message]:
        verb = _VERBS.get(change.action)
        if verb is None or not ("*" in wanted or change.entity in wanted) or change.entity.startswith("kernel_"):
            return ()
        row = dict((change.after if change.after is not None else change.before) or {})
        given = row.get("workspace_id")
        workspace_id = given if _is_workspace(given) else None
        event = f"{change.entity}.{verb}"
        try:
            return (make_message(workspace_id, event, row, change.at),)
        except InvalidWebhook:
            return (make_message(workspace_id, event, {"id": change.id, "omitted": True}, change.at),)

    return record
