"""Seconds that headers tell are whole, and as many as there are."""

import pytest

from app_kernel.core.limits import whole_seconds


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.0, 1), (0.2, 1), (1.0, 1), (1.01, 2), (59.999, 60), (60.0, 60), (60.00000001, 60), (60.1, 61)],
)
def test_seconds_are_rounded_up_but_not_for_a_hair(seconds: float, told: int) -> None:
    assert whole_seconds(seconds) == told
    assert whole_seconds((1_795_868.123 + seconds) - 1_795_868.123) == told
