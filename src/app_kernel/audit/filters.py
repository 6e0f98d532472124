"""What the audit log can be asked for: a where clause made of checked values, and places in a long list."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypedDict

import orjson

from app_kernel.audit.trail import check_app
from app_kernel.core import clock
from app_kernel.core.errors import InvalidAuditEvent

MOST_ACTIONS = 50
LONGEST_TEXT = 500
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z")
_unstorable = re.compile(r"[\x00\ud800-\udfff]").search

Instant = str | date | datetime


class Filters(TypedDict, total=False):
    """Which entries; those that are given must all hold. None asks for nothing."""

    entity: str | None
    entity_id: Any
    user_id: str | None
    action: str | Sequence[str] | None
    """One or several; `auth.*` for all that begin so."""
    workspace_id: str | None
    api_key_id: str | None
    job_id: str | None
    request_id: str | None
    trace_id: str | None
    since: Instant | None
    """From this instant on: a date (in UTC), ISO 8601 text (in UTC unless it says otherwise), or an aware datetime."""
    until: Instant | None
    """Before this instant; a date counts as a whole day."""


Where = tuple[str, list[Any]]

_EQUAL = ("entity", "entity_id", "user_id", "workspace_id", "api_key_id", "job_id", "request_id", "trace_id")


def where_of(app: str, filters: Filters) -> Where:
    """The clause and its values; raises InvalidAuditEvent for a value that no entry can have."""
    if unknown := filters.keys() - Filters.__annotations__.keys():
        raise TypeError(f"the audit log cannot be asked for {', '.join(sorted(unknown))}")
    clauses, params = ["[app] = ?"], [check_app(app)]
    for name in _EQUAL:
        value: Any = filters.get(name)
        if value is not None:
            clauses.append(f"[{name}] = ?")
            params.append(_text(name, str(value) if name == "entity_id" else value))
    for clause, value in (_actions(filters.get("action")), _since(filters), _until(filters)):
        if clause:
            clauses.append(clause)
            params += value
    return " AND ".join(clauses), params


def after_place(where: Where, cursor: str | None, *, newest_first: bool) -> Where:
    """The same, behind the place that a cursor names; raises InvalidAuditEvent for what is none."""
    if cursor is None:
        return where
    at, id = _place(cursor)
    sign = "<" if newest_first else ">"
    # The first condition is one that an index is searched by.
    clause = f"{where[0]} AND [timestamp] {sign}= ? AND ([timestamp] {sign} ? OR [id] {sign} ?)"
    return clause, [*where[1], at, at, id]


def cursor_of(entry: dict[str, Any]) -> str:
    """The place of an entry."""
    return urlsafe_b64encode(orjson.dumps([entry["timestamp"], entry["id"]])).rstrip(b"=").decode()


def instant_of(name: str, given: Instant, *, ends: bool = False) -> str:
    """The text of an instant; raises InvalidAuditEvent. With `ends`, a date is the end of that day."""
    try:
        return clock.to_text(_aware(given, ends=ends))
    except (ValueError, TypeError, OverflowError):
        raise InvalidAuditEvent(
            f"{name} is a date such as 2025-01-31, an instant such as 2025-01-31T12:00:00Z, or an aware datetime."
        ) from None


def _aware(given: Any, *, ends: bool) -> datetime:
    if isinstance(given, str):
        given = _date_of(given) or _utc_unless_told(datetime.fromisoformat(given))
    if isinstance(given, datetime):
        if given.tzinfo is None:
            raise ValueError("naive")
        return given
    day = datetime.combine(given, time(), UTC)
    return day + timedelta(days=1) if ends else day


def _date_of(given: str) -> date | None:
    """The date, in whichever of the spellings of ISO 8601; None for a text that is no date alone."""
    try:
        return date.fromisoformat(given)
    except ValueError:
        return None


def _utc_unless_told(instant: datetime) -> datetime:
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant


def _since(filters: Filters) -> Where:
    given = filters.get("since")
    return ("", []) if given is None else ("[timestamp] >= ?", [instant_of("since", given)])


def _until(filters: Filters) -> Where:
    given = filters.get("until")
    return ("", []) if given is None else ("[timestamp] < ?", [instant_of("until", given, ends=True)])


def _actions(given: str | Sequence[str] | None) -> Where:
    if given is None:
        return "", []
    asked = [given] if isinstance(given, str) else list(given)
    if len(asked) > MOST_ACTIONS:
        raise InvalidAuditEvent(f"At most {MOST_ACTIONS} actions can be asked for at once.")
    names = [_text("action", name) for name in asked]
    exact = [name for name in names if not name.endswith("*")]
    begun = [name[:-1] for name in names if name.endswith("*")]
    clauses = ["[action] IN (?)"] if exact or not begun else []
    clauses += ["[action] LIKE ?"] * len(begun)
    params: list[Any] = [exact] if exact or not begun else []
    params += [re.sub(r"([\\%_])", r"\\\1", each) + "%" for each in begun]
    return f"({' OR '.join(clauses)})", params


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or _unstorable(value):
        raise InvalidAuditEvent(f"{name} is a text of at most {LONGEST_TEXT} characters.")
    return value


def _place(cursor: Any) -> tuple[str, str]:
    try:
        at, id = orjson.loads(urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4)))
    except (ValueError, TypeError, AttributeError):
        raise InvalidAuditEvent("This cursor is none that a page ended with.") from None
    if not (isinstance(at, str) and _INSTANT.fullmatch(at) and isinstance(id, str)):
        raise InvalidAuditEvent("This cursor is none that a page ended with.")
    return at, _text("cursor", id)
