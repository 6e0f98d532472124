"""The tables of metering: counters in the admin database, and what was reserved in the app database."""

from app_kernel.core.tables import Index, Table

USAGE = "usage_summary"
"""One row for each counter; its id is made of what it counts, so that rows without a user or workspace are one too."""
RESERVED = "kernel_usage_reserved"
"""What was reserved against a limit, under the id that the counter has in the admin database."""

ADMIN_TABLES = (
    Table(
        USAGE,
        {
            "app": str,
            "scope": str,
            "workspace_id": str,
            "user_id": str,
            "period": str,
            "metric": str,
            "endpoint": str,
            "amount": int,
            "reserved": int,
        },
        (
            # In this order it serves every scope: a workspace's rows have no user.
            Index(("app", "scope", "user_id", "workspace_id", "period")),
            # Finds what is to be removed; the other one is read whole for that, every ten minutes in each process.
            Index(("app", "scope", "period")),
        ),
        lengths={"app": 191, "scope": 32, "user_id": 191, "workspace_id": 191, "period": 32},
    ),
)
TABLES = (
    Table(
        RESERVED,
        {"app": str, "workspace_id": str, "user_id": str, "period": str, "metric": str, "amount": int},
        (Index(("app", "period")),),
        lengths={"app": 191, "period": 32},
    ),
)
