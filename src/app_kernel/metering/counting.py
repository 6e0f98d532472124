"""What can be counted, and the message that it leaves in."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from app_kernel.core import clock
from app_kernel.core.errors import InvalidUsage
from app_kernel.core.outbox import Message

TOPIC = "admin:metering_events"
"""The outbox topic of usage."""
REQUESTS = "requests"
"""The metric of requests, which count themselves."""
MOST_AT_ONCE = 10**12
"""Of one metric, in one call."""
LONGEST = 191
"""Characters of an id, an endpoint, or the name of an app."""
MOST_METRICS = 50
FUTURE = timedelta(days=1)
"""How far ahead the clock of another machine may be."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

_metric = re.compile(r"[a-z][a-z0-9_.]{0,62}").fullmatch
_unstorable = re.compile(r"[\x00\ud800-\udfff]").search

Count = dict[str, Any]
"""What happened on one day: `day`, `metrics`, and where there is one `workspace_id`, `user_id`, `endpoint` and
`reserved`, the scope and period of the limit that it was reserved against."""


def make_count(
    metrics: Mapping[str, Any],
    *,
    day: str,
    workspace_id: str | None = None,
    user_id: str | None = None,
    endpoint: str | None = None,
    reserved: Sequence[str] | None = None,
) -> Count:
    """A count, with what it has."""
    count: Count = {"day": day, "metrics": dict(metrics)}
    if workspace_id is not None:
        count["workspace_id"] = workspace_id
    if user_id is not None:
        count["user_id"] = user_id
    if endpoint is not None:
        count["endpoint"] = endpoint
    if reserved is not None:
        count["reserved"] = list(reserved)
    return count


def make_message(app: str, counts: Sequence[Count]) -> Message:
    """Counts on their way out."""
    return Message(TOPIC, {"app": app, "counts": list(counts)})


def check_metric(name: Any) -> str:
    """The name of a metric; raises InvalidUsage."""
    if isinstance(name, str) and _metric(name):
        return name
    raise InvalidUsage("A metric is named by 1 to 63 of a-z, 0-9, _ and the dot, a letter first: tokens, disk.bytes.")


def check_amount(metric: str, amount: Any, least: int = 0) -> int:
    """A whole number that can be counted; raises InvalidUsage."""
    if type(amount) is int and least <= amount <= MOST_AT_ONCE:
        return amount
    raise InvalidUsage(
        f"{metric}: a whole number from {least} to {MOST_AT_ONCE} is counted at a time; of seconds or euros with a"
        " fraction, count the milliseconds or cents."
    )


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raises InvalidUsage unless these are metrics with their amounts."""
    if not 1 <= len(metrics) <= MOST_METRICS:
        raise InvalidUsage(f"Count 1 to {MOST_METRICS} metrics at a time, each by its name: tokens=1500.")
    for name, amount in metrics.items():
        check_amount(check_metric(name), amount)


def check_limit(limit: Any) -> int:
    """A limit; raises InvalidUsage."""
    if type(limit) is int and 0 <= limit < 2**63:
        return limit
    raise InvalidUsage("A limit is a whole number from 0 on.")


def check_text(name: str, value: Any) -> str:
    """A text that every database stores; raises InvalidUsage."""
    if isinstance(value, str) and 1 <= len(value) <= LONGEST and not _unstorable(value):
        return value
    raise InvalidUsage(f"{name} is a text of 1 to {LONGEST} characters.")


def check_optional(name: str, value: Any) -> str | None:
    """The same, or None."""
    return None if value is None else check_text(name, value)


def day_of(at: Any) -> str:
    """The UTC day of an instant, of now for None; raises InvalidUsage."""
    if at is None:
        return clock.timestamp()[:10]
    if not isinstance(at, datetime) or at.tzinfo is None:
        raise InvalidUsage("at is an aware datetime: datetime.now(UTC).")
    if not EARLIEST <= at <= clock.now() + FUTURE:
        raise InvalidUsage("at is an instant since 1970 that is not in the future.")
    return clock.to_text(at)[:10]
