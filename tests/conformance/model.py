"""What a store must hold, as dicts in memory: the simplest thing that could be right, to compare the backends with."""

import copy
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]

OWNED = ("created_at", "updated_at", "created_by", "updated_by", "deleted_at", "_version")


class Refused(Exception):
    """What the store must refuse; the text is the name of its error."""


@dataclass
class Table:
    """The rows and the history of one entity."""

    rows: dict[str, Row] = field(default_factory=dict)
    history: dict[str, list[Row]] = field(default_factory=dict)
    fields: dict[str, None] = field(default_factory=dict)
    columns: set[str] = field(default_factory=set)
    """Fields that had a value once."""


class Model:
    """The verbs over dicts; `now` and `actor` are what the clock and the context say."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.now = ""
        self.actor: str | None = None
        self.altered: set[str] = set()
        """Tables that the open transaction changed: on some databases others wait for its end before they read them."""
        self._saved: list[dict[str, Table]] = []

    # Transactions.

    @property
    def depth(self) -> int:
        return len(self._saved)

    def begin(self) -> None:
        self._saved.append(copy.deepcopy(self.tables))

    def commit(self) -> None:
        self._saved.pop()
        self._end()

    def rollback(self) -> None:
        self.tables = self._saved.pop()
        self._end()

    def _end(self) -> None:
        if not self._saved:
            self.altered.clear()

    def as_others_see_it(self) -> "Model":
        """What is committed."""
        seen = Model()
        seen.tables = self._saved[0] if self._saved else self.tables
        return seen

    # Verbs.

    def save(self, name: str, id: str, given: Row, expected: int | None = None) -> Row:
        table = self.tables.get(name) or Table()
        row = table.rows.get(id)
        if row is None and expected not in (None, 0):
            self._learn(name, table, given)
            raise Refused("VersionConflict")
        if row is not None and row["deleted_at"] is not None:
            self._learn(name, table, given)
            raise Refused("EntityDeleted")
        if row is not None and expected is not None and expected != row["_version"]:
            self._learn(name, table, given)
            raise Refused("VersionConflict")
        self._learn(name, table, given)
        if row is None:
            left = table.history.get(id, [])
            version = left[-1]["_version"] + 1 if left else 1
            row = {"id": id, "created_at": self.now, "created_by": self.actor, "deleted_at": None, **given}
            return self._write(table, row, version, "create")
        if all(same(row.get(field), value) for field, value in given.items()):
            return self._whole(table, row)
        return self._write(table, {**row, **given}, row["_version"] + 1, "update")

    def get(self, name: str, id: str, *, include_deleted: bool = False) -> Row | None:
        table = self.tables.get(name)
        row = table.rows.get(id) if table else None
        if table is None or row is None or (row["deleted_at"] is not None and not include_deleted):
            return None
        return self._whole(table, row)

    def find(self, name: str, field: str | None, value: Any, *, include_deleted: bool = False) -> list[Row]:
        """Rows in the order of their ids; with a field, those where it equals a value, or is missing for None."""
        table = self.tables.get(name)
        if table is None:
            return []
        rows = [row for _, row in sorted(table.rows.items()) if include_deleted or row["deleted_at"] is None]
        if field is not None and value is None:
            rows = [row for row in rows if row.get(field) is None]
        elif field is not None:
            rows = [row for row in rows if row.get(field) is not None and same(row[field], value)]
        return [self._whole(table, row) for row in rows]

    def delete(self, name: str, id: str) -> bool:
        table = self.tables.get(name)
        row = table.rows.get(id) if table else None
        if table is None or row is None or row["deleted_at"] is not None:
            return False
        self._write(table, {**row, "deleted_at": self.now}, row["_version"] + 1, "delete")
        return True

    def restore(self, name: str, id: str) -> Row | None:
        table = self.tables.get(name)
        row = table.rows.get(id) if table else None
        if table is None or row is None:
            return None
        if row["deleted_at"] is None:
            return self._whole(table, row)
        return self._write(table, {**row, "deleted_at": None}, row["_version"] + 1, "restore")

    def remove(self, name: str, id: str, *, with_history: bool) -> bool:
        table = self.tables.get(name)
        if table is None:
            return False
        row = table.rows.get(id)
        if row is None:
            return with_history and table.history.pop(id, None) is not None
        if with_history:
            table.history.pop(id, None)
        else:
            self._write(table, dict(row), row["_version"] + 1, "purge")
        del table.rows[id]
        return True

    def versions(self, name: str, id: str) -> list[Row]:
        table = self.tables.get(name)
        return [] if table is None else [self._whole(table, row) for row in table.history.get(id, [])]

    def _learn(self, name: str, table: Table, given: Row) -> None:
        valued = {field for field, value in given.items() if value is not None}
        if name not in self.tables or not valued <= table.columns or "mixed" in valued:
            self.altered.add(name)
        if not self._saved:
            self.altered.clear()
        self.tables[name] = table
        table.fields.update(dict.fromkeys(given))
        table.columns |= valued

    def _write(self, table: Table, row: Row, version: int, action: str) -> Row:
        row = {**row, "updated_at": self.now, "updated_by": self.actor, "_version": version}
        table.rows[row["id"]] = row
        kept = {**row, "_action": action, "_at": self.now, "_actor": self.actor, "_comment": None}
        table.history.setdefault(row["id"], []).append(kept)
        return self._whole(table, row)

    def _whole(self, table: Table, row: Row) -> Row:
        return copy.deepcopy({**dict.fromkeys(table.fields), **row})


def same(one: Any, other: Any) -> bool:
    """Equal as the store has it: 5 and 5.0 are, True and 1 are not, and so on all the way down."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)
