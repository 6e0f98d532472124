"""The tables of workspaces. None keeps a history: invites hold addresses of people who never agreed to be kept."""

from datetime import datetime

from app_kernel.core.tables import Index, Table

WORKSPACES = "kernel_workspaces"
"""`removed_at` is when a workspace was deleted. To the store it lives on: its slug must stay taken."""
MEMBERS = "kernel_workspace_members"
"""One row a membership, under the id `{workspace_id}:{user_id}`."""
INVITES = "kernel_workspace_invites"
CHOICES = "kernel_workspace_choices"
"""The workspace that a user works in, under the user's id."""
TURNS = "kernel_workspace_turns"
"""One row a workspace, written first by whatever decides by who is in it."""

TABLES = (
    Table(WORKSPACES, {"name": str, "slug": str, "removed_at": datetime}, (Index(("slug",), unique=True),)),
    Table(
        MEMBERS,
        {"workspace_id": str, "user_id": str, "role": str},
        (Index(("workspace_id", "user_id"), unique=True), Index(("user_id",)), Index(("workspace_id", "role"))),
    ),
    Table(
        INVITES,
        {
            "workspace_id": str,
            "email": str,
            "role": str,
            "token_hash": str,
            "invited_by": str,
            "sent_at": datetime,
            "expires_at": datetime,
        },
        (
            Index(("workspace_id", "email"), unique=True),
            Index(("token_hash",), unique=True),
            Index(("email",)),
            Index(("invited_by",)),
            Index(("expires_at",)),
        ),
        lengths={"workspace_id": 191, "email": 320},
    ),
    Table(CHOICES, {"workspace_id": str}),
    Table(TURNS, {"turn": str}),
)
