"""The stub provider as a process, a service that signs in with it, and browsers that go back and forth."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from fastapi import FastAPI

from app_kernel import FEATURES, Feature, ServiceConfig, create_service
from app_kernel.core.events import SecurityEvent
from app_kernel.core.kernel import Kernel
from app_kernel.testing import KernelClient, kernel_client
from tests.oauth.provider import CLIENT_ID, CLIENT_SECRET
from tests.redis_beside import redis_beside
from tools.services import free_port

SECRET = "secret-of-the-oauth-tests-0123456789abcdef"
PASSWORD = "plum tree over water"
PAGE = "https://app.example.com/signed-in"


class StubProvider:
    """The issuer's process as a test steers it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx2.Client(base_url=url, trust_env=False, verify=False)

    def behave(self, **how: Any) -> None:
        """Begins anew: see `State` in provider.py."""
        self._client.post("/control", json=how).raise_for_status()

    def log(self) -> list[str]:
        return self._client.get("/log").json()

    def close(self) -> None:
        self._client.close()

    def settings(self) -> dict[str, dict[str, Any]]:
        client = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}
        at = {"authorize_url": f"{self.url}/authorize", "token_url": f"{self.url}/token", "api_url": f"{self.url}/api"}
        return {"stub": {"issuer": self.url, **client}, "google": {"issuer": self.url, **client}, "github": client | at}


@contextmanager
def running_provider() -> Iterator[StubProvider]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.oauth.provider:app", "--port", str(port), "--log-level", "error"]
    process = subprocess.Popen(command, start_new_session=True)
    provider = StubProvider(f"http://127.0.0.1:{port}")
    try:
        wait_for_port(port, process)
        yield provider
    finally:
        provider.close()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def wait_for_port(port: int, process: "subprocess.Popen[Any]") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, "the process ended"
            assert time.monotonic() < deadline, "nobody listened in time"
            time.sleep(0.05)


class Browser:
    """Cookies and redirects of one person."""

    def __init__(self, app: FastAPI, base_url: str = "http://testserver") -> None:
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=base_url)
        # Loopback without TLS: the certificates of all authorities need not be read for it.
        self.outside = httpx2.AsyncClient(trust_env=False, verify=False)

    async def start(self, name: str = "stub", **params: str) -> httpx2.Response:
        return await self.http.get(f"/auth/oauth/{name}", params=params)

    async def at_provider(self, started: httpx2.Response) -> str:
        """Goes to the provider and gives the address that it sends the browser back to."""
        url = started.headers["location"] if started.status_code == 303 else started.json()["authorization_url"]
        answer = await self.outside.get(url)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["location"])

    async def come_back(self, url: str) -> httpx2.Response:
        parts = urlsplit(url)
        return await self.http.get(f"{parts.path}?{parts.query}")

    async def sign_in(self, name: str = "stub", **params: str) -> httpx2.Response:
        """The whole way, as far as the callback's answer."""
        started = await self.start(name, **params)
        assert started.status_code == 303, started.text
        return await self.come_back(await self.at_provider(started))

    async def link(self, token: str, name: str = "stub") -> httpx2.Response:
        body = {"password": PASSWORD}
        started = await self.http.post(f"/auth/oauth/{name}/link", json=body, headers=bearer(token))
        assert started.status_code == 200, started.text
        return await self.come_back(await self.at_provider(started))

    async def close(self) -> None:
        await self.http.aclose()
        await self.outside.aclose()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def query_of(response: httpx2.Response) -> dict[str, str]:
    """The query of where a response sends the browser."""
    return {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}


class Service:
    """A running service, and what it told the security log."""

    def __init__(self, client: KernelClient, events: list[SecurityEvent], provider: StubProvider) -> None:
        self.client = client
        self.app = client.app
        self.kernel: Kernel = client.kernel
        self.db = client.db
        self.events = events
        self.provider = provider
        self._browsers: list[Browser] = []

    def browser(self, base_url: str = "http://testserver") -> Browser:
        self._browsers.append(Browser(self.app, base_url))
        return self._browsers[-1]

    async def sign_up(self, email: str = "ada@example.com", *, verified: bool = False) -> dict[str, Any]:
        """An account with a password; its tokens and user."""
        answer = await self.client.post("/auth/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        if verified:
            await self.verify(answer.json()["user"]["id"])
        return answer.json()

    async def verify(self, user_id: str) -> None:
        from app_kernel.core import clock

        await self.db.privileged.save_entity("kernel_users", {"id": user_id, "email_verified_at": clock.now()})

    async def links(self) -> list[dict[str, Any]]:
        return await self.db.privileged.find_entities("kernel_oauth_identities")

    async def sessions(self) -> int:
        return await self.db.privileged.count_entities("kernel_sessions")

    async def users(self) -> int:
        return await self.db.privileged.count_entities("kernel_users")

    def names(self) -> list[str]:
        return [event.name for event in self.events]

    def reasons(self) -> list[str]:
        return [event.detail["reason"] for event in self.events if event.name == "oauth.refused"]

    async def close(self) -> None:
        for browser in self._browsers:
            await browser.close()


def oauth_app(provider: StubProvider, events: list[SecurityEvent], **settings: Any) -> FastAPI:
    probe = Feature(name="probe", listeners={SecurityEvent: lambda kernel, event: events.append(event)})
    given = {
        "jwt_secret": SECRET,
        "database_name": "sqlite://:memory:",
        "allow_self_signup": True,
        "rate_limit_enabled": False,
        "oauth_providers": provider.settings(),
        **settings,
    }
    prefix = given.pop("api_prefix", "")
    return create_service("oauth_tests", config=ServiceConfig(**given), features=[*FEATURES, probe], api_prefix=prefix)


@asynccontextmanager
async def serving(provider: StubProvider, database: str | None = None, **settings: Any) -> AsyncIterator[Service]:
    provider.behave()
    events: list[SecurityEvent] = []
    redis = {} if database is None else redis_beside(database)
    app = oauth_app(provider, events, **redis, **settings)
    options = {} if database is None else {"database": database, **redis}
    async with kernel_client(app, **options) as client:
        service = Service(client, events, provider)
        try:
            yield service
        finally:
            await service.close()
