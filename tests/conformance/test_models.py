"""Dataclasses go in and come out, on every backend."""

import asyncio
from dataclasses import asdict, dataclass, field, make_dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest

from app_kernel.core.context import acting_as
from app_kernel.core.errors import (
    EntityDeleted,
    InvalidName,
    ReservedField,
    ReservedName,
    UniqueViolation,
    UnsupportedModel,
    UnsupportedValue,
    VersionConflict,
)
from tests.conformance.steps import expect_same, spell


class Status(StrEnum):
    ACTIVE = "active"
    DONE = "done"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Place:
    city: str
    since: date | None = None


@dataclass
class Project:
    name: str
    id: str | None = None
    status: Status = Status.ACTIVE
    budget: Decimal | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Everything:
    text: str = "a"
    number: int = 2**70
    real: float = 1.5
    flag: bool = True
    money: Decimal = Decimal("10.50")
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    day: date = date(2026, 1, 1)
    data: bytes = b"\x00\xff"
    key: UUID = field(default_factory=lambda: UUID(int=5))
    doc: dict[str, Any] = field(default_factory=lambda: {"a": [1, {"b": None}]})
    tags: list[str] = field(default_factory=lambda: ["x", "y"])
    days: list[date] = field(default_factory=lambda: [date(2026, 1, 1)])
    pair: tuple[int, str] = (1, "a")
    level: Level = Level.HIGH
    status: Status = Status.DONE
    place: Place | None = Place("Bonn", date(2020, 1, 1))
    places: list[Place] = field(default_factory=lambda: [Place("Bonn")])
    mixed: int | str | None = "s"
    anything: Any = 1.5
    nothing: int | None = None
    id: str | None = None
    created_at: datetime | None = None
    created_by: str | None = None


@dataclass
class Tag:
    __entity__ = "labels"
    word: str


async def test_an_instance_is_saved_and_read_as_an_instance(db):
    made = await db.save_entity(Project("apollo", budget=Decimal("1.10")))
    assert type(made) is Project
    assert (made.name, made.status, made.budget, made.size) == ("apollo", Status.ACTIVE, Decimal("1.10"), None)
    assert made.id
    assert await db.get_entity(Project, made.id) == made
    assert await db.find_entities(Project, "[name] = ?", ("apollo",)) == [made]
    assert await db.count_entities(Project, "[status] = ?", ("active",)) == 1
    row = await db.get_entity("projects", made.id)
    assert {name: row[name] for name in asdict(made)} == asdict(made) | {"status": "active"}
    assert await db.delete_entity(Project, made.id) is True
    assert await db.get_entity(Project, made.id) is None
    assert await db.find_entities(Project) == []
    assert (await db.get_entity(Project, made.id, include_deleted=True)) == made
    assert await db.restore_entity(Project, made.id) == made
    assert await db.delete_entity(Project, made.id, permanent=True) is True
    assert await db.restore_entity(Project, made.id) is None


@pytest.mark.acceptance("DB4")
async def test_every_type_comes_back_equal_and_of_its_type_also_after_a_restart(place):
    db = await place.open()
    with acting_as("ada"):
        made = await db.save_entity(Everything())
    expect_same(
        {name: value for name, value in vars_of(made).items() if name not in {"id", "created_at", "created_by"}},
        {
            name: value
            for name, value in vars_of(Everything()).items()
            if name not in {"id", "created_at", "created_by"}
        },
    )
    assert (made.created_by, type(made.created_at)) == ("ada", datetime)
    await place.close()
    db = await place.open()
    assert await db.get_entity(Everything, made.id) == made
    assert await db.save_entity(made) == made
    assert [entry["version"] for entry in await db.get_entity_history(Everything, made.id)] == [1]


def vars_of(instance):
    return {name: getattr(instance, name) for name in instance.__dataclass_fields__}


async def test_an_instance_with_an_id_changes_the_entity(db):
    made = await db.save_entity(Project("apollo", size=5))
    made.size = None
    made.name = "gemini"
    again = await db.save_entity(made, comment="renamed")
    assert (again.id, again.name, again.size) == (made.id, "gemini", None)
    assert await db.count_entities(Project) == 1
    entries = await db.get_entity_history(Project, made.id)
    assert [(entry["comment"], entry["changes"]) for entry in entries[1:]] == [
        ("renamed", {"name": ["apollo", "gemini"], "size": [5, None]})
    ]
    with pytest.raises(VersionConflict):
        await db.save_entity(made, expected_version=1)
    await db.delete_entity(Project, made.id)
    with pytest.raises(EntityDeleted):
        await db.save_entity(made)


async def test_a_class_without_an_id_makes_a_new_entity_each_time(db):
    tag = Tag("x")
    assert await db.save_entity(tag) == tag
    assert await db.save_entity(tag) == tag
    assert await db.find_entities(Tag) == [tag, tag]
    assert await db.count_entities("labels") == 2


async def test_an_instance_may_go_to_another_entity_than_its_class_names(db):
    made = await db.save_entity("archive", Project("apollo"))
    assert type(made) is Project
    assert await db.count_entities(Project) == 0
    assert (await db.get_entity("archive", made.id))["name"] == "apollo"


async def test_hints_make_the_columns_before_there_is_a_value(db):
    await db.save_entity(Project("apollo"))
    expect_same(await db.find_entities("projects", "[size] + 1 = 5 OR [budget] > 3"), [])
    await db.save_entity("projects", {"id": "a", "name": "x", "size": 4, "budget": 2})
    row = await db.get_entity("projects", "a")
    expect_same((row["size"], row["budget"]), (4, Decimal(2)))


async def test_a_table_that_is_there_keeps_its_columns(db):
    await db.save_entity("projects", {"id": "a", "name": "x", "size": 1.5, "more": [1]})
    made = await db.save_entity(Project("apollo", id="b", size=4))
    expect_same(made.size, 4.0)
    row = await db.get_entity("projects", "b")
    assert (row["more"], row["size"]) == (None, 4.0)
    assert (await db.find_entities("projects", "[size] > ?", (2,)))[0]["id"] == "b"


async def test_a_table_of_the_applications_takes_instances_too(db, place):
    await db.execute(
        spell("CREATE TABLE [projects] ([id] {serial}, [name] {text} NOT NULL, [size] {int})", place.words)
    )
    numbered = make_dataclass("Project", [("name", str), ("size", int | None, None), ("id", int | None, None)])
    made = await db.save_entity(numbered("apollo", 5))
    assert (made.id, made.size) == (1, 5)
    assert await db.get_entity(numbered, "1") == made
    assert await db.find_entities(numbered, "[id] = ?", (1,)) == [made]


async def test_reading_a_class_makes_nothing(db, place):
    before = await db.execute(place.words["objects"])
    assert await db.get_entity(Project, "a") is None
    assert await db.find_entities(Project, "[size] > 5", order_by="[name]") == []
    assert await db.count_entities(Project) == 0
    assert await db.delete_entity(Project, "a") is False
    assert await db.restore_entity(Project, "a") is None
    assert await db.get_entity_history(Project, "a") == []
    assert await db.execute(place.words["objects"]) == before


async def test_rows_that_were_saved_as_dicts_read_as_instances(db):
    await db.save_entity("projects", {"id": "a", "name": "apollo", "unknown": 5})
    await db.save_entity("projects", {"id": "b", "name": "gemini", "status": "done", "budget": 3})
    assert await db.find_entities(Project, order_by="[name]") == [
        Project("apollo", id="a"),
        Project("gemini", id="b", status=Status.DONE, budget=Decimal(3)),
    ]
    await db.save_entity("projects", {"id": "c", "status": "lost", "name": "x"})
    with pytest.raises(UnsupportedModel, match=r"Project\.status.*'projects', id 'c'"):
        await db.get_entity(Project, "c")
    await db.save_entity("projects", {"id": "d"})
    with pytest.raises(UnsupportedModel, match=r"Project\.name.*id 'd'"):
        await db.find_entities(Project, "[id] = ?", ("d",))


async def test_a_wrong_value_is_refused_before_anything_is_made(db, place):
    before = await db.execute(place.words["objects"])
    with pytest.raises(UnsupportedValue, match=r"\[size\] of Project holds int, not str"):
        await db.save_entity(Project("apollo", size="5"))
    with pytest.raises(UnsupportedModel, match=r"Bad\.value"):
        await db.save_entity(make_dataclass("Bad", [("value", set)])(set()))
    with pytest.raises(UnsupportedModel, match=r"Bad\.value"):
        await db.find_entities(make_dataclass("Bad", [("value", set)]))
    assert await db.execute(place.words["objects"]) == before


async def test_indexes_are_made_with_the_first_save(db, place):
    user = make_dataclass(
        "User",
        [
            ("email", str, field(metadata={"unique": True})),
            ("team", str | None, field(default=None, metadata={"index": True})),
            ("id", str | None, None),
        ],
    )
    ada = await db.save_entity(user("ada@example.com"))
    with pytest.raises(UniqueViolation) as violation:
        await db.save_entity(user("ada@example.com"))
    assert violation.value.field == "email"
    assert await db.count_entities(user) == 1
    await db.delete_entity(user, ada.id)
    await db.save_entity(user("ada@example.com"))
    other = await place.open()
    with pytest.raises(UniqueViolation):
        await other.save_entity(user("ada@example.com"))


async def test_an_index_that_a_transaction_took_back_is_made_by_the_next_save(db):
    await db.save_entity("users", {"email": "x"})
    user = make_dataclass("User", [("email", str, field(metadata={"unique": True}))])

    async def save_and_fail():
        async with db.transaction():
            await db.save_entity(user("a"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await save_and_fail()
    await db.save_entity(user("a"))
    with pytest.raises(UniqueViolation):
        await db.save_entity(user("a"))
    async with db.transaction():
        await db.save_entity(user("b"))
        assert await db.find_entities(user, "[email] = ?", ("b",)) == [user("b")]
    assert await db.count_entities(user) == 3


@pytest.mark.acceptance("DB8")
async def test_many_first_saves_at_once_make_one_table(place):
    one, other = await place.open(), await place.open()
    saved = await asyncio.gather(*(db.save_entity(Project(f"p{n}")) for n in range(10) for db in (one, other)))
    assert len({project.id for project in saved}) == 20
    assert await one.count_entities(Project) == 20


async def test_the_past_is_read_and_brought_back_as_instances(db):
    made = await db.save_entity(Project("apollo", size=1))
    await db.save_entity(Project("gemini", id=made.id, size=2))
    assert await db.get_entity_version(Project, made.id, 1) == made
    soon = datetime(2999, 1, 1, tzinfo=UTC)
    assert (await db.get_entity(Project, made.id, as_of=soon)).name == "gemini"
    assert [each.name for each in await db.find_entities(Project, as_of=soon)] == ["gemini"]
    assert await db.count_entities(Project, as_of=soon) == 1
    assert await db.get_entity(Project, made.id, as_of="2001-01-01T00:00:00Z") is None
    assert await db.revert(Project, made.id, 1) == made
    assert await db.revert(Project, "nobody", 1) is None


async def test_names_of_classes_are_checked_as_other_names_are(db):
    for name in ("kernel_things", "things_history", "no name", "Robert'); DROP TABLE projects"):
        cls = make_dataclass("Thing", [("x", int)], namespace={"__entity__": name})
        for call in (db.save_entity(cls(1)), db.delete_entity(cls, "a"), db.revert(cls, "a", 1)):
            with pytest.raises(InvalidName):
                await call
    with pytest.raises(ReservedName):
        await db.save_entity(make_dataclass("Thing", [("_hidden", int)])(1))
    assert await db.count_entities("things") == 0
    with pytest.raises(ReservedField):
        await db.save_entity(make_dataclass("Thing", [("deleted_at", str)])("now"))


@pytest.mark.parametrize("target", [dict, int, Status, 5, None, b"projects"], ids=repr)
async def test_what_is_no_dataclass_names_no_entity(db, target):
    for call in (
        db.get_entity(target, "a"),
        db.find_entities(target),
        db.count_entities(target),
        db.delete_entity(target, "a"),
        db.get_entity_history(target, "a"),
        db.get_entity_version(target, "a", 1),
        db.save_entity(target, {"x": 1}),
    ):
        with pytest.raises(InvalidName):
            await call


@pytest.mark.parametrize("entity", [None, Project, 5, "text", [Project("a")]], ids=repr)
async def test_what_is_neither_dict_nor_instance_is_not_saved(db, entity):
    with pytest.raises(UnsupportedValue, match="An entity is a dict"):
        await db.save_entity("projects", entity)
    with pytest.raises((UnsupportedValue, InvalidName)):
        await db.save_entity(entity)
    assert await db.count_entities("projects") == 0


async def test_many_instances_are_saved_under_a_name_too_and_nothing_else_beside_them(db):
    @dataclass
    class Person:
        name: str
        id: str | None = None

    saved = await db.save_entities("crew", [Person("ada"), Person("bob")])
    assert [(type(person), person.name) for person in saved] == [(Person, "ada"), (Person, "bob")]
    assert await db.count_entities("crew") == 2
    for wrong in ([{"name": "x"}], [Person("cy"), {"name": "x"}]):
        with pytest.raises(UnsupportedValue, match="save dicts under the name"):
            await db.save_entities(Person, wrong)
    assert await db.count_entities(Person) == 0
