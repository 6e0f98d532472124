"""The running whole: what was configured, what was opened, and who provides what."""

import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import KernelError, Unavailable
from app_kernel.core.events import PART_OF_THE_COMMIT
from app_kernel.core.feature import Authenticator, Feature, Listener
from app_kernel.core.outbox import ADMIN_TOPICS, EventRecorder, Recorder
from app_kernel.core.ports import Database, EntityStore, Memberships

P = TypeVar("P")

_log = logging.getLogger("app_kernel")


class Kernel:
    """One service: its settings, databases, features and the ports that they provide to each other."""

    def __init__(
        self, config: ServiceConfig, db: Database, features: Sequence[Feature], *, admin_db: Database | None = None
    ) -> None:
        self.config = config
        self.db = db
        self.admin_db = admin_db
        """None when no feature needs one and none is set. It may open later than the service: see `admin_store`."""
        self.features = tuple(features)
        self.connect_redis: Callable[[], Any] | None = None
        """Makes the Redis client at start-up, in the event loop that uses it; None without Redis."""
        self.redis: Any = None
        """The redis.asyncio client while the service runs; None without Redis. It connects when it is first used."""
        self.running = False
        """Whether its database is open; a request before or after that is refused."""
        self.waiting_for = ""
        """While the server serves before start-up is over, what it waits for; only probes are answered then."""
        self.admin_is_open = False
        self.ready = False
        """Whether start-up is over and shutdown has not begun."""
        self.listener_failures = 0
        """How many times a listener failed since the start."""
        self.authenticator: Authenticator | None = next((f.authenticator for f in features if f.authenticator), None)
        self._listeners: dict[type, tuple[tuple[str, Listener], ...]] = {}
        for feature in features:
            for event_type, listener in feature.listeners.items():
                self._listeners[event_type] = (*self._listeners.get(event_type, ()), (feature.name, listener))
        self._event_recorders: dict[type, tuple[EventRecorder, ...]] = {}
        for feature in features:
            for event_type, recorder in feature.event_recorders.items():
                self._event_recorders[event_type] = (*self._event_recorders.get(event_type, ()), recorder)
        self._ports: dict[type, object] = {}
        for feature in features:
            for port, make in feature.provides.items():
                self._ports[port] = make(self)

        self.memberships: Memberships | None = self.find_port(Memberships)  # type: ignore[type-abstract]  # a protocol
        """Who belongs to which workspace; None in a service without workspaces."""

    @property
    def name(self) -> str:
        """The service's name."""
        return self.config.name or ""

    @property
    def recorders(self) -> tuple[Recorder, ...]:
        """The recorders of all features, in their order."""
        return tuple(recorder for feature in self.features for recorder in feature.recorders)

    def admin_store(self) -> EntityStore:
        """The admin database; raises Unavailable until it is open, and KernelError when there is none."""
        if self.admin_db is None:
            raise KernelError("This service has no admin database: no feature needs one, and admin_db_url is not set.")
        if not self.admin_is_open:
            raise Unavailable("The admin database is not open yet.")
        return self.admin_db.connection()

    def port(self, port: type[P]) -> P:
        """What a feature provides for `port`; raises KernelError when nobody does."""
        provided = self.find_port(port)
        if provided is None:
            raise KernelError(f"No feature of this service provides {port.__name__}.")
        return provided

    def find_port(self, port: type[P]) -> P | None:
        """What a feature provides for `port`, or None."""
        found: P | None = self._ports.get(port)  # type: ignore[assignment]  # kept by its own type
        return found

    def hears(self, event_type: type) -> bool:
        """Whether anybody listens to this type of event, so that a hot path need not make one for nobody."""
        return event_type in self._listeners

    async def emit(self, event: object) -> None:
        """Tells every listener of the event's type, in the order of the features; a failing one is logged and counted.

        It does not raise, because what the event tells of has happened; only where listeners are a part of the open
        transaction (`PART_OF_THE_COMMIT`) the failure of one is raised, so that nothing is committed by half.
        """
        if type(event) in self._event_recorders:
            await self._record(event)
        for feature_name, listener in self._listeners.get(type(event), ()):
            try:
                result = listener(self, event)
                if result is not None and inspect.isawaitable(result):
                    await result
            except Exception:
                self.listener_failures += 1
                _log.exception("listener_failed", extra={"feature": feature_name, "event_type": type(event).__name__})
                if isinstance(event, PART_OF_THE_COMMIT):
                    raise

    async def _record(self, event: object) -> None:
        """Writes what must leave with the event; inside a transaction a failure is raised, so that both are one."""
        db = self.db.connection().privileged
        try:
            messages = [message for recorder in self._event_recorders[type(event)] for message in recorder(self, event)]
            await db.send_messages(messages)
        except Exception:
            self.listener_failures += 1
            _log.exception("event_not_recorded", extra={"event_type": type(event).__name__})
            if self.db.statements.in_transaction:
                raise


def needs_admin_database(features: Iterable[Feature]) -> bool:
    """Whether a feature keeps something in the admin database."""
    return any(
        feature.admin_tables or any(topic.startswith(ADMIN_TOPICS) for topic in feature.sinks) for feature in features
    )
