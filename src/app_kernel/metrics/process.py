"""The process itself: what it is, whether it keeps up, and what it could not tell."""

import asyncio
import sys
from importlib.metadata import version as installed_version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector

from app_kernel.core.database_urls import backend_of
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import ADMIN_TOPICS
from app_kernel.logs import lost_lines
from app_kernel.metrics.growth import Growth

LOOK_SECONDS = 1.0
DELAYS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class ProcessMetrics:
    """The figures of one service's processes."""

    def __init__(self, registry: CollectorRegistry, *, shared: bool) -> None:
        self._info = Gauge(
            "app_kernel_info",
            "1, with what runs in its labels.",
            ("service", "version", "python", "database"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._versions = (installed_version("app-kernel"), ".".join(map(str, sys.version_info[:3])))
        self._ready = Gauge(
            "app_kernel_ready_processes",
            "Processes that have started and are not stopping.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._failures = Growth(
            Counter("app_kernel_listener_failures", "Listeners that failed to handle an event.", registry=registry)
        )
        self._dropped = Growth(
            Counter(
                "app_kernel_dropped",
                "Notes for the admin database that were dropped, as there were too many.",
                ("topic",),
                registry=registry,
            )
        )
        self._lost_lines = Growth(
            Counter("app_kernel_log_lines_lost", "Log lines that could not be written.", registry=registry)
        )
        self._delay = Histogram(
            "app_kernel_event_loop_delay_seconds",
            "How late the event loop was with a look that it takes once a second.",
            buckets=DELAYS,
            registry=registry,
        )
        if not shared:
            # Each of several processes would show itself alone.
            ProcessCollector(registry=registry)
            PlatformCollector(registry=registry)

    def publish(self, kernel: Kernel) -> None:
        """Takes over what was counted elsewhere."""
        backend = backend_of(kernel.config.database_url)
        self._info.labels(kernel.name, *self._versions, backend).set(1)
        self._ready.set(kernel.ready)
        self._failures.reach(kernel.listener_failures)
        self._lost_lines.reach(lost_lines())
        # From the start, as an increase is seen only from a number that was there before.
        written = {topic for feature in kernel.features for topic in feature.sinks if topic.startswith(ADMIN_TOPICS)}
        for topic in written | kernel.dropped.keys():
            self._dropped.reach(kernel.dropped[topic], topic)

    async def look(self) -> None:
        """Waits until the next look, and notes how late it came."""
        loop = asyncio.get_running_loop()
        due = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        self._delay.observe(max(0.0, loop.time() - due))
