"""What a flag may be called and have: checked before anything is written."""

import re
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any

from app_kernel.core.errors import InvalidFlag
from app_kernel.flags.rollout import subject_of, to_hundredths

MAX_NAME = 100
MAX_LISTED = 1000
"""Users, and as many workspaces, that a flag may list; each is kept in memory by every process."""
MAX_ID = 191
"""Characters of an id, as in the store."""
MAX_DESCRIPTION = 1000
RESERVED = frozenset({"check", "unused"})
"""Names that are taken by routes under /flags."""

_is_name = re.compile(rf"[A-Za-z0-9][A-Za-z0-9_.:-]{{0,{MAX_NAME - 1}}}").fullmatch
_unprintable = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]").search
_unprintable_in_text = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]").search


def check_flag_name(name: Any) -> str:
    """Gives the name back; raises InvalidFlag for what no flag can be called."""
    if not isinstance(name, str) or not _is_name(name):
        raise InvalidFlag(
            f"The name of a flag is 1 to {MAX_NAME} letters, digits and _ . : - and begins with a letter or digit."
        )
    if name in RESERVED:
        raise InvalidFlag(f"No flag can be called {name!r}: GET /flags/{name} is another route.")
    # Of a text subclass, such as a member of an enumeration, the plain text.
    return str.__str__(name)


def checked_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a flag that were given, as they are kept; raises InvalidFlag for what a flag cannot have."""
    checks: dict[str, Callable[[Any], Any]] = {
        "enabled": _enabled,
        "rollout_percent": _percent,
        "workspaces": lambda value: _ids("workspaces", value),
        "users": lambda value: _ids("users", value),
        "description": _description,
    }
    return {field: checks[field](value) for field, value in given.items()}


def _enabled(value: Any) -> bool:
    if type(value) is not bool:
        raise InvalidFlag("`enabled` is True or False.")
    return value


def _percent(value: Any) -> float:
    is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    # Of a Decimal that is no number, not even a comparison can be made.
    if not is_number or (isinstance(value, Decimal) and value.is_nan()) or not 0 <= value <= 100:
        raise InvalidFlag("`rollout_percent` is a number from 0 to 100.")
    percent = to_hundredths(float(value)) / 100
    if abs(percent - float(value)) > 1e-9:
        raise InvalidFlag("`rollout_percent` has two decimals at most: its least step is 0.01.")
    return percent


def _ids(field: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple | set | frozenset) or len(value) > MAX_LISTED:
        raise InvalidFlag(f"`{field}` is a list of at most {MAX_LISTED} ids.")
    ids = [_id(field, each) for each in value]
    return list(dict.fromkeys(sorted(ids) if isinstance(value, set | frozenset) else ids))


def _id(field: str, value: Any) -> str:
    text = subject_of(value)
    if text is None or len(text) > MAX_ID or _unprintable(text):
        raise InvalidFlag(f"Each of `{field}` is an id of 1 to {MAX_ID} printable characters.")
    return text


def _description(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_DESCRIPTION or _unprintable_in_text(value):
        raise InvalidFlag(f"`description` is text of at most {MAX_DESCRIPTION} printable characters.")
    return value


def check_names(names: Any) -> Collection[str]:
    """Names to evaluate, each once, in their order; raises InvalidFlag."""
    if isinstance(names, str) or not isinstance(names, Collection):
        raise InvalidFlag("The names of flags are a list, or None for all of them.")
    return dict.fromkeys(check_flag_name(name) for name in names)
