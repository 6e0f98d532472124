"""The table of the audit log in the admin database; rows are added, and go when they are old, but never change."""

from app_kernel.core.tables import Index, Table

AUDIT_LOGS = "audit_logs"
TOPIC = "admin:audit_events"

FIELDS: dict[str, type] = {
    "app": str,
    "action": str,
    "entity": str,
    "entity_id": str,
    "version": int,
    "changes": dict,
    "meta": dict,
    "user_id": str,
    "api_key_id": str,
    "job_id": str,
    "source": str,
    "command": str,
    "request_id": str,
    "trace_id": str,
    "address": str,
    "workspace_id": str,
    "reason": str,
    # Text of fixed width sorts as the instants do, and costs no conversion on the way in.
    "timestamp": str,
}

LENGTHS = {
    "app": 191, "entity": 191, "entity_id": 191, "user_id": 255, "workspace_id": 255, "request_id": 191,
    "timestamp": 32,
}  # fmt: skip
"""What MySQL is told of fields in indexes. Who makes entries keeps to them, but for a user or a workspace that only an
application knows, as it may write what it likes into rows of its own."""

TABLES = (
    Table(
        AUDIT_LOGS,
        FIELDS,
        (
            # Each gives entries in their order; of two that serve a question alike SQLite takes the one made last.
            Index(("app", "timestamp")),
            Index(("app", "entity", "timestamp")),
            Index(("app", "entity", "entity_id", "timestamp")),
            Index(("app", "user_id", "timestamp")),
            Index(("app", "workspace_id", "timestamp")),
            Index(("app", "request_id", "timestamp")),
        ),
        lengths=LENGTHS,
    ),
)
