from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.auth.serving import Service, serving


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path / "app.db") as running:
        yield running
