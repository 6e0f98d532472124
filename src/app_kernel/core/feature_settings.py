"""The settings of single features: a part of ServiceConfig, in a file of its own for its length."""

from typing import Annotated, Any

from pydantic import BaseModel, Field


class FeatureSettings(BaseModel):
    """What the features from background jobs on read; `ServiceConfig` has these fields."""

    embedded_worker: bool | None = Field(
        default=None,
        description="Whether the service runs its own background jobs. If unset: without `redis_url`, yes; with it, a "
        "worker apart does (`python -m app_kernel.jobs.worker`).",
    )
    worker_queues: list[str] = Field(
        default=[],
        description="Queues that a worker serves, as `name` or `name:concurrency`; if empty, those of its tasks.",
    )
    worker_concurrency: Annotated[int, Field(gt=0, le=1000)] = Field(
        default=10, description="Jobs of one queue that a worker process runs at a time."
    )
    worker_grace_seconds: Annotated[float, Field(ge=0, le=86400)] = Field(
        default=25, description="Seconds that a stopping worker lets its jobs run on before it gives them back."
    )

    oauth_providers: dict[str, dict[str, Any]] = Field(
        default={},
        repr=False,
        description="Ways to sign in elsewhere, by name: `google`, `github`, or another OpenID provider with its "
        "`issuer`.",
    )
    oauth_redirect_urls: list[str] = Field(
        default=[],
        description="Pages that a sign-in elsewhere may return to; without them the callback answers with the tokens.",
    )
    idempotency_hours: Annotated[float, Field(gt=0, le=24 * 30)] = Field(
        default=24, description="Hours for which the answer to an `Idempotency-Key` is kept."
    )

    saas_enabled: bool = Field(
        default=False,
        description="Workspaces with members and invites, and the routes under /workspaces; `create_saas_router()` "
        "among the routers does the same.",
    )
    personal_workspaces: bool = Field(
        default=False, description="Gives every new account a workspace of its own; switches workspaces on."
    )
    invite_days: Annotated[int, Field(gt=0, le=365)] = Field(
        default=7, description="Days for which an invite into a workspace can be accepted."
    )
    accept_invite_url: str | None = Field(
        default=None,
        max_length=500,
        description="The page that links in invites open; without it invites carry the token and no link.",
    )

    webhook_allow_private: bool = Field(
        default=False,
        description="Lets webhooks go to private and local addresses, and by http: for development.",
    )
    webhook_timeout_seconds: Annotated[float, Field(gt=0, le=120)] = Field(
        default=15, description="Seconds that a receiver of a webhook may take to answer."
    )
    webhook_entity_events: list[str] = Field(
        default=[],
        description="Entities whose changes are webhook events, such as `projects.created`; `*` for all of them.",
    )
    webhook_log_days: Annotated[int, Field(gt=0, le=3650)] = Field(
        default=30, description="Days for which events of webhooks and their deliveries are kept."
    )

    cache_entries: Annotated[int, Field(gt=0)] = Field(
        default=10_000,
        description="Values that one process caches in memory at most; the least recently used go first.",
    )
