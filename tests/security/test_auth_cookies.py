"""Sessions in cookies: what another site's page can make a browser send changes nothing."""

import json
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, WebSocket

from app_kernel import create_service
from app_kernel.auth import get_current_user, get_current_user_optional
from app_kernel.auth.issuer import Issuer
from app_kernel.core import clock
from tests.auth.serving import EMAIL, PASSWORD, SECRET, Postbox, Service, serving, settings_of
from tests.conformance.backends import Place

EVIL = "https://evil.example"
EVE = "eve@example.com"


def routes() -> APIRouter:
    router = APIRouter()

    @router.post("/things")
    async def post_thing(user: Any = Depends(get_current_user)) -> dict[str, str]:
        return {"by": user.id}

    @router.post("/open")
    async def post_open(user: Any = Depends(get_current_user_optional)) -> dict[str, Any]:
        return {"by": user and user.id}

    @router.websocket("/live")
    async def live(socket: WebSocket, user: Any = Depends(get_current_user)) -> None:
        await socket.accept()
        await socket.send_text(user.id)
        await socket.close()

    return router


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Service]:
    async with serving(place.url, routers=[routes()], cors_origins=["https://app.example.com"]) as running:
        yield running


@pytest.fixture
async def light(tmp_path: Any) -> AsyncIterator[Service]:
    """On SQLite alone, for what no database has a part in."""
    async with serving(tmp_path / "app.db", routers=[routes()], cors_origins=["https://app.example.com"]) as running:
        yield running


class Browser:
    """Cookies of one browser, and what its own page would send with them."""

    def __init__(self, service: Service, answer: httpx2.Response) -> None:
        self.service = service
        self.cookies: dict[str, str] = {}
        self.take(answer)

    def take(self, answer: httpx2.Response) -> httpx2.Response:
        for header in answer.headers.get_list("set-cookie"):
            for name, morsel in SimpleCookie(header).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return answer

    def header(self, *names: str) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items() if not names or name in names)

    async def send(self, method: str, path: str, *, csrf: str | None = "", **options: Any) -> httpx2.Response:
        """As the own page would; `csrf` None leaves the header out, and other text takes its place."""
        headers = {"Cookie": self.header(), **options.pop("headers", {})}
        if csrf is not None:
            headers["X-CSRF-Token"] = csrf or self.cookies.get("csrf", "")
        return self.take(await self.service.call(method, path, headers=headers, **options))


async def browser(service: Service, email: str = EMAIL, **headers: str) -> Browser:
    body = {"email": email, "password": PASSWORD, "cookie": True}
    return Browser(service, await service.call("POST", "/auth/register", json=body, headers=headers))


async def test_a_page_signs_in_works_refreshes_and_signs_out_with_cookies(service):
    ada = await browser(service)
    assert set(ada.cookies) == {"session", "refresh", "csrf"}
    assert (await ada.send("GET", "/auth/me", csrf=None)).json()["email"] == EMAIL
    answer = await ada.send("GET", "/auth/csrf", csrf=None)
    assert answer.json() == {"csrf_token": ada.cookies["csrf"]}
    assert (await ada.send("POST", "/things")).status_code == 200
    before = dict(ada.cookies)
    refreshed = await ada.send("POST", "/auth/refresh")
    assert (refreshed.status_code, refreshed.json()["token_type"]) == (200, "cookie")
    assert "access_token" not in refreshed.text
    assert "refresh_token" not in refreshed.text
    assert ada.cookies["refresh"] != before["refresh"]
    assert ada.cookies["csrf"] == before["csrf"]
    out = await ada.send("POST", "/auth/logout")
    assert out.status_code == 204
    assert ada.cookies == {}
    ada.cookies = before
    assert (await ada.send("GET", "/auth/me")).status_code == 401
    assert (await ada.send("POST", "/auth/refresh")).status_code == 401


async def test_signing_in_with_cookies_puts_no_token_into_the_answer(light):
    body = {"email": EMAIL, "password": PASSWORD, "cookie": True}
    await light.call("POST", "/auth/register", json=body)
    answer = await light.call("POST", "/auth/login", json=body)
    assert set(answer.json()) == {"token_type", "csrf_token", "expires_in", "user"}
    cookies = {
        name: morsel
        for header in answer.headers.get_list("set-cookie")
        for name, morsel in SimpleCookie(header).items()
    }
    for name in ("session", "refresh"):
        assert cookies[name].value not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert not (await light.sign_in()).headers.get_list("set-cookie")


@pytest.mark.parametrize("tls", [True, False])
async def test_cookies_are_out_of_reach_of_scripts_and_bound_to_the_host_with_tls(tmp_path, tls):
    settings = {"public_url": "https://api.example.com"} if tls else {}
    async with serving(tmp_path / "app.db", **settings) as service:
        answer = await service.call(
            "POST", "/auth/register", json={"email": EMAIL, "password": PASSWORD, "cookie": True}
        )
        headers = answer.headers.get_list("set-cookie")
        found = {name: morsel for header in headers for name, morsel in SimpleCookie(header).items()}
        names = ("__Host-session", "__Secure-refresh", "__Host-csrf") if tls else ("session", "refresh", "csrf")
        assert set(found) == set(names)
        session, refresh, csrf = (found[name] for name in names)
        assert [bool(each["secure"]) for each in (session, refresh, csrf)] == [tls] * 3
        assert [bool(each["httponly"]) for each in (session, refresh, csrf)] == [True, True, False]
        assert [each["samesite"] for each in (session, refresh, csrf)] == ["Lax", "Strict", "Lax"]
        assert [each["path"] for each in (session, refresh, csrf)] == ["/", "/auth", "/"]
        assert [each["domain"] for each in (session, refresh, csrf)] == [""] * 3
        assert int(session["max-age"]) == answer.json()["expires_in"] == 86_400
        assert 30 * 86_400 - 5 <= int(refresh["max-age"]) <= 30 * 86_400


async def test_the_refresh_cookie_follows_the_prefix_of_the_service(tmp_path):
    app = create_service("prefixed", config=settings_of(tmp_path / "app.db"), api_prefix="/api")
    async with app.router.lifespan_context(app):
        service = Service(app, [], Postbox())
        body = {"email": EMAIL, "password": PASSWORD, "cookie": True}
        answer = await service.call("POST", "/api/auth/register", json=body)
        assert any(
            "refresh=" in header and "Path=/api/auth;" in header for header in answer.headers.get_list("set-cookie")
        )


WRITES = [
    ("POST", "/auth/logout", None),
    ("POST", "/auth/logout-all", None),
    ("POST", "/auth/refresh", None),
    ("POST", "/auth/change-password", {"current_password": PASSWORD, "new_password": "river stone under moon"}),
    ("POST", "/auth/change-email", {"new_email": EVE, "password": PASSWORD}),
    ("PATCH", "/auth/me", {"name": "Mallory"}),
    ("DELETE", "/auth/me", {"password": PASSWORD}),
    ("DELETE", "/auth/sessions/{session}", None),
    ("POST", "/things", {}),
]


async def snapshot(service: Service) -> list[Any]:
    tables = ("kernel_users", "kernel_sessions", "kernel_email_tokens")
    return [await service.db.privileged.find_entities(table, order_by="[id]") for table in tables]


async def test_the_refresh_cookie_goes_where_browsers_see_the_routes(tmp_path):
    """Behind a proxy that strips a prefix, as public_url says it, and under a mount."""
    async with serving(tmp_path / "app.db", public_url="https://example.com/backend") as service:
        answer = await service.call(
            "POST", "/auth/register", json={"email": EMAIL, "password": PASSWORD, "cookie": True}
        )
        assert "Path=/backend/auth;" in answer.headers["set-cookie"]
    async with serving(tmp_path / "mounted.db") as service:
        outer = FastAPI()
        outer.mount("/inner", service.app)
        transport = httpx2.ASGITransport(app=outer)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            body = {"email": EMAIL, "password": PASSWORD, "cookie": True}
            made = await client.post("/inner/auth/register", json=body)
            assert "Path=/inner/auth;" in made.headers["set-cookie"]
            headers = {"X-CSRF-Token": made.json()["csrf_token"]}
            assert (await client.post("/inner/auth/refresh", headers=headers)).status_code == 200


async def test_a_reloaded_page_goes_on_after_its_access_token_ran_out(tmp_path):
    async with serving(tmp_path / "app.db", jwt_expiry_hours=1) as service, service.client() as page:
        made = await page.post("/auth/register", json={"email": EMAIL, "password": PASSWORD, "cookie": True})
        page.cookies.delete(service.kernel.port(Issuer).cookies.session)  # as browsers do after Max-Age
        token = (await page.get("/auth/csrf")).json()["csrf_token"]
        assert token == made.json()["csrf_token"]
        assert (await page.post("/auth/logout")).status_code == 403
        assert (await page.post("/auth/refresh", headers={"X-CSRF-Token": token})).status_code == 200
        page.cookies.delete(service.kernel.port(Issuer).cookies.session)
        assert (await page.post("/auth/logout", headers={"X-CSRF-Token": token})).status_code == 204
        assert (await page.get("/auth/csrf")).status_code == 401


async def test_without_this_sessions_csrf_token_nothing_changes(service):
    ada, eve = await browser(service), await browser(service, EVE)
    session = (await ada.send("GET", "/auth/sessions")).json()[0]["id"]
    before = await snapshot(service)
    own = ada.cookies["csrf"]
    wrong: dict[str, Any] = {
        "missing": None,
        "another session's": eve.cookies["csrf"],
        "no token": "x",
        "cut": own[:-1],
        "in capitals": own.upper(),
        "longer": own + "0",
        "the session's id": session,
    }
    kept = dict(ada.cookies)
    for what, csrf in wrong.items():
        for method, path, body in WRITES:
            answer = await ada.send(method, path.format(session=session), csrf=csrf, json=body)
            assert answer.status_code == 403, (what, method, path, answer.text)
            assert ada.cookies == kept
    for method, path, body in WRITES:
        twice = [("Cookie", ada.header()), ("X-CSRF-Token", own), ("X-CSRF-Token", own)]
        answer = await service.call(method, path.format(session=session), headers=twice, json=body)
        assert answer.status_code == 403, path
        anywhere = {"params": {"csrf": own, "X-CSRF-Token": own}, "json": body}
        assert (await ada.send(method, path.format(session=session), csrf=None, **anywhere)).status_code == 403
    assert await snapshot(service) == before
    assert "auth.csrf_refused" in service.names()
    assert (await ada.send("PATCH", "/auth/me", json={"name": "Ada"})).status_code == 200


FOREIGN = (
    EVIL,
    "null",
    "http://testserver.evil.example",
    "http://evil.example/service",
    "https://app.example.com.evil.example",
    "http://[",
    "http://testserver:81",
    "",
    "https://app.example.com:8443",
    "file://",
)


async def test_a_page_of_another_origin_changes_nothing_even_with_the_token(light):
    ada = await browser(light)
    before = await snapshot(light)
    signing_in = {"email": EMAIL, "password": PASSWORD, "cookie": True}
    for origin in FOREIGN:
        for method, path, body in WRITES:
            answer = await ada.send(method, path.format(session="x"), headers={"Origin": origin}, json=body)
            assert answer.status_code == 403, (origin, path, answer.text)
        for path in ("/auth/login", "/auth/register"):
            answer = await light.call("POST", path, json=signing_in, headers={"Origin": origin})
            assert answer.status_code == 403, (origin, path)
            assert not answer.headers.get_list("set-cookie")
    assert await snapshot(light) == before
    for own in ("http://testserver", "https://testserver", "https://app.example.com"):
        assert (await ada.send("POST", "/things", headers={"Origin": own})).status_code == 200, own


async def test_reading_needs_no_csrf_token_and_an_open_route_sees_nobody(light):
    ada = await browser(light)
    for path in ("/auth/me", "/auth/sessions", "/auth/csrf"):
        for method in ("GET", "HEAD"):
            status = (await ada.send(method, path, csrf=None, headers={"Origin": EVIL})).status_code
            assert status == (200 if method == "GET" else 405), (method, path)
    # A request that cannot be told from another site's is refused, not taken for an anonymous one.
    assert (await ada.send("POST", "/open", csrf=None)).status_code == 403
    assert (await ada.send("POST", "/open")).json()["by"] is not None


async def test_what_a_form_of_another_site_can_send_is_no_json(light):
    await light.sign_up()
    body = json.dumps({"email": EMAIL, "password": PASSWORD, "cookie": True})
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; x=application/json",
    ):
        for path in ("/auth/login", "/auth/register"):
            answer = await light.call("POST", path, content=body, headers={"Content-Type": kind})
            assert answer.status_code in (415, 422), (kind, path)
            assert not answer.headers.get_list("set-cookie")
    form = {"username": EMAIL, "password": PASSWORD, "cookie": "true"}
    answer = await light.call("POST", "/auth/token", data=form, headers={"Origin": EVIL})
    assert not answer.headers.get_list("set-cookie")


async def test_a_cookie_that_comes_twice_is_nobodys(light):
    ada, eve = await browser(light), await browser(light, EVE)
    for first, second in ((ada, eve), (eve, ada), (ada, ada)):
        both = f"{first.header('session')}; {second.header('session')}"
        assert (await light.call("GET", "/auth/me", headers={"Cookie": both})).status_code == 401
        apart = [("Cookie", first.header("session")), ("Cookie", second.header("session"))]
        assert (await light.call("GET", "/auth/me", headers=apart)).status_code == 401
        both = f"{first.header('refresh')}; {second.header('refresh')}"
        headers = {"Cookie": both, "X-CSRF-Token": first.cookies["csrf"]}
        assert (await light.call("POST", "/auth/refresh", headers=headers)).status_code == 401


async def test_the_authorization_header_comes_before_the_cookie(light):
    ada = await browser(light)
    eve = await light.sign_up(EVE)
    headers = {"Cookie": ada.header(), "Authorization": f"Bearer {eve['access_token']}"}
    assert (await light.call("GET", "/auth/me", headers=headers)).json()["email"] == EVE
    assert (await light.call("POST", "/things", headers=headers)).json()["by"] == eve["user"]["id"]
    headers["Authorization"] = "Bearer nonsense"
    assert (await light.call("GET", "/auth/me", headers=headers)).status_code == 401


async def test_a_cookie_session_that_was_ended_clears_nothing_but_is_refused(service):
    with clock.frozen() as time:
        ada = await browser(service)
        first = dict(ada.cookies)
        await ada.send("POST", "/auth/refresh")
        time.advance(11)
        later = dict(ada.cookies)
        ada.cookies = first
        assert (await ada.send("POST", "/auth/refresh")).status_code == 401
        ada.cookies = later
        assert (await ada.send("GET", "/auth/me")).status_code == 401
        assert (await ada.send("POST", "/auth/refresh")).status_code == 401
    assert "auth.refresh_reused" in service.names()


async def open_socket(service: Service, headers: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """What the service sends to who opens a WebSocket with these headers."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"} if not sent else {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "websocket",
        "path": "/live",
        "raw_path": b"/live",
        "query_string": b"",
        "scheme": "ws",
        "headers": [(b"host", b"testserver"), *((name.encode(), value.encode()) for name, value in headers)],
        "client": ("192.0.2.1", 40000),
        "server": ("testserver", 80),
        "subprotocols": [],
        "state": {},
        "extensions": {},
    }
    await service.app(scope, receive, send)
    return sent


async def test_a_websocket_opens_with_cookies_from_an_own_page_only(light):
    ada = await browser(light)
    cookie = ("cookie", ada.header())
    for origins in ([EVIL], ["null"], [], ["http://["]):
        sent = await open_socket(light, [cookie, *(("origin", origin) for origin in origins)])
        assert "websocket.accept" not in [message["type"] for message in sent], origins
    for origin in ("http://testserver", "https://app.example.com"):
        sent = await open_socket(light, [cookie, ("origin", origin)])
        assert [message["type"] for message in sent][:2] == ["websocket.accept", "websocket.send"], origin
    token = (await light.sign_in()).json()["access_token"]
    sent = await open_socket(light, [("authorization", f"Bearer {token}"), ("origin", EVIL)])
    assert sent[0]["type"] == "websocket.accept"  # no browser sends that header by itself


@pytest.mark.parametrize("origin", [EVIL, "https://app.example.com", "http://app.example.com"])
async def test_only_named_origins_may_send_cookies_across_origins(light, origin):
    named = origin == "https://app.example.com"
    for method in ("GET", "OPTIONS"):
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-csrf-token",
        }
        answer = await light.call(method, "/auth/csrf", headers=asked)
        assert answer.headers.get("access-control-allow-origin") == (origin if named else None)
        assert (answer.headers.get("access-control-allow-credentials") == "true") is named or not named


async def test_where_every_origin_may_read_none_may_send_cookies(tmp_path):
    async with serving(tmp_path / "app.db", cors_origins=["*"]) as service:
        for method in ("GET", "OPTIONS"):
            answer = await service.call(
                method, "/auth/me", headers={"Origin": EVIL, "Access-Control-Request-Method": "POST"}
            )
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
        ada = await browser(service)
        assert (await ada.send("POST", "/auth/logout", headers={"Origin": EVIL})).status_code == 403


@pytest.mark.acceptance("AU5")
async def test_a_rotated_secret_ends_no_cookie_session_until_the_old_one_is_removed(place):
    new = "second-secret-of-the-tests-0123456789abcdef"
    async with serving(place.url) as before:
        ada, eve = await browser(before), await browser(before, EVE)
    async with serving(place.url, jwt_secret=new, jwt_secret_previous=SECRET) as during:
        ada.service = eve.service = during
        old = ada.cookies["csrf"]
        assert (await ada.send("PATCH", "/auth/me", json={"name": "Ada"})).status_code == 200
        assert (await ada.send("POST", "/auth/refresh")).status_code == 200
        assert ada.cookies["csrf"] != old
        assert (await ada.send("PATCH", "/auth/me", csrf=old, json={"name": "A"})).status_code == 200
    async with serving(place.url, jwt_secret=new) as after:
        ada.service = eve.service = after
        assert (await ada.send("PATCH", "/auth/me", json={"name": "Ada"})).status_code == 200
        assert (await ada.send("PATCH", "/auth/me", csrf=old, json={"name": "A"})).status_code == 403
        assert (await eve.send("GET", "/auth/me")).status_code == 401
        assert (await eve.send("POST", "/auth/refresh")).status_code in (401, 403)
