"""What the report service does in the background. A worker apart runs it with `--tasks tasks`."""

from datetime import timedelta

from app_kernel import DoNotRetry, JobContext, JobRegistry, get_logger
from app_kernel.db import get_db_connection

SALES = {"north": [310, 295, 340, 402], "south": [120, 180, 165, 210]}
OUTAGES = {"south"}
"""Regions whose figures cannot be had at the first attempt."""

registry = JobRegistry()
log = get_logger("reports")


class SourceAway(Exception):
    """The source of the figures does not answer now."""


def figures_of(region: str, attempt: int) -> list[int]:
    """The sales of a region by quarter, from a source that is not always there."""
    if region in OUTAGES and attempt == 1:
        raise SourceAway(f"no figures of {region} now")
    if region not in SALES:
        raise DoNotRetry(f"there is no region {region}")
    return SALES[region]


# Whatever it raises is tried again, three times in all: after some tenths of a second, then of up to two seconds.
@registry.task("build_report", timeout=60, max_attempts=3, retry_delay=1)
async def build_report(report_id: str, region: str, ctx: JobContext) -> dict[str, int]:
    await ctx.progress(0.1, "asking for the figures")
    quarters = figures_of(region, ctx.attempt)
    total = 0
    for number, sales in enumerate(quarters, 1):
        total += sales
        await ctx.progress(number / len(quarters), f"quarter {number} of {len(quarters)}")
    async with get_db_connection() as db:
        # The same save again changes nothing, so the job may run twice.
        await db.save_entity("reports", {"id": report_id, "status": "ready", "total": total})
    return {"total": total}


@registry.task("report_failed")
async def report_failed(payload: dict, ctx: JobContext) -> None:
    """Follows a `build_report` that is dead: its payload says which, and why."""
    report_id = payload["payload"]["report_id"]
    async with get_db_connection() as db:
        await db.save_entity("reports", {"id": report_id, "status": "failed"})
    log.error("report_failed", report_id=report_id, failed_job=payload["job_id"])


@registry.task("remove_old_reports", cron="0 3 * * *", timezone="Europe/Zurich")
async def remove_old_reports(ctx: JobContext) -> dict[str, int]:
    """Each night at three: reports older than thirty days."""
    a_month_ago = ctx.started_at - timedelta(days=30)
    async with get_db_connection() as db:
        old = await db.find_entities("reports", "[created_at] < ?", (a_month_ago,))
        return {"removed": await db.delete_entities("reports", [report["id"] for report in old])}
