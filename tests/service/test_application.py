"""The application as a whole: its OpenAPI document, its docs and the order of its layers."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.openapi.models import OpenAPI
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel import FEATURES, Feature, NotAuthenticated, UserIdentity, get_current_user
from app_kernel.core.kernel import Kernel
from tests.small_service import call, http_scope, serving, small_app


class Thing(BaseModel):
    name: str


router = APIRouter(prefix="/things")


@router.post("/{id}")
async def save(id: int, thing: Thing) -> Thing:
    return thing


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_valid_and_every_reference_leads_somewhere() -> None:
    document = small_app(router, allow_self_signup=True).openapi()
    assert OpenAPI.model_validate(document).openapi.startswith("3.")
    for reference in set(references(document)):
        node = document
        for key in reference.removeprefix("#/").split("/"):
            node = node[key]
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    ids = Counter(operation["operationId"] for operation in operations)
    assert [name for name, count in ids.items() if count > 1] == []
    assert document["components"]["securitySchemes"]["user"]["flows"]["password"]["tokenUrl"] == "auth/token"


def test_errors_are_documented_as_the_problems_that_they_are() -> None:
    document = small_app(router).openapi()
    own = document["paths"]["/things/{id}"]["post"]["responses"]["422"]
    kernels = document["paths"]["/auth/login"]["post"]["responses"]["4XX"]
    for response in (own, kernels):
        assert response["content"] == {
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/KernelProblem"}}
        }
    assert "HTTPValidationError" not in str(document)


def test_the_document_follows_routes_that_are_added_later() -> None:
    app = small_app(router)
    assert "/later" not in app.openapi()["paths"]
    app.add_api_route("/later/{n}", save)
    assert "application/problem+json" in str(app.openapi()["paths"]["/later/{n}"]["get"]["responses"]["422"])


@pytest.mark.parametrize(("settings", "status"), [({}, 200), ({"docs_enabled": False}, 404)])
async def test_the_docs_can_be_switched_off(settings: dict[str, Any], status: int) -> None:
    async with serving(router, **settings) as client:
        for path in ("/docs", "/redoc", "/openapi.json"):
            assert (await client.get(path)).status_code == status


async def test_layers_stand_in_the_order_of_the_features_and_the_applications_inside() -> None:
    passed: list[str] = []

    def layer(name: str) -> Any:
        class Layer:
            def __init__(self, app: ASGIApp, kernel: Kernel | None = None) -> None:
                self.app = app

            async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
                if scope["type"] == "http":
                    passed.append(name)
                await self.app(scope, receive, send)

        return Layer

    features = [
        Feature(name="mine", middleware=(layer("a"), layer("b"))),
        Feature(name="yours", middleware=(layer("c"),)),
    ]
    app = small_app(router, features=[*FEATURES, *features])
    app.add_middleware(layer("application"))
    async with app.router.lifespan_context(app):
        await call(app, http_scope(path="/healthz"))
    assert passed == ["a", "b", "c", "application"]


def test_a_model_of_the_applications_may_be_called_problem() -> None:
    class Problem(BaseModel):
        question: str

    asks = APIRouter()

    @asks.post("/problems")
    async def ask(problem: Problem) -> Problem:
        return problem

    document = small_app(asks).openapi()
    assert document["components"]["schemas"]["Problem"]["properties"].keys() == {"question"}
    refused = document["paths"]["/problems"]["post"]["responses"]["422"]
    assert "KernelProblem" in str(refused)
    assert "HTTPValidationError" not in str(document)


@pytest.mark.parametrize("own", [False, True])
async def test_a_mounted_application_answers_what_the_kernel_raises_in_it(own: bool) -> None:
    inner, outer = FastAPI(), FastAPI()

    @inner.get("/mine")
    async def mine(user: UserIdentity = Depends(get_current_user)) -> str:
        return user.id

    if own:

        @inner.exception_handler(NotAuthenticated)
        async def answer(request: Request, exc: Exception) -> Response:
            return Response("in its own words", 401)

    outer.mount("/inner", inner)
    app = small_app()
    app.mount("/outer", outer)
    async with app.router.lifespan_context(app):
        answer = await call(app, http_scope(path="/outer/inner/mine"))
    assert answer.status == 401
    assert (answer.body == b"in its own words") == own
    assert own or (b"content-type", b"application/problem+json") in answer.headers
