"""A service with a route or two of a test's own, and ways to call it: through a client, or with a raw ASGI scope."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI

from app_kernel import FEATURES, ServiceConfig, create_service
from app_kernel.core.feature import Feature
from app_kernel.core.kernel import needs_admin_database
from app_kernel.testing import KernelClient, kernel_client

SECRET = "secret-of-the-small-service-0123456789abcdef"

Header = tuple[bytes, bytes]


def small_app(*routers: APIRouter, **options: Any) -> FastAPI:
    """A service; keywords that are settings go to its configuration, the others to `create_service`."""
    settings = {name: options.pop(name) for name in list(options) if name in ServiceConfig.model_fields}
    config = ServiceConfig(**{"jwt_secret": SECRET, "database_name": "sqlite://:memory:", **settings})
    return create_service("small", routers=routers, config=config, **options)


def features_without_admin_database() -> list[Feature]:
    """The kernel's own features but for those that keep something in the admin database."""
    config = ServiceConfig(name="small", jwt_secret=SECRET, database_name="sqlite://:memory:")
    made = [feature for factory in FEATURES if (feature := factory(config)) is not None]
    return [feature for feature in made if not needs_admin_database([feature])]


@asynccontextmanager
async def serving(*routers: APIRouter, **options: Any) -> AsyncIterator[KernelClient]:
    """A running service and its client."""
    async with kernel_client(small_app(*routers, **options)) as client:
        yield client


@dataclass
class Answer:
    """What an ASGI app sent."""

    status: int | None = None
    headers: list[Header] = field(default_factory=list)
    body: bytes = b""
    complete: bool = False

    def header(self, name: str) -> str | None:
        found = [value.decode("latin-1") for key, value in self.headers if key.decode("latin-1").lower() == name]
        return ", ".join(found) if found else None

    def json(self) -> Any:
        return json.loads(self.body)


def http_scope(method: str = "GET", path: str = "/", **changes: Any) -> dict[str, Any]:
    """An HTTP scope as a server makes it."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "client": ("192.0.2.1", 40000),
        "server": ("testserver", 80),
        "state": {},
        **changes,
    }


async def call(app: Any, scope: dict[str, Any], chunks: Iterable[bytes] = (b"",)) -> Answer:
    """Calls the app with a body in these chunks, after which the client leaves."""
    answer = Answer()
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        if not waiting:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            assert answer.status is None, "the answer began twice"
            answer.status, answer.headers = message["status"], list(message["headers"])
        else:
            answer.body += message.get("body", b"")
            answer.complete = not message.get("more_body", False)

    await app(scope, receive, send)
    return answer


def tasks_of(*classes: str) -> list["asyncio.Task[Any]"]:
    """What runs in this event loop of these classes' methods."""
    return [task for task in asyncio.all_tasks() if repr(task.get_coro()).split()[2].split(".")[0] in classes]


def log_lines(capture: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Every line on standard output, each of which must be JSON."""
    return [json.loads(line) for line in capture.readouterr().out.split("\n") if line]


def events(lines: list[dict[str, Any]], event: str) -> list[dict[str, Any]]:
    return [line for line in lines if line["event"] == event]
