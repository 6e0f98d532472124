"""The tables of oauth. Neither keeps a history, and neither ever holds a token of a provider."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

IDENTITIES = "kernel_oauth_identities"
CODES = "kernel_oauth_codes"

TABLES = (
    Table(
        IDENTITIES,
        {
            "provider": str,
            "issuer": str,
            "subject": str,
            "user_id": str,
            "email": str,
            "email_confirmed": bool,
            "linked_at": datetime,
            "turn": int,
        },
        (
            Index(("provider", "issuer", "subject"), unique=True),
            Index(("user_id", "provider"), unique=True),
        ),
        # A subject has 255 characters at most (OpenID Connect Core, 2).
        lengths={"provider": 64, "issuer": 400, "subject": 255},
    ),
    # One-time codes, and the states that were used: what makes both single use is that a hash is there once.
    Table(
        CODES,
        {
            "hash": str,
            "user_id": str,
            "provider": str,
            "challenge": str,
            "browser": str,
            "expires_at": datetime,
        },
        (Index(("hash",), unique=True), Index(("expires_at",))),
    ),
)
