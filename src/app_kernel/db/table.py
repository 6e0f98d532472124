"""What the store knows of one table, and the way from its rows to dicts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, TypeVar

from app_kernel.db.kinds import Kind

Decoder = Callable[[Any], Any]

T = TypeVar("T")

_UNREADABLE = (ValueError, TypeError, ArithmeticError, KeyError, AttributeError)
"""What decoders raise for a stored value that does not read as its kind."""

OWNED_FIELDS: dict[str, Kind] = {
    "created_at": Kind.STR,
    "updated_at": Kind.STR,
    "created_by": Kind.STR,
    "updated_by": Kind.STR,
    "deleted_at": Kind.STR,
    "_version": Kind.INT,
}
"""The fields that the kernel writes itself, on every table, in the order of rows."""

WORKSPACE_FIELD = "workspace_id"
"""The field that tells whose a row is, for handles that were made by `in_workspace`."""

HISTORY_SUFFIX = "_history"
HISTORY_FIELDS: dict[str, Kind] = {"_action": Kind.STR, "_at": Kind.STR, "_actor": Kind.STR, "_comment": Kind.STR}
"""What a history row has beside a copy of the row: what was done, when, by whom and why."""

MAX_STATEMENTS = 1000
"""Compiled statements kept for a table."""


@dataclass(frozen=True, slots=True)
class Column:
    """One field of a table."""

    name: str
    kind: Kind
    declared: str = ""
    """The type as the database has it; empty while the field has no column yet."""
    adopted: bool = False
    """Whether the application made the column: such a one is never retyped."""
    generated: bool = False
    """Whether the database computes it."""

    @property
    def physical(self) -> bool:
        """Whether the table has this column."""
        return self.declared != ""


@dataclass(slots=True)
class EntityTable:
    """One table at one generation of the schema."""

    name: str
    generation: int
    columns: Mapping[str, Column]
    """By name, in the order of rows. Empty when the table does not exist."""
    adopted: bool = False
    """Whether the application made the table."""
    keeps_history: bool = True
    """Whether its history exists."""
    ready: bool = True
    """Whether the store can write to it as it is: nothing of what every table needs is missing."""
    assigns_id: bool = False
    """Whether the database assigns the id (INTEGER PRIMARY KEY)."""
    history_lacks: frozenset[str] = frozenset()
    """Columns that the history does not have yet, such as those of an ALTER TABLE of the application's."""
    history_differs: Mapping[str, Kind] = field(default_factory=dict)
    """The kind in the history of those columns that have another one there."""
    refusal: str | None = None
    """Why the store cannot work with this table; None when it can."""
    statements: dict[Any, Any] = field(default_factory=dict)
    """Compiled SQL by shape; it dies with the generation."""
    names: tuple[str, ...] = ()
    """The physical columns, as every statement lists them."""
    has_adopted_columns: bool = False
    workspace: str | None = None
    """Whose rows alone are seen and written; None for those of everybody."""
    inside_statements: dict[Any, Any] = field(default_factory=dict)
    """The compiled SQL of this table as workspaces see it, which is the same for each of them."""
    _positions: dict[str, int] = field(default_factory=dict)
    _decoders: tuple[tuple[str, Decoder, Decoder], ...] = ()
    _missing: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Whether the database has this table."""
        return bool(self.columns)

    @property
    def id_kind(self) -> Kind:
        """INT where the application declared an integer id, else STR."""
        return self.columns["id"].kind if "id" in self.columns else Kind.STR

    def has(self, name: str) -> bool:
        """Whether the table has this column."""
        column = self.columns.get(name)
        return column is not None and column.physical

    def within(self, workspace: str, refusal: str | None) -> "EntityTable":
        """The same table as one workspace sees it; `refusal` says why it cannot."""
        return EntityTable(
            self.name,
            self.generation,
            self.columns,
            self.adopted,
            self.keeps_history,
            self.ready,
            self.assigns_id,
            self.history_lacks,
            self.history_differs,
            refusal,
            self.inside_statements,
            self.names,
            self.has_adopted_columns,
            workspace,
            self.inside_statements,
            self._positions,
            self._decoders,
            self._missing,
        )

    def bound(self, params: Sequence[Any]) -> Sequence[Any]:
        """The params of a statement over this table: that of `Dialect.inside` comes last, if the table has one."""
        return params if self.workspace is None else (*params, self.workspace)

    def is_outside(self, row: Sequence[Any]) -> bool:
        """Whether a row belongs to another workspace than this table is seen by, or to none."""
        if self.workspace is None:
            return False
        position = self._positions.get(WORKSPACE_FIELD)
        return position is None or row[position] != self.workspace

    def keep(self, shape: Any, statement: T) -> T:
        """Keeps a compiled statement; as many shapes as requests can make up do not fill the memory."""
        if len(self.statements) >= MAX_STATEMENTS:
            self.statements.clear()
        self.statements[shape] = statement
        return statement

    def position(self, name: str) -> int:
        """Where a physical column stands in a row."""
        return self._positions[name]

    def prepare(self, decoder: Callable[[Column], Decoder | None]) -> "EntityTable":
        """Works out once what every row of this table needs; `decoder` is the dialect's."""
        physical = [column for column in self.columns.values() if column.physical]
        self.names = tuple(column.name for column in physical)
        self._positions = {name: position for position, name in enumerate(self.names)}
        self.has_adopted_columns = any(column.adopted for column in physical)
        found = [(column.name, decoder(column)) for column in physical]
        self._decoders = tuple((name, decode, _tolerant(decode)) for name, decode in found if decode is not None)
        owned = [name for name in OWNED_FIELDS if self.exists]
        self._missing = tuple(name for name in (*self.columns, *owned) if not self.has(name))
        return self

    def to_dict(self, row: tuple[Any, ...]) -> dict[str, Any]:
        """A row of `names`, perhaps longer, as a plain dict that the caller may change."""
        entity = dict(zip(self.names, row, strict=False))
        for name, _, decode in self._decoders:
            value = entity[name]
            if value is not None:
                entity[name] = decode(value)
        for name in self._missing:
            entity[name] = None
        return entity

    def to_dicts(self, rows: list[tuple[Any, ...]], *, sort: bool = False) -> list[dict[str, Any]]:
        """Many rows as `to_dict` makes them, column by column, which takes half the time; with `sort`, by id."""
        if sort:
            self.sort_by_id(rows)
        names = self.names
        entities = [dict(zip(names, row, strict=False)) for row in rows]
        for name, decode, tolerant in self._decoders:
            position = self._positions[name]
            try:
                values = [None if row[position] is None else decode(row[position]) for row in rows]
            except _UNREADABLE:
                values = [None if row[position] is None else tolerant(row[position]) for row in rows]
            for entity, value in zip(entities, values, strict=True):
                entity[name] = value
        missing = dict.fromkeys(self._missing)
        if missing:
            for entity in entities:
                entity.update(missing)
        return entities

    def sort_by_id(self, rows: list[tuple[Any, ...]]) -> None:
        """Puts rows into the order of their ids, which is that of their bytes on every backend."""
        position = self._positions["id"]
        try:
            rows.sort(key=itemgetter(position))
        except TypeError:  # a raw statement put ids of several types there; they stand in SQLite's order
            rows.sort(key=lambda row: (_STORAGE_ORDER.get(type(row[position]), 0), row[position]))


_STORAGE_ORDER: dict[type, int] = {str: 1, bytes: 2}
"""Numbers come before text, and text before bytes."""


def _tolerant(decode: Decoder) -> Decoder:
    """A stored value that does not read as its kind, put there by other hands, comes back as stored."""

    def read(value: Any) -> Any:
        try:
            return decode(value)
        except _UNREADABLE:
            return value

    return read
