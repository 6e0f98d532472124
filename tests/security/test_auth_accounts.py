"""Who gets an account, and that a client never decides more about it than its email, name and password."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import bcrypt
import pytest

from app_kernel.auth import create_user, store
from app_kernel.auth.passwords import needs_rehash
from tests.auth.serving import EMAIL, PASSWORD, Service, serving


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path / "app.db") as running:
        yield running


async def user_row(service: Service, email: str = EMAIL) -> dict:
    row = await store.find_user_row(service.db, "email", email)
    assert row is not None
    return row


FORGED = {
    "id": "chosen",
    "role": "admin",
    "is_admin": True,
    "is_active": False,
    "admin": True,
    "created_by": "chosen",
    "created_at": "2000-01-01T00:00:00.000000Z",
    "updated_by": "chosen",
    "updated_at": "2000-01-01T00:00:00.000000Z",
    "deleted_at": "2000-01-01T00:00:00.000000Z",
    "workspace_id": "chosen",
    "owner_id": "chosen",
    "password_hash": "chosen",
    "password_changed_at": "2000-01-01T00:00:00.000000Z",
    "version": 99,
    "_version": 99,
    "user_id": "chosen",
    "email_verified": True,
}


@pytest.mark.acceptance("AZ5")
@pytest.mark.acceptance("AU13")
async def test_no_route_of_auth_takes_more_than_it_names(service):
    user = await service.sign_up(**FORGED)
    assert (user["user"]["role"], user["user"]["is_active"]) == ("user", True)
    row = await user_row(service)
    login = {"email": EMAIL, "password": PASSWORD, **FORGED}
    token = (await service.call("POST", "/auth/login", json=login)).json()["access_token"]
    assert (
        await service.call("POST", "/auth/token", data={"username": EMAIL, "password": PASSWORD, "role": "admin"})
    ).status_code == 200
    refreshed = await service.call("POST", "/auth/refresh", json={**FORGED, "refresh_token": user["refresh_token"]})
    assert refreshed.json()["user"] == user["user"]
    assert await user_row(service) == row  # none of these writes the account at all
    patched = await service.call("PATCH", "/auth/me", token, json={**FORGED, "name": "Ada", "email": "eve@example.com"})
    assert patched.status_code == 200
    passwords = {"current_password": PASSWORD, "new_password": "river stone under moon"}
    assert (await service.call("POST", "/auth/change-password", token, json={**FORGED, **passwords})).status_code == 204
    after = await user_row(service)
    changed = {name for name in after if after[name] != row[name]}
    assert changed == {"name", "password_hash", "password_changed_at", "updated_at", "updated_by", "_version"}
    assert after["updated_by"] == user["user"]["id"]
    assert not any(str(value) in ("chosen", "admin") or value == 99 for value in after.values())
    sessions = await service.db.privileged.find_entities("kernel_sessions")
    assert {session["user_id"] for session in sessions} == {row["id"]}
    assert "chosen" not in repr(sessions)


@pytest.mark.acceptance("AU13")
@pytest.mark.parametrize(
    "variant",
    [
        "Ada@Example.com",
        " ada@example.com",
        "ADA@EXAMPLE.COM\t",
        "ada@EXAMPLE.com",
        "\uff21da@example.com",
        "ada@\uff45xample.com",
    ],
)
async def test_one_canonical_email_is_one_account(service, variant):
    await service.sign_up()
    answer = await service.call("POST", "/auth/register", json={"email": variant, "password": PASSWORD})
    if variant.startswith("\uff21"):  # another mailbox as far as mail is concerned
        assert answer.json()["user"]["email"] == "\uff41da@example.com"
        return
    if "\t" in variant:
        assert answer.status_code == 422
        return
    assert answer.status_code == 409
    assert answer.json()["detail"] == "An account with this email or username already exists."


@pytest.mark.acceptance("AU13")
async def test_plus_addresses_and_lookalikes_are_accounts_of_their_own(service):
    await service.sign_up()
    for email in ("ada+news@example.com", "\u0430da@example.com", "ada@ex\u0430mple.com"):
        answer = await service.call("POST", "/auth/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code in (201, 422)
    mine = (await service.sign_in()).json()["user"]
    assert mine["email"] == EMAIL


@pytest.mark.acceptance("AU13")
@pytest.mark.parametrize(
    "email",
    ["ada@example.com.", "ada", "ada@", "a@b", "ada\x00@example.com", "ada\n@example.com", "x" * 400, 7, None, ["a"]],
)
async def test_what_is_no_email_is_422(service, email):
    answer = await service.call("POST", "/auth/register", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 422


@pytest.mark.acceptance("AU13")
async def test_of_fifty_registrations_at_once_one_succeeds(service):
    body = {"email": EMAIL, "password": PASSWORD}
    answers = await asyncio.gather(*(service.call("POST", "/auth/register", json=body) for _ in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [201] + [409] * 49
    assert await service.db.privileged.count_entities("kernel_users") == 1


@pytest.mark.acceptance("AU13")
async def test_of_many_accounts_that_want_one_username_one_gets_it(service):
    tokens = [(await service.sign_up(f"user{n}@example.com"))["access_token"] for n in range(5)]
    answers = await asyncio.gather(
        *(
            service.call("PATCH", "/auth/me", token, json={"username": name})
            for token, name in zip(tokens, ["ada", "ADA", "Ada", "aDa", "adA"], strict=True)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 4


@pytest.mark.acceptance("AU14")
@pytest.mark.parametrize(
    "path",
    [
        "/auth/register",
        "/auth/register/",
        "/auth//register",
        "/AUTH/REGISTER",
        "/auth/Register",
        "/auth/register?x=1",
        "//auth/register",
        "/auth/register%2f",
        "/auth/./register",
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "GET", "post"])
async def test_nobody_signs_up_while_sign_up_is_off(tmp_path, path, method):
    async with serving(tmp_path / "app.db", allow_self_signup=False) as service, service.client() as client:
        answer = await client.request(method, path, json={"email": EMAIL, "password": PASSWORD}, follow_redirects=True)
        assert answer.status_code in (403, 404, 405)
        if (method.upper(), path) == ("POST", "/auth/register"):
            assert answer.status_code == 403
        assert await service.db.privileged.count_entities("kernel_users") == 0


@pytest.mark.acceptance("AU14")
async def test_no_route_makes_an_admin(service):
    """The first admin comes from the command line or from code; tests/test_cli.py shows that."""
    paths = [route["path"] for route in ROUTES]
    document = service.app.openapi()["paths"]
    assert {path for path in document if path.startswith("/auth")} == set(paths)
    user = await service.sign_up()
    admin = await create_user(service.db, "root@example.com", PASSWORD, role="admin")
    for route in ROUTES:
        for method in route["methods"]:
            body = {**FORGED, "email": "root@example.com", "password": PASSWORD, "refresh_token": "x" * 50, "name": "x"}
            await service.call(method, route["path"].format(id="x"), user["access_token"], json=body)
    assert (await user_row(service))["role"] == "user"
    assert (await user_row(service, "root@example.com"))["id"] == admin.id


ROUTES = [
    {"path": "/auth/register", "methods": ["POST"]},
    {"path": "/auth/login", "methods": ["POST"]},
    {"path": "/auth/token", "methods": ["POST"]},
    {"path": "/auth/refresh", "methods": ["POST"]},
    {"path": "/auth/me", "methods": ["GET", "PATCH"]},
    {"path": "/auth/sessions", "methods": ["GET"]},
    {"path": "/auth/sessions/{id}", "methods": ["DELETE"]},
    {"path": "/auth/change-password", "methods": ["POST"]},
    {"path": "/auth/logout", "methods": ["POST"]},
    {"path": "/auth/logout-all", "methods": ["POST"]},
    {"path": "/auth/csrf", "methods": ["GET"]},
    {"path": "/auth/forgot-password", "methods": ["POST"]},
    {"path": "/auth/reset-password", "methods": ["POST"]},
    {"path": "/auth/verify-email", "methods": ["POST"]},
    {"path": "/auth/resend-verification", "methods": ["POST"]},
    {"path": "/auth/change-email", "methods": ["POST"]},
    {"path": "/auth/users", "methods": ["GET"]},
    {"path": "/auth/users/{id}", "methods": ["GET", "PATCH", "DELETE"]},
    {"path": "/auth/users/{id}/sessions", "methods": ["DELETE"]},
]


def old_hashes() -> list[str]:
    digest = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), b"pepper", 1000)
    return [
        f"pepper$1000${digest.hex()}",
        f"pepper$1000${base64.b64encode(digest).decode()}",
        bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    ]


@pytest.mark.acceptance("AU9")
@pytest.mark.parametrize("old", old_hashes(), ids=["pbkdf2 hex", "pbkdf2 base64", "bcrypt"])
async def test_an_old_hash_is_replaced_at_the_next_login_and_only_then(service, old):
    user = await service.sign_up()
    await store.update_user(service.db, user["user"]["id"], {"password_hash": old})
    assert (await service.sign_in(password="wrong guess")).status_code == 401
    assert (await user_row(service))["password_hash"] == old
    answers = await asyncio.gather(*(service.sign_in() for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200] * 3
    new = (await user_row(service))["password_hash"]
    assert not needs_rehash(new)
    assert (await service.sign_in()).status_code == 200
    assert (await user_row(service))["password_hash"] == new
    assert await service.accepts(user["access_token"])  # it is the same password: nobody is signed out


@pytest.mark.acceptance("AU9")
@pytest.mark.parametrize("password", ["k" * 4097, "\u00e9" * 2049, "\ufdfa" * 200, "\ud800" + "k" * 20])
async def test_a_password_over_four_kilobytes_is_422_everywhere(service, password):
    user = await service.sign_up()
    token = user["access_token"]
    bodies = {
        "/auth/register": {"email": "eve@example.com", "password": password},
        "/auth/login": {"email": EMAIL, "password": password},
        "/auth/change-password": {"current_password": PASSWORD, "new_password": password},
    }
    if password.startswith("\ufdfa"):  # short enough as sent; only a hash would make it longer
        del bodies["/auth/login"]
    for path, body in bodies.items():
        content = json.dumps(body)
        answer = await service.call("POST", path, token, content=content, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, path
        assert password[:20] not in answer.text


@pytest.mark.acceptance("AU9")
@pytest.mark.parametrize("password", ["k" * 72 + "tail", "nul\x00inside it", "caf\u00e9 au lait", "k" * 4096])
async def test_unusual_passwords_work_whole(service, password):
    await service.sign_up("odd@example.com", password)
    assert (await service.sign_in("odd@example.com", password)).status_code == 200
    assert (await service.sign_in("odd@example.com", password[:-1])).status_code == 401


@pytest.mark.acceptance("AU12")
@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "at least 8"),
        ("password1", "most common"),
        ("auth_tests1", "name of the service"),
        ("ada12345678", "name of the service"),
    ],
)
async def test_production_refuses_weak_passwords_with_the_reason(tmp_path, password, reason, capsys):
    settings = {"environment": "production", "cors_origins": ["https://app.example.com"]}
    async with serving(tmp_path / "app.db", **settings) as service:
        answer = await service.call("POST", "/auth/register", json={"email": EMAIL, "password": password})
        assert answer.status_code == 422
        assert reason in answer.json()["detail"]
        token = (await service.sign_up())["access_token"]
        body = {"current_password": PASSWORD, "new_password": password}
        assert (await service.call("POST", "/auth/change-password", token, json=body)).status_code == 422
        assert (
            await service.call("POST", "/auth/register", json={"email": "a@shop.test", "password": PASSWORD})
        ).status_code == 422
    async with serving(tmp_path / "development.db") as service:
        answer = await service.call("POST", "/auth/register", json={"email": EMAIL, "password": password})
        assert answer.status_code == (422 if password == "short" else 201)
        assert password == "short" or "weak_password_accepted" in capsys.readouterr().out
