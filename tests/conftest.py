"""Addresses of real servers for any test: those of the environment, else servers started for this session."""

from collections.abc import Iterator

import pytest

from app_kernel import logs
from tests.conformance.summary import pytest_terminal_summary
from tests.databases import left_for_the_long_run
from tools.services import services

__all__ = ["pytest_terminal_summary"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = set(left_for_the_long_run(items, config.getoption("markexpr")))
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


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
