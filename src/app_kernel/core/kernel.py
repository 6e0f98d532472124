"""The running whole: what was configured, what was opened, and who provides what."""

import inspect
import logging
from collections.abc import Sequence
from typing import TypeVar

from app_kernel.core.config import ServiceConfig
from app_kernel.core.errors import KernelError
from app_kernel.core.feature import Authenticator, Feature, Listener
from app_kernel.core.ports import Database

P = TypeVar("P")

_log = logging.getLogger("app_kernel")


class Kernel:
    """One service: its settings, database, features and the ports that they provide to each other."""

    def __init__(self, config: ServiceConfig, db: Database, features: Sequence[Feature]) -> None:
        self.config = config
        self.db = db
        self.features = tuple(features)
        self.running = False
        """Whether its database is open; a request before or after that is refused."""
        self.ready = False
        """Whether start-up is over and shutdown has not begun."""
        self.listener_failures = 0
        """How many times a listener failed since the start."""
        self.authenticator: Authenticator | None = next((f.authenticator for f in features if f.authenticator), None)
        self._listeners: dict[type, tuple[tuple[str, Listener], ...]] = {}
        for feature in features:
            for event_type, listener in feature.listeners.items():
                self._listeners[event_type] = (*self._listeners.get(event_type, ()), (feature.name, listener))
        self._ports: dict[type, object] = {}
        for feature in features:
            for port, make in feature.provides.items():
                self._ports[port] = make(self)

    @property
    def name(self) -> str:
        """The service's name."""
        return self.config.name or ""

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

        It never raises, because what the event tells of has happened.
        """
        for feature_name, listener in self._listeners.get(type(event), ()):
            try:
                result = listener(self, event)
                if result is not None and inspect.isawaitable(result):
                    await result
            except Exception:  # noqa: BLE001 - whatever a listener raises, the fact stands and the others must hear of it
                self.listener_failures += 1
                _log.exception("listener_failed", extra={"feature": feature_name, "event_type": type(event).__name__})
