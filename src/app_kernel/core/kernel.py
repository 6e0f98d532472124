"""The running whole: what was configured, what was opened, and who provides what."""

import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from app_kernel.core.config import ServiceConfig
from app_kernel.core.emitter import Emitter
from app_kernel.core.errors import KernelError, Unavailable
from app_kernel.core.events import PART_OF_THE_COMMIT
from app_kernel.core.feature import Authenticator, Feature, Listener
from app_kernel.core.outbox import ADMIN_TOPICS, Recorder
from app_kernel.core.ports import Database, EntityStore, Memberships

P = TypeVar("P")


class Kernel:
    """One service: its settings, databases, features and the ports that they provide to each other."""

    def __init__(
        self,
        config: ServiceConfig,
        db: Database,
        features: Sequence[Feature],
        *,
        admin_db: Database | None = None,
        version: str = "",
    ) -> None:
        self.config = config
        self.db = db
        self.admin_db = admin_db
        """None when no feature needs one and none is set. It may open later than the service: see `admin_store`."""
        self.version = version
        """The service's version, as `create_service` was told it."""
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
        self.draining = False
        """Whether it was told to stop and serves on for a while, so that load balancers can notice: `drain_seconds`."""
        self.listener_failures = 0
        """How many times a listener failed since the start."""
        self.dropped: Counter[str] = Counter()
        """What was to be written beside the requests and was not, as there was too much of it: how often, by topic."""
        self.authenticator: Authenticator | None = next((f.authenticator for f in features if f.authenticator), None)
        self._listeners: dict[type, tuple[tuple[str, Listener], ...]] = {}
        for feature in features:
            for event_type, listener in feature.listeners.items():
                self._listeners[event_type] = (*self._listeners.get(event_type, ()), (feature.name, listener))
        self._emitter = Emitter(self, features, self._listeners)
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

        It does not raise, because what the event tells of has happened; except where it is a part of the open
        transaction: by a listener of `PART_OF_THE_COMMIT`, or by a recorder, so that nothing is committed by half.
        Listeners of `AFTER_THE_COMMIT`, and of what is recorded, hear of it once the transaction is committed, and
        never if it is rolled back; async ones then in a task. See `Emitter.emit`.
        """
        event_type = type(event)
        if event_type in self._emitter.types:
            await self._emitter.emit(event)
            return
        for feature_name, listener in self._listeners.get(event_type, ()):
            try:
                result = listener(self, event)
                if result is not None and inspect.isawaitable(result):
                    await result
            except Exception:
                self._emitter.note_failure(feature_name, event)
                if isinstance(event, PART_OF_THE_COMMIT):
                    raise

    async def end_telling(self) -> None:
        """Waits, for a short time, until async listeners have heard of what was committed."""
        await self._emitter.end()


def needs_admin_database(features: Iterable[Feature]) -> bool:
    """Whether a feature keeps something in the admin database."""
    return any(
        feature.admin_tables or any(topic.startswith(ADMIN_TOPICS) for topic in feature.sinks) for feature in features
    )
