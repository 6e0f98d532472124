"""Webhooks that are kept and not sent: what a test sees of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app_kernel.core import clock
from app_kernel.webhooks.signing import ID, TIMESTAMP
from app_kernel.webhooks.verification import Secrets, WebhookEvent, verify_webhook


@dataclass(frozen=True, slots=True)
class CapturedWebhook:
    """One attempt, as its receiver would have got it; it counts as answered with 200."""

    url: str
    headers: Mapping[str, str]
    """`webhook-id`, `webhook-timestamp` and `webhook-signature`."""
    raw: bytes = field(repr=False)
    """The body, as it was signed."""

    @property
    def id(self) -> str:
        """The id of the event: the same in every attempt, and at every webhook that hears it."""
        return self.headers[ID]

    @property
    def body(self) -> Any:
        """The body, parsed: `type`, `timestamp`, `id`, `workspace_id` and `data`."""
        return json.loads(self.raw)

    @property
    def type(self) -> str:
        """What happened, such as `deployment.succeeded`."""
        return str(self.body["type"])

    @property
    def data(self) -> Any:
        """What it happened to."""
        return self.body["data"]

    def verify(self, secret: Secrets) -> WebhookEvent:
        """What a receiver with this secret makes of it, however long ago it was; raises InvalidSignature."""
        age = abs(clock.epoch() - int(self.headers[TIMESTAMP]))
        return verify_webhook(secret, self.headers, self.raw, tolerance=int(age) + 1)
