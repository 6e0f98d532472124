"""Keys, patterns, tags, times to live and templates: what is accepted, and that two ids never make one key."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_kernel.cache import cached, escape_key
from app_kernel.cache.keys import (
    KEY_LENGTH,
    check_jitter,
    check_key,
    check_pattern,
    check_tags,
    check_ttl,
    matcher,
    part_of,
)
from app_kernel.core.errors import CacheError, InvalidCacheKey


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    BIG = 1


@pytest.mark.parametrize("key", ["", "a" * 513, "a\nb", "a\x00", "\ud800", b"a", None, 1, ["a"]])
def test_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(InvalidCacheKey, match="1 to 512 printable characters"):
        check_key(key)
    with pytest.raises(InvalidCacheKey):
        check_pattern(key)
    with pytest.raises(InvalidCacheKey):
        check_tags([key])


@pytest.mark.parametrize("key", ["a", "projects:ws-123", "a b", "ä*{}:%", "x" * 512])
def test_a_key_is_any_printable_text(key: str) -> None:
    assert check_key(key) == key


@pytest.mark.parametrize("ttl", [0, -1, 0.0001, True, "5", None, float("nan"), float("inf"), 30 * 86400 + 1, 10**400])
def test_a_time_to_live_is_above_nothing_and_at_most_a_month(ttl: Any) -> None:
    with pytest.raises(InvalidCacheKey, match="time to live"):
        check_ttl(ttl)


def test_a_time_to_live_is_a_number_or_a_timedelta() -> None:
    assert [check_ttl(ttl) for ttl in (1, 0.5, timedelta(minutes=5))] == [1.0, 0.5, 300.0]


@pytest.mark.parametrize("jitter", [-0.1, 1, True, "0.1", float("nan")])
def test_jitter_is_a_part_of_the_time_to_live(jitter: Any) -> None:
    with pytest.raises(InvalidCacheKey, match="Jitter"):
        check_jitter(jitter)


def test_tags_are_a_list_of_at_most_32() -> None:
    assert check_tags(["a", "b", "a"]) == ("a", "b")
    for tags in ("ws:1", 5, None, [str(number) for number in range(33)]):
        with pytest.raises(InvalidCacheKey):
            check_tags(tags)


IDS = st.one_of(st.text(max_size=12), st.text(":*%{}?[]\\-_/ab\n", max_size=6))


@pytest.mark.acceptance("RL6")
@settings(max_examples=150, deadline=None)
@given(IDS, IDS, IDS, IDS)
def test_two_pairs_of_ids_never_make_one_key(a: str, b: str, c: str, d: str) -> None:
    @cached(ttl=1, key="projects:{workspace_id}:{project_id}")
    async def get_project(workspace_id: str, project_id: str) -> None: ...

    one, other = get_project.key(a, b), get_project.key(c, d)
    assert (one == other) == ((a, b) == (c, d))
    check_key(one)
    assert not set("*{}") & set(one)
    # The pattern of one tenant reaches no key of another one.
    assert bool(matcher(f"projects:{escape_key(a)}:*")(other)) == (a == c)


def test_ids_of_the_usual_kinds_stay_readable() -> None:
    @cached(ttl=1, key="x:{it}")
    async def get(it: Any) -> None: ...

    uuid = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    readable = {
        "ws-123": "ws-123", "ada@example.com": "ada@example.com", 42: "42", True: "True", None: "None",
        uuid: str(uuid), date(2026, 1, 2): "2026-01-02", Decimal("2.50"): "2.50", 1.5: "1.5", Colour.RED: "red",
        Size.BIG: "1",
    }  # fmt: skip
    assert {it: get.key(it) for it in readable} == {it: f"x:{text}" for it, text in readable.items()}
    assert get.key("a:b*{c}%") == "x:a%3Ab%2A%7Bc%7D%25"
    assert get.key(datetime(2026, 1, 2, tzinfo=UTC)) == "x:2026-01-02T00%3A00%3A00+00%3A00"
    assert get.key("\ud800") != get.key("?")


def test_members_of_enumerations_are_told_apart_by_what_they_stand_for() -> None:
    class Plain(Enum):
        NUMBER = 1
        TEXT = "1"

    kinds = [part_of(it) for it in (Plain.NUMBER, Plain.TEXT, 1, "1")]
    assert len(set(kinds)) == 4
    assert {part for part, _ in kinds} == {"1"}
    # These are equal to what they stand for.
    assert part_of(Colour.RED) == part_of("red")


@pytest.mark.parametrize(
    "value", [["a"], {"a": 1}, object(), b"a", float("nan"), (1,)], ids=lambda value: type(value).__name__
)
def test_what_has_no_text_of_its_own_is_no_part_of_a_key(value: Any) -> None:
    with pytest.raises(InvalidCacheKey, match="cannot be a part of a key"):
        escape_key(value)


def test_a_long_id_makes_a_key_that_can_be_kept_and_is_its_own() -> None:
    @cached(ttl=1, key="search:{text}")
    async def search(text: str) -> None: ...

    one, other = search.key("a" * 10_000 + "b"), search.key("a" * 10_000 + "c")
    assert one != other
    assert one.startswith("search:aaa")
    assert len(one) <= KEY_LENGTH
    assert search.key(one.removeprefix("search:")) != one


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("projects:{workspace}", "no argument of it. There are: workspace_id, limit"),
        ("projects:{}", "no argument"),
        ("projects:{0}", "no argument"),
        ("projects:{args}", "no argument"),
        ("projects:{more}", "no argument"),
        ("projects:{workspace_id.}", "no argument"),
        ("projects:{workspace_id[0]}", "no argument"),
        ("projects:{workspace_id", "is no template"),
        ("projects:}", "is no template"),
        ("projects:{workspace_id!r}", "a field is a name alone"),
        ("projects:{workspace_id:>10}", "a field is a name alone"),
        ("projects:{workspace_id}{limit}", "not separated"),
        ("projects:{workspace_id}-{limit}", "not separated"),
        ("", "is printable text"),
        (None, "is printable text"),
        ("a\nb", "is printable text"),
    ],
)
def test_a_template_that_makes_no_sense_is_refused_where_it_is_written(template: Any, complaint: str) -> None:
    async def get_projects(workspace_id: str, limit: int = 5, *args: str, **more: str) -> None: ...

    with pytest.raises(InvalidCacheKey, match=complaint):
        cached(ttl=300, key=template)(get_projects)
    if template:
        with pytest.raises(InvalidCacheKey):
            cached(ttl=300, key="a", tags=[template])(get_projects)


@pytest.mark.parametrize("wrong", [{"ttl": 0}, {"jitter": 2}, {"tags": "ws:{workspace_id}"}])
def test_other_arguments_of_the_decorator_are_checked_there_too(wrong: dict[str, Any]) -> None:
    async def get_projects(workspace_id: str) -> None: ...

    with pytest.raises(InvalidCacheKey):
        cached(**{"ttl": 300, "key": "projects:{workspace_id}", **wrong})(get_projects)


@pytest.mark.parametrize(
    ("key", "ignore", "complaint"),
    [
        ("p", (), "does not name workspace_id, db, args, more,"),
        (
            "p",
            ("db", "args", "more"),
            r"'p' does not name workspace_id, .*\{workspace_id\}.*ignore=\('workspace_id',\)",
        ),
        ("p:{db.name}", ("args", "more"), "does not name workspace_id,"),
        ("p:{workspace_id}", ("db", "args"), "does not name more,"),
        ("p:{workspace_id}", ("database", "args", "more"), "'database', which is no argument of it"),
        ("p:{workspace_id}", ("workspace_id", "db", "args", "more"), "'workspace_id', which is named by the key"),
        ("p:{workspace_id}", "db", "`ignore` is a list of arguments"),
        ("p:{workspace_id}", None, "`ignore` is a list of arguments"),
    ],
)
def test_an_argument_that_makes_a_difference_is_in_the_key_or_left_out_on_purpose(
    key: str, ignore: Any, complaint: str
) -> None:
    async def get_projects(workspace_id: str, db: Any = None, *args: str, **more: str) -> None: ...

    with pytest.raises(InvalidCacheKey, match=complaint):
        cached(ttl=300, key=key, tags=["ws:{workspace_id}"], ignore=ignore)(get_projects)
    fine = cached(ttl=300, key="p:{workspace_id}", ignore=["db", "args", "more"])(get_projects)
    assert fine.key("a", "other") == "p:a"


def test_the_object_of_a_method_needs_no_mention_and_other_first_arguments_do() -> None:
    async def method(self: Any, name: str) -> None: ...

    async def function(name: str, self: Any) -> None: ...

    assert cached(ttl=1, key="p:{name}")(method).key(object(), "a") == "p:a"
    with pytest.raises(InvalidCacheKey, match="does not name self"):
        cached(ttl=1, key="p:{name}")(function)


def test_only_an_async_function_can_be_cached() -> None:
    def plain() -> None: ...

    async def several() -> Any:
        yield 1

    for function in (plain, several, len):
        with pytest.raises(CacheError, match="needs an `async def`"):
            cached(ttl=1, key="a")(function)  # type: ignore[arg-type]


def test_a_brace_and_a_separator_of_ones_own_can_be_written() -> None:
    @cached(ttl=1, key="{{a}}/{one}/{two}")
    async def get(one: str, two: str) -> None: ...

    assert get.key("x/y", "z") == "{a}/x%2Fy/z"


def test_a_pattern_has_one_wildcard_and_everything_else_is_itself() -> None:
    fits = matcher("a?[b]*.c")
    assert fits("a?[b].c")
    assert fits("a?[b]\n:x.c")
    assert not fits("ax[b].c")
    assert not fits("a?[b]xc")
