"""What a mail says is for its receiver: not for logs, not for readers of jobs, and not for whoever asked for it."""

import json
from typing import Any

import pytest

from app_kernel.core.context import acting_as
from app_kernel.core.errors import UndeliverableMail
from app_kernel.mail import send_mail, send_template
from tests.jobs.places import PLACES, JobPlace
from tests.mail.conftest import place, server
from tests.mail.sending import sending
from tests.mail.smtp_server import SmtpServer

__all__ = ["place", "server"]

ADA = "canary-ada@example.com"
VALUES = {"service": "canary-service", "link": "https://shop.example/?token=canary-link", "expires_minutes": 30}
PASSWORD = "canary-Pa55word-smtp"

LINES = ["\r\nBcc: eve@example.com", "\nX: y", "\r", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"]


@pytest.mark.acceptance("OP4")
async def test_no_row_answer_or_line_shows_what_a_mail_says(
    place: JobPlace, server: SmtpServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.users["post"] = PASSWORD
    server.answers["RCPT"] = [f"451 4.7.1 <{ADA}> later", f"550 5.1.1 <{ADA}> unknown"]
    url = f"smtp://post:{PASSWORD}@{server.host}"
    async with sending(place, server, smtp_url=url) as client:
        boss = await client.log_in_as("boss@example.com", role="admin")
        await send_template(ADA, "reset_password", VALUES)
        await send_mail(ADA, subject="canary-subject", text="canary-text", html="<p>canary-html</p>")
        shown: list[str] = []
        for seconds in (0, 10, 20):
            client.clock.advance(seconds)
            await client.jobs.drain()
            listed = (await boss.get("/jobs")).json()["jobs"]
            mails = [job["id"] for job in listed if job["task_name"] == "mail.deliver"]
            assert len(mails) == 2
            shown += [(await boss.get(f"/jobs/{id}")).text for id in mails]
            rows = await client.kernel.db.connection().privileged.execute("SELECT * FROM kernel_jobs")
            shown += [json.dumps([list(map(str, row)) for row in rows])]
    # One was refused, the other one was taken once the server had time for it.
    assert len(server.received) == 1
    printed = capsys.readouterr().out
    assert '"event":"mail_refused"' in printed
    assert '"event":"mail_delayed"' in printed
    assert [text for text in (*shown, printed) if "canary" in text] == []


async def test_whoever_asked_for_a_mail_does_not_see_its_job(place: JobPlace, server: SmtpServer) -> None:
    async with sending(place, server) as client:
        eve = await client.log_in_as("eve@example.com")
        with acting_as(eve.user.id):
            await send_template(ADA, "reset_password", VALUES)
        await client.jobs.assert_enqueued("mail.deliver", user_id=None, workspace_id=None)
        assert (await eve.get("/jobs")).json()["jobs"] == []


@pytest.fixture
async def sqlite() -> Any:
    async with PLACES["sqlite"]() as made:
        yield made


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize("line", LINES, ids=ascii)
async def test_a_line_break_never_becomes_a_header(line: str, sqlite: JobPlace, server: SmtpServer) -> None:
    async with sending(sqlite, server) as client:
        for to in (f"ada@example.com{line}", f"{line}ada@example.com", f"ada{line}@example.com"):
            with pytest.raises(UndeliverableMail):
                await send_mail(to, subject="Hello", text="Hello")
        with pytest.raises(UndeliverableMail):
            await send_mail("ada@example.com", subject=f"Hello{line}eve", text="Hello")
        assert await client.jobs.enqueued() == []
        values = {**VALUES, "service": f"Shop{line} by Zoë <eve@example.com>"}
        await send_template("ada@example.com", "reset_password", values)
        await client.jobs.drain()
    (mail,) = server.received
    assert mail.recipient == "ada@example.com"
    assert sorted(mail.message.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"]
    )
    assert server.commanded("RCPT") == 1
    assert mail.message["Subject"].startswith("Choose a new password for Shop ")


@pytest.mark.acceptance("OP4")
@pytest.mark.parametrize(
    "to",
    [
        *("", " ", "ada", "ada@", "@example.com", "a@b@c.example", "ada@example.com ", "<ada@example.com>"),
        *("ada@example.com, eve@example.com", "Ada <ada@example.com>", "ada@exa mple.com", "ada@[127.0.0.1]"),
        *("ada@example.com>\r\nRCPT TO:<eve@example.com", '"a b"@example.com', "ada@example.com SIZE=1"),
        *("a" * 400 + "@example.com", "ada\udc80@b.example"),
    ],
    ids=ascii,
)
async def test_what_is_no_single_address_is_refused(to: str, sqlite: JobPlace, server: SmtpServer) -> None:
    async with sending(sqlite, server) as client:
        with pytest.raises(UndeliverableMail) as caught:
            await send_mail(to, subject="Hello", text="Hello")
        assert caught.value.message == "This is no address that mail can be sent to."
        assert await client.jobs.enqueued() == []


@pytest.mark.parametrize(
    ("subject", "text", "html"),
    [
        ("", "text", None),
        ("  ", "text", None),
        ("x" * 301, "text", None),
        (None, "text", None),
        ("half \ud800", "text", None),
        ("ok", "half \ud800", None),
        ("ok", "x" * 500_001, None),
        ("ok", "x" * 300_000, "x" * 300_000),
        ("ok", None, None),
        ("ok", b"bytes", None),
        ("ok", "text", 5),
    ],
    ids=str,
)
async def test_what_no_mail_can_hold_is_refused(
    subject: Any, text: Any, html: Any, sqlite: JobPlace, server: SmtpServer
) -> None:
    async with sending(sqlite, server) as client:
        with pytest.raises(UndeliverableMail):
            await send_mail("ada@example.com", subject=subject, text=text, html=html)
        assert await client.jobs.enqueued() == []
