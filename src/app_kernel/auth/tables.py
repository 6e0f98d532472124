"""The tables of auth: accounts, sessions and failed logins. None keeps a history: a history would keep old hashes."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

USERS = "kernel_users"
SESSIONS = "kernel_sessions"
LOGIN_FAILURES = "kernel_login_failures"

TABLES = (
    Table(
        USERS,
        {
            "email": str,
            "username": str,
            "name": str,
            "role": str,
            "is_active": bool,
            "password_hash": str,
            "password_changed_at": datetime,
        },
        (Index(("email",), unique=True), Index(("username",), unique=True)),
    ),
    Table(
        SESSIONS,
        {
            "user_id": str,
            "refresh_hash": str,
            "generation": int,
            "nonce": str,
            "rotated_at": datetime,
            "last_used_at": datetime,
            "expires_at": datetime,
            "revoked_at": datetime,
            "address": str,
            "network": str,
            "user_agent": str,
        },
        (Index(("user_id",)), Index(("expires_at",))),
    ),
    Table(
        LOGIN_FAILURES,
        {"account": str, "network": str, "at": datetime},
        (Index(("account", "at")), Index(("network", "at")), Index(("at",))),
    ),
)
