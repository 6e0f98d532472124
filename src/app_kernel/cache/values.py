"""What is cached is JSON: a value is kept as bytes, and every reader gets a copy of its own."""

import math
from typing import Any

import orjson

from app_kernel.core.errors import UncacheableValue

MOST_BYTES = 1 << 20
"""Size of one value as JSON."""

_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_PLAIN = frozenset({str, int, bool, type(None)})


def encode(value: Any) -> bytes:
    """A value as JSON; raises UncacheableValue where that would give back something else, such as a list for a tuple.

    Values are None, bool, int (64 bits), float (finite), str, and lists and dicts (with keys of type str) of those.
    """
    try:
        data = orjson.dumps(value, None, _STRICT)
    except (TypeError, ValueError, RecursionError) as exc:
        # A value that holds itself has no end.
        raise UncacheableValue(_explain(value, most=10_000) or f"JSON cannot hold the value: {exc}.") from exc
    if type(value) not in _PLAIN:
        odd = _explain(value)
        if odd is not None:
            raise UncacheableValue(odd)
    return data


def decode(data: bytes | memoryview) -> Any:
    """The value again; raises ValueError for what is no JSON."""
    return orjson.loads(data)


def _explain(value: Any, most: float = math.inf) -> str | None:
    """Which part of a value JSON would not give back as it is; None when there is none."""
    waiting: list[tuple[Any, Any, Any]] = [(value, None, None)]
    looked_at = 0
    while waiting and looked_at < most:
        looked_at += 1
        entry = part, _, _ = waiting.pop()
        kind = type(part)
        if kind in _PLAIN:
            continue
        if kind is dict:
            for key, inner in part.items():
                if type(key) is not str:
                    return f"{_path(entry)} has a key of type {type(key).__name__}; JSON has keys of type str only."
                if type(inner) not in _PLAIN:
                    waiting.append((inner, key, entry))
        elif kind is list:
            waiting.extend((inner, at, entry) for at, inner in enumerate(part) if type(inner) not in _PLAIN)
        elif kind is not float:
            return f"{_path(entry)} is a {kind.__name__}, which JSON does not give back; make it a list, dict or text."
        elif not math.isfinite(part):
            return f"{_path(entry)} is {part}, which JSON does not have."
    return None


def _path(entry: tuple[Any, Any, Any]) -> str:
    steps = []
    while entry[2] is not None:
        steps.append(f"[{entry[1]!r}]")
        entry = entry[2]
    return "value" + "".join(reversed(steps))
