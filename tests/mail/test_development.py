"""Mails that are kept instead of sent, and who may read them."""

from typing import Any

import pytest

from app_kernel import ServiceConfig, create_service
from app_kernel.mail import development_mails, send_mail, send_template
from app_kernel.mail.store import KEPT
from app_kernel.testing import kernel_client
from tests.jobs.places import JobPlace
from tests.mail.sending import LINK, RESET

ADA = "ada@example.com"
SECRET = "secret-of-the-mail-tests-0123456789abcdef"
HOSTILE = "<script>alert('canary')</script>\"'><img src=x onerror=alert(1)>"


def shop(**settings: Any) -> Any:
    return create_service("shop", config=ServiceConfig(**{"jwt_secret": SECRET, "debug": True, **settings}))


async def test_mails_of_a_test_are_read_with_their_links(place: JobPlace) -> None:
    async with place.service(None) as client:
        assert await client.mails() == []
        await send_template(ADA, "reset_password", RESET)
        await send_mail(
            "bob@example.com", subject="Hi", text="no link", html='<a href="https://b.example/?a=1&amp;b=2">b</a>'
        )
        first, second = await client.mails()
        assert len(await client.mails()) == 2
    assert (first.to, first.subject, first.template) == (ADA, "Choose a new password for jobs_test", "reset_password")
    assert first.links == (LINK,)
    assert LINK in first.text
    assert first.html is not None
    assert (second.to, second.text, second.links) == ("bob@example.com", "no link", ("https://b.example/?a=1&b=2",))


async def test_the_newest_hundred_are_kept(place: JobPlace) -> None:
    async with place.service(None) as client:
        for number in range(KEPT + 3):
            await send_mail(ADA, subject=f"Mail {number}", text="x")
        mails = await client.mails()
    assert [mail.subject for mail in mails] == [f"Mail {number}" for number in range(3, KEPT + 3)]


async def test_a_mail_of_a_transaction_that_rolls_back_is_not_kept(place: JobPlace) -> None:
    async with place.service(None) as client:
        with pytest.raises(RuntimeError):
            async with client.db.transaction():
                await send_mail(ADA, subject="Never", text="x")
                raise RuntimeError
        async with client.db.transaction():
            await send_mail(ADA, subject="Always", text="x")
        assert [mail.subject for mail in await client.mails()] == ["Always"]


async def test_mails_are_read_in_a_browser_with_debug() -> None:
    async with kernel_client(shop()) as client:
        assert "None yet" in (await client.get("/dev/mail")).text
        await send_template(ADA, "reset_password", RESET)
        (mail,) = await client.mails()
        listed = await client.get("/dev/mail")
        assert "Choose a new password for shop" in listed.text
        assert f'href="mail/{mail.id}"' in listed.text
        one = await client.get(f"/dev/mail/{mail.id}")
        assert f'<a href="{LINK}"' in one.text
        (same,) = (await client.get("/dev/mail.json")).json()["mails"]
        assert (same["to"], same["links"], same["id"]) == (ADA, [LINK], mail.id)
        assert (await client.get("/dev/mail/nope")).status_code == 404
        assert "/dev/mail" not in (await client.get("/openapi.json")).text


@pytest.mark.parametrize(
    "settings",
    [
        {"debug": False},
        {"smtp_url": "smtp://127.0.0.1:9", "mail_from": "post@shop.example"},
        {"debug": False, "environment": "production", "cors_origins": ["https://shop.example"]},
    ],
)
async def test_otherwise_there_are_no_such_pages(settings: dict[str, Any]) -> None:
    async with kernel_client(shop(**settings)) as client:
        for path in ("/dev/mail", "/dev/mail.json", "/dev/mail/1"):
            assert (await client.get(path)).status_code == 404


async def test_what_stands_in_a_mail_does_nothing_in_the_browser() -> None:
    async with kernel_client(shop()) as client:
        await send_mail(ADA, subject=HOSTILE, text=HOSTILE, html=HOSTILE)
        (mail,) = await client.mails()
        for path in ("/dev/mail", f"/dev/mail/{mail.id}"):
            page = await client.get(path)
            assert "<script" not in page.text
            assert "<img" not in page.text
            policy = page.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'unsafe-inline';")
            assert "frame-ancestors 'none'" in policy
            assert page.headers["cache-control"] == "no-store"
        assert '<iframe sandbox="" srcdoc="&lt;script&gt;' in page.text


async def test_scripts_of_other_pages_may_not_read_mails() -> None:
    async with kernel_client(shop()) as client:
        await send_template(ADA, "reset_password", RESET)
        await client.mails()
        for origin in ("https://evil.example", "null", "http://testserver.evil.example"):
            for path in ("/dev/mail", "/dev/mail.json"):
                answer = await client.get(path, headers={"Origin": origin})
                assert answer.status_code == 403
                assert "canary" not in answer.text
        # A name of another site that leads to this machine (DNS rebinding): its page is of one origin with the answer.
        for headers in ({"Host": "evil.example"}, {"Host": "evil.example", "Origin": "http://evil.example"}):
            for path in ("/dev/mail", "/dev/mail.json"):
                assert (await client.get(path, headers=headers)).status_code == 403
        assert (await client.get("/dev/mail", headers={"Origin": "http://testserver"})).status_code == 200


@pytest.mark.parametrize("debug", [True, False])
async def test_the_log_says_where_mails_are_or_what_to_set(debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    async with kernel_client(shop(debug=debug)) as client:
        await send_template(ADA, "reset_password", RESET)
        await client.mails()
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if '"event":"mail_kept"' in line]
    assert ('"read_at":"GET /dev/mail"' in line) is debug
    assert ("SMTP_URL" in line) is not debug
    assert ADA not in printed
    assert "canary" not in printed


async def test_a_mail_that_is_kept_twice_is_there_once(place: JobPlace) -> None:
    async with place.service(None) as client:
        await send_mail(ADA, subject="Once", text="x")
        (view,) = await client.jobs.drain()
        task = client.kernel.features[[f.name for f in client.kernel.features].index("mail")].tasks["mail.deliver"]
        await task.handler(view.payload, view)  # type: ignore[union-attr]
        assert len(await development_mails(client.kernel)) == 1
