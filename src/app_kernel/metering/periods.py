"""Periods of usage: a day, a month or a year of UTC, as `2025-01-15`, `2025-01` or `2025`."""

import re
from datetime import date
from typing import Any, Literal, TypeAlias

from app_kernel.core import clock
from app_kernel.core.errors import InvalidUsage

Grain: TypeAlias = Literal["day", "month", "year"]

GRAINS: dict[str, int] = {"year": 4, "month": 7, "day": 10}
"""How many characters of a day name the period that it is in."""

Periods: TypeAlias = tuple[str, str, int]
"""The first and the last of some periods, and the length of the name of each."""

_match = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII).fullmatch


def today() -> str:
    """The day that it is now, such as 2025-01-15."""
    return clock.timestamp()[:10]


def period_of(day: str, grain: Any) -> str:
    """The day, month or year that a day is in; raises InvalidUsage for another grain."""
    if not isinstance(grain, str) or grain not in GRAINS:
        raise InvalidUsage('The period of a limit is "day", "month" or "year".')
    return day[: GRAINS[grain]]


def check_period(period: Any) -> str:
    """The period as given, or the current month for None; raises InvalidUsage for what names none."""
    if period is None:
        return period_of(today(), "month")
    found = _match(period) if isinstance(period, str) else None
    if found is not None:
        year, month, day = found.groups(default="1")
        try:
            date(int(year), int(month), int(day))
        except ValueError:
            pass
        else:
            return str(period)
    raise InvalidUsage("A period is a year, a month or a day of UTC: 2025, 2025-01 or 2025-01-15.")


def is_day(text: Any) -> bool:
    """Whether a text names a day."""
    try:
        return isinstance(text, str) and len(text) == GRAINS["day"] and check_period(text) == text
    except InvalidUsage:
        return False


def days_of(period: str) -> Periods:
    """The days of a period."""
    return (*_ends(period), GRAINS["day"])


def months_of(period: str) -> Periods:
    """The months of a year; of a shorter period that one itself."""
    first, last = (end[: GRAINS["month"]] for end in _ends(period))
    return (first, last, GRAINS["month"]) if len(period) == GRAINS["year"] else itself(period)


def itself(period: str) -> Periods:
    """A period alone."""
    return (period, period, len(period))


def _ends(period: str) -> tuple[str, str]:
    # The last day need not exist: no day of the period sorts after it.
    known = len(period) - GRAINS["year"]
    return period + "-01-01"[known:], period + "-12-31"[known:]
