from collections.abc import AsyncIterator

import pytest

from app_kernel.db.database import Database
from app_kernel.stats.tables import TABLES
from tests.outbox.carrying import BACKENDS, opened_on


@pytest.fixture(params=BACKENDS)
async def databases(request: pytest.FixtureRequest) -> AsyncIterator[list[Database]]:
    """An app and an admin database, the latter with the table of figures."""
    async with opened_on(request.param, request) as opened:
        await opened[1].ensure_tables(TABLES)
        yield opened
