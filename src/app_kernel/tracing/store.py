"""Every line that touches the table of traces."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from app_kernel.core.ports import EntityStore
from app_kernel.tracing.tables import TRACES

Row = dict[str, Any]


async def insert_traces(db: EntityStore, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds rows; one that is there already, by its id, stays one."""
    await db.privileged.save_entities(TRACES, rows)


async def prune_traces(db: EntityStore, app: str, kept: int, limit: int) -> int:
    """Removes what is older than the latest `kept` rows of a service, `limit` of it at most; returns how many."""
    newest_to_go = await db.privileged.execute(
        "SELECT [id] FROM [traces] WHERE [app] = ? ORDER BY [id] DESC LIMIT 1 OFFSET ?", (app, kept)
    )
    if not newest_to_go:
        return 0
    rows = await db.privileged.execute(
        "SELECT [id] FROM [traces] WHERE [app] = ? AND [id] <= ? ORDER BY [id] LIMIT ?",
        (app, newest_to_go[0][0], limit),
    )
    return await db.privileged.delete_entities(TRACES, [row[0] for row in rows], permanent=True)


async def list_traces(
    db: EntityStore,
    app: str,
    *,
    since: datetime | None,
    min_ms: float | None,
    failed: bool | None,
    name: str | None,
    before: str | None,
    limit: int,
) -> list[Row]:
    """Rows of a service, the latest first; `before` is the last id of the page before."""
    clauses, params = ["[app] = ?"], [app]
    wanted: tuple[tuple[str, Any], ...] = (
        ("[started_at] >= ?", since),
        ("[duration_ms] >= ?", min_ms),
        ("[failed] = ?", failed),
        ("[name] = ?", name),
        ("[id] < ?", before),
    )
    for clause, value in wanted:
        if value is not None:
            clauses.append(clause)
            params.append(value)
    return await db.privileged.find_entities(TRACES, " AND ".join(clauses), params, order_by="[id] DESC", limit=limit)


async def find_trace(db: EntityStore, app: str, id: str, limit: int) -> list[Row]:
    """What was kept of a trace, of a request or of a job, in the order of its beginning."""
    clause = "[app] = ? AND ([trace_id] = ? OR [request_id] = ? OR [job_id] = ?)"
    return await db.privileged.find_entities(TRACES, clause, (app, id, id, id), order_by="[started_at]", limit=limit)
