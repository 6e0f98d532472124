"""Confirming an address, choosing a new password and changing the address, as their owner does it."""

import re
from collections.abc import AsyncIterator

import pytest

from app_kernel import create_service
from app_kernel.auth import confirm_email, create_user, deactivate_user, store
from app_kernel.core import clock
from app_kernel.testing import kernel_client
from tests.auth.serving import EMAIL, NEW_PASSWORD, PASSWORD, Postbox, Service, serving, settings_of
from tests.conformance.backends import Place

EVE = "eve@example.com"


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Service]:
    async with serving(place.url) as running:
        yield running


@pytest.fixture
async def strict(place: Place) -> AsyncIterator[Service]:
    """A service in which an account signs in only once its address is confirmed."""
    async with serving(place.url, email_verification="required") as running:
        yield running


async def register(service: Service, email: str = EMAIL, password: str = PASSWORD, **more: str) -> str:
    """Signs up where an address must be confirmed first; the token that was mailed."""
    answer = await service.post("register", email=email, password=password, **more)
    assert answer.status_code == 202, answer.text
    (sent,) = await service.mails()
    assert (sent.to, sent.template) == (email, "verify_email")
    return sent.token


async def test_who_signs_up_confirms_the_address_with_the_password_and_signs_in(strict):
    token = await register(strict)
    assert re.fullmatch(r"ev_[A-Za-z0-9_-]{43}", token)
    early = await strict.sign_in()
    assert early.status_code == 403
    assert "confirm" in early.json()["detail"].lower()
    answer = await strict.post("verify-email", token=token, password=PASSWORD)
    assert (answer.status_code, answer.json()["choose_password_token"]) == (200, None)
    assert answer.json()["user"]["email_verified"] is True
    signed_in = await strict.sign_in()
    assert (signed_in.status_code, signed_in.json()["user"]["email_verified"]) == (200, True)
    assert (await strict.post("verify-email", token=token, password=PASSWORD)).status_code == 400
    assert "auth.email_verified" in strict.names()


async def test_a_wrong_password_confirms_nothing_and_leaves_the_link(strict):
    token = await register(strict)
    answer = await strict.post("verify-email", token=token, password="wrong guess")
    assert answer.status_code == 403
    assert (await strict.user_row())["email_verified_at"] is None
    assert (await strict.sign_in()).status_code == 403
    assert (await strict.post("verify-email", token=token, password=PASSWORD)).status_code == 200


async def test_who_is_signed_in_confirms_the_address_without_the_password(service):
    user = await service.sign_up()
    token = await service.link("resend-verification")
    answer = await service.post("verify-email", user["access_token"], token=token)
    assert (answer.status_code, answer.json()["choose_password_token"]) == (200, None)
    assert (await service.call("GET", "/auth/me", user["access_token"])).json()["email_verified"] is True
    assert await service.accepts(user["access_token"])
    assert (await service.sign_in()).status_code == 200


async def test_an_address_that_is_confirmed_gets_no_other_link(service):
    user = await service.sign_up()
    await confirm_email(service.db, user["user"]["id"])
    assert (await service.post("resend-verification", email=EMAIL)).status_code == 202
    assert await service.mails() == []


async def test_an_account_that_code_made_for_a_known_address_signs_in_at_once(strict):
    await create_user(strict.db, EMAIL, PASSWORD, email_verified=True)
    assert (await strict.sign_in()).status_code == 200


async def test_a_forgotten_password_is_replaced_and_every_session_ends(service):
    user = await service.sign_up()
    token = await service.link("forgot-password")
    assert re.fullmatch(r"pr_[A-Za-z0-9_-]{43}", token)
    answer = await service.post("reset-password", token=token, new_password=NEW_PASSWORD)
    assert (answer.status_code, answer.content) == (204, b"")
    assert not await service.accepts(user["access_token"])
    assert (await service.post("refresh", refresh_token=user["refresh_token"])).status_code == 401
    assert (await service.sign_in()).status_code == 401
    signed_in = await service.sign_in(password=NEW_PASSWORD)
    assert (signed_in.status_code, signed_in.json()["user"]["email_verified"]) == (200, True)
    assert [mail.template for mail in await service.mails()] == ["password_changed"]
    assert "auth.password_reset" in service.names()


async def test_a_mail_says_where_its_link_leads_and_how_long_it_works(service):
    await service.sign_up()
    with clock.frozen() as time:
        await service.post("forgot-password", email=" ADA@Example.com")
        (sent,) = await service.mails()
        assert (sent.to, sent.template, sent.values["service"]) == (EMAIL, "reset_password", "auth_tests")
        assert sent.link == f"http://testserver/auth/reset-password#token={sent.token}"
        assert sent.values["expires_minutes"] == 60
        assert (sent.expires_at - time.now()).total_seconds() == 3600


async def test_links_lead_to_the_pages_of_the_application_where_it_has_some(place):
    pages = {"verify_email_url": "https://app.example.com/verify", "reset_password_url": "https://app.example.com/new"}
    async with serving(place.url, public_url="https://api.example.com/", **pages) as service:
        await service.sign_up()
        for path, page in {"resend-verification": "verify", "forgot-password": "new"}.items():
            await service.post(path, email=EMAIL)
            (sent,) = await service.mails()
            assert sent.link.startswith(f"https://app.example.com/{page}#token=")


@pytest.mark.parametrize("by_password", [True, False], ids=["with password", "signed in"])
async def test_an_address_is_changed_by_its_owner_and_the_old_one_is_told(service, by_password):
    user = await service.sign_up()
    token = user["access_token"]
    answer = await service.post("change-email", token, new_email=EVE, password=PASSWORD)
    assert answer.status_code == 202
    (sent,) = await service.mails()
    assert (sent.to, sent.template, sent.values["new_email"], sent.token[:3]) == (EVE, "change_email", EVE, "ec_")
    assert (await service.user_row())["email"] == EMAIL
    if by_password:
        confirmed = await service.post("verify-email", token=sent.token, password=PASSWORD)
    else:
        confirmed = await service.post("verify-email", token, token=sent.token)
    assert (confirmed.status_code, confirmed.json()["user"]["email"]) == (200, EVE)
    assert [(mail.to, mail.template) for mail in await service.mails()] == [(EMAIL, "email_changed")]
    assert (await service.sign_in(EVE)).json()["user"]["email_verified"] is True
    assert (await service.sign_in(EMAIL)).status_code == 401
    assert await service.accepts(token)


async def test_a_change_of_address_needs_the_password_and_another_address(service):
    token = (await service.sign_up())["access_token"]
    for body, status in (
        ({"new_email": EVE}, 403),
        ({"new_email": EVE, "password": "wrong guess"}, 403),
        ({"new_email": EMAIL, "password": PASSWORD}, 422),
        ({"new_email": "no address", "password": PASSWORD}, 422),
    ):
        assert (await service.post("change-email", token, **body)).status_code == status, body
    assert (await service.post("change-email", new_email=EVE, password=PASSWORD)).status_code == 401
    assert await service.mails() == []


async def test_an_address_that_was_taken_meanwhile_is_409_and_nothing_changes(service):
    token = (await service.sign_up())["access_token"]
    await service.post("change-email", token, new_email=EVE, password=PASSWORD)
    (sent,) = await service.mails()
    await create_user(service.db, EVE, PASSWORD)
    answer = await service.post("verify-email", token, token=sent.token)
    assert answer.status_code == 409
    assert (await service.user_row())["email"] == EMAIL
    assert await service.mails() == []


async def test_without_a_password_a_fresh_sign_in_changes_the_address_and_deletes_the_account(service):
    with clock.frozen() as time:
        user = await service.sign_up()
        token = user["access_token"]
        await store.update_user(service.db, user["user"]["id"], {"password_hash": None})
        time.advance(601)
        assert (await service.post("change-email", token, new_email=EVE)).status_code == 403
        assert (await service.call("DELETE", "/auth/me", token)).status_code == 403
        time.advance(-2)
        assert (await service.post("change-email", token, new_email=EVE)).status_code == 202
        assert (await service.call("DELETE", "/auth/me", token)).status_code == 204


async def test_an_account_is_deleted_by_its_owner_with_all_that_was_kept_of_it(service):
    user = await service.sign_up()
    await service.link("forgot-password")
    token = user["access_token"]
    assert (await service.call("DELETE", "/auth/me", token)).status_code == 403
    assert (await service.call("DELETE", "/auth/me", token, json={"password": "wrong guess"})).status_code == 403
    assert (await service.call("DELETE", "/auth/me", token, json={"password": PASSWORD})).status_code == 204
    assert not await service.accepts(token)
    assert (await service.sign_in()).status_code == 401
    for table in ("kernel_users", "kernel_sessions"):
        assert await service.db.privileged.count_entities(table) == 0, table
    # What was mailed is remembered for the hour, and opens nothing.
    assert await service.db.privileged.count_entities("kernel_email_tokens", "[used_at] IS NULL") == 0
    assert "auth.deleted" in service.names()
    again = await service.sign_up()
    assert again["user"]["id"] != user["user"]["id"]


async def test_who_has_no_account_or_a_disabled_one_gets_no_mail(service):
    user = await service.sign_up()
    await deactivate_user(service.db, user["user"]["id"])
    for email in (EMAIL, "nobody@example.com", "no address at all"):
        for path in ("forgot-password", "resend-verification"):
            assert (await service.post(path, email=email)).status_code == 202
    assert await service.mails() == []


async def test_a_service_that_cannot_mail_says_so(tmp_path):
    """In production there is a mailer without a server behind it, and no job would have anything to do."""
    settings = {"environment": "production", "cors_origins": [], "public_url": "https://api.example.com"}
    app = create_service("mute", config=settings_of(tmp_path / "app.db", **settings))
    async with app.router.lifespan_context(app):
        service = Service(app, [], Postbox())
        user = await service.sign_up()
        for path in ("forgot-password", "resend-verification"):
            answer = await service.post(path, email=EMAIL)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json"), path
        answer = await service.post("change-email", user["access_token"], new_email=EVE, password=PASSWORD)
        assert answer.status_code == 503


async def test_the_whole_way_with_the_mail_that_the_service_makes_itself(place):
    """Sign-up, the mail as its reader sees it, its link, a forgotten password and its mail."""
    config = settings_of(place.url, email_verification="required")
    async with kernel_client(create_service("real", config=config), database=None) as client:

        async def newest(subject: str) -> str:
            mail = (await client.mails())[-1]
            assert (mail.to, subject in mail.subject.lower()) == (EMAIL, True), mail.subject
            (link,) = set(mail.links)
            assert link.startswith("http://testserver/auth/")
            return link.partition("#token=")[2]

        async def post(path: str, **body: str) -> int:
            return (await client.post(f"/auth/{path}", json=body)).status_code

        assert await post("register", email=EMAIL, password=PASSWORD) == 202
        token = await newest("confirm")
        assert await post("verify-email", token=token, password=PASSWORD) == 200
        assert await post("forgot-password", email=EMAIL) == 202
        assert await post("reset-password", token=await newest("password"), new_password=NEW_PASSWORD) == 204
        assert await post("login", email=EMAIL, password=NEW_PASSWORD) == 200
        views = await client.jobs.enqueued()
        assert token not in repr(views)
        assert EMAIL not in repr(views)
