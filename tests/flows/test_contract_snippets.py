"""The public contract's snippets on database, models, protected routes and jobs, run as they are written there.

Each snippet is kept as text, because linters would rewrite it, and executed inside the function that gives it the
names it uses. Where one uses `db` without injecting it, `db=Depends(db_connection)` is added, and nothing else.
"""

import asyncio
import os
import shlex
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import UserIdentity, get_current_user
from app_kernel.db import db_connection
from app_kernel.testing import KernelClient, kernel_client
from tests.small_service import SECRET, serving, small_app

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

DEFINING_TASKS = """
from app_kernel import JobRegistry, JobContext

registry = JobRegistry()

@registry.task("send_email")
async def send_email(payload: dict, ctx: JobContext):
    to = payload["to"]
    subject = payload["subject"]
    # ... send email
    return {"sent": True}

@registry.task("process_document")
async def process_document(payload: dict, ctx: JobContext):
    doc_id = payload["doc_id"]
    
    # Access database in worker
    async with get_db_connection() as db:
        doc = await db.get_entity("documents", doc_id)
        # ... process
        await db.save_entity("documents", {**doc, "status": "processed"})
"""  # noqa: W293 - as in the contract

ENQUEUEING_JOBS = """
from app_kernel import get_job_client

@router.post("/documents/{id}/process")
async def start_processing(id: str, user=Depends(get_current_user)):
    client = get_job_client()
    result = await client.enqueue(
        "process_document",
        {"doc_id": id},
        user_id=user.id,
    )
    return {"job_id": result.job_id}
"""

RUNNING_WORKERS = """
# Separate process
python -m app_kernel.jobs.worker --tasks my_service.tasks
"""

FEATURE_FLAGS = """
from app_kernel.flags import flag_enabled, set_flag

# Check flag
if await flag_enabled(db, "new_dashboard", user_id=user.id):
    return new_dashboard()

# Admin: Set flag
await set_flag(db, "new_dashboard",
    enabled=True,
    rollout_percent=10,           # 10% of users
    workspaces=["ws-123"],        # Specific workspaces
    users=["user-456"],           # Specific users
)
"""

CACHING = """
from app_kernel.cache import cache, cached

# Simple get/set
await cache.set("projects:ws-123", projects, ttl=300)
projects = await cache.get("projects:ws-123")
await cache.delete("projects:ws-123")

# Decorator
@cached(ttl=300, key="projects:{workspace_id}")
async def get_projects(workspace_id: str):
    return await db.find_entities("projects", ...)
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
    names["get_current_user"] = get_current_user
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


async def test_caching(client: KernelClient) -> None:
    projects = [await client.db.save_entity("projects", {"name": "foo", "workspace_id": "ws-123"})]
    # The dots of the contract stand for what a service asks for.
    snippet = CACHING.replace(", ...)", ", '[workspace_id] = ?', (workspace_id,))")
    made = await run(snippet, db=client.db, projects=projects)
    assert made["projects"] == projects
    assert await made["cache"].get("projects:ws-123") is None
    assert await made["get_projects"]("ws-123") == projects
    assert await made["cache"].get("projects:ws-123") == projects


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


async def test_feature_flags(client: KernelClient) -> None:
    listed, other = (UserIdentity(id, "u@example.com") for id in ("user-456", "user-1"))
    # The first time the flag is unknown, so the snippet goes on and sets it.
    found = await run(FEATURE_FLAGS, db=client.db, user=listed, new_dashboard=lambda: {"dashboard": "new"})
    assert "set_flag" in found
    assert await run(FEATURE_FLAGS, db=client.db, user=listed, new_dashboard=lambda: {"dashboard": "new"}) == {
        "dashboard": "new"
    }
    assert "set_flag" in await run(FEATURE_FLAGS, db=client.db, user=other, new_dashboard=lambda: {"dashboard": "new"})


def write_tasks(folder: Path) -> None:
    """The contract's tasks as a module of an application, with the import that its database snippet shows."""
    (folder / "my_service").mkdir()
    imports = "from app_kernel.db import get_db_connection\n"
    (folder / "my_service/tasks.py").write_text(imports + DEFINING_TASKS)


async def assert_processed(client: KernelClient) -> None:
    """Somebody starts the processing of a document over HTTP, and it is done."""
    ada = await client.log_in_as("ada@example.com")
    document = await client.db.save_entity("documents", {"title": "a", "status": "new"})
    answer = await ada.post(f"/documents/{document['id']}/process")
    assert (answer.status_code, list(answer.json())) == (200, ["job_id"])
    async with asyncio.timeout(40):
        while (view := (await ada.get(f"/jobs/{answer.json()['job_id']}")).json())["status"] != "completed":
            assert view["status"] in ("queued", "running"), view
            await asyncio.sleep(0.05)
    saved = await client.db.get_entity("documents", document["id"])
    assert saved is not None
    assert (saved["title"], saved["status"], saved["updated_by"]) == ("a", "processed", ada.user.id)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["redis", "sqlite"])
async def test_jobs_with_a_worker_in_a_process_of_its_own(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    write_tasks(tmp_path)
    router = APIRouter()
    define(ENQUEUEING_JOBS, router)
    file = str(tmp_path / "app.db")
    # Without Redis a service would run its jobs itself, with the tasks that it would then have to be given.
    settings = {"redis_url": request.getfixturevalue("redis_url")} if kind == "redis" else {"embedded_worker": False}
    variables = {"DATABASE_PATH": file, "JWT_SECRET": SECRET, "PATH": os.environ["PATH"]}
    variables |= {"REDIS_URL": settings["redis_url"]} if kind == "redis" else {}
    command = shlex.split(RUNNING_WORKERS, comments=True)
    assert command[0] == "python"
    process = subprocess.Popen(  # noqa: ASYNC220 - it runs beside the test
        [sys.executable, *command[1:]], cwd=tmp_path, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        # It asks how the job is for as long as that takes.
        app = small_app(router, database_name=file, rate_limit_requests=1_000_000, **settings)
        async with kernel_client(app, database=None) as client:
            await assert_processed(client)
    finally:
        process.terminate()
        printed = (await asyncio.to_thread(process.communicate, timeout=30))[0].decode()
    assert process.returncode == 0, printed
    assert '"event":"worker_started"' in printed


async def test_jobs_in_a_service_that_runs_them_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tasks(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    router = APIRouter()
    define(ENQUEUEING_JOBS, router)
    try:
        async with kernel_client(
            small_app(router, tasks="my_service.tasks", rate_limit_requests=1_000_000), jobs="worker"
        ) as client:
            await assert_processed(client)
    finally:
        for name in ("my_service", "my_service.tasks"):
            sys.modules.pop(name, None)
