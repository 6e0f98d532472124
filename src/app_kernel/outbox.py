"""What changes send out is carried to its sinks: the relay of a service, its figures and its part of readiness."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app_kernel.core.config import ServiceConfig
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.outbox import OutboxFigures
from app_kernel.core.ports import Database as DatabasePort
from app_kernel.core.ports import Outbox
from app_kernel.db.database import Database
from app_kernel.db.outbox.relay import Receivers, Relay
from app_kernel.db.outbox.rows import OutboxRows

OLDEST_SECONDS = 300.0
"""Age of the oldest message from which on the service says that it is not ready."""


class ServiceOutbox(Outbox):
    """The outbox of one service, and its relay while the service runs."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._relay: Relay | None = None

    @asynccontextmanager
    async def carried(self) -> AsyncIterator[None]:
        """Carries what leaves; at the end, what is there already, for a moment."""
        kernel = self._kernel
        sinks = {topic: sink for feature in kernel.features for topic, sink in feature.sinks.items()}
        if not sinks and not kernel.recorders:
            yield
            return
        admin = None if kernel.admin_db is None else kernel.admin_store
        receivers = Receivers(sinks, admin=admin, redis=kernel.redis)
        relay = self._relay = Relay(_opened(kernel.db), receivers, report=kernel.emit)
        relay.start()
        try:
            yield
        finally:
            self._relay = None
            await relay.stop()

    async def figures(self) -> OutboxFigures:
        lag = await OutboxRows(_opened(self._kernel.db).driver).lag()
        is_active = self._relay is not None and self._relay.active
        return OutboxFigures(lag.unsent, lag.oldest_seconds, lag.dead, is_active)

    async def check(self) -> tuple[bool, str]:
        """Whether messages leave in time."""
        seconds = await OutboxRows(_opened(self._kernel.db).driver).oldest_seconds()
        return seconds < OLDEST_SECONDS, f"the oldest message has waited for {seconds:.0f} seconds"


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
