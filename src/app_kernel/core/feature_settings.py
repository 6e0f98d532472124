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

    audit_enabled: bool = Field(
        default=True, description="Records who changed what in the admin database, in the same commit as the change."
    )
    audit_exclude: list[str] = Field(
        default=[], description="Entities whose changes are not audited, such as caches that an application keeps."
    )
    audit_redact: list[str] = Field(
        default=[],
        description="Fields whose values are never audited, as `field` or `entity.field`, besides those whose names "
        "say that they hold a secret.",
    )
    audit_retention_days: Annotated[int, Field(gt=0, le=36500)] | None = Field(
        default=None, description="Days for which audit entries are kept; for ever if unset."
    )
    metering_enabled: bool = Field(
        default=True, description="Counts requests and custom metrics by workspace, user and period."
    )
    metering_detail_days: Annotated[int, Field(gt=0, le=36500)] = Field(
        default=400, description="Days for which usage is kept by endpoint and by user in a workspace; totals stay."
    )
    otlp_endpoint: str | None = Field(
        default=None,
        max_length=500,
        description="Where traces are sent by OTLP over HTTP, such as `http://localhost:4318`; needs the extra `otel`.",
    )
    trace_sample_ratio: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1,
        description="Share of requests and jobs that are traced in detail when nobody decided before them; it counts "
        "only with `otlp_endpoint` or with an OpenTelemetry provider of the application's own.",
    )
    otlp_headers: dict[str, str] = Field(
        default={},
        repr=False,
        description="Headers that go to `otlp_endpoint` with the traces, such as the API key of a collector.",
    )
    trace_forced_per_second: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=10,
        description="Requests a second of one process that are traced because their caller says so (the sampled flag "
        "of `traceparent`), which anybody may; for further ones `trace_sample_ratio` decides.",
    )
    trace_slow_seconds: Annotated[float, Field(gt=0)] = Field(
        default=1.0, description="Duration from which on a request or job is kept in the table `traces`."
    )
    traces_kept: Annotated[int, Field(ge=0, le=10_000_000)] = Field(
        default=10_000, description="Slow and failed requests and jobs that are kept, the latest ones; 0 keeps none."
    )
    stats_days: Annotated[int, Field(ge=0, le=3650)] = Field(
        default=30, description="Days for which figures of requests by route are kept; 0 keeps none."
    )

    cache_entries: Annotated[int, Field(gt=0)] = Field(
        default=10_000,
        description="Values that one process caches in memory at most; the least recently used go first.",
    )
