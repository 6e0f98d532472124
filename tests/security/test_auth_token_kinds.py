"""Every kind of credential at every place that takes another kind: refused everywhere but at its own."""

import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from http.cookies import SimpleCookie
from itertools import permutations
from typing import Any

import pytest
from fastapi import APIRouter, Depends, Request

from app_kernel.api_keys import create_api_key, create_combined_auth
from app_kernel.auth.email_tokens import PREFIXES, Purpose, new_email_token
from app_kernel.auth.store import insert_email_token
from app_kernel.core import clock
from app_kernel.core.errors import NotAuthenticated
from app_kernel.db import get_db_connection
from app_kernel.oauth.store import insert_code
from app_kernel.oauth.ticket import hash_of
from tests.auth.serving import EMAIL, NEW_PASSWORD, PASSWORD, Service, serving
from tests.conformance.backends import Place

METRICS_TOKEN = "metrics-token-of-the-tests-0123456789abcdef"
VERIFIER = "v" * 64
PURPOSES: tuple[Purpose, ...] = ("verify", "change", "reset", "choose")
KINDS = ("access", "refresh", "csrf", *PURPOSES, "api key", "one-time code", "metrics")
PAGE = "https://app.example.com/signed-in"


async def nobody(request: Request) -> Any:
    raise NotAuthenticated


def keys_only() -> APIRouter:
    router = APIRouter()
    auth = create_combined_auth(get_db_connection, nobody)

    @router.get("/by-key")
    async def by_key(who: Any = Depends(auth)) -> str:
        return str(who.type)

    return router


class Places:
    """Where each kind is accepted, and one credential of each kind of one account."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.tokens: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self.user_id = ""
        self.places: dict[str, list[Callable[[str], Awaitable[int]]]] = {
            "access": [self.bearer, self.session_cookie],
            "refresh": [self.refresh_body, self.refresh_cookie],
            "csrf": [self.csrf_header],
            "verify": [self.verify_link],
            "change": [self.verify_link],
            "reset": [self.reset_link],
            "choose": [self.reset_link],
            "api key": [self.key_route],
            "one-time code": [self.exchange],
            "metrics": [self.metrics],
        }

    async def make(self) -> None:
        body = {"email": EMAIL, "password": PASSWORD, "cookie": True}
        answer = await self.service.call("POST", "/auth/register", json=body)
        for header in answer.headers.get_list("set-cookie"):
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(header).items()}
        self.user_id = answer.json()["user"]["id"]
        tokens = (await self.service.sign_in()).json()
        db = self.service.db
        self.tokens = {"access": tokens["access_token"], "refresh": tokens["refresh_token"]}
        self.tokens["csrf"] = self.cookies["csrf"]
        self.tokens |= {purpose: await self.link(purpose) for purpose in PURPOSES}
        self.tokens["api key"] = (await create_api_key(db, self.user_id, name="all"))["key"]
        self.tokens["one-time code"] = "one-time-code-of-the-tests"
        challenge = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
        values = {"user_id": self.user_id, "provider": "github", "challenge": challenge, "browser": hash_of("half")}
        await insert_code(db, {**values, "hash": hash_of(self.tokens["one-time code"])}, 60)
        self.tokens["metrics"] = METRICS_TOKEN

    async def link(self, purpose: Purpose) -> str:
        token, later = new_email_token(purpose), clock.now().replace(year=2100)
        email = "new@example.com" if purpose == "change" else EMAIL
        row = {"purpose": purpose, "user_id": self.user_id, "email": email, "expires_at": later, "used_at": None}
        await insert_email_token(self.service.db, {**row, "token_hash": token.token_hash})
        return token.text

    async def status(self, method: str, path: str, **options: Any) -> int:
        return (await self.service.call(method, path, **options)).status_code

    async def bearer(self, token: str) -> int:
        return await self.status("GET", "/auth/me", headers={"Authorization": f"Bearer {token}"})

    async def session_cookie(self, token: str) -> int:
        return await self.status("GET", "/auth/me", headers={"Cookie": f"session={token}"})

    async def refresh_body(self, token: str) -> int:
        return await self.status("POST", "/auth/refresh", json={"refresh_token": token})

    async def refresh_cookie(self, token: str) -> int:
        headers = {"Cookie": f"refresh={token}", "X-CSRF-Token": self.cookies["csrf"]}
        if token == self.tokens["refresh"]:  # of the other session, whose CSRF token was never given to a page
            headers["Cookie"] = f"refresh={self.cookies['refresh']}"
        return await self.status("POST", "/auth/refresh", headers=headers)

    async def csrf_header(self, token: str) -> int:
        headers = {"Cookie": f"session={self.cookies['session']}", "X-CSRF-Token": token}
        return await self.status("PATCH", "/auth/me", headers=headers, json={"name": "changed"})

    async def verify_link(self, token: str) -> int:
        headers = {"Authorization": f"Bearer {self.tokens['access']}"}
        return await self.status("POST", "/auth/verify-email", headers=headers, json={"token": token})

    async def reset_link(self, token: str) -> int:
        return await self.status("POST", "/auth/reset-password", json={"token": token, "new_password": NEW_PASSWORD})

    async def key_route(self, token: str) -> int:
        return await self.status("GET", "/by-key", headers={"Authorization": f"Bearer {token}"})

    async def exchange(self, token: str) -> int:
        return await self.status("POST", "/auth/oauth/exchange", json={"code": token, "code_verifier": VERIFIER})

    async def metrics(self, token: str) -> int:
        return await self.status("GET", "/metrics", headers={"Authorization": f"Bearer {token}"})


REFUSED = {
    **dict.fromkeys(("bearer", "session_cookie", "refresh_body", "refresh_cookie", "key_route"), (401,)),
    **dict.fromkeys(("verify_link", "reset_link"), (400,)),
    "exchange": (400, 422),
    "csrf_header": (403,),
    "metrics": (401, 403),
}
"""By place; nowhere else does a refusal look like a server's failure."""


@pytest.fixture
async def places(place: Place) -> AsyncIterator[Places]:
    github = {"github": {"client_id": "id", "client_secret": "github-secret-of-the-tests"}}
    async with serving(
        place.url,
        routers=[keys_only()],
        metrics_token=METRICS_TOKEN,
        oauth_providers=github,
        oauth_redirect_urls=[PAGE],
        public_url="http://testserver",
    ) as service:
        places = Places(service)
        await places.make()
        yield places


@pytest.mark.acceptance("AU3")
async def test_no_kind_passes_for_another_at_any_place(places):
    assert set(places.tokens) == set(KINDS) == set(places.places)
    pairs, accepted = 0, {}
    for kind, other in permutations(KINDS, 2):
        token = places.tokens[kind]
        if kind in PREFIXES and places.places[kind] == places.places[other]:
            # Both are taken there: what must not count is a link of one purpose that says it is for the other.
            token = PREFIXES[other] + token[3:]  # type: ignore[index]
        for place in places.places[other]:
            status = await place(token)
            if status not in REFUSED[place.__name__]:
                accepted[kind, other, place.__name__] = status
        pairs += 1
    assert accepted == {}
    assert pairs == len(KINDS) * (len(KINDS) - 1) == 90
    row = await places.service.user_row()
    assert (row["email"], row["name"], row["email_verified_at"]) == (EMAIL, None, None)
    # Each of them is still good where it belongs, so that what was refused above was refused for its kind.
    own = {"access": "bearer", "metrics": "metrics", "api key": "key_route", "one-time code": "exchange"}
    for kind, name in own.items():
        assert await getattr(places, name)(places.tokens[kind]) == 200, kind
    assert await places.session_cookie(places.cookies["session"]) == 200
    assert await places.csrf_header(places.tokens["csrf"]) == 200
    assert await places.refresh_body(places.tokens["refresh"]) == 200
    assert await places.refresh_cookie(places.tokens["refresh"]) == 200
    assert await places.verify_link(places.tokens["verify"]) == 200
    assert await places.reset_link(places.tokens["choose"]) == 204
    places.tokens["access"] = (await places.service.sign_in(password=NEW_PASSWORD)).json()["access_token"]
    assert await places.verify_link(await places.link("change")) == 200
