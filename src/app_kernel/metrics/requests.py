"""Figures of requests, by route template, so that an id in a path makes no new series; and the page that shows all."""

import hmac

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
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
from app_kernel.core.errors import NotAuthenticated
from app_kernel.core.events import (
    CachesUsed,
    HitCountedLocally,
    JobFinished,
    MessagesCarried,
    RequestFinished,
    RequestLimited,
    WebhookAttempted,
)
from app_kernel.core.kernel import Kernel
from app_kernel.core.policies import public
from app_kernel.metrics.cache import CacheMetrics
from app_kernel.metrics.jobs import JobMetrics
from app_kernel.metrics.limits import LimitMetrics
from app_kernel.metrics.outbox import OutboxMetrics
from app_kernel.metrics.webhooks import WebhookMetrics

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
        self._jobs = JobMetrics(self.registry)
        self._limits = LimitMetrics(self.registry)
        self._caches = CacheMetrics(self.registry)
        self._webhooks = WebhookMetrics(self.registry)
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

    def count_job(self, kernel: Kernel, event: JobFinished) -> None:
        """Counts what a worker in this process did."""
        self._jobs.count(event)

    def count_refusal(self, kernel: Kernel, event: RequestLimited) -> None:
        """Counts a request over its limit."""
        self._limits.count(event)

    def count_local_hit(self, kernel: Kernel, event: HitCountedLocally) -> None:
        """Counts a hit that Redis did not count."""
        self._limits.count_local()

    def count_caches(self, kernel: Kernel, event: CachesUsed) -> None:
        """Counts what the cache of this process did."""
        self._caches.count(event)

    def count_webhook(self, kernel: Kernel, event: WebhookAttempted) -> None:
        """Counts an attempt to deliver a webhook."""
        self._webhooks.count(event)

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

    @public
    async def answer(self, request: Request) -> Response:
        """GET /metrics."""
        kernel: Kernel = current_context().kernel
        _require_reader(request, kernel.config)
        await self._outbox.look(kernel)
        await self._jobs.look(kernel)
        return Response(self.render(kernel), headers={"Content-Type": CONTENT_TYPE_LATEST})


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
