"""Login CSRF and its kin: a return from the provider counts only in the browser that went there, once, and in time."""

import asyncio
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from app_kernel.core.clock import frozen, now
from tests.oauth.serving import PAGE, PASSWORD, Browser, Service, StubProvider, bearer, serving

pytestmark = pytest.mark.acceptance("OA3")


def with_query(url: str, **changes: str | None) -> str:
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
    return parts._replace(query=urlencode({name: text for name, text in query.items() if text is not None})).geturl()


async def begun(service: Service, name: str = "stub") -> tuple[Browser, str]:
    """A browser that is just on its way back, and its address."""
    browser = service.browser()
    return browser, await browser.at_provider(await browser.start(name))


async def refused(service: Service, browser: Browser, url: str) -> bool:
    """Whether a return is answered with 400 and nothing else."""
    answer = await browser.come_back(url)
    assert "location" not in answer.headers
    return answer.status_code == 400 and await service.sessions() == 0 and await service.users() == 0


async def test_a_state_that_is_missing_or_another_ones_is_refused(service: Service) -> None:
    browser, url = await begun(service)
    _, other_url = await begun(service)
    stolen = parse_qs(urlsplit(other_url).query)["state"][0]
    for state in (None, "", "x", stolen, "é" * 10, "a" * 4000):
        assert await refused(service, browser, with_query(url, state=state)), state
    assert service.reasons() == ["state"] * 6
    assert "POST /token" not in service.provider.log()
    assert (await browser.come_back(url)).status_code == 200


async def test_a_return_in_another_browser_is_refused(light: Service) -> None:
    """The attacker's own sign-in, sent to a victim to have them work in the attacker's account."""
    _, url = await begun(light)
    victim = light.browser()
    assert await refused(light, victim, url)
    await victim.start()
    assert await refused(light, victim, url)
    assert "POST /token" not in light.provider.log()


async def test_a_state_is_bound_to_its_own_ticket_and_not_only_to_the_cookies_name(light: Service) -> None:
    """Somebody who can set cookies by name, from a subdomain for example, still has no ticket for the state."""
    attacker, url = await begun(light)
    victim, own = await begun(light)
    mine = next(c for c in attacker.http.cookies.jar if c.name.startswith("oauth-"))
    theirs = next(c for c in victim.http.cookies.jar if c.name.startswith("oauth-"))
    assert theirs.value is not None
    victim.http.cookies.set(mine.name, theirs.value, domain=mine.domain, path="/")
    assert await refused(light, victim, url)
    assert light.reasons() == ["state"]
    assert "POST /token" not in light.provider.log()
    altered = theirs.value[:60] + ("A" if theirs.value[60] != "A" else "B") + theirs.value[61:]
    for text in ("", "x", theirs.value[:-8], altered):
        victim.http.cookies.clear()
        victim.http.cookies.set(theirs.name, text)
        assert await refused(light, victim, own)


async def test_a_return_is_accepted_once(service: Service) -> None:
    browser, url = await begun(service)
    kept = dict(browser.http.cookies)
    assert (await browser.come_back(url)).status_code == 200
    assert (await browser.come_back(url)).status_code == 400
    # Also with the cookie back, and with a code that the provider would take.
    _, fresh = await begun(service)
    code = parse_qs(urlsplit(fresh).query)["code"][0]
    browser.http.cookies.update(kept)
    assert (await browser.come_back(with_query(url, code=code))).status_code == 400
    assert await service.sessions() == 1


async def test_of_many_returns_at_once_one_signs_in(service: Service) -> None:
    browser, url = await begun(service)
    answers = await asyncio.gather(*(browser.come_back(url) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200, *[400] * 5]
    assert service.provider.log().count("POST /token") == 1


async def test_a_return_after_ten_minutes_is_refused(service: Service) -> None:
    browser, url = await begun(service)
    with frozen(now() + timedelta(seconds=601)):
        assert await refused(service, browser, url)
    with frozen(now() + timedelta(seconds=590)):
        # The provider's own clock did not move, so its token is not yet too old within the tolerance of a minute.
        assert (await browser.come_back(url)).status_code in (200, 400)
        assert service.reasons()[-1:] != ["state"] or await service.sessions() == 1


async def test_a_return_from_another_provider_is_refused(light: Service) -> None:
    browser, url = await begun(light, "stub")
    assert await refused(light, browser, url.replace("/stub/", "/google/"))
    assert await refused(light, browser, url.replace("/stub/", "/github/"))


async def test_another_service_cannot_open_a_ticket(light: Service, provider: StubProvider) -> None:
    browser, url = await begun(light)
    async with serving(provider, jwt_secret="another-secret-of-the-tests-0123456789") as other:
        stranger = other.browser()
        stranger.http.cookies.update(browser.http.cookies)
        assert await refused(other, stranger, url)


async def test_a_link_counts_only_in_the_browser_of_who_asked_for_it(service: Service) -> None:
    ada = await service.sign_up()
    attacker = service.browser()
    body = {"password": PASSWORD}
    started = await attacker.http.post("/auth/oauth/stub/link", json=body, headers=bearer(ada["access_token"]))
    url = await attacker.at_provider(started)
    assert (await service.browser().come_back(url)).status_code == 400
    assert await service.links() == []
    assert (await attacker.come_back(url)).json() == {"linked": "stub"}


async def test_a_ticket_is_not_for_scripts_or_other_sites(provider: StubProvider) -> None:
    async with serving(provider, public_url="https://api.example.com", oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser("https://api.example.com")
        started = await browser.start()
        cookie = started.headers["set-cookie"]
        assert cookie.startswith("__Host-oauth-")
        for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/", "Max-Age=600"):
            assert attribute in cookie, cookie
        assert "Domain" not in cookie
        sealed = cookie.partition("=")[2].partition(";")[0]
        state = parse_qs(urlsplit(started.headers["location"]).query)["state"][0]
        assert state not in sealed
        returned = await browser.come_back(await browser.at_provider(started))
        assert returned.status_code == 303
        half = next(text for text in returned.headers.get_list("set-cookie") if "oauthcode-" in text)
        for attribute in ("__Host-", "HttpOnly", "Secure", "SameSite=lax", "Max-Age=60"):
            assert attribute in half, half


async def test_a_user_who_says_no_is_not_signed_in_and_what_the_provider_says_is_not_repeated(
    provider: StubProvider,
) -> None:
    async with serving(provider, oauth_redirect_urls=[PAGE]) as service:
        service.provider.behave(answer={"code": None, "error": "access_denied", "error_description": "<script>"})
        answer = await service.browser().sign_in()
        assert answer.headers["location"] == f"{PAGE}?error=sign_in_refused"
    async with serving(provider) as service:
        service.provider.behave(answer={"error": "<script>alert(1)</script>"})
        answer = await service.browser().sign_in()
        assert answer.status_code == 400
        assert "script" not in answer.text
        assert await service.sessions() == 0
