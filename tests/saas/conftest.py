from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.conformance.backends import SERVICE_BACKENDS
from tests.saas.serving import Service, fresh_database, schema_of_tests, serving


@pytest.fixture(scope="session")
def postgres_schema(postgres_url: str) -> Iterator[tuple[str, str]]:
    with schema_of_tests(postgres_url) as made:
        yield made


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with serving(database) as running:
        yield running
