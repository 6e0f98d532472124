"""Errors as `application/problem+json` (RFC 9457): what the caller may know, and the request's id to find the rest by.

Everything that a route, a dependency or an inner layer raises ends here, inside the layers that add CORS and security
headers. What is not the caller's fault is logged once, with its traceback; the caller sees none of it.
"""

import http
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import request_id
from app_kernel.core.errors import KernelError, NoRunningKernel, ResponseAborted, TooManyAttempts, Unavailable
from app_kernel.core.exchange import exchange_of, failures
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import Kernel
from app_kernel.core.paths import path_below_root
from app_kernel.core.route_walk import walk_routes
from app_kernel.logs import get_logger

MEDIA_TYPE = "application/problem+json"

PROBES = frozenset({"/healthz", "/readyz"})
"""Answered while start-up waits for the database."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "An error, as RFC 9457 describes it.",
    "required": ["type", "title", "status", "request_id"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference", "default": "about:blank"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {
            "description": "What is wrong: a sentence, or for a request that does not validate a list of errors.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["loc", "msg", "type"],
                        "properties": {
                            "loc": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}},
                            "msg": {"type": "string"},
                            "type": {"type": "string"},
                        },
                    },
                },
            ],
        },
        "request_id": {"type": "string"},
    },
}

_log = get_logger("app_kernel.problems")


@dataclass(frozen=True, slots=True)
class Problem:
    """What the caller gets to know of an error."""

    status: int
    title: str
    detail: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_of(exc: Exception) -> Problem:
    """What the caller may know of an exception; one that is not meant for callers becomes a bare 500."""
    if isinstance(exc, HTTPException):
        return Problem(exc.status_code, _phrase(exc.status_code), exc.detail, exc.headers or {})
    if isinstance(exc, RequestValidationError):
        return Problem(422, _phrase(422), [_without_input(error) for error in exc.errors()])
    if isinstance(exc, TooManyAttempts):
        return Problem(exc.status, exc.title, exc.message, {"Retry-After": str(exc.retry_after)})
    if isinstance(exc, KernelError) and exc.status < 500:
        return Problem(exc.status, exc.title, exc.message, exc.headers)
    if isinstance(exc, KernelError) and exc.status != 500:
        # The message may name what is behind the service; the class says what the caller can do.
        return Problem(exc.status, exc.title, _sentence(type(exc)), exc.headers)
    return Problem(500, _phrase(500))


def problem_response(problem: Problem) -> Response:
    """The problem as a response, with the id of the running request."""
    if problem.status < 200 or problem.status in (204, 205, 304):
        return Response(status_code=problem.status, headers=dict(problem.headers))
    body: dict[str, Any] = {"type": "about:blank", "title": problem.title, "status": problem.status}
    if problem.detail is not None:
        body["detail"] = problem.detail
    body["request_id"] = request_id()
    return Response(_dump(body), problem.status, dict(problem.headers), MEDIA_TYPE)


async def answer_problem(request: Request, exc: Exception) -> Response:
    """FastAPI's handler for errors that have an answer of their own; logs those that are the service's fault."""
    problem = problem_of(exc)
    if not isinstance(exc, HTTPException) and problem.status >= 500:
        _tell(exc, request.scope)
    if problem.status == 405:
        problem = _allowing(problem, request.scope)
    return problem_response(problem)


async def pass_on(request: Request, exc: Exception) -> Response:
    """FastAPI's handler for everything else: leaves it to the layer below, which stands inside CORS."""
    raise exc


class Problems:
    """Pure ASGI: the last place where an exception can become an answer."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        self.app = app
        self._kernel = kernel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            if self._kernel.waiting_for and path_below_root(scope) not in PROBES:
                await _ask_to_wait(scope, receive, send)
                return
            if not self._kernel.running and not self._kernel.waiting_for:
                raise NoRunningKernel
            await self.app(scope, receive, send)
        except Exception as exc:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log gets the cause
            await self._settle(exc, scope, receive, send)

    async def _settle(self, exc: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        problem = problem_of(exc)
        if scope["type"] == "websocket":
            _log.error("websocket_failed", error=type(exc).__name__, exc_info=exc)
            raise ResponseAborted from exc
        exchange = exchange_of(scope)
        if problem.status >= 500 or exchange.status is not None:
            _tell(exc, scope)
        if exchange.status is None:
            await problem_response(problem)(scope, receive, send)
        elif not exchange.complete:
            # The status is on its way already: only a broken connection still tells the client that something failed.
            raise ResponseAborted from exc


def _tell(exc: Exception, scope: Scope) -> None:
    """Logs what a request failed of, and notes it for whoever wants to know."""
    _log.error("request_failed", error=type(exc).__name__, exc_info=exc)
    if scope["type"] == "http":
        exchange_of(scope).error = type(exc).__name__
    noted = failures.get()
    if noted is not None:
        noted.append(exc)


async def _ask_to_wait(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuses what comes before start-up is over; why it is not over stands in the log already."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1013})  # try again later
    else:
        await problem_response(problem_of(Unavailable()))(scope, receive, send)


def _allowing(problem: Problem, scope: Scope) -> Problem:
    """The problem with every method of the path in `Allow` (RFC 9110, 10.2.1): Starlette names those of one route.

    Where a route takes the method, it is the route that says 405, and what it allows.
    """
    declared = getattr(scope.get("app"), "routes", ())
    if any(isinstance(route, Mount) and route.app is scope.get("endpoint") for route in declared):
        # What is mounted has answered, and its paths are its own.
        return problem
    routes = walk_routes(declared)
    below = {**scope, "path": path_below_root(scope), "root_path": ""}
    reached = [(match, route) for route in routes if (match := route.matches(below)[0]) is not Match.NONE]
    if any(match is Match.FULL for match, _ in reached):
        return problem
    methods = {method for _, route in reached for method in route.methods or ()}
    named = {name: value for name, value in problem.headers.items() if name.lower() != "allow"}
    return replace(problem, headers={**named, "Allow": ", ".join(sorted(methods))}) if methods else problem


def _without_input(error: Mapping[str, Any]) -> dict[str, Any]:
    """The error without the value that caused it, which may be a password."""
    return {"loc": list(error["loc"]), "msg": error["msg"], "type": error["type"]}


def _phrase(status: int) -> str:
    try:
        return http.HTTPStatus(status).phrase if status != 422 else "Unprocessable Content"
    except ValueError:
        return "Error"


def _sentence(kind: type[Exception]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _dump(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate or a huge integer that the caller sent comes back in the error
        return orjson.dumps(_encodable(body), default=str)


def _encodable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_encodable(str(key)): _encodable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return str(value) if isinstance(value, int) and value.bit_length() > 63 else value


def create_feature(config: ServiceConfig) -> Feature:
    """The error layer."""
    return Feature(name="problems", middleware=(Problems,))


HANDLERS: dict[int | type[Exception], Any] = {
    HTTPException: answer_problem,
    RequestValidationError: answer_problem,
    KernelError: answer_problem,
    Exception: pass_on,
}
"""For `FastAPI(exception_handlers=)`."""
