"""A Redis for the tests of the outbox alone: they empty it, fill it up and make it forget."""

from collections.abc import Iterator

import pytest

from tools.services import serving


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with serving("redis") as servers:
        yield servers["redis"].url
