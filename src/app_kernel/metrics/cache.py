"""What the caches of a process did, and how much it keeps in its memory."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from app_kernel.core.events import CachesUsed


class CacheMetrics:
    """The figures of one service's cache, by the process that asked it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._operations = Counter(
            "app_kernel_cache_operations",
            "What was asked of the cache, by its outcome and where.",
            ("operation", "outcome", "backend"),
            registry=registry,
        )
        self._entries = Gauge(
            "app_kernel_cache_entries",
            "Values in the memory of the process.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def count(self, event: CachesUsed) -> None:
        """Counts what was done since the last time."""
        for labels, times in event.counts.items():
            self._operations.labels(*labels).inc(times)
        self._entries.set(event.entries)
