"""The tables of feature flags."""

from datetime import datetime

from app_kernel.core.tables import Table

FLAGS = "kernel_flags"
"""Each flag, under its name as id."""
CHANGES = "kernel_flag_changes"
"""One row whose token is another one after each commit that changed a flag. Who changes flags holds it, so that changes
come one after another; who evaluates them sees by it, in one small read, whether there is anything new."""
USES = "kernel_flag_uses"
"""When each flag was evaluated last, under its name. It stands apart so that a use never touches the flag's own row."""

TABLES = (
    Table(
        FLAGS,
        {"enabled": bool, "rollout_percent": float, "workspaces": list, "users": list, "description": str},
        history=True,
    ),
    Table(CHANGES, {"token": str}),
    Table(USES, {"last_evaluated_at": datetime}),
)
