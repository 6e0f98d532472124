"""Databases whose changes are audited, without a service, and what the audit log says of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app_kernel.audit import TABLES, enable_audit, get_audit_logs
from app_kernel.audit.sink import write_events
from app_kernel.audit.tables import TOPIC
from app_kernel.core.ports import EntityStore
from app_kernel.db import Database
from app_kernel.db.outbox import Receivers
from tests.outbox.carrying import opened, opened_on, relaying, until_empty

APP = "books"


class Trail:
    """An app and an admin database."""

    def __init__(self, database: Database, admin: Database) -> None:
        self.database = database
        self.admin = admin
        self.db: EntityStore = database.connection()
        self.admin_db: EntityStore = admin.connection()

    async def carried(self) -> None:
        """Returns when everything has left the outbox."""
        async with relaying(self.database, Receivers({TOPIC: write_events}, admin=self.admin.connection)):
            await until_empty(self.database)

    async def entries(self, app: str = APP, **filters: Any) -> list[dict[str, Any]]:
        """What is there after all that has happened, the oldest first."""
        await self.carried()
        return await get_audit_logs(self.admin_db, app=app, order="asc", limit=1000, **filters)


@asynccontextmanager
async def audited(backend: str, request: pytest.FixtureRequest, **options: Any) -> AsyncIterator[Trail]:
    async with opened_on(backend, request) as (database, admin):
        await admin.ensure_tables(TABLES)
        enable_audit(database.connection(), None, app=APP, **options)
        yield Trail(database, admin)


@asynccontextmanager
async def audited_in_memory(**options: Any) -> AsyncIterator[Trail]:
    """For what the backend has no part in."""
    async with opened() as (database, admin):
        await admin.ensure_tables(TABLES)
        enable_audit(database.connection(), None, app=APP, **options)
        yield Trail(database, admin)
