"""A service whose routes take API keys, on SQLite or PostgreSQL, with workspaces that a test fills."""

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from app_kernel import FEATURES, Feature, ServiceConfig, create_service, get_current_user
from app_kernel.api_keys import Auth, create_combined_auth, require_scope
from app_kernel.api_keys.live import LiveKeys
from app_kernel.auth import create_user
from app_kernel.core.context import current_context, in_context
from app_kernel.core.events import SecurityEvent
from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports import EntityStore, Memberships
from app_kernel.db import db_connection, get_db_connection
from app_kernel.testing import PASSWORD, KernelClient, kernel_client
from tests.conformance.mysql_place import empty_database
from tests.redis_beside import redis_beside

SECRET = "secret-of-the-key-tests-0123456789abcdef"
ADDRESS = "192.0.2.1"

get_auth = create_combined_auth(get_db_connection, get_current_user)
may_deploy = require_scope("deployments:write")


class Workspaces:
    """Implements the port Memberships."""

    def __init__(self) -> None:
        self.members: dict[tuple[str, str], str] = {}

    async def role_in(self, db: EntityStore, workspace_id: str, user_id: str) -> str | None:
        return self.members.get((workspace_id, user_id))

    async def recent_role(self, workspace_id: str, user_id: str) -> str | None:
        return self.members.get((workspace_id, user_id))

    async def current_workspace(self, db: EntityStore, user_id: str) -> str | None:
        return None


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/whoami")
    async def whoami(auth: Auth = Depends(get_auth)) -> dict[str, Any]:
        return {
            "type": auth.type,
            "user_id": auth.user_id,
            "email": auth.user.email,
            "key_id": auth.key_id,
            "key_name": auth.key_name,
            "workspace_id": auth.workspace_id,
            "scopes": auth.scopes,
            "deploys": auth.has_scope("deployments:write"),
            "administers": auth.has_scope("admin"),
        }

    @router.post("/deployments")
    async def deploy(auth: Auth = Depends(may_deploy), db: EntityStore = Depends(db_connection)) -> dict[str, Any]:
        return await db.save_entity("deployments", {"by": auth.type})

    @router.get("/people-only")
    async def people_only(user: UserIdentity = Depends(get_current_user)) -> str:
        return user.id

    return router


class Service:
    """A running app, what it said about security, and ways to call it."""

    def __init__(self, client: KernelClient, events: list[SecurityEvent], workspaces: Workspaces) -> None:
        self.client = client
        self.app: FastAPI = client.app
        self.kernel = client.kernel
        self.db = client.db
        self.events = events
        self.workspaces = workspaces
        self.live = self.kernel.port(LiveKeys)

    async def user(self, email: str = "ada@example.com", role: str = "user") -> UserIdentity:
        return await create_user(self.db, email, PASSWORD, role=role)

    async def token(self, email: str = "ada@example.com") -> str:
        answer = await self.call("POST", "/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    async def call(
        self,
        method: str,
        path: str,
        credential: str | None = None,
        *,
        address: str = ADDRESS,
        headers: Iterable[tuple[str, str]] = (),
        **options: Any,
    ) -> httpx2.Response:
        transport = httpx2.ASGITransport(app=self.app, client=(address, 40000))
        fields = [*headers, *([("Authorization", f"Bearer {credential}")] if credential else [])]
        # What a request sets in its context ends with the request, as behind a server.
        with in_context(current_context()):
            client = httpx2.AsyncClient(transport=transport, base_url="http://service")
            return await client.request(method, path, headers=httpx2.Headers(fields), **options)

    async def status(self, key: str, path: str = "/whoami", **options: Any) -> int:
        return (await self.call("GET", path, key, **options)).status_code

    def names(self, start: str = "api_key.") -> list[str]:
        return [event.name for event in self.events if event.name.startswith(start)]


def make_app(
    events: list[SecurityEvent], workspaces: Workspaces | None, routers: Iterable[APIRouter] = (), **settings: Any
) -> FastAPI:
    probe = Feature(
        name="probe",
        listeners={SecurityEvent: lambda kernel, event: events.append(event)},
        provides={} if workspaces is None else {Memberships: lambda kernel: workspaces},
    )
    options = {"jwt_secret": SECRET, "rate_limit_requests": 1_000_000, **settings}
    config = ServiceConfig(**{"database_name": "sqlite://:memory:", **options})
    return create_service("keys", config=config, routers=[make_router(), *routers], features=[*FEATURES, probe])


@asynccontextmanager
async def serving(
    database: str,
    *,
    frozen_at: datetime | None = None,
    with_workspaces: bool = True,
    routers: Iterable[APIRouter] = (),
    **settings: Any,
) -> AsyncIterator[Service]:
    events: list[SecurityEvent] = []
    workspaces = Workspaces()
    redis = redis_beside(database)
    app = make_app(events, workspaces if with_workspaces else None, routers, **redis, **settings)
    async with kernel_client(app, frozen_at=frozen_at, database=database, **redis) as client:
        yield Service(client, events, workspaces)


@asynccontextmanager
async def fresh_schema(url: str) -> AsyncIterator[str]:
    """The URL of a schema of its own on a PostgreSQL server."""
    schema = f"t_{secrets.token_hex(6)}"
    try:
        yield f"{url}?schema={schema}"
    finally:
        connection = await asyncpg.connect(url)
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        await connection.close()


@asynccontextmanager
async def fresh_database(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[str]:
    """The URL of a fresh database of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'app.db'}"
    elif request.param == "mysql":
        async with empty_database() as url:
            yield url
    else:
        async with fresh_schema(request.getfixturevalue("postgres_url")) as url:
            yield url
