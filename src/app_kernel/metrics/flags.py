"""Feature flags as a process has them in memory."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import FlagCopy
from app_kernel.metrics.growth import Growth


class FlagMetrics:
    """The figures of one service's flags."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._flags = Gauge(
            "app_kernel_flags",
            "Feature flags, as far as a process has read them.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._age = Gauge(
            "app_kernel_flags_stale_seconds",
            "Age of the copy that flags are evaluated by, while the database does not answer; else 0.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._evaluations = Growth(
            Counter("app_kernel_flag_evaluations", "Flags that were evaluated in memory.", registry=registry)
        )

    def publish(self, kernel: Kernel) -> None:
        """Takes over how the copy of this process stands."""
        copy = kernel.find_port(FlagCopy)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        if copy is None:
            return
        figures = copy.figures()
        self._flags.set(figures.flags)
        # An idle service does not look at all, which says nothing against its copy.
        self._age.set((figures.age_seconds or 0.0) if figures.is_stale else 0.0)
        self._evaluations.reach(figures.evaluations)
