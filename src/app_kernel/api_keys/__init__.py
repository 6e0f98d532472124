"""Keys with which programs call: CI, scripts and other services.

key = await create_api_key(db, user.id, name="CI/CD Pipeline", scopes=["deployments:write"], expires_in_days=90)
print(key["key"])  # sk_live_..., shown this once

@router.post("/deployments")
async def deploy(auth: Annotated[Auth, Depends(require_scope("deployments:write"))]):
    return {"deployed_for": auth.user_id, "with": auth.type}
"""

from app_kernel.api_keys.credential import Auth
from app_kernel.api_keys.deps import CombinedAuth, create_combined_auth, require_scope
from app_kernel.api_keys.feature import create_feature
from app_kernel.api_keys.key_text import API_KEY_PATTERN, looks_like_api_key
from app_kernel.api_keys.keys import (
    create_api_key,
    get_api_key,
    list_api_keys,
    rename_api_key,
    revoke_api_key,
    revoke_api_keys,
    rotate_api_key,
)
from app_kernel.api_keys.tables import TABLES

__all__ = [
    "API_KEY_PATTERN",
    "TABLES",
    "Auth",
    "CombinedAuth",
    "create_api_key",
    "create_combined_auth",
    "create_feature",
    "get_api_key",
    "list_api_keys",
    "looks_like_api_key",
    "rename_api_key",
    "require_scope",
    "revoke_api_key",
    "revoke_api_keys",
    "rotate_api_key",
]
