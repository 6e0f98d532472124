from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher

from app_kernel.auth import passwords
from tests.auth.serving import Service, serving
from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS, Place

__all__ = ["cheap_passwords", "place", "service"]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    async with serving(tmp_path / "app.db") as running:
        yield running


@pytest.fixture(params=SERVICE_BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A fresh database on each backend."""
    async with BACKENDS[request.param]() as fresh:
        yield fresh


@pytest.fixture
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of the least cost, where their strength is not the subject."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    monkeypatch.setattr("app_kernel.auth.sign_in.DUMMY_HASH", passwords.hash_password("nobody's password"))
