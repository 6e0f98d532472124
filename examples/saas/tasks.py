"""What the board does in the background: it deploys."""

from board import board_of

from app_kernel import JobContext, JobRegistry
from app_kernel.db import get_db_connection
from app_kernel.webhooks import trigger_webhook_event

registry = JobRegistry()


@registry.task("deploy", timeout=60)
async def deploy(workspace_id: str, deployment_id: str, ctx: JobContext) -> dict[str, str]:
    """Deploys, and says how it went: the row, the event for webhooks and the end of the old board are one commit."""
    async with get_db_connection() as db, db.transaction():
        mine = db.in_workspace(workspace_id)
        deployment = await mine.get_entity("deployments", deployment_id)
        if deployment is None or deployment["status"] != "queued":
            return {"status": "nothing to do"}  # its project was deleted, or this job ran before
        status = "failed" if deployment["version"].endswith("-broken") else "succeeded"
        done = await mine.save_entity("deployments", {"id": deployment_id, "status": status})
        told = {name: done[name] for name in ("id", "project_id", "version", "status")}
        await trigger_webhook_event(db, workspace_id, event=f"deployment.{status}", data=told)
        await board_of.invalidate(workspace_id)
    return {"status": status}
