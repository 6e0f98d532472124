"""Names and ids, without a database."""

from enum import StrEnum
from uuid import UUID

import pytest

from app_kernel.core.errors import InvalidName, ReservedName, UnsupportedValue
from app_kernel.db.kinds import Kind
from app_kernel.db.names import check_case, check_entity_name, check_field_name, check_id, read_id


class Code(StrEnum):
    A = "a"


READ_IDS = [
    ("a", Kind.STR, "a"),
    ("", Kind.STR, ""),
    (5, Kind.STR, "5"),
    (-5, Kind.STR, "-5"),
    (UUID(int=1), Kind.STR, "00000000-0000-0000-0000-000000000001"),
    (Code.A, Kind.STR, "a"),
    ("é", Kind.STR, "é"),
    ("a\x00", Kind.STR, None),
    ("\ud800", Kind.STR, None),
    (None, Kind.STR, None),
    (True, Kind.STR, None),
    (1.0, Kind.STR, None),
    (b"a", Kind.STR, None),
    ([], Kind.STR, None),
    (10**300, Kind.STR, None),
    (5, Kind.INT, 5),
    ("5", Kind.INT, 5),
    ("-5", Kind.INT, -5),
    ("0", Kind.INT, 0),
    (2**63 - 1, Kind.INT, 2**63 - 1),
    (-(2**63), Kind.INT, -(2**63)),
    (str(2**63 - 1), Kind.INT, 2**63 - 1),
    (str(-(2**63)), Kind.INT, -(2**63)),
    (2**63, Kind.INT, None),
    (str(2**63), Kind.INT, None),
    ("9" * 19, Kind.INT, None),
    ("9" * 5000, Kind.INT, None),
    ("a", Kind.INT, None),
    ("", Kind.INT, None),
    ("5.0", Kind.INT, None),
    (" 5", Kind.INT, None),
    ("+5", Kind.INT, None),
    ("5\n", Kind.INT, None),
    ("\u0665", Kind.INT, None),
    (True, Kind.INT, None),
    (5.0, Kind.INT, None),
    (None, Kind.INT, None),
    (UUID(int=1), Kind.INT, None),
]


@pytest.mark.parametrize(("value", "kind", "expected"), READ_IDS, ids=[repr(each[0])[:20] for each in READ_IDS])
def test_an_id_is_looked_for_as_it_is_stored(value, kind, expected):
    found = read_id(value, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("value", ["a", " ", "x" * 191, "🙂" * 191])
def test_an_id_of_1_to_191_characters_is_kept(value):
    assert check_id(value, Kind.STR) == value


@pytest.mark.parametrize("value", ["", "x" * 192, 5, True, 1.0, None, UUID(int=1), Code.A, b"a", "\x00", "\ud800"])
def test_what_cannot_be_an_id_is_refused(value):
    with pytest.raises(UnsupportedValue, match=r"\[id\]"):
        check_id(value, Kind.STR)


@pytest.mark.parametrize("value", ["x", "", 2**63, True, 1.5, None])
def test_what_cannot_be_an_integer_id_is_refused(value):
    with pytest.raises(UnsupportedValue, match="whole numbers"):
        check_id(value, Kind.INT)


def test_a_refusal_does_not_depend_on_what_was_asked_before():
    for _ in range(2):
        check_entity_name("kernel_users", writing=True, privileged=True)
        with pytest.raises(ReservedName):
            check_entity_name("kernel_users", writing=True)
        check_entity_name("notes_history")
        with pytest.raises(ReservedName):
            check_entity_name("notes_history", writing=True)
        with pytest.raises(ReservedName):
            check_entity_name("notes_history", writing=True, privileged=True)


def test_a_history_name_may_be_as_long_as_its_entity_needs():
    longest = "x" * 55
    check_entity_name(longest, writing=True)
    check_entity_name(f"{longest}_history")
    for name in (f"{longest}x", f"{longest}x_history"):
        with pytest.raises(InvalidName, match="longer"):
            check_entity_name(name)
    check_field_name("x" * 63)
    with pytest.raises(InvalidName, match="longer"):
        check_field_name("x" * 64)


def test_a_message_never_repeats_a_name_of_any_length():
    for check in (check_entity_name, check_field_name):
        for name in ("x" * 100_000, "'" * 100_000):
            with pytest.raises(InvalidName) as failure:
                check(name)
            assert len(str(failure.value)) < 300


def test_what_is_kept_of_checked_names_has_an_end():
    from app_kernel.db import names

    for number in range(20_000):
        check_entity_name(f"entity{number}")
        check_field_name(f"field{number}")
    kept = names._check_entity_name.cache_info().currsize + names._check_field_name.cache_info().currsize
    assert kept <= 4096 + 16384


def test_a_name_that_differs_only_in_case_names_the_other():
    check_case("field", "name", ["name", "other"])
    with pytest.raises(InvalidName, match=r"'Name'.*'name'"):
        check_case("field", "Name", ["name", "other"])


def test_a_subclass_of_str_is_no_name():
    with pytest.raises(InvalidName, match="Code"):
        check_entity_name(Code.A)
    with pytest.raises(InvalidName, match="Code"):
        check_field_name(Code.A)
