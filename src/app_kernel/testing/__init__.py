"""A service in memory, for the tests of applications: no server, no port, no file that stays.

async with kernel_client(app) as client:
    ada = await client.log_in_as("ada@example.com")
    made = await ada.post("/widgets", json={"name": "gear"})
    assert made.json()["created_by"] == ada.user.id
    await client.jobs.assert_enqueued("welcome", {"widget_id": made.json()["id"]})
    await client.jobs.drain()

await assert_tenant_isolation(app)  # in a test of its own: no workspace reaches another one's rows
"""

from app_kernel.testing.callers import CALLERS
from app_kernel.testing.client import MEMORY, PASSWORD, KernelClient, ServiceTestJobs, kernel_client
from app_kernel.testing.findings import Finding, IsolationReport
from app_kernel.testing.isolation import assert_tenant_isolation

__all__ = [
    "CALLERS",
    "MEMORY",
    "PASSWORD",
    "Finding",
    "IsolationReport",
    "KernelClient",
    "ServiceTestJobs",
    "assert_tenant_isolation",
    "kernel_client",
]
