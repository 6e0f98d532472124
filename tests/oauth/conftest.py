from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import pytest

from tests.conformance.backends import BACKENDS, SERVICE_BACKENDS, Place
from tests.oauth.serving import Service, StubProvider, running_provider, serving

Serve = Callable[..., AbstractAsyncContextManager[Service]]


@pytest.fixture(scope="session")
def provider() -> Iterator[StubProvider]:
    with running_provider() as running:
        yield running


@pytest.fixture(params=SERVICE_BACKENDS)
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """A fresh database on each backend."""
    async with BACKENDS[request.param]() as fresh:
        yield fresh


@pytest.fixture
def serve(provider: StubProvider, place: Place) -> Serve:
    """Starts a service on the backend's database."""
    return partial(serving, provider, place.url)


@pytest.fixture
async def service(serve: Serve) -> AsyncIterator[Service]:
    async with serve() as running:
        yield running


@pytest.fixture
async def light(provider: StubProvider) -> AsyncIterator[Service]:
    """A service on SQLite in memory, for what no database has a part in."""
    async with serving(provider) as running:
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Provider time limits that a test can wait for."""
    monkeypatch.setattr("app_kernel.oauth.wire.PROVIDER_SECONDS", 0.7)
