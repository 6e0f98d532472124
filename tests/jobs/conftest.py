"""A fresh place for jobs, of each kind, for every case; the cases of each are counted at the end of the run."""

from collections.abc import AsyncIterator

import pytest

from app_kernel.jobs.queues.backend import Backend
from tests.conformance.summary import PROPERTY
from tests.jobs.places import ALL_PLACES, PLACES, JobPlace


@pytest.fixture(params=PLACES)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[JobPlace]:
    """A fresh place."""
    if not request.node.get_closest_marker("of_one_place"):
        request.node.user_properties.append((PROPERTY, f"jobs on {request.param}"))
    async with ALL_PLACES[request.param]() as fresh:
        yield fresh


@pytest.fixture
async def backend(place: JobPlace) -> AsyncIterator[Backend]:
    """An open backend on a fresh place."""
    async with place.backend() as opened:
        yield opened
