"""When a task with a schedule runs next. In a skipped hour it runs right after the gap, in a doubled one once."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError


def check_cron(expression: Any, timezone: Any) -> Iterator[str]:
    """What is wrong with a schedule."""
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        yield f"there is no time zone {timezone!r}; use a name such as Europe/Zurich"
        return
    if not isinstance(expression, str) or len(expression.split()) != 5:
        yield f"cron {expression!r}: five fields are minute, hour, day, month and day of week"
        return
    try:
        next(CronSim(expression, datetime.now(ZoneInfo(timezone))))
    except (CronSimError, StopIteration):
        yield f"cron {expression!r} is no schedule, or names no day that comes"


def next_time(expression: str, timezone: str, after: datetime) -> datetime:
    """The first instant of the schedule after `after`, in UTC."""
    return _next_time(expression, timezone, after.astimezone(_zone(timezone)).replace(microsecond=0)).astimezone(UTC)


def _next_time(expression: str, timezone: str, after: datetime) -> datetime:
    instant: datetime = next(CronSim(expression, after))
    return instant


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)
