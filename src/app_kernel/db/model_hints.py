"""Type hints of dataclass fields: what may be stored in each, of which kind, and how a value goes there and back.

In a column of its own a value keeps its type. Inside JSON, where a list, a dict or a nested dataclass puts it, it is
written as JSON has it (a datetime as text), and the hint tells how to read it again.
"""

import base64
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, is_typeddict
from uuid import UUID

from app_kernel.core import clock
from app_kernel.db.kinds import Kind, kind_of_type

Convert = Callable[[Any], Any]


class WrongHint(Exception):
    """A hint that nothing can be stored by; the text says why."""


class WrongValue(Exception):
    """A value that its hint does not allow."""

    def __init__(self, text: str, *path: str) -> None:
        super().__init__(text)
        self.path = path
        """The keys that lead to it, outermost first."""

    def under(self, key: object) -> "WrongValue":
        """The same, seen from outside of what holds it under `key`."""
        return WrongValue(str(self), str(key), *self.path)


@dataclass(frozen=True, slots=True)
class Codec:
    """What a hint means for the store."""

    hint: str
    """As people read it."""
    kind: Kind
    """Of a column for such values; UNKNOWN where the values decide."""
    to_store: Convert
    """From a value that is not None; raises WrongValue."""
    to_value: Convert
    """From what the store gives, never None."""
    nullable: bool = False

    def put(self, value: Any) -> Any:
        """A value as it is stored; raises WrongValue."""
        if value is not None:
            return self.to_store(value)
        if not self.nullable:
            raise WrongValue(f"holds {self.hint}, not None")
        return None

    def take(self, stored: Any) -> Any:
        """A stored value as the hint has it."""
        return None if stored is None else self.to_value(stored)


Nested = Callable[[type], "Codec"]
"""Makes the codec of a dataclass inside another one."""


def codec_of(hint: Any, nested: Nested, *, in_json: bool) -> Codec:  # noqa: PLR0911 - a table of hints
    """The codec of a hint; raises WrongHint."""
    hint = _unwrapped(hint)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _union(hint, args, nested, in_json=in_json)
    if origin is Literal:
        return _choice(hint, args, in_json=in_json)
    if hint is Any or hint is object:
        return Codec("anything", Kind.UNKNOWN, _same, _same, nullable=True)
    if hint in _SCALARS:
        return _scalar(hint, in_json=in_json)
    if (origin or hint) in (list, tuple, dict):
        return _container(hint, origin or hint, args, nested)
    if is_typeddict(hint):
        return Codec(_shown(hint), Kind.JSON, _checked(_shown(hint), dict), _same)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint, in_json=in_json)
    if isinstance(hint, type) and is_dataclass(hint):
        return nested(hint)
    raise WrongHint(f"{_shown(hint)} is nothing that can be stored{_ADVICE.get(origin or hint, '')}")


_SCALARS: frozenset[Any] = frozenset({str, int, float, bool, Decimal, datetime, date, bytes, UUID})
_JSON_SCALARS = frozenset({str, int, float, bool})
_ADVICE: Mapping[Any, str] = {
    set: "; use a list",
    frozenset: "; use a list",
    bytearray: "; use bytes",
    complex: "; use two floats",
}


def _write_datetime(value: datetime) -> str:
    if value.utcoffset() is None:
        raise WrongValue("holds a datetime with a time zone; use datetime.now(UTC)")
    return clock.to_text(value)


_AS_JSON: Mapping[Any, tuple[Convert, Convert]] = {
    Decimal: (lambda value: format(value, "f"), Decimal),
    datetime: (_write_datetime, datetime.fromisoformat),
    date: (date.isoformat, date.fromisoformat),
    bytes: (lambda value: base64.b64encode(value).decode(), base64.b64decode),
    UUID: (str, UUID),
}
_WIDER: Mapping[Any, Callable[[int], Any]] = {float: float, Decimal: Decimal}
"""What an int may stand for, as in Python's own hints."""


def _same(value: Any) -> Any:
    return value


def _shown(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def _unwrapped(hint: Any) -> Any:
    while True:
        if get_origin(hint) in (Annotated, Final):
            hint = get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            return hint


def _checked(shown: str, *allowed: type) -> Convert:
    def check(value: Any) -> Any:
        if type(value) not in allowed:
            raise WrongValue(f"holds {shown}, not {type(value).__name__}")
        return value

    return check


def _scalar(hint: type, *, in_json: bool) -> Codec:
    write, read = _AS_JSON.get(hint, (_same, _same)) if in_json else (_same, _same)
    widen = _WIDER.get(hint)

    def put(value: Any) -> Any:
        if type(value) is hint:
            return write(value)
        if widen is None or type(value) is not int:
            raise WrongValue(f"holds {hint.__name__}, not {type(value).__name__}")
        if abs(value) > 2**53 and hint is float:
            raise WrongValue("holds float, and this int is no float exactly")
        return write(widen(value))

    def take(stored: Any) -> Any:
        return widen(stored) if widen is not None and type(stored) is int else read(stored)

    return Codec(hint.__name__, Kind.JSON if in_json else kind_of_type(hint), put, take)


def _union(hint: Any, args: tuple[Any, ...], nested: Nested, *, in_json: bool) -> Codec:
    members = [_unwrapped(member) for member in args if member is not types.NoneType]
    nullable = len(members) < len(args)
    if len(members) == 1:
        only = codec_of(members[0], nested, in_json=in_json)
        return Codec(f"{only.hint} or None", only.kind, only.to_store, only.to_value, nullable=True)
    if any(member not in (_JSON_SCALARS if in_json else _SCALARS) for member in members):
        raise WrongHint(f"{_shown(hint)} does not tell which of them a stored value is")
    return Codec(_shown(hint), Kind.UNKNOWN, _checked(_shown(hint), *members), _same, nullable=nullable)


def _of_values(shown: str, values: list[Any], *, in_json: bool) -> Codec:
    """The codec of some values that are known beforehand."""
    kinds = {type(value) for value in values}
    if not kinds or not kinds <= (_JSON_SCALARS if in_json and len(kinds) > 1 else _SCALARS):
        raise WrongHint(f"{shown} has values that cannot be stored")
    if len(kinds) == 1:
        return _scalar(kinds.pop(), in_json=in_json)
    return Codec(shown, Kind.UNKNOWN, _same, _same)


def _choice(hint: Any, args: tuple[Any, ...], *, in_json: bool) -> Codec:
    shown = _shown(hint)
    inner = _of_values(shown, [value for value in args if value is not None], in_json=in_json)
    allowed = {(type(value), value) for value in args}

    def put(value: Any) -> Any:
        if type(value) not in _SCALARS or (type(value), value) not in allowed:
            raise WrongValue(f"holds {shown}, not {type(value).__name__} {str(value)[:40]!r}")
        return inner.to_store(value)

    return Codec(shown, inner.kind, put, inner.to_value, nullable=None in args)


def _enum(hint: type[Enum], *, in_json: bool) -> Codec:
    inner = _of_values(hint.__name__, [member.value for member in hint], in_json=in_json)

    def put(value: Any) -> Any:
        if not isinstance(value, hint):
            raise WrongValue(f"holds {hint.__name__}, not {type(value).__name__}")
        return inner.to_store(value.value)

    return Codec(hint.__name__, inner.kind, put, lambda stored: hint(inner.to_value(stored)))


def _container(hint: Any, origin: type, args: tuple[Any, ...], nested: Nested) -> Codec:
    shown = _shown(hint)
    check = _checked(origin.__name__, origin)
    if origin is dict:
        if args and _unwrapped(args[0]) is not str:
            raise WrongHint(f"{shown} has keys that are not text")
        item = codec_of(args[1], nested, in_json=True) if args else None
        return Codec(shown, Kind.JSON, _put_dict(check, item), _take_dict(item))
    repeated = not args or origin is list or args[-1] is Ellipsis
    items = [codec_of(each, nested, in_json=True) for each in (args or (Any,)) if each is not Ellipsis]
    length = None if repeated else len(items)

    def put(value: Any) -> list[Any]:
        check(value)
        if length is not None and len(value) != length:
            raise WrongValue(f"holds {length} values, not {len(value)}")
        return [_put_item(items[0 if repeated else at], at, each) for at, each in enumerate(value)]

    def take(stored: Any) -> Any:
        return origin(items[0 if repeated else at].take(each) for at, each in enumerate(stored))

    return Codec(shown, Kind.JSON, put, take)


def _put_item(codec: Codec, key: object, value: Any) -> Any:
    try:
        return codec.put(value)
    except WrongValue as exc:
        raise exc.under(key) from None


def _put_dict(check: Convert, item: Codec | None) -> Convert:
    if item is None:
        return check
    return lambda value: {key: _put_item(item, key, each) for key, each in check(value).items()}


def _take_dict(item: Codec | None) -> Convert:
    return _same if item is None else lambda stored: {key: item.take(each) for key, each in stored.items()}
