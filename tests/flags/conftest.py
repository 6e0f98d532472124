from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app_kernel.testing import KernelClient
from tests.api_keys.serving import fresh_database
from tests.conformance.backends import SERVICE_BACKENDS
from tests.flags.serving import serving


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def client(database: str) -> AsyncIterator[KernelClient]:
    async with serving(database) as running:
        yield running


@pytest.fixture
async def small_client() -> AsyncIterator[KernelClient]:
    """In memory, for what the backend has no part in."""
    async with serving("sqlite://:memory:") as running:
        yield running
