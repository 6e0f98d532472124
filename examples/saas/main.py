"""A board of projects and their deployments, for many teams: whatever somebody asks for, it is their own team's."""

import os
from typing import Annotated, Any

from board import board_of, schema_init
from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel, Field
from tasks import registry

from app_kernel import (
    Membership,
    ServiceConfig,
    create_saas_router,
    create_service,
    get_job_client,
    public,
    require_workspace_member,
    require_workspace_role,
)
from app_kernel.db import db_connection
from app_kernel.flags import flag_enabled
from app_kernel.metering import require_quota
from app_kernel.webhooks import WebhookEvent, require_webhook

Viewer = Annotated[Membership, Depends(require_workspace_member)]
Member = Annotated[Membership, Depends(require_workspace_role("member"))]
Admin = Annotated[Membership, Depends(require_workspace_role("admin"))]
Store = Annotated[Any, Depends(db_connection)]

DEPLOYMENTS_A_MONTH = 1000

router = APIRouter(prefix="/workspaces/{workspace_id}", tags=["board"])
hooks = APIRouter(prefix="/hooks", tags=["hooks"])
Signed = Annotated[WebhookEvent, Depends(require_webhook(os.environ["HOOK_SECRET"]))]


class ProjectCreate(BaseModel):
    """What a client may say of a project; whose it is comes from the membership."""

    name: str = Field(min_length=1, max_length=100)


class DeploymentCreate(BaseModel):
    """What to deploy; a version that ends in `-broken` fails."""

    version: str = Field(min_length=1, max_length=50)


async def require_project(project_id: str, member: Viewer, db: Store) -> dict[str, Any]:
    """The project of the path; that of another team is none."""
    project = await db.in_workspace(member.workspace_id).get_entity("projects", project_id)
    if project is None:
        raise HTTPException(404, "There is no such project.")
    return project


Project = Annotated[dict[str, Any], Depends(require_project)]


@router.get("/projects")
async def list_projects(member: Viewer) -> list[dict[str, Any]]:
    """The board, from the cache while nothing changes."""
    return await board_of(member.workspace_id)


@router.post("/projects", status_code=201)
async def create_project(data: ProjectCreate, member: Member, db: Store) -> dict[str, Any]:
    """Adds a project; a name that the team has already is a 409."""
    async with db.transaction():
        project = await db.in_workspace(member.workspace_id).save_entity("projects", data.model_dump())
        await board_of.invalidate(member.workspace_id)
    return project


@router.get("/projects/{project_id}")
async def get_project(project: Project) -> dict[str, Any]:
    """One project."""
    return project


@router.delete("/projects/{project_id}", status_code=204)
async def delete_project(project: Project, member: Admin, db: Store) -> None:
    """Removes a project and its deployments; for admins of the team."""
    async with db.transaction():
        mine = db.in_workspace(member.workspace_id)
        deployments = await mine.find_entities("deployments", "[project_id] = ?", (project["id"],))
        await mine.delete_entities("deployments", [each["id"] for each in deployments])
        await mine.delete_entity("projects", project["id"])
        await board_of.invalidate(member.workspace_id)


@router.post("/projects/{project_id}/deployments", status_code=202)
async def create_deployment(data: DeploymentCreate, project: Project, member: Member, db: Store) -> dict[str, Any]:
    """Orders a deployment: one commit, so there is never one without its job, nor one beyond what a team may have."""
    async with db.transaction():
        await require_quota(db, metric="deployments", limit=DEPLOYMENTS_A_MONTH, workspace_id=member.workspace_id)
        deployment = await db.in_workspace(member.workspace_id).save_entity(
            "deployments", {"project_id": project["id"], "version": data.version, "status": "queued"}
        )
        await get_job_client().enqueue(
            "deploy", {"workspace_id": member.workspace_id, "deployment_id": deployment["id"]}, user_id=member.user_id
        )
        await board_of.invalidate(member.workspace_id)
    return deployment


@router.get("/projects/{project_id}/deployments")
async def list_deployments(project: Project, member: Viewer, db: Store) -> list[dict[str, Any]]:
    """The deployments of a project, the latest first."""
    return await db.in_workspace(member.workspace_id).find_entities(
        "deployments", "[project_id] = ?", (project["id"],), order_by="[created_at] DESC, [id] DESC", limit=100
    )


@router.get("/insights")
async def insights(member: Viewer, db: Store) -> dict[str, int]:
    """How many deployments went how; only where the flag `insights` is on."""
    if not await flag_enabled(db, "insights", user_id=member.user_id, workspace_id=member.workspace_id):
        raise HTTPException(404, "There is no such page.")
    mine = db.in_workspace(member.workspace_id)
    return {
        status: await mine.count_entities("deployments", "[status] = ?", (status,))
        for status in ("queued", "succeeded", "failed")
    }


@router.get("/notices")
async def list_notices(member: Viewer, db: Store) -> list[dict[str, Any]]:
    """What other systems have told about this team's deployments."""
    return await db.in_workspace(member.workspace_id).find_entities("notices", order_by="[created_at]", limit=100)


@hooks.post("/deployments")
@public  # whoever knows the secret may tell
async def receive(event: Signed, db: Store) -> Any:
    """Takes the webhooks of a board, such as this one: the sender signs them, and says which team they are about."""
    # The same event may come twice; its id makes the second one a save that changes nothing.
    notice = {"id": event.id, "event": event.type, "version": event.data["version"]}
    await db.in_workspace(event.payload["workspace_id"]).save_entity("notices", notice)
    return {"noted": event.id}


app = create_service(
    name="board",
    routers=[router, hooks, create_saas_router()],
    tasks=registry,
    schema_init=schema_init,
    config=ServiceConfig.from_env(),
)
