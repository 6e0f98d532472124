from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api_keys.serving import fresh_database
from tests.conformance.backends import SERVICE_BACKENDS
from tests.webhooks.serving import Service, serving


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def service(database: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    async with serving(monkeypatch, database) as running:
        yield running


@pytest.fixture
async def small_service(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """In memory, for what the backend has no part in."""
    async with serving(monkeypatch) as running:
        yield running
