"""What is in a database, read past every filter: whose rows there are, and which of them a request has changed."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import orjson

from app_kernel.core.kernel import Kernel

RowKey: TypeAlias = tuple[str, str]
"""The table and what tells the row apart in it."""

VOLATILE = (
    "kernel_account_turns", "kernel_api_key_uses", "kernel_catalog", "kernel_idempotency_keys", "kernel_job_workers",
    "kernel_login_failures", "kernel_meta", "kernel_outbox", "kernel_inbox",
)  # fmt: skip
"""Tables, by how their names begin, that change by themselves or by requests that do nobody any harm."""
_OWNERS = ("created_by", "user_id", "owner_id", "user")
_BORROWING = ("_workspace_choices", "_workspace_turns")
"""Tables whose rows have the id of a row of another one."""


@dataclass(slots=True)
class Snapshot:
    """All rows at one moment."""

    rows: dict[RowKey, Mapping[str, Any]] = field(default_factory=dict)
    texts: dict[RowKey, str] = field(default_factory=dict)
    parsed: dict[tuple[str, str], tuple[RowKey, Mapping[str, Any]]] = field(default_factory=dict)
    by_id: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """Rows by their id, of the tables in which no other row's id is the key."""

    def changed_since(self, earlier: "Snapshot") -> list[RowKey]:
        """Rows that were added, altered or removed."""
        keys = dict.fromkeys((*earlier.texts, *self.texts))
        return [key for key in keys if earlier.texts.get(key) != self.texts.get(key)]

    def find(self, id: str) -> Mapping[str, Any] | None:
        """The live row with this id in whatever table, or None; histories do not count."""
        row = self.by_id.get(id)
        return row if row is not None and row.get("deleted_at") is None else None


@dataclass(slots=True)
class Belongings:
    """How the rows of one workspace are told from all others."""

    marker: str
    workspace_id: str = ""
    user_ids: set[str] = field(default_factory=set)

    def has(self, row: Mapping[str, Any], others: Collection[Any]) -> bool:
        """Whether a row is the workspace's own; `others` are the ids of the other workspaces."""
        place = row.get("workspace_id")
        if place:
            return bool(place == self.workspace_id)
        if row.get("id") in (self.workspace_id, *self.user_ids):
            return True
        if row.get("id") in others:
            return False
        owners = {row.get(name) for name in _OWNERS} - {None}
        if owners:
            return bool(owners & self.user_ids)
        return any(self.marker in value for value in row.values() if isinstance(value, str))


class RowReader:
    """Reads all rows with two statements, whatever the number of tables: it is done after every write."""

    def __init__(self, kernel: Kernel) -> None:
        self._db = kernel.db.connection().privileged
        self._generation: Any = None
        self._statements: list[str] = []

    async def read(self, earlier: Snapshot) -> Snapshot:
        """Every row of the service's database, but for the volatile ones; those of `earlier` are not parsed again."""
        snapshot = Snapshot()
        for table, text in await self._texts():
            known = earlier.parsed.get((table, text))
            if known is None:
                values: dict[str, Any] = orjson.loads(text)
                id = str(values.get("id", text))
                known = (table, f"{id}:{values.get('_version')}" if table.endswith("_history") else id), values
            key, row = known
            snapshot.parsed[table, text] = known
            snapshot.rows[key], snapshot.texts[key] = row, text
            if not table.endswith(("_history", *_BORROWING)):
                snapshot.by_id[key[1]] = row
        return snapshot

    async def _texts(self) -> list[tuple[str, str]]:
        generation = (await self._db.execute("SELECT [value] FROM [kernel_meta] WHERE [key] = 'generation'"))[0][0]
        if generation != self._generation:
            self._statements, self._generation = await self._make_statements(), generation
        return [(row[0], row[1]) for statement in self._statements for row in await self._db.execute(statement)]

    async def _make_statements(self) -> list[str]:
        found: dict[str, list[str]] = {}
        for row in await self._db.execute(_COLUMNS[self._db.backend]):
            if not str(row[0]).startswith(VOLATILE):
                found.setdefault(str(row[0]), []).append(str(row[1]))
        parts = [self._select(table, columns) for table, columns in found.items()]
        return [" UNION ALL ".join(parts[at : at + _TABLES_AT_ONCE]) for at in range(0, len(parts), _TABLES_AT_ONCE)]

    def _select(self, table: str, columns: list[str]) -> str:
        # Names come from the database's own catalog, and the store has checked them.
        if self._db.backend == "postgres":
            return f"SELECT '{table}', CAST(row_to_json(r) AS text) FROM [{table}] r"  # noqa: S608 - see above
        if self._db.backend == "mysql":
            return f"SELECT '{table}', JSON_OBJECT({', '.join(columns)}) FROM [{table}]"  # noqa: S608 - see above
        merged = "'{}'"
        for start in range(0, len(columns), _COLUMNS_AT_ONCE):
            pairs = ", ".join(
                f"'{name}', CASE typeof([{name}]) WHEN 'blob' THEN hex([{name}]) ELSE [{name}] END"
                for name in columns[start : start + _COLUMNS_AT_ONCE]
            )
            part = f"json_object({pairs})"
            merged = (
                part if start == 0 else f"json_insert({merged}, {_inserts(columns[start : start + _COLUMNS_AT_ONCE])})"
            )
        return f"SELECT '{table}', {merged} FROM [{table}]"  # noqa: S608 - see above


_TABLES_AT_ONCE = 100
_COLUMNS_AT_ONCE = 45
"""A function of SQLite takes 127 arguments."""
_COLUMNS = {
    "sqlite": (
        "SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c"
        " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' ORDER BY m.name, c.cid"
    ),
    "postgres": (
        "SELECT CAST(table_name AS text), '' FROM information_schema.tables"
        " WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' ORDER BY 1"
    ),
    # Each column as JSON_OBJECT takes it: its name and its value, all texts in one collation, which JSON has not.
    "mysql": (
        "SELECT c.table_name, CONCAT(QUOTE(c.column_name), ', ', CASE"
        " WHEN c.data_type LIKE '%blob' THEN CONCAT('CONVERT(HEX([', c.column_name, ']) USING utf8mb4)')"
        " WHEN c.data_type LIKE '%text' OR c.data_type IN ('varchar', 'char', 'json')"
        " THEN CONCAT('CONVERT([', c.column_name, '] USING utf8mb4)') ELSE CONCAT('[', c.column_name, ']') END)"
        " FROM information_schema.columns c JOIN information_schema.tables t"
        " ON t.table_schema = c.table_schema AND t.table_name = c.table_name"
        " WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'"
        " ORDER BY c.table_name, c.ordinal_position"
    ),
}
"""Tables with their columns, where a row has to be put together from them."""


def _inserts(columns: list[str]) -> str:
    return ", ".join(
        f"'$.\"{name}\"', CASE typeof([{name}]) WHEN 'blob' THEN hex([{name}]) ELSE [{name}] END" for name in columns
    )
