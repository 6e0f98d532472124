"""Webhooks: telling other systems what happens here, and being told by them (Standard Webhooks).

webhook = await create_webhook(db, workspace_id, url="https://example.com/hooks", events=["deployment.*"])
print(webhook["secret"])  # whsec_..., shown this once

async with db.transaction():
    await db.save_entity("deployments", {"id": "d1", "status": "succeeded"})
    await trigger_webhook_event(db, workspace_id, event="deployment.succeeded", data={"id": "d1"})

@router.post("/hooks")  # the other side
async def receive(event: Annotated[WebhookEvent, Depends(require_webhook(SECRET))]):
    return {"got": event.type}
"""

from app_kernel.webhooks.capture import CapturedWebhook
from app_kernel.webhooks.deliveries import (
    get_delivery,
    list_deliveries,
    replay_delivery,
    replay_failed,
    test_webhook,
)
from app_kernel.webhooks.deps import require_webhook
from app_kernel.webhooks.endpoints import (
    create_webhook,
    delete_webhook,
    disable_webhook,
    enable_webhook,
    get_webhook,
    list_webhooks,
    rotate_webhook_secret,
    update_webhook,
)
from app_kernel.webhooks.events import trigger_webhook_event
from app_kernel.webhooks.feature import create_feature
from app_kernel.webhooks.tables import TABLES
from app_kernel.webhooks.tasks import Courier, courier_of
from app_kernel.webhooks.verification import WebhookEvent, verify_webhook

__all__ = [
    "TABLES",
    "CapturedWebhook",
    "Courier",
    "WebhookEvent",
    "courier_of",
    "create_feature",
    "create_webhook",
    "delete_webhook",
    "disable_webhook",
    "enable_webhook",
    "get_delivery",
    "get_webhook",
    "list_deliveries",
    "list_webhooks",
    "replay_delivery",
    "replay_failed",
    "require_webhook",
    "rotate_webhook_secret",
    "test_webhook",
    "trigger_webhook_event",
    "update_webhook",
    "verify_webhook",
]
