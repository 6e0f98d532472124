"""Who a flag is on for: pure decisions."""

from enum import Enum
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kernel.core.errors import InvalidFlag
from app_kernel.flags.rollout import ON, Rule, bucket_of, decide, default_percent, explain, rule_of, subject_of

USERS = [f"user-{number}" for number in range(100_000)]


def rule(percent: float = 0, *, enabled: bool = True, users: tuple[str, ...] = (), workspaces: tuple[str, ...] = ()):
    row = {"id": "f", "enabled": enabled, "rollout_percent": percent, "users": list(users)}
    return rule_of({**row, "workspaces": list(workspaces)})


@pytest.mark.acceptance("RL7")
def test_percentages_hold_over_100_000_users_within_half_a_percent_and_grow_monotonously():
    before: set[str] = set()
    buckets = {user: bucket_of("f", "user", user) for user in USERS}
    for percent in (0, 0.01, 1, 10, 33.33, 50, 99, 99.99, 100):
        # The buckets are counted once; that `decide` goes by them is what the last lines show.
        on = {user for user, bucket in buckets.items() if bucket < round(percent * 100)}
        assert abs(len(on) / len(USERS) * 100 - percent) <= 0.5, percent
        assert before <= on, percent
        before = on
        sample = USERS[:2000]
        assert {user for user in sample if decide(rule(percent), user, None) in ON} == on & set(sample)
    assert before == set(USERS)


@pytest.mark.acceptance("RL7")
@pytest.mark.parametrize(("percent", "number"), [(0, 0), (100, 100_000)])
def test_nobody_is_in_0_percent_and_everybody_in_100(percent, number):
    made = rule(percent)
    assert sum(decide(made, user, None) in ON for user in USERS) == number


@pytest.mark.acceptance("RL7")
def test_flags_are_independent_of_each_other_and_users_of_workspaces():
    sample = USERS[:20_000]
    one = {user for user in sample if bucket_of("one", "user", user) < 5000}
    for other in ("two", "onf"):
        both = one & {user for user in sample if bucket_of(other, "user", user) < 5000}
        assert abs(len(both) / len(sample) - 0.25) < 0.015
    both = one & {user for user in sample if bucket_of("one", "workspace", user) < 5000}
    assert abs(len(both) / len(sample) - 0.25) < 0.015


@pytest.mark.acceptance("RL7")
@pytest.mark.parametrize(
    ("name", "kind", "subject", "bucket"),
    [
        ("new_dashboard", "user", "user-456", 2989),
        ("new_dashboard", "workspace", "user-456", 907),
        ("beta", "user", "user-456", 1626),
        ("new_dashboard", "user", "ünï", 980),
    ],
)
def test_a_bucket_is_the_same_for_ever(name, kind, subject, bucket):
    assert bucket_of(name, kind, subject) == bucket


@pytest.mark.parametrize(
    ("made", "user", "workspace", "reason"),
    [
        (None, "u", "w", "unknown"),
        (rule(100, enabled=False, users=("u",)), "u", "w", "disabled"),
        (rule(0, users=("u",)), "u", None, "user_listed"),
        (rule(0, workspaces=("w",)), "x", "w", "workspace_listed"),
        (rule(0, workspaces=("w",)), None, "w", "workspace_listed"),
        (rule(0, users=("w",)), "u", "w", "not_in_rollout"),
        (rule(100), None, None, "everybody"),
        (rule(100, users=("x",)), "u", None, "everybody"),
        (rule(99.99), None, None, "nobody_to_bucket"),
        (rule(0), None, None, "nobody_to_bucket"),
        (rule(0), "user-456", None, "not_in_rollout"),
    ],
)
def test_reasons(made, user, workspace, reason):
    assert decide(made, user, workspace) == reason
    said = explain("f", made, user, workspace)
    assert (said.reason, said.enabled) == (reason, reason in ON)
    assert said.percent == (None if made is None else made.below / 100)
    assert said.bucketed_by == ("user" if user else "workspace" if workspace else None)


def test_the_user_counts_before_the_workspace():
    made = Rule("new_dashboard", True, 2000, frozenset(), frozenset())
    # As a workspace it is in, as a user it is not.
    assert decide(made, None, "user-456") == "rollout"
    assert decide(made, "user-456", "user-456") == "not_in_rollout"
    said = explain("new_dashboard", made, "user-456", "user-456")
    assert (said.bucket, said.bucketed_by, said.percent) == (29.89, "user", 20)
    assert explain("new_dashboard", made, None, "user-456").bucket == 9.07


@settings(max_examples=200, deadline=None)
@given(st.text(), st.text(min_size=1), st.integers(0, 10_000), st.integers(0, 10_000))
def test_whoever_is_in_stays_in_when_the_percentage_grows(name, user, one, other):
    less, more = sorted((one, other))
    smaller = decide(Rule(name, True, less, frozenset(), frozenset()), user, None) in ON
    assert not smaller or decide(Rule(name, True, more, frozenset(), frozenset()), user, None) in ON


def test_the_default_is_everybody_without_lists_and_nobody_else_with_them():
    assert (default_percent([], []), default_percent(["u"], []), default_percent([], ["w"])) == (100, 0, 0)


def test_a_row_that_somebody_broke_lets_nobody_in():
    broken = {"id": "f", "enabled": 1, "rollout_percent": None, "users": "user-1", "workspaces": None}
    assert rule_of(broken) == Rule("f", False, 0, frozenset(), frozenset())


def test_subjects_are_ids():
    given = UUID(int=7)
    assert [subject_of(each) for each in (None, "", "u", 7, given)] == [None, None, "u", "7", str(given)]
    tester = Enum("Tester", {"ADA": "user-1"}, type=str)
    assert subject_of(tester.ADA) == "user-1"
    for wrong in (True, 1.5, b"u", ["u"], object()):
        with pytest.raises(InvalidFlag, match="id of a user"):
            subject_of(wrong)
