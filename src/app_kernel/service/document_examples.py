"""The examples in the OpenAPI document, as their models have them."""

from typing import Any

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"


def restore_nulls(schemas: Json) -> None:
    """Puts back what FastAPI leaves out of the document, as null is to it: the nulls of required fields in examples."""
    for schema in schemas.values():
        for example in schema.get("examples", ()):
            _restore(example, schema, schemas)


def _restore(example: Any, schema: Any, schemas: Json) -> None:
    schema = _resolved(schema, schemas)
    if isinstance(example, list):
        for item in example:
            _restore(item, schema.get("items"), schemas)
    elif isinstance(example, dict):
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            part = properties.get(name)
            if isinstance(part, dict) and {"type": "null"} in part.get("anyOf", ()):
                example.setdefault(name, None)
        for name, value in example.items():
            _restore(value, properties.get(name), schemas)


def _resolved(schema: Any, schemas: Json) -> Json:
    """What a schema is in the end; one that says nothing where it is true or false, or lies outside of the document."""
    followed = set[str]()
    while isinstance(schema, dict):
        schema = _only_choice(schema)
        reference = schema.get("$ref")
        if reference is None:
            found: Json = schema
            return found
        name = str(reference).removeprefix(_SCHEMAS)
        if name in followed or name not in schemas:
            break
        followed.add(name)
        schema = schemas[name]
    return {}


def _only_choice(schema: Json) -> Json:
    """The schema itself, or of one that may be null what it is otherwise."""
    choices = [each for each in schema.get("anyOf", ()) if isinstance(each, dict) and each.get("type") != "null"]
    return choices[0] if len(choices) == 1 else schema
