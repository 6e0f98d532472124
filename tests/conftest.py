"""Addresses of real servers for any test: those of the environment, else servers started for this session."""

from collections.abc import Iterator

import pytest
from argon2 import PasswordHasher

from app_kernel import logs
from app_kernel.auth import passwords, sign_in
from tests.conformance.summary import pytest_terminal_summary
from tools.services import services

__all__ = ["pytest_terminal_summary"]


_REAL = passwords._hasher, sign_in.DUMMY_HASH
# Of the least cost, where their strength is not the subject: thousands of real ones take minutes of a run.
passwords._hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
sign_in.DUMMY_HASH = passwords.hash_password("nobody's password")


@pytest.fixture
def real_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes as in production; processes of their own make such ones in any test."""
    hasher, dummy = _REAL
    monkeypatch.setattr(passwords, "_hasher", hasher)
    monkeypatch.setattr(sign_in, "DUMMY_HASH", dummy)


@pytest.fixture(autouse=True)
def _secrets_are_forgotten() -> Iterator[None]:
    """What one test gave a service as a secret is hidden in its own log lines, not in those of the next test."""
    known = logs._Settings.known
    yield
    logs._Settings.known = known


def _address(name: str) -> Iterator[str]:
    with services(name) as urls:
        yield from urls.values()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    yield from _address("postgres")


@pytest.fixture(scope="session")
def mysql_url() -> Iterator[str]:
    yield from _address("mysql")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    yield from _address("redis")
