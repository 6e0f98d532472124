"""The public contract's snippet on audit, run as it is written there."""

import textwrap
from typing import Any

import pytest

from app_kernel.db import Database
from app_kernel.testing import KernelClient, kernel_client
from tests.outbox.carrying import until_empty
from tests.small_service import small_app

ENABLE = """
from app_kernel.audit import enable_audit, get_audit_logs

# Enable auto-audit (intercepts save_entity/delete_entity)
enable_audit(db, redis_client, app="my_app")

# Now every save_entity/delete_entity is automatically logged
await db.save_entity("deployments", {...})  # → audit event pushed to Redis
"""
QUERY = """
# Query logs (from admin_db)
logs = await get_audit_logs(admin_db,
    app="my_app",
    entity="deployments",
    since="2025-01-01",
)
# Returns: action, entity, entity_id, changes (field diffs), user_id, timestamp
return logs
"""


async def run(snippet: str, names: dict[str, Any]) -> Any:
    lines = textwrap.indent(snippet.replace("{...}", '{"id": "d1", "status": "queued"}'), "    ")
    exec(f"async def snippet():\n    global get_audit_logs\n{lines}", names)
    return await names["snippet"]()


async def carried(client: KernelClient) -> None:
    assert isinstance(client.kernel.db, Database)
    await until_empty(client.kernel.db)


@pytest.mark.acceptance("EV6")
async def test_the_contracts_snippet_on_audit_works_as_written() -> None:
    async with kernel_client(small_app()) as client:
        names = {"db": client.db, "redis_client": client.kernel.redis, "admin_db": client.admin_db}
        await run(ENABLE, names)
        await client.db.save_entity("deployments", {"id": "d1", "status": "running"})
        await client.db.delete_entity("deployments", "d1")
        await carried(client)
        logs = await run(QUERY, names)
    assert [log["action"] for log in logs] == ["delete", "update", "create"]
    assert [log["entity_id"] for log in logs] == ["d1"] * 3
    assert logs[1]["changes"] == {"status": ["queued", "running"]}
    assert logs[2]["changes"] == {"status": [None, "queued"]}
    for log in logs:
        assert {"action", "entity", "entity_id", "changes", "user_id", "timestamp"} <= log.keys()


async def test_reading_before_anything_was_written_finds_nothing() -> None:
    async with kernel_client(small_app()) as client:
        names: dict[str, Any] = {"admin_db": client.admin_db}
        exec("from app_kernel.audit import get_audit_logs", names)
        assert await run(QUERY, names) == []
