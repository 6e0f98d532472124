"""The table of request figures, in the admin database: a row for each app, hour, method and route."""

from app_kernel.core.tables import Index, Table

TABLE = "request_stats"
FIGURES = (
    "requests",
    "errors",
    "client_errors",
    "seconds",
    "slowest",
    "slowest_request_id",
    "slowest_trace_id",
    "slowest_at",
    "buckets",
)
"""The columns of figures, in the order in which they travel."""

TABLES = (
    Table(
        TABLE,
        {
            "app": str,
            "hour": str,
            "method": str,
            "route": str,
            "requests": int,
            "errors": int,
            "client_errors": int,
            "seconds": float,
            "slowest": float,
            "slowest_request_id": str,
            "slowest_trace_id": str,
            "slowest_at": str,
            "buckets": str,
        },
        (Index(("app", "hour")),),
        lengths={"app": 191, "hour": 32},
    ),
)
