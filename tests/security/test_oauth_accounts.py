"""Whose account a sign-in elsewhere opens: nobody's but that of who controls the address, confirmed on both sides."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app_kernel.auth import accounts
from app_kernel.core.clock import frozen, now
from app_kernel.core.events import OwnershipProven, SecurityEvent
from tests.oauth.conftest import Serve
from tests.oauth.serving import PAGE, PASSWORD, Service, bearer, query_of

EMAIL = "ada@example.com"
SAID: dict[str, dict[str, Any]] = {
    "confirmed": {"sub": "p-1", "email": EMAIL, "email_verified": True},
    "confirmed in other letters": {"sub": "p-1", "email": " ADA@Example.COM", "email_verified": True},
    "not confirmed": {"sub": "p-1", "email": EMAIL, "email_verified": False},
    "not said": {"sub": "p-1", "email": EMAIL},
    "said as text": {"sub": "p-1", "email": EMAIL, "email_verified": "true"},
    "said as a number": {"sub": "p-1", "email": EMAIL, "email_verified": 1},
    "no email": {"sub": "p-1", "email_verified": True},
    "email in a list": {"sub": "p-1", "email": [EMAIL], "email_verified": True},
}


async def outcome(service: Service, name: str = "stub") -> tuple[int, int]:
    """The status of a sign-in, and how many sessions it began."""
    before = await service.sessions()
    answer = await service.browser().sign_in(name)
    assert answer.status_code == 200 or "access_token" not in answer.text
    return answer.status_code, await service.sessions() - before


def expected(said: str, account: str, signup: bool) -> tuple[int, int]:
    if not said.startswith("confirmed"):
        return 409, 0
    if account == "none":
        return (200, 1) if signup else (403, 0)
    return (200, 1) if account == "verified" else (409, 0)


@pytest.mark.acceptance("OA5")
@pytest.mark.parametrize("account", ["none", "unverified", "verified"])
async def test_only_an_address_that_both_sides_confirmed_opens_an_account(serve: Serve, account: str) -> None:
    wrong = []
    for signup in (True, False):
        async with serve() as service:
            if account != "none" and await service.users() == 0:
                await service.sign_up(EMAIL, verified=account == "verified")
            object.__setattr__(service.kernel.config, "allow_self_signup", signup)
            for said, user in SAID.items():
                service.provider.behave(user=user)
                got = await outcome(service)
                if got != expected(said, account, signup):
                    wrong.append((said, account, signup, got))
                made = got == (200, 1)
                assert len(await service.links()) == made, said
                assert await service.users() == (account != "none" or made), said
                await clear(service, keep_users=account != "none")
    assert wrong == []


async def clear(service: Service, *, keep_users: bool) -> None:
    tables = ["kernel_oauth_identities", *([] if keep_users else ["kernel_users"])]
    for table in tables:
        ids = [row["id"] for row in await service.db.privileged.find_entities(table)]
        await service.db.privileged.delete_entities(table, ids, permanent=True)


@pytest.mark.acceptance("OA5")
async def test_an_address_that_is_not_confirmed_does_not_tell_whether_it_has_an_account(light: Service) -> None:
    light.provider.behave(user=SAID["not confirmed"])
    without = await light.browser().sign_in()
    await light.sign_up(EMAIL)
    with_account = await light.browser().sign_in()
    assert without.status_code == with_account.status_code == 409
    assert without.json()["detail"] == with_account.json()["detail"]
    assert "sign in here" in without.json()["detail"]


@pytest.mark.acceptance("OA5")
async def test_a_refusal_is_told_to_the_page_in_one_word(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        await service.sign_up(EMAIL)
        returned = await service.browser().sign_in()
        assert returned.headers["location"] == f"{PAGE}?error=link_required"
        assert service.reasons() == ["link_required"]
        assert "set-cookie" not in returned.headers or "oauthcode" not in returned.headers["set-cookie"]


GITHUB_EMAILS: dict[str, Any] = {
    "a secondary one": [
        {"email": EMAIL, "primary": False, "verified": True},
        {"email": "eve@evil.example", "primary": True, "verified": False},
    ],
    "a primary one that is not confirmed": [{"email": EMAIL, "primary": True, "verified": False}],
    "said in other kinds of values": [{"email": EMAIL, "primary": 1, "verified": "true"}],
    "an address without a mailbox": [
        {"email": "1+ada@users.noreply.github.com", "primary": True, "verified": True},
        {"email": EMAIL, "primary": False, "verified": True},
    ],
    "no list": {"email": EMAIL, "primary": True, "verified": True},
    "texts": [EMAIL],
    "none": [],
    "not allowed": None,
}


@pytest.mark.acceptance("OA5")
async def test_of_github_only_the_primary_confirmed_address_counts(serve: Serve) -> None:
    async with serve() as service:
        await service.sign_up(EMAIL, verified=True)
        for what, emails in GITHUB_EMAILS.items():
            user = {"id": 1, "login": "ada", "email": EMAIL}
            service.provider.behave(github={"user": user, "emails": emails})
            assert await outcome(service, "github") == (409, 0), what
            assert await service.links() == []
        service.provider.behave(
            github={"user": {"id": 1}, "emails": [{"email": EMAIL, "primary": True, "verified": True}]}
        )
        assert await outcome(service, "github") == (200, 1)
        service.provider.behave(github={"user": {"id": True, "login": "ada"}, "emails": []})
        assert await outcome(service, "github") == (502, 0)
        # The same number with another name and no address is the same person; the name with another number is not.
        service.provider.behave(github={"user": {"id": 1, "login": "renamed"}, "emails": []})
        assert await outcome(service, "github") == (200, 1)
        service.provider.behave(github={"user": {"id": 2, "login": "ada"}, "emails": []})
        assert await outcome(service, "github") == (409, 0)


@pytest.mark.acceptance("OA5")
@pytest.mark.parametrize("event", [OwnershipProven, "auth.email_verified", None])
async def test_what_was_linked_before_the_address_was_confirmed_does_not_outlive_that(
    service: Service, event: Any
) -> None:
    """Pre-hijacking: the attacker makes the account with the victim's address and links an identity of their own."""
    service.provider.behave(user={"sub": "eve", "email": "eve@evil.example", "email_verified": True})
    account = await service.sign_up(EMAIL)
    await service.browser().link(account["access_token"])
    assert await outcome(service) == (200, 1)
    await service.verify(account["user"]["id"])
    if event is not None:
        user_id = account["user"]["id"]
        await service.kernel.emit(SecurityEvent(event, user_id, None, {}) if isinstance(event, str) else event(user_id))
        assert await service.links() == []
    # Without the event, as after a crash just then, the link does not count either: the attacker gets an own account.
    answer = await service.browser().sign_in()
    assert answer.status_code == 200
    assert answer.json()["user"]["id"] != account["user"]["id"]
    # The victim's own identity, whose provider has confirmed the address, opens the account.
    service.provider.behave(user=SAID["confirmed"])
    answer = await service.browser().sign_in("google")
    assert answer.json()["user"]["id"] == account["user"]["id"]


@pytest.mark.acceptance("OA5")
async def test_an_identity_with_the_accounts_own_address_outlives_its_confirmation(service: Service) -> None:
    account = await service.sign_up(EMAIL)
    await service.browser().link(account["access_token"])
    await service.verify(account["user"]["id"])
    await service.kernel.emit(SecurityEvent("auth.email_verified", account["user"]["id"], None, {}))
    assert len(await service.links()) == 1
    assert (await service.browser().sign_in()).json()["user"]["id"] == account["user"]["id"]


@pytest.mark.acceptance("OA5")
async def test_a_deactivated_account_is_not_opened(serve: Serve) -> None:
    from app_kernel.auth import deactivate_user

    async with serve() as service:
        user = (await service.browser().sign_in()).json()["user"]
        await deactivate_user(service.db, user["id"])
        assert await outcome(service) == (401, 0)


@pytest.mark.acceptance("OA5")
@pytest.mark.parametrize("meanwhile", ["confirmed by its owner", "signed out", "deactivated"])
async def test_a_link_that_was_begun_before_the_session_ended_is_not_made(light: Service, meanwhile: str) -> None:
    from app_kernel.auth import deactivate_user

    account = await light.sign_up(EMAIL)
    browser, headers = light.browser(), bearer(account["access_token"])
    started = await browser.http.post("/auth/oauth/stub/link", json={"password": PASSWORD}, headers=headers)
    url = await browser.at_provider(started)
    if meanwhile == "signed out":
        assert (await light.client.post("/auth/logout-all", headers=headers)).status_code == 204
    elif meanwhile == "deactivated":
        await deactivate_user(light.db, account["user"]["id"])
    else:
        await light.verify(account["user"]["id"])
    answer = await browser.come_back(url)
    assert answer.status_code == 400, answer.text
    assert await light.links() == []


@pytest.mark.acceptance("OA5")
async def test_a_session_that_ended_elsewhere_links_nothing_while_it_is_remembered(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process learns of the end when it reads again: within a second, which is too late for a link."""
    monkeypatch.setattr(accounts, "forget_user", lambda user_id: None)
    with frozen(now()):
        ada = await service.sign_up(EMAIL)
        browser, headers = service.browser(), bearer(ada["access_token"])
        started = await browser.http.post("/auth/oauth/stub/link", json={"password": PASSWORD}, headers=headers)
        url = await browser.at_provider(started)
        assert (await service.client.post("/auth/logout-all", headers=headers)).status_code == 204
        assert (await service.client.get("/auth/me", headers=headers)).status_code == 200
        answer = await browser.come_back(url)
    assert answer.status_code == 400, answer.text
    assert await service.links() == []


@pytest.mark.acceptance("OA6")
async def test_a_token_alone_does_not_link(service: Service) -> None:
    """Else whoever copied one could keep a way in that outlives the session and a new password."""
    ada = await service.sign_up()
    browser, headers = service.browser(), bearer(ada["access_token"])
    for body in (None, {}, {"password": "wrong guess"}, {"password": ""}):
        answer = await browser.http.post("/auth/oauth/stub/link", json=body, headers=headers)
        assert answer.status_code == (422 if body == {"password": ""} else 403), answer.text
    assert await service.links() == []


@pytest.mark.acceptance("OA6")
async def test_without_a_password_only_a_fresh_session_links(service: Service) -> None:
    browser = service.browser()
    headers = bearer((await browser.sign_in()).json()["access_token"])
    with frozen(now() + timedelta(minutes=11)):
        answer = await browser.http.post("/auth/oauth/github/link", headers=headers)
    assert (answer.status_code, "sign in again" in answer.json()["detail"]) == (403, True)
    assert (await browser.http.post("/auth/oauth/github/link", headers=headers)).status_code == 200


@pytest.mark.acceptance("OA6")
async def test_a_session_in_cookies_links_too(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        code = query_of(await browser.sign_in())["code"]
        session = await browser.http.post("/auth/oauth/exchange", json={"code": code, "cookie": True})
        headers = {"X-CSRF-Token": session.json()["csrf_token"]}
        started = await browser.http.post("/auth/oauth/github/link", headers=headers)
        assert started.status_code == 200, started.text
        returned = await browser.come_back(await browser.at_provider(started))
        assert returned.headers["location"] == f"{PAGE}?linked=github"
        assert len(await service.links()) == 2


@pytest.mark.acceptance("OA6")
async def test_an_identity_of_one_account_is_not_linked_to_another_one(service: Service) -> None:
    ada, eve = await service.sign_up("ada@home.example"), await service.sign_up("eve@evil.example")
    assert (await service.browser().link(ada["access_token"])).status_code == 200
    assert (await service.browser().link(ada["access_token"])).status_code == 200
    assert (await service.browser().link(eve["access_token"])).status_code == 409
    service.provider.behave(user={"sub": "p-2", "email": "x@example.com", "email_verified": True})
    assert (await service.browser().link(ada["access_token"])).status_code == 409
    assert [row["user_id"] for row in await service.links()] == [ada["user"]["id"]]


@pytest.mark.acceptance("OA6")
async def test_of_accounts_that_link_one_identity_at_once_one_gets_it(service: Service) -> None:
    people = [await service.sign_up(f"u{number}@example.com") for number in range(4)]
    answers = await asyncio.gather(*(service.browser().link(each["access_token"]) for each in people))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert len(await service.links()) == 1


@pytest.mark.acceptance("OA6")
async def test_one_account_that_links_one_identity_many_times_at_once_has_it_once(service: Service) -> None:
    ada = await service.sign_up("ada@home.example")
    answers = await asyncio.gather(*(service.browser().link(ada["access_token"]) for _ in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert 200 in {answer.status_code for answer in answers}
    assert len(await service.links()) == 1


@pytest.mark.acceptance("OA6")
async def test_of_first_sign_ins_at_once_all_get_the_same_account(service: Service) -> None:
    answers = await asyncio.gather(*(service.browser().sign_in(name) for name in ("stub", "google", "stub", "google")))
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    assert len({answer.json()["user"]["id"] for answer in answers}) == 1
    assert await service.users() == 1
    assert sorted(row["provider"] for row in await service.links()) == ["google", "stub"]


@pytest.mark.acceptance("OA6")
async def test_the_last_way_to_sign_in_is_not_taken_away(service: Service) -> None:
    token = (await service.browser().sign_in()).json()["access_token"]
    refused = await service.client.delete("/auth/oauth/stub", headers=bearer(token))
    assert refused.status_code == 400
    assert "only way" in refused.json()["detail"]
    assert len(await service.links()) == 1
    assert (await service.browser().link(token, "github")).status_code == 200
    assert (await service.client.delete("/auth/oauth/stub", headers=bearer(token))).status_code == 204
    assert (await service.client.delete("/auth/oauth/github", headers=bearer(token))).status_code == 400


@pytest.mark.acceptance("OA6")
async def test_a_provider_that_is_not_configured_any_more_is_no_way_to_sign_in(service: Service) -> None:
    token = (await service.browser().sign_in()).json()["access_token"]
    await service.browser().link(token, "github")
    row = next(row for row in await service.links() if row["provider"] == "github")
    await service.db.privileged.save_entity("kernel_oauth_identities", {"id": row["id"], "provider": "gone"})
    assert (await service.client.delete("/auth/oauth/stub", headers=bearer(token))).status_code == 400
    assert (await service.client.delete("/auth/oauth/gone", headers=bearer(token))).status_code == 204


@pytest.mark.acceptance("OA6")
async def test_of_two_unlinks_at_once_one_is_refused(service: Service) -> None:
    token = (await service.browser().sign_in()).json()["access_token"]
    for _ in range(5):
        for name in ("stub", "google", "github"):
            assert (await service.browser().link(token, name)).status_code in (200, 409)
        answers = await asyncio.gather(
            *(
                service.client.delete(f"/auth/oauth/{name}", headers=bearer(token))
                for name in ("stub", "google", "github")
            )
        )
        assert sorted(answer.status_code for answer in answers) == [204, 204, 400]
        assert len(await service.links()) == 1


@pytest.mark.acceptance("OA6")
async def test_an_account_with_a_password_may_lose_every_provider(service: Service) -> None:
    ada = await service.sign_up()
    await service.browser().link(ada["access_token"])
    assert (await service.client.delete("/auth/oauth/stub", headers=bearer(ada["access_token"]))).status_code == 204
    again = await service.client.post("/auth/login", json={"email": EMAIL, "password": PASSWORD})
    assert again.status_code == 200
