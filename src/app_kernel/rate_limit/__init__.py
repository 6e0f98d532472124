"""How often one caller may call: so many requests in any window of so many seconds, per user or per address.

A route may have a limit of its own, or none:

    @router.post("/reports")
    @rate_limit(10, per=60)
    async def make_report(user: UserIdentity = Depends(get_current_user)) -> dict: ...
"""

from app_kernel.rate_limit.decorators import no_rate_limit, rate_limit
from app_kernel.rate_limit.feature import create_feature

__all__ = ["create_feature", "no_rate_limit", "rate_limit"]
