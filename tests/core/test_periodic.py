"""What is done now and then is done again after it failed, however it did."""

import asyncio
import logging

import pytest

from app_kernel.core.errors import Unavailable
from app_kernel.core.kernel import Kernel
from app_kernel.core.periodic import periodically
from tests.small_service import serving


async def test_a_look_that_fails_is_logged_and_the_next_one_comes(caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([Unavailable("away"), ZeroDivisionError("a bug"), None])
    done = asyncio.Event()

    async def look(_: Kernel) -> None:
        failure = next(failures, None)
        if failure is None:
            done.set()
        else:
            raise failure

    async with serving() as client:
        with caplog.at_level(logging.WARNING):
            async with periodically(client.kernel, look, 0.001, "look_failed"), asyncio.timeout(10):
                await done.wait()
    told = [record for record in caplog.records if record.getMessage() == "look_failed"]
    assert [(record.levelname, bool(record.exc_info)) for record in told] == [("WARNING", False), ("ERROR", True)]
