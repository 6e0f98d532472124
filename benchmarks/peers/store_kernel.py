"""The kernel's store, used as the contract shows, without FastAPI."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar

import app_kernel.db
from benchmarks.peers.store_rows import Row


class KernelStore:
    """`connect(url)` and the verbs."""

    sync: ClassVar[bool] = False

    async def open(self, place: str, synchronous: str) -> None:
        self.context: Any = connect(place, synchronous)
        self.db: Any = await self.context.__aenter__()

    async def index(self) -> None:
        await self.db.ensure_index("bench", ["workspace_id"])

    async def close(self) -> None:
        await self.context.__aexit__(None, None, None)

    def save(self, row: Row) -> Awaitable[Row]:
        saved: Awaitable[Row] = self.db.save_entity("bench", row)
        return saved

    def get(self, key: str) -> Awaitable[Row | None]:
        found: Awaitable[Row | None] = self.db.get_entity("bench", key)
        return found

    def find(self, workspace_id: str) -> Awaitable[list[Row]]:
        found: Awaitable[list[Row]] = self.db.find_entities(
            "bench", where_clause="[workspace_id] = ?", params=(workspace_id,)
        )
        return found


def connect(place: str, synchronous: str) -> Any:
    """The store on a file or at a PostgreSQL URL."""
    if "://" in place:
        return app_kernel.db.connect(place)
    return app_kernel.db.connect(f"sqlite:///{place}", synchronous=synchronous)
