"""Signing in elsewhere as it should go: what is made, what is answered, and what is kept."""

import base64
import hashlib

import pytest

from app_kernel.auth import delete_user
from tests.oauth.conftest import Serve
from tests.oauth.serving import PAGE, Service, bearer, query_of

VERIFIER = "v" * 20 + "erifier-of-the-page-0123456789"


def challenge(verifier: str = VERIFIER) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["stub", "github"])
async def test_a_first_sign_in_makes_an_account_without_a_password_and_a_second_one_finds_it(
    service: Service, name: str
) -> None:
    first = await service.browser().sign_in(name)
    assert first.status_code == 200, first.text
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["referrer-policy"] == "no-referrer"
    user = first.json()["user"]
    assert user["email_verified"] is True
    second = await service.browser().sign_in(name)
    assert second.json()["user"]["id"] == user["id"]
    account = await service.client.get("/auth/me", headers=bearer(second.json()["access_token"]))
    assert account.json()["email"] == user["email"]
    listed = await service.client.get("/auth/oauth/accounts", headers=bearer(first.json()["access_token"]))
    assert [(each["provider"], each["email"]) for each in listed.json()] == [(name, user["email"])]
    assert service.names().count("oauth.linked") == 1
    row = await service.db.privileged.get_entity("kernel_users", user["id"])
    assert row is not None
    assert row["password_hash"] is None


async def test_an_email_that_changes_at_the_provider_changes_nothing_about_who_signs_in(service: Service) -> None:
    first = (await service.browser().sign_in()).json()["user"]
    service.provider.behave(user={"sub": "ada-1", "email": "moved@example.com", "email_verified": False})
    assert (await service.browser().sign_in()).json()["user"] == first
    service.provider.behave(user={"sub": "ada-2", "email": "other@example.com", "email_verified": True})
    assert (await service.browser().sign_in()).json()["user"]["id"] != first["id"]


async def test_a_profile_that_is_not_in_the_token_is_asked_for(light: Service) -> None:
    light.provider.behave(bare_token=True)
    assert (await light.browser().sign_in()).json()["user"]["email"] == "ada@example.com"


async def test_a_page_exchanges_its_code_with_the_verifier_that_it_made(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        returned = await service.browser().sign_in(redirect_to=PAGE, code_challenge=challenge())
        assert returned.status_code == 303
        assert set(query_of(returned)) == {"code"}
        body = {"code": query_of(returned)["code"], "code_verifier": VERIFIER}
        answer = await service.client.post("/auth/oauth/exchange", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["user"]["email"] == "ada@example.com"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_page_without_a_verifier_exchanges_its_code_in_the_same_browser(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        code = query_of(await browser.sign_in())["code"]
        answer = await browser.http.post("/auth/oauth/exchange", json={"code": code})
        assert answer.status_code == 200, answer.text
        assert answer.json()["access_token"]


async def test_a_session_may_live_in_cookies(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        code = query_of(await browser.sign_in())["code"]
        answer = await browser.http.post("/auth/oauth/exchange", json={"code": code, "cookie": True})
        assert answer.status_code == 200, answer.text
        assert "access_token" not in answer.json()
        assert (await browser.http.get("/auth/me")).json()["email"] == "ada@example.com"


async def test_sign_ins_in_two_tabs_do_not_get_in_each_others_way(light: Service) -> None:
    browser = light.browser()
    first, second = await browser.start("stub"), await browser.start("google")
    back = [await browser.at_provider(each) for each in (first, second)]
    assert [(await browser.come_back(url)).status_code for url in back] == [200, 200]


async def test_a_browser_keeps_few_tickets(light: Service) -> None:
    browser = light.browser()
    for _ in range(8):
        await browser.start()
    kept = [cookie for cookie in browser.http.cookies.jar if cookie.name.startswith("oauth-")]
    assert len(kept) == 5
    assert (await browser.sign_in()).status_code == 200


async def test_a_user_links_a_provider_and_signs_in_with_it(service: Service) -> None:
    ada = await service.sign_up("ada@home.example")
    linked = await service.browser().link(ada["access_token"])
    assert linked.json() == {"linked": "stub"}
    assert (await service.browser().sign_in()).json()["user"]["id"] == ada["user"]["id"]


async def test_a_link_returns_to_the_page_with_the_providers_name_alone(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        ada = await service.sign_up()
        returned = await service.browser().link(ada["access_token"])
        assert returned.headers["location"] == f"{PAGE}?linked=stub"


async def test_a_password_keeps_the_account_open_when_its_provider_is_unlinked(service: Service) -> None:
    ada = await service.sign_up()
    await service.browser().link(ada["access_token"])
    removed = await service.client.delete("/auth/oauth/stub", headers=bearer(ada["access_token"]))
    assert removed.status_code == 204, removed.text
    assert await service.links() == []
    assert service.names()[-1] == "oauth.unlinked"
    again = await service.client.delete("/auth/oauth/stub", headers=bearer(ada["access_token"]))
    assert again.status_code == 404


async def test_the_links_of_a_deleted_account_go_with_it(service: Service) -> None:
    user = (await service.browser().sign_in()).json()["user"]
    await delete_user(service.db, user["id"])
    assert await service.links() == []
    assert (await service.browser().sign_in()).json()["user"]["id"] != user["id"]


async def test_routes_of_ones_own_links_need_a_user(light: Service) -> None:
    client = light.client
    answers = [
        await client.get("/auth/oauth/accounts"),
        await client.delete("/auth/oauth/stub"),
        await client.post("/auth/oauth/stub/link"),
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401]


async def test_a_provider_that_is_not_configured_is_unknown(light: Service) -> None:
    assert (await light.client.get("/auth/oauth/other")).status_code == 404
    assert (await light.client.get("/auth/oauth/other/callback?code=a&state=b")).status_code == 404
