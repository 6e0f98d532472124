"""What the routes of webhooks take and give. A field that is not named here is an error: the rest is the kernel's."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app_kernel.core.iso_instants import ISO_ONLY
from app_kernel.core.model_docs import OTHER_ID, SOME_ID, SOME_INSTANT, example
from app_kernel.webhooks.endpoints import LONGEST_DESCRIPTION, MOST_OVERLAP_HOURS
from app_kernel.webhooks.event_names import LONGEST_NAME, MOST_PATTERNS
from app_kernel.webhooks.urls import LONGEST_URL

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_URL,
        examples=["https://example.com/hooks"],
        json_schema_extra={"format": "uri", "pattern": "^https?://"},
    ),
]
Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=LONGEST_NAME,
        json_schema_extra={"pattern": r"^(\*|[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(\.\*)?)$"},
    ),
]
Patterns = Annotated[
    list[Pattern],
    Field(
        min_length=1,
        max_length=MOST_PATTERNS,
        description="Names of events, `deployment.*` for all that begin so, or `*`.",
        examples=[["deployment.succeeded", "deployment.failed"]],
    ),
]
Description = Annotated[str, Field(max_length=LONGEST_DESCRIPTION)]
_SECRET = "^whsec_(C{4}){8,20}(C{2}={0,2}|C{3}=?|C{4}|C{6}={0,2})?$".replace("C", "[A-Za-z0-9+/]")
"""24 to 64 bytes; the signs that fill up the last four may be left out."""
Secret = Annotated[
    str,
    Field(
        max_length=200,
        description="One of your own, `whsec_` and 24 to 64 bytes as Base64; left out: a new one.",
        json_schema_extra={"pattern": _SECRET},
    ),
]
Status = Literal["pending", "delivered", "dead", "skipped"]

_WEBHOOK = {
    "id": SOME_ID,
    "workspace_id": OTHER_ID,
    "url": "https://example.com/hooks",
    "events": ["deployment.*"],
    "description": "To the chat room",
    "is_active": True,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
    "previous_until": None,
    "created_at": SOME_INSTANT,
    "created_by": OTHER_ID,
    "updated_at": SOME_INSTANT,
}
_DELIVERY = {
    "id": SOME_ID,
    "webhook_id": OTHER_ID,
    "event_id": SOME_ID,
    "event": "deployment.failed",
    "status": "delivered",
    "attempts": 1,
    "outcome": "delivered",
    "status_code": 200,
    "triggered_at": SOME_INSTANT,
    "last_at": SOME_INSTANT,
    "next_at": None,
}


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class CreateRequest(_Input):
    """A new webhook."""

    model_config = example(url="https://example.com/hooks", events=["deployment.*"], description="To the chat room")

    url: Url
    events: Patterns
    description: Description = ""
    secret: Secret | None = None


class UpdateRequest(_Input):
    """What is to change; what is left out stays."""

    model_config = example(events=["deployment.failed"])

    url: Url | None = None
    events: Patterns | None = None
    description: Description | None = None


class RotateRequest(_Input):
    """For how long deliveries are signed with the old secret too."""

    model_config = example(overlap_hours=24)

    overlap_hours: Annotated[int, Field(ge=0, le=MOST_OVERLAP_HOURS)] = 24
    secret: Secret | None = None


class ReplayRequest(_Input):
    """From when on."""

    model_config = example(since=SOME_INSTANT)

    # Strict would take no text, and JSON has no instants.
    since: Annotated[AwareDatetime, Field(strict=False), ISO_ONLY]


class WebhookAnswer(BaseModel):
    """A webhook, without its secret."""

    model_config = example(**_WEBHOOK)

    id: str
    workspace_id: str | None = Field(description="null: of the whole service.")
    url: str = Field(description="For members who are no admins without its path, which may hold a secret.")
    events: list[str]
    description: str
    is_active: bool
    disabled_at: datetime | None
    disabled_reason: str | None = Field(description="failing (for five days), gone (it answered 410), or manual.")
    failing_since: datetime | None = Field(description="Every attempt since then has failed.")
    previous_until: datetime | None = Field(description="Until then deliveries are signed with the old secret too.")
    created_at: datetime
    created_by: str | None
    updated_at: datetime


class NewWebhookAnswer(WebhookAnswer):
    """A webhook with its secret, which is shown this once."""

    model_config = example(**_WEBHOOK, secret="whsec_...")

    secret: str = Field(examples=["whsec_..."])


class DeliveryAnswer(BaseModel):
    """One event on its way to one webhook."""

    model_config = example(**_DELIVERY)

    id: str
    webhook_id: str
    event_id: str = Field(description="The `webhook-id` that the receiver sees.")
    event: str
    status: Status
    attempts: int
    outcome: str | None = Field(
        description="Of the latest attempt: delivered, status, refused, dns, connection, tls, timeout, protocol, "
        "secret; of a test that got none of the first two: no_answer; of one that was skipped: disabled, deleted, "
        "workspace (which was deleted)."
    )
    status_code: int | None
    triggered_at: datetime
    last_at: datetime | None
    next_at: datetime | None


class DeliveryDetails(DeliveryAnswer):
    """The same with what was sent and answered; for admins."""

    model_config = example(**_DELIVERY, body='{"type":"deployment.failed","data":{}}', excerpt="ok", log=[])

    body: str | None
    excerpt: str | None = Field(description="The beginning of the latest answer.")
    log: list[dict[str, Any]]


class ReplayAnswer(BaseModel):
    """What is sent again."""

    model_config = example(replayed=3, more=False)

    replayed: int
    more: bool = Field(description="Whether there may be more: then ask again.")


class TestAnswer(BaseModel):
    """What became of a test, and no more: it must not tell what is open where."""

    model_config = example(delivered=True, outcome="delivered", status_class="2xx")

    delivered: bool
    outcome: Literal["delivered", "answered", "no_answer"]
    status_class: str | None = Field(examples=["2xx"])
