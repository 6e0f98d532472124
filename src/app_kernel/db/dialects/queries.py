"""The questions that the schema asks a database and its catalog; each dialect words them."""

from abc import ABC, abstractmethod

from app_kernel.db.kinds import Kind

Query = tuple[str, tuple[object, ...]]


class Queries(ABC):
    """Statements with their params; the columns of each answer are in the docstring."""

    @abstractmethod
    def find_generation(self) -> Query:
        """generation: that of the schema."""

    @abstractmethod
    def bump_generation(self) -> Query:
        """Moves the schema's generation on."""

    @abstractmethod
    def recall(self, entity: str) -> Query:
        """field, kind, adopted: what the catalog knows of an entity."""

    @abstractmethod
    def remember(self, entity: str, field: str, kind: Kind, *, adopted: bool) -> Query:
        """Writes one field into the catalog."""

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
        """type: what else has this name, such as a view."""

    @abstractmethod
    def find_index(self, name: str) -> Query:
        """name: of the index, if it exists."""

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
