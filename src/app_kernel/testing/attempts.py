"""What is sent: requests of a caller about their own workspace, and the same with what belongs to another one in it."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from app_kernel.core.named_workspaces import HEADER, PARAMETER
from app_kernel.testing.bodies import UNKNOWN_ID, free_places, id_places, is_cursor_name, is_id_name, replaced
from app_kernel.testing.callers import Side
from app_kernel.testing.exchange import Sent
from app_kernel.testing.routes import ServiceRoute

_WORKSPACE_WORDS = frozenset({"workspace", "ws", "tenant", "org", "organization", "organisation", "team"})
_NAMES_ROW = frozenset({"id", "uuid", "pk", "key", "name", "slug", "code", "ref"})
UNKNOWN_NUMBER = "918273645"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request with something foreign in it."""

    sent: Sent
    what: str
    """What is foreign in it, for the report."""
    control: Sent | None = None
    """The same with what exists nowhere: its answer must tell nobody that the foreign thing does exist."""
    is_outside: bool = False
    """Whether the workspace that it names is foreign, so that only 404 is an answer."""
    is_beside: bool = False
    """Whether a route that asks for no workspace may well overlook what is foreign."""


def is_workspace_name(name: str) -> bool:
    """Whether a parameter of this name says which workspace is meant."""
    return name.lower().removesuffix("_id").removesuffix("_slug") in _WORKSPACE_WORDS


def unknown(like: str) -> str:
    """A value of the same form that names nothing."""
    return UNKNOWN_NUMBER if like.isdigit() else UNKNOWN_ID


def path_values(route: ServiceRoute, side: Side, user_id: str = "") -> dict[str, list[str]]:
    """For each path parameter what of a side it may name, the likeliest first; what `user_id` owns before the rest."""
    before, found = "", {}
    for segment in route.path.split("/"):
        for name in re.findall(r"\{(\w+)\}", segment):
            found[name] = named(side, name, before, user_id)
        before = segment if "{" not in segment else before
    return found


def named(side: Side, name: str, segment: str = "", user_id: str = "") -> list[str]:
    """What of a side a field of this name may mean, the likeliest first; `segment` is the part of the path before it.

    Where no table is called like it, that is the workspace and one row of each table.
    """
    for each in (name, segment):
        if each in side.given:
            given = side.given[each]
            return [str(one) for one in given] if isinstance(given, list) else [str(given)]
    word = name.lower().removesuffix("_ids").removesuffix("_id").removesuffix("_uuid")
    if word in _WORKSPACE_WORDS or (word in _NAMES_ROW and _stem(segment) in _WORKSPACE_WORDS):
        return [side.workspace_id]
    words = [_stem(each) for each in ((segment,) if word in _NAMES_ROW else (word, segment)) if each]
    scores = {table: max((_score(_stem(table), each) for each in words), default=0) for table in side.rows}
    column = name if any(scores.values()) and not is_id_name(name) else "id"
    values: dict[str, None] = {}
    if not any(scores.values()):
        # Under this very name an answer has shown what has no row.
        values |= dict.fromkeys(id for id, shown_as in side.answered_ids.items() if shown_as == name != "id")
        values[side.workspace_id] = None
    for table in sorted(side.rows, key=lambda each: (-scores[each], each.startswith("kernel_"), each)):
        if scores[table] == 0 and column != "id":
            continue
        for row in _preferred(side.rows[table], side, user_id)[: 2 if scores[table] else 1]:
            value = row.get(column, row.get("id"))
            if value is not None:
                values[str(value)] = None
    if column == "id":
        values |= dict.fromkeys(side.answered_ids)
    return list(values)


def best(side: Side, name: str, segment: str = "", user_id: str = "") -> str | None:
    """The id that a field of this name means, or None where none of the side's tables is called like it."""
    word = name.lower().removesuffix("_ids").removesuffix("_id")
    known = (
        any(_score(_stem(table), _stem(word)) for table in side.rows) or word in _WORKSPACE_WORDS or name in side.given
    )
    return next(iter(named(side, name, segment, user_id)), None) if known else None


def attempts(
    route: ServiceRoute, own: Sent, mine: Mapping[str, str], home: Side, other: Side, *, strong: bool
) -> Iterator[Attempt]:
    """Requests of somebody of `home` with what is `other`'s; `own` is their own request, `mine` its path's values.

    With `strong` all kinds of ids are tried everywhere; otherwise only the likeliest one in the path and the header.
    """
    theirs = path_values(route, other)
    yield from _in_path(route, own, mine, theirs, home, strong=strong)
    yield from _beside_path(route, own, mine, home, other)
    if strong:
        yield from _in_query(route, own, other)
        if isinstance(own.body, Mapping):
            yield from _in_body(route, own, own.body, other)


def _in_path(
    route: ServiceRoute,
    own: Sent,
    mine: Mapping[str, str],
    theirs: Mapping[str, list[str]],
    home: Side,
    *,
    strong: bool,
) -> Iterator[Attempt]:
    likely = {name: values[0] for name, values in theirs.items() if values}
    if not likely:
        return
    places = [name for name in likely if is_workspace_name(name) or likely[name] == theirs.get(PARAMETER, [""])[0]]
    everything = replace(own, path=route.fill({**mine, **likely}))
    nothing = replace(own, path=route.fill({**mine, **{name: unknown(value) for name, value in likely.items()}}))
    what = "everything in the path is the other workspace's"
    yield Attempt(everything, what, nothing, is_outside=bool(places))
    yield Attempt(
        everything.with_header(HEADER, home.workspace_id),
        f"{what}, and the header names the caller's own workspace",
        nothing.with_header(HEADER, home.workspace_id),
    )
    yield Attempt(
        everything.with_query(PARAMETER, home.workspace_id),
        f"{what}, and the query names the caller's own workspace",
        nothing.with_query(PARAMETER, home.workspace_id),
    )
    for name in theirs:
        if len(theirs) > 1 and name in places:
            yield Attempt(
                replace(own, path=route.fill({**mine, name: likely[name]})),
                f"{{{name}}} is the other workspace, the rest of the path the caller's own",
                replace(own, path=route.fill({**mine, name: unknown(likely[name])})),
                is_outside=True,
            )
        if not is_workspace_name(name) and (len(theirs) > 1 or strong):
            for value in theirs[name] if strong else theirs[name][:1]:
                yield Attempt(
                    replace(own, path=route.fill({**mine, name: value})),
                    f"{{{name}}} is the other workspace's",
                    replace(own, path=route.fill({**mine, name: unknown(value)})),
                )


def _beside_path(route: ServiceRoute, own: Sent, mine: Mapping[str, str], home: Side, other: Side) -> Iterator[Attempt]:
    in_path = any(is_workspace_name(name) for name in mine)
    decides = not in_path and route.needs("workspace")
    more = ", the path the caller's own" if in_path else ""
    bare = own.without_place()
    yield Attempt(
        bare.with_header(HEADER, other.workspace_id),
        f"the header names the other workspace{more}",
        bare.with_header(HEADER, UNKNOWN_ID),
        is_outside=decides,
        is_beside=not decides,
    )
    yield Attempt(
        bare.with_query(PARAMETER, other.workspace_id),
        f"the query names the other workspace{more}",
        bare.with_query(PARAMETER, UNKNOWN_ID),
        is_outside=decides,
        is_beside=not decides,
    )
    if decides:
        mixed = bare.with_query(PARAMETER, home.workspace_id)
        what = "the header names the other workspace, the query the caller's own"
        yield Attempt(mixed.with_header(HEADER, other.workspace_id), what, mixed.with_header(HEADER, UNKNOWN_ID))


def _in_query(route: ServiceRoute, own: Sent, other: Side) -> Iterator[Attempt]:
    for query in route.queries:
        if query.name == PARAMETER or "string" not in str(query.schema):
            continue
        rest = tuple(pair for pair in own.query if pair[0] != query.name)
        for value in _query_values(query.name, other):
            hidden = _hide(value, other)
            yield Attempt(
                replace(own, query=(*rest, (query.name, value))),
                f"?{query.name} is the other workspace's",
                replace(own, query=(*rest, (query.name, hidden))),
            )


def _query_values(name: str, other: Side) -> list[str]:
    ids = named(other, name)[:12]
    if is_id_name(name):
        return ids
    if is_cursor_name(name):
        made = []
        for id in ids[:4]:
            made += [id, _encoded(id), _encoded(orjson.dumps({"id": id, PARAMETER: other.workspace_id}).decode())]
        return made
    return [*ids[:1], other.workspace_id]


def _in_body(route: ServiceRoute, own: Sent, body: Mapping[str, Any], other: Side) -> Iterator[Attempt]:
    for path, name in id_places(body):
        for value in named(other, name)[:12]:
            where = ".".join(map(str, path))
            yield Attempt(
                replace(own, body=replaced(body, path, value)),
                f"{where} in the body is the other workspace's",
                replace(own, body=replaced(body, path, unknown(value))),
            )
    ids = _some_ids(other)
    if own.is_form:
        return
    extra = {PARAMETER: other.workspace_id, "owner_id": other.owner.user_id, "created_by": other.owner.user_id}
    last = (route.path.rstrip("/").split("/") or [""])[-1]
    target = next(iter(named(other, "id", last)), None) if not last.startswith("{") else None
    without = {name: unknown(value) for name, value in extra.items()}
    yield Attempt(
        replace(own, body={**body, **{k: v for k, v in extra.items() if k not in body}}),
        "workspace_id, owner_id and created_by in the body are the other workspace's",
        replace(own, body={**body, **{k: v for k, v in without.items() if k not in body}}),
    )
    if target is not None and "id" not in body:
        yield Attempt(
            replace(own, body={**body, "id": target}),
            "an id in the body is the other workspace's",
            replace(own, body={**body, "id": unknown(target)}),
        )
    for name in free_places(body, route.body or {}):
        nested = {PARAMETER: other.workspace_id, "id": ids[0], "items": ids, "filter": {"id": {"in": ids}}}
        plain = {PARAMETER: UNKNOWN_ID, "id": UNKNOWN_ID, "items": [UNKNOWN_ID], "filter": {"id": {"in": [UNKNOWN_ID]}}}
        yield Attempt(
            replace(own, body={**body, name: nested}),
            f"ids inside {name} in the body are the other workspace's",
            replace(own, body={**body, name: plain}),
        )


def _some_ids(side: Side) -> list[str]:
    ids = [str(rows[0]["id"]) for table, rows in sorted(side.rows.items()) if rows and rows[0].get("id") is not None]
    return ids or [side.workspace_id]


def _hide(value: str, other: Side) -> str:
    try:
        plain = base64.urlsafe_b64decode(value + "==").decode()
    except ValueError:
        return unknown(value)
    return _encoded(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", UNKNOWN_ID, plain)) if other.workspace_id else value


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _preferred(rows: Iterable[Mapping[str, Any]], side: Side, user_id: str) -> list[Mapping[str, Any]]:
    """Those that may be used up and those that the caller owns come first."""
    spare = set(side.spare_ids)

    def rank(row: Mapping[str, Any]) -> int:
        if row.get("id") in spare or row.get("user_id") in spare:
            return 0
        return 1 if user_id and user_id in (row.get("user_id"), row.get("created_by"), row.get("owner_id")) else 2

    return sorted(rows, key=rank)


def _stem(word: str) -> str:
    word = word.lower().removeprefix("kernel_").replace("-", "_")
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word.removesuffix("s")


def _score(table: str, word: str) -> int:
    if not word:
        return 0
    if table == word:
        return 3
    if table.endswith("_" + word):
        return 2
    return 1 if word.endswith("_" + table) else 0
