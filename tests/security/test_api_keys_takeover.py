"""A session that is over, or about to be, leaves no key behind: also not in the second for which others remember it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from contextvars import Context as TaskContext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app_kernel.api_keys import create_api_key, keys, list_api_keys
from app_kernel.auth import accounts, deactivate_user, delete_user, registration, set_password
from app_kernel.auth import store as auth_store
from app_kernel.auth.email_tokens import Purpose, new_email_token
from app_kernel.auth.issuer import Issuer
from app_kernel.core import clock
from app_kernel.core.context import Context, in_context
from tests.api_keys.serving import Service, fresh_database, serving
from tests.conformance.backends import SERVICE_BACKENDS

AT = datetime(2026, 5, 5, tzinfo=UTC)
NEW_PASSWORD = "river stone under moon"
WAIT = 0.3
"""Seconds in which somebody who does not wait for others is done, and somebody who does is not."""

Pair = tuple[Service, Service]


@pytest.fixture(params=SERVICE_BACKENDS)
async def both(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    """Two services on one database, as in two processes: what one ends the other one does not hear of.

    The clock stands still, so that what the second one remembers never gets too old.
    """
    monkeypatch.setattr(accounts, "forget_user", lambda user_id: None)
    async with fresh_database(request, tmp_path) as url, serving(url, frozen_at=AT) as one, serving(url) as two:
        yield one, two


async def follow_link(service: Service, user_id: str, purpose: Purpose, path: str, **more: str) -> None:
    """As if the mail had arrived."""
    row = await auth_store.get_user_row(service.db, user_id)
    assert row is not None
    token = new_email_token(purpose)
    values = {"token_hash": token.token_hash, "purpose": purpose, "user_id": user_id, "email": row["email"]}
    values |= {"expires_at": clock.now() + timedelta(hours=1), "used_at": None}
    await auth_store.insert_email_token(service.db, values)
    answer = await service.call("POST", path, json={"token": token.text, **more})
    assert answer.status_code in (200, 204), answer.text


async def reset(service: Service, user_id: str) -> None:
    await follow_link(service, user_id, "reset", "/auth/reset-password", new_password=NEW_PASSWORD)


async def confirm(service: Service, user_id: str) -> None:
    await follow_link(service, user_id, "verify", "/auth/verify-email")


async def change_password(service: Service, user_id: str) -> None:
    await set_password(service.db, user_id, NEW_PASSWORD)


async def sign_out_everywhere(service: Service, user_id: str) -> None:
    await service.kernel.port(Issuer).end_all(service.db, user_id)


async def deactivate(service: Service, user_id: str) -> None:
    await deactivate_user(service.db, user_id)


async def delete(service: Service, user_id: str) -> None:
    await delete_user(service.db, user_id)


End = Callable[[Service, str], Awaitable[None]]
TAKE_OVERS = [reset, confirm]
ENDS = [*TAKE_OVERS, change_password, sign_out_everywhere, deactivate, delete]


async def end_in(service: Service, end: End, user_id: str) -> None:
    with in_context(Context(kernel=service.kernel)):
        await end(service, user_id)


def apart(work: Any) -> asyncio.Task[Any]:
    """A task that knows nothing of this one's transactions and contexts."""
    return asyncio.get_running_loop().create_task(work, context=TaskContext())


@pytest.mark.acceptance("AK3")
@pytest.mark.parametrize("end", ENDS)
async def test_a_session_that_ended_elsewhere_makes_and_rotates_no_key_while_it_is_remembered(both: Pair, end: End):
    one, two = both
    eve = await one.user()
    token = await two.token()
    with in_context(Context(kernel=one.kernel)):
        before = await create_api_key(one.db, eve.id, name="before")
    assert (await two.call("GET", "/api-keys", token)).status_code == 200
    await end_in(one, end, eve.id)
    assert (await two.call("GET", "/api-keys", token)).status_code == 200  # this is the second that is meant
    made = await two.call("POST", "/api-keys", token, json={"name": "to stay"})
    assert (made.status_code, "key" in made.json()) == (401, False)
    rotated = await two.call("POST", f"/api-keys/{before['id']}/rotate", token)
    assert rotated.status_code == (404 if end in (*TAKE_OVERS, delete) else 401)
    assert [key["name"] for key in await list_api_keys(one.db, eve.id)] in ([], ["before"])


@pytest.mark.acceptance("AK3")
async def test_a_key_is_made_with_a_session_that_goes_on(both: Pair):
    one, two = both
    await one.user()
    token, other = await two.token(), await two.token()
    await one.call("POST", "/auth/logout", other)
    made = await two.call("POST", "/api-keys", token, json={"name": "CI"})
    assert made.status_code == 201
    assert (await two.call("POST", f"/api-keys/{made.json()['id']}/rotate", token)).status_code == 201


@pytest.mark.acceptance("AK3")
@pytest.mark.parametrize("take_over", TAKE_OVERS)
async def test_who_asks_for_a_key_during_a_take_over_waits_and_gets_none(both: Pair, take_over: End, monkeypatch):
    one, two = both
    eve = await one.user()
    token = await two.token()
    began, asking = asyncio.Event(), []
    check_name, forget = keys.check_name, registration._forget_what_came_before

    def say_and_check(name):
        began.set()
        return check_name(name)

    async def forget_and_let_eve_ask(*args):
        await forget(*args)
        asking.append(apart(two.call("POST", "/api-keys", token, json={"name": "to stay"})))
        await began.wait()
        # Not yet committed: whoever goes by what stands in the database now gets a key.
        await asyncio.wait(asking, timeout=WAIT)

    monkeypatch.setattr(keys, "check_name", say_and_check)
    monkeypatch.setattr(registration, "_forget_what_came_before", forget_and_let_eve_ask)
    await end_in(one, take_over, eve.id)
    assert (await asking[0]).status_code == 401
    assert await list_api_keys(one.db, eve.id) == []


@pytest.mark.acceptance("AK3")
@pytest.mark.parametrize("take_over", TAKE_OVERS)
async def test_a_take_over_waits_for_a_key_that_is_being_made_and_takes_it_away(
    both: Pair, take_over: End, monkeypatch
):
    one, two = both
    eve = await one.user()
    token = await two.token()
    taking, insert = [], keys._insert

    async def insert_while_the_owner_comes(*args):
        taking.append(apart(end_in(one, take_over, eve.id)))
        await asyncio.wait(taking, timeout=WAIT)
        return await insert(*args)

    monkeypatch.setattr(keys, "_insert", insert_while_the_owner_comes)
    made = await two.call("POST", "/api-keys", token, json={"name": "to stay"})
    await taking[0]
    assert made.status_code == 201
    assert await two.status(made.json()["key"]) == 401
    assert await list_api_keys(one.db, eve.id) == []


@pytest.mark.acceptance("AK3")
@pytest.mark.parametrize("take_over", TAKE_OVERS)
async def test_who_signs_in_with_the_old_password_during_a_take_over_is_refused(
    both: Pair, take_over: End, monkeypatch
):
    """A session that began in between would make a key once the take-over is over."""
    one, two = both
    eve = await one.user()
    one.client.clock.advance(0.1)
    step = "find_user_row" if "sqlite" in one.kernel.config.database_name else "take_account_turn"
    reached, asking = asyncio.Event(), []
    original, forget = getattr(auth_store, step), registration._forget_what_came_before

    async def say_and_go_on(*args):
        reached.set()
        return await original(*args)

    async def forget_and_let_eve_in(*args):
        await forget(*args)
        monkeypatch.setattr(auth_store, step, say_and_go_on)
        asking.append(apart(two.token()))
        with suppress(TimeoutError):  # on a busy machine she may come later, and gets the same answer
            await asyncio.wait_for(reached.wait(), 1)
        await asyncio.wait(asking, timeout=WAIT)

    monkeypatch.setattr(registration, "_forget_what_came_before", forget_and_let_eve_in)
    await end_in(one, take_over, eve.id)
    with pytest.raises(AssertionError, match="Wrong email"):
        await asking[0]
    assert await one.db.privileged.count_entities("kernel_sessions", "[revoked_at] IS NULL") == 0
