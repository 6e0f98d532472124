"""Usage metering: requests and custom metrics by workspace, user and period, for billing and quotas.

async with db.transaction():
    await db.save_entity("answers", {"text": text})
    await track_usage(redis, app="my_app", workspace_id=workspace_id, user_id=user.id, tokens=1500)

await get_usage(admin_db, app="my_app", workspace_id=workspace_id, period="2025-01")  # {"requests": 4521, ...}
"""

from app_kernel.metering.events import track_usage
from app_kernel.metering.feature import create_feature
from app_kernel.metering.quotas import require_quota, reserve
from app_kernel.metering.requests import RequestCounts
from app_kernel.metering.usage import (
    check_quota,
    get_quota_remaining,
    get_usage,
    get_usage_by_day,
    get_usage_by_endpoint,
)

__all__ = [
    "RequestCounts",
    "check_quota",
    "create_feature",
    "get_quota_remaining",
    "get_usage",
    "get_usage_by_day",
    "get_usage_by_endpoint",
    "require_quota",
    "reserve",
    "track_usage",
]
