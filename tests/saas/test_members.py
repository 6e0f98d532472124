"""Members and their roles: who may change whom, and that no workspace is ever without an owner."""

import itertools

import pytest

from app_kernel.auth import create_user, deactivate_user, delete_user
from app_kernel.core.errors import (
    AccountNotFound,
    AlreadyMember,
    InvalidWorkspace,
    LastOwner,
    MemberNotFound,
    PermissionDenied,
    WorkspaceNotFound,
)
from app_kernel.core.workspaces import RANKS, ROLES
from app_kernel.saas import (
    add_member,
    create_workspace,
    delete_workspace,
    get_workspace,
    list_members,
    remove_member,
    restore_workspace,
    set_member_role,
    transfer_ownership,
)
from app_kernel.saas.authority import require_grant, require_power
from tests.saas.serving import Person, Service, serving


async def roles_in(service: Service, workspace_id: str) -> dict[str, str]:
    return {each["user_id"]: each["role"] for each in await list_members(service.db, workspace_id)}


async def staffed(service: Service) -> tuple[str, dict[str, Person]]:
    """A workspace with two people of each role."""
    names = [f"{role}{number}" for role in ROLES for number in (1, 2)]
    people = dict(zip(names, await service.people(*names), strict=True))
    workspace_id = await people["owner1"].made()
    for name, person in people.items():
        if name != "owner1":
            await add_member(service.db, workspace_id, person.id, name[:-1])
    return workspace_id, people


async def test_each_role_changes_and_removes_whom_it_may_and_nobody_else(service: Service) -> None:
    workspace_id, people = await staffed(service)
    path = f"/workspaces/{workspace_id}/members"
    for actor, target in itertools.product(ROLES, ROLES):
        person, other = people[f"{actor}1"], people[f"{target}2"]
        may_change = actor == "owner" or (actor == "admin" and RANKS[target] < RANKS["admin"])
        for role in ROLES:
            may = may_change and RANKS[role] <= RANKS[actor]
            status = await person.status("PATCH", f"{path}/{other.id}", {"role": role})
            assert status == (200 if may else 403), (actor, target, role)
            if may:
                assert (await roles_in(service, workspace_id))[other.id] == role
                await set_member_role(service.db, workspace_id, other.id, target)
        assert await person.status("DELETE", f"{path}/{other.id}") == (204 if may_change else 403), (actor, target)
        if may_change:
            await add_member(service.db, workspace_id, other.id, target)
    unchanged = {people[f"{role}{number}"].id: role for role in ROLES for number in (1, 2)}
    assert await roles_in(service, workspace_id) == unchanged


async def test_anybody_leaves_or_takes_a_lesser_role_but_the_last_owner(service: Service) -> None:
    workspace_id, people = await staffed(service)
    path = f"/workspaces/{workspace_id}"
    admin, viewer, owner = people["admin1"], people["viewer1"], people["owner1"]
    assert await admin.status("PATCH", f"{path}/members/{admin.id}", {"role": "viewer"}) == 200
    assert await admin.status("PATCH", f"{path}/members/{admin.id}", {"role": "member"}) == 403
    assert await viewer.status("POST", f"{path}/leave") == 204
    assert await viewer.status("GET", path) == 404
    assert await people["member1"].status("DELETE", f"{path}/members/{people['member1'].id}") == 204
    assert await owner.status("POST", f"{path}/leave") == 204
    last = people["owner2"]
    for method, target, body in (
        ("POST", f"{path}/leave", None),
        ("DELETE", f"{path}/members/{last.id}", None),
        ("PATCH", f"{path}/members/{last.id}", {"role": "admin"}),
    ):
        refused = await last.call(method, target, body)
        assert (refused.status_code, refused.json()["detail"][:35]) == (409, "A workspace has at least one owner;")
    assert await last.status("PATCH", f"{path}/members/{last.id}", {"role": "owner"}) == 200
    assert "workspace.left" in service.names()
    with pytest.raises(LastOwner):
        await remove_member(service.db, workspace_id, last.id)
    with pytest.raises(LastOwner):
        await set_member_role(service.db, workspace_id, last.id, "viewer")


async def test_an_owner_hands_a_workspace_over_in_one_step(service: Service) -> None:
    workspace_id, people = await staffed(service)
    path, owner, member = f"/workspaces/{workspace_id}/transfer", people["owner1"], people["member1"]
    assert await people["admin1"].status("POST", path, {"user_id": member.id}) == 403
    assert await owner.status("POST", path, {"user_id": owner.id}) == 422
    assert await owner.status("POST", path, {"user_id": "nobody"}) == 404
    taken = await owner.post(path, {"user_id": member.id})
    assert (taken.status_code, taken.json()["role"], taken.json()["email"]) == (200, "owner", "member1@example.com")
    roles = await roles_in(service, workspace_id)
    assert (roles[owner.id], roles[member.id]) == ("admin", "owner")
    assert await owner.status("DELETE", f"/workspaces/{workspace_id}") == 403
    with pytest.raises(PermissionDenied):
        await transfer_ownership(service.db, workspace_id, owner.id, member.id)
    await deactivate_user(service.db, people["viewer1"].id)
    assert await member.status("POST", path, {"user_id": people["viewer1"].id}) == 403
    told = [event for event in service.events if event.name == "workspace.ownership_transferred"]
    assert {event.user_id for event in told} == {owner.id, member.id}
    assert all(event.actor_id == owner.id and event.detail["to"] == member.id for event in told)


async def test_what_cannot_be_done_to_a_member_is_a_named_error(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    db, workspace_id = service.db, await ada.made()
    path = f"/workspaces/{workspace_id}/members"
    assert await ada.status("PATCH", f"{path}/{ada.id}", {"role": "emperor"}) == 422
    assert await ada.status("PATCH", f"{path}/{bob.id}", {"role": "member"}) == 404
    assert await ada.status("DELETE", f"{path}/{bob.id}") == 404
    assert await ada.status("DELETE", f"{path}/%00") == 404
    await add_member(db, workspace_id, bob.id)
    for call, error in (
        (lambda: add_member(db, workspace_id, bob.id), AlreadyMember),
        (lambda: add_member(db, workspace_id, "nobody"), AccountNotFound),
        (lambda: add_member(db, "nowhere", bob.id), WorkspaceNotFound),
        (lambda: add_member(db, workspace_id, bob.id, "emperor"), InvalidWorkspace),
        (lambda: remove_member(db, workspace_id, "nobody"), MemberNotFound),
        (lambda: remove_member(db, "nowhere", ada.id), WorkspaceNotFound),
        (lambda: remove_member(db, workspace_id, bob.id, by="nobody"), WorkspaceNotFound),
        (lambda: set_member_role(db, workspace_id, "nobody", "admin"), MemberNotFound),
        (lambda: transfer_ownership(db, workspace_id, bob.id, ada.id), PermissionDenied),
    ):
        with pytest.raises(error):
            await call()
    assert await roles_in(service, workspace_id) == {ada.id: "owner", bob.id: "member"}
    await delete_workspace(db, workspace_id)
    with pytest.raises(WorkspaceNotFound):
        await remove_member(db, workspace_id, bob.id)


@pytest.mark.acceptance("AZ6")
async def test_deleting_the_account_of_the_only_owner_leaves_no_workspace_without_one(service: Service) -> None:
    db = service.db
    ada, bob, eve, ida, uma = await service.people("ada", "bob", "eve", "ida", "uma")
    shared, viewed, alone, closed, kept = [await ada.made(name) for name in ("s", "v", "a", "c", "k")]
    # Who joined first among those of the highest role, and can sign in.
    for person, role in ((eve, "member"), (uma, "admin"), (bob, "admin"), (ida, "admin")):
        await add_member(db, shared, person.id, role)
    await deactivate_user(db, uma.id)
    await add_member(db, viewed, eve.id, "viewer")
    await add_member(db, closed, eve.id, "member")
    await delete_workspace(db, closed)
    await add_member(db, kept, bob.id, "owner")
    await ada.call("PUT", "/auth/me/workspace", {"workspace_id": shared})
    await delete_user(db, ada.id)
    assert await roles_in(service, shared) == {
        eve.id: "member",
        uma.id: "admin",
        bob.id: "owner",
        ida.id: "admin",
    }
    assert await roles_in(service, viewed) == {eve.id: "owner"}
    assert await roles_in(service, kept) == {bob.id: "owner"}
    assert await get_workspace(db, alone) is None
    assert await list_members(db, alone) == []
    # One that was deleted before can still be restored by somebody.
    assert await get_workspace(db, closed) is None
    assert await eve.status("POST", f"/workspaces/{closed}/restore") == 200
    assert await db.privileged.count_entities("kernel_workspace_choices") == 0
    promoted = [event for event in service.events if event.detail.get("instead_of") == ada.id]
    assert sorted(str(event.user_id) for event in promoted) == sorted([bob.id, eve.id, eve.id])
    # Where nobody can sign in, the membership is passed on all the same.
    only = await service.person("zoe")
    idle = await only.made("idle")
    await add_member(db, idle, bob.id, "viewer")
    await deactivate_user(db, bob.id)
    await delete_user(db, only.id)
    assert await roles_in(service, idle) == {bob.id: "owner"}
    assert (await restore_workspace(db, alone))["deleted_at"] is None


async def test_a_deletion_of_an_account_that_fails_changes_no_workspace(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id = await ada.made()
    await add_member(service.db, workspace_id, bob.id)
    with pytest.raises(ZeroDivisionError):
        async with service.db.transaction():
            await delete_user(service.db, ada.id)
            raise ZeroDivisionError
    assert await roles_in(service, workspace_id) == {ada.id: "owner", bob.id: "member"}
    assert (await ada.get("/role", x_workspace_id=workspace_id)).json() == [workspace_id, "owner"]


async def test_every_new_account_gets_a_workspace_of_its_own_where_that_is_set(database: str) -> None:
    async with serving(database, personal_workspaces=True, allow_self_signup=True) as service:
        given = {"email": "ada@example.com", "password": "correct horse battery staple 7"}
        token = (await service.call("POST", "/auth/register", json=given)).json()["access_token"]
        [workspace] = (await service.call("GET", "/workspaces", token)).json()
        assert (workspace["name"], workspace["role"]) == ("Personal", "owner")
        assert "ada" not in workspace["slug"]
        assert (await service.call("GET", "/whoami", token)).json() == workspace["id"]
        with pytest.raises(ZeroDivisionError):
            async with service.db.transaction():
                await create_user(service.db, "bob@example.com", None)
                raise ZeroDivisionError
        assert await service.db.privileged.count_entities("kernel_workspaces") == 1
        bob = await create_user(service.db, "bob@example.com", None)
        assert await service.db.privileged.count_entities("kernel_workspaces") == 2
        await create_workspace(service.db, "Second", bob.id)
        await delete_user(service.db, bob.id)
        assert await service.db.privileged.count_entities("kernel_workspaces", "[removed_at] IS NULL") == 1


@pytest.mark.parametrize("actor", ROLES)
def test_nobody_grants_more_than_they_have_and_only_owners_change_those_above_members(actor: str) -> None:
    for other in ROLES:
        grants = actor in ("admin", "owner") and RANKS[other] <= RANKS[actor]
        changes = actor == "owner" or (actor == "admin" and other in ("viewer", "member"))
        for rule, allowed in ((require_grant, grants), (require_power, changes)):
            if allowed:
                rule(actor, other)
            else:
                with pytest.raises(PermissionDenied):
                    rule(actor, other)
