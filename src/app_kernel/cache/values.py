"""What is cached is JSON: a value is kept as bytes, and every reader gets a copy of its own."""

import math
from collections import deque
from typing import Any

import orjson

from app_kernel.core.errors import UncacheableValue

MOST_BYTES = 1 << 20
"""Size of one value as JSON."""

MOST_TOLD = 5
"""Parts of a value that an error names."""

_Entry = tuple[Any, Any, Any]
"""A part of a value, its key or position, and the entry of what it is in; None and None for the whole."""
_STRICT = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_PLAIN = frozenset({str, int, bool, type(None)})
_INSTEAD: tuple[tuple[str, str], ...] = (
    ("__members__", "its `.value`"),
    ("model_dump", "its `model_dump(mode='json')`"),
    ("__dataclass_fields__", "its `dataclasses.asdict()`"),
    ("_asdict", "its `_asdict()`"),
    ("isoformat", "its `isoformat()`"),
    ("decode", "text, such as base64"),
    ("as_tuple", "its `str()`"),
    ("int", "its `str()`"),
    ("isidentifier", "its `str()`"),
    ("__iter__", "a list or dict"),
)
"""What tells a kind of value, and what of it can be kept; the first one that fits."""


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
    """Which parts of a value JSON would not give back as they are, the first few; None when there is none.

    Of the same field of several rows the first one is told.
    """
    waiting: deque[_Entry] = deque([(value, None, None)])
    told: dict[tuple[str, ...], str] = {}
    looked_at = 0
    while waiting and looked_at < most and len(told) < MOST_TOLD:
        looked_at += 1
        entry = part, _, _ = waiting.popleft()
        kind = type(part)
        complaint = None
        if kind in _PLAIN:
            continue
        if kind is dict:
            for key, inner in part.items():
                if type(key) is not str:
                    complaint = f" has a key of type {type(key).__name__}; JSON has keys of type str only."
                elif type(inner) not in _PLAIN:
                    waiting.append((inner, key, entry))
        elif kind is list:
            waiting.extend((inner, at, entry) for at, inner in enumerate(part) if type(inner) not in _PLAIN)
        elif kind is not float or not math.isfinite(part):
            complaint = _complaint(part, kind)
        if complaint is not None:
            most = min(most, looked_at + 10_000)
            steps = _steps(entry)
            where = "".join(f"[{step!r}]" for step in steps)
            told.setdefault((*(step if type(step) is str else "" for step in steps), complaint), where + complaint)
    return " ".join(f"value{each}" for each in told.values()) or None


def _complaint(part: Any, kind: type) -> str:
    if kind is float:
        return f" is {part}, which JSON does not have."
    instead = next((text for mark, text in _INSTEAD if hasattr(kind, mark)), "a list, dict or text of it")
    return f" is a {kind.__name__}, which JSON does not give back as it is: cache {instead}."


def _steps(entry: _Entry) -> list[Any]:
    """The keys and positions that lead to a part, from the whole value on."""
    steps = []
    while entry[2] is not None:
        steps.append(entry[1])
        entry = entry[2]
    return steps[::-1]
