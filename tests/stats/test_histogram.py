"""Quantiles from buckets: how far off they are, whatever the durations."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_kernel.stats.histogram import ERROR, LAST_BUCKET, SMALLEST, add, bucket_of, from_text, quantile, to_text

durations = st.lists(st.floats(min_value=SMALLEST, max_value=3600), min_size=1, max_size=200)


def exact(values: list[float], share: float) -> float:
    """The smallest of the values that this share of them do not exceed."""
    ordered = sorted(values)
    return next(value for at, value in enumerate(ordered, 1) if at >= share * len(ordered))


def histogram(values: list[float]) -> dict[int, int]:
    buckets: dict[int, int] = {}
    for value in values:
        add(buckets, {bucket_of(value): 1})
    return buckets


@given(durations, st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_a_quantile_is_at_most_five_percent_off(values: list[float], share: float) -> None:
    found, wanted = quantile(histogram(values), share), exact(values, share)
    assert abs(found - wanted) <= (ERROR + 1e-9) * wanted
    assert ERROR < 0.05


@given(durations, durations)
def test_added_histograms_are_the_histogram_of_all(one: list[float], other: list[float]) -> None:
    both = histogram(one)
    add(both, histogram(other))
    assert both == histogram(one + other)
    assert from_text(to_text(both)) == both


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e-9, SMALLEST])
def test_what_is_too_short_to_tell_falls_into_the_first_bucket(seconds: float) -> None:
    assert bucket_of(seconds) == 0


@pytest.mark.parametrize("seconds", [1e6, 1e9])
def test_what_takes_days_falls_into_the_last_one(seconds: float) -> None:
    assert bucket_of(seconds) == LAST_BUCKET


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) == 0.0
    assert from_text(None) == from_text("") == {}


def test_a_long_tail_is_found() -> None:
    chance = random.Random(7)
    values = [chance.lognormvariate(-5, 1.5) for _ in range(20_000)]
    buckets = histogram(values)
    for share in (0.5, 0.95, 0.99):
        assert quantile(buckets, share) == pytest.approx(exact(values, share), rel=ERROR)
