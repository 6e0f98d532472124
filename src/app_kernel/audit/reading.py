"""Reading the audit log: page by page, counted, or exported as a whole."""

import csv
import io
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Literal, Unpack

import orjson

from app_kernel.audit import store
from app_kernel.audit.filters import Filters, after_place, cursor_of, instant_of, where_of
from app_kernel.core import clock
from app_kernel.core.current import is_app_database
from app_kernel.core.errors import AuditError, InvalidAuditEvent
from app_kernel.core.ports import EntityStore

MOST_LISTED = 1000
EXPORTED_AT_ONCE = 100

Order = Literal["desc", "asc"]
Format = Literal["csv", "json"]
Row = dict[str, Any]

_FIELDS = ("timestamp", *(name for name in store.COLUMNS if name != "timestamp"))
# What spreadsheets take for the beginning of a formula (OWASP, CSV injection), some of them in full width too.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A part of the audit log."""

    entries: list[Row]
    next_cursor: str | None
    """What asks for the part behind it; None when there is nothing."""


async def get_audit_logs(
    admin_db: EntityStore,
    *,
    app: str,
    limit: int = 100,
    cursor: str | None = None,
    order: Order = "desc",
    **filters: Unpack[Filters],
) -> list[Row]:
    """The entries of an app that match all filters, the newest first: dicts with action, entity, entity_id, changes
    (field to [old, new]), user_id, timestamp and the rest.

    Filters are entity, entity_id, user_id, action (one or a list; `auth.*` for all that begin so), workspace_id,
    api_key_id, job_id, request_id, trace_id, since and until (dates, ISO 8601 text or aware datetimes; a date as
    `until` counts whole). `limit` is 1 to 1000; see `find_audit_logs` for more. Raises InvalidAuditEvent,
    and AuditError for a handle of the app database.
    """
    page = await find_audit_logs(admin_db, app=app, limit=limit, cursor=cursor, order=order, **filters)
    return page.entries


async def find_audit_logs(
    admin_db: EntityStore,
    *,
    app: str,
    limit: int = 100,
    cursor: str | None = None,
    order: Order = "desc",
    **filters: Unpack[Filters],
) -> AuditPage:
    """The same with the cursor of the next page; entries that arrive meanwhile move nothing."""
    _check_database(admin_db)
    if type(limit) is not int or not 1 <= limit <= MOST_LISTED:
        raise InvalidAuditEvent(f"limit is a number from 1 to {MOST_LISTED}.")
    if order not in {"desc", "asc"}:
        raise InvalidAuditEvent("order is desc, the newest first, or asc.")
    newest_first = order == "desc"
    clause, params = after_place(where_of(app, filters), cursor, newest_first=newest_first)
    entries = await store.find_entries(admin_db, clause, params, newest_first=newest_first, limit=limit + 1)
    more = len(entries) > limit
    return AuditPage(entries[:limit], cursor_of(entries[limit - 1]) if more else None)


async def count_audit_logs(admin_db: EntityStore, *, app: str, **filters: Unpack[Filters]) -> int:
    """How many entries match; it looks at each of them."""
    _check_database(admin_db)
    return await store.count_entries(admin_db, *where_of(app, filters))


async def list_apps(admin_db: EntityStore) -> list[str]:
    """The names under which there are entries."""
    return await store.list_apps(admin_db)


async def export_audit_logs(
    admin_db: EntityStore,
    *,
    app: str,
    file_format: Format = "csv",
    fields: tuple[str, ...] = _FIELDS,
    shown: Callable[[Row], Row] = dict,
    **filters: Unpack[Filters],
) -> AsyncIterator[str]:
    """The entries that match and are there when it begins, the oldest first, as parts of a text: CSV with a line of
    names, or one JSON object a line.

    `shown` gives an entry as its reader may see it. It holds a part of them in memory at a time. A cell of a CSV that a
    spreadsheet would take for a formula begins with an apostrophe.
    """
    if file_format not in {"csv", "json"}:
        raise InvalidAuditEvent("file_format is csv or json.")
    filters["until"] = _earliest(filters.get("until"))
    if file_format == "csv":
        yield _csv([fields])
    cursor = None
    while True:
        page = await find_audit_logs(admin_db, app=app, limit=EXPORTED_AT_ONCE, cursor=cursor, order="asc", **filters)
        if page.entries:
            yield _written([shown(entry) for entry in page.entries], fields, file_format)
        cursor = page.next_cursor
        if cursor is None:
            return


def _check_database(admin_db: EntityStore) -> None:
    # Nothing is there, which would look as if nothing had happened.
    if is_app_database(admin_db):
        raise AuditError(
            "The audit log is read from the admin database: take Depends(admin_db_connection) or"
            " get_admin_db_connection()."
        )


def _earliest(until: Any) -> str:
    # What happens during the export would let it go on for ever.
    now = clock.timestamp()
    return now if until is None else min(now, instant_of("until", until, ends=True))


def _written(entries: list[Row], fields: tuple[str, ...], file_format: Format) -> str:
    if file_format == "csv":
        return _csv([[_cell(entry[name]) for name in fields] for entry in entries])
    return "".join(
        orjson.dumps({name: entry[name] for name in fields}, option=orjson.OPT_APPEND_NEWLINE).decode()
        for entry in entries
    )


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text
