"""The raw driver, synchronous: the same statements, one transaction a save. What the other stores are held against."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import apsw
import orjson
import uuid_utils

from benchmarks.peers.store_rows import COLUMNS, FIELDS, TYPES, Row, pragmas

ALL = (*COLUMNS, "_version")
NAMES = ", ".join(f"[{name}]" for name in ALL)
DEFINED = ", ".join(f"[{name}] {TYPES.get(name, 'TEXT')}" for name in ALL if name != "id")
TABLES = f"""
CREATE TABLE [bench] ([id] TEXT NOT NULL PRIMARY KEY, {DEFINED});
CREATE TABLE [bench_history] (
    [id] TEXT, {DEFINED}, [_action] TEXT, [_at] TEXT, [_actor] TEXT, [_comment] TEXT, PRIMARY KEY ([id], [_version])
)
"""
WRITTEN = ("id", *FIELDS, "created_at", "updated_at", "created_by", "updated_by", "_version")
UPDATED = ", ".join(f"[{name}] = excluded.[{name}]" for name in (*FIELDS, "updated_at", "updated_by"))
SAVE = f"""
INSERT INTO [bench] ({", ".join(f"[{name}]" for name in WRITTEN)}) VALUES ({", ".join("?" * len(WRITTEN))})
ON CONFLICT ([id]) DO UPDATE SET {UPDATED}, [_version] = [_version] + 1 RETURNING {NAMES}
"""
COPY = f"""
INSERT INTO [bench_history] ({NAMES}, [_action], [_at], [_actor], [_comment])
SELECT {NAMES}, 'save', ?, NULL, NULL FROM [bench] WHERE [id] = ?
"""
GET = f"SELECT {NAMES} FROM [bench] WHERE [id] = ? AND [deleted_at] IS NULL"
FIND = f"SELECT {NAMES} FROM [bench] WHERE [workspace_id] = ? AND [deleted_at] IS NULL"


class ApswStore:
    """One connection, called where one stands."""

    sync: ClassVar[bool] = True

    async def open(self, place: str, synchronous: str) -> None:
        await self.connect(place, synchronous)
        self.execute(TABLES)

    async def connect(self, place: str, synchronous: str) -> None:
        """Opens what may have tables already."""
        self.connection = apsw.Connection(place)
        self.execute = self.connection.execute
        for pragma in pragmas(synchronous):
            self.execute(pragma).fetchall()

    async def index(self) -> None:
        self.execute("CREATE INDEX [ix] ON [bench] ([workspace_id])")

    async def close(self) -> None:
        self.connection.close()

    def save(self, row: Row) -> Row:
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        key = row.get("id") or str(uuid_utils.uuid7())
        values = [row[name] for name in FIELDS]
        values[11] = orjson.dumps(values[11]).decode()
        self.execute("BEGIN IMMEDIATE")
        try:
            saved = self.execute(SAVE, (key, *values, now, now, None, None, 1)).fetchall()[0]
            self.execute(COPY, (now, key))
        except BaseException:
            self.execute("ROLLBACK")
            raise
        self.execute("COMMIT")
        return dict(zip(ALL, saved, strict=False))

    def get(self, key: str) -> Row | None:
        found = self.execute(GET, (key,)).fetchall()
        return dict(zip(ALL, found[0], strict=False)) if found else None

    def find(self, workspace_id: str) -> list[Row]:
        return [dict(zip(ALL, row, strict=False)) for row in self.execute(FIND, (workspace_id,))]
