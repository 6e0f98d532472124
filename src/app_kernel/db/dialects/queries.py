"""The questions that the schema asks a database and its catalog; each dialect words them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import Kind

Query = tuple[str, tuple[object, ...]]


class Queries(ABC):
    """Statements with their params; the columns of each answer are in the docstring."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    @abstractmethod
    def find_generation(self, entity: str) -> Query:
        """generation: that of the schema, as whoever is to read this entity has to know it."""

    @abstractmethod
    def bump_generation(self) -> Query:
        """Moves the schema's generation on."""

    @abstractmethod
    def recall(self, entity: str) -> Query:
        """field, kind, adopted: what the catalog knows of an entity."""

    def remember(self, entity: str, kinds: Mapping[str, Kind], *, adopted: bool) -> Query:
        """Writes fields of an entity into the catalog; `kinds` holds one or more."""
        mark, text, number = self.dialect.placeholder, Kind.STR, Kind.INT
        rows = ", ".join(
            f"({mark(at, text)}, {mark(at + 1, text)}, {mark(at + 2, text)}, {mark(at + 3, number)})"
            for at in range(1, 4 * len(kinds), 4)
        )
        values: list[object] = []
        for field, kind in kinds.items():
            values += (entity, field, str(kind), int(adopted))
        return (
            f"INSERT INTO kernel_catalog (entity, field, kind, adopted) VALUES {rows}"
            " ON CONFLICT (entity, field) DO UPDATE SET kind = excluded.kind, adopted = excluded.adopted",
            tuple(values),
        )

    @abstractmethod
    def list_columns(self, table: str) -> Query:
        """name, declared type, generated: the columns of a table; none when there is no such table."""

    @abstractmethod
    def find_id(self, table: str) -> Query:
        """has an id, the id is unique, the database assigns it; perhaps no row where there is no id."""

    @abstractmethod
    def list_entities(self) -> Query:
        """name: every table but the database's own and the histories."""

    @abstractmethod
    def find_object(self, name: str) -> Query:
        """type: what has this name, such as a view."""

    def find_unknown(self, table: str, rows: int) -> Query | None:
        """A row, if the database has yet to look at what a table holds, of which `rows` are new.

        None where that makes no difference.
        """
        return None

    @abstractmethod
    def describe_index(self, name: str) -> Query:
        """table, its columns with commas between, whether it is whole: of an index, if it exists."""

    @abstractmethod
    def list_indexes_on(self, table: str, column: str) -> Query:
        """name, SQL: the indexes of a table that a change of this column would break."""

    @abstractmethod
    def find_value(self, table: str, column: str) -> Query:
        """A row, if the column holds anything."""

    @abstractmethod
    def find_beyond(self, table: str, column: str, limit: int) -> Query:
        """A row, if the column holds an integer beyond plus or minus `limit`."""
