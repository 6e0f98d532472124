"""What admins do to accounts, that nobody else can, and that no body of a request says more than it may."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app_kernel.auth import create_user
from app_kernel.encryption import key_ring
from tests.auth.serving import EMAIL, NEW_PASSWORD, PASSWORD, SECRET, Service, serving, settings_of
from tests.conformance.backends import Place
from tests.security.test_auth_accounts import FORGED

ROOT = "root@example.com"


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Service]:
    async with serving(place.url) as running:
        yield running


async def admin_of(service: Service) -> dict[str, Any]:
    await create_user(service.db, ROOT, PASSWORD, role="admin")
    answer = await service.sign_in(ROOT)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.acceptance("AZ4")
async def test_what_an_admin_does_to_an_account_counts_at_once(service):
    root = (await admin_of(service))["access_token"]
    ada = await service.sign_up()
    path = f"/auth/users/{ada['user']['id']}"
    assert (await service.call("GET", "/auth/users", ada["access_token"])).status_code == 403
    promoted = await service.call("PATCH", path, root, json={"role": "admin"})
    assert (promoted.status_code, promoted.json()["role"]) == (200, "admin")
    assert (await service.call("GET", "/auth/users", ada["access_token"])).status_code == 200
    await service.call("PATCH", path, root, json={"role": "user"})
    assert (await service.call("GET", "/auth/users", ada["access_token"])).status_code == 403
    assert (await service.call("DELETE", f"{path}/sessions", root)).status_code == 204
    assert not await service.accepts(ada["access_token"])
    assert (await service.post("refresh", refresh_token=ada["refresh_token"])).status_code == 401
    ada = (await service.sign_in()).json()
    assert (await service.call("PATCH", path, root, json={"is_active": False})).json()["is_active"] is False
    assert not await service.accepts(ada["access_token"])
    assert (await service.sign_in()).status_code == 401
    assert (await service.call("PATCH", path, root, json={"is_active": True})).status_code == 200
    assert not await service.accepts(ada["access_token"])  # what was ended stays ended
    ada = (await service.sign_in()).json()
    assert (await service.call("DELETE", path, root)).status_code == 204
    assert not await service.accepts(ada["access_token"])
    assert (await service.post("refresh", refresh_token=ada["refresh_token"])).status_code == 401
    assert (await service.call("GET", path, root)).status_code == 404
    told = [(event.name, event.actor_id) for event in service.events if event.user_id == ada["user"]["id"]]
    root_id = (await service.user_row(ROOT))["id"]
    for name in ("auth.role_changed", "auth.logout_all", "auth.deactivated", "auth.activated", "auth.deleted"):
        assert (name, root_id) in told


@pytest.mark.acceptance("AZ4")
async def test_an_admin_who_is_no_admin_any_more_can_do_nothing(service):
    root = await admin_of(service)
    other = await create_user(service.db, "other@example.com", PASSWORD, role="admin")
    mine = (await service.sign_in("other@example.com")).json()["access_token"]
    path = f"/auth/users/{other.id}"
    assert (await service.call("PATCH", path, root["access_token"], json={"role": "user"})).status_code == 200
    victim = f"/auth/users/{root['user']['id']}"
    for method, target in (
        ("GET", "/auth/users"),
        ("GET", victim),
        ("PATCH", victim),
        ("DELETE", victim),
        ("DELETE", f"{victim}/sessions"),
    ):
        answer = await service.call(method, target, mine, json={"role": "user", "is_active": False})
        assert answer.status_code == 403, (method, target)
    assert await service.accepts(root["access_token"])
    assert (await service.user_row(ROOT))["role"] == "admin"


async def test_an_admins_own_account_is_another_admins_to_change(service):
    root = await admin_of(service)
    path = f"/auth/users/{root['user']['id']}"
    for method, body in (("PATCH", {"role": "user"}), ("PATCH", {"is_active": False}), ("DELETE", None)):
        assert (await service.call(method, path, root["access_token"], json=body)).status_code == 403
    assert await service.accepts(root["access_token"])


@pytest.mark.acceptance("AZ5")
async def test_an_admin_changes_role_and_activity_and_nothing_else(service):
    root = (await admin_of(service))["access_token"]
    ada = await service.sign_up()
    before = await service.user_row()
    path = f"/auth/users/{ada['user']['id']}"
    forged = {name: value for name, value in FORGED.items() if name not in ("role", "is_active")}
    forged |= {"email": "eve@example.com", "username": "eve", "name": "Eve", "email_verified_at": "2000-01-01"}
    assert (await service.call("PATCH", path, root, json=forged)).status_code == 200
    assert await service.user_row() == before
    assert (await service.call("PATCH", path, root, json={**forged, "role": "editor"})).status_code == 200
    after = await service.user_row()
    assert {name for name in after if after[name] != before[name]} == {"role", "updated_at", "updated_by", "_version"}
    for wrong in (
        {"role": 7},
        {"role": ["admin"]},
        {"role": "a b"},
        {"role": ""},
        {"is_active": "no"},
        {"is_active": 0},
    ):
        assert (await service.call("PATCH", path, root, json=wrong)).status_code == 422, wrong
    assert await service.user_row() == after
    listed = (await service.call("GET", "/auth/users", root)).json()
    assert "password_hash" not in repr(listed)
    assert [user["email"] for user in listed] == [ROOT, EMAIL]


@pytest.mark.acceptance("AZ5")
async def test_no_route_of_mailed_links_takes_more_than_it_names(service):
    ada = await service.sign_up()
    before = await service.user_row()
    forged = {**FORGED, "purpose": "reset", "expires_at": "2100-01-01", "email_verified_at": "2000-01-01"}
    for path in ("forgot-password", "resend-verification"):
        assert (await service.post(path, email=EMAIL, **forged)).status_code == 202
    reset, verify = [mail.token for mail in await service.mails()]
    await service.post("change-email", ada["access_token"], new_email="new@example.com", password=PASSWORD, **forged)
    (change,) = await service.mails()
    assert await service.user_row() == before
    rows = await service.db.privileged.find_entities("kernel_email_tokens")
    assert {row["user_id"] for row in rows} == {ada["user"]["id"]}
    assert not any("chosen" in repr(row) or "2100" in repr(row["expires_at"]) for row in rows)
    assert (await service.post("verify-email", ada["access_token"], token=verify, **forged)).status_code == 200
    assert (await service.post("reset-password", token=reset, new_password=NEW_PASSWORD, **forged)).status_code == 204
    assert (await service.post("verify-email", token=change.token, password=NEW_PASSWORD)).status_code == 400
    again = {"email": EMAIL, "password": NEW_PASSWORD, "cookie": False, **forged}
    assert (await service.call("POST", "/auth/login", json=again)).status_code == 200
    after = await service.user_row()
    changed = {name for name in after if after[name] != before[name]}
    assert changed - {"updated_at", "updated_by", "_version"} == {
        "password_hash",
        "password_changed_at",
        "email_verified_at",
    }
    assert "chosen" not in repr(after)


async def test_any_text_is_no_account(service):
    root = (await admin_of(service))["access_token"]
    for id in ("%00", "%ED%A0%80", "%FF", "x" * 3000, "%27%20OR%201=1", "0", "-1", "me"):
        for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("DELETE", "/sessions")):
            answer = await service.call(method, f"/auth/users/{id}{path}", root, json={"role": "user"})
            assert answer.status_code in (404, 422), (id, method, path)
    for email in ("\x00", "' OR 1=1 --", "%", "x" * 300, "\ud7ff"):
        answer = await service.call("GET", "/auth/users", root, params={"email": email})
        assert (answer.status_code, answer.json() if answer.status_code == 200 else []) in ((200, []), (422, []))


async def test_accounts_are_found_by_address_and_page_by_page(service):
    root = (await admin_of(service))["access_token"]
    for n in range(3):
        await create_user(service.db, f"user{n}@example.com", None)
    found = await service.call("GET", "/auth/users", root, params={"email": " USER1@example.com"})
    assert [user["email"] for user in found.json()] == ["user1@example.com"]
    pages = [
        (await service.call("GET", "/auth/users", root, params={"limit": 2, "offset": offset})).json()
        for offset in (0, 2, 4)
    ]
    assert [len(page) for page in pages] == [2, 2, 0]
    assert len({user["id"] for page in pages for user in page}) == 4


@pytest.mark.acceptance("AU5")
async def test_a_link_asked_for_under_the_old_encryption_key_is_mailed_under_the_new_one(place):
    old, new = "old-encryption-key-of-the-tests-0123456789", "new-encryption-key-of-the-tests-0123456789"
    async with serving(place.url, encryption_key=old) as before:
        await before.sign_up()
        await before.post("forgot-password", email=EMAIL)
    async with serving(place.url, encryption_key=new, encryption_key_previous=old) as during:
        (sent,) = await during.mails()
        assert sent.to == EMAIL
        answer = await during.post("reset-password", token=sent.token, new_password=NEW_PASSWORD)
        assert answer.status_code == 204
    sealed = key_ring(settings_of(":memory:", encryption_key=old)).seal("auth mail", b"x")
    assert (
        key_ring(settings_of(":memory:", encryption_key=new, encryption_key_previous=old)).unseal("auth mail", sealed)
        == b"x"
    )
    assert SECRET not in sealed


@pytest.mark.acceptance("AU7")
async def test_sessions_show_device_and_address_and_are_ended_one_by_one(service):
    here = await service.sign_up()
    there = await service.call(
        "POST",
        "/auth/login",
        json={"email": EMAIL, "password": PASSWORD},
        headers={"User-Agent": "Phone/1.0"},
        address="198.51.100.7",
    )
    eve = await service.sign_up("eve@example.com")
    listed = (await service.call("GET", "/auth/sessions", here["access_token"])).json()
    assert [(row["address"], row["user_agent"], row["current"]) for row in listed[:1]] == [
        ("198.51.100.7", "Phone/1.0", False)
    ]
    for session in listed:
        path = f"/auth/sessions/{session['id']}"
        assert (await service.call("DELETE", path, eve["access_token"])).status_code == 404
    assert await service.accepts(there.json()["access_token"])
    assert (await service.call("DELETE", f"/auth/sessions/{listed[0]['id']}", here["access_token"])).status_code == 204
    assert not await service.accepts(there.json()["access_token"])
    assert (await service.post("refresh", refresh_token=there.json()["refresh_token"])).status_code == 401
    assert await service.accepts(here["access_token"])
