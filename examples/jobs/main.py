"""A service that makes reports in the background: `uvicorn main:app` is all of it, on a SQLite file."""

from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException
from pydantic import BaseModel
from tasks import registry

from app_kernel import ServiceConfig, UserIdentity, create_service, get_current_user, get_job_client
from app_kernel.db import db_connection

router = APIRouter(prefix="/reports", tags=["reports"])


class ReportOrder(BaseModel):
    region: str
    urgency: Literal["normal", "high"] = "normal"


@router.post("", status_code=202)
async def order_report(
    order: ReportOrder, user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)
) -> Any:
    # One commit: there is never a report without its job, nor a job without its report.
    async with db.transaction():
        report = await db.save_entity("reports", {"region": order.region, "status": "ordered"})
        await get_job_client().enqueue(
            "build_report",
            {"report_id": report["id"], "region": order.region},
            job_id=job_of(report["id"]),
            priority=10 if order.urgency == "high" else None,
            on_failure="report_failed",
        )
    return report


@router.get("/{id}")
async def get_report(id: str, user: UserIdentity = Depends(get_current_user), db: Any = Depends(db_connection)) -> Any:
    report = await db.get_entity("reports", id)
    if report is None or report["created_by"] != user.id:
        raise HTTPException(404)
    # None for a moment where Redis keeps the jobs, and once the job is forgotten.
    job = await get_job_client().get(job_of(id))
    if job is None:
        return report
    return {**report, "job": {"status": job.status, "progress": job.progress, "doing": job.progress_text}}


def job_of(report_id: str) -> str:
    """The job of a report, so that nobody has to remember its id."""
    return f"report:{report_id}"


app = create_service(name="report_service", routers=[router], tasks=registry, config=ServiceConfig.from_env())
