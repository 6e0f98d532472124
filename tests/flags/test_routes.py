"""The routes under /flags."""

from datetime import UTC, datetime, timedelta

import pytest

from app_kernel.api_keys import create_api_key
from app_kernel.core.clock import frozen
from app_kernel.flags import set_flag
from tests.flags.serving import serving

MANAGEMENT = [
    ("GET", "/flags"),
    ("GET", "/flags/unused"),
    ("GET", "/flags/f"),
    ("PUT", "/flags/f"),
    ("PATCH", "/flags/f"),
    ("DELETE", "/flags/f"),
    ("GET", "/flags/f/explain"),
    ("GET", "/flags/f/history"),
]


async def test_an_admin_manages_flags(database):
    async with serving(database) as client:
        root = await client.log_in_as("root@example.com", role="admin")
        await check_management(root)
        with frozen(datetime.now(UTC) + timedelta(days=8)):
            later = await client.log_in_as("root@example.com")
            assert [each["name"] for each in (await later.get("/flags/unused?days=7")).json()] == ["g"]
            assert (await later.get("/flags/unused?days=9")).json() == []


async def check_management(root):
    made = await root.put("/flags/f", json={"enabled": True, "users": ["u"], "rollout_percent": 12.5})
    assert made.status_code == 201
    flag = made.json()
    assert (flag["name"], flag["rollout_percent"], flag["created_by"]) == ("f", 12.5, root.user.id)
    assert made.headers["cache-control"] == "no-store"
    assert (await root.get("/flags/f")).json() == flag

    patched = (await root.patch("/flags/f", json={"workspaces": ["w"]})).json()
    assert patched == {**flag, "workspaces": ["w"], "updated_at": patched["updated_at"]}
    replaced = await root.put("/flags/f", json={"enabled": True})
    assert (replaced.status_code, replaced.json()["rollout_percent"]) == (200, 100)
    assert (replaced.json()["users"], replaced.json()["workspaces"]) == ([], [])
    assert (await root.put("/flags/f", json={"enabled": True, "users": ["u"]})).json()["rollout_percent"] == 0

    await root.put("/flags/g", json={"enabled": False, "description": "Later."})
    assert [each["name"] for each in (await root.get("/flags")).json()] == ["f", "g"]
    assert [each["name"] for each in (await root.get("/flags?limit=1&offset=1")).json()] == ["g"]
    assert (await root.get("/flags/check?names=f")).json() == {"f": False}
    assert (await root.get("/flags/unused?days=7")).json() == []

    said = (await root.get("/flags/f/explain?user_id=u&workspace_id=w")).json()
    assert (said["enabled"], said["reason"], said["percent"], said["bucketed_by"]) == (True, "user_listed", 0, "user")
    assert (await root.get("/flags/none/explain")).json()["reason"] == "unknown"

    assert (await root.delete("/flags/f")).status_code == 204
    assert (await root.delete("/flags/f")).status_code == 404
    assert (await root.get("/flags/f")).status_code == 404
    assert (await root.patch("/flags/f", json={"enabled": True})).status_code == 404
    history = (await root.get("/flags/f/history")).json()
    assert [each["action"] for each in history] == ["create", "update", "update", "update", "purge"]
    assert {each["actor"] for each in history} == {root.user.id}
    assert history[1]["changes"] == {"workspaces": [[], ["w"]]}


@pytest.mark.acceptance("AZ1")
async def test_only_platform_admins_manage_flags():
    async with serving("sqlite://:memory:") as client:
        ada = await client.log_in_as("ada@example.com")
        root = await client.log_in_as("root@example.com", role="admin")
        await set_flag(client.db, "f", enabled=True, users=["somebody"])
        key = await create_api_key(client.db, root.user.id, name="CI")
        for method, path in MANAGEMENT:
            body = {"json": {"enabled": False}} if method in ("PUT", "PATCH") else {}
            assert (await client.request(method, path, **body)).status_code == 401, (method, path)
            keyed = await client.request(method, path, headers={"X-API-Key": key["key"]}, **body)
            assert keyed.status_code == 401, (method, path)
            refused = await ada.request(method, path, **body)
            assert refused.status_code == 403, (method, path)
            assert "somebody" not in refused.text
        assert (await root.get("/flags/f")).json()["enabled"] is True
        paths = (await client.get("/openapi.json")).json()["paths"]
        found = {(method.upper(), path.replace("{name}", "f")) for path in paths for method in paths[path]}
        assert {each for each in found if each[1].startswith("/flags")} == {*MANAGEMENT, ("GET", "/flags/check")}


async def test_anybody_asks_about_themselves_and_learns_of_nobody_else():
    members: dict[str, str] = {}
    async with serving("sqlite://:memory:", members=members) as client:
        ada = await client.log_in_as("ada@example.com")
        bob = await client.log_in_as("bob@example.com")
        members[bob.user.id] = "w1"
        await set_flag(client.db, "for_ada", enabled=True, users=[ada.user.id])
        await set_flag(client.db, "for_w1", enabled=True, workspaces=["w1"])
        await set_flag(client.db, "for_all", enabled=True)
        path = "/flags/check?names=for_ada,for_all,for_w1,unknown"
        off = {"for_ada": False, "for_all": True, "for_w1": False, "unknown": False}
        assert (await client.get(path)).json() == off
        answer = await ada.get(path)
        assert answer.json() == {**off, "for_ada": True}
        assert answer.headers["cache-control"] == "no-store"
        assert (await bob.get(path, headers={"X-Workspace-ID": "w1"})).json() == {**off, "for_w1": True}
        # Naming another one's id, or a workspace of others, shows nothing of theirs.
        assert (await client.get(f"{path}&user_id={ada.user.id}&workspace_id=w1")).json() == off
        assert (await ada.get(f"{path}&workspace_id=w1")).json() == {**off, "for_ada": True}
        # A flag that does not exist looks as one that is off.
        assert (await client.get("/flags/check?names=%20for_ada%20,,none")).json() == {"for_ada": False, "none": False}


async def test_what_no_flag_can_have_is_422_and_says_so(small_client):
    root = await small_client.log_in_as("root@example.com", role="admin")
    await root.put("/flags/f", json={"enabled": True})
    for body in (
        {},
        {"enabled": None},
        {"enabled": "yes"},
        {"enabled": True, "percent": 10},
        {"enabled": True, "rollout_percent": 101},
        {"enabled": True, "rollout_percent": 0.001},
        {"enabled": True, "users": "u"},
        {"enabled": True, "users": [""]},
        {"enabled": True, "workspaces": [1]},
        {"enabled": True, "workspaces": ["w"] * 1001},
    ):
        assert (await root.put("/flags/f", json=body)).status_code == 422, body
    for body in ({"rollout_percent": None}, {"users": None}, {"enabled": None}, {"user": ["u"]}):
        assert (await root.patch("/flags/f", json=body)).status_code == 422, body
    assert (await root.put("/flags/check", json={"enabled": True})).status_code == 422
    assert (await root.get("/flags/a%20b")).status_code == 422
    assert (await root.get("/flags/unused?days=0")).status_code == 422
    for names in ("", ",", "a b", ",".join(f"f{number}" for number in range(101))):
        answer = await small_client.get("/flags/check", params={"names": names})
        assert answer.status_code == 422, names
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await small_client.get("/flags/check")).status_code == 422
    assert (await root.get("/flags/f")).json()["rollout_percent"] == 100


async def test_without_accounts_nobody_manages_flags_and_the_check_is_for_everybody():
    async with serving("sqlite://:memory:", auth_enabled=False, jwt_secret=None) as client:
        await set_flag(client.db, "f", enabled=True)
        assert (await client.get("/flags")).status_code == 401
        assert (await client.get("/flags/check?names=f")).json() == {"f": True}
