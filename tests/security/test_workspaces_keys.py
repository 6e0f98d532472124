"""API keys in workspaces: never more than their owner has there, now."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app_kernel.api_keys import create_api_key, rotate_api_key
from app_kernel.auth import deactivate_user
from app_kernel.core.errors import PermissionDenied
from app_kernel.saas import add_member, delete_workspace, remove_member, restore_workspace
from tests.conformance.backends import SERVICE_BACKENDS
from tests.saas.serving import Service, fresh_database, serving


@pytest.fixture(params=SERVICE_BACKENDS)
async def spaces(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Service]:
    async with fresh_database(request, tmp_path) as url, serving(url) as running:
        yield running


async def ask(service: Service, key: str, path: str = "/key", **headers: str) -> object:
    answer = await service.call("GET", path, key, **headers)
    return answer.json() if answer.status_code == 200 else answer.status_code


@pytest.mark.acceptance("AK3")
async def test_a_key_for_a_workspace_lives_as_long_as_its_owner_is_in_it(spaces: Service) -> None:
    ada, bob = await spaces.people("ada", "bob")
    db, workspace_id = spaces.db, await ada.made()
    with pytest.raises(PermissionDenied):
        await create_api_key(db, bob.id, workspace_id, name="CI")
    refused = await bob.post("/api-keys", {"name": "CI", "workspace_id": workspace_id})
    assert refused.status_code == 403
    await add_member(db, workspace_id, bob.id, "viewer")
    made = await create_api_key(db, bob.id, workspace_id, name="CI")
    key = made["key"]
    inside = [workspace_id, workspace_id]
    assert await ask(spaces, key) == inside
    assert await ask(spaces, key, f"/key?workspace_id={workspace_id}") == inside
    await remove_member(db, workspace_id, bob.id)
    assert await ask(spaces, key) == 401
    with pytest.raises(PermissionDenied):
        await rotate_api_key(db, made["id"])
    await add_member(db, workspace_id, bob.id, "member")
    assert await ask(spaces, key) == inside
    await delete_workspace(db, workspace_id)
    assert await ask(spaces, key) == 401
    with pytest.raises(PermissionDenied):
        await create_api_key(db, bob.id, workspace_id, name="CI")
    await restore_workspace(db, workspace_id)
    assert await ask(spaces, key) == inside
    await deactivate_user(db, bob.id)
    assert await ask(spaces, key) == 401


@pytest.mark.acceptance("AK3")
async def test_a_key_without_a_workspace_works_only_where_its_owner_is_in(spaces: Service) -> None:
    ada, bob = await spaces.people("ada", "bob")
    db, first, second = spaces.db, await ada.made("first"), await ada.made("second")
    await add_member(db, first, bob.id)
    key = (await create_api_key(db, bob.id, name="CI"))["key"]
    assert await ask(spaces, key) == [None, None]
    assert await ask(spaces, key, f"/key?workspace_id={first}") == [first, first]
    assert await ask(spaces, key, x_workspace_id=first) == [first, first]
    for path in (f"/key?workspace_id={second}", f"/key?%77orkspace_id={second}", "/key?workspace_id="):
        assert await ask(spaces, key, path) == 404
    assert await ask(spaces, key, f"/key?workspace_id={first}", x_workspace_id=second) == 400
    # The workspace that its owner works in is the owner's affair.
    await bob.call("PUT", "/auth/me/workspace", {"workspace_id": first})
    assert await ask(spaces, key) == [None, None]
    assert (await bob.get("/key")).json() == [first, first]
    assert (await bob.get(f"/key?workspace_id={second}")).json() == [None, None]
    await remove_member(db, first, bob.id)
    assert await ask(spaces, key, f"/key?workspace_id={first}") == 404
    assert (await bob.get("/key")).json() == [None, None]


@pytest.mark.acceptance("AK3")
async def test_a_key_manages_no_workspace(spaces: Service) -> None:
    ada = await spaces.person()
    workspace_id = await ada.made()
    for owned in (None, workspace_id):
        key = (await create_api_key(spaces.db, ada.id, owned, name="CI", scopes=["*"]))["key"]
        for method, path in (
            ("GET", "/workspaces"),
            ("POST", "/workspaces"),
            ("GET", f"/workspaces/{workspace_id}"),
            ("DELETE", f"/workspaces/{workspace_id}"),
            ("POST", f"/workspaces/{workspace_id}/restore"),
            ("GET", f"/workspaces/{workspace_id}/members"),
            ("DELETE", f"/workspaces/{workspace_id}/members/{ada.id}"),
            ("POST", f"/workspaces/{workspace_id}/leave"),
            ("GET", f"/workspaces/{workspace_id}/invites"),
            ("GET", "/invites"),
            ("GET", "/auth/me/workspace"),
            ("GET", f"/w/{workspace_id}/admin"),
        ):
            assert (await spaces.call(method, path, key)).status_code == 401, (method, path)
