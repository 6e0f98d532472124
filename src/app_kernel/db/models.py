"""Dataclasses as entities: the entity that a class names, a dict of an instance, an instance of a row.

A class is read once: its hints, defaults and indexes. What cannot be stored is an error at its first use.
"""

import dataclasses
import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, get_type_hints
from uuid import UUID

from app_kernel.core.errors import UnsupportedModel, UnsupportedValue
from app_kernel.core.models import M
from app_kernel.core.tables import Index
from app_kernel.db.kinds import Kind
from app_kernel.db.model_hints import Codec, WrongHint, WrongValue, codec_of
from app_kernel.db.table import OWNED_FIELDS

PYTHON_TYPES: Mapping[Kind, type] = {
    Kind.STR: str,
    Kind.INT: int,
    Kind.FLOAT: float,
    Kind.BOOL: bool,
    Kind.DECIMAL: Decimal,
    Kind.JSON: dict,
    Kind.DATETIME: datetime,
    Kind.DATE: date,
    Kind.BYTES: bytes,
    Kind.UUID: UUID,
}
"""What a declared table calls the kinds that hints have."""

_UNREADABLE = (ValueError, TypeError, ArithmeticError, KeyError, AttributeError)


@dataclass(frozen=True, slots=True)
class ModelField:
    """One field of a dataclass."""

    name: str
    codec: Codec
    init: bool
    """Whether `__init__` takes it; else it is set afterwards."""
    has_default: bool


@dataclass(frozen=True, slots=True)
class Model:
    """What the store has to know of a dataclass."""

    cls: type
    entity: str
    fields: tuple[ModelField, ...]
    kinds: Mapping[str, Kind]
    """Of the columns that its hints ask for."""
    indexes: tuple[Index, ...]


_MAX_MODELS = 1000
"""Classes remembered; more are made by functions, anew at each call."""
_models: dict[type[Any], Model] = {}


def model_class(target: object) -> type[Any] | None:
    """A dataclass as it is; None for everything else, its instances included."""
    return target if isinstance(target, type) and is_dataclass(target) else None


def entity_name(target: Any) -> Any:
    """The entity that a dataclass, or an instance of one, belongs to; anything else comes back as it is.

    Raises UnsupportedModel.
    """
    if type(target) is str or not is_dataclass(target):
        return target
    return model_of(target if isinstance(target, type) else type(target)).entity


def to_entity(instance: Any) -> Any:
    """The dict that an instance is saved as; what is no instance of a dataclass comes back as it is.

    An `id` of None is left out, and so are the fields that the kernel owns. Raises UnsupportedModel, and
    UnsupportedValue for a value that its hint does not allow.
    """
    if type(instance) is dict or isinstance(instance, type) or not is_dataclass(instance):
        return instance
    entity: dict[str, Any] = {}
    for field in model_of(type(instance)).fields:
        # A field that is not in __init__ may not be set yet.
        value = getattr(instance, field.name, MISSING)
        if value is MISSING:
            continue
        if field.name == "id" or field.name in OWNED_FIELDS:
            # Of the owned ones only a deletion is judged by the store; the others it ignores.
            if value is not None and field.name in {"id", "deleted_at"}:
                entity[field.name] = _put(type(instance), field, value)
        else:
            entity[field.name] = _put(type(instance), field, value)
    return entity


def from_row(cls: type[M], row: Mapping[str, Any]) -> M:
    """An instance of a dataclass from a row: unknown columns are ignored, and missing values take the default.

    Raises UnsupportedModel when a field without a default has no value, or a value does not read as its hint.
    """
    instance: M = _made(model_of(cls), row)
    return instance


def model_of(cls: type[Any]) -> Model:
    """What the store has to know of a dataclass; raises UnsupportedModel, which names the class and the field."""
    model = _models.get(cls)
    if model is None:
        if len(_models) >= _MAX_MODELS:
            _models.clear()
        model = _models[cls] = _read_class(cls)
    return model


def _read_class(cls: type[Any]) -> Model:
    fields = _fields_of(cls, {}, in_json=False)
    kinds = {
        field.name: field.codec.kind
        for field in fields
        if field.name != "id" and field.name not in OWNED_FIELDS and field.codec.kind is not Kind.UNKNOWN
    }
    indexes = tuple(_index_of(cls, declared, kinds) for declared in dataclasses.fields(cls) if _is_indexed(declared))
    return Model(cls, _entity_of(cls), fields, kinds, indexes)


def _is_indexed(declared: dataclasses.Field[Any]) -> bool:
    return bool(declared.metadata.get("index") or declared.metadata.get("unique"))


def _index_of(cls: type[Any], declared: dataclasses.Field[Any], kinds: Mapping[str, Kind]) -> Index:
    """The index that a field asks for; raises UnsupportedModel for a kind without an order that every database has."""
    unique = bool(declared.metadata.get("unique"))
    kind = Kind.STR if declared.name in OWNED_FIELDS else kinds.get(declared.name, Kind.UNKNOWN)
    if kind in {Kind.UNKNOWN, Kind.JSON} or (unique and kind is Kind.DECIMAL):
        what = "unique" if kind is Kind.DECIMAL else "indexed"
        raise UnsupportedModel(f"{cls.__name__}.{declared.name}: a field with this hint cannot be {what}.")
    return Index((declared.name,), unique=unique)


def _entity_of(cls: type) -> str:
    """The class's own word for it, or its name in snake case with a plural ending."""
    given = getattr(cls, "__entity__", None)
    if given is not None:
        return str(given)
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()
    if re.search("[^aeiou_]y$", words):
        return words[:-1] + "ies"
    return words + ("es" if re.search("(s|x|z|ch|sh)$", words) else "s")


def _fields_of(cls: type, seen: dict[type, list[ModelField]], *, in_json: bool) -> tuple[ModelField, ...]:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except NameError as exc:
        raise UnsupportedModel(f"{cls.__name__}: a hint has a name that its module does not know: {exc}.") from exc
    declared = dataclasses.fields(cls)
    _check_init(cls, [field for field in declared if field.init])
    fields = seen.setdefault(cls, []) if in_json else []
    for field in declared:
        # What the kernel owns is text in the row, so a datetime is read from it as from JSON.
        as_text = in_json or field.name == "id" or field.name in OWNED_FIELDS
        try:
            codec = codec_of(hints[field.name], lambda inner: _nested(inner, seen), in_json=as_text)
        except WrongHint as exc:
            raise UnsupportedModel(f"{cls.__name__}.{field.name}: {exc}.") from None
        has_default = field.default is not MISSING or field.default_factory is not MISSING
        fields.append(ModelField(field.name, codec, field.init, has_default))
    return tuple(fields)


def _check_init(cls: type, fields: list[Any]) -> None:
    """Refuses a class that no row can make: its __init__ wants something else than its fields."""
    known = {field.name for field in fields}
    parameters = inspect.signature(cls).parameters.values()
    others = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for parameter in parameters:
        if parameter.name not in known and parameter.default is parameter.empty and parameter.kind not in others:
            raise UnsupportedModel(f"{cls.__name__}: its __init__ needs {parameter.name!r}, which is no field of it.")
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    missing = known - {parameter.name for parameter in parameters}
    if missing and not takes_any:
        raise UnsupportedModel(f"{cls.__name__}: its __init__ does not take {sorted(missing)[0]!r}.")


def _nested(cls: type, seen: dict[type, list[ModelField]]) -> Codec:
    """The codec of a dataclass inside another one, which may hold itself."""
    if cls not in seen:
        _fields_of(cls, seen, in_json=True)
    fields = seen[cls]
    names = cls.__name__

    def put(value: Any) -> dict[str, Any]:
        if type(value) is not cls:
            raise WrongValue(f"holds {names}, not {type(value).__name__}")
        stored = {}
        for field in fields:
            try:
                stored[field.name] = field.codec.put(getattr(value, field.name))
            except WrongValue as exc:
                raise exc.under(field.name) from None
        return stored

    return Codec(names, Kind.JSON, put, lambda stored: _instance(cls, fields, stored))


def _put(cls: type, field: ModelField, value: Any) -> Any:
    try:
        return field.codec.put(value)
    except WrongValue as exc:
        path = ".".join((field.name, *exc.path))
        raise UnsupportedValue(f"[{path}] of {cls.__name__} {exc}.") from None


def _made(model: Model, row: Mapping[str, Any]) -> Any:
    try:
        return _instance(model.cls, model.fields, row)
    except UnsupportedModel as exc:
        raise UnsupportedModel(f"{exc} (In {model.entity!r}, id {row.get('id')!r}.)") from exc


def _instance(cls: type, fields: Any, row: Mapping[str, Any]) -> Any:
    values: dict[str, Any] = {}
    later: dict[str, Any] = {}
    for field in fields:
        stored = row.get(field.name)
        if stored is None and not (field.codec.nullable and field.name in row):
            if field.has_default or not field.init:
                continue
            if not field.codec.nullable:
                raise UnsupportedModel(
                    f"{cls.__name__}.{field.name}: a row has no value for it; give it a default or let it be None."
                )
        try:
            (values if field.init else later)[field.name] = field.codec.take(stored)
        except _UNREADABLE as exc:
            raise UnsupportedModel(
                f"{cls.__name__}.{field.name}: a stored value does not read as {field.codec.hint}."
            ) from exc
    instance = cls(**values)
    for name, value in later.items():
        object.__setattr__(instance, name, value)
    return instance
