"""Logins and other events of security, by name."""

from prometheus_client import CollectorRegistry, Counter

from app_kernel.core.events import SecurityEvent

SHOWN_FROM_THE_START = ("auth.login_failed", "auth.login_throttled", "auth.refresh_reused")
"""An increase is seen only from a number that was there before, also that of the first one."""


class SecurityMetrics:
    """The figures of one service's security events, by the process in which they happened."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "app_kernel_security_events",
            "Events of security, such as auth.login and auth.login_failed.",
            ("name",),
            registry=registry,
        )
        for name in SHOWN_FROM_THE_START:
            self._events.labels(name)

    def count(self, event: SecurityEvent) -> None:
        """Counts one."""
        self._events.labels(event.name).inc()
