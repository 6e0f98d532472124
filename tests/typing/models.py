"""What a type checker must make of dataclasses as entities; checked by mypy and pyright, run by nobody."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_type

from fastapi import APIRouter, Depends

from app_kernel.core.ports import EntityStore
from app_kernel.db import HistoryEntry, connect, db_connection

router = APIRouter()


@dataclass
class Project:
    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    text: str


@router.get("/projects/{id}")
async def routes(id: str, db: EntityStore = Depends(db_connection)) -> Project | None:
    assert_type(await db.get_entity(Project, id), Project | None)
    assert_type(await db.get_entity("projects", id, as_of="2026-01-01T00:00:00Z"), dict[str, Any] | None)
    assert_type(await db.find_entities(Note, "[text] = ?", ("x",), limit=1), list[Note])
    assert_type(await db.find_entities("notes"), list[dict[str, Any]])
    assert_type(await db.save_entity(Note(text="x")), Note)
    assert_type(await db.save_entity("notes", Note(text="x"), comment="why"), Note)
    assert_type(await db.save_entity("notes", {"text": "x"}), dict[str, Any])
    assert_type(await db.count_entities(Note), int)
    assert_type(await db.delete_entity(Note, id), bool)
    assert_type(await db.restore_entity(Project, id), Project | None)
    assert_type(await db.get_entity_history(Project, id, limit=5), list[HistoryEntry])
    assert_type(await db.get_entity_version(Project, id, 1), Project | None)
    assert_type(await db.revert(Project, id, as_of=datetime.now(UTC)), Project | None)
    return await db.get_entity(Project, id)


async def handles() -> None:
    async with connect("sqlite://:memory:") as db:
        assert_type(await db.get_entity(Project, "a", as_of=datetime.now(UTC)), Project | None)
        assert_type(await db.get_entity("projects", "a"), dict[str, Any] | None)
        assert_type(await db.find_entities(Project, order_by="[name]"), list[Project])
        assert_type(await db.find_entities("projects", as_of="2026-01-01T00:00:00Z"), list[dict[str, Any]])
        assert_type(await db.save_entity(Project("x")), Project)
        assert_type(await db.save_entity("projects", Project("x"), expected_version=1), Project)
        assert_type(await db.save_entity("projects", {"name": "x"}), dict[str, Any])
        assert_type(await db.restore_entity(Note, "a"), Note | None)
        assert_type(await db.get_entity_version("projects", "a", 1), dict[str, Any] | None)
        assert_type(await db.get_entity_version(Note, "a", 1), Note | None)
        assert_type(await db.revert("projects", "a", 1, comment="back"), dict[str, Any] | None)
        assert_type(await db.revert(Note, "a", 1), Note | None)
        entries = await db.get_entity_history("projects", "a")
        assert_type(entries[0]["changes"], dict[str, list[Any]])
        async with db.transaction() as tx:
            assert_type(await tx.get_entity(Note, "a"), Note | None)
