"""Places of jobs for the tests that kill: a queue of each kind."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.faults.job_fleet import JobFleet, job_fleet
from tests.faults.job_places import QUEUES, FaultPlace, fault_place


@pytest.fixture(params=QUEUES)
async def job_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FaultPlace]:
    """A fresh place of each kind."""
    server = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with fault_place(request.param, tmp_path, server) as place:
        yield place


@pytest.fixture
async def fleet(job_place: FaultPlace, tmp_path: Path) -> AsyncIterator[JobFleet]:
    """No workers yet, on a fresh place of each kind."""
    async with job_fleet(tmp_path, job_place) as fresh:
        yield fresh
