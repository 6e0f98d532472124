"""A service that sends mail to a server of the test's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from app_kernel.testing import KernelClient
from tests.jobs.places import JobPlace
from tests.mail.smtp_server import SmtpServer

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LINK = "https://shop.example/reset?token=canary-link-7731"
RESET = {"link": LINK, "expires_minutes": 30}


@asynccontextmanager
async def sending(place: JobPlace, server: SmtpServer, **settings: Any) -> AsyncIterator[KernelClient]:
    """The client of a running service whose clock stands still."""
    given = {
        "smtp_url": f"smtp://{server.host}?timeout=5",
        "mail_from": "Shöp <post@shop.example>",
        "public_url": "https://shop.example",
        **settings,
    }
    async with place.service(None, frozen_at=NOON, **given) as client:
        yield client
