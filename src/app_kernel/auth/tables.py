"""The tables of auth: accounts, sessions, failed logins, mailed links. No history: it would keep old hashes."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

USERS = "kernel_users"
SESSIONS = "kernel_sessions"
LOGIN_FAILURES = "kernel_login_failures"
EMAIL_TOKENS = "kernel_email_tokens"
ACCOUNT_TURNS = "kernel_account_turns"

TABLES = (
    Table(
        USERS,
        {
            "email": str,
            "username": str,
            "name": str,
            "role": str,
            "is_active": bool,
            "email_verified_at": datetime,
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
    Table(
        EMAIL_TOKENS,
        {
            "token_hash": str,
            "purpose": str,
            "user_id": str,
            "email": str,
            "expires_at": datetime,
            "used_at": datetime,
        },
        (
            Index(("token_hash",), unique=True),
            Index(("user_id",)),
            Index(("email", "created_at")),
            Index(("expires_at",)),
        ),
    ),
    # One row an account, written first by whatever must not happen to it twice at the same time.
    Table(ACCOUNT_TURNS, {"at": datetime}),
)
