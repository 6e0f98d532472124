"""What one feature folder contributes to the whole, as a value."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from fastapi import APIRouter
from starlette.types import ASGIApp, Scope

from app_kernel.core.jobs import Task
from app_kernel.core.outbox import EventRecorder, Recorder, Sink
from app_kernel.core.tables import Table

if TYPE_CHECKING:
    from app_kernel.core.config import ServiceConfig
    from app_kernel.core.identity import UserIdentity
    from app_kernel.core.kernel import Kernel

Middleware: TypeAlias = Callable[[ASGIApp, "Kernel"], ASGIApp]
"""Wraps an ASGI app: `middleware(app, kernel) -> app`. Pure ASGI; never BaseHTTPMiddleware."""

Authenticator: TypeAlias = Callable[["Kernel", Scope], Awaitable["UserIdentity | None"]]
"""Reads the user token of a request; None when there is none. Raises InvalidToken when it is not accepted."""

Listener: TypeAlias = Callable[["Kernel", Any], Awaitable[None] | None]
"""Hears of an event after the fact: `listener(kernel, event)`, plain or async."""


class NothingToSay(Exception):
    """A health check raises it when its component is not in use or another one is to blame; it is then left out."""


HealthCheck: TypeAlias = Callable[["Kernel"], Awaitable["bool | tuple[bool, str] | None"]]
"""Answers True or None when all is well, False or (False, "what is wrong") otherwise; may raise."""

Lifespan: TypeAlias = Callable[["Kernel"], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One capability: every part but the name is empty by default.

    It is a value in an explicit list, so that what it contributes can be printed without running it. A middleware
    stands in the order of the list, the first feature's outermost.
    """

    name: str
    tables: tuple[Table, ...] = ()
    """Tables in the app database, made before the first request."""
    admin_tables: tuple[Table, ...] = ()
    """Tables in the admin database, which a service has when a feature brings these, or sinks for it."""
    router: APIRouter | None = None
    unprefixed: bool = False
    """Whether the router stays at the root when the service has an `api_prefix`."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """What the tags of its routes stand for, for the OpenAPI document."""
    security_schemes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Security schemes of the OpenAPI document by name, beside those of dependencies."""
    middleware: tuple[Middleware, ...] = ()
    around_routes: tuple[Middleware, ...] = ()
    """Layers directly around the routes, inside all middleware: they run in the task of the handler."""
    authenticator: Authenticator | None = None
    """For user tokens; at most one feature may contribute it."""
    recorders: tuple[Recorder, ...] = ()
    """From a change to outbox messages, inside the change's transaction."""
    event_recorders: Mapping[type, EventRecorder] = field(default_factory=dict)
    """By event type: from an event to outbox messages, with the transaction that is open when it is emitted. One that
    fails in a transaction refuses the change."""
    listeners: Mapping[type, Listener] = field(default_factory=dict)
    """By event type. A listener that fails is logged and counted, and harms nobody else. It hears of a change
    (`AFTER_THE_COMMIT`) once it is committed, and an async one then in a task of its own."""
    tasks: Mapping[str, Task | Callable[..., Any]] = field(default_factory=dict)
    """Background jobs by name, such as "webhooks.deliver": a Task, or a handler alone."""
    sinks: Mapping[str, Sink] = field(default_factory=dict)
    """By topic. One that begins with `admin:` writes to the admin database, any other one to the app database."""
    health: Mapping[str, HealthCheck] = field(default_factory=dict)
    provides: Mapping[type, Callable[["Kernel"], object]] = field(default_factory=dict)
    """Ports by type, made when the kernel is built."""
    requires: tuple[type, ...] = ()
    """Ports that somebody must provide, checked when the kernel is built."""
    uses: tuple[type, ...] = ()
    """Ports that are taken if somebody provides them."""
    lifespan: Lifespan | None = None
    """Entered in the order of the features, before the application's `on_startup`."""
    work: Lifespan | None = None
    """What the feature does by itself beside the requests: begun after `on_startup`, ended before `on_shutdown`."""


def left_out(feature_name: str) -> str:
    """The sentence for who calls a feature that the service was made without."""
    return (
        f"This service has no feature {feature_name}: the list that create_service(features=...) was given leaves it"
        f" out. FEATURES has it: features=[*FEATURES, ...]."
    )


class FeatureRouter(APIRouter):
    """Stands for the routes of a feature among the routers of an application, and switches the feature on.

    `create_service` takes the feature's own router, once, however often and in whatever way the feature was asked for.
    """

    def __init__(self, feature_name: str, switches: Mapping[str, Any], routes: APIRouter) -> None:
        super().__init__()
        self.feature_name = feature_name
        self.switches = dict(switches)
        """Settings that asking for these routes means."""
        self.routes.extend(routes.routes)


FeatureFactory: TypeAlias = Callable[["ServiceConfig"], Feature | None]
"""`create_feature(config)`: None means switched off. One for each feature folder."""
