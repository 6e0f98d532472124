"""The public contract's snippet on usage metering, run as it is written there."""

import textwrap
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import HTTPException

from app_kernel.core import clock
from app_kernel.core.current import current_kernel
from tests.metering.serving import settle
from tests.small_service import serving

METERING = """
from app_kernel.metering import track_usage, get_usage, check_quota

# Auto-tracked via middleware (pushed to Redis, worker persists to admin_db)
# Manual tracking for custom metrics:
await track_usage(redis, app="my_app",
    user_id=user.id,
    workspace_id=workspace_id,
    tokens=1500,      # AI tokens
    deployments=1,    # Custom counter
)
"""

QUERIES = """
from app_kernel.metering import track_usage, get_usage, check_quota

# Query usage (from admin_db)
usage = await get_usage(admin_db, app="my_app", workspace_id=ws_id, period="2025-01")
# {"requests": 4521, "tokens": 125000, "deployments": 47}

# Check quota
if not await check_quota(admin_db, app="my_app", workspace_id=ws_id, metric="tokens", limit=100000):
    raise HTTPException(402, "Token limit reached")
"""


async def run(snippet: str, **names: Any) -> dict[str, Any]:
    """Runs a snippet inside a function; the names that it has then."""
    names = {**names, "HTTPException": HTTPException}
    exec(f"async def snippet():\n{textwrap.indent(snippet, '    ')}\n    return locals()", names)
    found: dict[str, Any] = await names["snippet"]()
    return found


async def test_the_snippets_on_metering() -> None:
    async with serving() as client:
        user = await client.log_in_as("ada@example.com")
        given = {"redis": current_kernel().redis, "user": user.user, "workspace_id": "w"}
        with clock.frozen(datetime(2025, 1, 15, 12, tzinfo=UTC)):
            for _ in range(3):
                await run(METERING, **given)
        await settle(client.kernel)
        read = {"admin_db": client.admin_db, "ws_id": "w"}
        assert (await run(QUERIES, **read))["usage"] == {"tokens": 4500, "deployments": 3}
        # The snippet asks for the current month.
        await run(METERING.replace("1500", "99999"), **given)
        await settle(client.kernel)
        await run(QUERIES, **read)
        await run(METERING.replace("1500", "1"), **given)
        await settle(client.kernel)
        with pytest.raises(HTTPException, match="Token limit reached"):
            await run(QUERIES, **read)
