"""What models show in the OpenAPI document beside their fields: an example, and which fields go together."""

from typing import Any

from pydantic import ConfigDict

SOME_ID = "01997f3e-6d2b-7c41-9a53-2f1d6f0e8a10"
OTHER_ID = "01997f3e-7a90-7f02-8c1e-90b4d2a6c3f5"
SOME_INSTANT = "2026-01-31T12:00:00.000000Z"
LATER_INSTANT = "2026-02-07T12:00:00.000000Z"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def example(**fields: Any) -> ConfigDict:
    """The `model_config` of a model whose example this is; what its base configures stays."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def example_of_one(names: tuple[str, ...], **fields: Any) -> ConfigDict:
    """The same for a model of whose optional fields `names` exactly one has to be given."""
    choices: list[Any] = [
        {
            "required": [name],
            "properties": {each: {"type": "string" if each == name else "null"} for each in names},
        }
        for name in names
    ]
    return ConfigDict(json_schema_extra={"examples": [fields], "oneOf": choices})
