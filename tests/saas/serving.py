"""A service with workspaces on SQLite or PostgreSQL, and people in it who sign in without the cost of a password."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI

from app_kernel import (
    FEATURES,
    Feature,
    Membership,
    ServiceConfig,
    create_saas_router,
    create_service,
    get_current_user,
    require_workspace_member,
    require_workspace_role,
)
from app_kernel.api_keys import Auth, create_combined_auth
from app_kernel.auth import create_user, get_user
from app_kernel.auth.issuer import Issuer
from app_kernel.auth.store import get_user_row
from app_kernel.core.context import Context as Nobody
from app_kernel.core.context import in_context
from app_kernel.core.events import SecurityEvent
from app_kernel.core.identity import UserIdentity
from app_kernel.core.ports import EntityStore
from app_kernel.db import get_db_connection
from app_kernel.saas import add_member
from app_kernel.testing import KernelClient, kernel_client
from tests.conformance.mysql_place import emptied_database
from tests.redis_beside import redis_beside

SECRET = "secret-of-the-workspace-tests-0123456789abcdef"
ACCEPT = "https://app.example/join"
KEPT = {"kernel_meta", "kernel_catalog"}
"""Tables that say what the other tables are."""
UNLIMITED = {"rate_limit_requests": 1_000_000, "rate_limit_auth_requests": 1_000_000}


get_auth = create_combined_auth(get_db_connection, get_current_user)
need_admin = require_workspace_role("admin")


def make_router() -> APIRouter:
    router = APIRouter()

    @router.get("/whoami")
    async def whoami(user: UserIdentity = Depends(get_current_user)) -> str | None:
        return user.workspace_id

    @router.get("/role")
    async def role(member: Membership = Depends(require_workspace_member)) -> list[str]:
        return [member.workspace_id, member.role]

    @router.get("/w/{workspace_id}/admin")
    async def admin(member: Membership = Depends(need_admin)) -> str:
        return member.role

    @router.get("/key")
    async def key(auth: Auth = Depends(get_auth)) -> list[str | None]:
        return [auth.workspace_id, auth.user.workspace_id]

    return router


class Person:
    """Somebody who is signed in."""

    def __init__(self, service: "Service", user: "UserIdentity | Person", token: str) -> None:
        self.id, self.email, self.token = user.id, user.email, token
        self._service = service

    async def call(self, method: str, path: str, json: Any = None, **headers: str) -> httpx2.Response:
        return await self._service.call(method, path, self.token, json, **headers)

    async def get(self, path: str, **headers: str) -> httpx2.Response:
        return await self.call("GET", path, **headers)

    async def post(self, path: str, json: Any = None) -> httpx2.Response:
        return await self.call("POST", path, json)

    async def status(self, method: str, path: str, json: Any = None) -> int:
        return (await self.call(method, path, json)).status_code

    async def made(self, name: str = "Engines", **more: Any) -> str:
        """The id of a new workspace of theirs."""
        answer = await self.post("/workspaces", {"name": name, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def invite(self, workspace_id: str, email: str, role: str = "member") -> dict[str, Any]:
        answer = await self.post(f"/workspaces/{workspace_id}/invites", {"email": email, "role": role})
        assert answer.status_code == 201, answer.text
        given: dict[str, Any] = answer.json()
        return given


class Service:
    """A running app, what it said about security, and ways to call it."""

    def __init__(self, client: KernelClient, events: list[SecurityEvent]) -> None:
        self.client = client
        self.app: FastAPI = client.app
        self.kernel = client.kernel
        self.db: EntityStore = client.db
        self.events = events

    async def person(self, name: str = "ada", *, verified: bool = True, role: str = "user") -> Person:
        user = await create_user(self.db, f"{name}@example.com", None, role=role, email_verified=verified)
        return await self.signed_in(user)

    async def signed_in(self, user: UserIdentity) -> Person:
        row = await get_user_row(self.db, user.id)
        assert row is not None
        with in_context(Nobody(kernel=self.kernel)):
            signed_in = await self.kernel.port(Issuer).start(self.db, row, None)
        return Person(self, user, signed_in.access_token)

    async def kernel_user(self, user_id: str) -> UserIdentity:
        user = await get_user(self.db, user_id)
        assert user is not None
        return user

    async def join(self, workspace_id: str, person: Person, role: str) -> None:
        await add_member(self.db, workspace_id, person.id, role)

    async def people(self, *names: str) -> list[Person]:
        return [await self.person(name) for name in names]

    async def call(
        self, method: str, path: str, credential: str | None = None, json: Any = None, **headers: str
    ) -> httpx2.Response:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if credential is not None:
            fields["Authorization"] = f"Bearer {credential}"
        options = {} if json is None else {"json": json}
        return await self.client.request(method, path, headers=fields, **options)

    async def raw(self, method: str, path: str, token: str, body: str) -> httpx2.Response:
        """A request whose body is this text, which need not be what a client would write."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return await self.client.request(method, path, headers=headers, content=body.encode("utf-8", "surrogatepass"))

    def names(self) -> list[str]:
        return [event.name for event in self.events if event.name.startswith("workspace.")]


def make_app(events: list[SecurityEvent] | None = None, **settings: Any) -> FastAPI:
    probe = Feature(
        name="probe",
        listeners={} if events is None else {SecurityEvent: lambda kernel, event: events.append(event)},
    )
    options = {"jwt_secret": SECRET, "accept_invite_url": ACCEPT, "database_name": "sqlite://:memory:", **UNLIMITED}
    config = ServiceConfig(**{**options, **settings})
    routers = [make_router(), create_saas_router()]
    return create_service("spaces", config=config, routers=routers, features=[*FEATURES, probe])


@asynccontextmanager
async def serving(
    database: str = "sqlite://:memory:", *, frozen_at: datetime | None = None, **settings: Any
) -> AsyncIterator[Service]:
    events: list[SecurityEvent] = []
    redis = redis_beside(database)
    app = make_app(events, **redis, **settings)
    async with kernel_client(app, frozen_at=frozen_at, database=database, **redis) as client:
        yield Service(client, events)


@asynccontextmanager
async def fresh_database(request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[str]:
    """The URL of an empty database of the kind that the fixture's parameter names.

    On a server all tests share one schema, emptied after each of them: making 30 tables takes a second each time.
    """
    if request.param == "sqlite":
        yield f"sqlite:///{folder / 'app.db'}"
        return
    if request.param == "mysql":
        async with emptied_database(KEPT) as url:
            yield url
        return
    url, schema = request.getfixturevalue("postgres_schema")
    try:
        yield f"{url}?schema={schema}"
    finally:
        connection = await asyncpg.connect(url)
        found = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        used = {row["tablename"] for row in found} - KEPT
        await connection.execute(";".join(f'DELETE FROM "{schema}"."{name}"' for name in sorted(used)))
        await connection.close()


@contextmanager
def schema_of_tests(url: str) -> Iterator[tuple[str, str]]:
    """The server's URL and a schema on it, which is dropped at the end."""
    schema = f"t_{secrets.token_hex(6)}"

    async def drop() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')
        await connection.close()

    try:
        yield url, schema
    finally:
        asyncio.run(drop())
