"""What is on a team's board: its projects, each with how its latest deployment stands."""

from typing import Any

from app_kernel.cache import cached
from app_kernel.db import get_db_connection


async def schema_init(db: Any) -> None:
    """Each team looks for rows by its own id first."""
    await db.ensure_fields("projects", {"workspace_id": str, "name": str})
    await db.ensure_index("projects", ["workspace_id", "name"], unique=True)
    await db.ensure_fields("deployments", {"workspace_id": str, "project_id": str, "version": str, "status": str})
    await db.ensure_index("deployments", ["workspace_id", "project_id"])


@cached(ttl=300, key="board:{workspace_id}")
async def board_of(workspace_id: str) -> list[dict[str, Any]]:
    """The projects of a team with the status of their latest deployment; who changes one invalidates it."""
    async with get_db_connection() as db:
        mine = db.in_workspace(workspace_id)
        latest: dict[str, str] = {}
        for deployment in await mine.find_entities("deployments", order_by="[created_at], [id]"):
            latest[deployment["project_id"]] = deployment["status"]
        projects = await mine.find_entities("projects", order_by="[name]")
        return [{**project, "latest": latest.get(project["id"], "never deployed")} for project in projects]
