"""How a webhook does: since when it fails, and whether it has failed for so long that it is disabled."""

from collections.abc import Mapping
from typing import Any

from app_kernel.core import clock
from app_kernel.core.context import current_context
from app_kernel.core.errors import WebhookNotFound
from app_kernel.core.events import SecurityEvent
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import EntityStore
from app_kernel.logs import get_logger
from app_kernel.webhooks import store
from app_kernel.webhooks.schedule import DISABLE_AFTER, NOTE_EVERY, QUIET

Row = dict[str, Any]

_log = get_logger("app_kernel.webhooks")


async def note_delivered(db: EntityStore, webhook: Row) -> None:
    """Ends a time of failures."""
    if webhook["failing_since"] is not None:
        well = {"failing_since": None, "failed_at": None}
        await _change(db, webhook, lambda row: None if row["failing_since"] is None else well)


async def note_failed(kernel: Kernel, db: EntityStore, webhook: Row) -> None:
    """Begins a time of failures, or disables the webhook at its end: after five days without anything else."""
    now, since, latest = clock.now(), webhook["failing_since"], webhook["failed_at"]
    if since is None or latest is None or now - latest > QUIET:
        await _note(db, webhook, {"failing_since": now, "failed_at": now})
    elif now - since >= DISABLE_AFTER:
        await _disable(kernel, db, webhook, "failing")
    elif now - latest >= NOTE_EVERY:
        await _note(db, webhook, {"failed_at": now})


async def _note(db: EntityStore, webhook: Row, values: Mapping[str, Any]) -> None:
    """Writes it, unless somebody else has written something else of the webhook's health meanwhile."""

    def change(row: Row) -> Mapping[str, Any] | None:
        same = all(row[field] == webhook[field] for field in ("failing_since", "failed_at", "is_active"))
        return values if same and row["is_active"] else None

    await _change(db, webhook, change)


async def note_gone(kernel: Kernel, db: EntityStore, webhook: Row) -> None:
    """Disables the webhook at once: its receiver said that it is gone (410)."""
    await _disable(kernel, db, webhook, "gone")


async def _disable(kernel: Kernel, db: EntityStore, webhook: Row, reason: str) -> None:
    def change(row: Row) -> dict[str, Any] | None:
        # Not if somebody has put it right meanwhile.
        still = row["is_active"] and row["url"] == webhook["url"]
        still = still and (reason == "gone" or row["failing_since"] == webhook["failing_since"])
        return disabled(reason) if still else None

    async with db.transaction():
        if not await _change(db, webhook, change):
            return
        await tell(kernel, "webhook.disabled", webhook, reason=reason)
    _log.error("webhook_disabled", webhook_id=webhook["id"], reason=reason)


async def _change(db: EntityStore, webhook: Row, change: Any) -> bool:
    try:
        return (await store.change_webhook(db, webhook["id"], change))[1]
    except WebhookNotFound:
        return False  # deleted while it was sent to


def disabled(reason: str) -> dict[str, Any]:
    """The fields of a webhook that is disabled now."""
    return {"is_active": False, "disabled_at": clock.now(), "disabled_reason": reason}


async def tell(kernel: Kernel, name: str, webhook: Mapping[str, Any], **more: Any) -> None:
    """Tells the security log; never the URL, which may hold a secret."""
    context = current_context()
    detail = {"webhook_id": webhook["id"], "workspace_id": webhook["workspace_id"], **more}
    await kernel.emit(SecurityEvent(name, None, context.address, detail, context.actor_id))
