"""What a database did and how it stands, as plain numbers: counted by its driver, read by whoever shows them."""

from collections.abc import Callable
from dataclasses import dataclass

OPERATIONS = ("read", "write", "define", "raw", "transaction")
"""define changes the schema, raw is `execute()`, and transaction begins one; verbs inside of it count too."""
SAMPLED = 16
"""One of so many operations is timed: to look at the clock twice would be a tenth of a short read."""


class DatabaseFigures:
    """Counters of one open database, since this process began; of its event loop alone."""

    __slots__ = ("counts", "errors", "observe", "reads")

    def __init__(self) -> None:
        self.reads = 0
        """Apart, for being the most frequent."""
        self.counts: dict[str, int] = dict.fromkeys(OPERATIONS, 0)
        """The others, by operation."""
        self.errors: dict[tuple[str, str], int] = {}
        """By operation and the name of the error; such as write and VersionConflict."""
        self.observe: Callable[[str, float], None] | None = None
        """Is told the operation and the seconds of one in SAMPLED."""

    def fail(self, operation: str, exc: BaseException) -> None:
        """Counts an error."""
        key = (operation, type(exc).__name__)
        self.errors[key] = self.errors.get(key, 0) + 1

    def total(self, operation: str) -> int:
        """How often it was done, or tried."""
        return self.reads if operation == "read" else self.counts[operation]


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """How the connections of one open database stand."""

    waiting: int
    """Those who wait for a connection; on SQLite units of work that wait for the writer."""
    limit: int | None = None
    """Connections at most; None on SQLite."""
    in_use: int = 0
    idle: int = 0
    timeouts: int = 0
    """How often somebody waited in vain."""
    commits: int = 0
    """On SQLite, groups of units that were committed together."""
    units: int = 0
    """On SQLite, units in those groups."""
