"""Mailed links: one use each, for one purpose; nobody learns who has an account, floods a mailbox, or sees a token."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from app_kernel.api_keys import create_api_key, list_api_keys
from app_kernel.auth import accounts, create_user, deactivate_user, passwords, store
from app_kernel.auth.email_tokens import PREFIXES, hash_email_token
from app_kernel.auth.mailing import mail_link
from app_kernel.core import clock
from app_kernel.core.context import Context, in_context
from app_kernel.core.errors import KernelError
from app_kernel.jobs import jobs_of
from tests.auth.serving import EMAIL, NEW_PASSWORD, PASSWORD, Service, serving
from tests.conformance.backends import Place

EVE, NOBODY = "eve@example.com", "nobody@example.com"
OWN = {"public_url": "https://api.example.com"}


@pytest.fixture
async def service(place: Place) -> AsyncIterator[Service]:
    async with serving(place.url) as running:
        yield running


@pytest.fixture
async def strict(place: Place) -> AsyncIterator[Service]:
    async with serving(place.url, email_verification="required") as running:
        yield running


async def reset(service: Service, token: str, password: str = NEW_PASSWORD) -> int:
    return (await service.post("reset-password", token=token, new_password=password)).status_code


async def change_link(service: Service, caller: str, email: str = EVE) -> str:
    await service.post("change-email", caller, new_email=email, password=PASSWORD)
    (sent,) = await service.mails()
    return sent.token


@pytest.mark.acceptance("OA5")
async def test_a_password_that_was_set_before_the_owner_came_does_not_survive_the_confirmation(service):
    """Eve registers the victim's address and waits; the victim follows the link without knowing her password."""
    eve = await service.sign_up()
    user_id = eve["user"]["id"]
    await create_api_key(service.db, user_id, name="eve's")
    older = await service.link("resend-verification")
    token = await service.link("resend-verification")
    answer = await service.post("verify-email", token=token)
    assert (answer.status_code, answer.json()["user"]["email_verified"]) == (200, True)
    choose = answer.json()["choose_password_token"]
    assert (await service.user_row())["password_hash"] is None
    assert not await service.accepts(eve["access_token"])
    assert (await service.post("refresh", refresh_token=eve["refresh_token"])).status_code == 401
    assert (await service.sign_in()).status_code == 401
    assert await list_api_keys(service.db, user_id) == []
    assert (await service.post("verify-email", token=older)).status_code == 400
    assert await reset(service, choose) == 204
    assert (await service.sign_in()).status_code == 401
    assert (await service.sign_in(password=NEW_PASSWORD)).status_code == 200
    assert await reset(service, choose, PASSWORD) == 400
    assert service.proven == [user_id]


@pytest.mark.acceptance("OA5")
async def test_a_reset_of_an_address_that_was_never_confirmed_ends_what_came_before_the_owner(service):
    eve = await service.sign_up()
    await create_api_key(service.db, eve["user"]["id"], name="eve's")
    waiting = await change_link(service, eve["access_token"])
    token = await service.link("forgot-password")
    assert await reset(service, token) == 204
    assert not await service.accepts(eve["access_token"])
    assert await list_api_keys(service.db, eve["user"]["id"]) == []
    assert (await service.post("verify-email", token=waiting, password=NEW_PASSWORD)).status_code == 400
    assert (await service.user_row())["email"] == EMAIL


async def test_an_account_without_a_password_is_taken_over_as_well(service):
    """Sessions of an account that was made by other ways than a password may be somebody else's, too."""
    eve = await service.sign_up()
    await store.update_user(service.db, eve["user"]["id"], {"password_hash": None})
    token = await service.link("resend-verification")
    answer = await service.post("verify-email", token=token)
    assert answer.json()["choose_password_token"] is not None
    assert not await service.accepts(eve["access_token"])


async def test_another_accounts_session_or_password_confirms_nothing(service):
    await service.sign_up()
    token = await service.link("resend-verification")
    eve = await service.sign_up(EVE, NEW_PASSWORD)
    answer = await service.post("verify-email", eve["access_token"], token=token, password=NEW_PASSWORD)
    assert answer.status_code == 403
    assert (await service.user_row())["email_verified_at"] is None
    mine = (await service.sign_in()).json()["access_token"]
    change = await change_link(service, mine, "new@example.com")
    for caller, body in ((eve["access_token"], {}), (None, {}), (None, {"password": NEW_PASSWORD})):
        answer = await service.post("verify-email", caller, token=change, **body)
        assert answer.status_code == 403, body
    assert (await service.user_row())["email"] == EMAIL


@pytest.mark.parametrize("kind", ["reset", "verify"])
async def test_of_twenty_uses_at_once_one_counts(service, kind):
    user = await service.sign_up()
    if kind == "reset":
        token = await service.link("forgot-password")
        uses = [reset(service, token, f"{NEW_PASSWORD} {n}") for n in range(20)]
    else:
        token = await service.link("resend-verification")

        async def verify() -> int:
            return (await service.post("verify-email", user["access_token"], token=token)).status_code

        uses = [verify() for _ in range(20)]
    statuses = list(await asyncio.gather(*uses))
    assert sorted(statuses) == [204 if kind == "reset" else 200] + [400] * 19
    if kind == "reset":
        winner = statuses.index(204)
        assert (await service.sign_in(password=f"{NEW_PASSWORD} {winner}")).status_code == 200


async def test_a_link_ends_with_its_time_its_account_and_its_address(service):
    with clock.frozen() as time:
        user = await service.sign_up()
        token = await service.link("forgot-password")
        time.advance(3599.9)
        assert await reset(service, token, "short") == 422
        time.advance(0.1)
        assert await reset(service, token) == 400
        stale = await service.link("forgot-password")
        change = await change_link(service, user["access_token"])
        assert (await service.post("verify-email", user["access_token"], token=change)).status_code == 200
        assert await reset(service, stale) == 400  # it was mailed to the address before
        await service.mails()
        stale = await service.link("forgot-password", EVE)
        await store.update_user(service.db, user["user"]["id"], {"email": NOBODY})  # by whatever other way
        assert await reset(service, stale) == 400
        last = await service.link("forgot-password", NOBODY)
        await deactivate_user(service.db, user["user"]["id"])
        assert await reset(service, last) == 400
    assert passwords.verify_password(PASSWORD, (await service.user_row(NOBODY))["password_hash"])


async def test_a_weak_password_leaves_the_link_to_be_used_again(service):
    await service.sign_up()
    token = await service.link("forgot-password")
    assert await reset(service, token, "short") == 422
    assert await reset(service, token, "k" * 4097) == 422
    assert await reset(service, token) == 204


async def test_no_link_serves_another_purpose(service):
    user = await service.sign_up()
    tokens = {"ev_": await service.link("resend-verification"), "pr_": await service.link("forgot-password")}
    tokens["ec_"] = await change_link(service, user["access_token"])
    for prefix, token in tokens.items():
        for other in PREFIXES.values():
            swapped = other + token[3:]
            if prefix != "pr_" or other != "pr_":
                assert await reset(service, swapped) == 400, (prefix, other)
            if other not in ("ev_", "ec_") or other != prefix:
                answer = await service.post("verify-email", user["access_token"], token=swapped)
                assert answer.status_code == 400, (prefix, other)
    row = await service.user_row()
    assert (row["email"], row["email_verified_at"]) == (EMAIL, None)


async def test_text_that_is_no_link_is_refused(service):
    for token in ("", "x", "pr_", "pr_" + "a" * 42, "pr_" + "a" * 44, "pr_" + "\u0661" * 43, "x" * 512, "\x00"):
        assert await reset(service, token) in (400, 422), token
        assert (await service.post("verify-email", token=token)).status_code in (400, 422), token


async def test_a_mailbox_gets_five_links_an_hour_however_many_ask_at_once(service):
    user = await service.sign_up()
    jobs = []
    for _ in range(12):
        assert (await service.post("forgot-password", email=EMAIL)).status_code == 202
    for job in await jobs_of(service.kernel).list_jobs(limit=100):
        view = await jobs_of(service.kernel).get(job.id)
        assert view is not None
        jobs.append(view.payload)
    assert len(jobs) == 12

    async def run(payload: dict[str, Any]) -> None:
        with in_context(Context(kernel=service.kernel)):
            await mail_link(payload)

    await asyncio.gather(*(asyncio.create_task(run(payload)) for payload in jobs))
    assert len(service.postbox.mails) == 5
    with clock.frozen() as time:
        await service.post("change-email", user["access_token"], new_email=EVE, password=PASSWORD)
        assert len(await service.mails()) == 5
        time.advance(3601)
        assert await service.link("forgot-password")


async def test_whoever_names_an_address_as_theirs_does_not_keep_its_owner_from_a_link(strict):
    await create_user(strict.db, EMAIL, PASSWORD, email_verified=True)
    for _ in range(8):
        assert (await strict.post("register", email=EMAIL, password=NEW_PASSWORD)).status_code == 202
    notices = await strict.mails()
    assert [(mail.to, mail.template) for mail in notices] == [(EMAIL, "account_exists")] * 5
    assert "#token" not in notices[0].link
    assert await strict.link("forgot-password")


def told(answer: Any) -> tuple[int, Any, dict[str, str]]:
    """An answer without what differs between any two."""
    counted = ("x-request-id", "ratelimit")
    return (
        answer.status_code,
        {name: value for name, value in json.loads(answer.content).items() if name != "request_id"},
        {name: value for name, value in answer.headers.items() if name not in counted},
    )


@pytest.mark.acceptance("AU8")
@pytest.mark.parametrize("path", ["forgot-password", "resend-verification"])
async def test_asking_for_a_link_says_nothing_about_the_account_and_does_the_same_work(service, path, monkeypatch):
    await service.sign_up()
    disabled = await service.sign_up("off@example.com")
    await deactivate_user(service.db, disabled["user"]["id"])
    looked: list[str] = []
    find = store.find_user_row

    async def counted(*args: Any) -> Any:
        looked.append(args[2])
        return await find(*args)

    with monkeypatch.context() as patched:
        patched.setattr(store, "find_user_row", counted)
        asked = (EMAIL, NOBODY, "off@example.com", "no address", "ADA@example.com")
        answers = [told(await service.post(path, email=email)) for email in asked]
    assert answers == [answers[0]] * 5
    assert answers[0][0] == 202
    assert looked == []
    views = [await jobs_of(service.kernel).get(job.id) for job in await jobs_of(service.kernel).list_jobs(limit=100)]
    assert [(view.task_name, list(view.payload)) for view in views if view] == [("auth.mail_link", ["sealed"])] * 5
    assert len({event.name for event in service.events if event.user_id is None}) <= 1


@pytest.mark.acceptance("AU8")
async def test_a_new_and_an_existing_address_register_alike(strict, monkeypatch):
    hashes: list[str] = []
    make = accounts.hash_in_thread

    async def counted(password: str) -> str:
        hashes.append(password)
        return await make(password)

    monkeypatch.setattr(accounts, "hash_in_thread", counted)
    await create_user(strict.db, EMAIL, PASSWORD, email_verified=True)
    answers, work = [], []
    for email in (EMAIL, NOBODY, NOBODY, "ADA@Example.com"):
        hashes.clear()
        answers.append(told(await strict.post("register", email=email, password=NEW_PASSWORD)))
        work.append(len(hashes))
    assert answers == [answers[0]] * 4
    assert (answers[0][0], work) == (202, [1, 1, 1, 1])
    sent = [(mail.to, mail.template) for mail in await strict.mails()]
    assert sent == [
        (EMAIL, "account_exists"),
        (NOBODY, "verify_email"),
        (NOBODY, "verify_email"),  # whoever did not get the first one is not told to sign in, which would be refused
        (EMAIL, "account_exists"),
    ]
    assert (await strict.sign_in()).status_code == 200  # nothing of the owner's account changed


async def test_deleting_and_signing_up_again_does_not_fill_a_mailbox(service):
    sent = 0
    for _ in range(3):
        user = await service.sign_up()
        for _ in range(4):
            assert (await service.post("resend-verification", email=EMAIL)).status_code == 202
        sent += len(await service.mails())
        gone = await service.call("DELETE", "/auth/me", user["access_token"], json={"password": PASSWORD})
        assert gone.status_code == 204
    assert sent == 5


async def test_a_reset_ends_every_other_link_however_many_there_are(service):
    await service.sign_up()
    row = await service.user_row()
    old = await service.link("forgot-password")
    rows = [
        {"token_hash": f"hash {n}", "purpose": "notice", "user_id": row["id"], "email": EMAIL, "expires_at": later}
        for n in range(450)
        for later in [clock.now() + timedelta(hours=1)]
    ]
    await service.db.privileged.save_entities("kernel_email_tokens", rows)
    assert await reset(service, await service.link("forgot-password")) == 204
    assert await reset(service, old) == 400


async def test_an_older_link_takes_nothing_from_an_account_that_was_confirmed(service):
    user = await service.sign_up()
    first, second = await service.link("resend-verification"), await service.link("resend-verification")
    assert (await service.post("verify-email", token=second, password=PASSWORD)).status_code == 200
    assert (await service.post("verify-email", token=first)).status_code == 400
    assert await service.accepts(user["access_token"])
    assert (await service.sign_in()).status_code == 200


async def test_a_changed_password_ends_the_links_that_were_mailed_before(service):
    user = await service.sign_up()
    link = await service.link("forgot-password")
    body = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
    changed = await service.call("POST", "/auth/change-password", user["access_token"], json=body)
    assert changed.status_code == 204
    assert await reset(service, link) == 400
    assert [mail.template for mail in await service.mails()][-1] == "password_changed"


@pytest.mark.acceptance("AU8")
async def test_who_asks_for_a_link_does_not_see_its_job(strict):
    """How long it took would tell whether there is an account."""
    await create_user(strict.db, EMAIL, PASSWORD, email_verified=True)
    token = (await strict.sign_in()).json()["access_token"]
    for path in ("forgot-password", "resend-verification"):
        assert (await strict.post(path, token, email=EMAIL)).status_code == 202
    assert (await strict.call("GET", "/jobs", token)).json()["jobs"] == []
    assert len(await strict.mails()) == 1


@pytest.mark.acceptance("AU8")
async def test_no_username_is_taken_or_left_free_by_a_sign_up_that_waits_for_a_mail(strict):
    """Else a second sign-up under that username would tell whether the first one's address had an account."""
    await create_user(strict.db, EMAIL, PASSWORD, email_verified=True)
    for email in (EMAIL, NOBODY):
        answer = await strict.post("register", email=email, password=NEW_PASSWORD, username="brand.new")
        assert (answer.status_code, "PATCH /auth/me" in answer.json()["detail"]) == (422, True)
    assert await strict.mails() == []


@pytest.mark.acceptance("AU8")
async def test_that_an_address_is_not_confirmed_is_said_only_to_who_knows_the_password(strict):
    await strict.post("register", email=EMAIL, password=PASSWORD)
    wrong = await strict.sign_in(password="wrong guess")
    nobody = await strict.sign_in(NOBODY, "wrong guess")
    assert told(wrong) == told(nobody)
    assert (await strict.sign_in()).status_code == 403
    token = await strict.post("token")
    assert token.status_code == 422
    assert await strict.db.privileged.count_entities("kernel_sessions") == 0


@pytest.mark.acceptance("AU8")
async def test_a_change_to_a_taken_address_is_answered_as_one_to_a_free_one(service):
    user = await service.sign_up()
    await create_user(service.db, EVE, PASSWORD)
    answers = [
        told(await service.post("change-email", user["access_token"], new_email=email, password=PASSWORD))
        for email in (EVE, NOBODY)
    ]
    assert answers == [answers[0]] * 2
    assert [(mail.to, mail.template) for mail in await service.mails()] == [
        (EVE, "account_exists"),
        (NOBODY, "change_email"),
    ]


HOSTS = [
    "evil.example", "evil.example:80", "localhost.evil.example", "localhost@evil.example", "evil.example@localhost",
    "evil.example\\@localhost", "localhost/../x", "[", "", "[::1",
]  # fmt: skip


async def test_the_host_of_a_request_decides_no_link(tmp_path):
    foreign = {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    async with serving(tmp_path / "app.db") as service:
        await service.sign_up()
        for host in HOSTS:
            for path in ("forgot-password", "resend-verification"):
                for email in (EMAIL, NOBODY):
                    answer = await service.call(
                        "POST", f"/auth/{path}", json={"email": email}, headers={"Host": host, **foreign}
                    )
                    assert answer.status_code == 503, (host, path)
        assert await service.mails() == []
        mine = {"Host": "localhost:8000", **foreign}
        good = await service.call("POST", "/auth/forgot-password", json={"email": EMAIL}, headers=mine)
        assert good.status_code == 202
        assert (await service.mails())[0].link.startswith("http://localhost:8000/auth/reset-password#token=")


async def test_links_lead_to_the_public_address_whatever_the_host(tmp_path):
    async with serving(tmp_path / "app.db", email_verification="required", **OWN) as service:
        for number, host in enumerate(HOSTS):
            headers = {"Host": host, "X-Forwarded-Host": "evil.example"}
            body = {"email": f"user{number}@example.com", "password": PASSWORD}
            for path in ("register", "register", "forgot-password"):
                await service.call("POST", f"/auth/{path}", json=body, headers=headers)
        sent = await service.mails()
        assert len(sent) == 3 * len(HOSTS)
        assert {mail.link.partition("/auth/")[0] for mail in sent} == {"https://api.example.com"}


async def test_tokens_and_typed_addresses_are_in_no_row_log_or_event(place, capsys):
    async with serving(place.url) as service:
        user = await service.sign_up()
        typed = "typed-canary@example.com"
        for email in (EMAIL, typed):
            await service.post("forgot-password", email=email)
        sent = await service.mails()
        verify = await service.link("resend-verification")
        change = await change_link(service, user["access_token"])
        chosen = (await service.post("verify-email", token=verify)).json()["choose_password_token"]
        for token in (sent[0].token, change):
            await reset(service, token)
        secrets = [sent[0].token[3:], verify[3:], change[3:], chosen[3:], "typed-canary"]
        said = capsys.readouterr().out + repr(service.events)
        links = await service.db.privileged.find_entities("kernel_email_tokens")
        jobs = jobs_of(service.kernel)
        views = [await jobs.get(job.id) for job in await jobs.list_jobs(limit=1000)]
        assert hash_email_token(verify) in repr(links)
        assert len(views) >= 2
        for secret in secrets:
            for where in (said, repr(links), repr(views)):
                assert secret not in where
        for mail in (sent[0],):
            assert "?" not in mail.link
            assert "#token=" in mail.link


async def test_a_token_in_the_query_or_a_form_is_not_taken(service):
    await service.sign_up()
    token = await service.link("forgot-password")
    body = {"new_password": NEW_PASSWORD}
    for options in (
        {"params": {"token": token}, "json": body},
        {"data": {"token": token, **body}},
        {"content": json.dumps({"token": token, **body}), "headers": {"Content-Type": "text/plain"}},
    ):
        assert (await service.call("POST", "/auth/reset-password", **options)).status_code in (415, 422)
    assert (await service.call("GET", "/auth/reset-password", params={"token": token})).status_code == 200
    assert (await service.sign_in()).status_code == 200
    assert await reset(service, token) == 204


@pytest.mark.parametrize("meanwhile", [{"password_changed_at": clock.now()}, {"is_active": True, "email": "x@y.test"}])
async def test_a_password_changed_while_a_reset_was_on_its_way_is_not_lost_silently(service, monkeypatch, meanwhile):
    """Both write the account: the second of them must fail, not win over what it never saw."""
    await service.sign_up()
    token = await service.link("forgot-password")
    make = accounts.hash_in_thread

    async def overtaken(password: str) -> str:
        monkeypatch.setattr("app_kernel.auth.registration.hash_new_password", accounts.hash_new_password)
        row = await service.user_row()
        with suppress(KernelError):
            await store.update_user(service.db, row["id"], meanwhile)
        return await make(password)

    monkeypatch.setattr("app_kernel.auth.registration.hash_new_password", overtaken)
    user_id = (await service.user_row())["id"]
    assert await reset(service, token) == 409
    row = await store.get_user_row(service.db, user_id)
    assert row is not None
    assert passwords.verify_password(PASSWORD, row["password_hash"])


async def test_whoever_holds_a_session_cannot_hold_off_a_new_password(service, monkeypatch):
    """By changing the profile again and again while the owner resets or changes the password."""
    user = await service.sign_up()
    make = accounts.hash_in_thread

    async def meanwhile(password: str) -> str:
        await service.call("PATCH", "/auth/me", user["access_token"], json={"name": "busy"})
        return await make(password)

    monkeypatch.setattr(accounts, "hash_in_thread", meanwhile)
    assert await reset(service, await service.link("forgot-password")) == 204
    assert passwords.verify_password(NEW_PASSWORD, (await service.user_row())["password_hash"])
    assert not await service.accepts(user["access_token"])
