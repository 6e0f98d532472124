"""The jobs that the app database remembers for Redis are looked after also after a look that failed."""

import logging
from typing import Any

import pytest

from app_kernel import get_job_client
from app_kernel.core.errors import Unavailable
from app_kernel.jobs import handover
from app_kernel.jobs.handover import Handovers
from tests.jobs.places import redis
from tests.jobs.waiting import until


async def quick(payload: Any) -> None:
    """Is done at once."""


@pytest.mark.parametrize("failure", [Unavailable("away"), ZeroDivisionError("a fault of the kernel's")], ids=repr)
async def test_a_look_that_fails_is_said_once_and_tried_again(
    failure: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handover, "LOOK_SECONDS", 0.05)
    looks, failing = 0, True
    look = Handovers.look

    async def broken(self: Handovers) -> bool:
        nonlocal looks
        looks += 1
        if failing:
            raise failure
        return await look(self)

    monkeypatch.setattr(Handovers, "look", broken)
    with caplog.at_level(logging.WARNING, logger="app_kernel.jobs"):
        async with redis() as place, place.service({"quick": quick}, jobs="worker") as client:
            jobs = get_job_client()
            async with client.db.transaction():
                await jobs.enqueue("quick")

            async def has_looked() -> bool:
                return looks > 5

            async def is_forgotten() -> bool:
                return (await jobs.figures()).outstanding == 0

            await until(has_looked)
            assert (await jobs.figures()).outstanding == 1
            failing = False
            await until(is_forgotten)
    told = [record for record in caplog.records if record.getMessage() == "job_handover_waits"]
    assert [type(failure).__name__ in record.reason for record in told] == [True]  # type: ignore[attr-defined]
    assert (told[0].exc_info is None) is isinstance(failure, Unavailable)
