"""What changes send out is carried to its sinks: the relay of a service, its figures and its part of readiness."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import Unavailable
from app_kernel.core.feature import Feature, NothingToSay
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import ADMIN_TOPICS, OutboxFigures
from app_kernel.core.ports import Database as DatabasePort
from app_kernel.core.ports import Outbox
from app_kernel.db.database import Database
from app_kernel.db.outbox.dead_letters import count_dead, list_waiting
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.db.outbox.streams import answer_of

CHECK_SECONDS = 1.0
"""How long the database may take to tell the age of the oldest message; less than readiness gives a component."""
BACKLOG_SECONDS = 0.5
"""How long Redis may take to tell how much waits in its streams."""


class ServiceOutbox(Outbox):
    """The outbox of one service, and its relay while the service runs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._relay: Relay | None = None

    @asynccontextmanager
    async def carried(self) -> AsyncIterator[None]:
        """Carries what leaves; at the end, what is there already, for a moment."""
        kernel = self._kernel
        if not self._is_used:
            yield
            return
        sinks = {topic: sink for feature in kernel.features for topic, sink in feature.sinks.items()}
        admin = None if kernel.admin_db is None else kernel.admin_store
        receivers = Receivers(sinks, admin=admin, redis=kernel.redis, app=kernel.name)
        relay = self._relay = Relay(_opened(kernel.db), receivers, report=kernel.emit)
        relay.start()
        try:
            yield
        finally:
            self._relay = None
            await relay.stop()

    async def figures(self) -> OutboxFigures:
        db = _opened(self._kernel.db).connection()
        waiting, dead = await list_waiting(db), await count_dead(db)
        unsent, seconds = sum(each.unsent for each in waiting), max((each.seconds for each in waiting), default=0.0)
        return OutboxFigures(unsent, seconds, dead, self.is_active, await self._in_streams())

    @property
    def is_active(self) -> bool:
        return self._relay is not None and self._relay.active

    async def check(self) -> tuple[bool, str]:
        """Whether messages leave in time; nothing to say where none leave, or when the database is what is away.

        Messages of topics that nobody here carries, such as those of a feature that was removed, count in the figures
        alone: no restart of this process would help them.
        """
        if not self._is_used:
            raise NothingToSay
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                waiting = await list_waiting(_opened(self._kernel.db).connection())
        except (Unavailable, TimeoutError) as exc:
            raise NothingToSay from exc
        seconds = max((each.seconds for each in waiting if self._carries(each.topic)), default=0.0)
        limit = self._kernel.config.outbox_lag_seconds
        return seconds < limit, f"the oldest message has waited for {seconds:.0f} seconds"

    @property
    def _is_used(self) -> bool:
        return bool(self._kernel.recorders) or any(feature.sinks for feature in self._kernel.features)

    def _carries(self, topic: str) -> bool:
        """Whether a feature of this service has a sink for the topic; the relay leaves all others alone."""
        return any(topic in feature.sinks for feature in self._kernel.features)

    async def _in_streams(self) -> dict[str, int] | None:
        """Messages in each stream that nobody has written yet; None when Redis does not tell, or there is none."""
        kernel = self._kernel
        if kernel.redis is None:
            return None
        topics = [topic for each in kernel.features for topic in each.sinks if topic.startswith(ADMIN_TOPICS)]
        try:
            # Entries leave their stream when they are written, so its length is what waits.
            pipeline = kernel.redis.pipeline(transaction=False)
            for topic in topics:
                pipeline.xlen(topic)
            return dict(zip(topics, await answer_of(pipeline.execute(), BACKLOG_SECONDS), strict=True))
        except Unavailable:
            return None


def _opened(database: DatabasePort) -> Database:
    """The engine behind the port, whose driver the outbox works on."""
    if not isinstance(database, Database):
        raise TypeError("The outbox needs a database made by create_database().")
    return database


def _of(kernel: Kernel) -> ServiceOutbox:
    outbox = kernel.find_port(Outbox)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if not isinstance(outbox, ServiceOutbox):
        raise TypeError("Another feature has taken the place of the outbox.")
    return outbox


def create_feature(config: ServiceConfig) -> Feature:
    """The relay; it works only in a service whose features have sinks or recorders."""
    return Feature(
        name="outbox",
        provides={Outbox: ServiceOutbox},
        health={"outbox": lambda kernel: _of(kernel).check()},
        lifespan=lambda kernel: _of(kernel).carried(),
    )
