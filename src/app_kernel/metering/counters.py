"""From what was counted to the counters that it moves: totals for each period, and parts by endpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

import orjson

from app_kernel.core.outbox import Message
from app_kernel.metering.counting import LONGEST
from app_kernel.metering.periods import GRAINS, is_day

APP, WORKSPACE, USER, MEMBER = "app", "workspace", "user", "member"
"""Totals: of everything, of a workspace, of a user wherever they were, and of a user in a workspace."""
APP_ENDPOINT, WORKSPACE_ENDPOINT, MEMBER_ENDPOINT = "app_endpoint", "workspace_endpoint", "member_endpoint"
"""Parts by endpoint; of a user by day alone, also of one in no workspace."""
SHORT_LIVED = (MEMBER, APP_ENDPOINT, WORKSPACE_ENDPOINT, MEMBER_ENDPOINT)
"""What is kept for `metering_detail_days`."""
LARGEST = 2**63 - 1

Counter: TypeAlias = tuple[str, str, str | None, str | None, str, str, str | None]
"""app, scope, workspace_id, user_id, period, metric, endpoint."""
Sums: TypeAlias = dict[Counter, list[int]]
"""By counter: the amount, and how much of it was reserved."""

_YEAR, _MONTH = GRAINS["year"], GRAINS["month"]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose usage it is: a workspace's, a user's, a user's in a workspace, or the whole app's."""

    app: str
    workspace_id: str | None = None
    user_id: str | None = None

    @property
    def scope(self) -> str:
        """The scope of its totals."""
        if self.workspace_id is None:
            return APP if self.user_id is None else USER
        return WORKSPACE if self.user_id is None else MEMBER

    @property
    def parts(self) -> str:
        """The scope of its parts by endpoint."""
        if self.user_id is not None:
            return MEMBER_ENDPOINT
        return APP_ENDPOINT if self.workspace_id is None else WORKSPACE_ENDPOINT

    def counter(self, period: str, metric: str) -> Counter:
        """Its total of a metric in a period."""
        return (self.app, self.scope, self.workspace_id, self.user_id, period, metric, None)


def counter_id(counter: Counter) -> str:
    """The id of a counter's row: the same for the same counter, of others another one.

    The period comes first, so that what is written at one time lies together.
    """
    return f"{counter[4]}:{blake2b(orjson.dumps(counter), digest_size=16).hexdigest()}"


def add_message(sums: Sums, message: Message) -> None:
    """Adds what a message counts to the sums; raises ValueError for one that is none of metering's."""
    app, counts = message.body.get("app"), message.body.get("counts")
    if not isinstance(app, str) or not _is_text(app) or not isinstance(counts, list):
        raise ValueError("no message of metering")
    for count in counts:
        if not _is_count(count):
            raise ValueError("no count of metering")
        _add(sums, app, count)


def _add(sums: Sums, app: str, count: Mapping[str, Any]) -> None:
    reserved = count.get("reserved")
    moved = [
        (scope, workspace_id, user_id, period, endpoint)
        for scope, workspace_id, user_id, endpoint, periods in _moved_by(count)
        for period in periods
    ]
    for metric, amount in count["metrics"].items():
        for scope, workspace_id, user_id, period, endpoint in moved:
            counter = (app, scope, workspace_id, user_id, period, metric, endpoint)
            sum_of = sums.get(counter)
            if sum_of is None:
                sum_of = sums[counter] = [0, 0]
            sum_of[0] += amount
            if reserved is not None and reserved == [scope, period]:
                sum_of[1] += amount


_Moved: TypeAlias = tuple[str, str | None, str | None, str | None, tuple[str, ...]]
"""scope, workspace_id, user_id, endpoint, and the periods."""


def _moved_by(count: Mapping[str, Any]) -> Iterator[_Moved]:
    day, workspace_id, user_id = count["day"], count.get("workspace_id"), count.get("user_id")
    endpoint = count.get("endpoint")
    periods = (day[:_YEAR], day[:_MONTH], day)
    yield APP, None, None, None, periods
    if workspace_id is not None:
        yield WORKSPACE, workspace_id, None, None, periods
    if user_id is not None:
        yield USER, None, user_id, None, periods
        if workspace_id is not None:
            yield MEMBER, workspace_id, user_id, None, periods
    if endpoint is not None:
        yield APP_ENDPOINT, None, None, endpoint, periods[1:]
        if workspace_id is not None:
            yield WORKSPACE_ENDPOINT, workspace_id, None, endpoint, periods[1:]
        if user_id is not None:
            yield MEMBER_ENDPOINT, workspace_id, user_id, endpoint, periods[2:]


def _is_count(count: Any) -> bool:
    if not isinstance(count, dict) or not is_day(count.get("day")):
        return False
    metrics = count.get("metrics")
    return (
        isinstance(metrics, Mapping)
        and all(_is_text(name) and type(amount) is int and amount >= 0 for name, amount in metrics.items())
        and all(count.get(name) is None or _is_text(count[name]) for name in ("workspace_id", "user_id", "endpoint"))
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 2 * LONGEST
