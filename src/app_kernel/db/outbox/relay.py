"""The relay carries the outbox out after the commit; one is active for each database, and others stand by.

It is woken by the commit. Every topic has a loop of its own, so that one whose receiver is away holds up no other.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app_kernel.core.cancellation import cancel_tasks
from app_kernel.core.errors import Unavailable
from app_kernel.core.events import MessagesCarried
from app_kernel.core.outbox import ADMIN_TOPICS, Sink
from app_kernel.core.ports import EntityStore
from app_kernel.db.drivers.base import Lease
from app_kernel.db.outbox.backoff import pause
from app_kernel.db.outbox.channel import Carrier, Channel, DirectCarrier, Report
from app_kernel.db.outbox.rows import Lag, OutboxRows
from app_kernel.db.outbox.streams import CHECK_SECONDS, StreamCarrier, Streams
from app_kernel.db.transactions import OUTBOX

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from app_kernel.db.database import Database

LEASE = "relay"
LEASE_SECONDS = 1.0
"""Time between two tries to become active, and between two looks at whether the relay still is."""
GRACE_SECONDS = 2.0
"""How long an ending relay goes on delivering."""
DISCOVER_SECONDS = 30.0
PRUNE_SECONDS = 60.0
EVICTION_SECONDS = 3600.0

_log = logging.getLogger("app_kernel.outbox")


@dataclass(frozen=True, slots=True)
class Receivers:
    """Where messages go."""

    sinks: Mapping[str, Sink]
    """By topic."""
    admin: Callable[[], EntityStore] | None = None
    """The admin database, which receives the admin topics unless Redis takes them; raises Unavailable until it is open.
    None where there is none."""
    redis: "Redis | None" = None
    """Takes the admin topics to the admin worker."""
    app: str = ""
    """The name of the service that carries."""


class Relay:
    """Carries the outbox of one open database; `start` and `stop` in the event loop that opened it."""

    def __init__(
        self, source: "Database", receivers: Receivers, *, report: Report | None = None, lease: str = LEASE
    ) -> None:
        self._source = source
        self._driver = source.driver
        self._outbox = OutboxRows(source.driver, receivers.app)
        self._receivers = receivers
        self._streams = None if receivers.redis is None else Streams(receivers.redis, self._outbox)
        self._report = report or _report_to_nobody
        self._lease_name = lease
        self._channels: dict[str, Channel] = {}
        self._strangers: set[str] = set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.active = False
        """Whether this relay is the one that carries."""

    def start(self) -> None:
        """Begins to carry, or to stand by."""
        self._task = asyncio.create_task(self._run(), name="outbox-relay")

    async def stop(self) -> None:
        """Delivers what is there, for GRACE_SECONDS at most, and lets another relay take over at once."""
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def lag(self) -> Lag:
        """What has not left yet."""
        return await self._outbox.lag()

    async def _run(self) -> None:
        told = ""
        while not self._stopping.is_set():
            try:
                lease = await self._driver.acquire_lease(self._lease_name)
                if lease is not None:
                    await self._hold(lease)
                told = ""
            except Exception as exc:  # noqa: BLE001 - another try follows, here or in another process
                reason = f"{type(exc).__name__}: {exc}"
                if reason != told:
                    shown = None if isinstance(exc, Unavailable) else exc
                    _log.warning("relay_waits", extra={"reason": reason}, exc_info=shown)
                told = reason
            await pause(self._stopping, LEASE_SECONDS)

    async def _hold(self, lease: Lease) -> None:
        self.active = True
        try:
            await self._be_active(lease)
        finally:
            self.active = False
            await lease.release()

    async def _be_active(self, lease: Lease) -> None:
        """Carries until the lease is lost or the relay is stopped."""
        self._channels, self._strangers = {}, set()
        stop_listening = self._driver.on_signal(OUTBOX, self._wake)
        tasks: set[asyncio.Task[None]] = set()
        try:
            tasks.add(asyncio.create_task(self._every(DISCOVER_SECONDS, lambda: self._discover(tasks))))
            tasks.add(asyncio.create_task(self._every(PRUNE_SECONDS, self._outbox.prune)))
            if self._streams is not None:
                tasks.add(asyncio.create_task(self._every(CHECK_SECONDS, self._check_streams)))
                tasks.add(asyncio.create_task(self._every(EVICTION_SECONDS, self._streams.warn_of_eviction)))
            self._open_channels(self._receivers.sinks, tasks)
            _log.info("relay_active", extra={"topics": sorted(self._channels)})
            while not self._stopping.is_set():
                await pause(self._stopping, LEASE_SECONDS)
                if not await _renewed(lease):
                    _log.warning("relay_lost_lease")
                    return
            await self._finish(tasks)
        finally:
            stop_listening()
            await cancel_tasks(tasks)

    async def _finish(self, tasks: set[asyncio.Task[None]]) -> None:
        for channel in self._channels.values():
            channel.end()
        carrying = [task for task in tasks if task.get_name() in self._channels]
        if carrying:
            await asyncio.wait(carrying, timeout=GRACE_SECONDS)

    async def _discover(self, tasks: set[asyncio.Task[None]]) -> None:
        """Finds topics that wait without a feature of this process having named them."""
        found = await self._outbox.topics()
        self._open_channels(found, tasks)
        strangers = set(found) - self._channels.keys() - self._strangers
        for topic in sorted(strangers):
            # Another version of the application may know what to do with it, so it is left alone.
            _log.warning("outbox_topic_without_sink", extra={"topic": topic})
        self._strangers |= strangers

    def _open_channels(self, topics: "Mapping[str, Sink] | list[str]", tasks: set[asyncio.Task[None]]) -> None:
        for topic in topics:
            carrier = None if topic in self._channels else self._carrier(topic)
            if carrier is not None:
                channel = self._channels[topic] = Channel(topic, self._outbox, carrier, self._report)
                tasks.add(asyncio.create_task(channel.run(), name=topic))

    def _carrier(self, topic: str) -> Carrier | None:
        """How a topic's messages get to their sink; None when nobody here knows it."""
        if topic not in self._receivers.sinks:
            return None
        is_admin = topic.startswith(ADMIN_TOPICS)
        if is_admin and self._streams is not None:
            return StreamCarrier(self._streams, topic)
        receiver = self._receivers.admin if is_admin else self._source.connection
        return None if receiver is None else DirectCarrier(self._outbox, receiver, self._receivers.sinks[topic])

    async def _check_streams(self) -> None:
        if self._streams is not None and not await self._streams.check():
            self._wake()

    def _wake(self) -> None:
        for channel in self._channels.values():
            channel.wake()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        silent = False
        while True:
            try:
                await work()
                silent = False
            except Exception as exc:  # noqa: BLE001 - it is tried again, and said once
                if not silent:
                    _log.warning("relay_chore_failed", extra={"reason": f"{type(exc).__name__}: {exc}"})
                silent = True
            await asyncio.sleep(seconds)


async def _renewed(lease: Lease) -> bool:
    try:
        return await lease.renew()
    except Unavailable:
        return False


async def _report_to_nobody(carried: MessagesCarried) -> None:
    return None
