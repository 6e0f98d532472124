"""The service's own pages for mailed links, and what a browser sends along when they act."""

import base64
import hashlib
import re

import pytest

from tests.auth.processes import cookie_headers, cookies_of
from tests.auth.serving import EMAIL, PASSWORD


@pytest.mark.parametrize("page", ["verify-email", "reset-password"])
async def test_a_page_for_mailed_links_runs_its_own_script_and_nothing_else(service, page):
    answer = await service.call("GET", f"/auth/{page}", params={"token": "<script>alert(1)</script>"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = {part.split()[0]: part.split()[1:] for part in answer.headers["content-security-policy"].split(";")}
    assert (
        policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == ["'none'"]
    )
    assert policy["connect-src"] == ["'self'"]
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        (content,) = re.findall(rf"<{element}[^>]*>(.*?)</{element}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[directive] == [f"'sha256-{digest}'"]
    assert "alert(1)" not in answer.text
    assert not re.search(r"\son[a-z]+=|style=|<link|<img|javascript:|https?://", answer.text)
    assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
    assert "%" not in re.sub(r"<style>.*?</style>", "", answer.text, flags=re.DOTALL)


async def test_a_cookie_of_a_session_that_ended_does_not_keep_its_owner_from_confirming(service):
    """It comes along by itself; a token in the Authorization header that is not accepted is refused."""
    answer = await service.post("register", email=EMAIL, password=PASSWORD, cookie=True)
    headers = cookie_headers(cookies_of(answer))
    token = await service.link("resend-verification")
    assert (await service.call("POST", "/auth/logout-all", headers=headers)).status_code == 204
    body = {"token": token, "password": PASSWORD}
    bad = await service.call("POST", "/auth/verify-email", "nonsense", json=body)
    assert bad.status_code == 401
    confirmed = await service.call("POST", "/auth/verify-email", headers=headers, json=body)
    assert (confirmed.status_code, confirmed.json()["choose_password_token"]) == (200, None)


async def test_a_page_of_a_cookie_session_confirms_with_its_csrf_token_and_not_without(service):
    answer = await service.post("register", email=EMAIL, password=PASSWORD, cookie=True)
    headers = cookie_headers(cookies_of(answer))
    body = {"token": await service.link("resend-verification")}
    without = {"Cookie": headers["Cookie"]}
    assert (await service.call("POST", "/auth/verify-email", headers=without, json=body)).status_code == 403
    assert (await service.user_row())["email_verified_at"] is None
    confirmed = await service.call("POST", "/auth/verify-email", headers=headers, json=body)
    assert (confirmed.status_code, confirmed.json()["choose_password_token"]) == (200, None)
