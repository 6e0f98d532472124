"""What a job may carry: JSON, checked before it is enqueued, so that what a handler gets is what was given."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from app_kernel.core.errors import InvalidJob

LONGEST_BODY = 1024 * 1024
"""Bytes of a payload as JSON, metadata included."""
DEEPEST = 100
_BIG = 2**63


def check_json(what: str, value: Any) -> None:
    """Raises InvalidJob, which names the place, for what JSON would not give back equal."""
    _check(what, value, 0)


def encode_json(what: str, value: Any) -> bytes:
    """The value as JSON; raises InvalidJob for what is no JSON, or longer than LONGEST_BODY."""
    check_json(what, value)
    try:
        text = orjson.dumps(value)
    except (TypeError, RecursionError) as exc:
        raise InvalidJob(f"{what}: {exc}") from exc
    if len(text) > LONGEST_BODY:
        raise InvalidJob(f"{what}: {len(text)} bytes as JSON; at most {LONGEST_BODY} may be. Store it and pass its id.")
    return text


def _check(place: str, value: Any, depth: int) -> None:
    check = _CHECKS.get(type(value))
    if check is None:
        raise InvalidJob(
            f"{place}: {type(value).__name__} is no JSON. Pass text, numbers, booleans, None, dicts and lists;"
            " a datetime as its isoformat(), an object as its fields or its id."
        )
    check(place, value, depth)


def _check_nothing(place: str, value: Any, depth: int) -> None:
    """What is well as it is."""


def _check_int(place: str, value: int, depth: int) -> None:
    if not -_BIG <= value < _BIG:
        raise InvalidJob(f"{place}: an integer beyond 64 bits; pass it as text.")


def _check_float(place: str, value: float, depth: int) -> None:
    if not math.isfinite(value):
        raise InvalidJob(f"{place}: {value} is no JSON.")


def _check_dict(place: str, value: dict[Any, Any], depth: int) -> None:
    _check_depth(place, depth)
    for key, inner in value.items():
        if type(key) is not str:
            raise InvalidJob(f"{place}: the key {key!r} is no text.")
        _check_text(place, key)
        _check(f"{place}.{key}", inner, depth + 1)


def _check_list(place: str, value: Sequence[Any], depth: int) -> None:
    _check_depth(place, depth)
    for index, inner in enumerate(value):
        _check(f"{place}[{index}]", inner, depth + 1)


def _check_depth(place: str, depth: int) -> None:
    if depth >= DEEPEST:
        raise InvalidJob(f"{place}: nested too deep.")


def _check_text(place: str, text: str, depth: int = 0) -> None:
    if text.isascii():
        if "\0" in text:
            raise InvalidJob(f"{place}: has a NUL in it.")
        return
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidJob(f"{place}: is no Unicode, it has half of a surrogate pair in it.") from None
    if "\0" in text:
        raise InvalidJob(f"{place}: has a NUL in it.")


_CHECKS: dict[type, Callable[[str, Any, int], None]] = {
    type(None): _check_nothing,
    bool: _check_nothing,
    int: _check_int,
    float: _check_float,
    str: _check_text,
    dict: _check_dict,
    list: _check_list,
    tuple: _check_list,
}


def result_text(value: Any) -> tuple[str | None, str]:
    """What a handler returned as JSON, and why that cannot be kept: the work is done, so it is no failure."""
    if value is None:
        return None, ""
    try:
        if isinstance(value, Mapping) and type(value) is not dict:
            value = dict(value)
        return encode_json("result", value).decode(), ""
    except InvalidJob as exc:
        return None, exc.message
    except Exception as exc:  # noqa: BLE001 - an object of the application's, which may raise anything when it is read
        return None, f"result: reading it raised {type(exc).__name__}"
