"""`dataset`, the schemaless store people know: synchronous, on SQLAlchemy, history by a plain insert."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import dataset
import uuid_utils

from benchmarks.peers.store_rows import Row, pragmas


class DatasetStore:
    """One connection in one thread."""

    sync: ClassVar[bool] = True

    async def open(self, place: str, synchronous: str) -> None:
        statements = list(pragmas(synchronous))
        self.db = dataset.connect(f"sqlite:///{place}", on_connect_statements=statements, sqlite_wal_mode=True)
        self.create_tables()

    def create_tables(self) -> None:
        self.table = self.db.create_table("bench", primary_id="id", primary_type=self.db.types.string(40))
        self.history = self.db.create_table("bench_history")

    async def index(self) -> None:
        self.table.create_index(["workspace_id"])

    async def close(self) -> None:
        self.db.close()

    def save(self, row: Row) -> Row:
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        key = row.get("id") or str(uuid_utils.uuid7())
        saved = {**row, "id": key, "created_at": now, "updated_at": now, "deleted_at": None}
        with self.db:
            self.table.upsert(saved, ["id"])
            copy = {name: value for name, value in saved.items() if name != "id"}
            self.history.insert({**copy, "row_id": key, "_version": 1, "_action": "save", "_at": now})
        return saved

    def get(self, key: str) -> Row | None:
        found = self.table.find_one(id=key, deleted_at=None)
        return None if found is None else dict(found)

    def find(self, workspace_id: str) -> list[Row]:
        return [dict(row) for row in self.table.find(workspace_id=workspace_id, deleted_at=None)]


class PostgresDatasetStore(DatasetStore):
    """On pg8000; one caller needs one connection."""

    async def open(self, place: str, synchronous: str) -> None:
        self.db = dataset.connect(f"postgresql+pg8000://{place.partition('://')[2]}")
        self.create_tables()
