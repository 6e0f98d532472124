"""How background jobs go: counters and times of the process that runs them, gauges read from the queue."""

import asyncio
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app_kernel.core.errors import KernelError
from app_kernel.core.events import JobFinished
from app_kernel.core.jobs import JobFigures
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import JobQueue

JOBS_SECONDS = 1.0
"""How long the queue may take to tell how it stands; after that its gauges are left unknown."""
WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
RUN_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)
STATUSES = ("queued", "scheduled", "running", "dead")


class JobMetrics:
    """The figures of one service's jobs."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._attempts = Counter(
            "app_kernel_job_attempts", "Attempts that ended.", ("task", "outcome"), registry=registry
        )
        self._waited = Histogram(
            "app_kernel_job_wait_seconds",
            "Time from when an attempt was due to its start.",
            ("task",),
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._ran = Histogram(
            "app_kernel_job_run_seconds",
            "Time from an attempt's start to its end.",
            ("task",),
            buckets=RUN_BUCKETS,
            registry=registry,
        )

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"app_kernel_jobs{name}", text, labels, registry=registry, multiprocess_mode="mostrecent")

        self._jobs = gauge("", "Jobs that are not completed, by queue and status.", "queue", "status")
        self._oldest = gauge("_oldest_seconds", "For how long the oldest queued job of a queue has been due.", "queue")
        self._paused = gauge("_paused", "Whether a queue is paused.", "queue")
        self._outstanding = gauge(
            "_outstanding", "Jobs that left a transaction for Redis and are not known to be finished."
        )
        self._queues: set[str] = set()
        """Queues that were seen."""

    def count(self, event: JobFinished) -> None:
        """Counts an attempt that ended in this process."""
        self._attempts.labels(event.task_name, event.outcome).inc()
        # An increase is seen only from a number that was there before.
        self._attempts.labels(event.task_name, "dead")
        self._waited.labels(event.task_name).observe(event.waited)
        self._ran.labels(event.task_name).observe(event.ran)

    async def look(self, kernel: Kernel) -> None:
        """Reads how the queues stand; what cannot be read is shown as no number."""
        jobs = kernel.find_port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        figures: JobFigures | None = None
        with suppress(KernelError, TimeoutError):
            async with asyncio.timeout(JOBS_SECONDS):
                figures = None if jobs is None else await jobs.figures()
        unknown = float("nan")
        if figures is not None:
            self._queues |= {queue for queue, _ in figures.counts} | set(figures.paused)
        for queue in self._queues:
            for status in STATUSES:
                count = unknown if figures is None else figures.counts.get((queue, status), 0)
                self._jobs.labels(queue, status).set(count)
            self._oldest.labels(queue).set(unknown if figures is None else figures.oldest_seconds.get(queue, 0.0))
            self._paused.labels(queue).set(unknown if figures is None else queue in figures.paused)
        self._outstanding.set(unknown if figures is None else figures.outstanding)
