"""Places for databases, made when a test asks for one and gone with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.db.transfer.places import empty_place

Place = Callable[[str], Awaitable[str]]


@pytest.fixture
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """`await place("postgres")`: the URL of a database that nobody has opened yet."""
    async with AsyncExitStack() as stack:

        async def make(backend: str) -> str:
            server = None if backend == "sqlite" else request.getfixturevalue(f"{backend}_url")
            return await stack.enter_async_context(empty_place(backend, tmp_path, server))

        yield make
