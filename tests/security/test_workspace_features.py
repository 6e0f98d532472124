"""What the kernel's features see of a handle that is bound to a workspace, and that nobody else sees as much."""

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from app_kernel.api_keys import create_api_key, list_api_keys, revoke_api_key, rotate_api_key
from app_kernel.auth import create_user, get_user
from app_kernel.core.errors import (
    AccountExists,
    AccountNotFound,
    InvalidName,
    InvalidQuery,
    OutsideWorkspace,
    WorkspaceNotFound,
)
from app_kernel.flags import delete_flag, flag_enabled, list_flags, set_flag
from app_kernel.saas import (
    add_member,
    cancel_invite,
    create_invite,
    create_workspace,
    delete_workspace,
    get_workspace,
    list_invites,
    list_members,
    list_workspaces,
    remove_member,
    set_member_role,
    transfer_ownership,
    update_workspace,
)
from app_kernel.webhooks import create_webhook, list_webhooks, trigger_webhook_event
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS, Place
from tests.saas.serving import Service, fresh_database, serving

pytestmark = pytest.mark.acceptance("AZ2")

THINGS = "kernel_things"
"""A table of a feature's."""
SOON = "2999-01-01T00:00:00Z"
EVERYBODYS = ["of a", "of all", "of b"]


@pytest.fixture(params=BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with BACKENDS[request.param]() as fresh:
        yield fresh


@pytest.fixture(params=SERVICE_BACKENDS)
async def spaces(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    async with fresh_database(request, tmp_path) as url, serving(url) as running:
        yield running


@pytest.mark.parametrize("inside", [False, True])
async def test_a_feature_sees_more_than_the_workspace_of_the_kernels_own_tables_alone(
    place: Place, inside: bool
) -> None:
    db = await place.open()
    for id, workspace in (("of a", "a"), ("of b", "b"), ("of all", None)):
        await db.privileged.save_entity(THINGS, {"id": id, "n": 1, "workspace_id": workspace})
        await db.save_entity("notes", {"id": id, "workspace_id": workspace, "name": "free"})
    bound = db.in_workspace("a")
    feature = bound.privileged
    async with bound.transaction() if inside else nullcontext():
        assert [row["id"] for row in await feature.find_entities(THINGS)] == EVERYBODYS
        assert [row["id"] for row in await feature.find_entities(f"{THINGS}_history")] == EVERYBODYS
        assert [row["id"] async for row in feature.iterate_entities(THINGS)] == EVERYBODYS
        assert await feature.count_entities(THINGS, as_of=SOON) == 3
        assert (await feature.save_entity(THINGS, {"id": "of all", "n": 2}))["workspace_id"] is None
        [row] = await feature.save_entities(THINGS, [{"n": 7}], match_by=["n"])
        assert row["workspace_id"] is None
        assert await feature.delete_entities(THINGS, [row["id"]], permanent=True) == 1
        # What is the application's stays bound.
        for clause in ("1=1", "[workspace_id] = 'b' OR [workspace_id] IS NULL"):
            assert {row["id"] for row in await feature.find_entities("notes", clause)} <= {"of a"}
        for id in ("of b", "of all"):
            assert await feature.get_entity("notes", id) is None
            with pytest.raises(OutsideWorkspace):
                await feature.save_entity("notes", {"id": id, "name": "taken"})
        # And a handle that is bound by a feature is bound altogether.
        for strict in (feature.in_workspace("a"), db.privileged.in_workspace("a")):
            assert [row["id"] for row in await strict.find_entities(THINGS)] == ["of a"]
            assert [row["id"] for row in await strict.find_entities("notes")] == ["of a"]
            for id in ("of b", "of all"):
                assert await strict.get_entity(THINGS, id) is None
                with pytest.raises(OutsideWorkspace):
                    await strict.save_entity(THINGS, {"id": id, "n": 1})
        for handle in (bound, feature, feature.in_workspace("a")):
            with pytest.raises(InvalidQuery, match="Raw SQL"):
                await handle.execute("SELECT 1")
        with pytest.raises(InvalidName):
            await bound.find_entities(THINGS)


async def test_the_functions_of_features_do_the_same_with_the_handle_of_a_workspace(spaces: Service) -> None:
    ada, bob = await spaces.people("ada", "bob")
    workspace_id, theirs = await ada.made(), await bob.made("theirs")
    bound = spaces.db.in_workspace(workspace_id)

    key = await create_api_key(bound, ada.id, workspace_id, name="CI")
    free = await create_api_key(bound, ada.id, name="everywhere")
    assert (await spaces.call("GET", "/key", key["key"])).json() == [workspace_id, workspace_id]
    assert (await spaces.call("GET", "/key", free["key"])).json() == [None, None]
    rotated = await rotate_api_key(bound, key["id"], overlap_hours=0)
    assert rotated["workspace_id"] == workspace_id
    assert await revoke_api_key(bound, free["id"])
    assert len(await list_api_keys(bound, ada.id)) == len(await list_api_keys(spaces.db, ada.id)) == 3

    await set_flag(bound, "beta", enabled=True, workspaces=[workspace_id])
    for handle in (bound, spaces.db, spaces.db.in_workspace(theirs)):
        assert await flag_enabled(handle, "beta", workspace_id=workspace_id)
        assert not await flag_enabled(handle, "beta", workspace_id=theirs)
        assert [flag["name"] for flag in await list_flags(handle)] == ["beta"]
    assert await delete_flag(bound, "beta")

    await create_webhook(bound, workspace_id, url="https://hooks.example.com/x", events=["deployment.*"])
    assert len(await list_webhooks(bound, workspace_id)) == len(await list_webhooks(spaces.db, workspace_id)) == 1
    assert (await trigger_webhook_event(bound, workspace_id, event="deployment.succeeded", data={})).startswith("evt_")

    assert (await create_invite(bound, workspace_id, "ida@example.com", by=ada.id))["workspace_id"] == workspace_id
    assert [each["user_id"] for each in await list_members(bound, workspace_id)] == [ada.id]
    made = await create_workspace(bound, "Another", ada.id)
    assert {each["id"] for each in await list_workspaces(bound, ada.id)} == {workspace_id, made["id"]}

    assert await get_user(bound, bob.id) is not None
    with pytest.raises(AccountExists):
        await create_user(bound, bob.email, None)
    users = await spaces.db.privileged.find_entities("kernel_users")
    assert not [row for row in users if "workspace_id" in row], "the handle leaves its mark in no table of accounts"


async def test_the_functions_of_features_do_not_lead_from_one_workspace_to_another(spaces: Service) -> None:
    ada, bob = await spaces.people("ada", "bob")
    workspace_id, theirs = await ada.made(), await bob.made("theirs")
    await spaces.join(theirs, ada, "owner")
    invite = await create_invite(spaces.db, theirs, "ida@example.com")
    bound = spaces.db.in_workspace(workspace_id)
    for handle in (bound, bound.privileged, bound.privileged.in_workspace(workspace_id)):
        assert await get_workspace(handle, theirs) is None
        assert await list_members(handle, theirs) == await list_invites(handle, theirs) == []
        for call in (
            update_workspace(handle, theirs, name="taken"),
            update_workspace(handle, theirs, name="taken", by=ada.id),
            delete_workspace(handle, theirs),
            set_member_role(handle, theirs, bob.id, "viewer"),
            remove_member(handle, theirs, bob.id),
            transfer_ownership(handle, theirs, bob.id, ada.id),
            create_invite(handle, theirs, "eve@example.com"),
            cancel_invite(handle, theirs, invite["id"]),
            add_member(handle, theirs, bob.id),
        ):
            with pytest.raises((WorkspaceNotFound, AccountNotFound)):
                await call
        for owner in (theirs, None):
            with pytest.raises(OutsideWorkspace):
                await list_webhooks(handle, owner)
    assert (await get_workspace(spaces.db, theirs))["name"] == "theirs"
    assert len(await list_invites(spaces.db, theirs)) == 1
    assert [each["role"] for each in await list_members(spaces.db, theirs)] == ["owner", "owner"]
