from collections.abc import AsyncIterator

import pytest

from tests.audit.trails import Trail, audited, audited_in_memory
from tests.outbox.carrying import BACKENDS


@pytest.fixture(params=BACKENDS)
async def trail(request: pytest.FixtureRequest) -> AsyncIterator[Trail]:
    async with audited(request.param, request) as made:
        yield made


@pytest.fixture
async def small_trail() -> AsyncIterator[Trail]:
    async with audited_in_memory() as made:
        yield made
