"""Who a flag is on for: pure decisions over what was read of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

from app_kernel.core.errors import InvalidFlag

BUCKETS = 10_000
"""Buckets that subjects fall into: a hundredth of a percent each."""

ON = frozenset({"user_listed", "workspace_listed", "everybody", "rollout"})
"""Reasons for which a flag is on; it is off for `unknown`, `disabled`, `not_in_rollout` and `nobody_to_bucket`."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A flag as it is evaluated."""

    name: str
    enabled: bool
    below: int
    """The buckets from 0 to this one, exclusive, are in: hundredths of a percent."""
    users: frozenset[str]
    workspaces: frozenset[str]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a flag is on or off for somebody."""

    name: str
    enabled: bool
    reason: str
    """unknown, disabled, user_listed, workspace_listed, everybody (100 %), rollout, not_in_rollout, or
    nobody_to_bucket: less than 100 %, and neither user nor workspace."""
    percent: float | None
    """The flag's percentage; None of an unknown flag."""
    bucket: float | None
    """Where the user, else the workspace, stands: from 0 to 99.99, in the rollout when below `percent`; None without
    either."""
    bucketed_by: str | None
    """user or workspace; None without either."""


def rule_of(row: Mapping[str, Any]) -> Rule:
    """The rule that a row of the table stands for; what is missing or broken in it lets nobody in."""
    below = to_hundredths(row["rollout_percent"] or 0)
    return Rule(row["id"], row["enabled"] is True, below, _listed(row["users"]), _listed(row["workspaces"]))


def to_hundredths(percent: float) -> int:
    """A percentage as a number of buckets."""
    return round(percent * (BUCKETS // 100))


def default_percent(users: Collection[str], workspaces: Collection[str]) -> float:
    """The percentage of a flag that was made without one: with lists it is for those listed, else for everybody."""
    return 0.0 if users or workspaces else 100.0


def bucket_of(name: str, kind: str, subject: str) -> int:
    """Where a subject stands in the rollout of a flag, from 0 to 9999: the same for ever and everywhere.

    It is the first 8 bytes of SHA-256 of `name`, `kind` ("user" or "workspace") and `subject`, joined by NUL, as a
    fraction of 2**64. So two flags are independent of each other.
    """
    digest = sha256(f"{name}\0{kind}\0{subject}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") * BUCKETS >> 64


def decide(rule: Rule | None, user_id: str | None, workspace_id: str | None) -> str:
    """Why the flag is on or off: a reason of `Explanation`."""
    if rule is None:
        return "unknown"
    if not rule.enabled:
        return "disabled"
    if user_id in rule.users:
        return "user_listed"
    if workspace_id in rule.workspaces:
        return "workspace_listed"
    if rule.below >= BUCKETS:
        return "everybody"
    if user_id is not None:
        bucket = bucket_of(rule.name, "user", user_id)
    elif workspace_id is not None:
        bucket = bucket_of(rule.name, "workspace", workspace_id)
    else:
        return "nobody_to_bucket"
    return "rollout" if bucket < rule.below else "not_in_rollout"


def explain(name: str, rule: Rule | None, user_id: str | None, workspace_id: str | None) -> Explanation:
    """The decision with all that led to it."""
    reason = decide(rule, user_id, workspace_id)
    kind = "user" if user_id is not None else "workspace"
    subject = user_id if user_id is not None else workspace_id
    bucket = None if subject is None else bucket_of(name, kind, subject) * 100 / BUCKETS
    percent = None if rule is None else rule.below * 100 / BUCKETS
    return Explanation(name, reason in ON, reason, percent, bucket, None if subject is None else kind)


def subject_of(value: object) -> str | None:
    """The id of a user or workspace as text; None for nobody, which an empty one is too.

    Whole numbers and UUIDs are taken as their text. Raises InvalidFlag for anything else, such as a whole user, for
    whom the flag would be off without a word.
    """
    if value.__class__ is str:
        return value or None
    if value is None:
        return None
    if isinstance(value, str):
        # Of a text subclass, such as a member of an enumeration, the plain text.
        return str.__str__(value) or None
    if isinstance(value, int | UUID) and not isinstance(value, bool):
        return str(value) or None
    raise InvalidFlag(f"A flag is evaluated for the id of a user or workspace, which is text, not {_kind(value)}.")


def _listed(value: Any) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    # Thousands of ids; a loop of our own takes ten times as long.
    return frozenset(value if set(map(type, value)) == {str} else [each for each in value if isinstance(each, str)])


def _kind(value: object) -> str:
    return type(value).__name__
