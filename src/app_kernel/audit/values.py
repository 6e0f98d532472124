"""Values of any kind as JSON that can be stored, without secrets and of bounded size; no value is ever refused."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import InvalidAuditEvent
from app_kernel.core.redaction import REDACTED, SHORTEST_CREDENTIAL, is_secret_name, without_credentials

LONGEST_TEXT = 2_000_000
"""Characters of one text that are kept; a longer one is left out whole, and its length is told."""
LARGEST_EVENT = 4_000_000
"""Characters of one event, about; a value that does not fit any more is left out whole."""
DEEPEST = 100
"""Lists and dicts inside each other."""

_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_EACH = 16
"""Characters that a value in a list or dict counts for, besides those of its text."""
_HARMLESS = (bool, float, datetime, date, time)
"""Under whatever name: no secret has such a value."""

Left = list[int]
"""How much of an event may still be used; a list of one, so that it counts for the whole event."""


class Redaction:
    """Which fields are never shown: by what their names say, and by `audit_redact`."""

    __slots__ = ("_fields", "_known", "_pairs")

    def __init__(self, redact: Iterable[str] = ()) -> None:
        """`redact` has names of fields, or `entity.field`; names inside JSON count as fields too."""
        self._fields: frozenset[str] = frozenset()
        self._pairs: frozenset[tuple[str, str]] = frozenset()
        self.add(redact)

    def add(self, redact: Iterable[str]) -> None:
        """More fields; raises InvalidAuditEvent for what no field can be, as it would hide nothing without a word."""
        names = [name.strip().lower() for name in checked_names("redact", redact)]
        for name in names:
            if name.count(".") > 1 or not all(name.split(".")):
                raise InvalidAuditEvent(f"redact: {name!r} is neither a field nor entity.field.")
        self._fields |= {name for name in names if "." not in name}
        pairs = (name.split(".", 1) for name in names if "." in name)
        self._pairs |= {(entity, field) for entity, field in pairs}
        self._known: dict[str, dict[str, int]] = {}

    def of_entity(self, entity: str) -> dict[str, int]:
        """What is known of an entity's fields so far: OPEN, SECRET or CLOSED by name; ask `look` for all others."""
        known = self._known.get(entity)
        if known is None:
            known = self._known[entity] = {}
        return known

    def look(self, entity: str, field: str, known: dict[str, int]) -> int:
        """Decides for one field, and remembers it; entities have few fields."""
        lower = field.lower()
        if lower in self._fields or (entity.lower(), lower) in self._pairs:
            decided = CLOSED
        else:
            decided = SECRET if is_secret_name(field) else OPEN
        known[field] = decided
        return decided

    def hides_inside(self, key: str, value: Any) -> bool:
        """Whether the value of this key of a dict, at whatever depth, is hidden."""
        if self._fields and key.lower() in self._fields:
            return True
        return is_secret_name(key) and may_be_secret(key, value)


def checked_names(what: str, names: Iterable[str]) -> list[str]:
    """A list of names; raises InvalidAuditEvent for anything else, one text above all."""
    listed = None if isinstance(names, str) else list(names)
    if listed is None or not all(isinstance(name, str) for name in listed):
        raise InvalidAuditEvent(f"{what} is a list of names.")
    return listed


OPEN, SECRET, CLOSED = 0, 1, 2
"""A field that is shown; one whose name says that it holds a secret; one that is never shown, whatever it holds."""


def may_be_secret(name: str, value: Any) -> bool:
    """Whether a value under a secret name can be one: no flag, instant or empty value; of tokens no count either."""
    if value is None or isinstance(value, _HARMLESS):
        return False
    lower = name.lower()
    # `tokens`, `token_limit` and the like count; one `token` may well be a code of digits.
    return not (isinstance(value, int) and "token" in lower and not lower.endswith("token"))


def plain(value: Any, redaction: Redaction, left: Left, depth: int = 0, around: tuple[int, ...] = ()) -> Any:
    """The value as JSON: instants as ISO 8601, decimals and UUIDs as text, bytes as base64, what is too large left
    out."""
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind is str:
        # Most texts are short: the call would cost more than the rest.
        return value if len(value) < SHORTEST_CREDENTIAL and value.isascii() else text(value, left)
    if kind is int:
        return value if _INT64_MIN <= value <= _INT64_MAX else _long_number(value)
    if kind is float:
        return value
    if isinstance(value, Mapping):
        return _mapping(value, redaction, left, depth, around)
    if isinstance(value, list | tuple | set | frozenset):
        return _sequence(value, redaction, left, depth, around)
    return _other(value, left)


def text(value: str, left: Left) -> Any:
    """A text without credentials, with a mark in place of what no database stores."""
    length = len(value)
    if length > LONGEST_TEXT or length > left[0]:
        return {"omitted": True, "characters": length}
    left[0] -= length
    if not value.isascii():
        value = storable(value)
    return value if length < SHORTEST_CREDENTIAL else without_credentials(value)


def sentence(value: str) -> str:
    """The same of a text that stays one: of what is too long there is left how long it was."""
    told = text(value, [LONGEST_TEXT])
    return told if isinstance(told, str) else f"[omitted: {len(value)} characters]"


def storable(value: str) -> str:
    """The text with a mark in place of each half of a surrogate pair, which is no character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value


def _long_number(value: int) -> str | dict[str, Any]:
    # Python refuses to spell out what has more than some thousands of digits.
    return str(value) if value.bit_length() < 13_000 else {"omitted": True, "bits": value.bit_length()}


def _mapping(value: Mapping[Any, Any], redaction: Redaction, left: Left, depth: int, around: tuple[int, ...]) -> Any:
    before = left[0]
    left[0] -= _EACH * len(value)
    shown: dict[str, Any] = {}
    if depth < DEEPEST and left[0] >= 0 and id(value) not in around:
        around = (*around, id(value))
        for name, field in value.items():
            key = name if type(name) is str and name.isascii() else storable(str(name))
            left[0] -= len(key)
            if len(key) >= SHORTEST_CREDENTIAL:
                key = without_credentials(key)
            if redaction.hides_inside(key, field):
                shown[key] = REDACTED
            else:
                shown[key] = plain(field, redaction, left, depth + 1, around)
            if left[0] < 0:
                break
        else:
            return shown
    return _left_out("fields", len(value), left, before, depth)


def _sequence(value: Any, redaction: Redaction, left: Left, depth: int, around: tuple[int, ...]) -> Any:
    before = left[0]
    left[0] -= _EACH * len(value)
    shown: list[Any] = []
    if depth < DEEPEST and left[0] >= 0 and id(value) not in around:
        around = (*around, id(value))
        for item in value:
            shown.append(plain(item, redaction, left, depth + 1, around))
            if left[0] < 0:
                break
        else:
            return shown
    return _left_out("items", len(value), left, before, depth)


def _left_out(what: str, count: int, left: Left, before: int, depth: int) -> dict[str, Any]:
    # A value that is too large leaves their room to the other fields; inside of one, the whole of it is.
    if depth == 0:
        left[0] = before
    return {"omitted": True, what: count}


def _other(value: Any, left: Left) -> Any:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return clock.to_text(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        size = len(value)
        fits = size <= LONGEST_TEXT and size <= left[0]
        return text(b64encode(value).decode(), left) if fits else {"omitted": True, "bytes": size}
    try:
        return text(str(value.value if isinstance(value, Enum) else value), left)
    except Exception:  # noqa: BLE001 - whatever it is, it harms nobody else
        return {"omitted": True, "type": type(value).__name__}
