"""Schemathesis over the whole service: nobody finds an error of the server, an answer that is not documented, or a way
past authentication."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from app_kernel import get_current_user
from app_kernel.core.identity import CurrentUser, UserIdentity
from tests.api_keys.serving import fresh_schema
from tests.conformance.mysql_place import empty_database
from tests.faults.figures import figure
from tests.fuzzing.campaign import Caller, Outcome, fuzz, running
from tests.fuzzing.full_service import FullService, sqlite_place
from tests.redis_beside import redis_beside
from tests.small_service import small_app

PLACES = figure(short=["sqlite"], long=["sqlite", "postgres", "mysql"])
EXAMPLES = figure(short=2, long=200)


@asynccontextmanager
async def place_of(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[str]:
    """The address of an empty database."""
    if kind == "sqlite":
        yield sqlite_place(folder)
    elif kind == "mysql":
        async with empty_database() as address:
            yield address
    else:
        async with fresh_schema(request.getfixturevalue("postgres_url")) as address:
            yield address


def fuzzed(database: str, role: str) -> tuple[Outcome, set[str]]:
    """What came of a run as somebody with this role, and all operations."""
    service = FullService(database, **redis_beside(database))
    caller = None if role == "anonymous" else Caller(service, role)
    # In every run one caller goes through the edges of each schema; they are the same for all.
    coverage = figure(short=role == "admin", long=True)
    with running(service.app):
        outcome = fuzz(service.app, examples=EXAMPLES, coverage=coverage, caller=caller)
    paths = service.app.openapi()["paths"]
    return outcome, {f"{method.upper()} {path}" for path, operations in paths.items() for method in operations}


# The service draws random numbers in its own thread, and Hypothesis takes them for those of the data that it makes.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Do not use the `random` module inside strategies:hypothesis.errors.HypothesisDeprecationWarning"
)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.acceptance("FZ1")
@pytest.mark.parametrize("role", ["anonymous", "user", "admin"])
@pytest.mark.parametrize("kind", PLACES)
async def test_no_check_of_schemathesis_fails(
    kind: str, role: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    async with place_of(kind, request, tmp_path) as database:
        outcome, operations = await asyncio.to_thread(fuzzed, database, role)
    total = sum(outcome.calls.values())
    print(f"{kind} as {role}: {total} requests to {len(outcome.statuses)} operations, {dict(outcome.calls)}")
    assert outcome.text() == ""
    assert set(outcome.statuses) == operations
    assert max(status for each in outcome.statuses.values() for status in each) < 500
    assert total > EXAMPLES * len(operations)
    assert outcome.calls["STATEFUL_TESTING"]


class Thing(BaseModel):
    """What a route promises."""

    name: str


class Forgetful(CurrentUser):
    """A dependency that says it needs a user, and takes everybody."""

    async def __call__(self, request: HTTPConnection) -> UserIdentity:
        return UserIdentity("nobody", "nobody@example.com")


forget_to_ask = Forgetful()


async def test_the_checks_find_what_is_broken(tmp_path: Path) -> None:
    """Were one of them blind to this document, a run without failures would say nothing."""

    broken = APIRouter(prefix="/broken")

    @broken.get("/open")
    async def leave_open(user: UserIdentity = Depends(forget_to_ask)) -> str:
        return user.id

    @broken.get("/status")
    async def answer_otherwise(response: Response) -> str:
        response.status_code = 206
        return ""

    @broken.get("/schema", response_model=Thing)
    async def answer_another_thing() -> Response:
        return Response('{"name":1}', media_type="application/json")

    @broken.get("/type", response_model=Thing)
    async def answer_as_text() -> Response:
        return Response("name", media_type="text/plain")

    @broken.get("/error")
    async def fail(much: int = 0) -> str:
        raise ZeroDivisionError

    @broken.get("/lax", openapi_extra={"parameters": [{"name": "n", "in": "query", "schema": {"type": "integer"}}]})
    async def take_anything() -> str:
        return ""

    @broken.get("/closed")
    async def stay_closed(user: UserIdentity = Depends(get_current_user)) -> str:
        return user.id

    app = small_app(broken, auth_enabled=True, log_level="ERROR")

    def run() -> Outcome:
        with running(app):
            return fuzz(app, examples=3, paths="^/broken")

    outcome = await asyncio.to_thread(run)
    assert {
        ("ignored_auth", "GET /broken/open"),
        ("status_code_conformance", "GET /broken/status"),
        ("response_schema_conformance", "GET /broken/schema"),
        ("content_type_conformance", "GET /broken/type"),
        ("not_a_server_error", "GET /broken/error"),
        ("negative_data_rejection", "GET /broken/lax"),
    } <= set(outcome.failures)
    assert not any(operation == "GET /broken/closed" for _, operation in outcome.failures)
