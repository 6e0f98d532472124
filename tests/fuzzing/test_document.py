"""The OpenAPI document is valid, and complete: nobody has to read the code to call a route of the kernel."""

import copy
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from pydantic import BaseModel

from app_kernel import (
    FEATURES,
    ServiceConfig,
    create_service,
    get_current_user,
    get_current_user_optional,
    require_admin,
    require_workspace_member,
)
from app_kernel.api_keys import require_scope
from app_kernel.core.identity import UserIdentity
from app_kernel.testing import kernel_client
from tests.fuzzing.full_service import FullService
from tests.small_service import SECRET, small_app

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/KernelProblem"}}}
NOT_A_PROBLEM = {("post", "/auth/token", "400"): "RFC 6749, 5.2, says how the token endpoint answers"}
OPEN = {
    "/auth/register": {"post"},
    "/auth/login": {"post"},
    "/auth/token": {"post"},
    "/auth/refresh": {"post"},
    "/auth/forgot-password": {"post"},
    "/auth/reset-password": {"get", "post"},
    "/auth/verify-email": {"get", "post"},
    "/auth/resend-verification": {"post"},
    "/auth/oauth/exchange": {"post"},
    "/auth/oauth/{provider}": {"get"},
    "/auth/oauth/{provider}/callback": {"get"},
}
"""What is called without credentials."""

Operation = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The document of the service with everything on."""
    return FullService("sqlite://:memory:").app.openapi()


def operations(document: dict[str, Any], *, own: bool = False) -> Iterator[Operation]:
    """Method, path and operation: the kernel's, or with `own` all of them."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if own or not path.startswith(("/own", "/widgets")):
                yield method, path, operation


def find_gaps(operation: Operation, document: dict[str, Any]) -> Iterator[str]:
    """What a reader would miss in an operation."""
    method, _, told = operation
    described = {tag["name"] for tag in document.get("tags", []) if tag.get("description")}
    if not told.get("summary"):
        yield "no summary"
    if not told.get("description"):
        yield "no description"
    if not told.get("tags") or not described.issuperset(told["tags"]):
        yield "no tag, or one that is not described"
    if not re.fullmatch(rf"{method}(_[A-Za-z0-9]+)+", told.get("operationId", "")):
        yield "its operationId is not made of method and path"
    yield from _gaps_in_answers(operation)
    yield from _gaps_in_security(operation, document)
    for where, media in _bodies(told):
        if not _examples(media, document):
            yield f"no example of the {where}"


def _gaps_in_answers(operation: Operation) -> Iterator[str]:
    method, path, told = operation
    answers = told["responses"]
    if not {"4XX", "503"} <= answers.keys():
        yield "not every error is documented"
    if not any(status.startswith(("2", "3")) for status in answers):
        yield "no success is documented"
    for status, answer in answers.items():
        is_error = status[0] in "45" and (method, path, status) not in NOT_A_PROBLEM
        if not answer.get("description") or (is_error and answer.get("content") != PROBLEM):
            yield f"its answer {status} is not described, or no problem"


def _gaps_in_security(operation: Operation, document: dict[str, Any]) -> Iterator[str]:
    method, path, told = operation
    schemes = document["components"]["securitySchemes"]
    is_open = method in OPEN.get(path, ())
    if bool(told.get("security")) == is_open:
        yield "security is said of what is open, or not said"
    for requirement in told.get("security", []):
        if not schemes.keys() >= requirement.keys():
            yield f"it needs {requirement}, which is no scheme"
    if told.get("security") and {} not in told["security"] and "401" not in told["responses"]:
        yield "no 401 without credentials"


def _bodies(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, media in told.get("requestBody", {}).get("content", {}).items():
        yield f"body {name}", media
    for status, answer in told["responses"].items():
        if status.startswith("2") and "application/json" in answer.get("content", {}):
            yield f"answer {status}", answer["content"]["application/json"]


def _examples(media: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    """The examples of a body: its own, or those of what its schema refers to."""
    schema = media.get("schema", {})
    if "example" in media or "examples" in media:
        return [media.get("example"), *(each["value"] for each in media.get("examples", {}).values())]
    return _examples_of(schema, document)


def _examples_of(schema: dict[str, Any], document: dict[str, Any]) -> list[Any]:
    if "$ref" in schema:
        return _examples_of(_resolve(schema["$ref"], document), document)
    for choices in ("anyOf", "oneOf"):
        if choices in schema and "examples" not in schema:
            return [example for each in schema[choices] for example in _examples_of(each, document)]
    if schema.get("type") == "array" and "examples" not in schema:
        return [[example] for example in _examples_of(schema["items"], document)]
    found: list[Any] = schema.get("examples", [])
    return found


def _resolve(reference: str, document: dict[str, Any]) -> dict[str, Any]:
    node = document
    for key in reference.removeprefix("#/").split("/"):
        node = node[key]
    return node


@pytest.mark.acceptance("FZ1")
def test_every_operation_of_the_kernel_is_described(document: dict[str, Any]) -> None:
    found = [
        f"{operation[0].upper()} {operation[1]}: {gap}"
        for operation in operations(document)
        for gap in find_gaps(operation, document)
    ]
    assert found == []
    assert sum(1 for _ in operations(document)) > 100


def test_an_operation_that_says_nothing_is_found(document: dict[str, Any]) -> None:
    empty: dict[str, Any] = {"responses": {"200": {"content": {"application/json": {}}}, "404": {"description": "No."}}}
    gaps = list(find_gaps(("get", "/somewhere", empty), document))
    assert len(gaps) == 9


def test_operation_ids_are_unique_and_the_same_in_every_service(document: dict[str, Any]) -> None:
    counted = Counter(told["operationId"] for _, _, told in operations(document, own=True))
    assert [name for name, count in counted.items() if count > 1] == []
    config = ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:")
    elsewhere = create_service("elsewhere", config=config, api_prefix="/api/v1").openapi()
    names = {told["operationId"] for _, _, told in operations(elsewhere)}
    assert "get_auth_me" in names
    assert names <= counted.keys()


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    document = copy.deepcopy(document)
    # Relative on purpose, for services behind a prefix; the schema of OpenAPI 3.1 came to allow that after its release.
    document["components"]["securitySchemes"]["user"]["flows"]["password"]["tokenUrl"] = (
        "https://example.com/auth/token"
    )
    schemathesis.openapi.from_dict(document).validate()
    with pytest.raises(jsonschema_rs.ValidationError):
        schemathesis.openapi.from_dict({**document, "paths": {"/": {"get": {"responses": 1}}}}).validate()


def test_every_example_is_what_its_schema_says(document: dict[str, Any]) -> None:
    checked = 0
    for _, _, told in operations(document):
        for _, media in _bodies(told):
            schema = {**media.get("schema", {}), "components": document["components"]}
            for example in _examples(media, document):
                jsonschema_rs.validate(schema, example)
                checked += 1
    assert checked > 100
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            assert jsonschema_rs.is_valid({**schema, "components": document["components"]}, example), name


def test_parameters_in_a_path_are_all_documented(document: dict[str, Any]) -> None:
    for _, path, told in operations(document, own=True):
        in_path = {each["name"] for each in told.get("parameters", []) if each["in"] == "path"}
        assert in_path == set(re.findall(r"{(\w+)}", path)), path


router = APIRouter()
may_read = require_scope("notes:read")


class Note(BaseModel):
    """A note."""

    text: str


@router.post("/notes", responses={404: {"description": "There is no such notebook."}})
async def post_note(data: Note, user: UserIdentity = Depends(get_current_user)) -> Note:
    return data


@router.get("/notes/{workspace_id}/all")
async def get_notes(member: Any = Depends(require_workspace_member)) -> list[str]:
    return []


@router.get("/notes")
async def get_my_notes(member: Any = Depends(require_workspace_member)) -> list[str]:
    return []


@router.get("/notes/public")
async def get_public(user: UserIdentity | None = Depends(get_current_user_optional)) -> list[str]:
    return []


@router.delete("/notes", status_code=204)
async def delete_notes(user: UserIdentity = Depends(require_admin)) -> None:
    """Both ask for a user, and one for more."""


@router.patch("/notes/closed", include_in_schema=False)
async def refuse() -> None:
    raise HTTPException(405, headers={"Allow": "GET"})


@router.get("/notes/report")
async def get_report(auth: Any = Depends(may_read)) -> str:
    return ""


def own_operation(method: str, path: str, app: FastAPI | None = None) -> dict[str, Any]:
    """An operation of the router above."""
    app = app or small_app(router, saas_enabled=True)
    told: dict[str, Any] = app.openapi()["paths"][path][method]
    return told


BY_USER = [{"user": []}, {"bearer": []}, {"session_cookie": []}]


def test_a_route_of_the_application_tells_what_comes_of_its_dependencies() -> None:
    told = own_operation("post", "/notes")
    assert told["security"] == [{"user": []}, {"bearer": []}, {"session_cookie": [], "csrf_token": []}]
    assert told["responses"].keys() == {"200", "401", "404", "422", "4XX", "503"}
    assert told["responses"]["404"] == {"description": "There is no such notebook.", "content": PROBLEM}
    assert own_operation("get", "/notes/public")["security"] == [*BY_USER, {}]
    assert "401" not in own_operation("get", "/notes/public")["responses"]
    assert {"401", "403"} <= own_operation("delete", "/notes")["responses"].keys()
    report = own_operation("get", "/notes/report")
    assert report["security"] == [{"user_or_api_key": []}, {"api_key": []}, {"session_cookie": []}]
    assert {"401", "403", "429"} <= report["responses"].keys()


def test_a_route_of_a_workspace_tells_how_to_name_it() -> None:
    in_path = own_operation("get", "/notes/{workspace_id}/all")
    assert [(each["name"], each["in"]) for each in in_path["parameters"]] == [("workspace_id", "path")]
    by_header = own_operation("get", "/notes")
    assert [(each["name"], each["in"]) for each in by_header["parameters"]] == [("X-Workspace-ID", "header")]
    for told in (in_path, by_header):
        assert {"400", "401", "404"} <= told["responses"].keys()
        assert told["security"] == BY_USER


def test_what_is_made_is_linked_to_what_is_done_with_it(document: dict[str, Any]) -> None:
    made = document["paths"]["/workspaces/{workspace_id}/invites"]["post"]["responses"]["201"]
    assert made["links"]["delete_workspaces_workspace_id_invites_invite_id"]["parameters"] == {
        "workspace_id": "$request.path.workspace_id",
        "invite_id": "$response.body#/id",
    }
    assert "post_workspaces_workspace_id_invites_invite_id_resend" in made["links"]
    keys = document["paths"]["/api-keys"]["post"]["responses"]["201"]["links"]
    assert keys.keys() == {"get_api_keys_id", "patch_api_keys_id", "delete_api_keys_id", "post_api_keys_id_rotate"}
    assert "links" not in document["paths"]["/auth/login"]["post"]["responses"]["200"]


def test_what_the_application_says_itself_stays() -> None:
    own = APIRouter()

    @own.get("/own", operation_id="mine", tags=["mine"], responses={401: {"description": "Not you."}})
    async def mine(user: UserIdentity = Depends(get_current_user)) -> str:
        return user.id

    app = small_app(own)
    app.openapi_tags = [{"name": "mine", "description": "Of the application."}]
    told = own_operation("get", "/own", app)
    assert (told["operationId"], told["responses"]["401"]["description"]) == ("mine", "Not you.")
    assert app.openapi()["tags"][0] == {"name": "mine", "description": "Of the application."}
    assert app.openapi() is app.openapi()


def test_a_service_without_accounts_has_a_document_too() -> None:
    features = [factory for factory in FEATURES if "api_keys" not in factory.__module__]
    document = small_app(router, auth_enabled=False, features=features).openapi()
    assert document["paths"]["/notes"]["post"]["security"] == [{"user": []}]
    assert list(document["components"]["securitySchemes"]) == ["user", "user_or_api_key"]


async def test_a_method_that_there_is_not_is_answered_with_all_that_there_are() -> None:
    async with kernel_client(small_app(router, saas_enabled=True)) as client:
        for path, methods in (("/notes", "DELETE, GET, POST"), ("/auth/me", "DELETE, GET, PATCH")):
            answer = await client.request("PUT", path)
            assert (answer.status_code, answer.headers["allow"]) == (405, methods)
        own = await client.request("PATCH", "/notes/closed")
        assert (own.status_code, own.headers["allow"]) == (405, "GET")
