"""For the tests that kill: places of jobs, a queue of each kind; servers that all share, and that one may end."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.db.server_places import SERVERS, SharedServer, shared_server
from tests.faults.job_fleet import JobFleet, job_fleet
from tests.faults.job_places import QUEUES, FaultPlace, fault_place
from tests.faults.mysql_server import own_mariadb
from tests.faults.outbox_places import outbox_urls
from tests.faults.own_server import OwnServer
from tests.faults.postgres_server import own_postgres

_OWN = {"postgres": own_postgres, "mysql": own_mariadb}


@pytest.fixture(params=QUEUES)
async def job_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FaultPlace]:
    """A fresh place of each kind."""
    server = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    async with fault_place(request.param, tmp_path, server) as place:
        yield place


@pytest.fixture
async def fleet(job_place: FaultPlace, tmp_path: Path) -> AsyncIterator[JobFleet]:
    """No workers yet, on a fresh place of each kind."""
    async with job_fleet(tmp_path, job_place) as fresh:
        yield fresh


@pytest.fixture
def urls(postgres_url: str) -> Iterator[tuple[str, str]]:
    """An app and an admin database on PostgreSQL, both empty."""
    with outbox_urls(postgres_url) as made:
        assert made is not None
        yield made


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> SharedServer:
    """The shared server of each kind."""
    return shared_server(request)


@pytest.fixture(
    scope="session", params=[pytest.param(kind, marks=pytest.mark.xdist_group(f"own {kind}")) for kind in SERVERS]
)
def own(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """A server of these tests' own, of each kind; whoever ends it starts it again, with the settings it had."""
    with _OWN[request.param]() as server:
        yield server
