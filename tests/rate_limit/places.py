"""A service whose limits are kept in memory or in a real Redis, and what its answers say of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import APIRouter

from app_kernel import ServiceConfig, create_service
from app_kernel.core.clock import new_id
from app_kernel.testing import KernelClient, kernel_client
from tests.small_service import SECRET

PLACES = ("memory", "redis")


@asynccontextmanager
async def serving(*routers: APIRouter, redis_url: str | None = None, **options: Any) -> AsyncIterator[KernelClient]:
    """A running service of a name of its own, so that no other test counts with it; `frozen_at` stops its clock."""
    frozen_at, api_prefix = options.pop("frozen_at", None), options.pop("api_prefix", "")
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:", redis_url=redis_url, **options)
    app = create_service(f"limits-{new_id()}", routers=routers, config=config, api_prefix=api_prefix)
    async with kernel_client(app, redis_url=redis_url, frozen_at=frozen_at) as client:
        yield client


@asynccontextmanager
async def from_address(client: KernelClient, address: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A client whose connection comes from this address."""
    transport = httpx2.ASGITransport(app=client.app, client=(address, 40000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as other:
        yield other


def left(answer: httpx2.Response) -> tuple[str, int, int]:
    """The policy, and what `RateLimit` says is left and for how many seconds."""
    policy, r, t = answer.headers["ratelimit"].split(";")
    assert r.startswith("r=")
    assert t.startswith("t=")
    return policy.strip('"'), int(r[2:]), int(t[2:])
