"""Where a sign-in sends a browser: to the provider, and to pages of the allow-list, whatever the caller asks for."""

import logging
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_kernel import ServiceConfig
from app_kernel.core.errors import ConfigurationError, SignInRefused
from app_kernel.oauth.addresses import Targets
from app_kernel.oauth.feature import create_feature
from tests.oauth.conftest import Serve
from tests.oauth.serving import PAGE, SECRET, StubProvider, bearer, query_of, serving
from tests.oauth.test_sign_in import VERIFIER, challenge
from tests.security.redirect_corpus import ALLOWED, REFUSED, SAME


@pytest.mark.acceptance("OA1")
async def test_no_page_but_those_of_the_list_is_ever_returned_to(provider: StubProvider) -> None:
    assert len(set(REFUSED)) >= 130
    async with serving(provider, oauth_redirect_urls=list(ALLOWED)) as service:
        ada = await service.sign_up()
        browser = service.browser()
        passed = []
        for page in REFUSED:
            started = await browser.start(redirect_to=page)
            linked = await browser.http.post(
                "/auth/oauth/stub/link", json={"redirect_to": page}, headers=bearer(ada["access_token"])
            )
            # 422 is for text that is too long to be looked at.
            passed += [
                (page, answer.status_code)
                for answer in (started, linked)
                if answer.status_code not in (400, 422) or "location" in answer.headers or "evil" in answer.text
            ]
        assert passed == []
        assert service.provider.log() == []


@pytest.mark.acceptance("OA1")
async def test_another_spelling_of_a_page_leads_to_the_page_as_it_is_configured(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=list(ALLOWED)) as service:
        for page in (*ALLOWED, *SAME):
            returned = await service.browser().sign_in(redirect_to=page)
            location = returned.headers["location"]
            assert location.startswith(ALLOWED), (page, location)
        for page in (None, ""):
            params = {} if page is None else {"redirect_to": page}
            answer = await service.browser().start(**params)
            assert answer.status_code == (303 if page is None else 400)


@pytest.mark.acceptance("OA1")
async def test_without_pages_no_page_is_returned_to(light) -> None:
    for page in (PAGE, "/", "http://testserver/docs"):
        assert (await light.browser().start(redirect_to=page)).status_code == 400
    assert (await light.browser().sign_in()).json()["access_token"]


async def test_a_page_that_left_the_list_meanwhile_is_not_returned_to(provider: StubProvider, tmp_path) -> None:
    database = f"sqlite:///{tmp_path}/app.db"
    async with serving(provider, database, oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        back = await browser.at_provider(await browser.start())
        cookies = dict(browser.http.cookies)
    async with serving(provider, database, oauth_redirect_urls=["https://app.example.com/new"]) as service:
        browser = service.browser()
        browser.http.cookies.update(cookies)
        answer = await browser.come_back(back)
        assert answer.status_code == 400
        assert "location" not in answer.headers


TEXT = st.text(st.sampled_from([*"https:/\\@#?%.app.example.com/signed-in\t\r\n\x00 []evil;,&=", "\u3002", "\uff0f"]))


@given(st.one_of(TEXT, TEXT.map(lambda text: ALLOWED[0] + text), TEXT.map(lambda text: text + ALLOWED[0])))
def test_whatever_is_asked_for_the_answer_is_a_configured_page_or_a_refusal(text: str) -> None:
    try:
        chosen = Targets(ALLOWED).choose(text)
    except SignInRefused:
        return
    assert chosen in ALLOWED
    assert urlsplit(text).hostname == urlsplit(chosen).hostname
    assert urlsplit(text).path == urlsplit(chosen).path


@pytest.mark.parametrize(
    "url",
    [
        "http://app.example.com/signed-in",
        "app.example.com",
        "//app.example.com",
        "javascript:alert(1)",
        "https://user@app.example.com",
        "https://app.example.com/#done",
        "https://app.example.com/?code=1",
        "https://app.example.com/ signed-in",
        "myapp://signed-in",
        f"https://app.example.com/{'a' * 500}",
    ],
)
def test_a_page_that_could_leak_a_code_is_not_configured(url: str) -> None:
    config = ServiceConfig(
        jwt_secret=SECRET,
        oauth_redirect_urls=[url],
        oauth_providers={"google": {"client_id": "a", "client_secret": "b"}},
    )
    with pytest.raises(ConfigurationError, match="oauth_redirect_urls"):
        create_feature(config)


@pytest.mark.acceptance("OA2")
async def test_no_token_is_ever_in_an_address_or_a_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        started = await browser.start(code_challenge=challenge())
        back = await browser.at_provider(started)
        returned = await browser.come_back(back)
        code = query_of(returned)["code"]
        rows = await service.db.privileged.find_entities("kernel_oauth_codes")
        assert code not in str(rows)
        body = {"code": code, "code_verifier": VERIFIER, "cookie": False}
        tokens = (await service.client.post("/auth/oauth/exchange", json=body)).json()
        for answer in (started, returned):
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert answer.headers["cache-control"] == "no-store"
        shown = f"{started.headers['location']} {back} {returned.headers['location']} {caplog.text}"
        for secret in (tokens["access_token"], tokens["refresh_token"], code, VERIFIER):
            assert secret not in shown.replace(returned.headers["location"], "")
        assert returned.headers["location"] == f"{PAGE}?code={code}"


@pytest.mark.acceptance("OA2")
async def test_a_code_works_once_for_a_minute_and_for_who_began(serve: Serve) -> None:
    async with serve(oauth_redirect_urls=[PAGE]) as service:
        client = service.client

        async def code_of(**params: str) -> dict[str, str]:
            return query_of(await service.browser().sign_in(**params))

        mine = code_of(code_challenge=challenge())
        body = {**await mine, "code_verifier": VERIFIER}
        assert (await client.post("/auth/oauth/exchange", json=body)).status_code == 200
        assert (await client.post("/auth/oauth/exchange", json=body)).status_code == 400
        wrong = [
            {**await code_of(code_challenge=challenge()), "code_verifier": "w" * 43},
            await code_of(code_challenge=challenge()),
            # The verifier of one's own making must not put a session into the cookies of somebody else's browser.
            {**await code_of(code_challenge=challenge()), "code_verifier": VERIFIER, "cookie": True},
            await code_of(),
            {**await code_of(), "code_verifier": VERIFIER},
            {"code": "never-given"},
        ]
        for body in wrong:
            answer = await client.post("/auth/oauth/exchange", json=body)
            assert answer.status_code == 400, body
            assert "set-cookie" not in answer.headers or "session=" not in answer.headers["set-cookie"]
        # Once refused, a code is gone for its owner too.
        body = {**wrong[1], "code_verifier": VERIFIER}
        assert (await client.post("/auth/oauth/exchange", json=body)).status_code == 400
        assert await service.sessions() == 1


@pytest.mark.acceptance("OA2")
async def test_a_code_is_too_old_after_a_minute(serve: Serve) -> None:
    from datetime import timedelta

    from app_kernel.core.clock import frozen, now

    async with serve(oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        codes = [query_of(await browser.sign_in())["code"] for _ in range(2)]
        with frozen(now() + timedelta(seconds=61)):
            late = await browser.http.post("/auth/oauth/exchange", json={"code": codes[0]})
        assert late.status_code == 400
        assert (await browser.http.post("/auth/oauth/exchange", json={"code": codes[1]})).status_code == 200


@pytest.mark.acceptance("OA2")
async def test_of_many_exchanges_at_once_one_gets_the_session(serve: Serve) -> None:
    import asyncio

    async with serve(oauth_redirect_urls=[PAGE]) as service:
        browser = service.browser()
        code = query_of(await browser.sign_in())["code"]
        answers = await asyncio.gather(
            *(browser.http.post("/auth/oauth/exchange", json={"code": code}) for _ in range(8))
        )
        assert sorted(answer.status_code for answer in answers) == [200, *[400] * 7]
        assert await service.sessions() == 1
