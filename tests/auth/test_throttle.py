from datetime import UTC, datetime, timedelta

import pytest

from app_kernel.auth.throttle import network_of, seconds_until_free, window_around

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:aaaa:bbbb:cccc:dddd", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", None),
        ("unix socket", None),
        (None, None),
    ],
)
def test_failures_count_for_the_subscriber_behind_an_address(address, network):
    assert network_of(address) == network


@pytest.mark.parametrize(("age", "seconds"), [(0, 60), (0.5, 60), (30, 31), (59.9, 1), (60, 1), (3600, 1), (-3600, 60)])
def test_the_wait_is_whole_seconds_and_never_negative(age, seconds):
    assert seconds_until_free(NOW - timedelta(seconds=age), NOW) == seconds


def test_a_clock_that_jumped_ahead_locks_nobody_for_longer_than_a_window():
    first, last = window_around(NOW)
    assert not first <= NOW + timedelta(hours=1) <= last
    assert first <= NOW <= last
