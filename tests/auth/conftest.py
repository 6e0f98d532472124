from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.auth.serving import Service, serving
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS, Place

__all__ = ["place", "service"]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path / "app.db") as running:
        yield running


@pytest.fixture(params=SERVICE_BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A fresh database on each backend."""
    async with BACKENDS[request.param]() as fresh:
        yield fresh
