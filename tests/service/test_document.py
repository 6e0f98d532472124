"""The OpenAPI document of an application with models, schemes and routes of its own."""

from base64 import b64encode
from datetime import date
from typing import Annotated, Any

import jsonschema_rs
import pytest
from fastapi import APIRouter, Depends, Query
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel, WithJsonSchema

from app_kernel import get_current_user_optional
from app_kernel.api_keys import require_scope
from app_kernel.flags.schemas import PutFlagRequest
from app_kernel.service import application
from app_kernel.webhooks.schemas import Secret
from app_kernel.webhooks.signing import make_secret
from tests.small_service import small_app

router = APIRouter()


class ValidationError(BaseModel):
    """What an application may call a model of its own; FastAPI shows its own in its place."""

    msg: str


class Line(BaseModel):
    """Has a field that must be there and may be null."""

    row: int
    hint: str | None


Elsewhere = Annotated[dict[str, Any], WithJsonSchema({"$ref": "https://example.com/point.json"})]
Anything = Annotated[Any, WithJsonSchema({"type": "object", "properties": {"p": True}, "required": ["p"]})]


class Report(BaseModel):
    """Has an example for each."""

    model_config = {"json_schema_extra": {"examples": [{"lines": [{"row": 1}], "point": {"x": 1}, "any": {"p": 1}}]}}

    lines: list[Line]
    point: Elsewhere
    any: Anything


class Article(BaseModel):
    """Is found by its slug."""

    id: str
    slug: str


@router.post("/reports")
async def keep_report(report: Report) -> Report:
    return report


@router.post("/errors")
async def keep_error(error: ValidationError) -> None:
    return None


@router.post("/articles")
async def keep_article() -> Article:
    return Article(id="1", slug="one")


@router.get("/articles/{slug}")
async def get_article(slug: str) -> Article:
    return Article(id="1", slug=slug)


@router.post("/papers")
async def keep_paper() -> Article:
    return Article(id="1", slug="one")


@router.get("/papers/{number}")
async def get_paper(number: int) -> str:
    return ""


@router.get("/found")
async def find(q: str | None = Query(None, max_length=9), at: date | int | None = None) -> str:
    return ""


may_read = require_scope("a:b")


@router.get("/either")
async def either(user: Any = Depends(get_current_user_optional), key: Any = Depends(may_read)) -> str:
    return ""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return small_app(router).openapi()


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        return {part["$ref"]} if "$ref" in part else set().union(*map(references, part.values()))
    return set().union(*map(references, part)) if isinstance(part, list) else set()


def test_a_model_of_a_name_that_fastapi_uses_too_stays_and_every_reference_leads_somewhere(
    document: dict[str, Any],
) -> None:
    schemas = document["components"]["schemas"]
    assert "ValidationError" in schemas
    assert "HTTPValidationError" not in schemas
    inner = {name for name in references(document) if name.startswith("#/components/schemas/")}
    assert inner
    assert {name.rpartition("/")[2] for name in inner} <= schemas.keys()


def test_examples_get_the_nulls_back_that_fastapi_leaves_out(document: dict[str, Any]) -> None:
    (example,) = document["components"]["schemas"]["Report"]["examples"]
    assert example == {"lines": [{"row": 1, "hint": None}], "point": {"x": 1}, "any": {"p": 1}}


def test_a_document_that_could_not_be_made_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    app = small_app(router)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(application, "complete_document", fail)
        app.openapi()
    assert "KernelProblem" in app.openapi()["components"]["schemas"]


@pytest.mark.parametrize("address", ["https://idp.example.com/token", "api/own/token"])
def test_where_the_application_gets_its_own_tokens_stays(address: str) -> None:
    own = APIRouter(prefix="/own")

    @own.get("")
    async def get(token: str = Depends(OAuth2PasswordBearer(tokenUrl=address, scheme_name="own"))) -> str:
        return token

    schemes = small_app(own, router, api_prefix="/api").openapi()["components"]["securitySchemes"]
    assert schemes["own"]["flows"]["password"]["tokenUrl"] == address
    assert schemes["user"]["flows"]["password"]["tokenUrl"] == "api/auth/token"


def test_of_an_optional_and_a_required_dependency_the_required_one_says_who_may_call(document: dict[str, Any]) -> None:
    assert document["paths"]["/either"]["get"]["security"] == [
        {"user_or_api_key": []}, {"api_key": []}, {"session_cookie": []},
    ]  # fmt: skip


def test_no_parameter_is_null(document: dict[str, Any]) -> None:
    words, at = document["paths"]["/found"]["get"]["parameters"]
    assert words["schema"] == {"type": "string", "maxLength": 9, "title": "Q"}
    assert at["schema"]["anyOf"] == [{"type": "string", "format": "date"}, {"type": "integer"}]


def test_what_is_made_is_found_by_the_field_that_the_path_names(document: dict[str, Any]) -> None:
    (link,) = document["paths"]["/articles"]["post"]["responses"]["200"]["links"].values()
    assert link["parameters"] == {"slug": "$response.body#/slug"}
    assert "links" not in document["paths"]["/papers"]["post"]["responses"]["200"]


class Taken(BaseModel):
    """A secret, as the routes of webhooks take it."""

    secret: Secret


@pytest.mark.parametrize("length", [24, 25, 26, 27, 63, 64])
def test_the_document_takes_the_secrets_that_the_routes_take(length: int) -> None:
    schema = Taken.model_json_schema()
    text = "whsec_" + b64encode(bytes(length)).decode()
    for secret in (text, text.rstrip("="), make_secret()):
        jsonschema_rs.validate(schema, {"secret": secret})
    for wrong in (f"{text}A=", "whsec_" + b64encode(bytes(23)).decode(), "whsec_" + b64encode(bytes(65)).decode()):
        with pytest.raises(jsonschema_rs.ValidationError):
            jsonschema_rs.validate(schema, {"secret": wrong})


@pytest.mark.parametrize("percent", [0.07, 0.29, 33.33])
def test_the_document_takes_a_share_with_two_decimals(percent: float) -> None:
    schema = PutFlagRequest.model_json_schema()
    jsonschema_rs.validate(schema, {"enabled": True, "rollout_percent": percent})
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, {"enabled": True, "rollout_percent": 101})
