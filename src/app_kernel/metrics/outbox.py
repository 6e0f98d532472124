"""How messages leave: figures of the outbox."""

import asyncio
from contextlib import suppress
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from app_kernel.core.errors import Unavailable
from app_kernel.core.events import MessagesCarried
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Outbox

OUTBOX_SECONDS = 1.0
"""How long the database may take to tell how the outbox stands; after that its gauges are left unknown."""


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
        self._active = gauge("relay_active", "1 while the relay of one of these processes carries.", "livemax")
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

    def publish(self, kernel: Kernel) -> None:
        """Takes over whether this process carries."""
        outbox = kernel.find_port(Outbox)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        self._active.set(outbox is not None and outbox.is_active)

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
        known = {} if figures is None else figures.in_streams or {}
        for topic in self._topics | known.keys():
            self._in_streams.labels(topic).set(known.get(topic, unknown))
        self._topics |= known.keys()
