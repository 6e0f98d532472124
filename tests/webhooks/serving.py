"""A service with webhooks on SQLite or PostgreSQL, with workspaces that a test fills and receivers that it scripts."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from app_kernel import FEATURES, Feature, ServiceConfig, create_service
from app_kernel.core.events import SecurityEvent, WebhookAttempted
from app_kernel.core.ports import EntityStore, Memberships, Outbox
from app_kernel.testing import KernelClient, kernel_client
from app_kernel.webhooks import sending, store
from app_kernel.webhooks.attempts import Answer
from app_kernel.webhooks.sending import Order
from tests.redis_beside import redis_beside

SECRET = "secret-of-the-webhook-tests-0123456789abcdef"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
OK = Answer("delivered", 200, excerpt="thanks")
URL = "https://hooks.example.com/in?key=path-secret"


class Workspaces:
    """Implements the port Memberships."""

    def __init__(self) -> None:
        self.members: dict[tuple[str, str], str] = {}

    async def role_in(self, db: EntityStore, workspace_id: str, user_id: str) -> str | None:
        return self.members.get((workspace_id, user_id))

    async def recent_role(self, workspace_id: str, user_id: str) -> str | None:
        return self.members.get((workspace_id, user_id))

    async def current_workspace(self, db: EntityStore, user_id: str) -> str | None:
        return None


class Receivers:
    """Stands where `sending.send` is: what was sent, and what is answered."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.answer: Callable[[Order], Answer] = lambda order: OK

    async def send(self, order: Order) -> Answer:
        self.orders.append(order)
        return self.answer(order)

    def ids(self) -> list[str]:
        return [order.headers["webhook-id"] for order in self.orders]

    def answers(self, *answers: Answer) -> None:
        """These, one after another, and the last one for ever."""
        left = list(answers)
        self.answer = lambda order: left.pop(0) if len(left) > 1 else left[0]


class Service:
    """A running app, what it said, and who it talks to."""

    def __init__(self, client: KernelClient, receivers: Receivers, workspaces: Workspaces, events: list[Any]) -> None:
        self.client = client
        self.kernel = client.kernel
        self.db = client.db
        self.receivers = receivers
        self.workspaces = workspaces
        self.events = events

    def security(self) -> list[str]:
        return [event.name for event in self.events if isinstance(event, SecurityEvent)]

    def attempts(self) -> list[str]:
        return [event.outcome for event in self.events if isinstance(event, WebhookAttempted)]

    async def carried(self) -> None:
        """Returns when every message has left the outbox."""
        outbox = self.kernel.port(Outbox)  # type: ignore[type-abstract]
        while (await outbox.figures()).unsent:
            await self.client.jobs.enqueued()

    async def drain(self) -> None:
        """Carries what was triggered, and runs what is due."""
        await self.carried()
        await self.client.jobs.drain()

    async def advance(self, seconds: float) -> None:
        self.client.clock.advance(seconds)
        await self.drain()

    async def deliveries(self, webhook_id: str) -> list[dict[str, Any]]:
        """The oldest first."""
        return (await store.list_deliveries(self.db, webhook_id, limit=500))[::-1]


def make_app(
    workspaces: Workspaces | None, events: list[Any], routers: Sequence[APIRouter] = (), **settings: Any
) -> FastAPI:
    probe = Feature(
        name="probe",
        listeners={
            SecurityEvent: lambda _, event: events.append(event),
            WebhookAttempted: lambda _, e: events.append(e),
        },
        provides={} if workspaces is None else {Memberships: lambda _: workspaces},
    )
    options = {"jwt_secret": SECRET, "rate_limit_requests": 1_000_000, "rate_limit_auth_requests": 1_000_000}
    config = ServiceConfig(**{"database_name": "sqlite://:memory:", **options, **settings})
    return create_service("hooks", config=config, routers=routers, features=[*FEATURES, probe])


@asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch,
    database: str = "sqlite://:memory:",
    *,
    frozen_at: datetime | None = START,
    with_workspaces: bool = True,
    routers: Sequence[APIRouter] = (),
    redis_url: str | None = None,
    **settings: Any,
) -> AsyncIterator[Service]:
    events: list[Any] = []
    workspaces, receivers = Workspaces(), Receivers()
    monkeypatch.setattr(sending, "send", receivers.send)
    redis_url = redis_url or redis_beside(database).get("redis_url")
    if redis_url is not None:
        settings["redis_url"] = redis_url
    app = make_app(workspaces if with_workspaces else None, events, routers, **settings)
    options = {"frozen_at": frozen_at, "database": database, "redis_url": redis_url}
    async with kernel_client(app, **options, webhooks="send") as client:
        yield Service(client, receivers, workspaces, events)
