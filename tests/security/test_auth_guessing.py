"""Guessing passwords and accounts: held back before any hashing, and no answer says which accounts exist."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app_kernel.auth import deactivate_user, passwords, sign_in, store
from app_kernel.auth.tables import LOGIN_FAILURES
from app_kernel.core import clock
from app_kernel.core.errors import ServerBusy
from tests.auth.serving import EMAIL, PASSWORD, Service, serving

WRONG = {"email": EMAIL, "password": "wrong guess"}
OWNER, ATTACKER = "192.0.2.1", "203.0.113.66"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path / "app.db") as running:
        yield running


@pytest.fixture
def hashed(monkeypatch) -> list[str]:
    """The stored hashes that logins were checked against; the check itself is skipped unless it may succeed."""
    seen: list[str] = []
    verify = passwords.verify_password

    def counted(password: str, stored: str) -> bool:
        seen.append(stored)
        return password == PASSWORD and verify(password, stored)

    monkeypatch.setattr(passwords, "verify_password", counted)
    return seen


async def guess(service: Service, address: str = ATTACKER, **body: str) -> int:
    return (await service.call("POST", "/auth/login", json={**WRONG, **body}, address=address)).status_code


def recorded(name: str, verb: Callable[..., Any], calls: list[str]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        return await verb(*args, **kwargs)

    return call


async def failures(service: Service) -> int:
    return await service.db.privileged.count_entities(LOGIN_FAILURES)


@pytest.mark.acceptance("AU8")
async def test_every_login_that_fails_does_the_same_work_and_says_the_same(service, hashed, monkeypatch):
    await service.sign_up()
    disabled = await service.sign_up("disabled@example.com")
    await deactivate_user(service.db, disabled["user"]["id"])
    await service.sign_up("oauth@example.com")
    row = await store.find_user_row(service.db, "email", "oauth@example.com")
    assert row is not None
    await store.update_user(service.db, row["id"], {"password_hash": None})
    calls: list[str] = []
    for verb in ("find_user_row", "is_known_network", "recent_failures", "insert_login_failure", "get_user_row"):
        monkeypatch.setattr(store, verb, recorded(verb, getattr(store, verb), calls))
    answers, work = [], []
    attempts = [
        {"email": EMAIL, "password": "wrong guess"},
        {"email": "nobody@example.com", "password": "wrong guess"},
        {"email": "disabled@example.com", "password": PASSWORD},
        {"email": "oauth@example.com", "password": PASSWORD},
        {"email": "no email at all @", "password": "wrong guess"},
        {"username": "nobody", "password": "wrong guess"},
        {"username": "\u0430da", "password": "wrong guess"},
    ]
    for body in attempts:
        hashed.clear()
        calls.clear()
        answer = await service.call("POST", "/auth/login", json=body)
        problem = {name: value for name, value in answer.json().items() if name != "request_id"}
        # How much is left of a limit of requests says how many there were, whoever they named.
        counted = ("x-request-id", "ratelimit")
        headers = {name: value for name, value in answer.headers.items() if name not in counted}
        answers.append((answer.status_code, problem, headers))
        assert len(hashed) == 1, body
        assert not passwords.needs_rehash(hashed[0]), body
        work.append(list(calls))
    assert answers == [answers[0]] * len(attempts)
    assert answers[0][0] == 401
    assert work == [work[0]] * len(attempts)


@pytest.mark.acceptance("AU8")
async def test_the_token_form_says_the_same_for_every_failure(service):
    await service.sign_up()
    forms = [{"username": EMAIL, "password": "wrong"}, {"username": "nobody@example.com", "password": "wrong"}]
    answers = [await service.call("POST", "/auth/token", data=form) for form in forms]
    assert answers[0].status_code == answers[1].status_code == 400
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["error"] == "invalid_grant"


@pytest.mark.acceptance("AU11")
@pytest.mark.parametrize("known", [True, False], ids=["account", "no account"])
@pytest.mark.parametrize("addresses", [1, 100])
async def test_a_thousand_guesses_are_ten_a_minute(service, hashed, addresses, known):
    await service.sign_up(EMAIL if known else "other@example.com")
    with clock.frozen() as time_:
        for minute in (1, 2):
            hashed.clear()
            statuses = [await guess(service, f"203.0.113.{n % addresses}", password=f"guess {n}") for n in range(500)]
            assert statuses == [401] * 10 + [429] * 490, minute
            assert len(hashed) == 10  # the others were refused before any hashing
            assert await failures(service) == 10 * minute
            time_.advance(60.001)


@pytest.mark.acceptance("AU11")
async def test_the_right_password_does_not_work_while_guesses_are_held_back(service, hashed):
    await service.sign_up()
    with clock.frozen() as time_:
        for _ in range(10):
            assert await guess(service) == 401
        refused = await service.sign_in(address=ATTACKER)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert len(hashed) == 10
        time_.advance(int(refused.headers["retry-after"]))
        assert (await service.sign_in(address=ATTACKER)).status_code == 200


@pytest.mark.acceptance("AU11")
async def test_parallel_guesses_count_each_other(service, hashed):
    await service.sign_up()
    statuses = await asyncio.gather(*(guess(service, f"203.0.113.{n}") for n in range(60)))
    assert set(statuses) <= {401, 429}
    assert len(hashed) == statuses.count(401) <= 10
    assert await failures(service) == statuses.count(401)


@pytest.mark.acceptance("AU11")
async def test_both_names_of_an_account_share_its_limit(service, hashed):
    await service.sign_up(username="ada")
    ways = [{"email": EMAIL}, {"email": " ADA@Example.com "}, {"username": "ada"}, {"username": "ADA"}]
    statuses = []
    for n in range(40):
        body = {**ways[n % 4], "password": "wrong guess"}
        statuses.append((await service.call("POST", "/auth/login", json=body, address=ATTACKER)).status_code)
    assert statuses == [401] * 10 + [429] * 30


@pytest.mark.acceptance("AU11")
async def test_spraying_one_guess_over_a_thousand_accounts_is_thirty_a_minute_an_address(service, hashed):
    with clock.frozen():
        statuses = [await guess(service, email=f"user{n}@example.com") for n in range(1000)]
        assert statuses == [401] * 30 + [429] * 970
        subnet = [await guess(service, f"2001:db8::{n + 1:x}", email=f"user{n}@example.com") for n in range(100)]
        assert subnet == [401] * 30 + [429] * 70


@pytest.mark.acceptance("AU11")
async def test_the_owner_still_gets_in_from_where_they_signed_in_before(service, hashed):
    with clock.frozen() as time_:
        await service.sign_up()
        time_.advance(29 * 86_400)
        for n in range(200):
            await guess(service, f"203.0.113.{n}")
        assert await guess(service, ATTACKER) == 429
        assert (await service.sign_in(address=OWNER)).status_code == 200
        # Where they signed in before, their own failures still count, and only those.
        assert [await guess(service, OWNER) for _ in range(11)] == [401] * 10 + [429]
        assert (await service.sign_in(address=OWNER)).status_code == 429


@pytest.mark.acceptance("AU11")
async def test_an_address_is_known_for_thirty_days(service, hashed):
    with clock.frozen() as time_:
        await service.sign_up()
        time_.advance(31 * 86_400)
        for n in range(10):
            await guess(service, f"203.0.113.{n}")
        assert (await service.sign_in(address=OWNER)).status_code == 429


@pytest.mark.acceptance("AU11")
async def test_knowing_one_account_does_not_help_with_another(service, hashed):
    await service.sign_up()
    await service.call(
        "POST", "/auth/register", json={"email": "eve@example.com", "password": PASSWORD}, address=ATTACKER
    )
    for n in range(10):
        await guess(service, f"203.0.113.{n}")
    assert await guess(service, ATTACKER) == 429


async def test_a_login_that_succeeds_leaves_no_failure(service):
    await service.sign_up()
    for _ in range(12):
        assert (await service.sign_in()).status_code == 200
    assert await failures(service) == 0


async def test_an_attempt_that_could_not_be_tried_is_no_failure(service, monkeypatch):
    await service.sign_up()

    async def busy(*args):
        raise ServerBusy

    monkeypatch.setattr(sign_in, "verify_in_thread", busy)
    answer = await service.sign_in()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert await failures(service) == 0


async def test_old_failures_are_removed_a_few_at_a_time(service, hashed):
    with clock.frozen() as time_:
        for n in range(20):
            await guess(service, f"203.0.113.{n}", email=f"user{n}@example.com")
        time_.advance(3601)
        counts = []
        for n in range(4):
            await guess(service, f"198.51.100.{n}", email=f"later{n}@example.com")
            counts.append(await failures(service))
    assert counts == [16, 12, 8, 4]


async def test_guessing_the_current_password_with_a_stolen_token_is_held_back_too(service, hashed):
    user = await service.sign_up()
    body = {"current_password": "wrong guess", "new_password": "river stone under moon"}
    statuses = []
    for _ in range(12):
        answer = await service.call("POST", "/auth/change-password", user["access_token"], json=body, address=ATTACKER)
        statuses.append(answer.status_code)
    assert statuses == [403] * 10 + [429] * 2


async def test_logins_are_told_to_the_security_log_without_what_was_typed(service, capsys):
    user = await service.sign_up()
    await service.sign_in(password="typed-secret-1")
    await service.sign_in(email="typed-secret-2@example.com")
    await service.call("POST", "/auth/login", json={"username": "typed-secret-3", "password": "typed-secret-4"})
    for _ in range(10):
        await guess(service)
    told = [(event.name, event.user_id) for event in service.events]
    mine = user["user"]["id"]
    assert told[:4] == [
        ("auth.registered", mine),
        ("auth.login_failed", mine),
        ("auth.login_failed", None),
        ("auth.login_failed", None),
    ]
    assert told[-1] == ("auth.login_throttled", mine)
    assert "typed-secret" not in repr(service.events) + capsys.readouterr().out


@pytest.mark.acceptance("AU11")
@pytest.mark.usefixtures("real_passwords")
async def test_right_passwords_at_the_same_time_are_no_guesses(service: Service) -> None:
    """Twenty of one account and of forty accounts behind one address: more than either limit of failures."""
    many = [f"user{number}@example.com" for number in range(40)]
    for email in [EMAIL, *many]:
        await service.call("POST", "/auth/register", json={"email": email, "password": PASSWORD})
    right = {"email": EMAIL, "password": PASSWORD}
    answers = await asyncio.gather(
        *(service.call("POST", "/auth/login", json=right, address=ATTACKER) for _ in range(20)),
        *(service.call("POST", "/auth/login", json={**right, "email": email}, address=ATTACKER) for email in many),
    )
    assert [answer.status_code for answer in answers] == [200] * 60


@pytest.mark.acceptance("AU10")
@pytest.mark.usefixtures("real_passwords")
async def test_too_many_attempts_that_wait_are_refused_at_once(service: Service, monkeypatch) -> None:
    monkeypatch.setattr("app_kernel.auth.turns.MOST_WAITING", 3)
    right = {"email": EMAIL, "password": PASSWORD}
    await service.call("POST", "/auth/register", json=right)
    answers = await asyncio.gather(*(service.call("POST", "/auth/login", json=right, address=OWNER) for _ in range(10)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    assert (await service.call("POST", "/auth/login", json=right, address=OWNER)).status_code == 200
