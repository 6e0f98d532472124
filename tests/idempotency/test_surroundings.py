"""Keys among other middleware, odd ways to make routes, background tasks and dependencies."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: TID251 - an application may have one
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from app_kernel import FEATURES, Feature, ServiceConfig, create_service
from app_kernel.core.transaction import joined_transaction
from app_kernel.db import db_connection
from app_kernel.idempotency import idempotent
from tests.idempotency.serving import PASSWORD, SECRET, Db, believe, serving
from tests.redis_beside import redis_beside


class OwnRoute(APIRoute):
    """A route class as FastAPI's documentation shows them."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        handler = super().get_route_handler()

        async def timed(request: Request) -> Response:
            response = await handler(request)
            response.headers["X-Own-Route"] = "yes"
            return response

        return timed


class ServerFile(Response):
    """A file that the server sends by itself (ASGI extensions: Path Send), behind an early hint."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.early_hint", "links": []})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.pathsend", "path": "/tmp/a-file"})


class Work:
    """How often what ran."""

    def __init__(self) -> None:
        self.times = 0
        self.background: list[bool] = []
        self.dependencies = 0

    def done(self) -> dict[str, Any]:
        """An answer that tells how often."""
        self.times += 1
        return {"times": self.times, "padding": "x" * 2000}


async def passing(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Runs everything inside in a task of its own."""
    return await call_next(request)


def own_routes(work: Work) -> APIRouter:
    """A router in a router, with a route class of the application's."""
    inner = APIRouter(route_class=OwnRoute)

    async def counted() -> AsyncIterator[None]:
        work.dependencies += 1
        yield

    async def in_transaction(db: Db) -> AsyncIterator[None]:
        async with db.transaction():
            yield

    @inner.post("/once", dependencies=[Depends(counted)])
    @idempotent
    async def once(db: Db, tasks: BackgroundTasks) -> dict[str, Any]:
        async def later() -> None:
            work.background.append(joined_transaction(db._driver) is not None)
            await db.save_entity("notes", {"text": "later"})

        tasks.add_task(later)
        await db.save_entity("orders", {"item": "gear"})
        return work.done()

    @inner.post("/in-transaction", dependencies=[Depends(in_transaction, scope="function")])
    async def inside(db: Db) -> dict[str, Any]:
        await db.save_entity("orders", {"item": "gear"})
        return work.done()

    outer = APIRouter(prefix="/outer")
    outer.include_router(inner, prefix="/inner")
    return outer


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
async def client(url: str, work: Work) -> AsyncIterator[httpx2.AsyncClient]:
    config = ServiceConfig(
        jwt_secret=SECRET,
        database_name=url,
        **redis_beside(url),
        auth_enabled=False,
        embedded_worker=False,
        rate_limit_enabled=False,
    )
    features = [*FEATURES, Feature(name="believing", authenticator=believe)]
    app = create_service(
        "surroundings", config=config, routers=[own_routes(work)], features=features, api_prefix="/api"
    )

    async def plain(request: Request) -> JSONResponse:
        return JSONResponse(work.done())

    @app.post("/direct")
    async def direct() -> dict[str, Any]:
        return work.done()

    @app.post("/file")
    async def file() -> Response:
        work.done()
        return ServerFile()

    app.mount("/mounted", Starlette(routes=[Route("/orders", plain, methods=["POST"])]))
    app.add_route("/starlette", plain, methods=["POST"])
    app.add_middleware(BaseHTTPMiddleware, dispatch=passing)
    app.add_middleware(GZipMiddleware)
    headers = {"Authorization": "Bearer user:ada", "Idempotency-Key": "k"}
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://service", headers=headers) as client:
            yield client


@pytest.mark.parametrize("path", ["/api/outer/inner/once", "/api/outer/inner/in-transaction", "/direct"])
async def test_a_route_made_in_any_way_runs_once(client: httpx2.AsyncClient, work: Work, path: str) -> None:
    first = await client.post(path)
    again = await client.post(path)
    assert (first.status_code, again.status_code, work.times) == (200, 200, 1)
    assert first.json() == again.json()
    assert again.headers["content-encoding"] == "gzip"
    assert first.headers.get("x-own-route") == again.headers.get("x-own-route")


async def test_an_answer_reads_the_same_for_a_client_that_unpacks_nothing(client: httpx2.AsyncClient) -> None:
    packed = await client.post("/direct")
    plain = await client.post("/direct", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.json() == packed.json()


async def test_background_tasks_run_once_and_after_the_commit(client: httpx2.AsyncClient, work: Work) -> None:
    for _ in range(2):
        assert (await client.post("/api/outer/inner/once")).status_code == 200
    assert work.background == [False]
    assert work.dependencies == 2


async def test_what_is_no_route_of_fastapis_ignores_the_key(client: httpx2.AsyncClient, work: Work) -> None:
    for path in ("/mounted/orders", "/starlette"):
        answers = [(await client.post(path)).json() for _ in range(2)]
        assert answers[0] != answers[1]
    assert (await client.post("/nowhere")).status_code == 404
    assert (await client.put("/direct")).status_code == 405
    assert work.times == 4


async def test_requests_without_a_key_beside_one_with_a_key_all_run(client: httpx2.AsyncClient, work: Work) -> None:
    del client.headers["Idempotency-Key"]
    keyed = {"Idempotency-Key": "k"}
    await asyncio.gather(*(client.post("/direct", headers=keyed if number == 0 else {}) for number in range(10)))
    await client.post("/direct", headers=keyed)
    assert work.times == 10


async def test_a_file_that_the_server_sends_is_sent_once(client: httpx2.AsyncClient, work: Work) -> None:
    transport = client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    sent: list[str] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message["type"].removeprefix("http.response."))

    headers = [(name.lower().encode(), value.encode()) for name, value in client.headers.items()]
    scope = {"type": "http", "method": "POST", "path": "/file", "query_string": b"", "headers": headers}
    await transport.app({**scope, "http_version": "1.1", "client": None, "root_path": ""}, receive, send)
    assert sent == ["early_hint", "start", "pathsend"]
    again = await client.post("/file")
    assert (again.status_code, work.times) == (409, 1)
    assert "not kept" in again.json()["detail"]


async def test_under_another_root_path_the_routes_of_sign_in_are_the_same_ones(url: str) -> None:
    async with serving(url, accounts=True) as service:
        token = await service.token("ada@example.com")
        login = {"email": "ada@example.com", "password": PASSWORD}
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
        for root, path in (("/svc", "/svc/auth/login"), ("/au", "/auth/login")):
            transport = httpx2.ASGITransport(app=service.app, root_path=root)
            async with httpx2.AsyncClient(transport=transport, base_url="http://service", headers=headers) as client:
                tokens = [(await client.post(path, json=login)).json()["refresh_token"] for _ in range(2)]
            assert tokens[0] != tokens[1]
        assert await service.keys() == []


async def test_an_idempotent_function_that_no_route_calls_is_one_transaction(url: str) -> None:
    async with serving(url) as service:

        @idempotent
        async def work(item: str, **more: Any) -> None:
            await service.db.save_entity("orders", {"item": item, **more})
            if item == "broken":
                raise RuntimeError(item)

        await work("gear", count=1)
        with pytest.raises(RuntimeError):
            await work("broken")
        assert await service.db.count_entities("orders") == 1


def test_a_decorated_route_shows_its_clients_nothing_of_its_transaction() -> None:
    async def order(item: str, response: Response) -> dict[str, str]:
        return {"item": item}

    described = []
    for handler in (order, idempotent(order)):
        app = FastAPI()
        app.post("/orders")(handler)
        described.append(app.openapi())
    assert described[0] == described[1]


def test_only_an_async_handler_can_be_idempotent() -> None:
    with pytest.raises(TypeError, match="async def"):
        idempotent(db_connection.__name__.upper)  # type: ignore[arg-type]
