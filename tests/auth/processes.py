"""A service with auth in processes of its own, and clients of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import httpx2

from tests.auth.serving import PASSWORD, SECRET
from tests.live_server import LiveServer, live_server
from tests.redis_beside import redis_beside

APP = """
import os
import skewed_clock
from app_kernel import ServiceConfig, create_service

many = {"rate_limit_requests": 10**9, "rate_limit_auth_requests": 10**9}
config = ServiceConfig(
    jwt_secret=os.environ["SECRET"],
    database_name=os.environ["PLACE"],
    redis_url=os.environ.get("REDIS") or None,
    jwt_expiry_hours=float(os.environ.get("HOURS", "24")),
    embedded_worker=False,
    allow_self_signup=True,
    **many,
)
app = create_service("auth_tests", config=config)
"""

CLOCK = '''
"""Moves the kernel's clock by what a file says, as if the machine's clock had been set."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import uuid_utils

from app_kernel.core import clock

file = os.environ.get("CLOCK")


class Shifted:
    monotonic = staticmethod(time.monotonic)

    @staticmethod
    def time():
        return time.time() + float(Path(file).read_text())

    @classmethod
    def time_ns(cls):
        return int(cls.time() * 1e9)


def new_id():
    return str(uuid_utils.uuid7(nanoseconds=Shifted.time_ns()))


if file:
    clock._time = Shifted
    clock.now = lambda: datetime.fromtimestamp(Shifted.time(), UTC)
    clock.new_id = new_id
'''


@contextmanager
def auth_process(folder: Path, place: str, *options: str, **variables: str) -> Iterator[LiveServer]:
    """`uvicorn` with the service on the database at `place`."""
    (folder / "main.py").write_text(APP)
    (folder / "skewed_clock.py").write_text(CLOCK)
    path = {"PYTHONPATH": os.environ["PYTHONPATH"]} if "PYTHONPATH" in os.environ else {}
    redis = {"REDIS": redis_beside(place).get("redis_url", "")}
    given = {"SECRET": SECRET, "PLACE": place, **path, **redis, **variables}
    with live_server(folder, "--no-access-log", *options, **given) as server:
        yield server


class Client:
    """Talks to one process."""

    def __init__(self, server: LiveServer, http: httpx2.AsyncClient) -> None:
        self._url = server.url
        self._http = http

    async def call(self, method: str, path: str, token: str | None = None, **options: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        return await self._http.request(method, self._url + path, headers=headers, **options)

    async def sign_in(self, email: str, *, cookie: bool = False) -> Any:
        """The tokens, or the cookies by their names."""
        body = {"email": email, "password": PASSWORD, "cookie": cookie}
        answer = await self.call("POST", "/auth/login", json=body)
        assert answer.status_code == 200, answer.text
        self._http.cookies.clear()  # every request says itself what it carries
        return cookies_of(answer) if cookie else answer.json()

    async def me(self, session: Any) -> int:
        """The status of a request with a session's access token, or its cookies."""
        headers = cookie_headers(session) if "session" in session else {}
        return (await self.call("GET", "/auth/me", session.get("access_token"), headers=headers)).status_code

    async def refresh(self, session: Any) -> httpx2.Response:
        """A refresh with a session's token, or its cookies."""
        if "session" in session:
            answer = await self.call("POST", "/auth/refresh", headers=cookie_headers(session))
        else:
            answer = await self.call("POST", "/auth/refresh", json={"refresh_token": session["refresh_token"]})
        self._http.cookies.clear()
        return answer


def cookies_of(answer: httpx2.Response) -> dict[str, str]:
    """The cookies that an answer sets."""
    return {
        name: morsel.value
        for header in answer.headers.get_list("set-cookie")
        for name, morsel in SimpleCookie(header).items()
    }


def cookie_headers(cookies: dict[str, str]) -> dict[str, str]:
    """What the page of a cookie session sends."""
    header = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return {"Cookie": header, "X-CSRF-Token": cookies["csrf"]}
