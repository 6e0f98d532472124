"""Names of entities and fields, and ids: checked before any SQL exists."""

import re
from functools import lru_cache
from typing import Any
from uuid import UUID

from app_kernel.core.errors import InvalidName, ReservedName, UnsupportedValue
from app_kernel.db.kinds import INT64_MAX, INT64_MIN, Kind, check_text
from app_kernel.db.table import HISTORY_SUFFIX

MAX_ENTITY_NAME = 55
"""Bytes; with `_history` behind it, a name still fits the 63 that PostgreSQL keeps."""
MAX_FIELD_NAME = 63
MAX_ID = 191
"""Characters; what an index of MySQL holds in four bytes each."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POSTGRES_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
_SQLITE_ROW_NUMBERS = frozenset({"rowid", "oid"})
"""SQLite adds no column of these names, nor of `_rowid_`, which begins with an underscore anyway."""


def check_entity_name(name: Any, *, writing: bool = False, privileged: bool = False) -> None:
    """Refuses what no table may be called, and the kernel's own tables unless `privileged`; raises InvalidName."""
    if type(name) is not str:
        advice = "; save an instance of the class, or a dict under a name" if isinstance(name, type) else ""
        raise InvalidName(f"An entity name is text, not {type(name).__name__}{advice}.")
    _check_entity_name(name, writing, privileged)


def is_kernel_name(name: str) -> bool:
    """Whether an entity of this name, or its history, is one of the kernel's own."""
    # The history of an entity named kernel would begin with kernel_, too.
    return f"{name.lower()}_".startswith("kernel_")


def check_field_name(name: Any) -> None:
    """Refuses what no field of an application may be called; raises InvalidName."""
    if type(name) is not str:
        raise InvalidName(f"A field name is text, not {type(name).__name__}.")
    _check_field_name(name)


@lru_cache(maxsize=4096)
def _check_entity_name(name: str, writing: bool, privileged: bool) -> None:
    history = name.lower().endswith(HISTORY_SUFFIX)
    longest = MAX_FIELD_NAME if history and not writing else MAX_ENTITY_NAME
    _check_name("entity", name, longest)
    lower = name.lower()
    if lower == "sqlite":
        raise InvalidName(f"{name!r} cannot be the name of an entity: SQLite keeps {name}_history for itself.")
    if is_kernel_name(name) and not privileged:
        raise ReservedName(f"Entity names that begin with kernel_ belong to the kernel: {name!r}.")
    if history and writing:
        raise ReservedName(f"{name!r} is a history: it is written by the store alone.")


@lru_cache(maxsize=16384)
def _check_field_name(name: str) -> None:
    _check_name("field", name, MAX_FIELD_NAME)
    if name.lower() in _SQLITE_ROW_NUMBERS:
        raise InvalidName(f"{name!r} is a name that a database keeps for itself.")
    if name.startswith("_"):
        raise ReservedName(f"Field names that begin with an underscore belong to the kernel: {name!r}.")


def _check_name(what: str, name: str, longest: int) -> None:
    if _NAME.fullmatch(name) is None:
        shown = repr(name[:60])
        raise InvalidName(f"{shown} is no {what} name: a letter or underscore, then letters, digits and underscores.")
    if len(name) > longest:
        raise InvalidName(f"The {what} name {name[:40]!r}... is longer than {longest} characters.")
    lower = name.lower()
    if lower.startswith("sqlite_") or lower in _POSTGRES_SYSTEM_COLUMNS:
        raise InvalidName(f"{name!r} is a name that a database keeps for itself.")


def check_case(what: str, name: str, known: Any) -> None:
    """Refuses a name that differs from a known one only in case; raises InvalidName."""
    lower = name.lower()
    for other in known:
        if other.lower() == lower and other != name:
            raise InvalidName(f"The {what} name {name!r} differs from the existing {other!r} only in case.")


def check_id(value: Any, kind: Kind) -> Any:
    """An id as it is stored; raises UnsupportedValue when it cannot be one."""
    if kind is Kind.INT:
        number = read_id(value, kind)
        if number is None:
            raise UnsupportedValue("[id]: this table has whole numbers as ids.")
        return number
    if type(value) is not str:
        raise UnsupportedValue(f"[id]: an id is text, not {type(value).__name__}.")
    if not 1 <= len(value) <= MAX_ID:
        raise UnsupportedValue(f"[id]: an id has 1 to {MAX_ID} characters.")
    check_text("id", value)
    return value


def read_id(value: Any, kind: Kind) -> Any:
    """An id to look for, given as text, int or UUID; None when no row can have it."""
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        return None
    if isinstance(value, int) and not INT64_MIN <= value <= INT64_MAX:
        return None
    text = str.__str__(value) if isinstance(value, str) else str(value)
    if kind is Kind.INT:
        number = int(text) if len(text) <= 20 and re.fullmatch(r"-?[0-9]+", text) else None
        return number if number is not None and INT64_MIN <= number <= INT64_MAX else None
    try:
        check_text("id", text)
    except UnsupportedValue:
        return None
    return text
