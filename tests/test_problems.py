"""Errors as problem+json: what the caller gets to know, and what only the log does."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, HTTPException, Query, Request, WebSocket
from fastapi.routing import _IncludedRouter
from pydantic import BaseModel, Field, SecretStr
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.errors import (
    ConfigurationError,
    KernelError,
    NoRunningKernel,
    PermissionDenied,
    QueryTimeout,
    RateLimited,
    ResponseAborted,
    ServerBusy,
    TooManyAttempts,
    UniqueViolation,
)
from app_kernel.problems import problem_of
from tests.small_service import call, events, http_scope, log_lines, serving, small_app

CANARY = "/srv/private/app.db SELECT column FROM t hunter2"

router = APIRouter()


class Login(BaseModel):
    email: str = Field(pattern=".+@.+")
    password: SecretStr = Field(min_length=8)
    age: int = 0


@router.post("/login")
async def login(data: Login, page: int = Query(1)) -> dict[str, str]:
    return {"email": data.email}


@router.get("/raise/{kind}")
async def raise_kind(kind: str) -> None:
    raise ERRORS[kind]


async def failing_dependency() -> None:
    raise RuntimeError(CANARY)


@router.get("/dependency", dependencies=[Depends(failing_dependency)])
async def with_dependency() -> None: ...


@router.get("/late")
async def late() -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"begun"
        raise RuntimeError(CANARY)

    return StreamingResponse(body())


@router.get("/background")
async def background(tasks: BackgroundTasks) -> dict[str, str]:
    async def fail() -> None:
        raise RuntimeError(CANARY)

    tasks.add_task(fail)
    return {"answer": "complete"}


@router.get("/unencodable/{kind}")
async def unencodable(kind: str) -> Any:
    return {"surrogate": "\ud800", "object": object()}[kind]


ERRORS: dict[str, Exception] = {
    "teapot": HTTPException(418, detail={"short": True, "stout": ["yes"]}, headers={"X-Pot": "1"}),
    "plain404": HTTPException(404),
    "own500": HTTPException(503, detail="try later"),
    "no_content": HTTPException(204),
    "odd": HTTPException(599, detail="odd"),
    "surrogate": HTTPException(400, detail="bad \ud800 text"),
    "huge": HTTPException(400, detail=[2**80]),
    "permission": PermissionDenied("This is not yours."),
    "unique": UniqueViolation(field="email"),
    "attempts": TooManyAttempts(17),
    "timeout": QueryTimeout(f"took too long: {CANARY}"),
    "busy": ServerBusy(CANARY),
    "kernel": KernelError(CANARY),
    "runtime": RuntimeError(CANARY),
    "group": ExceptionGroup("several", [ValueError(CANARY)]),
}


async def get_error(kind: str) -> Any:
    async with serving(router) as client:
        return await client.get(f"/raise/{kind}")


@pytest.mark.parametrize(
    ("kind", "status", "title", "detail"),
    [
        ("teapot", 418, "I'm a Teapot", {"short": True, "stout": ["yes"]}),
        ("plain404", 404, "Not Found", "Not Found"),
        ("own500", 503, "Service Unavailable", "try later"),
        ("odd", 599, "Error", "odd"),
        ("surrogate", 400, "Bad Request", "bad ? text"),
        ("huge", 400, "Bad Request", [str(2**80)]),
        ("permission", 403, "Forbidden", "This is not yours."),
        ("unique", 409, "Conflict", "Another entity already has this value in a field that must be unique."),
        ("attempts", 429, "Too Many Requests", "Too many attempts; wait before the next one."),
        ("timeout", 503, "Service Unavailable", "The query took longer than the statement timeout."),
        ("busy", 503, "Service Unavailable", "The server is busy; try again in a moment."),
    ],
)
async def test_an_error_with_an_answer_of_its_own(kind: str, status: int, title: str, detail: Any) -> None:
    answer = await get_error(kind)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "request_id": answer.headers["x-request-id"],
    }


async def test_headers_of_an_error_are_kept() -> None:
    assert (await get_error("teapot")).headers["x-pot"] == "1"
    assert (await get_error("attempts")).headers["retry-after"] == "17"
    assert (await get_error("busy")).headers["retry-after"] == "1"


async def test_an_error_without_a_body_stays_without_one() -> None:
    answer = await get_error("no_content")
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.acceptance("OP3")
@pytest.mark.parametrize("path", ["/raise/kernel", "/raise/runtime", "/raise/group", "/dependency"])
async def test_whatever_else_fails_is_a_bare_500_with_its_cause_once_in_the_log(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(router) as client:
        answer = await client.get(path, headers={"Origin": "https://app.example"})
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "request_id": answer.headers["x-request-id"],
    }
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    lines = events(log_lines(capsys), "request_failed")
    assert len(lines) == 1
    assert lines[0]["request_id"] == answer.headers["x-request-id"]
    assert "SELECT column" in lines[0]["exception"]


async def test_an_unavailable_database_is_logged_once(capsys: pytest.CaptureFixture[str]) -> None:
    answer = await get_error("timeout")
    assert CANARY not in answer.text
    assert len(events(log_lines(capsys), "request_failed")) == 1


async def test_a_client_error_is_not_logged_as_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    await get_error("unique")
    assert events(log_lines(capsys), "request_failed") == []


async def test_unknown_paths_and_methods_are_problems_too() -> None:
    async with serving(router) as client:
        missing = await client.get("/nowhere")
        method = await client.put("/login")
        plain = await client.post("/healthz")
    assert (missing.status_code, missing.json()["title"]) == (404, "Not Found")
    assert (method.status_code, method.headers["allow"]) == (405, "POST")
    assert (plain.status_code, plain.headers["content-type"]) == (405, "application/problem+json")


async def test_what_a_path_allows_is_known_below_a_root_path_and_of_routes_that_come_later() -> None:
    async with serving(router) as client:
        scope = http_scope("PUT", "/svc/login", root_path="/svc")
        assert (await call(client.app, scope)).header("allow") == "POST"
        client.app.add_api_route("/login", late, methods=["DELETE"])
        assert (await call(client.app, scope)).header("allow") == "DELETE, POST"


async def test_a_method_that_there_is_not_makes_fastapi_build_no_other_routers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: set[str] = set()
    build = _IncludedRouter._build_effective_context

    def noted(self: _IncludedRouter, route: Any) -> Any:
        built.add(route.path)
        return build(self, route)

    monkeypatch.setattr(_IncludedRouter, "_build_effective_context", noted)
    async with serving(router) as client:
        built.clear()
        assert (await client.put("/login")).status_code == 405
    # All of them take some hundred milliseconds, in which the process answers nobody.
    assert built <= {route.path for route in router.routes}


async def test_a_validation_error_lists_what_is_wrong_without_what_was_sent() -> None:
    async with serving(router) as client:
        answer = await client.post("/login?page=x", json={"email": "hunter2", "password": "hunter2", "age": "hunter2"})
    assert answer.status_code == 422
    assert answer.json()["title"] == "Unprocessable Content"
    detail = answer.json()["detail"]
    assert [entry["loc"] for entry in detail] == [
        ["query", "page"],
        ["body", "email"],
        ["body", "password"],
        ["body", "age"],
    ]
    assert all(set(entry) == {"loc", "msg", "type"} for entry in detail)
    assert "hunter2" not in answer.text


@pytest.mark.acceptance("OP3")
async def test_after_the_first_byte_the_connection_breaks_and_the_cause_is_logged_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with serving(router) as client:
        with pytest.raises(ResponseAborted):
            await call(client.app, http_scope(path="/late"))
    assert len(events(log_lines(capsys), "request_failed")) == 1


async def test_a_failing_background_task_leaves_the_answer_alone(capsys: pytest.CaptureFixture[str]) -> None:
    async with serving(router) as client:
        answer = await call(client.app, http_scope(path="/background"))
    assert (answer.status, answer.complete) == (200, True)
    assert len(events(log_lines(capsys), "request_failed")) == 1


@pytest.mark.parametrize("kind", ["surrogate", "object"])
async def test_what_a_handler_returns_and_json_cannot_hold_is_the_handlers_500(kind: str) -> None:
    async with serving(router) as client:
        answer = await client.get(f"/unencodable/{kind}")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")


class FailingLayer:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/fail":
            raise RuntimeError(CANARY)
        if scope["path"] == "/refuse":
            raise PermissionDenied("Not through here.")
        await self.app(scope, receive, send)


@pytest.mark.acceptance("OP3")
async def test_an_error_in_the_applications_own_middleware_is_answered_inside_cors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = small_app(router)
    app.add_middleware(FailingLayer)
    async with app.router.lifespan_context(app):
        failed = await call(app, http_scope(path="/fail", headers=[(b"origin", b"https://app.example")]))
        refused = await call(app, http_scope(path="/refuse"))
    assert (failed.status, refused.status) == (500, 403)
    assert failed.header("access-control-allow-origin") == "*"
    assert "detail" not in failed.json()
    assert refused.json()["detail"] == "Not through here."
    assert len(events(log_lines(capsys), "request_failed")) == 1


async def test_what_is_mounted_says_itself_which_methods_there_are(tmp_path: Path) -> None:
    app = small_app(router)
    app.mount("/static", StaticFiles(directory=tmp_path))
    async with app.router.lifespan_context(app):
        answer = await call(app, http_scope("PUT", "/static/auth/login"))
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


async def test_a_websocket_that_is_refused_with_405_is_answered_beside_a_route_of_its_path() -> None:
    both = APIRouter()

    @both.get("/both")
    async def get() -> None:
        return None

    @both.websocket("/both")
    async def refuse(websocket: WebSocket) -> None:
        raise HTTPException(405)

    sent = list[dict[str, Any]]()

    async def send(message: Any) -> None:
        sent.append(message)

    app = small_app(both, api_prefix="/api")
    scope = {**http_scope(path="/api/both"), "type": "websocket"}
    del scope["method"]
    async with app.router.lifespan_context(app):
        await app(scope, asyncio.Event().wait, send)
    assert (sent[0]["type"], sent[0]["status"]) == ("websocket.http.response.start", 405)


async def test_the_applications_own_handlers_win() -> None:
    app = small_app(router)

    @app.exception_handler(PermissionDenied)
    @app.exception_handler(Exception)
    async def own(request: Request, exc: Exception) -> Response:
        return JSONResponse({"own": type(exc).__name__}, 500)

    async with app.router.lifespan_context(app):
        assert (await call(app, http_scope(path="/raise/permission"))).json() == {"own": "PermissionDenied"}
        assert (await call(app, http_scope(path="/raise/runtime"))).json() == {"own": "RuntimeError"}


async def test_a_service_whose_lifespan_never_ran_says_so_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    answer = await call(small_app(router), http_scope(path="/raise/plain404"))
    assert (answer.status, answer.json()["title"]) == (500, "Internal Server Error")
    line = events(log_lines(capsys), "request_failed")[0]
    assert line["error"] == "NoRunningKernel"
    assert "lifespan" in line["exception"]


async def test_a_failing_websocket_is_logged_once_with_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    ws = APIRouter()

    @ws.websocket("/ws")
    async def fail(websocket: Any) -> None:
        raise RuntimeError(CANARY)

    app = small_app(ws)
    scope = {**http_scope(path="/ws", headers=[(b"x-request-id", b"ws-1")]), "type": "websocket"}
    async with app.router.lifespan_context(app):
        with pytest.raises(ResponseAborted):
            await app(scope, asyncio.Event().wait, asyncio.Event().wait)
    assert [line["request_id"] for line in events(log_lines(capsys), "websocket_failed")] == ["ws-1"]


ARGUMENTS: dict[type[KernelError], tuple[Any, ...]] = {
    TooManyAttempts: (1,),
    RateLimited: (1,),
    ConfigurationError: (["x"],),
}


def test_every_error_of_the_kernel_becomes_a_problem_that_can_be_read() -> None:
    def below(kind: type[KernelError]) -> list[type[KernelError]]:
        return [kind, *(each for sub in kind.__subclasses__() for each in below(sub))]

    for kind in below(KernelError):
        problem = problem_of(kind(*ARGUMENTS.get(kind, ())))
        assert problem.title
        assert problem.status >= 400
    assert problem_of(NoRunningKernel()).detail is None
