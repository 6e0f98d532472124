"""The databases that mails wait in, and a mail server."""

from collections.abc import AsyncIterator

import pytest

from tests.conformance.backends import SERVICE_BACKENDS
from tests.jobs.places import ALL_PLACES, JobPlace
from tests.mail.smtp_server import SmtpServer, smtp_server


@pytest.fixture(params=SERVICE_BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[JobPlace]:
    async with ALL_PLACES[request.param]() as made:
        yield made


@pytest.fixture
async def server() -> AsyncIterator[SmtpServer]:
    async with smtp_server() as running:
        yield running
