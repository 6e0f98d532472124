"""What the kernel's own routes take and give away on purpose, which no schema says."""

from collections.abc import Mapping
from typing import Any

NEW_PASSWORD = "river-stone-under-another-moon-17"  # noqa: S105 - of accounts that live as long as a test

NOT_FOR_FILLING = ("/auth/", "POST /invites/accept", "POST /invites/decline", "/invites/")
"""Where rows are not made by asking: kernel routes that sign in, answer invites, or are for platform admins."""

SHOWN_TO_ADMINS = ("/jobs", "/metrics")
"""Where platform admins see everybody's, beside the routes that ask for their role."""

SHARED_NAMES = {
    "POST /workspaces": "a slug is taken once in a service",
    "PATCH /workspaces/{workspace_id}": "a slug is taken once in a service",
    "POST /auth/register": "an address has one account",
}
"""Routes whose answer may tell that a name is taken by somebody else."""

SPENDS_CALLER = ("POST /auth/change-password", "POST /auth/reset-password", "DELETE /auth/me")
"""After these the caller is another one: they have a new password, or no account."""


def kernel_body(name: str, values: Mapping[str, Any], text: str) -> Any:
    """The body of a kernel's route for a caller with these values, or None where the schema says enough.

    `text` is unlike any other one, and ends up in what is made.
    """
    email, password = values.get("email", f"{text}@example.com"), values.get("password", "wrong-password-of-nobody")
    known: dict[str, Any] = {
        "POST /auth/login": {"email": email, "password": password},
        "POST /auth/token": {"grant_type": "password", "username": email, "password": password},
        "POST /auth/register": {"email": f"{text}@example.com", "password": NEW_PASSWORD},
        "POST /auth/refresh": {"refresh_token": values.get("refresh_token", "unknown")},
        "POST /auth/change-password": {"current_password": password, "new_password": NEW_PASSWORD},
        "POST /auth/change-email": {"new_email": f"{text}@example.com", "password": password},
        "POST /auth/forgot-password": {"email": email},
        "POST /auth/resend-verification": {"email": email},
        "PATCH /auth/me": {"name": text},
        "DELETE /auth/me": {"password": password},
        "PATCH /auth/users/{id}": {"role": "user"},
        "POST /api-keys": {"name": text},
        "POST /workspaces": {"name": text},
        "PATCH /workspaces/{workspace_id}": {"name": text},
        "POST /workspaces/{workspace_id}/invites": {"email": f"{text}@example.com", "role": "viewer"},
        "PATCH /workspaces/{workspace_id}/members/{user_id}": {"role": "viewer"},
    }
    return known.get(name)
