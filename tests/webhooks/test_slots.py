"""Whose turn it is: one request to a webhook that has not answered yet or fails, four to one that does well."""

from app_kernel.webhooks.schedule import (
    HOLD_BACK,
    HOLD_BACK_FAILING,
    MAX_ATTEMPTS,
    WAITS,
    hold_back,
    scaled,
    wait_after,
)
from app_kernel.webhooks.slots import MOST_AT_ONCE, MOST_KNOWN, Slots


def test_a_webhook_that_has_not_answered_yet_has_one_turn_and_then_four():
    slots = Slots(10)
    assert slots.take("a", failing=False)
    assert not slots.take("a", failing=False)
    assert slots.take("b", failing=False)
    slots.give_back("a", failing=False, delivered=True)
    assert [slots.take("a", failing=False) for _ in range(5)] == [True] * MOST_AT_ONCE + [False]
    for _ in range(MOST_AT_ONCE):
        slots.give_back("a", failing=False, delivered=False)
    assert [slots.take("a", failing=False) for _ in range(2)] == [True, False]


def test_failing_webhooks_have_half_of_the_places_together():
    slots = Slots(10)
    taken = [name for name in "abcdefgh" if slots.take(name, failing=True)]
    assert taken == list("abcde")
    assert not slots.take("a", failing=True)
    assert slots.take("well", failing=False)
    slots.give_back("c", failing=True, delivered=False)
    assert slots.take("h", failing=True)
    assert Slots(1).take("a", failing=True)


def test_what_is_known_of_webhooks_is_bounded_and_nothing_is_left_over():
    slots = Slots(10)
    for number in range(MOST_KNOWN + 50):
        name = str(number)
        assert slots.take(name, failing=number % 2 == 0)
        slots.give_back(name, failing=number % 2 == 0, delivered=True)
    assert len(slots._proven) == MOST_KNOWN
    assert not slots._held
    assert not slots._failing


def test_waits_grow_and_are_scattered_and_the_last_attempt_has_none():
    first = {wait_after(1) for _ in range(200)}
    assert len(first) > 100
    assert all(wait is not None and 4.5 <= wait <= 5.5 for wait in first)
    assert wait_after(MAX_ATTEMPTS) is None
    assert sum(WAITS) * 0.9 >= 24 * 3600
    with scaled(0.001):
        short = wait_after(7)
        assert short is not None
        assert 32 <= short <= 40
    for failing, (least, most) in ((False, HOLD_BACK), (True, HOLD_BACK_FAILING)):
        assert all(least / 2 <= hold_back(0, failing=failing) <= least for _ in range(50))
        assert all(most / 2 <= hold_back(times, failing=failing) <= most for times in (30, 1000))
