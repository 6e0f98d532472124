"""A fresh database of each backend for every case."""

from collections.abc import AsyncIterator

import pytest

pytest.register_assert_rewrite("tests.conformance.steps")

from app_kernel.db import Store  # noqa: E402 - the line above has to come first
from tests.conformance.backends import BACKENDS, Place  # noqa: E402
from tests.conformance.summary import PROPERTY, pytest_terminal_summary  # noqa: E402

__all__ = ["db", "place", "pytest_terminal_summary"]


@pytest.fixture(params=BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A fresh database."""
    request.node.user_properties.append((PROPERTY, request.param))
    async with BACKENDS[request.param]() as fresh:
        yield fresh


@pytest.fixture
async def db(place: Place) -> Store:
    """An open handle on a fresh database."""
    return await place.open()
