"""The life of a key, on SQLite and PostgreSQL: made, used, renamed, rotated, revoked, gone with its owner."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from app_kernel import acting_as
from app_kernel.api_keys import (
    create_api_key,
    get_api_key,
    keys,
    list_api_keys,
    rename_api_key,
    revoke_api_key,
    revoke_api_keys,
    rotate_api_key,
    store,
)
from app_kernel.api_keys.keys import MAX_LIVE
from app_kernel.api_keys.tables import API_KEYS, USES
from app_kernel.auth import delete_user, set_role
from app_kernel.core import clock
from app_kernel.core.errors import (
    AccountNotFound,
    ApiKeyNotFound,
    InvalidApiKeyRequest,
    NoRunningKernel,
    VersionConflict,
)
from app_kernel.core.events import OwnershipProven
from app_kernel.db import connect, get_db_connection
from tests.api_keys.serving import SECRET, serving

AT = datetime(2026, 3, 28, 12, 0, 0, tzinfo=UTC)


async def row_of(service, key_id):
    return await service.db.privileged.get_entity(API_KEYS, key_id)


@pytest.mark.acceptance("AK1")
async def test_a_key_is_made_used_by_many_at_once_and_refused_once_it_is_revoked(service):
    ada = await service.user()
    key = await create_api_key(service.db, ada.id, name="CI", scopes=["deployments:write"], expires_in_days=90)
    before = await row_of(service, key["id"])
    answers = await asyncio.gather(*(service.call("GET", "/whoami", key["key"]) for _ in range(100)))
    assert [answer.status_code for answer in answers] == [200] * 100
    assert {answer.json()["key_id"] for answer in answers} == {key["id"]}
    made = await service.call("POST", "/deployments", key["key"])
    assert (made.status_code, made.json()["created_by"]) == (200, ada.id)
    await service.live.uses.flush()
    assert await row_of(service, key["id"]) == before  # a use touches nothing of the key itself
    assert (await get_api_key(service.db, key["id"]))["last_used_at"] is not None

    assert await revoke_api_key(service.db, key["id"])
    assert await service.status(key["key"]) == 401
    after = await row_of(service, key["id"])
    moved = {"revoked_at", "updated_at", "_version"}
    assert {field: value for field, value in after.items() if field not in moved} == {
        field: value for field, value in before.items() if field not in moved
    }
    assert not await revoke_api_key(service.db, key["id"])
    assert not await revoke_api_key(service.db, "nobody")
    assert service.names() == ["api_key.created", "api_key.revoked", "api_key.refused"]


@pytest.mark.acceptance("AK1")
async def test_the_last_use_is_written_once_a_minute_however_often_and_wherever_a_key_is_used(database, monkeypatch):
    writes = []
    write = store.write_uses

    async def counting(db, uses):
        writes.append(uses)
        await write(db, uses)

    monkeypatch.setattr(store, "write_uses", counting)
    async with serving(database, frozen_at=AT) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="busy")
        other = type(service.live)(service.kernel)  # as in another process

        async def use_and_write(seconds: int) -> int:
            for _ in range(seconds * 2):
                for live in (service.live, other):
                    await live.check(key["key"], get_db_connection)
                    service.client.clock.advance(0.25)
                for live in (service.live, other):
                    await live.uses.flush()
            return (await service.db.privileged.get_entity(USES, key["id"]))["_version"]

        assert await use_and_write(30) == 2  # the row was made with the key, and written once
        assert (await get_api_key(service.db, key["id"]))["last_used_at"] == AT
        assert await use_and_write(29) == 2
        assert await use_and_write(2) == 3
        assert len(writes) == 4  # by each of the two, in the first second and after a minute
        assert await use_and_write(60) <= 4


async def test_uses_are_written_beside_the_requests_and_once_more_at_the_end(tmp_path):
    database = f"sqlite:///{tmp_path / 'app.db'}"
    async with serving(database) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="short-lived")
        assert await service.status(key["key"]) == 200
    async with connect(database) as db:
        assert (await get_api_key(db, key["id"]))["last_used_at"] is not None


async def test_uses_of_a_key_that_is_gone_bring_nothing_back(service):
    ada = await service.user()
    key = await create_api_key(service.db, ada.id, name="gone")
    assert await service.status(key["key"]) == 200
    await service.live.uses.flush()
    await store.delete_keys(service.db, [key["id"]])
    await store.write_uses(service.db, {key["id"]: clock.now() + timedelta(minutes=5)})
    assert await service.db.privileged.get_entities(USES, [key["id"]]) == []


async def test_a_rotated_key_overlaps_with_the_one_that_takes_its_place(database):
    async with serving(database, frozen_at=AT) as service:
        ada = await service.user()
        old = await create_api_key(service.db, ada.id, name="CI", scopes=["a:read"], expires_in_days=10)
        service.client.clock.advance(3600)
        new = await rotate_api_key(service.db, old["id"], overlap_hours=2)
        assert new["id"] != old["id"]
        assert new["key"] != old["key"]
        assert (new["name"], new["scopes"], new["user_id"]) == ("CI", ["a:read"], ada.id)
        assert new["expires_at"] == clock.now() + timedelta(days=10)
        assert [await service.status(key["key"]) for key in (old, new)] == [200, 200]
        service.client.clock.advance(7199)
        assert [await service.status(key["key"]) for key in (old, new)] == [200, 200]
        service.client.clock.advance(1)
        assert [await service.status(key["key"]) for key in (old, new)] == [401, 200]
        kept = await get_api_key(service.db, old["id"])
        assert kept["replaced_by"] == new["id"]
        assert "api_key.rotated" in service.names()

        at_once = await rotate_api_key(service.db, new["id"], overlap_hours=0)
        assert [await service.status(key["key"]) for key in (new, at_once)] == [401, 200]
        for ended in (old, new):
            with pytest.raises(InvalidApiKeyRequest):
                await rotate_api_key(service.db, ended["id"])
        with pytest.raises(ApiKeyNotFound):
            await rotate_api_key(service.db, "nobody")
        for hours in (-1, 721, 1.5, True, "1", None):
            with pytest.raises(InvalidApiKeyRequest):
                await rotate_api_key(service.db, at_once["id"], overlap_hours=hours)


async def test_a_rotation_does_not_let_the_old_key_live_longer():
    async with serving("sqlite://:memory:", frozen_at=AT) as service:
        ada = await service.user()
        old = await create_api_key(service.db, ada.id, name="CI", expires_in_days=1)
        await rotate_api_key(service.db, old["id"], overlap_hours=720)
        service.client.clock.advance(86_400)
        assert await service.status(old["key"]) == 401


async def test_of_two_rotations_at_once_one_wins(service):
    ada = await service.user()
    key = await create_api_key(service.db, ada.id, name="CI")
    rotations = [rotate_api_key(service.db, key["id"]) for _ in range(4)]
    results = await asyncio.gather(*rotations, return_exceptions=True)
    refused = [each for each in results if isinstance(each, VersionConflict | InvalidApiKeyRequest)]
    assert len(refused) == 3, results
    assert len(await list_api_keys(service.db, ada.id)) == 2


async def test_keys_are_listed_without_what_they_are_used_with(service):
    ada, bob = await service.user(), await service.user("bob@example.com")
    keys = [await create_api_key(service.db, ada.id, name=f"key {number}") for number in range(3)]
    await create_api_key(service.db, bob.id, name="of somebody else")
    await service.status(keys[1]["key"])
    await service.live.uses.flush()
    listed = await list_api_keys(service.db, ada.id)
    assert [key["name"] for key in listed] == ["key 2", "key 1", "key 0"]
    assert [key["last_used_at"] is not None for key in listed] == [False, True, False]
    assert [key["name"] for key in await list_api_keys(service.db, ada.id, limit=1, offset=1)] == ["key 1"]
    for shown in (*listed, await get_api_key(service.db, keys[0]["id"])):
        assert set(shown) == set(keys[0]) - {"key"}
        assert "key_hash" not in shown


async def test_a_name_can_be_changed(small_service):
    service = small_service
    ada = await service.user()
    key = await create_api_key(service.db, ada.id, name=" before ")
    assert key["name"] == "before"
    assert (await service.call("GET", "/whoami", key["key"])).json()["key_name"] == "before"
    assert (await rename_api_key(service.db, key["id"], "after"))["name"] == "after"
    assert (await service.call("GET", "/whoami", key["key"])).json()["key_name"] == "after"
    with pytest.raises(ApiKeyNotFound):
        await rename_api_key(service.db, "nobody", "after")
    for name in ("", "  ", "a\nb", "a\x00", "\ud800", "x" * 101, None, 5):
        with pytest.raises(InvalidApiKeyRequest):
            await rename_api_key(service.db, key["id"], name)


async def test_a_user_has_a_hundred_live_keys_at_most_also_when_many_are_made_at_once(service):
    ada = await service.user()
    rows = [
        {"user_id": ada.id, "name": "old", "prefix": f"p{n}", "key_hash": "-", "expires_at": None, "revoked_at": None}
        for n in range(MAX_LIVE - 2)
    ]
    await service.db.privileged.save_entities(API_KEYS, rows)
    making = [create_api_key(service.db, ada.id, name="new") for _ in range(8)]
    made = [key for key in await asyncio.gather(*making, return_exceptions=True) if isinstance(key, dict)]
    assert len(made) == 2
    assert await store.count_live(service.db, ada.id, replaced=False) == MAX_LIVE
    with pytest.raises(InvalidApiKeyRequest, match="at most 100"):
        await create_api_key(service.db, ada.id, name="one too many")
    await rotate_api_key(service.db, made[0]["id"])  # a full list must not keep anybody from rotating
    await revoke_api_key(service.db, made[1]["id"])
    assert await create_api_key(service.db, ada.id, name="after a revocation")


async def test_of_rotations_at_once_no_more_go_on_than_keys_may_overlap(service, monkeypatch):
    monkeypatch.setattr(keys, "MAX_LIVE", 4)
    ada = await service.user()
    made = [await create_api_key(service.db, ada.id, name="CI") for _ in range(4)]
    for _ in range(2):
        rotations = [rotate_api_key(service.db, key["id"], overlap_hours=720) for key in made]
        done = await asyncio.gather(*rotations, return_exceptions=True)
        made = [key for key in done if isinstance(key, dict)]
        assert all(isinstance(error, InvalidApiKeyRequest) for error in done if not isinstance(error, dict))
        made = made or [key for key in await list_api_keys(service.db, ada.id) if key["replaced_by"] is None]
        live = [await store.count_live(service.db, ada.id, replaced=replaced) for replaced in (False, True)]
        assert live == [4, 4]
    assert await rotate_api_key(service.db, made[0]["id"], overlap_hours=0)  # a key that leaked can always be replaced


async def test_however_often_a_key_is_rotated_a_bounded_number_is_kept_and_live_ones_stay(database, monkeypatch):
    monkeypatch.setattr(store, "KEEP", 6)
    async with serving(database) as service:
        ada = await service.user()
        stays = await create_api_key(service.db, ada.id, name="stays")
        last = await create_api_key(service.db, ada.id, name="CI")
        for _ in range(10):
            last = await rotate_api_key(service.db, last["id"], overlap_hours=0)
        listed = [key["id"] for key in await list_api_keys(service.db, ada.id)]
        assert len(listed) <= 6
        assert {stays["id"], last["id"]} <= set(listed)
        assert await service.db.privileged.count_entities(USES) == len(listed)


async def test_all_keys_of_a_user_end_at_once(service):
    ada, bob = await service.user(), await service.user("bob@example.com")
    made = [await create_api_key(service.db, ada.id, name="CI") for _ in range(3)]
    await revoke_api_key(service.db, made[0]["id"])
    other = await create_api_key(service.db, bob.id, name="other")
    assert (await service.call("DELETE", "/api-keys", await service.token())).status_code == 204
    assert [await service.status(key["key"]) for key in (*made, other)] == [401] * 3 + [200]
    assert service.names().count("api_key.revoked") == 3
    assert await revoke_api_keys(service.db, ada.id) == 0
    assert await revoke_api_keys(service.db, bob.id) == 1


async def test_keys_that_ended_long_ago_go_when_new_ones_are_made(database):
    async with serving(database, frozen_at=AT) as service:
        ada = await service.user()
        ended = [await create_api_key(service.db, ada.id, name="short", expires_in_days=1) for _ in range(2)]
        kept = await create_api_key(service.db, ada.id, name="kept")
        service.client.clock.advance(90 * 86_400)
        newer = await create_api_key(service.db, ada.id, name="newer")
        assert len(await list_api_keys(service.db, ada.id)) == 4
        service.client.clock.advance(2 * 86_400)
        newest = await create_api_key(service.db, ada.id, name="newest")
        names = [key["id"] for key in await list_api_keys(service.db, ada.id)]
        assert names == [newest["id"], newer["id"], kept["id"]]
        assert await service.db.privileged.get_entities(USES, [key["id"] for key in ended]) == []


@pytest.mark.parametrize("deleted", [True, False])
async def test_the_keys_of_a_user_go_in_the_commit_that_takes_the_account_away(service, deleted):
    ada, bob = await service.user(), await service.user("bob@example.com")
    keys = [await create_api_key(service.db, ada.id, name="one") for _ in range(3)]
    other = await create_api_key(service.db, bob.id, name="other")

    async def take_away():
        await (delete_user(service.db, ada.id) if deleted else service.kernel.emit(OwnershipProven(ada.id)))

    with pytest.raises(RuntimeError):
        async with service.db.transaction():
            await take_away()
            raise RuntimeError
    assert [await service.status(key["key"]) for key in keys] == [200] * 3
    async with service.db.transaction():
        await take_away()
    assert [await service.status(key["key"]) for key in (*keys, other)] == [401] * 3 + [200]
    assert await service.db.privileged.count_entities(API_KEYS, "[user_id] = ?", (ada.id,)) == 0
    assert await service.db.privileged.count_entities(USES) == 1


async def test_a_key_made_with_an_older_secret_works_and_its_hash_is_renewed_by_use(database):
    new_secret = "newer-" + SECRET
    async with serving(database) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
        first = (await row_of(service, key["id"]))["key_hash"]
    async with serving(database, jwt_secret=new_secret, jwt_secret_previous=SECRET) as service:
        assert await service.status(key["key"]) == 200
        await service.live.uses.flush()
        assert (await row_of(service, key["id"]))["key_hash"] != first
    async with serving(database, jwt_secret=new_secret) as service:
        assert await service.status(key["key"]) == 200
    async with serving(database, jwt_secret=SECRET) as service:
        assert await service.status(key["key"]) == 401


async def test_a_key_is_a_part_of_the_transaction_in_which_it_is_made(service):
    ada = await service.user()
    made = []
    for error in (RuntimeError, None):
        try:
            async with service.db.transaction():
                made.append(await create_api_key(service.db, ada.id, name="CI"))
                if error is not None:
                    raise error
        except RuntimeError:
            continue
    assert [await service.status(key["key"]) for key in made] == [401, 200]


async def test_what_no_key_can_have_is_refused_and_named(small_service):
    service = small_service
    ada = await service.user()

    async def refused(**given):
        with pytest.raises(InvalidApiKeyRequest) as caught:
            await create_api_key(service.db, ada.id, **{"name": "CI", **given})
        return caught.value.message

    for scopes in (["a b"], [""], [5], "a", ["a"] * 101, 5, {"a": 1}):
        assert "scope" in await refused(scopes=scopes)
    assert "name" in await refused(name="")
    with pytest.raises(AccountNotFound):
        await create_api_key(service.db, "nobody", name="CI")
    made = await create_api_key(service.db, ada.id, name="CI", scopes=("b", "a", "b"))
    assert made["scopes"] == ["b", "a"]


async def test_without_a_running_service_keys_are_listed_and_revoked_but_not_made(tmp_path):
    database = f"sqlite:///{tmp_path / 'app.db'}"
    async with serving(database) as service:
        ada = await service.user()
        key = await create_api_key(service.db, ada.id, name="CI")
    async with connect(database) as db:
        assert len(await list_api_keys(db, ada.id)) == 1
        assert await revoke_api_key(db, key["id"])
        with pytest.raises(NoRunningKernel):
            await create_api_key(db, ada.id, name="CI")


async def test_security_events_say_who_did_it(small_service):
    service = small_service
    ada, boss = await service.user(), await service.user("boss@example.com", "admin")
    with acting_as(boss.id):
        key = await create_api_key(service.db, ada.id, name="CI", scopes=["a:read"])
        await rotate_api_key(service.db, key["id"])
        await revoke_api_key(service.db, key["id"])
    said = [event for event in service.events if event.name.startswith("api_key.")]
    assert [event.name for event in said] == ["api_key.created", "api_key.rotated", "api_key.revoked"]
    assert {(event.user_id, event.actor_id) for event in said} == {(ada.id, boss.id)}
    assert said[0].detail["key_id"] == key["id"]
    assert key["key"] not in repr(service.events)


async def test_a_change_of_role_counts_at_once_in_this_process(small_service):
    service = small_service
    ada = await service.user(role="admin")
    key = await create_api_key(service.db, ada.id, name="root", scopes=["admin:users", "deployments:write"])
    first = (await service.call("GET", "/whoami", key["key"])).json()
    assert first["scopes"] == ["admin:users", "deployments:write"]
    await set_role(service.db, ada.id, "user")
    second = (await service.call("GET", "/whoami", key["key"])).json()
    assert second["scopes"] == ["deployments:write"]
