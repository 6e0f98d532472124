"""What a scope is and what it reaches: pure functions.

A scope is one or more names joined by colons, such as `deployments:write`. It reaches itself only; `deployments:*`
reaches every scope that begins with `deployments:`, and `*` every scope. `admin` and what begins with `admin:` is only
for the role admin: no wildcard of another role reaches it.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

EVERYTHING = "*"
ADMIN = "admin"
MAX_SCOPE = 100
MAX_SCOPES = 100

_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_scope = re.compile(rf"\*|{_NAME}(?::{_NAME})*(?::\*)?", re.ASCII).fullmatch


def is_scope(text: str) -> bool:
    """Whether text can be a scope, with a wildcard at its end or without."""
    return len(text) <= MAX_SCOPE and _scope(text) is not None


def is_reserved(scope: str) -> bool:
    """Whether only admins may have it: `admin`, all that begins with `admin:`, and everything at once."""
    return scope in (ADMIN, EVERYTHING) or scope.startswith(f"{ADMIN}:")


def reaches(granted: str, wanted: str) -> bool:
    """Whether a granted scope includes another one, which may have a wildcard itself and is then meant as a whole."""
    if granted in (EVERYTHING, wanted):
        return True
    return granted.endswith(":*") and wanted.startswith(granted[:-1])


def reach(granted: Iterable[str], wanted: str) -> bool:
    """Whether one of the granted scopes includes `wanted`."""
    return any(reaches(each, wanted) for each in granted)


def meet(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """What both grant: exactly the scopes that each of them reaches, in the fewest words, sorted.

    Of two scopes one includes the other or they have nothing in common, so the smaller one of each such pair is it.
    """
    common = {one for one in first if reach(second, one)} | {one for one in second if reach(first, one)}
    return tuple(sorted(one for one in common if not any(other != one and reaches(other, one) for other in common)))


def may(granted: Iterable[str], role: str, wanted: str) -> bool:
    """Whether somebody with these scopes and this role has the scope `wanted`; what is no scope nobody has."""
    if not is_scope(wanted) or (is_reserved(wanted) and role != ADMIN):
        return False
    return reach(granted, wanted)


def granted_to(role: str, role_scopes: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What a role may do: what the settings say, or everything that is not for admins only."""
    return tuple(role_scopes.get(role, (EVERYTHING,)))


def beyond(asked: Iterable[str], granted: Sequence[str], role: str) -> list[str]:
    """Of the scopes asked for, those that somebody with this role and these scopes cannot give away.

    `*` is given away as "all that I may do", by who has it; it never reaches what is for admins only.
    """
    return [
        scope for scope in asked if not (reach(granted, scope) if scope == EVERYTHING else may(granted, role, scope))
    ]


def usable(given: Sequence[str] | None, granted: Sequence[str], role: str) -> tuple[str, ...]:
    """What a key with the scopes `given` (None: all that its owner has) may do for an owner with this role now."""
    common = tuple(granted) if given is None else meet(given, granted)
    return tuple(scope for scope in common if role == ADMIN or scope == EVERYTHING or not is_reserved(scope))


def find_role_problems(role_scopes: Mapping[str, Sequence[str]]) -> list[str]:
    """What is wrong with the setting `role_scopes`, one sentence each."""
    problems = []
    for role, scopes in role_scopes.items():
        for scope in scopes:
            if not is_scope(scope):
                problems.append(
                    f"ROLE_SCOPES: {scope!r} of the role {role} is no scope; write names joined by colons, with * alone"
                    " or as the last name"
                )
            elif role != ADMIN and scope != EVERYTHING and is_reserved(scope):
                problems.append(f"ROLE_SCOPES: {scope} of the role {role} is for the role admin only")
    return problems
