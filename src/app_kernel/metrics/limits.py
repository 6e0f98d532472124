"""How often callers were over their limits, and how often this process had to count alone."""

from prometheus_client import CollectorRegistry, Counter

from app_kernel.core.events import RequestLimited


class LimitMetrics:
    """The figures of one service's rate limits, by the process that refused or counted."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._refused = Counter(
            "app_kernel_rate_limited", "Requests refused, as a limit was used up.", ("policy",), registry=registry
        )
        self._local = Counter(
            "app_kernel_rate_limiter_fallback",
            "Hits that this process counted alone, as Redis did not answer.",
            registry=registry,
        )

    def count(self, event: RequestLimited) -> None:
        """Counts a refused request."""
        self._refused.labels(event.policy).inc()

    def count_local(self) -> None:
        """Counts a hit without Redis."""
        self._local.inc()
