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
        makers = [answer for status, answer in answers if status.startswith("2") and _has_id(answer, document)]
        links = _links_of(path, paths) if makers else {}
        for answer in makers:
            if links:
                answer.setdefault("links", links)


def _links_of(path: str, paths: Json) -> Json:
    """By operationId, the operations on the thing that was made, and what their parameters are."""
    links = {}
    for other, operations in paths.items():
        found = _item_of(other.removeprefix(path)) if other.startswith(f"{path}/") else None
        if found is None:
            continue
        parameters = {name: f"$request.path.{name}" for name in _names_in(path)} | {found[1]: "$response.body#/id"}
        for method, operation in operations.items():
            if method in _METHODS:
                name = operation["operationId"]
                links[name] = {"operationId": name, "parameters": parameters}
    return links


def _has_id(answer: Json, document: Json) -> bool:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    schema = document["components"]["schemas"].get(schema.get("$ref", "").rpartition("/")[2], schema)
    return "id" in schema.get("properties", {})
