"""What the engine of the entity store gives to everything above it."""

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, overload

from app_kernel.core.database_figures import DatabaseFigures, PoolFigures
from app_kernel.core.models import HistoryEntry, Instant, M
from app_kernel.core.outbox import Message, Recorder
from app_kernel.core.tables import Table

T = TypeVar("T")


class ResultRow(Protocol):
    """A row of a raw query: reads by name and by position."""

    def __getitem__(self, key: str | int, /) -> Any:
        """The value of a column."""

    def __len__(self) -> int:
        """The number of columns."""

    def keys(self) -> Sequence[str]:
        """The names of the columns."""


class EntityStore(Protocol):
    """A handle on a database: the entity verbs. It holds no connection between them and may be shared by tasks."""

    @property
    def database(self) -> object:
        """What all handles of one open database have in common, bound to a workspace or not; compared by identity."""

    @property
    def backend(self) -> str:
        """sqlite, postgres or mysql, which is MariaDB too."""

    @property
    def privileged(self) -> "EntityStore":
        """The same database with the kernel's own tables open to it; for the kernel's features only."""

    @property
    def workspace_id(self) -> str | None:
        """The workspace that this handle was bound to by `in_workspace`; None of one that sees them all."""

    def in_workspace(self, workspace_id: str) -> "EntityStore":
        """The same database as one workspace sees it: nothing of another one is read, and all that is saved is its own.

        Every read has the filter `[workspace_id] = ?` and every write the field, whatever a clause, an id, `match_by`,
        `as_of` or a bulk verb says. Saving to an id of another workspace raises OutsideWorkspace. Raises
        InvalidWorkspace for what is no id, such as None.
        """

    def transaction(self, *, seconds: float = ...) -> AbstractAsyncContextManager["EntityStore"]:
        """One commit for all that this task does in the block, or nothing; inside another one, a part of that."""

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back once the open transaction is committed, never if it is not; at once outside of one."""

    def add_recorder(self, recorder: Recorder) -> Recorder:
        """Shows every later change of this database, through whichever handle of this process, to `recorder` inside
        its transaction; where it is there already, or one that equals it, that one stays and is returned."""

    async def send_messages(self, messages: Sequence[Message]) -> None:
        """Puts messages into the outbox, with the open transaction; privileged handles only."""

    @overload
    async def get_entity(
        self, name: str, id: Any, include_deleted: bool = False, *, as_of: Instant | None = None
    ) -> dict[str, Any] | None:
        """One entity by id, or None; with `as_of`, as it was at that instant."""

    @overload
    async def get_entity(
        self, name: type[M], id: Any, include_deleted: bool = False, *, as_of: Instant | None = None
    ) -> M | None:
        """The same as an instance of a dataclass."""

    @overload
    async def find_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> list[dict[str, Any]]:
        """The entities that match; with `as_of`, as they were at that instant."""

    @overload
    async def find_entities(
        self,
        name: type[M],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> list[M]:
        """The same as instances of a dataclass."""

    async def count_entities(
        self,
        name: str | type[Any],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        include_deleted: bool = False,
        *,
        as_of: Instant | None = None,
    ) -> int:
        """How many entities match."""

    @overload
    async def save_entity(
        self,
        name: str,
        entity: Mapping[str, Any],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any]:
        """Creates an entity, or changes the given fields of an existing one; returns the whole row."""

    @overload
    async def save_entity(
        self,
        name: str,
        entity: M,
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> M:
        """The same for an instance of a dataclass."""

    @overload
    async def save_entity(
        self,
        name: M,
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> M:
        """The same, to the entity that the dataclass names."""

    async def delete_entity(
        self, name: str | type[Any], id: Any, permanent: bool = False, *, purge_history: bool = False
    ) -> bool:
        """Deletes an entity; False when there was none."""

    @overload
    async def restore_entity(self, name: str, id: Any) -> dict[str, Any] | None:
        """Undoes a soft delete; None when there is no such entity."""

    @overload
    async def restore_entity(self, name: type[M], id: Any) -> M | None:
        """The same for a dataclass."""

    async def get_entity_history(
        self, name: str | type[Any], id: Any, limit: int | None = None, offset: int | None = None
    ) -> list[HistoryEntry]:
        """Every change of one entity, oldest first."""

    @overload
    async def get_entity_version(self, name: str, id: Any, version: int) -> dict[str, Any] | None:
        """One entity as a version left it; None when there is no such version."""

    @overload
    async def get_entity_version(self, name: type[M], id: Any, version: int) -> M | None:
        """The same as an instance of a dataclass."""

    @overload
    async def revert(
        self,
        name: str,
        id: Any,
        version: int | None = None,
        *,
        as_of: Instant | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any] | None:
        """Saves an entity as it was as a new version; None when there never was one."""

    @overload
    async def revert(
        self,
        name: type[M],
        id: Any,
        version: int | None = None,
        *,
        as_of: Instant | None = None,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> M | None:
        """The same for a dataclass."""

    @overload
    async def save_entities(
        self,
        name: str,
        entities: Iterable[Mapping[str, Any]],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
    ) -> list[dict[str, Any]]:
        """Saves every entity, all or none; returns the rows in the same order."""

    @overload
    async def save_entities(
        self,
        name: type[M],
        entities: Iterable[M],
        *,
        match_by: Sequence[str] | None = None,
        comment: str | None = None,
    ) -> list[M]:
        """The same for instances of a dataclass."""

    @overload
    async def get_entities(self, name: str, ids: Iterable[Any], include_deleted: bool = False) -> list[dict[str, Any]]:
        """The entities with these ids that are there, in the order of the ids."""

    @overload
    async def get_entities(self, name: type[M], ids: Iterable[Any], include_deleted: bool = False) -> list[M]:
        """The same as instances of a dataclass."""

    async def delete_entities(self, name: str | type[Any], ids: Iterable[Any], permanent: bool = False) -> int:
        """Deletes entities in one commit; returns how many there were."""

    @overload
    async def increment(self, name: str, id: Any, field: str, by: Any = 1) -> dict[str, Any] | None:
        """Adds to a number; returns the row, or None when there is no such entity."""

    @overload
    async def increment(self, name: type[M], id: Any, field: str, by: Any = 1) -> M | None:
        """The same as an instance of a dataclass."""

    @overload
    def iterate_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        batch_size: int = 500,
    ) -> AsyncIterator[dict[str, Any]]:
        """Every entity that matches, one by one in the order of ids."""

    @overload
    def iterate_entities(
        self,
        name: type[M],
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        batch_size: int = 500,
    ) -> AsyncIterator[M]:
        """The same as instances of a dataclass."""

    async def ensure_fields(self, name: str | type[Any], fields: Mapping[str, type]) -> None:
        """Makes the table and these fields where they are missing."""

    async def ensure_index(self, name: str | type[Any], fields: Sequence[str], unique: bool = False) -> None:
        """Makes an index where it is missing."""

    async def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Creates a feature's own tables, columns and indexes where they are missing; privileged handles only."""

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[ResultRow]:
        """Runs one raw SQL statement with portable [name] and ? spelling."""


class Lease(Protocol):
    """The right to do alone, among all processes on one database, what it is named after."""

    async def renew(self) -> bool:
        """Keeps it for some more seconds; False when it was lost meanwhile."""

    async def release(self) -> None:
        """Gives it back at once; never raises."""


class Statements(Protocol):
    """SQL of an engine's own over its own tables, with [name] and ? as in `execute`; it raises the store's errors."""

    @property
    def backend(self) -> str:
        """sqlite, postgres or mysql, which is MariaDB too."""

    @property
    def in_transaction(self) -> bool:
        """Whether this task has a transaction open; raises TransactionInOtherTask in one that only inherited it."""

    async def fetch(self, sql: str, params: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """The rows of a reading statement."""

    async def run(self, sql: str, params: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
        """The rows of one writing statement, in the open transaction or in one of its own."""

    async def write(self, work: Callable[[], Generator[tuple[str, Sequence[Any]], Any, T]]) -> T:
        """Runs statements as one unit, all or nothing: `work()` yields them and is sent the rows of each."""

    async def define(self, statements: Sequence[str]) -> None:
        """Runs DDL under the schema's lock."""

    def after_commit(self, callback: Callable[[], object]) -> None:
        """Calls back once the open transaction is committed, never if it is not; at once outside of one."""

    def signal(self, channel: str) -> None:
        """Wakes whoever listens to `channel` in any process; best effort, never blocks or raises."""

    def on_signal(self, channel: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Calls back in this event loop after a signal; returns what ends that."""

    async def acquire_lease(self, name: str) -> Lease | None:
        """The lease of this name; None while somebody else has it."""

    async def database_id(self) -> str:
        """What no other database is called; a copy of this one is called the same."""


class Database(Protocol):
    """An open database."""

    @property
    def figures(self) -> DatabaseFigures:
        """What it did, as counters that go on."""

    def pool(self) -> PoolFigures:
        """How its connections stand."""

    @property
    def statements(self) -> Statements:
        """Statements over tables that are no entities; for engines."""

    def connection(self) -> EntityStore:
        """The handle that application code works with."""

    async def open(self) -> None:
        """Connects; creates the database file and its directory where they are missing."""

    async def close(self) -> None:
        """Finishes the work under way and disconnects."""

    async def ping(self) -> None:
        """Returns when the database can be read; raises Unavailable otherwise."""

    async def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Creates the tables, columns and indexes that are missing; does nothing where all is there."""
