"""A key never does more than its owner may do now, whatever was asked for when it was made."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends

from app_kernel import acting_as
from app_kernel.api_keys import Auth, create_api_key, list_api_keys, rotate_api_key
from app_kernel.auth import activate_user, deactivate_user, set_role
from app_kernel.core.errors import MissingScope, PermissionDenied
from app_kernel.core.events import SecurityEvent, UserDeleted
from app_kernel.core.ports import EntityStore
from app_kernel.db import db_connection
from tests.api_keys.serving import Service, fresh_database, get_auth, serving
from tests.conformance.backends import SERVICE_BACKENDS


@pytest.fixture(params=SERVICE_BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    async with fresh_database(request, tmp_path) as url:
        yield url


@pytest.fixture
async def service(database: str) -> AsyncIterator[Service]:
    async with serving(database, role_scopes={"reporter": ["reports:*", "files:read"]}) as running:
        yield running


@pytest.mark.acceptance("AK3")
async def test_a_key_for_a_workspace_needs_a_member_of_it(service):
    ada = await service.user()
    token = await service.token()
    service.workspaces.members["theirs", "somebody else"] = "owner"
    with pytest.raises(PermissionDenied, match="member"):
        await create_api_key(service.db, ada.id, "theirs", name="CI")
    body = {"name": "CI", "workspace_id": "theirs"}
    assert (await service.call("POST", "/api-keys", token, json=body)).status_code == 403
    assert await list_api_keys(service.db, ada.id) == []
    service.workspaces.members["theirs", ada.id] = "viewer"
    made = await service.call("POST", "/api-keys", token, json=body)
    assert (made.status_code, made.json()["workspace_id"]) == (201, "theirs")
    assert (await service.call("GET", "/whoami", made.json()["key"])).json()["workspace_id"] == "theirs"


@pytest.mark.acceptance("AK3")
@pytest.mark.acceptance("AZ4")
async def test_a_key_dies_when_its_owner_leaves_the_workspace_or_is_shut_out(service):
    ada = await service.user()
    service.workspaces.members["w1", ada.id] = "owner"
    in_workspace = await create_api_key(service.db, ada.id, "w1", name="in w1")
    anywhere = await create_api_key(service.db, ada.id, name="anywhere")

    async def statuses():
        return [await service.status(key["key"]) for key in (in_workspace, anywhere)]

    assert await statuses() == [200, 200]
    del service.workspaces.members["w1", ada.id]
    await service.kernel.emit(SecurityEvent("workspace.member_removed", ada.id, None, {}))
    assert await statuses() == [401, 200]
    with pytest.raises(PermissionDenied):
        await rotate_api_key(service.db, in_workspace["id"])
    await deactivate_user(service.db, ada.id)
    assert await statuses() == [401, 401]
    for attempt in (rotate_api_key(service.db, anywhere["id"]), create_api_key(service.db, ada.id, name="new")):
        with pytest.raises(PermissionDenied):
            await attempt
    await activate_user(service.db, ada.id)
    assert await statuses() == [401, 200]
    async with service.db.transaction():
        await service.kernel.emit(UserDeleted(ada.id, ada.email))
    assert await statuses() == [401, 401]


@pytest.mark.acceptance("AK3")
async def test_a_key_for_a_workspace_is_refused_where_nobody_knows_its_members(database):
    async with serving(database) as service:
        ada = await service.user()
        service.workspaces.members["w1", ada.id] = "owner"
        key = await create_api_key(service.db, ada.id, "w1", name="in w1")
        assert await service.status(key["key"]) == 200
    async with serving(database, with_workspaces=False) as service:
        assert await service.status(key["key"]) == 401


@pytest.mark.acceptance("AZ4")
async def test_leaving_a_workspace_counts_within_a_second_also_where_nobody_says_so(database):
    async with serving(database, frozen_at=datetime(2026, 6, 1, tzinfo=UTC)) as service:
        ada = await service.user()
        service.workspaces.members["w1", ada.id] = "owner"
        key = await create_api_key(service.db, ada.id, "w1", name="in w1")
        assert await service.status(key["key"]) == 200
        del service.workspaces.members["w1", ada.id]
        service.client.clock.advance(1.0)
        assert await service.status(key["key"]) == 401


@pytest.mark.acceptance("AK3")
async def test_scopes_beyond_the_owners_are_refused_and_named(service):
    ada, rita = await service.user(), await service.user("rita@example.com", "reporter")
    for user, asked, missing in (
        (ada, ["reports:read", "admin"], "admin"),
        (ada, ["admin:*"], "admin:*"),
        (ada, ["admin:users:read"], "admin:users:read"),
        (rita, ["deployments:write"], "deployments:write"),
        (rita, ["files:*"], "files:*"),
        (rita, ["*"], "*"),
        (rita, ["reports"], "reports"),
    ):
        with pytest.raises(MissingScope) as caught:
            await create_api_key(service.db, user.id, name="CI", scopes=asked)
        assert missing in caught.value.message
        answer = await service.call(
            "POST", "/api-keys", await service.token(user.email), json={"name": "CI", "scopes": asked}
        )
        assert (answer.status_code, missing in answer.json()["detail"]) == (403, True)
        assert await list_api_keys(service.db, user.id) == []
    for user, asked in ((ada, ["*"]), (rita, ["reports:*"]), (rita, ["reports:read", "files:read"]), (rita, [])):
        assert (await create_api_key(service.db, user.id, name="CI", scopes=asked))["scopes"] == asked


@pytest.mark.acceptance("AK3")
@pytest.mark.acceptance("AZ4")
async def test_a_key_shrinks_and_grows_with_its_owner_and_never_beyond_what_it_was_given(service):
    ada = await service.user(role="admin")
    given = {
        "all": None,
        "star": ["*"],
        "admin": ["admin", "admin:users"],
        "reports": ["reports:read"],
        "deploy": ["deployments:write"],
        "none": [],
    }
    keys = {name: await create_api_key(service.db, ada.id, name=name, scopes=scopes) for name, scopes in given.items()}

    async def may(name):
        said = (await service.call("GET", "/whoami", keys[name]["key"])).json()
        return said["deploys"], said["administers"], said["scopes"]

    assert await may("all") == (True, True, ["*"])
    assert await may("star") == (True, True, ["*"])
    assert await may("admin") == (False, True, ["admin", "admin:users"])
    assert await may("none") == (False, False, [])
    await set_role(service.db, ada.id, "user")
    assert await may("all") == (True, False, ["*"])
    assert await may("star") == (True, False, ["*"])
    assert await may("admin") == (False, False, [])
    assert await may("deploy") == (True, False, ["deployments:write"])
    await set_role(service.db, ada.id, "reporter")
    assert await may("all") == (False, False, ["reports:*", "files:read"])
    assert await may("reports") == (False, False, ["reports:read"])
    assert await may("deploy") == (False, False, [])
    assert await may("none") == (False, False, [])
    await set_role(service.db, ada.id, "admin")
    assert await may("admin") == (False, True, ["admin", "admin:users"])
    assert await may("none") == (False, False, [])


@pytest.mark.acceptance("AK3")
async def test_a_route_that_a_key_may_call_cannot_make_it_another_key():
    router = APIRouter()

    @router.post("/more")
    async def more(auth: Auth = Depends(get_auth), db: EntityStore = Depends(db_connection)) -> str:
        return str((await create_api_key(db, auth.user_id, name="more"))["key"])

    @router.post("/again")
    async def again(auth: Auth = Depends(get_auth), db: EntityStore = Depends(db_connection)) -> str:
        return str((await rotate_api_key(db, auth.key_id or ""))["key"])

    @router.post("/meant")
    async def meant(auth: Auth = Depends(get_auth), db: EntityStore = Depends(db_connection)) -> str:
        with acting_as(auth.user_id):
            return str((await rotate_api_key(db, auth.key_id or ""))["key"])

    async with serving("sqlite://:memory:", routers=[router]) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI", scopes=["a:read"])
        for path in ("/more", "/again"):
            assert (await service.call("POST", path, key["key"])).status_code == 403
        assert len(await list_api_keys(service.db, ada.id)) == 1
        assert (await service.call("POST", "/more", await service.token())).status_code == 200
        assert (await service.call("POST", "/meant", key["key"])).status_code == 200


@pytest.mark.acceptance("AK1")
async def test_nothing_a_key_did_is_seen_by_the_next_request_of_the_same_task(service):
    ada = await service.user()
    service.workspaces.members["w1", ada.id] = "owner"
    key = await create_api_key(service.db, ada.id, "w1", name="CI")
    token = await service.token()

    async def in_one_task():
        said = [await service.call("GET", "/whoami", each) for each in (key["key"], None, token, key["key"])]
        return [(answer.status_code, answer.json().get("workspace_id")) for answer in said]

    expected = [(200, "w1"), (401, None), (200, None), (200, "w1")]
    assert await asyncio.gather(*(in_one_task() for _ in range(5))) == [expected] * 5


@pytest.mark.acceptance("AK3")
async def test_a_key_for_a_workspace_is_not_accepted_where_the_request_names_another():
    """The handler of a route may trust its path; its owner may well be a member of both."""
    router = APIRouter()

    @router.get("/workspaces/{workspace_id}/things")
    async def in_path(workspace_id: str, auth: Auth = Depends(get_auth)) -> str:
        return workspace_id

    async with serving("sqlite://:memory:", routers=[router]) as service:
        ada = await service.user()
        service.workspaces.members |= {("mine", ada.id): "owner", ("theirs", ada.id): "owner"}
        bound = await create_api_key(service.db, ada.id, "mine", name="CI")
        free = await create_api_key(service.db, ada.id, name="CI")
        other = [("X-Workspace-ID", "theirs")]
        refused = [
            await service.call("GET", "/workspaces/theirs/things", bound["key"]),
            await service.call("GET", "/workspaces/mine/things?workspace_id=theirs", bound["key"]),
            await service.call("GET", "/whoami?workspace_id=mine&workspace_id=theirs", bound["key"]),
            await service.call("GET", "/whoami?%77orkspace_id=theirs", bound["key"]),
            await service.call("GET", "/whoami", bound["key"], headers=other),
            await service.call("GET", "/whoami", bound["key"], headers=[("X-Workspace-ID", "mine"), *other]),
            await service.call("GET", "/workspaces/%20mine/things", bound["key"]),
            await service.call("GET", "/whoami?workspace_id=", bound["key"]),
        ]
        assert [answer.status_code for answer in refused] == [404] * 8
        assert {answer.json()["detail"] for answer in refused} == {"There is no such workspace."}
        mine = [("X-Workspace-ID", "mine")]
        for path in ("/workspaces/mine/things?workspace_id=mine", "/whoami"):
            assert await service.status(bound["key"], path, headers=mine) == 200
        assert await service.status(free["key"], "/workspaces/theirs/things") == 200
        assert await service.status(free["key"], "/workspaces/theirs/things", headers=mine) == 400
        for unknown in ("/workspaces/nobodys/things", "/whoami?%77orkspace_id=nobodys", "/whoami?workspace_id="):
            assert await service.status(free["key"], unknown) == 404
