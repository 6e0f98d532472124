"""What FastAPI's OpenAPI document lacks, added once when it is made: errors, who may call, workspaces, tags, links.

It holds for the routes of an application too. What a route says of itself stays as it is.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from app_kernel.core.access_docs import ACCESS, CSRF_TOKEN, REFRESH_COOKIE, SESSION_COOKIE, USER, Access
from app_kernel.core.feature import Feature
from app_kernel.core.identity import TOKEN_PATH
from app_kernel.core.named_workspaces import PARAMETER
from app_kernel.core.problem_docs import problem
from app_kernel.problems import SCHEMA
from app_kernel.service.document_examples import restore_nulls
from app_kernel.service.document_links import add_links

Json = dict[str, Any]

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_READING = ("get", "head", "options", "trace")
_COOKIES = frozenset({SESSION_COOKIE, REFRESH_COOKIE})

_ANSWERS = {
    "4XX": "Any other request that is refused: too large, malformed, of a wrong method, or one too many.",
    "503": "The service is starting, or what it needs does not answer now.",
}
"""What may end any request."""

_WORKSPACE_HEADER: Json = {
    "name": "X-Workspace-ID",
    "in": "header",
    "required": False,
    "description": "The workspace that the request is about; left out: the one that the caller has chosen.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 191},
}

_SCHEMAS = "#/components/schemas/"

_names_in = re.compile(r"{([^{}]+)}").findall


def complete_document(document: Json, features: Iterable[Feature], api_prefix: str) -> None:
    """Adds what is missing to the document, in place."""
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas["KernelProblem"] = SCHEMA
    schemes = components.setdefault("securitySchemes", {})
    offered = {name: dict(scheme) for feature in features for name, scheme in feature.security_schemes.items()}
    known = {*offered, *(_scheme_of(name) for name in schemes)}
    used: set[str] = set()
    for path, method, operation in _operations(document):
        _describe_path(path, operation)
        _without_null(operation.get("parameters", ()))
        used |= _describe_access(path, method, operation, known)
        _describe_errors(operation)
    components["securitySchemes"] = {
        **{_scheme_of(name): scheme for name, scheme in schemes.items()},
        **{name: scheme for name, scheme in offered.items() if name in used},
    }
    _prefix_token_url(components["securitySchemes"], api_prefix)
    _describe_tags(document, features)
    add_links(document)
    for name in ("HTTPValidationError", "ValidationError"):
        # An application may have a model of that name.
        if f"{_SCHEMAS}{name}" not in _references(document):
            schemas.pop(name, None)
    restore_nulls(schemas)


def _references(part: Any) -> set[str]:
    """Everything that the document refers to."""
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set[str]()
        return own.union(*map(_references, part.values()))
    return set[str]().union(*map(_references, part)) if isinstance(part, list) else set()


def operation_ids(prefix: str) -> Callable[[Any], str]:
    """Names the operations of the kernel by method and path below the prefix: unique, and the same in every service."""

    def name(route: Any) -> str:
        words = re.findall(r"[A-Za-z0-9]+", route.path_format.removeprefix(prefix))
        return "_".join([min(route.methods).lower(), *words])

    return name


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, operations in document.get("paths", {}).items():
        for method in _METHODS:
            if isinstance(operations.get(method), dict):
                yield path, method, operations[method]


def _scheme_of(name: str) -> str:
    """The scheme that there is, for the one by which a dependency is known."""
    return ACCESS[name].schemes[0] if name in ACCESS else name


def _describe_path(path: str, operation: Json) -> None:
    """Adds the parameters of the path that no function takes, such as a workspace that a dependency reads there."""
    parameters = operation.get("parameters", [])
    named = {each.get("name") for each in parameters if each.get("in") == "path"}
    missing = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _names_in(path)
        if name not in named
    ]
    if missing:
        operation["parameters"] = [*missing, *parameters]


def _without_null(parameters: Iterable[Json]) -> None:
    """A query, header or cookie is text or is left out: that a function may get None does not make null one of them."""
    for parameter in parameters:
        schema = parameter.get("schema", {})
        choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        if len(choices) == 1:
            del schema["anyOf"]
            schema.update(choices[0] | schema)
        elif choices:
            schema["anyOf"] = choices


def _describe_access(path: str, method: str, operation: Json, known: set[str]) -> set[str]:
    """Says which credentials are enough, and what comes without them; the names of the schemes that are used."""
    requirements = operation.get("security", [])
    accesses = [ACCESS[name] for each in requirements for name in each if name in ACCESS]
    if not accesses:
        return set()
    required = [each for each in accesses if not each.optional]
    # Of several dependencies the one that takes users alone decides.
    counted = required or accesses
    access = next((each for each in counted if USER in each.schemes), counted[0])
    schemes = [name for name in access.schemes if name in known]
    needs_proof = method not in _READING and CSRF_TOKEN in known
    alternatives: list[Json] = [
        {name: [], CSRF_TOKEN: []} if needs_proof and name in _COOKIES else {name: []} for name in schemes
    ]
    others = [each for each in requirements if not any(name in ACCESS for name in each)]
    operation["security"] = [*alternatives, *others, *([] if required else [{}])]
    responses = operation.setdefault("responses", {})
    for each in required:
        _add_access(each, path, operation, responses)
    return {name for each in alternatives for name in each}


def _add_access(access: Access, path: str, operation: Json, responses: Json) -> None:
    for status, text in access.answers.items():
        responses.setdefault(str(status), problem(text))
    parameters = operation.get("parameters", [])
    if access.in_workspace and PARAMETER not in _names_in(path) and _WORKSPACE_HEADER not in parameters:
        operation["parameters"] = [*parameters, _WORKSPACE_HEADER]


def _describe_errors(operation: Json) -> None:
    responses = operation.setdefault("responses", {})
    if "HTTPValidationError" in str(responses.get("422", "")):
        responses["422"] = problem("The request does not validate")
    for status, text in _ANSWERS.items():
        responses.setdefault(status, problem(text))
    for status, answer in responses.items():
        if status[:1] in "45" and "content" not in answer and "$ref" not in answer:
            answer.update(content=problem("")["content"])
    operation["responses"] = dict(sorted(responses.items()))


def _prefix_token_url(schemes: Json, api_prefix: str) -> None:
    """The Authorize button of /docs asks where the routes are, which only the whole application knows."""
    flow = schemes.get(USER, {}).get("flows", {}).get("password", {})
    if flow.get("tokenUrl") == TOKEN_PATH:
        flow["tokenUrl"] = f"{api_prefix}/{TOKEN_PATH}".lstrip("/")


def _describe_tags(document: Json, features: Iterable[Feature]) -> None:
    used = {tag for _, _, operation in _operations(document) for tag in operation.get("tags", ())}
    described = document.get("tags", [])
    known = {each["name"] for each in described}
    of_features = {name: text for feature in features for name, text in feature.tags.items()}
    described += [
        {"name": name, "description": text} for name, text in of_features.items() if name in used and name not in known
    ]
    if described:
        document["tags"] = described
