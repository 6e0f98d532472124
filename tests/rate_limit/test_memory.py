"""The limiter of one process: what it keeps is bounded, and who pushes out whom."""

from datetime import UTC, datetime

from app_kernel.core.clock import frozen
from app_kernel.rate_limit.memory import MemoryLimiter

START = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_no_more_buckets_are_kept_than_fit() -> None:
    memory = MemoryLimiter(capacity=50)
    for number in range(500):
        memory.hit(f"address:{number}", 1, 60)
    assert len(memory) == 50
    assert not memory.hit("address:499", 1, 60).allowed


def test_addresses_push_out_other_addresses_and_no_user() -> None:
    memory = MemoryLimiter(capacity=50)
    memory.hit("user:ada", 1, 60)
    memory.hit("address:first", 1, 60)
    for number in range(500):
        memory.hit(f"address:{number}", 1, 60)
    assert not memory.hit("user:ada", 1, 60).allowed
    assert memory.hit("address:first", 1, 60).allowed


def test_the_bucket_that_was_hit_the_longest_ago_goes_first() -> None:
    memory = MemoryLimiter(capacity=3)
    for name in ("a", "b", "c", "a", "d"):
        memory.hit(f"address:{name}", 2, 60)
    assert not memory.hit("address:a", 2, 60).allowed
    assert memory.hit("address:b", 2, 60).remaining == 1


def test_a_refused_hit_keeps_no_bucket_alive() -> None:
    memory = MemoryLimiter(capacity=2)
    memory.hit("address:a", 1, 60)
    memory.hit("address:b", 1, 60)
    assert not memory.hit("address:a", 1, 60).allowed
    memory.hit("address:c", 1, 60)
    assert not memory.hit("address:b", 1, 60).allowed


def test_buckets_that_have_ended_leave_while_others_come() -> None:
    memory = MemoryLimiter()
    with frozen(START) as clock:
        for number in range(300):
            memory.hit(f"address:{number}", 5, 60)
        clock.advance(61)
        for number in range(1000, 1160):
            memory.hit(f"address:{number}", 5, 60)
        assert len(memory) == 160


def test_windows_of_one_bucket_are_apart() -> None:
    memory = MemoryLimiter()
    with frozen(START) as clock:
        assert memory.hit("user:ada", 1, 10).allowed
        assert memory.hit("user:ada", 1, 3600).allowed
        clock.advance(10)
        assert memory.hit("user:ada", 1, 10).allowed
        assert not memory.hit("user:ada", 1, 3600).allowed


def test_a_look_counts_nothing() -> None:
    memory = MemoryLimiter()
    assert memory.refusal("user:ada", 1, 60) is None
    assert memory.refusal("user:ada", 1, 60) is None
    memory.note("user:ada", 1, 60)
    refusal = memory.refusal("user:ada", 1, 60)
    assert refusal is not None
    assert (refusal.allowed, refusal.remaining, refusal.limit, refusal.window) == (False, 0, 1, 60)
