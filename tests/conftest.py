"""Addresses of real servers for any test: those of the environment, else servers started for this session."""

from collections.abc import Iterator

import pytest

from app_kernel import logs
from tests.conformance.summary import pytest_terminal_summary
from tools.services import services

__all__ = ["pytest_terminal_summary"]


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
