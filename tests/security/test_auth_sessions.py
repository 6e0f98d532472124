"""Sessions end when they are ended, everywhere, and a copied refresh token gives itself away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import Context
from pathlib import Path

import httpx2
import pytest

from app_kernel.auth import deactivate_user, set_password, set_role, store
from app_kernel.core import clock
from app_kernel.core.errors import Unavailable
from tests.auth.forging import parts
from tests.auth.serving import NEW_PASSWORD, PASSWORD, Service, serving
from tests.conformance.backends import Place


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Service]:
    async with serving(place.url) as running:
        yield running


async def refresh(service: Service, token: str) -> httpx2.Response:
    return await service.call("POST", "/auth/refresh", json={"refresh_token": token})


@pytest.mark.acceptance("AU6")
async def test_a_refresh_token_used_again_later_ends_its_session(service):
    with clock.frozen() as time_:
        first = await service.sign_up()
        other = (await service.sign_in()).json()
        second = (await refresh(service, first["refresh_token"])).json()
        time_.advance(10)
        assert (await refresh(service, first["refresh_token"])).json()["refresh_token"] == second["refresh_token"]
        time_.advance(0.001)
        assert (await refresh(service, first["refresh_token"])).status_code == 401
        assert not await service.accepts(first["access_token"])
        assert not await service.accepts(second["access_token"])
        assert (await refresh(service, second["refresh_token"])).status_code == 401
        assert await service.accepts(other["access_token"])
    (event,) = [event for event in service.events if event.name == "auth.refresh_reused"]
    assert (event.user_id, event.address) == (first["user"]["id"], "192.0.2.1")


@pytest.mark.acceptance("AU6")
async def test_a_token_two_generations_old_ends_its_session_at_once(service):
    with clock.frozen():
        first = await service.sign_up()
        second = (await refresh(service, first["refresh_token"])).json()
        third = (await refresh(service, second["refresh_token"])).json()
        assert (await refresh(service, first["refresh_token"])).status_code == 401
        assert (await refresh(service, third["refresh_token"])).status_code == 401
        assert not await service.accepts(third["access_token"])


@pytest.mark.acceptance("AU6")
async def test_of_twenty_parallel_refreshes_one_rotates_and_all_get_the_same_successor(service):
    first = await service.sign_up()
    answers = await asyncio.gather(*(refresh(service, first["refresh_token"]) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    (successor,) = {answer.json()["refresh_token"] for answer in answers}
    session = await store.get_session(service.db, parts(first["access_token"])[1]["sid"])
    assert session is not None
    assert session["generation"] == 2
    assert (await refresh(service, successor)).status_code == 200


@pytest.mark.acceptance("AU6")
async def test_a_rotation_that_was_overtaken_does_not_turn_the_session_back(service, monkeypatch):
    first, rotate = await service.sign_up(), store.rotate_session

    async def overtaken(*args):
        monkeypatch.setattr(store, "rotate_session", rotate)
        second = (await refresh(service, first["refresh_token"])).json()
        assert (await refresh(service, second["refresh_token"])).status_code == 200
        return await rotate(*args)

    monkeypatch.setattr(store, "rotate_session", overtaken)
    assert (await refresh(service, first["refresh_token"])).status_code == 401
    assert "auth.refresh_reused" in service.names()


@pytest.mark.acceptance("AU6")
async def test_a_forged_refresh_token_ends_nothing(service):
    with clock.frozen() as time_:
        user = await service.sign_up()
        newer = (await refresh(service, user["refresh_token"])).json()
        time_.advance(60)
        _, session, generation, mac = user["refresh_token"].split("_", 3)
        changed = mac[:-2] + ("AA" if mac[-2:] != "AA" else "BB")
        for forged in (
            f"rt_{session}_{generation}_{changed}",
            f"rt_{session}_{generation}_{'A' * 43}",
            f"rt_{session}_2_{mac}",
            f"rt_{session}_7_{mac}",
        ):
            assert (await refresh(service, forged)).status_code == 401
        assert (await refresh(service, newer["refresh_token"])).status_code == 200
        assert "auth.refresh_reused" not in service.names()


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_refresh_tokens_are_not_in_the_database(tmp_path: Path):
    async with serving(tmp_path / "app.db") as service:
        user = await service.sign_up()
        content = all_bytes(tmp_path)
    mac = user["refresh_token"].split("_", 3)[3]
    assert user["user"]["id"].encode() in content
    for secret in (user["refresh_token"], mac, user["access_token"], PASSWORD):
        assert secret.encode() not in content


@pytest.mark.acceptance("AU7")
async def test_logout_ends_access_and_refresh_of_this_session_only(service):
    here, there = await service.sign_up(), (await service.sign_in()).json()
    assert (await service.call("POST", "/auth/logout", here["access_token"])).status_code == 204
    assert not await service.accepts(here["access_token"])
    assert (await refresh(service, here["refresh_token"])).status_code == 401
    assert await service.accepts(there["access_token"])
    assert (await service.call("POST", "/auth/logout", here["access_token"])).status_code == 401


@pytest.mark.acceptance("AU7")
async def test_logout_all_ends_every_session_of_the_caller_only(service):
    mine = [await service.sign_up(), *[(await service.sign_in()).json() for _ in range(3)]]
    theirs = await service.sign_up("eve@example.com")
    assert (await service.call("POST", "/auth/logout-all", mine[0]["access_token"])).status_code == 204
    for session in mine:
        assert not await service.accepts(session["access_token"])
        assert (await refresh(service, session["refresh_token"])).status_code == 401
    assert await service.accepts(theirs["access_token"])


@pytest.mark.acceptance("AU7")
async def test_a_new_password_ends_all_other_sessions(service):
    here, there = await service.sign_up(), (await service.sign_in()).json()
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    assert (await service.call("POST", "/auth/change-password", here["access_token"], json=body)).status_code == 204
    assert await service.accepts(here["access_token"])
    assert not await service.accepts(there["access_token"])
    assert (await refresh(service, there["refresh_token"])).status_code == 401
    assert (await service.sign_in()).status_code == 401
    assert (await service.sign_in(password=NEW_PASSWORD)).status_code == 200
    await set_password(service.db, here["user"]["id"], PASSWORD)
    assert not await service.accepts(here["access_token"])


@pytest.mark.acceptance("AU7")
async def test_deactivation_and_role_count_from_the_next_request(service):
    user = await service.sign_up()
    token, user_id = user["access_token"], user["user"]["id"]
    assert (await service.call("GET", "/auth/me", token)).json()["role"] == "user"
    await set_role(service.db, user_id, "admin")
    identity = await service.kernel.authenticator(
        service.kernel, {"headers": [(b"authorization", f"Bearer {token}".encode())]}
    )
    assert identity.role == "admin"
    await deactivate_user(service.db, user_id)
    assert not await service.accepts(token)
    assert (await refresh(service, user["refresh_token"])).status_code == 401
    assert (await service.sign_in()).status_code == 401


@pytest.mark.acceptance("AU7")
async def test_a_deleted_account_is_signed_out(service):
    user = await service.sign_up()
    await service.db.privileged.delete_entity("kernel_users", user["user"]["id"])
    with clock.frozen() as time_:
        time_.advance(1)
        assert not await service.accepts(user["access_token"])
        assert (await refresh(service, user["refresh_token"])).status_code == 401


@pytest.mark.acceptance("AU7")
async def test_sessions_are_listed_and_ended_one_by_one_by_their_owner_only(service):
    mine, other = await service.sign_up(), (await service.sign_in(address="198.51.100.9")).json()
    eve = (await service.sign_up("eve@example.com"))["access_token"]
    listed = (await service.call("GET", "/auth/sessions", mine["access_token"])).json()
    assert [(row["address"], row["current"]) for row in listed] == [("198.51.100.9", False), ("192.0.2.1", True)]
    assert set(listed[0]) == {"id", "created_at", "last_used_at", "expires_at", "address", "user_agent", "current"}
    path = f"/auth/sessions/{listed[0]['id']}"
    assert (await service.call("DELETE", path, eve)).status_code == 404
    assert (await service.call("DELETE", "/auth/sessions/unknown", eve)).status_code == 404
    assert await service.accepts(other["access_token"])
    assert (await service.call("DELETE", path, mine["access_token"])).status_code == 204
    assert not await service.accepts(other["access_token"])
    assert (await service.call("DELETE", path, mine["access_token"])).status_code == 404
    assert len((await service.call("GET", "/auth/sessions", mine["access_token"])).json()) == 1


@pytest.mark.acceptance("AU7")
async def test_a_session_ends_when_idle_and_after_its_days_in_any_case(place):
    day = 86_400
    async with serving(place.url, session_days=3, session_idle_days=2, jwt_expiry_hours=24) as service:
        with clock.frozen() as time_:
            idle = await service.sign_up()
            time_.advance(2 * day - 1)
            used = (await service.sign_in()).json()
            time_.advance(1)
            assert (await refresh(service, idle["refresh_token"])).status_code == 401
            assert not await service.accepts(idle["access_token"])
            for _ in range(3):
                time_.advance(day - 1)
                used = (await refresh(service, used["refresh_token"])).json()
            assert used["expires_in"] == 2  # the access token ends with its session
            assert await service.accepts(used["access_token"])
            time_.advance(2)
            assert not await service.accepts(used["access_token"])
            assert (await refresh(service, used["refresh_token"])).status_code == 401


async def test_a_long_jwt_expiry_means_what_it_says(tmp_path):
    async with serving(tmp_path / "app.db", session_days=1, session_idle_days=1, jwt_expiry_hours=72) as service:
        with clock.frozen() as time_:
            user = await service.sign_up()
            assert user["expires_in"] == 72 * 3600
            time_.advance(72 * 3600 - 2)
            assert await service.accepts(user["access_token"])


@pytest.mark.acceptance("AU7")
async def test_what_was_ended_stays_ended_after_a_restart(place):
    async with serving(place.url) as before:
        user = await before.sign_up()
        kept = (await before.sign_in()).json()
        await before.call("POST", "/auth/logout", user["access_token"])
    async with serving(place.url) as after:
        assert not await after.accepts(user["access_token"])
        assert (await refresh(after, user["refresh_token"])).status_code == 401
        assert await after.accepts(kept["access_token"])


@pytest.mark.acceptance("AU7")
async def test_a_logout_in_one_service_counts_in_its_twin_within_a_second(place):
    async with serving(place.url) as one, serving(place.url) as twin:
        with clock.frozen() as time_:
            user = await one.sign_up()
            assert await twin.accepts(user["access_token"])
            await one.call("POST", "/auth/logout", user["access_token"])
            assert not await one.accepts(user["access_token"])
            time_.advance(1)
            assert not await twin.accepts(user["access_token"])


@pytest.mark.acceptance("AU7")
async def test_a_session_that_cannot_be_checked_is_not_let_in(service, monkeypatch):
    user = await service.sign_up()

    async def fail(*args):
        raise Unavailable

    monkeypatch.setattr(store, "get_session", fail)
    assert (await service.call("GET", "/auth/me", user["access_token"])).status_code == 503


@pytest.mark.acceptance("AU7")
async def test_a_login_that_overlaps_a_password_change_leaves_no_session(service, monkeypatch):
    user = await service.sign_up()
    found = store.find_user_row

    async def find_then_change(db, field, value):
        row = await found(db, field, value)
        monkeypatch.setattr(store, "find_user_row", found)
        await set_password(service.db, user["user"]["id"], NEW_PASSWORD)
        return row

    monkeypatch.setattr(store, "find_user_row", find_then_change)
    assert (await service.sign_in()).status_code == 401
    assert await service.db.privileged.count_entities("kernel_sessions", "[revoked_at] IS NULL") == 0


@pytest.mark.acceptance("AU7")
async def test_a_login_while_a_new_password_is_being_stored_leaves_no_session(service, place, monkeypatch):
    # SQLite has one writer at a time, so that there it is the note of the attempt that waits.
    step = "find_user_row" if place.url.startswith("sqlite") else "take_account_turn"
    user, update = await service.sign_up(), store.update_user
    signing_in: list[asyncio.Task[httpx2.Response]] = []

    async def sign_in_and_update(*args):
        monkeypatch.setattr(store, "update_user", update)
        reached, original = asyncio.Event(), getattr(store, step)

        async def say_and_go_on(*args):
            reached.set()
            return await original(*args)

        monkeypatch.setattr(store, step, say_and_go_on)
        signing_in.append(asyncio.create_task(service.sign_in(), context=Context()))
        with suppress(TimeoutError):  # on a busy machine the login may come later, and ends in the same way
            await asyncio.wait_for(reached.wait(), 1)
        return await update(*args)

    monkeypatch.setattr(store, "update_user", sign_in_and_update)
    await set_password(service.db, user["user"]["id"], NEW_PASSWORD)
    assert (await signing_in[0]).status_code == 401  # it waited, and saw the new password
    assert await service.db.privileged.count_entities("kernel_sessions", "[revoked_at] IS NULL") == 0


@pytest.mark.acceptance("AU7")
async def test_a_password_change_that_fails_half_way_has_changed_nothing(service, monkeypatch):
    user = await service.sign_up()

    async def fail(*args):
        raise Unavailable

    with monkeypatch.context() as patched:
        patched.setattr(store, "update_user", fail)
        with pytest.raises(Unavailable):
            await set_password(service.db, user["user"]["id"], NEW_PASSWORD)
    assert await service.accepts(user["access_token"])
    assert (await service.sign_in()).status_code == 200


@pytest.mark.acceptance("AU7")
async def test_an_inactive_account_is_shut_out_even_while_its_sessions_stand(service):
    with clock.frozen() as time_:
        user = await service.sign_up()
        await store.update_user(service.db, user["user"]["id"], {"is_active": False})
        time_.advance(1)
        assert not await service.accepts(user["access_token"])
        assert (await refresh(service, user["refresh_token"])).status_code == 401
        assert (await service.sign_in()).status_code == 401
