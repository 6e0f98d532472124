"""What the parts of the kernel may ask of each other, as protocols: the engines and features implement them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from app_kernel.core.identity import UserIdentity
from app_kernel.core.tables import Table


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
    def privileged(self) -> "EntityStore":
        """The same database with the kernel's own tables open to it; for the kernel's features only."""

    async def get_entity(self, name: str, id: Any, include_deleted: bool = False) -> dict[str, Any] | None:
        """One entity by id, or None."""

    async def find_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        order_by: str | None = None,
        limit: int | None = None,
        offset: int | None = None,
        include_deleted: bool = False,
    ) -> list[dict[str, Any]]:
        """The entities that match."""

    async def count_entities(
        self,
        name: str,
        where_clause: str | None = None,
        params: Sequence[Any] | None = None,
        include_deleted: bool = False,
    ) -> int:
        """How many entities match."""

    async def save_entity(
        self,
        name: str,
        entity: Mapping[str, Any],
        *,
        comment: str | None = None,
        expected_version: int | None = None,
    ) -> dict[str, Any]:
        """Creates an entity, or changes the given fields of an existing one; returns the whole row."""

    async def delete_entity(self, name: str, id: Any, permanent: bool = False, *, purge_history: bool = False) -> bool:
        """Deletes an entity; False when there was none."""

    async def restore_entity(self, name: str, id: Any) -> dict[str, Any] | None:
        """Undoes a soft delete; None when there is no such entity."""

    async def ensure_tables(self, tables: Iterable[Table]) -> None:
        """Creates a feature's own tables, columns and indexes where they are missing; privileged handles only."""

    async def execute(self, sql: str, params: Sequence[Any] | None = None) -> list[ResultRow]:
        """Runs one raw SQL statement with portable [name] and ? spelling."""


class Database(Protocol):
    """An open database."""

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


class Accounts(Protocol):
    """User accounts, for features that make or look up users without importing the one that keeps them."""

    async def create_user(
        self, db: EntityStore, email: str, password: str, *, role: str = "user", name: str | None = None
    ) -> UserIdentity:
        """Makes an account; raises AccountError when it cannot be made as asked."""

    async def get_user(self, db: EntityStore, user_id: str) -> UserIdentity | None:
        """The account with this id, or None."""
