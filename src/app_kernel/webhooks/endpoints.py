"""Making, changing and ending webhooks, from routes, jobs and start-up code alike."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import InvalidWebhook, WebhookConflict, WebhookNotFound
from app_kernel.core.ports import EntityStore
from app_kernel.encryption import key_ring
from app_kernel.webhooks import store
from app_kernel.webhooks.closed import closed_among
from app_kernel.webhooks.event_names import check_patterns
from app_kernel.webhooks.events import check_feature, check_workspace
from app_kernel.webhooks.health import disabled, tell
from app_kernel.webhooks.sealing import seal_secret
from app_kernel.webhooks.signing import key_of, make_secret
from app_kernel.webhooks.tables import TABLES
from app_kernel.webhooks.tasks import url_rules
from app_kernel.webhooks.urls import check_url

MOST_WEBHOOKS = 200
"""Webhooks of one workspace, and of the whole service beside those."""
LONGEST_DESCRIPTION = 500
MOST_OVERLAP_HOURS = 720

Row = dict[str, Any]

_unprintable = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_SHOWN = (
    "id", "workspace_id", "url", "events", "description", "is_active", "disabled_at", "disabled_reason",
    "failing_since", "previous_until", "created_at", "created_by", "updated_at",
)  # fmt: skip
_WELL = {"is_active": True, "disabled_at": None, "disabled_reason": None, "failing_since": None, "failed_at": None}


async def create_webhook(
    db: EntityStore,
    workspace_id: str | None,
    *,
    url: str,
    events: Sequence[str],
    description: str = "",
    secret: str | None = None,
) -> Row:
    """Makes a webhook of a workspace, or of the whole service with None, and returns it with its `secret`.

    Nobody can get the secret again. `events` are names, `deployment.*` or `*`. A webhook of the whole service hears
    the events of every workspace. `secret` is one of the caller's own (`whsec_...`). Raises InvalidWebhook,
    WebhookAddressRefused for a URL that nothing is sent to, WebhookKeyMissing, OutsideWorkspace for a handle that is
    bound to another workspace, and NoRunningKernel outside of a running service.
    """
    kernel = current_kernel()
    check_feature()
    secret = make_secret() if secret is None else secret
    key_of(secret)
    check_url(url, **url_rules(kernel.config))
    values = {
        "workspace_id": check_workspace(workspace_id),
        "url": url,
        "events": check_patterns(events),
        "description": _checked_text(description),
        "secret": seal_secret(key_ring(kernel.config), secret),
        "previous_secret": None,
        "previous_until": None,
        **_WELL,
    }
    await db.privileged.ensure_tables(TABLES)
    async with db.transaction():
        if await store.count_webhooks(db, workspace_id) >= MOST_WEBHOOKS:
            raise InvalidWebhook(f"A workspace has at most {MOST_WEBHOOKS} webhooks; delete one first.")
        row = await store.insert_webhook(db, values)
        await tell(kernel, "webhook.created", row)
    return {**shown(row), "secret": secret}


async def get_webhook(db: EntityStore, webhook_id: str) -> Row | None:
    """A webhook without its secret, or None."""
    row = await store.get_webhook(db, webhook_id)
    return None if row is None else shown(row)


async def list_webhooks(
    db: EntityStore, workspace_id: str | None, *, limit: int = MOST_WEBHOOKS, offset: int = 0
) -> list[Row]:
    """The webhooks of a workspace, or those of the whole service with None, without secrets; the newest first."""
    return [shown(row) for row in await store.list_webhooks(db, workspace_id, limit, offset)]


async def update_webhook(
    db: EntityStore,
    webhook_id: str,
    *,
    url: str | None = None,
    events: Sequence[str] | None = None,
    description: str | None = None,
) -> Row:
    """Changes what is given of a webhook; what waits for it goes to its new URL. Returns it without its secret.

    Raises WebhookNotFound, InvalidWebhook, WebhookAddressRefused, VersionConflict.
    """
    kernel = current_kernel()
    values: dict[str, Any] = {}
    if url is not None:
        check_url(url, **url_rules(kernel.config))
        values |= {"url": url, "failing_since": None, "failed_at": None}
    if events is not None:
        values["events"] = check_patterns(events)
    if description is not None:
        values["description"] = _checked_text(description)
    async with db.transaction():
        row, changed = await store.change_webhook(db, webhook_id, lambda row: values or None)
        if changed:
            await tell(kernel, "webhook.changed", row, fields=sorted(values.keys() & {"url", "events", "description"}))
    return shown(row)


async def delete_webhook(db: EntityStore, webhook_id: str) -> bool:
    """Ends a webhook for good; what waits for it is not sent. False when there is none."""
    async with db.transaction():
        row = await store.get_webhook(db, webhook_id)
        if row is None or not await store.delete_webhook(db, webhook_id):
            return False
        await tell(current_kernel(), "webhook.deleted", row)
    return True


async def rotate_webhook_secret(
    db: EntityStore, webhook_id: str, *, overlap_hours: int = 24, secret: str | None = None
) -> Row:
    """Gives a webhook a new secret and returns it with that, which nobody can get again.

    For `overlap_hours` (0 to 720) deliveries carry a signature with the old one too; of several rotations within that
    time, with the latest old one. Raises WebhookNotFound, InvalidWebhook, WebhookKeyMissing, VersionConflict.
    """
    kernel = current_kernel()
    if type(overlap_hours) is not int or not 0 <= overlap_hours <= MOST_OVERLAP_HOURS:
        raise InvalidWebhook(f"overlap_hours is a whole number from 0 to {MOST_OVERLAP_HOURS}.")
    secret = make_secret() if secret is None else secret
    key_of(secret)
    sealed = seal_secret(key_ring(kernel.config), secret)

    def change(row: Row) -> dict[str, Any]:
        until = clock.now() + timedelta(hours=overlap_hours)
        previous = (row["secret"], until) if overlap_hours else (None, None)
        return {"secret": sealed, "previous_secret": previous[0], "previous_until": previous[1]}

    async with db.transaction():
        row, _ = await store.change_webhook(db, webhook_id, change)
        await tell(kernel, "webhook.secret_rotated", row, overlap_hours=overlap_hours)
    return {**shown(row), "secret": secret}


async def enable_webhook(db: EntityStore, webhook_id: str) -> Row:
    """Sends to a disabled webhook again; what it missed is sent by `replay_failed`. Raises WebhookNotFound."""
    async with db.transaction():
        row, changed = await store.change_webhook(db, webhook_id, lambda row: None if row["is_active"] else _WELL)
        if changed:
            await tell(current_kernel(), "webhook.enabled", row)
    return shown(row)


async def disable_webhook(db: EntityStore, webhook_id: str) -> Row:
    """Sends nothing more to a webhook: what waits for it is skipped, and what happens now passes it by.

    Raises WebhookNotFound.
    """
    async with db.transaction():
        row, changed = await store.change_webhook(
            db, webhook_id, lambda row: disabled("manual") if row["is_active"] else None
        )
        if changed:
            await tell(current_kernel(), "webhook.disabled", row, reason="manual")
    return shown(row)


async def require_active(db: EntityStore, webhook_id: str) -> Row:
    """The row of a webhook that is sent to; raises WebhookNotFound, WebhookConflict (disabled, workspace deleted)."""
    row = await store.get_webhook(db, webhook_id)
    if row is None:
        raise WebhookNotFound
    if not row["is_active"]:
        raise WebhookConflict("This webhook is disabled; enable it first.")
    if await closed_among(db, [row["workspace_id"]]):
        raise WebhookConflict("The workspace of this webhook was deleted.")
    return row


def shown(row: Mapping[str, Any]) -> Row:
    """What may be shown of a webhook: never a secret."""
    return {field: row[field] for field in _SHOWN}


def _checked_text(description: Any) -> str:
    if not isinstance(description, str) or len(description) > LONGEST_DESCRIPTION or _unprintable(description):
        raise InvalidWebhook(f"description is text of at most {LONGEST_DESCRIPTION} printable characters.")
    return description
