"""A service with auth on a database file of its own, and clients that come from a given address."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI

from app_kernel import FEATURES, Feature, ServiceConfig, create_service
from app_kernel.core.events import SecurityEvent

SECRET = "first-secret-of-the-tests-0123456789abcdef"
PASSWORD = "plum tree over water"
EMAIL = "ada@example.com"


class Service:
    """A running app and what it said about security."""

    def __init__(self, app: FastAPI, events: list[SecurityEvent]) -> None:
        self.app = app
        self.events = events
        self.kernel = app.state.kernel
        self.db = self.kernel.db.connection()

    @asynccontextmanager
    async def client(self, token: str | None = None, address: str = "192.0.2.1") -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.app, client=(address, 40000))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(transport=transport, base_url="http://service", headers=headers) as client:
            yield client

    async def call(
        self, method: str, path: str, token: str | None = None, address: str = "192.0.2.1", **options: Any
    ) -> httpx2.Response:
        async with self.client(token, address) as client:
            return await client.request(method, path, **options)

    async def sign_up(self, email: str = EMAIL, password: str = PASSWORD, **more: Any) -> dict[str, Any]:
        answer = await self.call("POST", "/auth/register", json={"email": email, "password": password, **more})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def sign_in(self, email: str = EMAIL, password: str = PASSWORD, **options: Any) -> httpx2.Response:
        return await self.call("POST", "/auth/login", json={"email": email, "password": password}, **options)

    async def accepts(self, token: str) -> bool:
        status = (await self.call("GET", "/auth/me", token)).status_code
        assert status in (200, 401), status
        return status == 200

    def names(self) -> list[str]:
        return [event.name for event in self.events]


@asynccontextmanager
async def serving(database: Path, **settings: Any) -> AsyncIterator[Service]:
    events: list[SecurityEvent] = []
    probe = Feature(name="probe", listeners={SecurityEvent: lambda kernel, event: events.append(event)})
    options = {"jwt_secret": SECRET, "allow_self_signup": True, "database_name": str(database), **settings}
    app = create_service("auth_tests", config=ServiceConfig(**options), features=[*FEATURES, probe])
    async with app.router.lifespan_context(app):
        yield Service(app, events)


Serve = Callable[..., Any]
