"""A service with flags, and what evaluates them in it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from app_kernel import FEATURES, Feature
from app_kernel.core.events import SecurityEvent
from app_kernel.core.ports import EntityStore, Memberships
from app_kernel.flags.live import LiveFlags, flags_of
from app_kernel.testing import KernelClient, kernel_client
from tests.redis_beside import redis_beside
from tests.small_service import small_app


class Workspaces:
    """Implements the port Memberships: whoever is in it is a member of that one workspace, and works in it."""

    def __init__(self, members: Mapping[str, str]) -> None:
        self._members = members

    async def role_in(self, db: EntityStore, workspace_id: str, user_id: str) -> str | None:
        return await self.recent_role(workspace_id, user_id)

    async def recent_role(self, workspace_id: str, user_id: str) -> str | None:
        return "member" if self._members.get(user_id) == workspace_id else None

    async def current_workspace(self, db: EntityStore, user_id: str) -> str | None:
        return self._members.get(user_id)


def flag_app(
    events: list[SecurityEvent] | None = None, members: Mapping[str, str] | None = None, **settings: Any
) -> FastAPI:
    """A service that keeps what it says about security in `events`."""
    heard = events if events is not None else []
    probe = Feature(
        name="probe",
        listeners={SecurityEvent: lambda kernel, event: heard.append(event)},
        provides={} if members is None else {Memberships: lambda kernel: Workspaces(members)},
    )
    return small_app(features=[*FEATURES, probe], rate_limit_enabled=False, **settings)


@asynccontextmanager
async def serving(
    database: str,
    events: list[SecurityEvent] | None = None,
    members: Mapping[str, str] | None = None,
    *,
    frozen: Any = None,
    **settings: Any,
) -> AsyncIterator[KernelClient]:
    """A running service on this database."""
    redis = redis_beside(database)
    app = flag_app(events, members, **redis, **settings)
    async with kernel_client(app, database=database, frozen_at=frozen, **redis) as client:
        yield client


def live_of(client: KernelClient) -> LiveFlags:
    """What evaluates the flags of a running service."""
    live = flags_of(client.db)
    assert live is not None
    return live
