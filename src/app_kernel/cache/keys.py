"""What names a cached value: keys, patterns, tags, times to live, and how an id becomes a part of a key."""

import hashlib
import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from urllib.parse import quote
from uuid import UUID

from app_kernel.core.errors import InvalidCacheKey

KEY_LENGTH = 512
TAG_LENGTH = 512
MOST_TAGS = 32
LONGEST_TTL = 30 * 86400
"""Seconds that a value is kept at most."""

_HEAD = 200
"""How much of a key that is too long stays readable; a digest stands for the whole of it."""
_SAFE = " @+"
"""What stays as it is in a part, beside `_.-~` and the letters and digits of ASCII."""


def check_key(key: object) -> str:
    """A key as it was given; raises InvalidCacheKey."""
    if type(key) is not str or not 0 < len(key) <= KEY_LENGTH or not key.isprintable():
        raise InvalidCacheKey(f"A key is 1 to {KEY_LENGTH} printable characters, not {_shown(key)}.")
    return key


def check_pattern(pattern: object) -> str:
    """A pattern, in which `*` stands for any text and nothing else has a meaning; raises InvalidCacheKey."""
    if type(pattern) is not str or not 0 < len(pattern) <= KEY_LENGTH or not pattern.isprintable():
        raise InvalidCacheKey(f"A pattern is 1 to {KEY_LENGTH} printable characters, not {_shown(pattern)}.")
    return pattern


def check_tags(tags: object) -> tuple[str, ...]:
    """The tags of a value, each of them once; raises InvalidCacheKey."""
    if isinstance(tags, str) or not isinstance(tags, Iterable):
        raise InvalidCacheKey(f"Tags are a list of texts, not {_shown(tags)}.")
    given = list(tags)
    for tag in given:
        if type(tag) is not str or not 0 < len(tag) <= TAG_LENGTH or not tag.isprintable():
            raise InvalidCacheKey(f"A tag is 1 to {TAG_LENGTH} printable characters, not {_shown(tag)}.")
    found = tuple(dict.fromkeys(given))
    if len(found) > MOST_TAGS:
        raise InvalidCacheKey(f"A value has {MOST_TAGS} tags at most, not {len(found)}.")
    return found


def check_ttl(ttl: object) -> float:
    """A time to live in seconds, above 0 and at most 30 days; raises InvalidCacheKey."""
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0.001 <= seconds <= LONGEST_TTL:
        raise InvalidCacheKey(f"A time to live is 0.001 to {LONGEST_TTL} seconds, not {_shown(ttl)}.")
    return float(seconds)


def check_jitter(jitter: object) -> float:
    """The part of a time to live that chance may take off it, from 0 to 1; raises InvalidCacheKey."""
    if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter < 1:
        raise InvalidCacheKey(f"Jitter is a part of the time to live, from 0 to below 1, not {_shown(jitter)}.")
    return float(jitter)


def escape_key(value: object) -> str:
    """An id as a part of a key, a tag or a pattern: of two different ids of one type never the same, and no wildcard.

    All but letters and digits of ASCII, spaces and `_.-~@+` is percent-encoded (RFC 3986), `:` and `*` among it.
    Raises InvalidCacheKey for a value that has no text of its own, such as a list.
    """
    return part_of(value)[0]


def part_of(value: object) -> tuple[str, str]:
    """A value as a part of a key, and a letter for its type, so that "1" and 1 can be told apart."""
    if isinstance(value, Enum):
        part, letter = part_of(value.value)
        # One that is a text or number itself equals that.
        return part, letter if isinstance(value, str | int) else f"e{letter}"
    known = _KINDS.get(type(value))
    if known is None:
        raise InvalidCacheKey(f"A {type(value).__name__} cannot be a part of a key: use a text, a number or an id.")
    letter, spell = known
    return quote(spell(value), _SAFE, "utf-8", "surrogatepass"), letter


def shortened(key: str) -> str:
    """A key of any length as one that can be kept: its beginning, and a digest of the whole."""
    if len(key) <= KEY_LENGTH:
        return key
    # No part that was escaped has a `%h`.
    return f"{key[:_HEAD]}%h{hashlib.sha256(key.encode()).hexdigest()}"


def matcher(pattern: str) -> Callable[[str], object]:
    """What tells whether a key fits a pattern."""
    return re.compile(".*".join(map(re.escape, pattern.split("*"))), re.DOTALL).fullmatch


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _spell_float(value: Any) -> str:
    if not math.isfinite(value):
        raise InvalidCacheKey(f"{value} cannot be a part of a key.")
    return repr(value)


_KINDS: dict[type, tuple[str, Callable[[Any], str]]] = {
    str: ("s", str),
    int: ("i", str),
    bool: ("b", str),
    type(None): ("n", str),
    UUID: ("u", str),
    float: ("f", _spell_float),
    Decimal: ("d", str),
    datetime: ("t", datetime.isoformat),
    date: ("a", date.isoformat),
}
