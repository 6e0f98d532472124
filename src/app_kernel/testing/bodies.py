"""Values that a JSON Schema takes, with texts and ids of a workspace in them; the same ones in every run."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]
"""Where in a body a value is."""

_DEEPEST = 6
_IS_ID = re.compile(r"(^|_)(id|ids|uuid|key_id|ref)$").search
_CURSOR = re.compile(r"cursor|after|before|page_token|continuation|bookmark|since").search
_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z",
    "date": "2026-01-02",
    "time": "03:04:05",
    "duration": "PT1H",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "binary": "x",
}
_PASSWORD = 24
"""Characters of a password that is made up: rules may ask for more than a schema can say."""
_SAMPLES = ("abc", "a-b", "A1", "1", "12345", "a.b", "abc_def", "2026-01", "00:00", "#aabbcc", "+41441234567", "en")
"""Tried in turn where a text has to match a pattern."""
UNKNOWN_ID = "0190a000-0000-7000-8000-00000000dead"
"""An id that nobody has."""


def is_id_name(name: str) -> bool:
    """Whether a parameter or field of this name holds an id, or several."""
    return _IS_ID(name.lower()) is not None


def is_cursor_name(name: str) -> bool:
    """Whether a parameter of this name says where a page begins."""
    return _CURSOR(name.lower()) is not None


class Filler:
    """Makes values for one caller: texts with a marker, and ids by the name of the field that wants one."""

    def __init__(
        self, marker: str, find_id: Callable[[str], str | None], given: Mapping[str, Any], start: int = 0
    ) -> None:
        self._marker = marker
        self._find_id = find_id
        self._given = given
        """Values by the name of the field, such as the caller's password."""
        self._count = start

    def value(self, schema: Schema, name: str = "", *, full: bool = True) -> Any:
        """A value for a schema, with every field or only those that must be there."""
        return self._make(schema, name, schema.get("$defs", {}), full, 0)

    def text(self) -> str:
        """A text with the marker, unlike the ones before."""
        self._count += 1
        return f"{self._marker}{self._count}"

    def _make(self, schema: Schema, name: str, defs: Schema, full: bool, depth: int) -> Any:  # noqa: PLR0911
        schema = _resolved(schema, defs)
        if name in self._given:
            return self._given[name]
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        kind = schema.get("type")
        if kind == "object" or "properties" in schema:
            return self._object(schema, defs, full, depth)
        if kind == "array":
            item = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
            one = self._make(item, name.removesuffix("s"), defs, full, depth + 1) if depth < _DEEPEST else None
            return [] if one is None else [one] * max(1, schema.get("minItems", 1))
        if kind in ("integer", "number"):
            return _number(schema)
        if kind == "boolean":
            return schema.get("default", True)
        if kind == "null":
            return None
        return self._string(schema, name)

    def _object(self, schema: Schema, defs: Schema, full: bool, depth: int) -> dict[str, Any]:
        needed = set(schema.get("required", ()))
        made: dict[str, Any] = {}
        if depth >= _DEEPEST:
            full = False
        for name, part in schema.get("properties", {}).items():
            if name in needed or (full and name != "id"):
                value = self._make(part, name, defs, full, depth + 1)
                if value is not None or name in needed:
                    made[name] = value
        if not schema.get("properties") and schema.get("additionalProperties") is not False and full:
            extra = schema.get("additionalProperties")
            made["note"] = (
                self._make(extra, "note", defs, full, depth + 1) if extra and extra is not True else self.text()
            )
        return made

    def _string(self, schema: Schema, name: str) -> str | None:
        form, lower = schema.get("format"), name.lower()
        if is_id_name(lower):
            found = self._find_id(name)
            if found is not None:
                return found
        if form == "uuid":
            return UNKNOWN_ID
        if form == "email" or "email" in lower:
            return f"{self.text()}@example.com"
        if form in ("uri", "url") or lower.endswith(("url", "uri")):
            return f"https://example.com/{self.text()}"
        if form in _FORMATS:
            return _FORMATS[form]
        text = self.text()
        pattern = schema.get("pattern")
        if pattern is not None:
            return next((each for each in (text, text.upper(), *_SAMPLES) if re.search(pattern, each)), text)
        least = max(schema.get("minLength", 0), _PASSWORD if form == "password" else 0)
        return text.ljust(least, "x")[: schema.get("maxLength", 10_000)]


def id_places(body: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where in a body ids are, each with the name of its field."""
    if isinstance(body, Mapping):
        for name, value in body.items():
            if isinstance(value, str) and is_id_name(name):
                yield (*path, name), name
            elif isinstance(value, Sequence) and not isinstance(value, str) and is_id_name(name):
                yield from (((*path, name, position), name) for position in range(len(value)))
            else:
                yield from id_places(value, (*path, name))
    elif isinstance(body, list):
        for position, value in enumerate(body):
            yield from id_places(value, (*path, position))


def value_at(body: Any, path: Path) -> Any:
    """What is at one place in a body."""
    for part in path:
        body = body[part]
    return body


def free_places(body: Any, schema: Schema) -> list[str]:
    """Fields at the top of a body that take any JSON object."""
    defs = schema.get("$defs", {})
    properties = _resolved(schema, defs).get("properties", {})
    return [
        name
        for name, part in properties.items()
        if isinstance(body, Mapping) and name in body and _is_free(_resolved(part, defs))
    ]


def replaced(body: Any, path: Path, value: Any) -> Any:
    """A copy of a body with another value at one place."""
    if not path:
        return value
    first, rest = path[0], path[1:]
    copy: Any = dict(body) if isinstance(body, Mapping) else list(body)
    copy[first] = replaced(copy[first] if rest else None, rest, value)
    return copy


def _is_free(schema: Schema) -> bool:
    return not schema or (
        schema.get("type") == "object"
        and not schema.get("properties")
        and schema.get("additionalProperties", True) is True
    )


def _resolved(schema: Schema, defs: Schema) -> Schema:
    """The schema itself, without references and choices: the first choice that is not null."""
    for _ in range(_DEEPEST):
        if "$ref" in schema:
            schema = {
                **defs.get(schema["$ref"].rpartition("/")[2], {}),
                **{k: v for k, v in schema.items() if k != "$ref"},
            }
        elif "allOf" in schema:
            merged: dict[str, Any] = {}
            for part in schema["allOf"]:
                merged.update(_resolved(part, defs))
            schema = {**merged, **{k: v for k, v in schema.items() if k != "allOf"}}
        elif choices := schema.get("anyOf") or schema.get("oneOf"):
            chosen = next((each for each in choices if each.get("type") != "null"), choices[0])
            schema = {**{k: v for k, v in schema.items() if k not in ("anyOf", "oneOf")}, **chosen}
        else:
            return schema
    return schema


def _number(schema: Schema) -> Any:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    step = 1 if schema.get("type") == "integer" else 0.5
    if "default" in schema and schema["default"] is not None:
        return schema["default"]
    value = 1 if low is None else low + (step if "exclusiveMinimum" in schema else 0)
    if high is not None and value > high:
        value = high - (step if "exclusiveMaximum" in schema else 0)
    return value
