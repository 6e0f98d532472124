"""What a type checker must make of the kit for tests; checked by mypy and pyright, run by nobody."""

from datetime import UTC, datetime
from typing import Any, assert_type

import httpx2
from fastapi import FastAPI

from app_kernel.core.ports import EntityStore
from app_kernel.jobs import JobView
from app_kernel.mail import DevelopmentMail
from app_kernel.testing import IsolationReport, KernelClient, assert_tenant_isolation, kernel_client
from app_kernel.webhooks import CapturedWebhook


async def use(app: FastAPI) -> None:
    async with kernel_client(app, frozen_at=datetime.now(UTC), jobs="inline", webhooks="send") as client:
        assert_type(client, KernelClient)
        assert_type(client.db, EntityStore)
        ada = await client.log_in_as("ada@example.com", role="admin")
        assert_type(ada, KernelClient)
        assert_type(ada.user.workspace_id, str | None)
        assert_type(await ada.get("/widgets"), httpx2.Response)
        assert_type(await client.mails(), list[DevelopmentMail])
        assert_type(await client.webhooks(), list[CapturedWebhook])
        assert_type(await client.usage(workspace_id="w1"), dict[str, int])
        assert_type(await client.jobs.drain(), list[JobView])
        assert_type(await client.jobs.assert_enqueued("paint", {"id": "1"}, times=1), JobView)
        job = (await client.jobs.enqueued("paint"))[0]
        assert_type(job.result, Any)
        client.clock.advance(60)
    async with kernel_client(app, jobs="sometimes"):  # type: ignore[arg-type]
        pass


async def tenants(app: FastAPI) -> None:
    report = await assert_tenant_isolation(app, exclude=["GET /version"], roles=["viewer"], kernel_routes=True)
    assert_type(report, IsolationReport)
