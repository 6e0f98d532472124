from collections.abc import AsyncIterator

import pytest

from app_kernel.db.database import Database
from app_kernel.metering.tables import ADMIN_TABLES
from tests.outbox.carrying import BACKENDS, opened_on


@pytest.fixture(params=BACKENDS)
async def databases(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Database, Database]]:
    """An app database, and an admin database with the tables of metering."""
    async with opened_on(request.param, request) as (app, admin):
        await admin.ensure_tables(ADMIN_TABLES)
        yield app, admin
