"""When a schedule runs next, and which schedules there can be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app_kernel import ConfigurationError, JobRegistry
from app_kernel.jobs.cron import check_cron, next_time


async def handler() -> None:
    """Does nothing."""


def times(expression: str, timezone: str, after: str, count: int) -> list[str]:
    """The next instants in UTC, as short text."""
    at, found = datetime.fromisoformat(after), []
    for _ in range(count):
        at = next_time(expression, timezone, at)
        assert at.tzinfo is UTC
        found.append(at.strftime("%m-%dT%H:%M"))
    return found


@pytest.mark.parametrize(
    "expression",
    ["* * * * *", "*/5 * * * *", "0 0 1 1 *", "0 12 * * MON-FRI", "5,35 8-18/2 * * 1-5", "0 0 29 2 *", " 1  2 3 4 5 "],
)
def test_a_schedule_of_crontab_is_taken(expression: str) -> None:
    assert list(check_cron(expression, "UTC")) == []


@pytest.mark.parametrize(
    "expression",
    ["", "*", "* * * *", "* * * * * *", "@daily", "60 * * * *", "* 24 * * *", "0 0 30 2 *", "a b c d e", "*/0 * * * *",
     "0 0 0 * *", "-1 * * * *", "0 0 * * * ; rm", "\0 * * * *", 5, b"* * * * *", ["*"] * 5, True],
)  # fmt: skip
def test_anything_else_is_refused_and_named(expression: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JobRegistry().register("tidy", handler, cron=expression)
    (problem,) = caught.value.problems
    assert problem.startswith(f"task tidy: cron {expression!r}")


@pytest.mark.parametrize("timezone", ["", "Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "a\0b", 5, None])
def test_a_time_zone_that_does_not_exist_is_refused(timezone: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JobRegistry().register("tidy", handler, cron="* * * * *", timezone=timezone)
    assert caught.value.problems == (
        f"task tidy: there is no time zone {timezone!r}; use a name such as Europe/Zurich",
    )


def test_a_time_that_is_reached_exactly_is_the_next_ones_past() -> None:
    assert times("*/15 * * * *", "UTC", "2026-01-01T00:00:00+00:00", 2) == ["01-01T00:15", "01-01T00:30"]
    assert times("*/15 * * * *", "UTC", "2026-01-01T00:14:59.999999+00:00", 1) == ["01-01T00:15"]
    assert times("*/15 * * * *", "UTC", "2026-01-01T00:15:00.000001+00:00", 1) == ["01-01T00:30"]


def test_a_daily_time_keeps_its_place_on_the_clock_of_its_zone() -> None:
    spring = times("30 9 * * *", "Europe/Zurich", "2026-03-27T12:00:00+00:00", 3)
    assert spring == ["03-28T08:30", "03-29T07:30", "03-30T07:30"]


@pytest.mark.acceptance("JB6")
def test_in_a_skipped_hour_it_runs_once_right_after_the_gap() -> None:
    # On 29 March 2026 at 2:00 clocks in Zurich went to 3:00, which is 01:00 UTC.
    assert times("30 2 * * *", "Europe/Zurich", "2026-03-28T12:00:00+00:00", 3) == [
        "03-29T01:00", "03-30T00:30", "03-31T00:30",
    ]  # fmt: skip


@pytest.mark.acceptance("JB6")
def test_in_a_doubled_hour_it_runs_once() -> None:
    # On 25 October 2026 the hour from 2:00 to 3:00 came twice in Zurich, from 00:00 and from 01:00 UTC.
    found = times("30 2 * * *", "Europe/Zurich", "2026-10-24T12:00:00+00:00", 3)
    assert found == ["10-25T00:30", "10-26T01:30", "10-27T01:30"]


def test_what_runs_every_few_minutes_goes_on_through_both_changes() -> None:
    for begin in ("2026-03-28T23:00:00+00:00", "2026-10-24T23:00:00+00:00"):
        at = datetime.fromisoformat(begin)
        for _ in range(20):
            following = next_time("*/15 * * * *", "Europe/Zurich", at)
            assert following - at == timedelta(minutes=15)
            at = following


def test_the_leap_day_is_found_years_ahead() -> None:
    assert next_time("0 0 29 2 *", "UTC", datetime(2026, 3, 1, tzinfo=UTC)) == datetime(2028, 2, 29, tzinfo=UTC)
