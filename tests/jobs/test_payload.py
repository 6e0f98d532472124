"""What a job may carry: all that JSON gives back equal; the rest is refused, and the refusal names the place."""

from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from app_kernel import get_job_client
from app_kernel.core.errors import InvalidJob
from app_kernel.jobs.payload import DEEPEST, LONGEST_BODY, check_json, encode_json, result_text
from tests.jobs.places import JobPlace
from tests.jobs.waiting import until


@dataclass
class Thing:
    """No JSON."""

    name: str


class Model(BaseModel):
    """No JSON either."""

    name: str


class Colour(Enum):
    """No JSON either."""

    RED = "red"


class Level(IntEnum):
    """An int that comes back as another type."""

    HIGH = 1


def nested(depth: int) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def endless() -> Any:
    """A dict that holds itself."""
    value: dict[str, Any] = {}
    value["self"] = value
    return value


BAD = {
    "datetime": (datetime(2026, 1, 1, tzinfo=UTC), "datetime is no JSON"),
    "date": (date(2026, 1, 1), "date is no JSON"),
    "bytes": (b"x", "bytes is no JSON"),
    "bytearray": (bytearray(b"x"), "bytearray is no JSON"),
    "uuid": (UUID(int=1), "UUID is no JSON"),
    "decimal": (Decimal("1.5"), "Decimal is no JSON"),
    "set": ({1}, "set is no JSON"),
    "complex": (1j, "complex is no JSON"),
    "object": (object(), "object is no JSON"),
    "class": (dict, "type is no JSON"),
    "function": (nested, "function is no JSON"),
    "generator": ((each for each in ()), "generator is no JSON"),
    "dataclass": (Thing("x"), "Thing is no JSON"),
    "model": (Model(name="x"), "Model is no JSON"),
    "enum": (Colour.RED, "Colour is no JSON"),
    "int enum": (Level.HIGH, "Level is no JSON"),
    "ordered dict": (OrderedDict(a=1), "OrderedDict is no JSON"),
    "defaultdict": (defaultdict(list), "defaultdict is no JSON"),
    "named tuple": (namedtuple("Pair", "a b")(1, 2), "Pair is no JSON"),
    "nan": (float("nan"), "nan is no JSON"),
    "infinity": (float("-inf"), "-inf is no JSON"),
    "2**63": (2**63, "an integer beyond 64 bits"),
    "2**64": (2**64, "an integer beyond 64 bits"),
    "-2**63-1": (-(2**63) - 1, "an integer beyond 64 bits"),
    "high surrogate": ("a\ud800", "half of a surrogate pair"),
    "low surrogate": ("\udfffé", "half of a surrogate pair"),
    "nul": ("a\0b", "has a NUL in it"),
    "nul beside an accent": ("é\0", "has a NUL in it"),
    "number as key": ({1: "a"}, "the key 1 is no text"),
    "none as key": ({None: "a"}, "the key None is no text"),
    "tuple as key": ({(1, 2): "a"}, r"the key \(1, 2\) is no text"),
    "surrogate as key": ({"\ud800": 1}, "half of a surrogate pair"),
    "nul as key": ({"a\0": 1}, "has a NUL in it"),
}


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("name", BAD)
def test_what_json_does_not_give_back_is_refused_wherever_it_stands(name: str) -> None:
    value, words = BAD[name]
    for payload, place in (
        (value, "payload"),
        ({"a": value}, "payload.a"),
        ([0, value], r"payload\[1\]"),
        ({"items": [{"price": value}]}, r"payload.items\[0\].price"),
    ):
        with pytest.raises(InvalidJob, match=f"^{place}: .*{words}") as caught:
            check_json("payload", payload)
        assert "\n" not in caught.value.message


@pytest.mark.acceptance("JB9")
@pytest.mark.parametrize("value", [nested(DEEPEST), nested(100_000), endless()])
def test_what_is_nested_too_deep_or_holds_itself_is_refused(value: Any) -> None:
    with pytest.raises(InvalidJob, match="nested too deep"):
        check_json("payload", value)


GOOD = [
    None, True, 0, -1, 2**63 - 1, -(2**63), 1.5, -0.0, 1e308, 5e-324, "", "é", "\U0001f600", "\u2028", "\x01\x7f", [],
    {}, {"": {"": []}}, [[[]]], nested(DEEPEST - 1), {"a.b": 1, "a[0]": 2, "__class__": "os.system"},
]  # fmt: skip


@pytest.mark.acceptance("JB9")
async def test_a_handler_is_given_exactly_what_was_enqueued(place: JobPlace) -> None:
    seen: dict[str, Any] = {}

    async def keep(payload: Any, ctx: Any) -> Any:
        seen[ctx.job_id] = payload
        return payload

    async with place.service({"keep": keep}, jobs="manual") as client:
        ids = [(await get_job_client().enqueue("keep", value)).job_id for value in GOOD]
        await client.jobs.drain()
        views = [await get_job_client().get(id) for id in ids]
    assert [seen[id] for id in ids] == GOOD
    assert [view and (view.payload, view.result) for view in views] == [(value, value) for value in GOOD]
    assert [type(seen[id]) for id in ids] == [type(value) for value in GOOD]


async def test_a_tuple_arrives_as_a_list(place: JobPlace) -> None:
    async def give_back(payload: Any) -> Any:
        return payload

    async with place.service({"give_back": give_back}) as client:
        await get_job_client().enqueue("give_back", {"pair": (1, ("a",))})
        (view,) = await client.jobs.drain()
    assert view.payload == view.result == {"pair": [1, ["a"]]}


@pytest.mark.acceptance("JB9")
async def test_at_most_a_megabyte_of_json_counted_in_bytes(place: JobPlace) -> None:
    async def measure(payload: str) -> int:
        return len(payload.encode())

    async with place.service({"measure": measure}) as client:
        jobs = get_job_client()
        room = LONGEST_BODY - len('{"payload":""}')
        for text in ("x" * room, "é" * (room // 2), "\U0001f600" * (room // 4)):
            await jobs.enqueue("measure", text)
        assert [view.result for view in await client.jobs.drain()] == [room, room // 2 * 2, room // 4 * 4]
        before = await client.jobs.enqueued()
        for text in ("x" * (room + 1), "é" * (room // 2 + 1), "\U0001f600" * (room // 4 + 1), '"' * (room // 2 + 1)):
            with pytest.raises(InvalidJob, match=r"at most 1048576 bytes as JSON\. Store it and pass its id"):
                await jobs.enqueue("measure", text)
        with pytest.raises(InvalidJob, match="at most 1048576 bytes"):
            await jobs.enqueue("measure", "x" * 10_000_000)
        with pytest.raises(InvalidJob, match="at most 1048576 bytes"):
            await jobs.enqueue("measure", "x" * 600_000, metadata={"more": "x" * 600_000})
        assert await client.jobs.enqueued() == before


@pytest.mark.acceptance("JB9")
async def test_a_bad_payload_leaves_nothing_behind_not_even_its_neighbours(place: JobPlace) -> None:
    async def keep(payload: Any) -> None:
        """Does nothing."""

    async with place.service({"keep": keep}) as client:
        jobs = get_job_client()
        with pytest.raises(InvalidJob, match=r"payload.at: datetime is no JSON.*isoformat"):
            await jobs.enqueue("keep", {"at": datetime.now(UTC)})
        with pytest.raises(InvalidJob, match=r"payload: bytes"):
            await jobs.enqueue_many("keep", [{"a": 1}, b"x", {"a": 2}])
        async with client.db.transaction():
            await jobs.enqueue("keep", {"in": "a transaction"})
            with pytest.raises(InvalidJob):
                await jobs.enqueue("keep", {"at": float("nan")})
        ran = await until(client.jobs.drain)
        assert [view.payload for view in ran] == [{"in": "a transaction"}]
        assert len(await client.jobs.enqueued()) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab.é[", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_all_json_is_taken_and_comes_back_equal(value: Any) -> None:
    import orjson

    assert orjson.loads(encode_json("payload", value)) == value


# Results: the work is done, so what cannot be kept of them is no failure.


def test_a_result_that_is_no_json_is_dropped_with_the_reason() -> None:
    assert result_text(None) == (None, "")
    assert result_text({"a": [1, None]}) == ('{"a":[1,null]}', "")
    assert result_text(OrderedDict(a=1)) == ('{"a":1}', "")
    text, problem = result_text({"at": datetime.now(UTC)})
    assert text is None
    assert problem.startswith("result.at: datetime is no JSON")
    text, problem = result_text("x" * (LONGEST_BODY + 1))
    assert text is None
    assert "at most 1048576 may be" in problem
    assert result_text(endless())[0] is None


async def test_a_job_whose_result_cannot_be_kept_is_completed_without_one(
    place: JobPlace, caplog: pytest.LogCaptureFixture
) -> None:
    async def made(payload: Any) -> Any:
        return [endless(), b"x", {1: 2}, float("nan"), "\ud800", "x" * 2_000_000][payload]

    async with place.service({"made": made}) as client:
        await get_job_client().enqueue_many("made", range(6))
        views = await client.jobs.drain()
    assert [(view.status, view.result) for view in views] == [("completed", None)] * 6
    dropped = [record for record in caplog.records if record.message == "job_result_dropped"]
    assert len(dropped) == 6
