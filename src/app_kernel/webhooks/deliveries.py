"""Looking at deliveries, and sending again what did not arrive."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias, get_args

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from app_kernel.core.errors import DeliveryNotFound, InvalidWebhook, VersionConflict, WebhookConflict
from app_kernel.core.ports import EntityStore
from app_kernel.webhooks import store
from app_kernel.webhooks.bodies import make_body
from app_kernel.webhooks.endpoints import require_active
from app_kernel.webhooks.sink import delivery_of, enqueue, event_of
from app_kernel.webhooks.tasks import courier_of, record

MOST_LISTED = 200
MOST_REPLAYED = 1000
"""Deliveries of one `replay_failed`."""
SOON = 1.0
"""Seconds before it is due from which a delivery counts as being tried."""
_PAGE = 100
TEST_EVENT = "webhook.test"

Row = dict[str, Any]
Status: TypeAlias = Literal["pending", "delivered", "dead", "skipped"]

_SHOWN = (
    "id", "webhook_id", "workspace_id", "event_id", "event", "status", "attempts", "outcome", "status_code",
    "triggered_at", "last_at", "next_at",
)  # fmt: skip


async def list_deliveries(
    db: EntityStore, webhook_id: str, *, status: str | None = None, limit: int = 50, before: str | None = None
) -> list[Row]:
    """The deliveries of a webhook, the newest first; `before` is the last id of the page before.

    `status` is pending, delivered, dead (given up) or skipped (the webhook was disabled or deleted). Raises
    InvalidWebhook.
    """
    if status is not None and status not in get_args(Status):
        raise InvalidWebhook(f"status is one of {', '.join(get_args(Status))}.")
    if type(limit) is not int or not 0 <= limit <= MOST_LISTED:
        raise InvalidWebhook(f"limit is 0 to {MOST_LISTED}.")
    statuses = () if status is None else (status,)
    rows = await store.list_deliveries(db, webhook_id, statuses=statuses, limit=limit, before=before)
    return [shown(row) for row in rows]


async def get_delivery(db: EntityStore, delivery_id: str) -> Row | None:
    """A delivery with the `body` that is sent, the `excerpt` of the latest answer and the `log` of its attempts.

    None when there is none, or no longer.
    """
    row = await store.get_delivery(db, delivery_id)
    if row is None:
        return None
    event = await store.get_event(db, row["event_id"])
    body = None if event is None else event["body"]
    return {**shown(row), "body": body, "excerpt": row["excerpt"], "log": row["log"] or []}


async def replay_delivery(db: EntityStore, delivery_id: str) -> Row:
    """Sends an event once more to the webhook that it was for, with the same webhook-id and all attempts anew.

    One that waits for its next attempt is tried now. Raises DeliveryNotFound, and WebhookConflict for one whose attempt
    is due or under way, whose webhook is disabled or deleted, or whose event is no longer kept.
    """
    row = await store.get_delivery(db, delivery_id)
    if row is None:
        raise DeliveryNotFound
    if row["status"] == "pending" and not _waits(row):
        raise WebhookConflict("This delivery is being tried now.")
    webhook = await store.get_webhook(db, row["webhook_id"])
    if webhook is None:
        raise WebhookConflict("The webhook of this delivery was deleted.")
    await require_active(db, webhook["id"])
    if await store.get_event(db, row["event_id"]) is None:
        raise WebhookConflict("The event of this delivery is no longer kept.")
    try:
        async with db.transaction():
            changed = await _begin_again(db, row)
    except VersionConflict:
        raise WebhookConflict("This delivery is being changed by others; try again.") from None
    return shown(changed)


async def replay_failed(db: EntityStore, webhook_id: str, *, since: datetime | str, limit: int = MOST_REPLAYED) -> int:
    """Sends again what is dead, was skipped or waits of the events since an instant, the oldest first; how many.

    Deliveries of `webhook.test` are left out.
    `since` is an aware datetime or ISO 8601 text with an offset. At most `limit` (1 to 1000) at a time: a smaller
    answer says that there are no more. Raises WebhookNotFound, WebhookConflict for a disabled webhook, InvalidWebhook.
    """
    start = _instant(since)
    if type(limit) is not int or not 1 <= limit <= MOST_REPLAYED:
        raise InvalidWebhook(f"limit is 1 to {MOST_REPLAYED}.")
    await require_active(db, webhook_id)
    replayed, after = 0, ""
    while replayed < limit:
        page = min(_PAGE, limit - replayed)
        rows = await store.list_undelivered(db, webhook_id, start, after, page, waiting_at=_soon(), but=TEST_EVENT)
        if not rows:
            break
        after = rows[-1]["id"]
        async with db.transaction():
            for row in rows:
                replayed += await _began_again(db, row)
    return replayed


async def test_webhook(db: EntityStore, webhook_id: str) -> Row:
    """Sends the event `webhook.test` to a webhook, once, and returns the delivery; whatever it listens to.

    It waits for the answer, for `webhook_timeout_seconds` at most. Raises WebhookNotFound, WebhookConflict for a
    disabled webhook.
    """
    webhook = await require_active(db, webhook_id)
    event_id, at, workspace_id = f"evt_{clock.new_id()}", clock.timestamp(), webhook["workspace_id"]
    text = make_body(event_id, TEST_EVENT, at, workspace_id, {"webhook_id": webhook_id})
    body = {"event": TEST_EVENT, "workspace_id": workspace_id, "at": at, "body": text}
    event = event_of(event_id, body)
    async with db.transaction():
        await store.insert_events(db, [event])
        (delivery,) = await store.insert_deliveries(db, [delivery_of(webhook, event_id, body)])
    answer = await courier_of(current_kernel()).attempt(webhook, event)
    return shown(await record(db, webhook, delivery, answer, retries=False) or delivery)


def _soon() -> datetime:
    return clock.now() + timedelta(seconds=SOON)


def _waits(delivery: Mapping[str, Any]) -> bool:
    """Whether the next attempt is not due yet; the second of two who replay at once finds that it is."""
    return delivery["next_at"] is not None and delivery["next_at"] > _soon()


async def _began_again(db: EntityStore, row: Row) -> bool:
    if await store.get_event(db, row["event_id"]) is None:
        return False
    try:
        async with db.transaction():
            await _begin_again(db, row)
    except VersionConflict:
        return False  # somebody else replayed it just now
    return True


async def _begin_again(db: EntityStore, row: Row) -> Row:
    values = {"status": "pending", "attempts": 0, "run": row["run"] + 1, "next_at": clock.now()}
    changed = await store.change_delivery(db, row, values)
    await enqueue([changed])
    return changed


def shown(row: Mapping[str, Any]) -> Row:
    """A delivery without what was sent and answered."""
    return {field: row[field] for field in _SHOWN}


def _instant(given: Any) -> datetime:
    try:
        instant = datetime.fromisoformat(given) if isinstance(given, str) else given
        if not isinstance(instant, datetime) or instant.tzinfo is None:
            raise ValueError
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidWebhook("since is an aware datetime, or ISO 8601 text with an offset such as +00:00.") from None
