"""A service with auth on a database of its own, clients that come from a given address, and the mails it sent."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx2
from fastapi import APIRouter, FastAPI

from app_kernel import FEATURES, Feature, ServiceConfig, create_service, mail
from app_kernel.core.events import OwnershipProven, SecurityEvent
from app_kernel.core.ports import Mailer
from app_kernel.jobs import jobs_of
from tests.redis_beside import redis_beside

SECRET = "first-secret-of-the-tests-0123456789abcdef"
PASSWORD = "plum tree over water"
NEW_PASSWORD = "river stone under moon"
EMAIL = "ada@example.com"
SILENT = [factory for factory in FEATURES if factory is not mail.create_feature]
"""The features without the one that sends mail, whose place a test's own takes."""


@dataclass(frozen=True)
class Mail:
    """What auth asked the mailer to send."""

    to: str
    template: str
    values: Mapping[str, Any]
    expires_at: datetime | None

    @property
    def link(self) -> str:
        return str(self.values["link"])

    @property
    def token(self) -> str:
        return self.link.partition("#token=")[2]


class Postbox:
    """A mailer that keeps what it is given."""

    can_send = True

    def __init__(self) -> None:
        self.mails: list[Mail] = []

    async def send_template(
        self, to: str, template: str, values: Mapping[str, Any], *, expires_at: datetime | None = None
    ) -> None:
        self.mails.append(Mail(to, template, dict(values), expires_at))


class Service:
    """A running app and what it said about security."""

    def __init__(self, app: FastAPI, events: list[SecurityEvent], postbox: Postbox) -> None:
        self.app = app
        self.events = events
        self.proven: list[str] = []
        """The users whose address was shown to be theirs for the first time."""
        self.postbox = postbox
        self.kernel = app.state.kernel
        self.db = self.kernel.db.connection()

    @asynccontextmanager
    async def client(self, token: str | None = None, address: str = "192.0.2.1") -> AsyncIterator[httpx2.AsyncClient]:
        transport = httpx2.ASGITransport(app=self.app, client=(address, 40000))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver", headers=headers) as client:
            yield client

    async def call(
        self, method: str, path: str, token: str | None = None, address: str = "192.0.2.1", **options: Any
    ) -> httpx2.Response:
        async with self.client(token, address) as client:
            return await client.request(method, path, **options)

    async def post(self, path: str, caller: str | None = None, /, **body: Any) -> httpx2.Response:
        """A POST to a route of auth with this JSON body, and the caller's access token."""
        return await self.call("POST", f"/auth/{path}", caller, json=body)

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

    async def mails(self) -> list[Mail]:
        """Runs the jobs that are due, then gives and forgets the mails so far."""
        await jobs_of(self.kernel).drain()
        sent, self.postbox.mails = self.postbox.mails, []
        return sent

    async def link(self, path: str, email: str = EMAIL) -> str:
        """Asks for a link to be mailed (`forgot-password`, `resend-verification`); its token."""
        answer = await self.post(path, email=email)
        assert answer.status_code == 202, answer.text
        (sent,) = await self.mails()
        assert sent.to == email
        return sent.token

    async def user_row(self, email: str = EMAIL) -> dict[str, Any]:
        (row,) = await self.db.privileged.find_entities("kernel_users", "[email] = ?", (email,))
        return row

    def names(self) -> list[str]:
        return [event.name for event in self.events]


def settings_of(database: Path | str, **settings: Any) -> ServiceConfig:
    """Settings under which no limit of requests is in the way."""
    many = {"rate_limit_requests": 1_000_000, "rate_limit_auth_requests": 1_000_000}
    given = {**many, **redis_beside(str(database)), **settings}
    options = {"jwt_secret": SECRET, "allow_self_signup": True, "database_name": str(database), **given}
    return ServiceConfig(**options)


@asynccontextmanager
async def serving(
    database: Path | str, *, routers: list[APIRouter] | None = None, **settings: Any
) -> AsyncIterator[Service]:
    events: list[SecurityEvent] = []
    postbox = Postbox()
    proven: list[str] = []
    probe = Feature(
        name="probe",
        listeners={
            SecurityEvent: lambda kernel, event: events.append(event),
            OwnershipProven: lambda kernel, event: proven.append(event.user_id),
        },
    )
    post = Feature(name="postbox", provides={Mailer: lambda kernel: postbox})
    app = create_service(
        "auth_tests",
        config=settings_of(database, **settings),
        features=[*SILENT, post, probe],
        routers=routers or [],
    )
    jobs_of(app.state.kernel).mode = "manual"
    async with app.router.lifespan_context(app):
        service = Service(app, events, postbox)
        service.proven = proven
        yield service


Serve = Callable[..., Any]
