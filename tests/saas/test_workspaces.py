"""Workspaces themselves: making, listing, changing, deleting and restoring them, and the one that a user works in."""

import pytest

from app_kernel.auth import deactivate_user
from app_kernel.core.errors import (
    AccountNotFound,
    InvalidWorkspace,
    PermissionDenied,
    WorkspaceExists,
    WorkspaceNotFound,
)
from app_kernel.db import connect
from app_kernel.saas import (
    add_member,
    create_workspace,
    delete_workspace,
    get_workspace,
    list_members,
    list_workspaces,
    restore_workspace,
    update_workspace,
)
from app_kernel.saas import workspaces as module
from app_kernel.saas.slugs import MAX_SLUG, another, check_slug, slug_of
from tests.saas.serving import Service, serving


async def test_who_makes_a_workspace_owns_it_and_nobody_else_sees_it(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    made = await ada.post("/workspaces", {"name": "  Café Zoë & Co. "})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    workspace = made.json()
    assert (workspace["name"], workspace["slug"], workspace["role"]) == ("Café Zoë & Co.", "cafe-zoe-co", "owner")
    assert (await ada.get(f"/workspaces/{workspace['id']}")).json() == workspace
    assert (await ada.get("/workspaces")).json() == [workspace]
    assert (await bob.get("/workspaces")).json() == []
    path = f"/workspaces/{workspace['id']}"
    for method, target, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
        ("POST", f"{path}/restore", None),
        ("GET", f"{path}/members", None),
        ("GET", f"{path}/invites", None),
    ):
        answer = await bob.call(method, target, body)
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no such workspace."), (method, target)
        assert await bob.status(method, target.replace(workspace["id"], "0" * 36), body) == 404
    [event] = [event for event in service.events if event.name == "workspace.created"]
    assert (event.user_id, event.actor_id, event.detail) == (ada.id, ada.id, {"workspace_id": workspace["id"]})


async def test_a_name_that_is_taken_gets_another_slug_and_a_slug_that_is_taken_is_refused(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    first = (await ada.post("/workspaces", {"name": "Engines"})).json()
    second = (await bob.post("/workspaces", {"name": "Engines"})).json()
    assert first["slug"] == "engines"
    assert second["slug"].startswith("engines-")
    refused = await bob.post("/workspaces", {"name": "Other", "slug": "engines"})
    assert (refused.status_code, refused.json()["title"]) == (409, "Conflict")
    assert await bob.status("PATCH", f"/workspaces/{second['id']}", {"slug": "engines"}) == 409
    assert len((await bob.get("/workspaces")).json()) == 1
    assert await ada.status("DELETE", f"/workspaces/{first['id']}") == 204
    # The slug waits for its workspace, and a name does not stumble over it.
    assert await bob.status("POST", "/workspaces", {"name": "Other", "slug": "engines"}) == 409
    assert (await bob.post("/workspaces", {"name": "Engines"})).json()["slug"] != "engines"


async def test_an_admin_renames_a_workspace_and_only_an_owner_deletes_and_restores_it(service: Service) -> None:
    ada, bob, eve = await service.people("ada", "bob", "eve")
    workspace_id = await ada.made()
    path = f"/workspaces/{workspace_id}"
    await add_member(service.db, workspace_id, bob.id, "admin")
    await add_member(service.db, workspace_id, eve.id, "member")
    changed = await bob.call("PATCH", path, {"name": "Looms", "slug": "looms"})
    assert (changed.json()["name"], changed.json()["slug"], changed.json()["role"]) == ("Looms", "looms", "admin")
    assert (await ada.call("PATCH", path, {})).json()["name"] == "Looms"
    assert await eve.status("PATCH", path, {"name": "Eve's"}) == 403
    assert await bob.status("DELETE", path) == 403
    assert await ada.status("DELETE", path) == 204
    for person in (ada, bob, eve):
        assert await person.status("GET", path) == 404
        assert (await person.get("/workspaces")).json() == []
        assert await person.status("GET", f"/w/{workspace_id}/admin") == 404
    assert await ada.status("DELETE", path) == 404
    [gone] = (await ada.get("/workspaces?deleted=true")).json()
    assert gone["id"] == workspace_id
    assert gone["deleted_at"] is not None
    assert (await bob.get("/workspaces?deleted=true")).json() == []
    assert await bob.status("POST", f"{path}/restore") == 403
    restored = await ada.post(f"{path}/restore")
    assert (restored.status_code, restored.json()["deleted_at"]) == (200, None)
    assert (await eve.get(path)).json()["role"] == "member"
    assert (await ada.get("/workspaces?deleted=true")).json() == []
    assert (await ada.post(f"{path}/restore")).status_code == 200
    events = [name for name in service.names() if name in ("workspace.deleted", "workspace.restored")]
    assert events == ["workspace.deleted", "workspace.restored"]


async def test_lists_come_in_pages_the_oldest_first(service: Service) -> None:
    ada = await service.person()
    made = [await ada.made(f"w{number}") for number in range(5)]
    pages = [(await ada.get(f"/workspaces?limit=2&offset={offset}")).json() for offset in (0, 2, 4)]
    assert [each["id"] for page in pages for each in page] == made
    assert await ada.status("GET", "/workspaces?limit=201") == 422
    people = [await service.person(f"p{number}") for number in range(3)]
    for person in people:
        await add_member(service.db, made[0], person.id)
    pages = [(await ada.get(f"/workspaces/{made[0]}/members?limit=2&offset={offset}")).json() for offset in (0, 2)]
    assert [each["user_id"] for page in pages for each in page] == [ada.id, *(person.id for person in people)]
    assert [each["email"] for each in pages[0]] == ["ada@example.com", "p0@example.com"]


async def test_the_workspace_that_a_user_works_in_goes_with_every_request_until_they_leave(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id, other = await ada.made(), await bob.made("Other")
    assert (await ada.get("/whoami")).json() is None
    assert (await ada.get("/auth/me/workspace")).json() == {"workspace_id": None, "role": None}
    assert (await ada.get("/role")).status_code == 400
    chosen = await ada.call("PUT", "/auth/me/workspace", {"workspace_id": workspace_id})
    assert chosen.json() == {"workspace_id": workspace_id, "role": "owner"}
    assert (await ada.get("/whoami")).json() == workspace_id
    assert (await ada.get("/role")).json() == [workspace_id, "owner"]
    # A workspace that the request names comes first.
    assert (await ada.get("/whoami", x_workspace_id=other)).json() is None
    assert await ada.status("GET", f"/role?workspace_id={other}") == 404
    assert (await ada.get("/role", x_workspace_id=workspace_id)).json() == [workspace_id, "owner"]
    assert (await ada.get(f"/role?workspace_id={other}", x_workspace_id=workspace_id)).status_code == 400
    for unknown in (other, "nowhere", "x" * 191):
        assert await ada.status("PUT", "/auth/me/workspace", {"workspace_id": unknown}) == 404
    assert await ada.status("PUT", "/auth/me/workspace", {}) == 422
    await ada.call("PUT", "/auth/me/workspace", {"workspace_id": None})
    assert (await ada.get("/whoami")).json() is None
    await ada.call("PUT", "/auth/me/workspace", {"workspace_id": workspace_id})
    await add_member(service.db, workspace_id, bob.id, "owner")
    assert await ada.status("POST", f"/workspaces/{workspace_id}/leave") == 204
    assert (await ada.get("/whoami")).json() is None
    assert (await ada.get("/auth/me/workspace")).json() == {"workspace_id": None, "role": None}
    assert "workspace.selected" in service.names()


async def test_code_makes_and_changes_workspaces_without_a_request(service: Service) -> None:
    ada, db = await service.person(), service.db
    made = await create_workspace(db, "Engines", ada.id, slug="engines")
    assert made["role"] == "owner"
    assert [each["id"] for each in await list_workspaces(db, ada.id)] == [made["id"]]
    assert (await update_workspace(db, made["id"], name="Looms"))["name"] == "Looms"
    assert (await get_workspace(db, made["id"]) or {})["slug"] == "engines"
    await delete_workspace(db, made["id"])
    assert await get_workspace(db, made["id"]) is None
    assert (await restore_workspace(db, made["id"]))["deleted_at"] is None
    for name, slug, error in (
        ("", None, InvalidWorkspace),
        ("a\nb", None, InvalidWorkspace),
        ("x" * 101, None, InvalidWorkspace),
        ("ok", "Not A Slug", InvalidWorkspace),
        ("ok", "-edge", InvalidWorkspace),
        ("ok", "x" * 51, InvalidWorkspace),
        ("ok", "engines", WorkspaceExists),
    ):
        with pytest.raises(error):
            await create_workspace(db, name, ada.id, slug=slug)
    with pytest.raises(AccountNotFound):
        await create_workspace(db, "ok", "nobody")
    with pytest.raises(WorkspaceNotFound):
        await delete_workspace(db, "nowhere")
    with pytest.raises(WorkspaceNotFound):
        await update_workspace(db, made["id"], name="x", by="nobody")
    assert [each["id"] for each in await list_workspaces(db, ada.id)] == [made["id"]]


async def test_a_transaction_that_fails_leaves_no_workspace_and_no_slug(service: Service) -> None:
    ada, db = await service.person(), service.db
    with pytest.raises(ZeroDivisionError):
        async with db.transaction():
            made = await create_workspace(db, "Engines", ada.id, slug="engines")
            raise ZeroDivisionError
    assert await get_workspace(db, made["id"]) is None
    assert await list_workspaces(db, ada.id) == []
    async with db.transaction():
        again = await create_workspace(db, "Engines", ada.id, slug="engines")
        # A slug that is taken costs nothing that was done before.
        with pytest.raises(WorkspaceExists):
            await create_workspace(db, "Other", ada.id, slug="engines")
    assert [each["id"] for each in await list_workspaces(db, ada.id)] == [again["id"]]


async def test_a_script_without_a_service_makes_a_workspace(database: str) -> None:
    async with connect(database) as db:
        made = await create_workspace(db, "Engines", "somebody")
        await add_member(db, made["id"], "somebody-else", "viewer")
        assert [each["role"] for each in await list_members(db, made["id"])] == ["owner", "viewer"]


async def test_nobody_is_in_more_workspaces_than_can_be_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERSHIPS", 2)
    async with serving() as service:
        ada, bob = await service.people("ada", "bob")
        theirs = await bob.made()
        for number in range(2):
            await ada.made(f"w{number}")
        refused = await ada.post("/workspaces", {"name": "one too many"})
        assert (refused.status_code, "leave one first" in refused.json()["detail"]) == (422, True)
        with pytest.raises(InvalidWorkspace):
            await add_member(service.db, theirs, ada.id)


async def test_a_deactivated_account_gets_no_workspace(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id = await bob.made()
    await deactivate_user(service.db, ada.id)
    with pytest.raises(PermissionDenied):
        await create_workspace(service.db, "Engines", ada.id)
    with pytest.raises(PermissionDenied):
        await add_member(service.db, workspace_id, ada.id)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Analytical Engines", "analytical-engines"),
        ("  --Ünïcode!! 42 ", "unicode-42"),
        ("数学", "workspace"),
        ("a" * 100, "a" * (MAX_SLUG - 7)),
    ],
)
def test_a_slug_is_made_of_a_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug
    assert check_slug(slug) == slug
    near = another(slug)
    assert near != another(slug)
    assert near.startswith(f"{slug}-")
    assert check_slug(near) == near
