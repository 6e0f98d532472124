"""Where the tests of the cache keep values."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app_kernel.cache import service as service_module
from app_kernel.cache import shared as shared_module
from app_kernel.testing import KernelClient
from tests.cache.serving import serving


@pytest.fixture(autouse=True)
def patient() -> Iterator[None]:
    """For tests of what happens, not of time: Redis may take a second on a machine that is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared_module, "OPERATION_SECONDS", 5.0)
        patch.setattr(shared_module, "CONNECT_SECONDS", 5.0)
        # The counts are looked at where they are made.
        patch.setattr(service_module, "TELL_SECONDS", 3600.0)
        yield


@pytest.fixture(params=["memory", "redis"])
def place(request: pytest.FixtureRequest) -> str | None:
    """The address of a Redis; None for the memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
async def client(place: str | None) -> AsyncIterator[KernelClient]:
    async with serving(place) as running:
        yield running
