"""The public contract's snippets on database, models and protected routes, run as they are written there.

Each snippet is kept as text, because linters would rewrite it, and executed inside the function that gives it the
names it uses. Where one uses `db` without injecting it, `db=Depends(db_connection)` is added, and nothing else.
"""

import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import UserIdentity
from app_kernel.db import db_connection
from app_kernel.testing import KernelClient
from tests.small_service import serving

DATABASE_API = """
# Get single entity by ID
entity = await db.get_entity("projects", id)  # dict | None

# Find multiple entities
entities = await db.find_entities(
    "projects",
    where_clause="[workspace_id] = ? AND [status] = ?",
    params=(workspace_id, "active"),
    order_by="[created_at] DESC",
    limit=100,
    offset=0,
    include_deleted=False,
)  # list[dict]

# Save entity (create or update)
entity = await db.save_entity(
    "projects", 
    {"name": "foo", "workspace_id": ws_id},
)  # dict with id, created_at, updated_at, created_by, updated_by

# Delete entity
await db.delete_entity("projects", id, permanent=False)  # Soft delete
await db.delete_entity("projects", id, permanent=True)   # Hard delete

# Count entities
count = await db.count_entities("projects", where_clause="[status] = ?", params=("active",))
"""  # noqa: W291 - as in the contract

IN_ROUTES = """
from app_kernel.db import db_connection

@router.get("/projects/{id}")
async def get_project(id: str, db=Depends(db_connection)):
    return await db.get_entity("projects", id)
"""

IN_WORKERS = """
from app_kernel.db import get_db_connection

async def process_task(ctx, task_id: str):
    async with get_db_connection() as db:
        task = await db.get_entity("tasks", task_id)
        # ... process
"""

MODELS = '''
# models.py
from dataclasses import dataclass, asdict
from typing import Optional

@dataclass
class Project:
    """A project groups related services."""
    name: str
    workspace_id: str
    description: Optional[str] = None
    status: str = "active"

@dataclass
class Service:
    """A deployable service within a project."""
    project_id: str
    name: str
    image: str
    port: int = 8000
    replicas: int = 1
'''

MODELS_USAGE = """
from models import Project
from dataclasses import asdict

# Validate then save
project = Project(name=data.name, workspace_id=ws_id)
await db.save_entity("projects", asdict(project))

# Or direct save (AI knows fields from reading models.py)
await db.save_entity("projects", {"name": name, "workspace_id": ws_id})
"""

PROTECTING_ROUTES = """
from app_kernel import get_current_user, require_admin

@router.get("/projects")
async def list_projects(user=Depends(get_current_user), db=Depends(db_connection)):
    # user.id, user.email, user.role available
    return await db.find_entities("projects", where_clause="[created_by] = ?", params=(user.id,))

@router.delete("/admin/users/{id}")
async def delete_user(id: str, _=Depends(require_admin)):
    # Only admins can access this
    ...
"""


async def run(snippet: str, **names: Any) -> dict[str, Any]:
    """Executes a snippet as the body of an async function and gives back its variables."""
    body = textwrap.indent(snippet.strip("\n"), "    ")
    source = f"async def snippet({', '.join(names)}):\n{body}\n    return locals()\n"
    found: dict[str, Any] = {}
    exec(compile(source, "<contract>", "exec"), found)
    variables: dict[str, Any] = await found["snippet"](**names)
    return variables


def define(snippet: str, router: APIRouter) -> dict[str, Any]:
    """Executes a snippet at the top of a module that has a router."""
    names: dict[str, Any] = {"router": router, "Depends": Depends, "db_connection": db_connection}
    exec(compile(snippet, "<contract>", "exec"), names)
    return names


@pytest.fixture
async def client() -> AsyncIterator[KernelClient]:
    router = APIRouter()
    define(IN_ROUTES, router)
    define(PROTECTING_ROUTES, router)
    async with serving(router) as client:
        yield client


async def test_the_database_api(client: KernelClient) -> None:
    db = client.db
    before = await run(DATABASE_API, db=db, id="none", workspace_id="w1", ws_id="w1")
    assert (before["entities"], before["count"]) == ([], 0)
    made = before["entity"]
    assert {"id", "created_at", "updated_at", "created_by", "updated_by"} <= made.keys()
    assert (made["name"], made["workspace_id"]) == ("foo", "w1")

    active = await db.save_entity("projects", {"name": "bar", "workspace_id": "w1", "status": "active"})
    await db.save_entity("projects", {"name": "else", "workspace_id": "w2", "status": "active"})
    after = await run(DATABASE_API, db=db, id=made["id"], workspace_id="w1", ws_id="w1")
    assert [each["id"] for each in after["entities"]] == [active["id"]]
    assert after["count"] == 2
    assert await db.get_entity("projects", made["id"], include_deleted=True) is None


async def test_the_database_api_with_the_id_of_something_that_is_there(client: KernelClient) -> None:
    first_lines = DATABASE_API.split("# Find multiple", maxsplit=1)[0]
    made = await client.db.save_entity("projects", {"name": "foo"})
    assert (await run(first_lines, db=client.db, id=made["id"]))["entity"] == made
    soft, _, hard = DATABASE_API.split("# Delete entity")[1].partition("# Soft delete\n")
    await run(soft, db=client.db, id=made["id"])
    assert await client.db.get_entity("projects", made["id"]) is None
    assert (await client.db.get_entity("projects", made["id"], include_deleted=True))["deleted_at"]  # type: ignore[index]
    await run(hard.split("# Count")[0], db=client.db, id=made["id"])
    assert await client.db.get_entity("projects", made["id"], include_deleted=True) is None


async def test_the_database_in_routes(client: KernelClient) -> None:
    made = await client.db.save_entity("projects", {"name": "foo"})
    assert (await client.get(f"/projects/{made['id']}")).json() == made
    assert (await client.get("/projects/none")).json() is None


async def test_the_database_in_workers(client: KernelClient) -> None:
    process_task = define(IN_WORKERS, APIRouter())["process_task"]
    made = await client.db.save_entity("tasks", {"name": "t"})
    assert await process_task(None, made["id"]) is None


async def test_models_as_code(client: KernelClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "models", raising=False)

    class Data:
        name = "from the model"

    try:
        await run(MODELS_USAGE, db=client.db, data=Data, name="direct", ws_id="w1")
    finally:
        sys.modules.pop("models", None)
    validated, direct = await client.db.find_entities("projects", order_by="[created_at]")
    assert (validated["name"], validated["status"], validated["description"]) == ("from the model", "active", None)
    assert (direct["name"], direct["workspace_id"], direct["status"]) == ("direct", "w1", None)


async def test_protected_routes(client: KernelClient) -> None:
    ada, root = await client.log_in_as("ada@example.com"), await client.log_in_as("root@example.com", role="admin")
    assert (await client.get("/projects")).status_code == 401
    assert (await ada.get("/projects")).json() == []
    for caller, status in ((client, 401), (ada, 403), (root, 200)):
        assert (await caller.delete("/admin/users/7")).status_code == status


async def test_what_a_route_knows_of_its_user(client: KernelClient) -> None:
    ada = await client.log_in_as("ada@example.com")
    assert isinstance(ada.user, UserIdentity)
    assert (ada.user.email, ada.user.role, ada.user.is_active) == ("ada@example.com", "user", True)
