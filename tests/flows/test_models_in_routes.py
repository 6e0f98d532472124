"""Dataclasses from the body of a request to the database and back, and the past of a row, over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum

import pytest
from fastapi import APIRouter, Depends, HTTPException

from app_kernel import UserIdentity, get_current_user
from app_kernel.core.ports import EntityStore
from app_kernel.db import HistoryEntry, db_connection
from app_kernel.testing import KernelClient
from tests.small_service import serving

router = APIRouter()


class Status(StrEnum):
    DRAFT = "draft"
    LIVE = "live"


@dataclass(frozen=True)
class Owner:
    name: str
    since: datetime | None = None


@dataclass
class Project:
    """What a client sends and gets."""

    name: str = field(metadata={"unique": True})
    status: Status = Status.DRAFT
    owner: Owner | None = None
    tags: list[str] = field(default_factory=list)
    id: str | None = None
    created_by: str | None = None


@router.post("/projects", status_code=201)
async def create_project(
    project: Project, user: UserIdentity = Depends(get_current_user), db: EntityStore = Depends(db_connection)
) -> Project:
    return await db.save_entity(replace(project, id=None), comment=f"by {user.email}")


@router.get("/projects")
async def list_projects(status: Status, db: EntityStore = Depends(db_connection)) -> list[Project]:
    return await db.find_entities(Project, "[status] = ?", (status.value,), order_by="[name]")


@router.get("/projects/{id}")
async def get_project(id: str, as_of: str | None = None, db: EntityStore = Depends(db_connection)) -> Project:
    project = await db.get_entity(Project, id, as_of=as_of)
    if project is None:
        raise HTTPException(404)
    return project


@router.put("/projects/{id}")
async def change_project(id: str, project: Project, db: EntityStore = Depends(db_connection)) -> Project:
    return await db.save_entity(replace(project, id=id))


@router.get("/projects/{id}/history")
async def get_history(id: str, db: EntityStore = Depends(db_connection)) -> list[HistoryEntry]:
    return await db.get_entity_history(Project, id)


@router.post("/projects/{id}/revert/{version}")
async def revert_project(id: str, version: int, db: EntityStore = Depends(db_connection)) -> Project | None:
    return await db.revert(Project, id, version, comment="asked for")


@pytest.fixture
async def client() -> AsyncIterator[KernelClient]:
    async with serving(router) as client:
        yield client


APOLLO = {"name": "apollo", "owner": {"name": "Ada", "since": "2026-01-01T00:00:00Z"}, "tags": ["moon"]}


async def test_an_instance_goes_from_the_request_to_the_database_and_back(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    answer = await ada.post("/projects", json=APOLLO | {"id": "forged", "created_by": "forged"})
    assert answer.status_code == 201
    made = answer.json()
    assert made["id"] != "forged"
    assert made["created_by"] == ada.user.id
    assert {name: made[name] for name in APOLLO} == APOLLO
    assert made["status"] == "draft"
    assert (await client.get(f"/projects/{made['id']}")).json() == made
    assert (await client.get("/projects?status=draft")).json() == [made]
    assert (await client.get("/projects?status=live")).json() == []
    row = await client.db.get_entity("projects", made["id"])
    assert row is not None
    assert row["owner"] == {"name": "Ada", "since": "2026-01-01T00:00:00.000000Z"}


async def test_what_a_client_gets_wrong_is_its_error_and_never_a_500(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    made = (await ada.post("/projects", json=APOLLO)).json()
    assert (await ada.post("/projects", json=APOLLO)).status_code == 409
    assert (await ada.post("/projects", json=APOLLO | {"status": "gone"})).status_code == 422
    assert (await ada.post("/projects", json={"tags": []})).status_code == 422
    assert (await client.post("/projects", json=APOLLO)).status_code == 401
    assert (await client.get("/projects/none")).status_code == 404
    for path in ("?as_of=yesterday", "?as_of=2026-01-01T00:00:00", "?as_of=2026-01-01T00:00:00+01:00"):
        answer = await client.get(f"/projects/{made['id']}{path}")
        assert answer.status_code == 422, path
        assert "as_of" in answer.json()["detail"]
    for version in (0, 99, 2**70):
        assert (await client.post(f"/projects/{made['id']}/revert/{version}")).status_code == 422
    assert (await client.post("/projects/none/revert/1")).json() is None


async def test_the_past_is_read_and_brought_back_over_http(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    made = (await ada.post("/projects", json=APOLLO)).json()
    before = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    changed = (await ada.put(f"/projects/{made['id']}", json={"name": "gemini", "status": "live"})).json()
    assert (changed["name"], changed["owner"], changed["tags"]) == ("gemini", None, [])
    assert (await client.get(f"/projects/{made['id']}?as_of={before}")).json() == made
    first, second = (await client.get(f"/projects/{made['id']}/history")).json()
    assert (first["action"], first["comment"], first["actor"]) == ("create", "by ada@example.com", ada.user.id)
    assert second["changes"]["name"] == ["apollo", "gemini"]
    assert second["changes"]["status"] == ["draft", "live"]
    assert second["entity"]["name"] == "gemini"
    assert (await ada.post(f"/projects/{made['id']}/revert/1")).json() == made
    assert len((await client.get(f"/projects/{made['id']}/history")).json()) == 3
