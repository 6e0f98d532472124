"""Figures for Prometheus at `/metrics`: of requests, by route template, so that an id in a path makes no new series,
and of the outbox.

With several worker processes the figures are those of all of them if `PROMETHEUS_MULTIPROC_DIR` names an empty
directory before the first one starts; prometheus_client reads it itself. Without it each process shows its own.
"""

import asyncio
import hmac
from contextlib import suppress
from typing import Literal

from fastapi import APIRouter
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
    values,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import current_context
from app_kernel.core.errors import NotAuthenticated, Unavailable
from app_kernel.core.events import MessagesCarried, RequestFinished
from app_kernel.core.feature import Feature, Listener
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Outbox

OUTBOX_SECONDS = 1.0
"""How long the database may take to tell how the outbox stands; after that its gauges are left unknown."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration histogram, in seconds."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Other methods count as OTHER: a client could invent any number of them."""


class RequestFigures:
    """The figures of one service, in a registry of its own, so that two services in a process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "app_kernel_http_requests", "Requests answered.", ("method", "route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "app_kernel_http_request_duration_seconds",
            "Time from the request's first byte to the answer's last.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._failures = Counter(
            "app_kernel_listener_failures", "Listeners that failed to handle an event.", registry=self.registry
        )
        self._failures_counted = 0
        self._outbox = OutboxMetrics(self.registry)
        # labels() costs more than what it finds; the number of routes, methods and statuses bounds the cache.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, kernel: Kernel, event: RequestFinished) -> None:
        """Counts one request."""
        key = (event.method, event.route, event.status)
        child = self._children.get(key) or self._make_child(*key)
        child[0].inc()
        child[1].observe(event.duration)

    def count_messages(self, kernel: Kernel, event: MessagesCarried) -> None:
        """Counts what the relay of this process did."""
        self._outbox.count(event)

    def _make_child(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        known = method if method in METHODS else "OTHER"
        child = (self._requests.labels(known, route, status), self._seconds.labels(known, route))
        if known == method:
            self._children[method, route, status] = child
        return child

    def render(self, kernel: Kernel) -> bytes:
        """All figures in the text format of Prometheus."""
        self._failures.inc(kernel.listener_failures - self._failures_counted)
        self._failures_counted = kernel.listener_failures
        if values.ValueClass is values.MutexValue:
            return generate_latest(self.registry)
        merged = CollectorRegistry()
        multiprocess.MultiProcessCollector(merged)  # type: ignore[no-untyped-call]
        return generate_latest(merged)

    async def answer(self, request: Request) -> Response:
        """GET /metrics."""
        kernel: Kernel = current_context().kernel
        _require_reader(request, kernel.config)
        await self._outbox.look(kernel)
        return Response(self.render(kernel), headers={"Content-Type": CONTENT_TYPE_LATEST})


class OutboxMetrics:
    """How messages leave: counters kept by the process whose relay carries, gauges read from the database."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, mode: Literal["mostrecent", "livemax"] = "mostrecent") -> Gauge:
            return Gauge(f"app_kernel_outbox_{name}", text, registry=registry, multiprocess_mode=mode)

        def counter(name: str, text: str) -> Counter:
            return Counter(f"app_kernel_outbox_{name}", text, ("topic",), registry=registry)

        self._unsent = gauge("unsent", "Messages that have not left the outbox.")
        self._oldest = gauge("oldest_seconds", "Age of the oldest message that has not left.")
        self._dead = gauge("dead_letters", "Messages that no receiver took, kept until somebody sends them again.")
        self._active = gauge("relay_active", "Whether the relay of this process is the one that carries.", "livemax")
        self._in_streams = Gauge(
            "app_kernel_outbox_stream_length",
            "Messages in the Redis stream that no admin worker has written.",
            ("topic",),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._sent = counter("sent", "Messages that arrived.")
        self._failed = counter("failures", "Messages that their receiver refused, each time.")
        self._died = counter("deaths", "Messages that became dead letters.")
        self._interrupted = counter("interruptions", "Tries in which the receiver was away.")
        self._topics: set[str] = set()
        """Topics whose stream was seen."""

    def count(self, event: MessagesCarried) -> None:
        """Counts what became of some messages."""
        self._sent.labels(event.topic).inc(event.sent)
        self._failed.labels(event.topic).inc(event.failed)
        self._died.labels(event.topic).inc(event.dead)
        self._interrupted.labels(event.topic).inc(event.interrupted)

    async def look(self, kernel: Kernel) -> None:
        """Reads how the outbox stands; what cannot be read is shown as no number."""
        outbox = kernel.find_port(Outbox)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        figures = None
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(OUTBOX_SECONDS):
                figures = None if outbox is None else await outbox.figures()
        unknown = float("nan")
        self._unsent.set(unknown if figures is None else figures.unsent)
        self._oldest.set(unknown if figures is None else figures.oldest_seconds)
        self._dead.set(unknown if figures is None else figures.dead)
        self._active.set(figures is not None and figures.is_active)
        known = {} if figures is None else figures.in_streams or {}
        for topic in self._topics | known.keys():
            self._in_streams.labels(topic).set(known.get(topic, unknown))
        self._topics |= known.keys()


def _require_reader(request: Request, config: ServiceConfig) -> None:
    """Lets pass whoever has the metrics token, an admin, and anybody at all outside production when no token is set."""
    context = current_context()
    if context.user is not None and context.user.role == "admin":
        return
    if config.metrics_token is None and not config.production:
        return
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    expected = config.metrics_token
    # Compared as bytes in constant time, so that the answer's time tells nothing about the token.
    if expected and scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), expected.encode()):
        return
    if context.user is not None:
        raise HTTPException(403, "The metrics are for admins and for the bearer of the metrics token.")
    raise NotAuthenticated


def create_feature(config: ServiceConfig) -> Feature:
    """`/metrics`, at the root whatever the api_prefix."""
    figures = RequestFigures()
    router = APIRouter()
    router.add_route("/metrics", figures.answer, include_in_schema=False)
    listeners: dict[type, Listener] = {RequestFinished: figures.count, MessagesCarried: figures.count_messages}
    return Feature(name="metrics", router=router, unprefixed=True, listeners=listeners, uses=(Outbox,))
