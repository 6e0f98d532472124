"""From `send_template` to the mail server: what arrives, what is tried again, and what is given up."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app_kernel.core.errors import MailNotConfigured, UndeliverableMail
from app_kernel.core.ports import Mailer
from app_kernel.mail import send_mail, send_template
from app_kernel.mail.tasks import DELIVER, WAITS
from app_kernel.testing import KernelClient
from tests.jobs.places import PLACES, JobPlace
from tests.mail.certificates import certificate
from tests.mail.sending import LINK, NOON, RESET, sending
from tests.mail.smtp_server import Cut, SmtpServer, Stall

ADA = "ada@example.com"


@pytest.fixture
async def sqlite() -> Any:
    async with PLACES["sqlite"]() as made:
        yield made


async def attempt(client: KernelClient, seconds: float = 0) -> Any:
    """The only job, after the attempt that is due once some seconds have passed."""
    client.clock.advance(seconds)
    (view,) = await client.jobs.drain()
    return view


async def test_a_mail_arrives_as_text_and_html(place: JobPlace, server: SmtpServer) -> None:
    async with sending(place, server) as client:
        await client.kernel.port(Mailer).send_template(ADA, "reset_password", {**RESET, "service": "Zoë's"})
        assert server.commands == []
        view = await attempt(client)
    assert view.status == "completed"
    (mail,) = server.received
    assert (mail.sender, mail.recipient) == ("post@shop.example", ADA)
    message = mail.message
    assert message["From"] == "Shöp <post@shop.example>"
    assert message["To"] == ADA
    assert message["Subject"] == "Choose a new password for Zoë's"
    assert message["Date"].datetime == NOON
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Message-ID"] == f"<{view.id}@shop.example>"
    assert message.get_content_type() == "multipart/alternative"
    text, html = (part.get_content().replace("\r\n", "\n") for part in message.iter_parts())
    assert f"\n{LINK}\n" in text
    assert f'href="{LINK}"' in html
    assert mail.data.isascii()
    assert max(len(line) for line in mail.data.split(b"\r\n")) <= 998
    assert server.commands[0] == "EHLO shop.example"
    assert server.commands[-1] == "QUIT"


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize("step", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "TAKEN"])
async def test_a_server_that_cannot_now_is_asked_again_with_the_same_id(
    step: str, sqlite: JobPlace, server: SmtpServer
) -> None:
    busy = "421 4.3.2 try later" if step != "EHLO" else "421 4.3.2 later\r\n421 4.3.2 later"
    server.answers[step] = ["451 4.7.1 greylisted", busy] if step != "EHLO" else ["421 4.3.2 x"]
    async with sending(sqlite, server) as client:
        await send_template(ADA, "reset_password", RESET)
        view = await attempt(client)
        assert view.status == "scheduled"
        assert "Not sent yet: " in view.error
        while view.status == "scheduled":
            assert view.attempt < 4
            view = await attempt(client, WAITS[view.attempt - 1] * 1.2)
    assert view.status == "completed"
    (mail,) = server.received
    assert mail.message["Message-ID"] == f"<{view.id}@shop.example>"


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA", "TAKEN"])
async def test_a_mail_that_the_server_refuses_is_not_tried_again(
    step: str, sqlite: JobPlace, server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[step] = [f"550 5.1.1 <{ADA}> canary-answer unknown"]
    async with sending(sqlite, server) as client:
        await send_template(ADA, "reset_password", RESET)
        view = await attempt(client)
        assert await client.jobs.drain() == []
    assert view.status == "dead"
    assert "DoNotRetry: Not sent: the mail server answered 550 5.1.1." in view.error
    assert server.received == []
    printed = capsys.readouterr().out
    assert '"event":"mail_refused"' in printed
    assert ADA not in view.error + printed
    assert "canary" not in view.error + printed


@pytest.mark.parametrize("step", ["AUTH", "GREETING"])
async def test_a_server_that_refuses_the_service_is_asked_again(
    step: str, sqlite: JobPlace, server: SmtpServer
) -> None:
    server.users["post"] = "secret word"
    server.answers[step] = ["535 5.7.8 no"] if step == "AUTH" else ["554 5.7.1 no"]
    url = f"smtp://post:secret%20word@{server.host}"
    async with sending(sqlite, server, smtp_url=url) as client:
        await send_mail(ADA, subject="Hello", text="Hello")
        assert (await attempt(client)).status == "scheduled"
        assert (await attempt(client, WAITS[0] * 1.2)).status == "completed"
    assert server.received[0].user == "post"


@pytest.mark.parametrize("step", ["EHLO", "RCPT", "TAKEN"])
async def test_a_server_that_falls_silent_is_left(step: str, sqlite: JobPlace, server: SmtpServer) -> None:
    server.answers[step] = [Stall]
    async with sending(sqlite, server, smtp_url=f"smtp://{server.host}?timeout=1") as client:
        await send_mail(ADA, subject="Hello", text="Hello")
        view = await attempt(client)
        assert view.status == "scheduled"
        assert server.stalled.is_set()
        assert (await attempt(client, WAITS[0] * 1.2)).status == "completed"


async def test_a_mail_whose_answer_was_lost_comes_twice_with_one_id(place: JobPlace, server: SmtpServer) -> None:
    server.answers["TAKEN"] = [Cut]
    async with sending(place, server) as client:
        await send_mail(ADA, subject="Hello", text="Hello")
        assert (await attempt(client)).status == "scheduled"
        server.answers.clear()
        assert (await attempt(client, WAITS[0] * 1.2)).status == "completed"
    first, second = (mail.message["Message-ID"] for mail in server.received)
    assert first == second


async def test_an_outage_that_lasts_is_waited_for_until_the_attempts_are_over(
    sqlite: JobPlace, server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    await server.stop()
    async with sending(sqlite, server) as client:
        await send_template(ADA, "reset_password", RESET)
        view = await attempt(client)
        for wait in WAITS:
            assert view.status == "scheduled"
            view = await attempt(client, wait * 1.2)
    assert (view.status, view.attempt) == ("dead", len(WAITS) + 1)
    printed = capsys.readouterr().out
    assert printed.count('"event":"mail_delayed"') == len(WAITS)
    assert printed.count('"event":"mail_given_up"') == 1
    assert ADA not in printed + view.error
    assert "canary" not in printed + view.error


async def test_an_expired_mail_is_not_sent(place: JobPlace, server: SmtpServer) -> None:
    async with sending(place, server) as client:
        await send_template(ADA, "reset_password", RESET, expires_at=NOON + timedelta(minutes=30))
        view = await attempt(client, 1800)
    assert view.status == "dead"
    assert "expired" in view.error
    assert server.commands == []


async def test_a_mail_is_given_up_when_it_would_expire_before_the_next_attempt(
    sqlite: JobPlace, server: SmtpServer
) -> None:
    server.answers["RCPT"] = ["450 4.2.1 later"] * 9
    async with sending(sqlite, server) as client:
        await send_template(ADA, "reset_password", RESET, expires_at=NOON + timedelta(seconds=5))
        assert (await attempt(client)).status == "scheduled"
        assert (await attempt(client, 2.4)).status == "dead"


@pytest.mark.acceptance("OP5")
async def test_a_mail_server_that_is_away_neither_slows_nor_fails_who_sends(
    place: JobPlace, server: SmtpServer
) -> None:
    await server.stop()
    async with sending(place, server) as client:
        async with asyncio.timeout(5):
            for _ in range(5):
                await send_template(ADA, "reset_password", RESET)
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 200
        assert {view.status for view in await client.jobs.drain()} == {"scheduled"}
        assert (await client.get("/readyz")).status_code == 200
        await server.start()
        client.clock.advance(WAITS[0] * 1.2)
        assert {view.status for view in await client.jobs.drain()} == {"completed"}
    assert len(server.received) == 5


async def test_starttls_is_taken_where_it_is_offered(tmp_path: Path, sqlite: JobPlace, server: SmtpServer) -> None:
    file, server.context = certificate(tmp_path)
    server.users["post"] = "word"
    url = f"smtp://post:word@{server.host}?tls=required&ca_file={file}"
    async with sending(sqlite, server, smtp_url=url) as client:
        await send_mail(ADA, subject="Hello", text="Hello")
        assert (await attempt(client)).status == "completed"
    assert server.received[0].over_tls
    assert server.received[0].user == "post"


@pytest.mark.parametrize("case", ["unknown", "other host"])
async def test_a_certificate_that_does_not_fit_ends_the_session(
    case: str, tmp_path: Path, sqlite: JobPlace, server: SmtpServer
) -> None:
    file, server.context = certificate(tmp_path, "127.0.0.9" if case == "other host" else "127.0.0.1")
    server.users["post"] = "word"
    trust = f"?ca_file={file}" if case == "other host" else ""
    async with sending(sqlite, server, smtp_url=f"smtp://post:word@{server.host}{trust}") as client:
        await send_mail(ADA, subject="Hello", text="Hello")
        view = await attempt(client)
    assert view.status == "scheduled"
    assert "certificate" in view.error
    assert server.commanded("AUTH") == server.commanded("MAIL") == 0


async def test_no_password_is_told_to_a_server_that_hides_starttls(sqlite: JobPlace, server: SmtpServer) -> None:
    server.users["post"] = "word"
    async with sending(sqlite, server, smtp_url=f"smtp://post:word@{server.host}?tls=required") as client:
        await send_mail(ADA, subject="Hello", text="Hello")
        assert (await attempt(client)).status == "scheduled"
    assert server.commanded("AUTH") == server.commanded("MAIL") == 0


async def test_an_address_beyond_ascii_needs_a_server_that_takes_it(sqlite: JobPlace, server: SmtpServer) -> None:
    async with sending(sqlite, server) as client:
        await send_mail("jörg@exämple.com", subject="Hällo", text="Hällo")
        assert (await attempt(client)).status == "dead"
        server.extensions = ("SMTPUTF8", "8BITMIME")
        await send_mail("jörg@exämple.com", subject="Hällo", text="Hällo")
        assert (await attempt(client)).status == "completed"
    (mail,) = server.received
    assert mail.recipient == "jörg@xn--exmple-cua.com"
    assert mail.message["Subject"] == "Hällo"


async def test_a_line_that_is_a_dot_does_not_end_the_mail(sqlite: JobPlace, server: SmtpServer) -> None:
    text = "one\n.\nMAIL FROM:<eve@example.com>\n..two\r\n.\r\nend"
    async with sending(sqlite, server) as client:
        await send_mail(ADA, subject="Dots", text=text)
        assert (await attempt(client)).status == "completed"
    (mail,) = server.received
    assert mail.message.get_content().splitlines() == text.splitlines()
    assert server.commanded("MAIL") == 1


async def test_production_without_a_mail_server_says_so_at_once(place: JobPlace) -> None:
    settings = {"environment": "production", "cors_origins": ["https://shop.example"]}
    async with place.service(None, **settings) as client:
        for send in (send_template(ADA, "reset_password", RESET), send_mail(ADA, subject="a", text="b")):
            with pytest.raises(MailNotConfigured, match="set SMTP_URL and MAIL_FROM"):
                await send
        assert await client.jobs.enqueued() == []
        assert not await client.db.privileged.find_entities("kernel_development_mails")


async def test_a_worker_that_has_no_mail_server_or_no_key_leaves_the_mail_to_others(
    sqlite: JobPlace, server: SmtpServer
) -> None:
    async with sending(sqlite, server) as client:
        await send_mail(ADA, subject="Hello", text="Hello")
    other = "another-secret-of-the-tests-0123456789abcdef"
    async with sqlite.service(None, frozen_at=NOON) as client:
        assert "no SMTP_URL" in (await attempt(client)).error
    async with sqlite.service(None, frozen_at=NOON + timedelta(minutes=1), jwt_secret=other) as client:
        assert "cannot open it" in (await attempt(client)).error
    async with sending(sqlite, server) as client:
        assert (await attempt(client, 120)).status == "completed"


async def test_expiry_needs_a_time_zone(sqlite: JobPlace, server: SmtpServer) -> None:
    async with sending(sqlite, server):
        with pytest.raises(UndeliverableMail, match="time zone"):
            await send_template(ADA, "reset_password", RESET, expires_at=NOON.replace(tzinfo=None))


async def test_a_mail_leaves_exactly_if_its_transaction_commits(place: JobPlace, server: SmtpServer) -> None:
    async with sending(place, server) as client:
        with pytest.raises(RuntimeError):
            async with client.db.transaction():
                await send_template(ADA, "reset_password", RESET)
                raise RuntimeError
        assert await client.jobs.drain() == []
        async with client.db.transaction():
            await send_template(ADA, "reset_password", RESET)
            await client.db.save_entity("orders", {"id": "1"})
        await client.jobs.assert_enqueued(DELIVER, times=1)
        await client.jobs.drain()
    assert len(server.received) == 1
