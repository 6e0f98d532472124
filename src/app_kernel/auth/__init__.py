"""Accounts, passwords and sessions: who is calling, and how they prove it.

@router.get("/projects")
async def list_projects(user=Depends(get_current_user)):
    return {"hello": user.email}

async def seed(db):  # create_service(db_seed=seed)
    await create_user(db, "ada@example.com", os.environ["FIRST_PASSWORD"], role="admin")
"""

from app_kernel.auth.accounts import (
    activate_user,
    confirm_email,
    create_user,
    deactivate_user,
    delete_user,
    find_user,
    get_user,
    list_users,
    set_password,
    set_role,
)
from app_kernel.auth.feature import create_feature
from app_kernel.auth.passwords import hash_password, verify_password
from app_kernel.auth.tables import TABLES
from app_kernel.core.identity import (
    UserIdentity,
    get_current_user,
    get_current_user_optional,
    require_admin,
    require_role,
)

__all__ = [
    "TABLES",
    "UserIdentity",
    "activate_user",
    "confirm_email",
    "create_feature",
    "create_user",
    "deactivate_user",
    "delete_user",
    "find_user",
    "get_current_user",
    "get_current_user_optional",
    "get_user",
    "hash_password",
    "list_users",
    "require_admin",
    "require_role",
    "set_password",
    "set_role",
    "verify_password",
]
