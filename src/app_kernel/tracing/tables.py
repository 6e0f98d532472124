"""The table of the admin database that keeps what was slow or failed, of every service that shares it."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

TRACES = "traces"

TABLES = (
    Table(
        TRACES,
        {
            "app": str,
            "kind": str,
            "trace_id": str,
            "request_id": str,
            "job_id": str,
            "name": str,
            "path": str,
            "status": int,
            "outcome": str,
            "attempt": int,
            "failed": bool,
            "error": str,
            "started_at": datetime,
            "duration_ms": float,
            "user_id": str,
            "workspace_id": str,
            "address": str,
            "spans": list,
            "spans_left_out": int,
        },
        (
            Index(("app", "id")),
            Index(("app", "trace_id")),
            Index(("app", "request_id")),
            Index(("app", "job_id")),
        ),
    ),
)
