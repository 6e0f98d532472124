"""What a process asks of its databases, and how its connections and the files of SQLite stand."""

from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app_kernel.core.database_figures import OPERATIONS, DatabaseFigures
from app_kernel.core.database_urls import backend_of
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Database
from app_kernel.metrics.growth import Growth

BUCKETS = (0.00002, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
FILES = {"main": "", "wal": "-wal"}
"""The files of a SQLite database, and what their names end with."""


class DatabaseMetrics:
    """The figures of one service's databases: that of the application, `app`, and `admin`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            names = ("database", *labels)
            return Gauge(f"app_kernel_{name}", text, names, registry=registry, multiprocess_mode="livesum")

        def counter(name: str, text: str, *labels: str) -> Growth:
            return Growth(Counter(f"app_kernel_{name}", text, ("database", *labels), registry=registry))

        self._operations = counter(
            "store_operations", "Operations of the store that were begun.", "backend", "operation"
        )
        self._errors = counter(
            "store_errors", "Operations of the store that raised an error.", "backend", "operation", "error"
        )
        self._seconds = Histogram(
            "app_kernel_store_duration_seconds",
            "Time of an operation of the store, waiting included, of one in 16.",
            ("database", "backend", "operation"),
            buckets=BUCKETS,
            registry=registry,
        )
        self._connections = gauge("pool_connections", "Connections to a server that are open, by state.", "state")
        self._limit = gauge("pool_limit", "Connections to a server that may be open, of all processes.")
        self._waiting = gauge("pool_waiting", "Tasks that wait for a connection; on SQLite writes that wait.")
        self._timeouts = counter("pool_timeouts", "Waits for a connection that ended without one.")
        self._commits = counter("sqlite_commits", "Commits of the writer of a SQLite database.")
        self._units = counter("sqlite_committed_writes", "Writes in these commits, which are of many that wait.")
        self._bytes = Gauge(
            "app_kernel_sqlite_file_bytes",
            "Size of a file of a SQLite database.",
            ("database", "file"),
            registry=registry,
            multiprocess_mode="mostrecent",
        )

    def watch(self, kernel: Kernel) -> None:
        """Has the databases of a service tell how long they take."""
        for name, database, _ in _databases_of(kernel):
            backend = database.statements.backend
            database.figures.observe = partial(self._observe, name, backend)

    def publish(self, kernel: Kernel) -> None:
        """Takes over what was counted since the last time, and how the connections stand."""
        for name, database, _ in _databases_of(kernel):
            backend = database.statements.backend
            self._publish_store(name, backend, database.figures)
            pool = database.pool()
            self._waiting.labels(name).set(pool.waiting)
            if pool.limit is not None:
                self._connections.labels(name, "in_use").set(pool.in_use)
                self._connections.labels(name, "idle").set(pool.idle)
                self._limit.labels(name).set(pool.limit)
                self._timeouts.reach(pool.timeouts, name)
            if backend == "sqlite":
                self._commits.reach(pool.commits, name)
                self._units.reach(pool.units, name)

    def look(self, kernel: Kernel) -> None:
        """Reads the sizes of files."""
        for name, _, url in _databases_of(kernel):
            path = unquote(urlsplit(url).path).removeprefix("/")
            if backend_of(url) != "sqlite" or not path or path == ":memory:":
                continue
            for file, end in FILES.items():
                try:
                    size = float(Path(f"{path}{end}").stat().st_size)
                except OSError:
                    size = 0.0
                self._bytes.labels(name, file).set(size)

    def _observe(self, name: str, backend: str, operation: str, seconds: float) -> None:
        self._seconds.labels(name, backend, operation).observe(seconds)

    def _publish_store(self, name: str, backend: str, figures: DatabaseFigures) -> None:
        for operation in OPERATIONS:
            self._operations.reach(figures.total(operation), name, backend, operation)
        for (operation, error), count in list(figures.errors.items()):
            self._errors.reach(count, name, backend, operation, error)


def _databases_of(kernel: Kernel) -> list[tuple[str, Database, str]]:
    found = [("app", kernel.db, kernel.config.database_url)]
    if kernel.admin_db is not None:
        found.append(("admin", kernel.admin_db, kernel.config.resolved_admin_db_url))
    return found
