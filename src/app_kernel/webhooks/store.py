"""Every line that touches the tables of webhooks; portable verbs only.

Through a handle that is bound to a workspace there are the rows of that workspace and no others, whatever id is asked
for. What belongs to the whole service is there for handles that are bound to none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from app_kernel.core.errors import OutsideWorkspace, VersionConflict, WebhookNotFound
from app_kernel.core.ports import EntityStore
from app_kernel.webhooks.tables import DELIVERIES, EVENTS, WEBHOOKS

Row = dict[str, Any]

LOGGED = 20
"""Attempts of a delivery that are kept, the latest ones."""
_ATTEMPTS = 8
_PAGE = 500


def tables_of(db: EntityStore) -> EntityStore:
    """The tables as a handle sees them: one that is bound to a workspace, the rows of that workspace alone."""
    return db.privileged if db.workspace_id is None else db.privileged.in_workspace(db.workspace_id)


def tables_in(db: EntityStore, workspace_id: str | None) -> EntityStore:
    """The tables as this workspace sees them, or, with None, as the whole service does.

    Raises OutsideWorkspace for a handle that is bound to another workspace.
    """
    if workspace_id is not None:
        return db.privileged.in_workspace(workspace_id)
    if db.workspace_id is not None:
        raise OutsideWorkspace("What belongs to the whole service is not reached through the handle of a workspace.")
    return db.privileged


async def insert_webhook(db: EntityStore, values: Mapping[str, Any]) -> Row:
    """Adds a webhook to the workspace in `values`, or to the whole service; raises OutsideWorkspace."""
    return await tables_in(db, values["workspace_id"]).save_entity(WEBHOOKS, values)


async def get_webhook(db: EntityStore, webhook_id: str) -> Row | None:
    """The webhook with this id, or None."""
    return await tables_of(db).get_entity(WEBHOOKS, webhook_id)


async def list_webhooks(db: EntityStore, workspace_id: str | None, limit: int, offset: int) -> list[Row]:
    """The webhooks of a workspace, or of the whole service, the newest first."""
    return await tables_in(db, workspace_id).find_entities(
        WEBHOOKS, _belongs(workspace_id), order_by="[created_at] DESC, [id] DESC", limit=limit, offset=offset
    )


async def count_webhooks(db: EntityStore, workspace_id: str | None) -> int:
    """How many webhooks a workspace, or the whole service, has."""
    return await tables_in(db, workspace_id).count_entities(WEBHOOKS, _belongs(workspace_id))


async def find_listeners(db: EntityStore, workspace_ids: Iterable[str]) -> list[Row]:
    """The webhooks of these workspaces and those of the whole service, also the ones that are disabled."""
    named = sorted(set(workspace_ids))
    if not named:
        return await tables_of(db).find_entities(WEBHOOKS, "[workspace_id] IS NULL")
    return await tables_of(db).find_entities(WEBHOOKS, "[workspace_id] IS NULL OR [workspace_id] IN (?)", (named,))


async def change_webhook(
    db: EntityStore, webhook_id: str, change: Callable[[Row], Mapping[str, Any] | None]
) -> tuple[Row, bool]:
    """Saves what `change` makes of the row as it is; the row, and whether there was anything to save.

    Raises WebhookNotFound.
    """
    for _ in range(_ATTEMPTS):
        row = await get_webhook(db, webhook_id)
        if row is None:
            raise WebhookNotFound
        values = change(row)
        if values is None:
            return row, False
        entity = {"id": webhook_id, **values}
        try:
            return await tables_of(db).save_entity(WEBHOOKS, entity, expected_version=row["_version"]), True
        except VersionConflict:
            continue
    raise VersionConflict("The webhook is being changed by others; try again.")


async def delete_webhook(db: EntityStore, webhook_id: str) -> bool:
    """Removes a webhook with its secrets; False when there is none. Its deliveries go when their time is over."""
    return await tables_of(db).delete_entity(WEBHOOKS, webhook_id, permanent=True)


async def insert_events(db: EntityStore, events: Sequence[Mapping[str, Any]]) -> None:
    """Adds events."""
    if events:
        await tables_of(db).save_entities(EVENTS, events)


async def get_event(db: EntityStore, event_id: str) -> Row | None:
    """The event with this id, or None."""
    return await tables_of(db).get_entity(EVENTS, event_id)


async def insert_deliveries(db: EntityStore, deliveries: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Adds deliveries."""
    return await tables_of(db).save_entities(DELIVERIES, deliveries) if deliveries else []


async def get_delivery(db: EntityStore, delivery_id: str) -> Row | None:
    """The delivery with this id, or None."""
    return await tables_of(db).get_entity(DELIVERIES, delivery_id)


async def change_delivery(db: EntityStore, row: Row, values: Mapping[str, Any]) -> Row:
    """Changes fields of a delivery; raises VersionConflict when it was changed or removed since `row` was read."""
    entity = {"id": row["id"], **values}
    return await tables_of(db).save_entity(DELIVERIES, entity, expected_version=row["_version"])


async def list_deliveries(
    db: EntityStore, webhook_id: str, *, statuses: Sequence[str] = (), limit: int, before: str | None = None
) -> list[Row]:
    """The deliveries of a webhook, the newest first; `before` is the last id of the page before."""
    clause: str = "[webhook_id] = ?"
    params: list[Any] = [webhook_id]
    if statuses:
        clause, params = f"{clause} AND [status] IN (?)", [*params, list(statuses)]
    if before is not None:
        clause, params = f"{clause} AND [id] < ?", [*params, before]
    return await tables_of(db).find_entities(DELIVERIES, clause, params, order_by="[id] DESC", limit=limit)


async def list_undelivered(
    db: EntityStore, webhook_id: str, since: datetime, after: str, limit: int, *, waiting_at: datetime, but: str
) -> list[Row]:
    """Deliveries of events since an instant that are dead, were skipped or are to be tried after `waiting_at`.

    The oldest first, without those of the event `but`.
    """
    open_ones = "([status] IN ('dead', 'skipped') OR ([status] = 'pending' AND [next_at] > ?))"
    clause = f"[webhook_id] = ? AND {open_ones} AND [event] <> ? AND [triggered_at] >= ? AND [id] > ?"
    params = (webhook_id, waiting_at, but, since, after)
    return await tables_of(db).find_entities(DELIVERIES, clause, params, order_by="[id]", limit=limit)


async def list_overdue(db: EntityStore, before: datetime, limit: int) -> list[Row]:
    """Deliveries that should have been tried before an instant."""
    return await tables_of(db).find_entities(
        DELIVERIES, "[status] = 'pending' AND [next_at] < ?", (before,), order_by="[next_at]", limit=limit
    )


async def remove_old(db: EntityStore, ended: datetime, all_of: datetime) -> int:
    """Removes some deliveries that ended, of events before one instant, and some of all, with their events, before an
    earlier one; how many. 0 once there are no more."""
    removed = 0
    for table, clause, before in (
        (DELIVERIES, "[triggered_at] < ? AND [status] <> 'pending'", ended),
        (DELIVERIES, "[triggered_at] < ?", all_of),
        (EVENTS, "[triggered_at] < ?", all_of),
    ):
        rows = await tables_of(db).find_entities(table, clause, (before,), order_by="[triggered_at]", limit=_PAGE)
        if rows:
            removed += await tables_of(db).delete_entities(table, [row["id"] for row in rows], permanent=True)
    return removed


async def has_rows(db: EntityStore) -> bool:
    """Whether there are deliveries or events."""
    for table in (DELIVERIES, EVENTS):
        if await tables_of(db).find_entities(table, limit=1):
            return True
    return False


def with_attempt(row: Row, entry: Mapping[str, Any]) -> list[Any]:
    """The log of a delivery with one more attempt."""
    return [*(row["log"] or []), dict(entry)][-LOGGED:]


def _belongs(workspace_id: str | None) -> str | None:
    # Through the handle of a workspace nothing else is there.
    return "[workspace_id] IS NULL" if workspace_id is None else None
