"""Feature flags: turn something on for some, then for more, without a deployment.

await set_flag(db, "new_dashboard", enabled=True, rollout_percent=10, workspaces=["ws-123"], users=["user-456"])

if await flag_enabled(db, "new_dashboard", user_id=user.id, workspace_id=user.workspace_id):
    return new_dashboard()
"""

from app_kernel.flags.feature import create_feature
from app_kernel.flags.flags import (
    check_flags,
    delete_flag,
    explain_flag,
    flag_enabled,
    get_flag,
    get_flag_history,
    list_flags,
    list_unused_flags,
    set_flag,
)
from app_kernel.flags.rollout import Explanation, bucket_of
from app_kernel.flags.tables import TABLES

__all__ = [
    "TABLES",
    "Explanation",
    "bucket_of",
    "check_flags",
    "create_feature",
    "delete_flag",
    "explain_flag",
    "flag_enabled",
    "get_flag",
    "get_flag_history",
    "list_flags",
    "list_unused_flags",
    "set_flag",
]
