"""The routes under /api-keys: one's own keys only, and nothing in a body that the kernel decides."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app_kernel.api_keys import create_api_key, looks_like_api_key
from app_kernel.api_keys.tables import API_KEYS
from app_kernel.core import clock
from app_kernel.core.errors import InvalidApiKeyRequest
from tests.api_keys.serving import serving

FORGED = {
    "id": "forged",
    "user_id": "forged",
    "owner_id": "forged",
    "key": "forged",
    "key_hash": "forged",
    "hash": "forged",
    "prefix": "forged",
    "created_at": "2001-01-01T00:00:00Z",
    "created_by": "forged",
    "updated_at": "2001-01-01T00:00:00Z",
    "updated_by": "forged",
    "deleted_at": "2001-01-01T00:00:00Z",
    "expires_at": "2099-01-01T00:00:00Z",
    "revoked_at": "2001-01-01T00:00:00Z",
    "last_used_at": "2001-01-01T00:00:00Z",
    "replaced_by": "forged",
    "role": "admin",
    "is_active": False,
    "version": 99,
    "_version": 99,
}


async def test_a_key_is_made_shown_renamed_rotated_and_revoked_over_http(service):
    ada = await service.user()
    token = await service.token()
    made = await service.call("POST", "/api-keys", token, json={"name": "CI", "scopes": ["a:read"]})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    key = made.json()
    assert looks_like_api_key(key["key"])
    assert key["key"].startswith(key["prefix"])
    assert (key["user_id"], key["workspace_id"], key["expires_at"]) == (ada.id, None, None)
    assert (await service.call("GET", "/whoami", key["key"])).json()["scopes"] == ["a:read"]
    await service.live.uses.flush()

    listed = await service.call("GET", "/api-keys", token)
    shown = await service.call("GET", f"/api-keys/{key['id']}", token)
    assert listed.json() == [shown.json()]
    assert shown.json()["last_used_at"] is not None
    assert set(shown.json()) == set(key) - {"key"}
    for answer in (listed, shown):
        assert answer.headers["cache-control"] == "no-store"
        assert key["key"] not in answer.text
        assert key["key"][20:52] not in answer.text

    renamed = await service.call("PATCH", f"/api-keys/{key['id']}", token, json={"name": "Pipeline"})
    assert (renamed.status_code, renamed.json()["name"]) == (200, "Pipeline")
    rotated = await service.call("POST", f"/api-keys/{key['id']}/rotate", token, json={"overlap_hours": 0})
    assert (rotated.status_code, rotated.headers["cache-control"]) == (201, "no-store")
    assert [await service.status(each["key"]) for each in (key, rotated.json())] == [401, 200]
    for _ in range(2):
        gone = await service.call("DELETE", f"/api-keys/{rotated.json()['id']}", token)
        assert (gone.status_code, gone.text) == (204, "")
    assert await service.status(rotated.json()["key"]) == 401


async def test_without_a_body_a_rotation_overlaps_for_a_day():
    async with serving("sqlite://:memory:", frozen_at=datetime(2026, 3, 1, tzinfo=UTC)) as service:
        ada = await service.user()
        token = await service.token()
        key = await create_api_key(service.db, ada.id, name="CI")
        assert (await service.call("POST", f"/api-keys/{key['id']}/rotate", token)).status_code == 201
        shown = (await service.call("GET", f"/api-keys/{key['id']}", token)).json()
        assert datetime.fromisoformat(shown["expires_at"]) == clock.now() + timedelta(days=1)


@pytest.mark.acceptance("AZ5")
async def test_what_a_body_says_about_what_the_kernel_decides_is_refused(service):
    ada = await service.user()
    token = await service.token()
    for forged in ({**FORGED, "name": "CI"}, {"name": "CI", "scope": ["a:b"]}, {"name": "CI", "expires_in": 30}):
        assert (await service.call("POST", "/api-keys", token, json=forged)).status_code == 422
    assert await service.db.privileged.count_entities(API_KEYS) == 0
    made = (await service.call("POST", "/api-keys", token, json={"name": "CI"})).json()
    path = f"/api-keys/{made['id']}"
    before = await service.db.privileged.get_entity(API_KEYS, made["id"])
    assert "forged" not in repr(before)
    assert (before["user_id"], before["created_by"], before["_version"]) == (ada.id, ada.id, 1)
    assert before["expires_at"] is before["revoked_at"] is before["replaced_by"] is None
    assert before["created_at"] > "2026"
    assert await service.db.privileged.get_entity(API_KEYS, "forged") is None

    patch = {**FORGED, "name": "renamed", "scopes": ["*"], "workspace_id": "w", "expires_in_days": 3650}
    assert (await service.call("PATCH", path, token, json=patch)).status_code == 422
    assert (await service.call("PATCH", path, token, json={"name": "renamed"})).status_code == 200
    after = await service.db.privileged.get_entity(API_KEYS, made["id"])
    changed = {field for field in after if after[field] != before[field]}
    assert changed == {"name", "updated_at", "_version"}

    widened = await service.call("POST", f"{path}/rotate", token, json={**FORGED, "scopes": ["*"]})
    assert widened.status_code == 422
    rotated = (await service.call("POST", f"{path}/rotate", token, json={})).json()
    row = await service.db.privileged.get_entity(API_KEYS, rotated["id"])
    assert "forged" not in repr(row)
    assert (row["user_id"], row["scopes"], row["name"]) == (ada.id, None, "renamed")
    assert await service.status(made["key"]) == 200


async def test_the_keys_of_others_are_not_there(service):
    ada = await service.user()
    await service.user("eve@example.com", "admin")
    key = await create_api_key(service.db, ada.id, name="of ada")
    before = await service.db.privileged.get_entity(API_KEYS, key["id"])
    eve = await service.token("eve@example.com")
    for method, path, options in (
        ("GET", "/api-keys/{id}", {}),
        ("PATCH", "/api-keys/{id}", {"json": {"name": "mine"}}),
        ("DELETE", "/api-keys/{id}", {}),
        ("POST", "/api-keys/{id}/rotate", {"json": {"overlap_hours": 1}}),
    ):
        theirs = await service.call(method, path.format(id=key["id"]), eve, **options)
        nobodys = await service.call(method, path.format(id="nobody"), eve, **options)
        assert [theirs.status_code, nobodys.status_code] == [404, 404], method
        assert theirs.json()["detail"] == nobodys.json()["detail"]
        for strange in ("%00", "x" * 300, "%F0%9F%92%A9", "a'b", "..%2f.."):
            answer = await service.call(method, path.format(id=strange), eve, **options)
            assert answer.status_code in (404, 405, 422)
    assert await service.db.privileged.get_entity(API_KEYS, key["id"]) == before
    assert (await service.call("GET", "/api-keys", eve)).json() == []


@pytest.mark.acceptance("AK4")
async def test_a_lifetime_that_no_key_can_have_is_refused(small_service):
    service = small_service
    ada = await service.user()
    token = await service.token()
    for days in (0, -1, 1_000_000_000, 3651, 1.5, 90.0, 1e9, "90", True, [], 10**30):
        answer = await service.call("POST", "/api-keys", token, json={"name": "CI", "expires_in_days": days})
        assert answer.status_code == 422, days
        assert "expires_in_days" in answer.text
        with pytest.raises(InvalidApiKeyRequest, match="expires_in_days"):
            await create_api_key(service.db, ada.id, name="CI", expires_in_days=days)
    assert (await service.call("GET", "/api-keys", token)).json() == []


@pytest.mark.acceptance("AK4")
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=-11))])
async def test_a_key_is_refused_from_the_very_second_on_in_every_time_zone(database, zone):
    # The last hour before clocks go forward in Europe: a day of a key has 24 hours nevertheless.
    at = datetime(2026, 3, 28, 23, 30, 0, tzinfo=zone)
    async with serving(database, frozen_at=at) as service:
        ada = await service.user()
        for days in (1, 90, 3650):
            start = clock.now()
            key = await create_api_key(service.db, ada.id, name="CI", expires_in_days=days)
            end = start + timedelta(days=days)
            assert key["expires_at"] == end
            assert await service.status(key["key"]) == 200
            service.client.clock.advance((end - clock.now()).total_seconds() - 0.5)
            assert await service.status(key["key"]) == 200  # and remembered for a second, were it not for its end
            service.client.clock.advance(0.5)
            assert clock.now() == end
            assert await service.status(key["key"]) == 401
            service.live.forget(key_id=key["id"])
            assert await service.status(key["key"]) == 401


async def test_a_body_that_makes_no_key_is_422(small_service):
    await small_service.user()
    token = await small_service.token()
    for body in (
        {},
        {"name": ""},
        {"name": "a\nb"},
        {"name": 5},
        {"name": "x" * 101},
        {"name": "CI", "scopes": "a"},
        {"name": "CI", "scopes": ["a b"]},
        {"name": "CI", "scopes": [5]},
        {"name": "CI", "scopes": ["a"] * 101},
        {"name": "CI", "workspace_id": ""},
        [],
    ):
        answer = await small_service.call("POST", "/api-keys", token, json=body)
        assert answer.status_code == 422, body


async def test_without_workspaces_a_key_for_one_is_refused_with_the_reason():
    async with serving("sqlite://:memory:", with_workspaces=False) as service:
        ada = await service.user()
        answer = await service.call(
            "POST", "/api-keys", await service.token(), json={"name": "CI", "workspace_id": "w1"}
        )
        assert answer.status_code == 422
        assert "no workspaces" in answer.json()["detail"]
        with pytest.raises(InvalidApiKeyRequest, match="Memberships"):
            await create_api_key(service.db, ada.id, "w1", name="CI")
