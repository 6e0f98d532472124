"""What the proof reads from an application: its routes, who may call them, and bodies that they take."""

from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Form, Query, WebSocket
from pydantic import BaseModel, Field, TypeAdapter

from app_kernel import get_current_user, require_admin, require_role, require_workspace_role
from app_kernel.api_keys import require_scope
from app_kernel.testing.attempts import is_workspace_name
from app_kernel.testing.bodies import UNKNOWN_ID, Filler, free_places, id_places, replaced
from app_kernel.testing.routes import service_routes, undeclared
from tests.testing.boards import boards_app

Reader = require_scope("notes:read")
Editor = require_role("editor", "author")
Owner = require_workspace_role("owner")


def own_routes(app: FastAPI) -> dict[str, Any]:
    return {route.name: route for route in service_routes(app) if not route.is_kernel}


def test_the_policy_of_a_route_is_that_of_everything_it_depends_on():
    outer, inner = APIRouter(prefix="/outer", dependencies=[Depends(get_current_user)]), APIRouter(prefix="/inner")

    async def through(user: Any = Depends(require_admin)) -> Any:
        return user

    @inner.get("/plain")
    async def plain() -> None: ...

    @inner.get("/deep")
    async def deep(user: Any = Depends(through)) -> None: ...

    @inner.get("/both")
    async def both(user: Any = Depends(Editor), member: Any = Depends(Owner)) -> None: ...

    @inner.get("/key")
    async def key(auth: Any = Depends(Reader)) -> None: ...

    @inner.websocket("/live")
    async def live(socket: WebSocket) -> None: ...

    outer.include_router(inner)
    app = boards_app()
    app.include_router(outer)
    found = own_routes(app)
    assert {name: found[f"{name}"].policy for name in found if "/outer" in name} == {
        "GET /outer/inner/plain": "user",
        "GET /outer/inner/deep": "role:admin",
        "GET /outer/inner/both": "role:editor,author+workspace:owner",
        "GET /outer/inner/key": "key:notes:read",
        "WEBSOCKET /outer/inner/live": "user",
    }
    assert found["GET /outer/inner/both"].needs("workspace")
    assert not found["GET /outer/inner/both"].needs("user")


def test_routes_of_mounted_applications_are_among_them():
    inner = FastAPI(openapi_url=None)

    @inner.get("/things/{id:int}")
    async def thing(id: int) -> None: ...

    app = boards_app()
    app.mount("/sub", inner)
    assert "GET /sub/things/{id}" in own_routes(app)
    (said,) = undeclared(own_routes(app).values())
    assert said.startswith("GET /sub/things/{id} (tests.testing.test_routes_and_bodies.")


def test_every_route_of_the_kernel_says_who_may_call_it():
    app = boards_app(allow_self_signup=True, debug=True)
    assert len([route for route in service_routes(app) if route.is_kernel]) > 80
    assert undeclared(service_routes(app)) == []


class Color(Enum):
    RED = "red"


class Inner(BaseModel):
    owner_id: str
    amount: Decimal = Field(gt=0)


class Body(BaseModel):
    name: Annotated[str, Field(min_length=20, max_length=25)]
    kind: Literal["a", "b"]
    color: Color
    key: UUID
    email: str
    link_url: str
    count: Annotated[int, Field(ge=3, le=9)]
    inner: list[Inner]
    extra: dict[str, Any] = {}
    board_ids: list[str]
    maybe: str | None = None
    code: Annotated[str, Field(pattern="^[a-z]{3}$")]
    password: Annotated[str, Field(json_schema_extra={"minLength": 2, "format": "password"})]


def test_a_body_after_a_model_is_one_that_the_model_takes():
    schema = TypeAdapter(Body).json_schema()
    filler = Filler("marker", {"board_id": "b1", "board_ids": "b1", "owner_id": "o1"}.get, {})
    full, least = filler.value(schema), filler.value(schema, full=False)
    for made in (full, least):
        body = Body.model_validate(made)
        assert body.name.startswith("marker")
        assert (body.board_ids, body.inner[0].owner_id, body.count) == (["b1"], "o1", 3)
        assert len(body.password) >= 8
    assert set(full) - set(least) == {"extra", "maybe"}
    assert full["name"] != least["name"]
    assert free_places(full, schema) == ["extra"]
    places = dict(id_places(full))
    assert places == {("inner", 0, "owner_id"): "owner_id", ("board_ids", 0): "board_ids"}
    changed = replaced(full, ("inner", 0, "owner_id"), UNKNOWN_ID)
    assert (changed["inner"][0]["owner_id"], full["inner"][0]["owner_id"]) == (UNKNOWN_ID, "o1")


def test_queries_and_forms_are_read_from_models_too():
    class Page(BaseModel):
        after: str
        limit: int = 10

    router = APIRouter()

    @router.post("/form", dependencies=[Depends(get_current_user)])
    async def form(page: Annotated[Page, Query()], name: Annotated[str, Form()]) -> None: ...

    app = boards_app()
    app.include_router(router)
    route = own_routes(app)["POST /form"]
    assert [(query.name, query.required) for query in route.queries] == [("after", True), ("limit", False)]
    assert route.is_form
    assert list(route.body["properties"]) == ["name"]


def test_names_that_mean_a_workspace():
    assert all(is_workspace_name(name) for name in ("workspace_id", "tenant", "org_id", "team_id", "workspace_slug"))
    assert not any(is_workspace_name(name) for name in ("id", "board_id", "name"))
