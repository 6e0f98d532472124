"""Workers that are killed while they deliver: every mail arrives, and a second copy carries the id of the first."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app_kernel.mail import send_mail
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tests.mail.sending import sending
from tests.mail.smtp_server import SmtpServer, Stall

MAILS = 5


@asynccontextmanager
async def worker(place: JobPlace, server: SmtpServer) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.mail.mail_worker",
        place.database_url,
        f"smtp://{server.host}",
        place.redis_url or "",
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.slow
@pytest.mark.acceptance("OP4")
async def test_a_worker_killed_after_the_server_took_the_mail_loses_none(place: JobPlace, server: SmtpServer) -> None:
    """The killed one had handed in mails whose answers it never saw."""
    async with sending(place, server) as client:
        ids = set()
        for number in range(MAILS):
            await send_mail("ada@example.com", subject=f"Mail {number}", text="x")
        for view in await client.jobs.enqueued("mail.deliver"):
            ids.add(f"<{view.id}@shop.example>")
    server.answers["TAKEN"] = [Stall] * MAILS
    async with worker(place, server) as first:
        async with asyncio.timeout(60):
            await server.stalled.wait()
        first.kill()
        await first.wait()
    server.answers.clear()
    handed_in = len(server.received)
    assert handed_in >= 1

    async def look() -> bool:
        return len(server.received) >= handed_in + MAILS

    async with worker(place, server):
        await until(look, 90)
    copies = Counter(mail.message["Message-ID"] for mail in server.received)
    assert set(copies) == ids
    assert copies.total() == handed_in + MAILS
