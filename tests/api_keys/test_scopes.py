"""Which scope reaches which, checked against a plain reading of the rules over every scope of a small world."""

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kernel.api_keys.credential import Auth
from app_kernel.api_keys.scopes import beyond, find_role_problems, granted_to, is_scope, may, meet, reach, usable
from app_kernel.core.errors import MissingScope
from app_kernel.core.identity import UserIdentity

NAMES = ("admin", "a", "b")
PLAIN = [":".join(names) for length in (1, 2, 3) for names in product(NAMES, repeat=length)]
WILD = ["*", *(f"{plain}:*" for plain in PLAIN if plain.count(":") < 2)]

grants = st.lists(st.sampled_from(PLAIN + WILD), max_size=4)
few = settings(max_examples=40, deadline=None)
roles = st.sampled_from(["user", "admin", "viewer"])


def members(granted: list[str] | tuple[str, ...]) -> set[str]:
    """Every plain scope of the world that these grant, by the plain reading."""
    return {
        plain
        for plain in PLAIN
        for grant in granted
        if grant in ("*", plain) or (grant.endswith(":*") and plain.startswith(grant[:-1]))
    }


@few
@given(grants)
def test_a_scope_reaches_itself_and_what_its_wildcard_names_and_nothing_else(granted):
    assert {plain for plain in PLAIN if reach(granted, plain)} == members(granted)


@few
@given(grants, grants)
def test_what_two_lists_have_in_common_is_exactly_what_both_reach(first, second):
    common = meet(first, second)
    assert members(common) == members(first) & members(second)
    assert meet(second, first) == common
    assert not any(reach([one], other) for one, other in product(common, repeat=2) if one != other)


@pytest.mark.acceptance("AK3")
@few
@given(grants, grants, roles)
def test_a_key_never_does_more_than_its_owner_may_do_now(given_, granted, role):
    auth = Auth("api_key", "u", UserIdentity("u", "u@example.com", role), scopes=usable(given_, granted, role))
    asked = members(given_)
    for plain in PLAIN:
        allowed = plain in asked and may(granted, role, plain)
        assert auth.has_scope(plain) == allowed
        if auth.has_scope(plain) and plain.split(":")[0] == "admin":
            assert role == "admin"


@few
@given(grants, grants, roles)
def test_what_may_be_given_to_a_key_adds_nothing_to_what_its_owner_has(asked, granted, role):
    accepted = [scope for scope in asked if scope not in beyond(asked, granted, role)]
    mine = {plain for plain in PLAIN if may(granted, role, plain)}
    assert {plain for plain in PLAIN if may(usable(accepted, granted, role), role, plain)} <= mine
    assert members([scope for scope in accepted if scope != "*"]) <= members(granted)


@few
@given(st.text(max_size=30))
def test_text_that_is_no_scope_is_never_had(text):
    auth = Auth("user", "u", UserIdentity("u", "u@example.com", "admin"), scopes=("*",))
    assert auth.has_scope(text) == is_scope(text)


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("*", True),
        ("deployments:write", True),
        ("deployments:*", True),
        ("a.b-c_d:E1", True),
        ("a" * 100, True),
        ("a" * 101, False),
        ("", False),
        (":", False),
        ("a:", False),
        (":a", False),
        ("a::b", False),
        ("**", False),
        ("*:a", False),
        ("a:*:b", False),
        ("a*", False),
        ("a b", False),
        ("a\n", False),
        ("-a", False),
        ("ä", False),
    ],
)
def test_a_scope_is_names_joined_by_colons(text, fine):
    assert is_scope(text) is fine


def test_a_role_that_is_not_named_has_all_but_what_is_for_admins():
    assert granted_to("user", {}) == ("*",)
    assert granted_to("viewer", {"viewer": ["reports:read"]}) == ("reports:read",)
    assert granted_to("nobody", {"nobody": []}) == ()
    assert may(("*",), "user", "deployments:write")
    for scope in ("admin", "admin:users", "admin:*", "*"):
        assert not may(("*",), "user", scope)
        assert may(("*",), "admin", scope)
    assert may(("*",), "user", "administration")


def test_a_missing_scope_is_named_for_people_and_programs():
    auth = Auth("user", "u", UserIdentity("u", "u@example.com"), scopes=("reports:read",))
    auth.require_scope("reports:read")
    with pytest.raises(MissingScope, match="deployments:write") as caught:
        auth.require_scope("deployments:write")
    assert caught.value.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope", scope="deployments:write"'
    assert MissingScope.headers == {}


def test_roles_in_the_settings_cannot_have_what_is_no_scope_or_for_admins():
    assert find_role_problems({"user": ["*", "a:*"], "admin": ["admin:*"], "nobody": []}) == []
    problems = find_role_problems({"user": ["a b", "admin"], "auditor": ["admin:read"]})
    assert len(problems) == 3
    assert all(problem.startswith("ROLE_SCOPES: ") for problem in problems)
