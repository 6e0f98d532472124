"""How webhooks arrive, by the process that sent them."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from app_kernel.core.events import WebhookAttempted

BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)


class WebhookMetrics:
    """The figures of one service's webhooks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "app_kernel_webhook_attempts", "Attempts to deliver a webhook.", ("outcome",), registry=registry
        )
        self._seconds = Histogram(
            "app_kernel_webhook_duration_seconds",
            "Time that an attempt to deliver a webhook took.",
            buckets=BUCKETS,
            registry=registry,
        )

    def count(self, event: WebhookAttempted) -> None:
        """Counts an attempt."""
        self._attempts.labels(event.outcome).inc()
        self._seconds.observe(event.duration)
