"""docs/howto/cache.md: its code runs, and its figures are those of the code."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from app_kernel.cache import cache, escape_key, keys, memory, service, shared, values
from app_kernel.core.config import ServiceConfig
from tests.cache.serving import serving

OPERATION_SECONDS = shared.OPERATION_SECONDS
PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "cache.md").read_text()


async def test_the_code_of_the_page_runs() -> None:
    names: dict[str, Any] = {}
    for block in re.findall(r"```python(?: continued)?\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "<howto>", "exec"), names)
    async with serving() as client:
        await client.db.save_entity("projects", {"id": "p1", "workspace_id": "ws-123", "name": "gear"})
        get_projects = names["get_projects"]
        assert [each["name"] for each in await get_projects("ws-123")] == ["gear"]
        await client.db.save_entity("projects", {"id": "p1", "name": "changed"})
        assert [each["name"] for each in await get_projects("ws-123")] == ["gear"]
        await names["rename"]("p1", "ws-123", "wheel")
        assert [each["name"] for each in await get_projects("ws-123")] == ["wheel"]
        assert get_projects.key("ws-123") == "projects:ws-123"
        projects, many, total = await names["by_hand"]()
        assert (projects, many, total) == ([{"name": "gear"}], {"projects:ws-123": [{"name": "gear"}]}, 42)
        assert await cache.get("total") is None
        invoice = {"amount": Decimal("12.50"), "due_at": datetime(2026, 3, 1, tzinfo=UTC), "memo": "first"}
        made = await client.db.in_workspace("ws-123").save_entity("invoices", invoice)
        for _ in range(2):
            assert await names["get_invoices"]("ws-123") == [
                {"id": made["id"], "amount": "12.50", "due_at": "2026-03-01T00:00:00+00:00"}
            ]
        assert await names["total_due"]("ws-123") == Decimal("12.50")
        assert names["plain"](made) == {**made, "amount": "12.50", "due_at": "2026-03-01T00:00:00+00:00"}


def test_its_figures_are_those_of_the_code() -> None:
    assert f"at most {keys.LONGEST_TTL // 86400} days" in PAGE
    assert f"up to {values.MOST_BYTES >> 20} MiB" in PAGE
    assert f"and {memory.MOST_BYTES >> 20} MiB at most" in PAGE
    assert f"may take {1000 * OPERATION_SECONDS:.0f} ms" in PAGE
    assert f"for {service.AWAY_SECONDS:.0f} seconds a value" in PAGE
    assert f"`cache_entries` values ({ServiceConfig.model_fields['cache_entries'].default:,})" in PAGE
    assert 1 / shared.PAUSE_SECONDS == 2, "twice a second"
    assert escape_key("a:*") == "a%3A%2A"
