"""Links in the OpenAPI document: from what makes a thing to what is done with it, by the id in the answer.

They follow from the paths: what `POST /notes` answers is the `{id}` of `/notes/{id}` and of all that is below.
"""

import re
from typing import Any

Json = dict[str, Any]

_METHODS = frozenset({"get", "put", "patch", "delete", "post"})
_names_in = re.compile(r"{([^{}]+)}").findall
_item_of = re.compile(r"/{([^{}]+)}(/[^{}]*)?").fullmatch


def add_links(document: Json) -> None:
    """Adds them in place; an answer that has links already keeps its own."""
    paths = document.get("paths", {})
    for path, operations in paths.items():
        answers = operations.get("post", {}).get("responses", {}).items()
        for status, answer in answers:
            fields = _fields_of(answer, document) if status.startswith("2") else set[str]()
            links = _links_of(path, paths, fields) if fields else {}
            if links:
                answer.setdefault("links", links)


def _links_of(path: str, paths: Json, fields: set[str]) -> Json:
    """By operationId, the operations on the thing that was made, and what their parameters are."""
    links = {}
    for other, operations in paths.items():
        found = _item_of(other.removeprefix(path)) if other.startswith(f"{path}/") else None
        field = _field_for(found[1], fields) if found else None
        if found is None or field is None:
            continue
        above = {name: f"$request.path.{name}" for name in _names_in(path)}
        parameters = above | {found[1]: f"$response.body#/{field}"}
        for method, operation in operations.items():
            if method in _METHODS:
                name = operation["operationId"]
                links[name] = {"operationId": name, "parameters": parameters}
    return links


def _field_for(parameter: str, fields: set[str]) -> str | None:
    """The field of the answer that the parameter of a path means."""
    if parameter in fields:
        return parameter
    return "id" if "id" in fields and parameter.endswith("_id") else None


def _fields_of(answer: Json, document: Json) -> set[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    schema = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return set(schema.get("properties", {}))
