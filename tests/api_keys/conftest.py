from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api_keys.serving import Service, fresh_database, serving
from tests.conformance.backends import SERVICE_BACKENDS


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with serving(database) as running:
        yield running


@pytest.fixture
async def small_service() -> AsyncIterator[Service]:
    """In memory, for what the backend has no part in."""
    async with serving("sqlite://:memory:") as running:
        yield running
