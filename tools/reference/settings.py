"""docs/reference/settings.md: every field of ServiceConfig."""

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from app_kernel import ServiceConfig
from app_kernel.core.config import environment_name
from tools.reference.page import page, table

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true` or `false`",
    "array": "list",
    "object": "object",
}
_LIMITS = {
    "minimum": "from {}",
    "exclusiveMinimum": "above {}",
    "maximum": "to {}",
    "exclusiveMaximum": "below {}",
    "minLength": "{} characters or more",
    "maxLength": "{} characters at most",
}


def render_settings() -> str:
    """Every field of ServiceConfig."""
    schema = ServiceConfig.model_json_schema()["properties"]
    rows = (_setting(name, field, schema[name]) for name, field in ServiceConfig.model_fields.items())
    return page(
        "Settings",
        "`ServiceConfig(...)` takes these as keywords and reads no environment; `ServiceConfig.from_env()` reads the"
        " variables, and a file `.env` for those that are not set. `DATABASE_URL` may name the database instead of"
        " `DATABASE_PATH` and wins over it and over the parts of a server's address; `DATABASE_NAME` is another name of"
        " `DATABASE_PATH`. Lists are separated by commas, objects are JSON. A setting without a default is unset, or"
        " empty. Everything that is wrong is reported in one message when the service starts.",
        table(("setting", "variable", "default", "values", "meaning"), rows),
    )


def _setting(name: str, field: FieldInfo, schema: Mapping[str, Any]) -> tuple[str, ...]:
    default = "" if field.default in (None, [], {}) else f"`{field.default}`"
    return (f"`{name}`", f"`{environment_name(name, field)}`", default, values_of(schema), f"{field.description}")


def values_of(schema: Mapping[str, Any]) -> str:
    """What a setting may be, in words, from its JSON schema."""
    (real, *_) = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    if choices := real.get("enum"):
        return ", ".join(f"`{choice}`" for choice in choices)
    limits = [words.format(real[name]) for name, words in _LIMITS.items() if name in real]
    return ", ".join([_WORDS[real["type"]], *limits])
