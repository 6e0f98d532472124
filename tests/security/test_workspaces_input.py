"""What a client sends decides only what it may: no field of the kernel's, and no other workspace than was checked."""

from collections.abc import AsyncIterator
from json import dumps
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app_kernel.saas import add_member, create_invite
from app_kernel.saas.tables import INVITES, MEMBERS, WORKSPACES
from tests.conformance.backends import SERVICE_BACKENDS
from tests.saas.serving import Service, fresh_database, serving

FORGED: dict[str, Any] = {
    "id": "0192d3c4-0000-7000-8000-000000000000",
    "role": "owner",
    "is_active": False,
    "created_by": "mallory",
    "created_at": "2001-01-01T00:00:00Z",
    "updated_at": "2001-01-01T00:00:00Z",
    "updated_by": "mallory",
    "deleted_at": "2001-01-01T00:00:00Z",
    "removed_at": "2001-01-01T00:00:00Z",
    "workspace_id": "somewhere-else",
    "owner_id": "mallory",
    "user_id": "mallory",
    "password_hash": "x",
    "version": 99,
    "_version": 99,
    "token_hash": "0" * 64,
    "invited_by": "mallory",
    "expires_at": "2999-01-01T00:00:00Z",
}


@pytest.fixture(params=SERVICE_BACKENDS)
async def spaces(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    async with fresh_database(request, tmp_path) as url, serving(url) as running:
        yield running


async def rows_of(service: Service) -> list[list[dict[str, Any]]]:
    return [await service.db.privileged.find_entities(table) for table in (WORKSPACES, MEMBERS, INVITES)]


@pytest.mark.acceptance("AZ5")
async def test_a_body_with_a_field_of_the_kernels_changes_nothing(spaces: Service) -> None:
    ada, bob, eve = await spaces.people("ada", "bob", "eve")
    workspace_id = await ada.made()
    await add_member(spaces.db, workspace_id, bob.id)
    invite = await create_invite(spaces.db, workspace_id, eve.email)
    path = f"/workspaces/{workspace_id}"
    routes: list[tuple[Any, str, str, dict[str, Any]]] = [
        (ada, "POST", "/workspaces", {"name": "New"}),
        (ada, "PATCH", path, {"name": "New"}),
        (ada, "PATCH", f"{path}/members/{bob.id}", {"role": "viewer"}),
        (ada, "POST", f"{path}/transfer", {"user_id": bob.id}),
        (ada, "POST", f"{path}/invites", {"email": "ida@example.com", "role": "viewer"}),
        (eve, "POST", "/invites/accept", {"token": invite["token"]}),
        (eve, "POST", "/invites/decline", {"token": invite["token"]}),
        (ada, "PUT", "/auth/me/workspace", {"workspace_id": workspace_id}),
    ]
    before = await rows_of(spaces)
    for person, method, target, body in routes:
        for field, value in FORGED.items():
            if field in body:
                continue
            answer = await person.call(method, target, {**body, field: value})
            assert answer.status_code == 422, (method, target, field)
    assert await rows_of(spaces) == before
    # Nor does a body reach what takes none, nor the query.
    for method, target in (("POST", f"{path}/invites/{invite['id']}/resend"), ("POST", f"{path}/restore")):
        assert await ada.status(method, f"{target}?role=owner&invited_by=mallory", FORGED) == 200
    [kept] = await spaces.db.privileged.find_entities(INVITES)
    assert (kept["role"], kept["invited_by"], kept["workspace_id"]) == ("member", ada.id, workspace_id)
    [workspace] = await spaces.db.privileged.find_entities(WORKSPACES)
    assert (workspace["created_by"], workspace["removed_at"], workspace["_version"]) == (ada.id, None, 1)


@pytest.mark.acceptance("AZ1")
@pytest.mark.acceptance("AZ2")
async def test_whatever_way_another_workspace_is_named_in_it_is_not_the_one_that_is_worked_in(
    spaces: Service,
) -> None:
    ada, mallory = await spaces.people("ada", "mallory")
    theirs, mine = await ada.made("theirs"), await mallory.made("mine")
    await mallory.call("PUT", "/auth/me/workspace", {"workspace_id": mine})
    for query in (
        f"workspace_id={theirs}",
        f"%77orkspace_id={theirs}",
        f"%77%6f%72%6b%73%70%61%63%65%5f%69%64={theirs}",
        f"workspace%5Fid={theirs}",
        f"workspace_id=&workspace_id={theirs}",
        f"workspace_id={mine}&workspace_id={theirs}",
        f"workspace_id={mine}&%77orkspace_id={theirs}",
        "workspace_id=",
        f"workspace_id={mine}%20",
        f"workspace_id={mine.upper()}x",
        f"workspace_id={mine}%00",
    ):
        for headers in ({}, {"x_workspace_id": mine}):
            answer = await mallory.get(f"/role?{query}", **headers)
            assert answer.status_code in (400, 404), (query, headers)
            assert (await mallory.get(f"/whoami?{query}", **headers)).json() is None
    for path in (f"/w/{theirs}/admin", f"/workspaces/{theirs}", f"/workspaces/{theirs}/members"):
        assert await mallory.status("GET", path) == 404
        assert (await mallory.get(path, x_workspace_id=mine)).status_code == 400
        assert await mallory.status("GET", f"{path}?workspace_id={mine}") == 400
    # An admin of the service is no member either.
    root = await spaces.person("root", role="admin")
    assert await root.status("GET", f"/workspaces/{theirs}") == 404
    assert (await mallory.get("/role")).json() == [mine, "owner"]
    assert (await spaces.call("GET", "/role", None)).status_code == 401


HOSTILE = ("", " ", "\x00", "a\x00b", "\ud800", "\u202e", "x" * 5000, "é" * 191, "'--", "%", "../..", "💥", "0", "null")


@pytest.mark.acceptance("FZ2")
async def test_no_text_in_a_path_a_query_or_a_body_is_more_than_a_refusal(spaces: Service) -> None:
    ada = await spaces.person("ada")
    workspace_id = await ada.made()
    path = f"/workspaces/{workspace_id}"
    invite = await ada.invite(workspace_id, "bob@example.com")
    for text in HOSTILE:
        part = quote(text, safe="", errors="surrogatepass") or "%20"
        for method, target in (
            ("GET", f"/workspaces/{part}"),
            ("PATCH", f"/workspaces/{part}/members/{ada.id}"),
            ("POST", f"/workspaces/{part}/restore"),
            ("GET", f"/role?workspace_id={part}"),
            ("PATCH", f"{path}/members/{part}"),
            ("DELETE", f"{path}/members/{part}"),
            ("POST", f"{path}/invites/{part}/resend"),
            ("DELETE", f"{path}/invites/{part}"),
        ):
            body = {"role": "viewer"} if method == "PATCH" else None
            status = await ada.status(method, target, body)
            assert status in (400, 404, 405, 422), (method, target[:80])
        for method, target, field in (
            ("POST", "/workspaces", "slug"),
            ("PATCH", path, "slug"),
            ("PATCH", f"{path}/members/{ada.id}", "role"),
            ("POST", f"{path}/transfer", "user_id"),
            ("POST", f"{path}/invites", "email"),
            ("POST", "/invites/accept", "token"),
            ("POST", "/invites/decline", "invite_id"),
            ("PUT", "/auth/me/workspace", "workspace_id"),
        ):
            if field == "slug" and text in ("0", "null"):
                continue  # as good as any other
            given = dumps({"name": "N", field: text} if method == "POST" and field == "slug" else {field: text})
            status = (await spaces.raw(method, target, ada.token, given)).status_code
            assert status in (400, 404, 422), (method, target, field, text[:20])
    [row] = await spaces.db.privileged.find_entities(INVITES)
    assert row["id"] == invite["id"]
    assert len(await spaces.db.privileged.find_entities(WORKSPACES)) == 1
