"""What the routes of webhooks take and give. A field that is not named here is an error: the rest is the kernel's."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app_kernel.webhooks.endpoints import LONGEST_DESCRIPTION, MOST_OVERLAP_HOURS
from app_kernel.webhooks.event_names import LONGEST_NAME, MOST_PATTERNS
from app_kernel.webhooks.urls import LONGEST_URL

Url = Annotated[str, Field(min_length=1, max_length=LONGEST_URL, examples=["https://example.com/hooks"])]
Pattern = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
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
Secret = Annotated[str, Field(max_length=200, description="One of your own, `whsec_...`; left out: a new one.")]
Status = Literal["pending", "delivered", "dead", "skipped"]


class _Input(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


class CreateRequest(_Input):
    """A new webhook."""

    url: Url
    events: Patterns
    description: Description = ""
    secret: Secret | None = None


class UpdateRequest(_Input):
    """What is to change; what is left out stays."""

    url: Url | None = None
    events: Patterns | None = None
    description: Description | None = None


class RotateRequest(_Input):
    """For how long deliveries are signed with the old secret too."""

    overlap_hours: Annotated[int, Field(ge=0, le=MOST_OVERLAP_HOURS)] = 24
    secret: Secret | None = None


class ReplayRequest(_Input):
    """From when on."""

    # Strict would take no text, and JSON has no instants.
    since: Annotated[AwareDatetime, Field(strict=False)]


class WebhookAnswer(BaseModel):
    """A webhook, without its secret."""

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

    secret: str = Field(examples=["whsec_..."])


class DeliveryAnswer(BaseModel):
    """One event on its way to one webhook."""

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

    body: str | None
    excerpt: str | None = Field(description="The beginning of the latest answer.")
    log: list[dict[str, Any]]


class ReplayAnswer(BaseModel):
    """What is sent again."""

    replayed: int
    more: bool = Field(description="Whether there may be more: then ask again.")


class TestAnswer(BaseModel):
    """What became of a test, and no more: it must not tell what is open where."""

    delivered: bool
    outcome: Literal["delivered", "answered", "no_answer"]
    status_class: str | None = Field(examples=["2xx"])
