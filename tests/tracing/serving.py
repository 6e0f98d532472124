"""A service whose spans go to memory, on SQLite or PostgreSQL, with what a test needs to make them."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app_kernel import FEATURES, ServiceConfig, create_service, get_job_client
from app_kernel.core.context import Context, current_context, in_context
from app_kernel.core.ports import EntityStore, Outbox
from app_kernel.core.tracing import Tracing
from app_kernel.db import db_connection
from app_kernel.testing import KernelClient, kernel_client
from app_kernel.tracing import noting, spans
from app_kernel.webhooks import create_webhook, trigger_webhook_event
from tests.redis_beside import admin_readers, is_written, own_redis_beside

SECRET = "secret-of-the-tracing-tests-0123456789abcdef"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
UNSAMPLED = f"00-{TRACE_ID}-00f067aa0ba902b7-00"
COLLECTOR = "http://collector.invalid:4318"


class Boom(Exception):
    """What routes and jobs of these tests fail of."""


def make_router() -> APIRouter:
    router = APIRouter()

    @router.post("/widgets/{id}")
    async def post_widget(id: str, db: EntityStore = Depends(db_connection)) -> dict[str, Any]:
        async with db.transaction():
            saved = await db.save_entity("widgets", {"id": id, "label": "red"})
            await get_job_client().enqueue("paint", {"id": id})
            await trigger_webhook_event(db, None, event="widget.made", data={"id": id})
        return saved

    @router.get("/widgets/{id}")
    async def get_widget(id: str, db: EntityStore = Depends(db_connection)) -> dict[str, Any] | None:
        return await db.get_entity("widgets", id)

    @router.get("/boom/{id}")
    async def get_boom(id: str) -> None:
        raise Boom(f"a text with {id} and canary-in-an-exception")

    @router.get("/parallel")
    async def get_parallel(db: EntityStore = Depends(db_connection)) -> int:
        return len(await asyncio.gather(*(db.get_entity("widgets", str(number)) for number in range(3))))

    return router


async def paint(payload: dict[str, Any]) -> None:
    async with asyncio.timeout(5):
        kernel = current_context().kernel
        await kernel.db.connection().save_entity("widgets", {"id": payload["id"], "label": "blue"})


async def explode() -> None:
    raise Boom("canary-in-a-job")


TASKS = {"paint": paint, "explode": explode}


class Service:
    """A running app, and the spans that it has made."""

    def __init__(self, client: KernelClient, exporter: InMemorySpanExporter) -> None:
        self.client = client
        self.kernel = client.kernel
        self.db = client.db
        self._exporter = exporter

    @property
    def tracing(self) -> Any:
        return self.kernel.port(Tracing)  # type: ignore[type-abstract]

    def spans(self) -> list[ReadableSpan]:
        """Those that have ended, in the order of their beginning."""
        if self.tracing._provider is not None:
            self.tracing._provider.force_flush()
        return sorted(self._exporter.get_finished_spans(), key=lambda each: each.start_time or 0)

    def named(self, name: str) -> ReadableSpan:
        (found,) = [each for each in self.spans() if each.name == name]
        return found

    def names(self) -> list[str]:
        return [each.name for each in self.spans()]

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        # What a request sets in its context ends with the request, as behind a server.
        with in_context(Context(kernel=self.kernel)):
            return await self.client.request(method, path, **options)

    async def webhook(self) -> str:
        made = await create_webhook(
            self.db, None, url="https://hooks.example.com/canary-in-a-url", events=["widget.made"]
        )
        return str(made["secret"])

    async def carried(self) -> None:
        """Writes what was noted, and returns when it is in the admin database."""
        outbox = self.kernel.port(Outbox)  # type: ignore[type-abstract]
        await notes_of(self.client).flush()
        async with asyncio.timeout(20):
            while not is_written(await outbox.figures()):
                await self.client.jobs.enqueued()

    async def traces(self) -> list[dict[str, Any]]:
        await self.carried()
        return await self.kernel.admin_store().privileged.find_entities("traces", order_by="[id]")


def notes_of(client: KernelClient) -> Any:
    (feature,) = [each for each in client.kernel.features if each.name == "tracing"]
    listeners: Any = list(feature.listeners.values())
    found: noting.Noting = listeners[0].__self__
    return found._beside


@asynccontextmanager
async def serving(
    monkeypatch: pytest.MonkeyPatch,
    database: str = "sqlite://:memory:",
    *,
    routers: Iterable[APIRouter] = (),
    tasks: dict[str, Callable[..., Any]] = TASKS,
    name: str = "traced",
    **settings: Any,
) -> AsyncIterator[Service]:
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(spans, "make_exporter", lambda config: exporter)
    options = {
        "jwt_secret": SECRET,
        "rate_limit_enabled": False,
        "otlp_endpoint": COLLECTOR,
        "trace_sample_ratio": 0,
        "trace_slow_seconds": 60,
    }
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(own_redis_beside(database))
        given = {key: value for key, value in {**options, **redis, **settings}.items() if value is not None}
        config = ServiceConfig(**{"database_name": "sqlite://:memory:", **given})
        app = create_service(
            name, config=config, routers=[make_router(), *routers], tasks=tasks, features=FEATURES, version="7.1"
        )
        client = await stack.enter_async_context(kernel_client(app, database=database, **redis))
        await stack.enter_async_context(admin_readers(client))
        yield Service(client, exporter)
