from collections.abc import AsyncIterator

import pytest

from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS
from tests.idempotency.serving import Service, serving


@pytest.fixture(params=SERVICE_BACKENDS)
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    async with BACKENDS[request.param]() as place:
        yield place.url


@pytest.fixture
async def service(url: str) -> AsyncIterator[Service]:
    async with serving(url) as running:
        yield running


@pytest.fixture
def token() -> str:
    return "user:ada"
