"""Figures of requests, by route template, so that an id in a path makes no new series."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from app_kernel.core.events import RequestFinished
from app_kernel.core.kernel import Kernel
from app_kernel.core.methods import METHODS

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the duration histogram, in seconds."""


class RequestMetrics:
    """The figures of one service's requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "app_kernel_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "app_kernel_http_request_duration_seconds",
            "Time from the request's first byte to the answer's last.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=registry,
        )
        # labels() costs more than what it finds; the number of routes, methods and statuses bounds the cache.
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def count(self, kernel: Kernel, event: RequestFinished) -> None:
        """Counts one request."""
        key = (event.method, event.route, event.status)
        child = self._children.get(key) or self._make_child(*key)
        child[0].inc()
        child[1].observe(event.duration)

    def _make_child(self, method: str, route: str, status: int) -> tuple[Counter, Histogram]:
        known = method if method in METHODS else "OTHER"
        child = (self._requests.labels(known, route, status), self._seconds.labels(known, route))
        if known == method:
            self._children[method, route, status] = child
        return child
