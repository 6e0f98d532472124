"""The tables of API keys. Neither keeps a history: a history would keep old hashes."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

API_KEYS = "kernel_api_keys"
USES = "kernel_api_key_uses"
"""When each key was used last, under the key's id. It stands apart so that a use never touches the key's own row."""

TABLES = (
    Table(
        API_KEYS,
        {
            "user_id": str,
            "workspace_id": str,
            "name": str,
            "prefix": str,
            "key_hash": str,
            "scopes": list,
            "expires_in_days": int,
            "expires_at": datetime,
            "revoked_at": datetime,
            "replaced_by": str,
        },
        (Index(("prefix",), unique=True), Index(("user_id",))),
    ),
    Table(USES, {"last_used_at": datetime}),
)
