"""Dataclasses as entities: names, hints and values, without a database."""

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Annotated, Any, ClassVar, Literal, NewType, Optional, TypedDict, TypeVar, Union
from uuid import UUID

import pytest

from app_kernel.core.errors import UnsupportedModel, UnsupportedValue
from app_kernel.core.tables import Index
from app_kernel.db.kinds import Kind
from app_kernel.db.models import entity_name, from_row, model_of, to_entity

T = TypeVar("T")
UserId = NewType("UserId", str)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Status(StrEnum):
    ACTIVE = "active"
    DONE = "done"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(Enum):
    ONE = 1
    TWO = "two"


class Size(TypedDict):
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    city: str
    since: datetime | None = None
    parts: "list[Address]" = field(default_factory=list)


def having(hint, **kwargs):
    """A dataclass with one field of this hint."""
    return make_dataclass("Thing", [("value", hint, field(**kwargs))])


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [
        ("Project", "projects"),
        ("Category", "categories"),
        ("Box", "boxes"),
        ("Day", "days"),
        ("Bus", "buses"),
        ("Match", "matches"),
        ("Dish", "dishes"),
        ("OrderLine", "order_lines"),
        ("HTTPServer", "http_servers"),
        ("APIKey", "api_keys"),
        ("S3Bucket", "s3_buckets"),
        ("UserV2", "user_v2s"),
    ],
)
def test_the_entity_is_the_plural_of_the_class_name_in_snake_case(class_name, expected):
    cls = make_dataclass(class_name, [("x", int)])
    assert entity_name(cls) == expected
    assert entity_name(cls(1)) == expected


def test_a_class_attribute_names_the_entity_instead():
    @dataclass
    class Person:
        __entity__ = "people"
        name: str

    @dataclass
    class Employee(Person):
        boss: str = ""

    assert (entity_name(Person), entity_name(Employee("x"))) == ("people", "people")
    assert [each.name for each in model_of(Person).fields] == ["name"]


@pytest.mark.parametrize("target", ["projects", None, 5, {"a": 1}, dict, "Project\x00"])
def test_what_is_no_dataclass_comes_back_as_it_is(target):
    assert entity_name(target) is target
    assert to_entity(target) is target


@pytest.mark.parametrize(
    ("hint", "kind", "value", "stored"),
    [
        (str, Kind.STR, "a", "a"),
        (int, Kind.INT, 2**70, 2**70),
        (float, Kind.FLOAT, 1.5, 1.5),
        (float, Kind.FLOAT, 1, 1.0),
        (bool, Kind.BOOL, True, True),
        (Decimal, Kind.DECIMAL, Decimal("1.10"), Decimal("1.10")),
        (Decimal, Kind.DECIMAL, 5, Decimal(5)),
        (datetime, Kind.DATETIME, NOON, NOON),
        (date, Kind.DATE, date(2026, 1, 1), date(2026, 1, 1)),
        (bytes, Kind.BYTES, b"\x00", b"\x00"),
        (UUID, Kind.UUID, UUID(int=5), UUID(int=5)),
        (dict, Kind.JSON, {"a": [1]}, {"a": [1]}),
        (dict[str, Any], Kind.JSON, {"a": None}, {"a": None}),
        (list, Kind.JSON, [1, "a", None], [1, "a", None]),
        (list[str], Kind.JSON, ["a"], ["a"]),
        (list[int | None], Kind.JSON, [1, None], [1, None]),
        (list[datetime], Kind.JSON, [NOON], ["2026-01-01T12:00:00.000000Z"]),
        (dict[str, Decimal], Kind.JSON, {"a": Decimal("1.10")}, {"a": "1.10"}),
        (dict[str, list[date]], Kind.JSON, {"a": [date(2026, 1, 1)]}, {"a": ["2026-01-01"]}),
        (list[bytes], Kind.JSON, [b"\x00\xff"], ["AP8="]),
        (list[UUID], Kind.JSON, [UUID(int=5)], ["00000000-0000-0000-0000-000000000005"]),
        (tuple[int, ...], Kind.JSON, (1, 2), [1, 2]),
        (tuple[int, str], Kind.JSON, (1, "a"), [1, "a"]),
        (tuple, Kind.JSON, (1, "a"), [1, "a"]),
        (Status, Kind.STR, Status.DONE, "done"),
        (Level, Kind.INT, Level.HIGH, 2),
        (Mixed, Kind.UNKNOWN, Mixed.TWO, "two"),
        (list[Level], Kind.JSON, [Level.LOW], [1]),
        (Literal["a", "b"], Kind.STR, "b", "b"),
        (Literal["a", None], Kind.STR, None, None),
        (Size, Kind.JSON, {"width": 5}, {"width": 5}),
        (UserId, Kind.STR, "u1", "u1"),
        (Annotated[int, "positive"], Kind.INT, 5, 5),
        (Optional[int], Kind.INT, None, None),  # noqa: UP045 - people write it so
        (int | None, Kind.INT, 5, 5),
        (Union[int, str], Kind.UNKNOWN, "a", "a"),  # noqa: UP007 - people write it so
        (Any, Kind.UNKNOWN, None, None),
        (Address, Kind.JSON, Address(city="Bonn"), {"city": "Bonn", "since": None, "parts": []}),
        (
            list[Address] | None,
            Kind.JSON,
            [Address(city="Bonn", since=NOON, parts=[Address(city="Beuel")])],
            [
                {
                    "city": "Bonn",
                    "since": "2026-01-01T12:00:00.000000Z",
                    "parts": [{"city": "Beuel", "since": None, "parts": []}],
                }
            ],
        ),
    ],
    ids=repr,
)
def test_a_value_goes_to_the_store_and_comes_back_by_its_hint(hint, kind, value, stored):
    cls = having(hint)
    assert model_of(cls).kinds.get("value", Kind.UNKNOWN) is kind
    entity = to_entity(cls(value))
    assert entity == {"value": stored}
    assert type(entity["value"]) is type(stored)
    back = from_row(cls, {"id": "a", **entity}).value
    assert back == value
    assert type(back) is type(stored if hint in (float, Decimal) else value)


def test_an_instant_inside_json_comes_back_as_the_same_instant_in_utc():
    cls = having(list[datetime])
    there = datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))
    assert from_row(cls, to_entity(cls([there]))).value == [NOON]


@pytest.mark.parametrize(
    ("hint", "value", "text"),
    [
        (str, 5, r"\[value\] of Thing holds str, not int"),
        (str, None, "holds str, not None"),
        (str, Status.DONE, "holds str, not Status"),
        (int, "5", "holds int, not str"),
        (int, True, "holds int, not bool"),
        (int, 5.0, "holds int, not float"),
        (int, Level.LOW, "holds int, not Level"),
        (int | None, "5", "holds int, not str"),
        (float, True, "holds float, not bool"),
        (float, 2**53 + 1, "no float exactly"),
        (bool, 1, "holds bool, not int"),
        (Decimal, 1.5, "holds Decimal, not float"),
        (date, NOON, "holds date, not datetime"),
        (datetime, date(2026, 1, 1), "holds datetime, not date"),
        (bytes, bytearray(b"a"), "holds bytes, not bytearray"),
        (UUID, "a", "holds UUID, not str"),
        (list[str], ("a",), "holds list, not tuple"),
        (list[str], ["a", 5], r"\[value.1\] of Thing holds str, not int"),
        (list[str], ["a", None], r"\[value.1\] of Thing holds str, not None"),
        (dict[str, int], {"k": "v"}, r"\[value.k\] of Thing holds int, not str"),
        (list[datetime], [datetime(2026, 1, 1)], "time zone"),  # noqa: DTZ001 - that is the case
        (tuple[int, str], (1,), "holds 2 values, not 1"),
        (Status, "done", "holds Status, not str"),
        (Literal["a", 1], True, "not bool"),
        (Literal["a", 1], "b", "'b'"),
        (Literal["a"], ["a"], "not list"),
        (int | str, 1.5, "not float"),
        (Size, [], "holds Size, not list"),
        (Address, {"city": "Bonn"}, "holds Address, not dict"),
        (Address, Address(city=5), r"\[value.city\] of Thing holds str, not int"),
        (list[Address], [Address(city="a", parts=[Address(city=None)])], r"\[value.0.parts.0.city\]"),
    ],
    ids=repr,
)
def test_a_value_that_the_hint_does_not_allow_is_refused_by_its_place(hint, value, text):
    with pytest.raises(UnsupportedValue, match=text):
        to_entity(having(hint)(value))


@pytest.mark.parametrize(
    ("hint", "text"),
    [
        (set[str], "use a list"),
        (frozenset, "use a list"),
        (complex, "two floats"),
        (bytearray, "use bytes"),
        (type, "nothing that can be stored"),
        (Mapping[str, int], "nothing that can be stored"),
        (T, "nothing that can be stored"),
        (dict[int, str], "keys that are not text"),
        (list[set[int]], "use a list"),
        (list[int] | list[str], "which of them"),
        (list[datetime | str], "which of them"),
        (Address | str, "which of them"),
        (None, "nothing that can be stored"),
    ],
    ids=repr,
)
def test_a_hint_that_nothing_can_be_stored_by_names_class_and_field(hint, text):
    cls = having(hint)
    for use in (lambda: entity_name(cls), lambda: to_entity(cls(1)), lambda: from_row(cls, {"value": 1})):
        with pytest.raises(UnsupportedModel, match=rf"^Thing\.value: .*({text})"):
            use()


def test_a_hint_inside_of_a_nested_class_names_that_class():
    inner = make_dataclass("Inner", [("bad", set)])
    with pytest.raises(UnsupportedModel, match=r"Inner\.bad"):
        model_of(having(list[inner]))


def test_a_hint_that_cannot_be_resolved_says_which():
    with pytest.raises(UnsupportedModel, match=r"Thing.*Nowhere"):
        model_of(having("Nowhere"))


def test_an_enum_without_values_that_can_be_stored_is_refused():
    with pytest.raises(UnsupportedModel, match="Strange has values"):
        model_of(having(Enum("Strange", {"A": (1, 2)})))


def test_what_a_class_has_beside_fields_is_left_alone():
    @dataclass
    class Project:
        name: str
        count: ClassVar[int] = 5
        seed: InitVar[int] = 0
        total: int = field(init=False)
        shown: str = field(init=False, default="yes")

        def __post_init__(self, seed):
            self.total = seed

    project = Project("a", seed=7)
    assert to_entity(project) == {"name": "a", "total": 7, "shown": "yes"}
    back = from_row(Project, {"name": "a", "total": 9, "count": 3, "seed": 4})
    assert (back.name, back.total, back.shown, Project.count) == ("a", 9, "yes", 5)


def test_a_field_that_is_not_set_yet_is_not_saved():
    @dataclass
    class Project:
        name: str
        id: str = field(init=False)

    project = Project("a")
    assert to_entity(project) == {"name": "a"}
    assert from_row(Project, {"id": "p", "name": "a"}).id == "p"
    assert to_entity(from_row(Project, {"id": "p", "name": "a"})) == {"name": "a", "id": "p"}


def test_a_class_that_no_row_can_make_is_refused():
    @dataclass
    class NeedsSeed:
        name: str
        seed: InitVar[int]

    @dataclass(init=False)
    class NeedsOther:
        name: str

        def __init__(self, other): ...

    @dataclass(init=False)
    class TakesNothing:
        name: str

        def __init__(self): ...

    for cls, text in ((NeedsSeed, "'seed'"), (NeedsOther, "'other'"), (TakesNothing, "'name'")):
        with pytest.raises(UnsupportedModel, match=f"{cls.__name__}.*{text}"):
            model_of(cls)


def test_the_fields_of_the_kernel_are_read_and_never_saved_but_for_the_id():
    @dataclass
    class Project:
        name: str
        id: str | None = None
        created_at: datetime | None = None
        updated_at: str = ""
        updated_by: str | None = None
        _version: int = 0

    row = {
        "id": "p", "name": "a", "created_at": "2026-01-01T12:00:00.000000Z", "updated_by": None,
        "updated_at": "2026-01-01T12:00:00.000000Z", "_version": 3, "deleted_at": None,
    }  # fmt: skip
    project = from_row(Project, row)
    assert (project.created_at, project.updated_at, project._version) == (NOON, row["updated_at"], 3)
    assert to_entity(project) == {"id": "p", "name": "a"}


def test_a_deletion_that_is_given_is_left_to_the_store_to_judge():
    @dataclass
    class Project:
        name: str
        deleted_at: str | None = None

    assert to_entity(Project("a")) == {"name": "a"}
    assert to_entity(Project("a", deleted_at="now")) == {"name": "a", "deleted_at": "now"}


def test_an_id_may_be_a_uuid():
    @dataclass
    class Project:
        id: UUID | None = None

    assert to_entity(Project(UUID(int=5))) == {"id": "00000000-0000-0000-0000-000000000005"}
    assert from_row(Project, {"id": "00000000-0000-0000-0000-000000000005"}).id == UUID(int=5)


def test_missing_values_take_the_default_and_unknown_ones_are_ignored():
    @dataclass
    class Project:
        name: str = "none"
        tags: list[str] = field(default_factory=lambda: ["new"])
        note: str | None = "default"
        size: int = 1

    assert from_row(Project, {"other": 1}) == Project()
    assert from_row(Project, {"name": None, "tags": None, "size": None, "note": None}) == Project(note=None)
    assert from_row(Project, {"name": "a"}).tags is not from_row(Project, {"name": "a"}).tags


def test_a_value_that_is_missing_without_a_default_is_an_error_that_says_where():
    cls = having(str)
    for row in ({}, {"value": None}):
        with pytest.raises(UnsupportedModel, match=r"Thing\.value.*'things', id 'a'"):
            from_row(cls, {"id": "a", **row})
    assert from_row(having(str | None), {}).value is None


def test_a_stored_value_that_does_not_read_as_its_hint_is_an_error_that_says_where():
    for hint, stored in ((Status, "gone"), (list[date], ["x"]), (Address, {}), (Address, 5), (dict[str, date], [])):
        with pytest.raises(UnsupportedModel, match=r"(Thing\.value|Address\.city)"):
            from_row(having(hint), {"id": "a", "value": stored})


def test_inherited_fields_are_fields():
    @dataclass(kw_only=True)
    class Base:
        id: str | None = None
        name: str

    @dataclass(slots=True)
    class Project(Base):
        size: int = 1

    project = Project(3, name="a")
    assert to_entity(project) == {"name": "a", "size": 3}
    assert from_row(Project, {"id": "p", "name": "a", "size": 3}) == Project(3, name="a", id="p")


def test_frozen_classes_with_fields_that_are_not_in_init_are_made():
    @dataclass(frozen=True, slots=True)
    class Project:
        name: str
        total: int = field(init=False, default=0)

    assert from_row(Project, {"name": "a", "total": 5}).total == 5


def test_indexes_come_from_the_metadata():
    @dataclass
    class Project:
        name: str = field(metadata={"unique": True})
        owner: str = field(metadata={"index": True})
        code: str = field(metadata={"index": True, "unique": True})
        created_at: str | None = field(default=None, metadata={"index": True})
        plain: str = field(default="", metadata={"index": False})

    assert model_of(Project).indexes == (
        Index(("name",), unique=True),
        Index(("owner",)),
        Index(("code",), unique=True),
        Index(("created_at",)),
    )


@pytest.mark.parametrize(
    ("hint", "metadata"), [(dict, {"index": True}), (Any, {"index": True}), (Decimal, {"unique": True})]
)
def test_a_field_that_cannot_be_indexed_says_so(hint, metadata):
    with pytest.raises(UnsupportedModel, match=r"Thing\.value: .* cannot be (indexed|unique)"):
        model_of(having(hint, metadata=metadata))
