"""The tables of webhooks. None keeps a history: a history would keep old secrets and bodies."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

WEBHOOKS = "kernel_webhooks"
EVENTS = "kernel_webhook_events"
"""Events that at least one webhook listened to, with the body as it is sent, under the id that receivers see."""
DELIVERIES = "kernel_webhook_deliveries"
"""One event on its way to one webhook."""

TABLES = (
    Table(
        WEBHOOKS,
        {
            "workspace_id": str,
            "url": str,
            "events": list,
            "description": str,
            "is_active": bool,
            "secret": str,
            "previous_secret": str,
            "previous_until": datetime,
            "failing_since": datetime,
            "failed_at": datetime,
            "disabled_at": datetime,
            "disabled_reason": str,
        },
        (Index(("workspace_id",)),),
    ),
    Table(
        EVENTS,
        {"workspace_id": str, "event": str, "body": str, "triggered_at": datetime},
        (Index(("triggered_at",)),),
    ),
    Table(
        DELIVERIES,
        {
            "webhook_id": str,
            "workspace_id": str,
            "event_id": str,
            "event": str,
            "status": str,
            "run": int,
            "attempts": int,
            "triggered_at": datetime,
            "next_at": datetime,
            "last_at": datetime,
            "outcome": str,
            "status_code": int,
            "excerpt": str,
            "log": list,
        },
        (Index(("webhook_id", "id")), Index(("status", "next_at")), Index(("triggered_at",))),
    ),
)
