"""The table of idempotency: one row for each key in use. It keeps no history, which would keep old answers."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

KEYS = "kernel_idempotency_keys"

TABLES = (
    Table(
        KEYS,
        # The id is the hash of whose key it is and of the key.
        {
            "state": str,
            "token": str,
            "fingerprint": str,
            "one_commit": bool,
            "lease_until": datetime,
            "expires_at": datetime,
            "answer": str,
        },
        (Index(("expires_at",)),),
    ),
)
