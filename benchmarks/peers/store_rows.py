"""The row of P3, P4 and P5 and what a store has to do with it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, ClassVar, Protocol

Row = dict[str, Any]
TEXTS = ("workspace_id", "name", "title", "status", "owner", "city", "email", "note")
FIELDS = (*TEXTS, "amount", "ratio", "active", "settings", "parent")
OWNED = ("created_at", "updated_at", "created_by", "updated_by", "deleted_at")
COLUMNS = ("id", *FIELDS, *OWNED)
TYPES = {"amount": "INTEGER", "ratio": "REAL", "active": "BOOLEAN_INT", "settings": "JSON_TEXT", "_version": "INTEGER"}
HISTORY = ("_version", "_action", "_at", "_actor", "_comment")
FOUND = 50
POOL = 10
"""Connections of every asynchronous side on PostgreSQL; what the kernel takes by default."""


class Store(Protocol):
    """One side. `sync` stores give the value itself, the others an awaitable of it."""

    sync: ClassVar[bool]

    async def open(self, place: str, synchronous: str) -> None:
        """Open a new database: a file, with the pragmas all sides share, or a PostgreSQL URL."""

    async def index(self) -> None:
        """Index workspace_id; called after the first save."""

    async def close(self) -> None:
        """Close it."""

    def save(self, row: Row) -> Row | Awaitable[Row]:
        """Write the row and its history in one transaction; gives the row back."""

    def get(self, key: str) -> Row | Awaitable[Row | None] | None:
        """One row by id."""

    def find(self, workspace_id: str) -> list[Row] | Awaitable[list[Row]]:
        """The rows of a workspace."""


def make_row(number: int, workspace_id: str) -> Row:
    """Thirteen fields: eight texts, int, float, bool, a small document, and one that is None in every second row."""
    return {
        "workspace_id": workspace_id,
        "name": f"name of the row {number}",
        "title": f"A title that is a little longer, number {number}",
        "status": "active" if number % 3 else "archived",
        "owner": f"owner-{number % 17}",
        "city": "Ljubljana",
        "email": f"person{number}@example.com",
        "note": "a note of a few words, as people write them",
        "amount": number,
        "ratio": number / 7,
        "active": number % 2 == 0,
        "settings": {"theme": "dark", "size": number, "tags": ["a", "b"]},
        "parent": f"parent-{number}" if number % 2 else None,
    }


def pragmas(synchronous: str) -> tuple[str, ...]:
    """What every side sets on every connection."""
    return (
        "PRAGMA journal_mode=WAL",
        f"PRAGMA synchronous={synchronous}",
        "PRAGMA cache_size=-16000",
        "PRAGMA temp_store=MEMORY",
        "PRAGMA foreign_keys=ON",
        "PRAGMA busy_timeout=10000",
    )
