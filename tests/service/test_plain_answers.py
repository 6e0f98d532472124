"""An answer without an annotation is the same with us as with FastAPI alone, whatever it is made of."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi import APIRouter, BackgroundTasks, FastAPI, Response
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from app_kernel import ServiceConfig, create_service
from app_kernel.service.plain_answers import as_plain
from app_kernel.testing import kernel_client


class Colour(Enum):
    RED = "red"


class Size(StrEnum):
    BIG = "big"


class Model(BaseModel):
    when: datetime
    amount: Decimal


@dataclass
class Point:
    x: int
    y: list[int]


class Text(str):
    __slots__ = ()


NOON = datetime(2026, 1, 1, 12, 30, 15, 250000, tzinfo=UTC)

ANSWERS: dict[str, Any] = {
    "row": {"id": "a", "n": 1, "f": 1.5, "b": True, "nothing": None, "j": {"k": [1, {"l": "ü"}]}},
    "rows": [{"id": str(number), "n": number} for number in range(3)],
    "nothing": None,
    "text": "plain",
    "number": 2**70,
    "float": 1e22,
    "tuple": (1, (2, 3)),
    "set": {1},
    "times": {"at": NOON, "day": date(2026, 1, 1), "naive": datetime(2026, 1, 1)},  # noqa: DTZ001 - as users have them
    "decimal": {"whole": Decimal(5), "part": Decimal("1.50")},
    "uuid": UUID(int=7),
    "bytes": b"abc",
    "enums": [Colour.RED, Size.BIG, {"c": Colour.RED}],
    "model": Model(when=NOON, amount=Decimal("2.5")),
    "models": [Model(when=NOON, amount=Decimal(2))],
    "point": Point(1, [2]),
    "subclass": Text("x"),
    "path": PurePosixPath("/a/b"),
    "keys": {1: "a", None: "b", 2.5: "c"},
    "generator": None,
}


def build_router() -> APIRouter:
    router = APIRouter()

    @router.get("/answers/{name}")
    async def answer(name: str):
        return (number for number in range(3)) if name == "generator" else ANSWERS[name]

    @router.post("/made", status_code=201)
    async def make(response: Response, tasks: BackgroundTasks):
        response.headers["x-made"] = "yes"
        tasks.add_task(DONE.append, "task")
        return {"made": True}

    @router.get("/own")
    async def own():
        return PlainTextResponse("mine", status_code=202)

    @router.delete("/gone", status_code=204)
    async def gone():
        return None

    @router.get("/text", response_class=PlainTextResponse)
    async def text():
        return "mine"

    @router.get("/sync")
    def sync():
        return {"at": NOON}

    return router


DONE: list[str] = []


async def ask_both(method: str, path: str) -> tuple[httpx2.Response, httpx2.Response]:
    alone = FastAPI()
    alone.include_router(build_router())
    config = ServiceConfig(jwt_secret="a secret for tests that is 32 bytes")
    ours = create_service("plain", routers=[build_router()], config=config)
    transport = httpx2.ASGITransport(app=alone, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://alone") as other, kernel_client(ours) as client:
        return await other.request(method, path), await client.request(method, path)


@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_what_fastapi_alone_would_send(name: str) -> None:
    alone, ours = await ask_both("GET", f"/answers/{name}")
    assert ours.status_code == alone.status_code
    assert ours.headers["content-type"].startswith("application/")
    if alone.status_code == 200:
        assert ours.json() == alone.json()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/made", 201),
        ("GET", "/own", 202),
        ("DELETE", "/gone", 204),
        ("GET", "/text", 200),
        ("GET", "/sync", 200),
    ],
)
async def test_status_headers_and_tasks_stay(method: str, path: str, status: int) -> None:
    DONE.clear()
    alone, ours = await ask_both(method, path)
    assert (ours.status_code, ours.content) == (status, alone.content)
    assert ours.headers.get("x-made") == alone.headers.get("x-made")
    assert ours.headers.get("content-type") == alone.headers.get("content-type")
    assert (["task", "task"] if path == "/made" else []) == DONE


async def test_numbers_that_are_not_finite_are_null(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ANSWERS, "not_finite", {"x": float("nan"), "y": [float("inf"), NOON]})
    _, ours = await ask_both("GET", "/answers/not_finite")
    assert ours.json() == {"x": None, "y": [None, "2026-01-01T12:30:15.250000+00:00"]}


def test_rows_of_the_store_take_the_short_way() -> None:
    row = ANSWERS["row"]
    assert as_plain(row) is row
    assert as_plain({"at": NOON}) == {"at": "2026-01-01T12:30:15.250000+00:00"}


async def test_it_is_really_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("this is FastAPI's way")

    monkeypatch.setattr("fastapi.routing.jsonable_encoder", refuse)
    config = ServiceConfig(jwt_secret="a secret for tests that is 32 bytes")
    async with kernel_client(create_service("plain", routers=[build_router()], config=config)) as client:
        assert (await client.get("/answers/rows")).json() == ANSWERS["rows"]


async def test_the_document_describes_such_an_answer_as_anything() -> None:
    config = ServiceConfig(jwt_secret="a secret for tests that is 32 bytes")
    document = create_service("plain", routers=[build_router()], config=config).openapi()
    schema = document["paths"]["/answers/{name}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert set(schema) <= {"title"}
