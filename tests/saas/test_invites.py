"""Inviting people, and what becomes of an invite."""

from datetime import UTC, datetime

import pytest

from app_kernel.auth import create_user, deactivate_user
from app_kernel.core.errors import AlreadyMember, InvalidEmail, InvalidWorkspace, InviteNotFound, NoRunningKernel
from app_kernel.db import connect
from app_kernel.saas import (
    accept_invite,
    add_member,
    cancel_invite,
    create_invite,
    delete_workspace,
    invites,
    list_invites,
    list_pending_invites,
    remove_member,
    resend_invite,
    restore_workspace,
    set_member_role,
)
from tests.saas.serving import ACCEPT, Service, serving

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = 86_400


async def test_an_invite_makes_a_member_once(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id = await ada.made()
    invite = await ada.invite(workspace_id, " Bob@Example.COM ", "admin")
    assert (invite["email"], invite["role"], invite["invited_by"]) == ("bob@example.com", "admin", ada.id)
    assert invite["link"] == f"{ACCEPT}#token={invite['token']}"
    assert invite["mailed"] is True
    [listed] = (await ada.get(f"/workspaces/{workspace_id}/invites")).json()
    assert listed == {name: invite[name] for name in listed}
    assert not {"token", "token_hash", "link"} & set(listed)
    [pending] = (await bob.get("/invites")).json()
    assert (pending["id"], pending["workspace_name"]) == (invite["id"], "Engines")
    accepted = await bob.post("/invites/accept", {"token": invite["token"]})
    assert accepted.json() == {"workspace_id": workspace_id, "user_id": bob.id, "role": "admin"}
    assert await bob.status("GET", f"/w/{workspace_id}/admin") == 200
    assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 404
    assert (await ada.get(f"/workspaces/{workspace_id}/invites")).json() == []
    assert (await bob.get("/invites")).json() == []
    [joined] = [event for event in service.events if event.name == "workspace.joined"]
    assert (joined.user_id, joined.detail["invited_by"], joined.detail["role"]) == (bob.id, ada.id, "admin")
    assert all(invite["token"] not in repr(event) for event in service.events)


async def test_an_invite_is_accepted_or_declined_by_its_id_where_it_is_listed(service: Service) -> None:
    ada, bob, eve = await service.people("ada", "bob", "eve")
    first, second = await ada.made("first"), await ada.made("second")
    one, two = await ada.invite(first, bob.email), await ada.invite(second, bob.email)
    assert await eve.status("POST", "/invites/accept", {"invite_id": one["id"]}) == 404
    assert await bob.status("POST", "/invites/accept", {"invite_id": one["id"]}) == 200
    assert await eve.status("POST", "/invites/decline", {"invite_id": two["id"]}) == 404
    assert await eve.status("POST", "/invites/decline", {"token": two["token"]}) == 403
    assert await bob.status("POST", "/invites/decline", {"invite_id": two["id"]}) == 204
    assert await bob.status("POST", "/invites/accept", {"token": two["token"]}) == 404
    three = await ada.invite(second, bob.email)
    assert await bob.status("POST", "/invites/decline", {"token": three["token"]}) == 204
    for body in ({}, {"token": "x", "invite_id": "y"}, {"token": 7}, {"token": "x", "role": "owner"}):
        assert await bob.status("POST", "/invites/accept", body) == 422
    assert (await bob.get("/workspaces")).json()[0]["id"] == first


async def test_an_address_has_one_invite_and_a_new_one_ends_the_old_token(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id = await ada.made()
    path = f"/workspaces/{workspace_id}/invites"
    first = await ada.invite(workspace_id, bob.email)
    second = await ada.invite(workspace_id, "BOB@example.com", "viewer")
    assert second["id"] == first["id"]
    third = (await ada.post(f"{path}/{first['id']}/resend")).json()
    assert (third["id"], third["role"]) == (first["id"], "viewer")
    assert len((await ada.get(path)).json()) == 1
    for old in (first, second):
        assert await bob.status("POST", "/invites/accept", {"token": old["token"]}) == 404
    assert await bob.status("POST", "/invites/accept", {"token": third["token"]}) == 200
    assert await ada.status("POST", path, {"email": bob.email}) == 409
    fourth = await ada.invite(workspace_id, "eve@example.com")
    assert await ada.status("DELETE", f"{path}/{fourth['id']}") == 204
    assert await ada.status("DELETE", f"{path}/{fourth['id']}") == 404
    assert await ada.status("POST", f"{path}/{fourth['id']}/resend") == 404
    other = await ada.made("other")
    fifth = await ada.invite(workspace_id, "eve@example.com")
    for method, end in (("DELETE", ""), ("POST", "/resend")):
        assert await ada.status(method, f"/workspaces/{other}/invites/{fifth['id']}{end}") == 404
    assert "workspace.invite_cancelled" in service.names()


async def test_only_admins_invite_and_at_most_as_admins(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id = await ada.made()
    path = f"/workspaces/{workspace_id}/invites"
    invite = await ada.invite(workspace_id, "eve@example.com")
    for role in ("viewer", "member"):
        await add_member(service.db, workspace_id, bob.id, role)
        for method, target, body in (
            ("POST", path, {"email": "x@example.com"}),
            ("GET", path, None),
            ("POST", f"{path}/{invite['id']}/resend", None),
            ("DELETE", f"{path}/{invite['id']}", None),
        ):
            assert await bob.status(method, target, body) == 403, (role, method, target)
        await remove_member(service.db, workspace_id, bob.id)
    assert await ada.status("POST", path, {"email": "x@example.com", "role": "owner"}) == 422
    assert await ada.status("POST", path, {"email": "x@example.com", "role": "root"}) == 422
    assert await ada.status("POST", path, {"email": "no address"}) == 422
    assert await ada.status("POST", path, {"email": "x@example.com", "token": "mine"}) == 422


@pytest.mark.acceptance("AZ7")
async def test_an_invite_ends_with_its_senders_right_to_invite(service: Service) -> None:
    ada, bob, eve = await service.people("ada", "bob", "eve")
    db, workspace_id = service.db, await ada.made()
    await add_member(db, workspace_id, bob.id, "admin")
    invite = await bob.invite(workspace_id, eve.email)
    accept = {"token": invite["token"]}
    await set_member_role(db, workspace_id, bob.id, "member")
    assert await eve.status("POST", "/invites/accept", accept) == 404
    assert (await eve.get("/invites")).json() == []
    await remove_member(db, workspace_id, bob.id)
    assert await eve.status("POST", "/invites/accept", accept) == 404
    await add_member(db, workspace_id, bob.id, "admin")
    await deactivate_user(db, bob.id)
    assert await eve.status("POST", "/invites/accept", accept) == 404
    # It stays listed, and another admin makes it good again.
    assert len((await ada.get(f"/workspaces/{workspace_id}/invites")).json()) == 1
    again = (await ada.post(f"/workspaces/{workspace_id}/invites/{invite['id']}/resend")).json()
    assert await eve.status("POST", "/invites/accept", {"token": again["token"]}) == 200


async def test_an_invite_into_a_deleted_workspace_waits_for_it(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    workspace_id = await ada.made()
    invite = await ada.invite(workspace_id, bob.email)
    await delete_workspace(service.db, workspace_id)
    assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 404
    assert await list_pending_invites(service.db, bob.id) == []
    await restore_workspace(service.db, workspace_id)
    assert await bob.status("POST", "/invites/accept", {"token": invite["token"]}) == 200


async def test_an_invite_runs_out_is_listed_for_a_month_and_can_be_sent_again(database: str) -> None:
    async with serving(database, frozen_at=START, invite_days=2) as service:
        db, clock = service.db, service.client.clock
        ada = await create_user(db, "ada@example.com", None, email_verified=True)
        bob = await create_user(db, "bob@example.com", None, email_verified=True)
        workspace_id = (await service.kernel.db.connection().privileged.save_entity("kernel_workspaces", {}))["id"]
        await add_member(db, workspace_id, ada.id, "owner")
        made = await create_invite(db, workspace_id, bob.email, by=ada.id)
        clock.advance(2 * DAY)
        with pytest.raises(InviteNotFound):
            await accept_invite(db, made["token"], bob.id)
        assert await list_pending_invites(db, bob.id) == []
        assert [each["id"] for each in await list_invites(db, workspace_id)] == [made["id"]]
        again = await resend_invite(db, workspace_id, made["id"], by=ada.id)
        clock.advance(2 * DAY - 1)
        assert (await accept_invite(db, again["token"], bob.id))["role"] == "member"
        await create_invite(db, workspace_id, "eve@example.com", by=ada.id)
        clock.advance(33 * DAY)
        await create_invite(db, workspace_id, "ida@example.com", by=ada.id)
        assert [each["email"] for each in await list_invites(db, workspace_id)] == ["ida@example.com"]


async def test_a_workspace_has_so_many_open_invites(monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    monkeypatch.setattr(invites, "MAX_OPEN", 2)
    ada, db = await service.person(), service.db
    workspace_id = await ada.made()
    for name in ("a", "b"):
        last = await ada.invite(workspace_id, f"{name}@example.com")
    refused = await ada.post(f"/workspaces/{workspace_id}/invites", {"email": "c@example.com"})
    assert (refused.status_code, "cancel one first" in refused.json()["detail"]) == (422, True)
    await ada.invite(workspace_id, "b@example.com")
    await cancel_invite(db, workspace_id, last["id"])
    await ada.invite(workspace_id, "c@example.com")


async def test_code_invites_in_nobodys_name(service: Service) -> None:
    ada, bob = await service.people("ada", "bob")
    db, workspace_id = service.db, await ada.made()
    made = await create_invite(db, workspace_id, bob.email, "viewer")
    assert made["invited_by"] is None
    assert "token_hash" not in made
    assert (await accept_invite(db, made["token"], bob.id))["role"] == "viewer"
    for email, role, error in (
        (bob.email, "viewer", AlreadyMember),
        ("no address", "viewer", InvalidEmail),
        ("x@example.com", "owner", InvalidWorkspace),
    ):
        with pytest.raises(error):
            await create_invite(db, workspace_id, email, role)


async def test_an_invite_needs_a_running_service() -> None:
    async with connect("sqlite://:memory:") as db:
        with pytest.raises(NoRunningKernel):
            await create_invite(db, "somewhere", "ada@example.com")
