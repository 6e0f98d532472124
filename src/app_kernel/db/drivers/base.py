"""What the store asks of a driver.

A unit of work is a generator: it yields statements, is sent the rows of each, and returns its result. So the store's
logic is written once, without await: one driver runs a unit in a thread that owns the connection, another awaits
each statement. A unit that raises leaves nothing behind.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias, TypeVar

from app_kernel.core.database_figures import DatabaseFigures, PoolFigures
from app_kernel.db.dialects.base import Dialect

T = TypeVar("T")

Row: TypeAlias = tuple[Any, ...]
"""Values by position: a tuple, or a driver's own record. It may be longer than the columns asked for, by what the
dialect's `generation_column` adds."""
Statement: TypeAlias = tuple[str, Sequence[Any]]


class Unanswered(tuple[str, Sequence[Any]]):
    """A statement of whose rows the unit takes no notice, so that a driver may send it together with the next one."""

    __slots__ = ()


Work: TypeAlias = Generator[Statement, list[Row], T]
Unit: TypeAlias = Callable[[], Work[T]]
"""Makes the work anew, because a driver may have to run it again."""

ANY_GENERATION = -1
"""For a write whose statements belong to no generation of the schema."""

FORMAT = 1
"""How the catalog is laid out; a version that lays it out anew counts it up and knows how to come from here."""

TRANSACTION_SECONDS = 5.0
"""How long a transaction of the caller's may stay open."""


class Session(ABC):
    """What runs statements: a driver, where each call is a transaction of its own, or a transaction that is open.

    Its methods raise the errors of `core.errors`, and SchemaFact for the store to answer.
    """

    dialect: Dialect

    figures: DatabaseFigures = DatabaseFigures()
    """What it did; of a transaction, those of its driver."""

    generation: int = 0
    """The schema's generation as of the latest observed statement; another process may have moved it on."""

    @abstractmethod
    async def fetch(self, sql: str, params: Sequence[Any], *, observed: bool = False) -> list[Row]:
        """The rows of one reading statement.

        With `observed`, `generation` is afterwards at least what that statement saw; the last column of the
        statement is then the dialect's `generation_column`, where it has one.
        """

    @abstractmethod
    async def write(self, unit: Unit[T], generation: int, table: str) -> T:
        """Runs a unit that writes to `table`, all or nothing.

        Raises SchemaStale, with nothing changed, if the schema is not at `generation` once nobody can change
        the table any more; ANY_GENERATION skips that.
        """

    @abstractmethod
    async def run(self, sql: str, params: Sequence[Any]) -> list[Row]:
        """Runs one writing statement, all or nothing; one that depends on the generation looks at it itself."""

    @abstractmethod
    async def define(self, unit: Unit[T]) -> T:
        """Runs a unit that changes the schema, alone and under its lock; it moves the generation on itself."""

    @abstractmethod
    async def execute(self, sql: str, params: Sequence[Any]) -> tuple[tuple[str, ...], list[Row]]:
        """Runs one statement of the caller's: the names of its columns and its rows."""


class Transaction(Session):
    """A transaction that stays open between calls. A call that fails takes back only itself, on every backend, and so
    does one whose task is cancelled meanwhile.

    Once its time is over, or its connection lost, it is rolled back, and every further call raises
    TransactionTimeout or what was lost; so does `commit`, which therefore never pretends.
    """

    committed: bool = False
    """Whether the commit is known to have succeeded."""

    @abstractmethod
    async def commit(self) -> None:
        """Commits and ends it. A task that is cancelled meanwhile still leaves it ended, and `committed` known."""

    @abstractmethod
    async def rollback(self) -> None:
        """Rolls back and ends it; never raises for one that has ended by itself."""

    @abstractmethod
    async def begin_nested(self) -> None:
        """Sets a savepoint, inside the one before it if that is still open.

        When it raises, also because its task was cancelled, no savepoint of it is left.
        """

    @abstractmethod
    async def end_nested(self, *, keep: bool) -> None:
        """Ends the latest savepoint: keeps what was done since, or takes it back, the schema's generation included.

        A task that is cancelled meanwhile still leaves it ended, and `generation` right.
        """


class Lease(ABC):
    """The right to do alone, among all processes on one database, what it is named after."""

    @abstractmethod
    async def renew(self) -> bool:
        """Keeps it for some more seconds; False when it was lost meanwhile."""

    @abstractmethod
    async def release(self) -> None:
        """Gives it back at once; never raises."""


class SnapshotLost(Exception):
    """A table was rewritten meanwhile, so a snapshot from before does not show its rows any more."""


class Snapshot(ABC):
    """A database as of one instant, whatever others write meanwhile. It keeps nobody from writing."""

    dialect: Dialect

    @abstractmethod
    async def fetch(self, sql: str, params: Sequence[Any] = (), *, table: str | None = None) -> list[Row]:
        """The rows of one reading statement, which takes as long as it needs; one statement at a time.

        `table` is the table that is read, where it may have been rewritten: then raises SnapshotLost.
        """


class Driver(Session):
    """An open database."""

    def pool(self) -> PoolFigures:
        """How its connections stand."""
        return PoolFigures(waiting=0)

    @abstractmethod
    async def open(self) -> None:
        """Connects and makes the catalog where it is missing."""

    @abstractmethod
    async def close(self) -> None:
        """Finishes the work under way and disconnects."""

    @abstractmethod
    async def begin(self, seconds: float) -> Transaction:
        """Opens a transaction that is rolled back by itself after `seconds`."""

    async def build(self, sql: str) -> None:
        """Runs one statement of the dialect's that belongs to no transaction and may take as long as it needs."""
        raise NotImplementedError

    @abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """All of the database as of one instant, on a connection of its own, for as long as the block takes."""

    @abstractmethod
    async def acquire_lease(self, name: str) -> Lease | None:
        """The lease of this name; None while another process or another open database of this one holds it.

        When its holder dies, somebody else gets it within 4 seconds.
        """

    @abstractmethod
    def signal(self, channel: str) -> None:
        """Wakes whoever listens to `channel` in this and every other process; never blocks or raises.

        Best effort: signals of one moment are merged, and one may be lost with the process that gave it.
        """

    @abstractmethod
    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back in this event loop after a signal; returns what ends that."""
