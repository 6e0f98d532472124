"""What a table looks like, whatever database it is in: what a copy makes, and what a backup tells of itself."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from app_kernel.db.kinds import Kind


class Role(StrEnum):
    """What a table is for."""

    ENTITY = "entity"
    """Made by the store."""
    HISTORY = "history"
    """The history of an entity."""
    ENGINE = "engine"
    """The outbox and what else an engine of the kernel keeps beside the entities; made by that engine's words."""
    OWN = "own"
    """Made by the application."""


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One column."""

    name: str
    kind: Kind
    declared: str
    """Its type in the database that it comes from."""
    required: bool = False
    """NOT NULL."""
    has_default: bool = False
    generated: bool = False
    """Whether the database computes it."""


@dataclass(frozen=True, slots=True)
class IndexShape:
    """One index."""

    name: str
    fields: tuple[str, ...]
    unique: bool
    is_stores: bool
    """Whether the store made it, whose words make it again anywhere."""
    is_plain: bool = True
    """Whether it is over whole columns of all rows."""
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table."""

    name: str
    role: Role
    fields: tuple[FieldShape, ...]
    """In the order of their names, which is that of rows on their way."""
    key: tuple[str, ...]
    """The primary key; empty where there is none."""
    assigned: str | None = None
    """The column to which the database gives whole numbers."""
    indexes: tuple[IndexShape, ...] = ()
    definition: str | None = None
    """The statement that made it, where the database tells."""
    has_versions: bool = False
    """Whether a change of a row shows in `_version` and `updated_at`."""

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        return tuple(each.name for each in self.fields)

    def field(self, name: str) -> FieldShape:
        """A column by its name."""
        return next(each for each in self.fields if each.name == name)

    def is_as(self, other: "TableShape") -> bool:
        """Whether rows of one are rows of the other: the same columns, kinds and key."""
        return self.key == other.key and [(f.name, f.kind) for f in self.fields] == [
            (f.name, f.kind) for f in other.fields
        ]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What is not copied, and of which table."""

    what: str
    name: str
    table: str
    definition: str | None = None


@dataclass(frozen=True, slots=True)
class Inventory:
    """All that a database has."""

    backend: str
    database_id: str | None
    """Who the database is to Redis; None where nothing has asked yet."""
    mark: str | None
    """How far it has fed Redis."""
    tables: tuple[TableShape, ...]
    catalog: tuple[tuple[str, str, str, int], ...]
    """entity, field, kind, adopted: what the store remembers of every field."""
    others: tuple[LeftOut, ...] = field(default=())
    """What stands beside the tables."""

    def table(self, name: str) -> TableShape | None:
        """A table by its name."""
        return next((table for table in self.tables if table.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def inventory_from_json(value: Mapping[str, Any]) -> Inventory:
    """What `Inventory.to_json` made; raises KeyError, TypeError or ValueError for anything else."""
    return Inventory(
        backend=value["backend"],
        database_id=value["database_id"],
        mark=value["mark"],
        tables=tuple(map(table_from_json, value["tables"])),
        catalog=tuple((row[0], row[1], row[2], int(row[3])) for row in value["catalog"]),
        others=tuple(LeftOut(**each) for each in value["others"]),
    )


def table_from_json(value: Mapping[str, Any]) -> TableShape:
    """A shape that `asdict` made JSON of."""
    fields: Sequence[Mapping[str, Any]] = value["fields"]
    indexes: Sequence[Mapping[str, Any]] = value["indexes"]
    return TableShape(
        **{
            **value,
            "role": Role(value["role"]),
            "fields": tuple(FieldShape(**{**each, "kind": Kind(each["kind"])}) for each in fields),
            "key": tuple(value["key"]),
            "indexes": tuple(IndexShape(**{**each, "fields": tuple(each["fields"])}) for each in indexes),
        }
    )
