"""What the tests of the limiter share."""

from collections.abc import Iterator

import pytest

from app_kernel.rate_limit import shared


@pytest.fixture(scope="module")
def patient() -> Iterator[None]:
    """For tests of what is counted, not of time: Redis may take seconds on a machine that is busy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shared, "HIT_SECONDS", 20.0)
        yield
