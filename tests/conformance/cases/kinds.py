"""What becomes of a field when a value of another kind is saved into it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import permutations
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class Change:
    """Values saved one after the other into one field, and the values that are read afterwards."""

    label: str
    given: tuple[Any, ...]
    read: tuple[Any, ...]
    mixes: tuple[str, ...] | None = None
    """The kinds that the warning names; None where the field widens without one."""
    on_mysql: "Change | None" = None
    """The same with numbers that MySQL has room for, where it has less than the others."""

    def on(self, backend: str) -> "Change":
        """What is shown on a backend."""
        return self.on_mysql if backend == "mysql" and self.on_mysql is not None else self

    def __str__(self) -> str:
        return self.label


EXACT = 2**53

WIDENED = [
    Change("an int field takes a float", (5, -3, 1.5), (5.0, -3.0, 1.5)),
    Change("an int field at the limit of exact floats takes a float", (EXACT, 1.5), (float(EXACT), 1.5)),
    Change("an int field at the lower limit takes a float", (-EXACT, 1.5), (float(-EXACT), 1.5)),
    Change("a float field takes an int", (1.5, 5), (1.5, 5.0)),
    Change("a float field takes the last exact int", (1.5, EXACT), (1.5, float(EXACT))),
    Change("an int field takes an int beyond 64 bits", (5, 2**63), (5, 2**63)),
    Change("an int field at its limits takes a larger int", (2**63 - 1, -(2**63), 2**64), (2**63 - 1, -(2**63), 2**64)),
    Change("a field of large ints takes a small one", (2**63, 5), (2**63, 5)),
    Change(
        "an int field takes a Decimal",
        (5, EXACT + 1, 2**63 - 1, Decimal("1.5")),
        (Decimal(5), Decimal(EXACT + 1), Decimal(2**63 - 1), Decimal("1.5")),
    ),
    Change(
        "a field of large ints takes a Decimal",
        (10**40, Decimal("0.1")),
        (Decimal(10**40), Decimal("0.1")),
        on_mysql=Change("35 digits", (10**34, Decimal("0.1")), (Decimal(10**34), Decimal("0.1"))),
    ),
    Change("a Decimal field takes an int", (Decimal("1.5"), 5), (Decimal("1.5"), Decimal(5))),
    Change("a Decimal field takes a large int", (Decimal("1.5"), 10**30), (Decimal("1.5"), Decimal(10**30))),
    Change("an int field grows twice", (1, 2**70, Decimal("0.5")), (Decimal(1), Decimal(2**70), Decimal("0.5"))),
    Change("a dict and a list are one kind", ({"a": 1}, [1], {}), ({"a": 1}, [1], {})),
    Change("None in between changes no kind", (5, None, 6), (5, None, 6)),
]

MIXED = [
    Change("an int beyond exact floats, then a float", (EXACT + 1, 1.5), (EXACT + 1, 1.5), ("int", "float")),
    Change("an int below exact floats, then a float", (-EXACT - 1, 1.5), (-EXACT - 1, 1.5), ("int", "float")),
    Change("small and large ints, then a float", (1, EXACT + 1, 0.5), (1, EXACT + 1, 0.5), ("int", "float")),
    Change("a float, then an int that no float can be", (1.5, EXACT + 1), (1.5, EXACT + 1), ("float", "int")),
    Change("whole floats stay floats", (5.0, 1e16, "x"), (5.0, 1e16, "x"), ("float", "str")),
    Change("0 and 1 stay ints", (0, 1, True, False), (0, 1, True, False), ("int", "bool")),
    Change("True and False stay booleans", (True, False, 0, 1), (True, False, 0, 1), ("bool", "int")),
    Change("digits stay text", ("007", "5", 5, "1e3"), ("007", "5", 5, "1e3"), ("str", "int")),
    Change("text that looks like JSON stays text", ('{"a":1}', {"a": 1}), ('{"a":1}', {"a": 1}), ("str", "json")),
    Change("a Decimal and its text", (Decimal("1.50"), "1.50"), (Decimal("1.50"), "1.50"), ("decimal", "str")),
    Change("a Decimal and a float", (Decimal("0.1"), 0.1), (Decimal("0.1"), 0.1), ("decimal", "float")),
    Change("the empty text beside None", (1, "", None), (1, "", None), ("int", "str")),
    Change("a large int and a float", (2**63, 1e19), (2**63, 1e19), ("bigint", "float")),
    Change("bytes and the same as text", (b"x", "x"), (b"x", "x"), ("bytes", "str")),
    Change(
        "a UUID and its text",
        (UUID(int=1), str(UUID(int=1))),
        (UUID(int=1), str(UUID(int=1))),
        ("uuid", "str"),
    ),
    Change(
        "an instant and a date",
        (datetime(2024, 1, 1, tzinfo=UTC), date(2024, 1, 1)),
        (datetime(2024, 1, 1, tzinfo=UTC), date(2024, 1, 1)),
        ("datetime", "date"),
    ),
    Change(
        "a dict that looks like the inside of a mixed field",
        (1, {"$kind": "decimal", "value": "1"}, {"$kind": "nonsense"}),
        (1, {"$kind": "decimal", "value": "1"}, {"$kind": "nonsense"}),
        ("int", "json"),
    ),
]

SAMPLES: dict[str, Any] = {
    "str": "007",
    "int": 7,
    "bigint": 2**63,
    "float": 1.5,
    "bool": True,
    "decimal": Decimal("1.5"),
    "json": {"a": [1, True, None]},
    "datetime": datetime(2024, 1, 1, 12, 0, 0, 1, UTC),
    "date": date(2024, 1, 1),
    "bytes": b"\x00\xff",
    "uuid": UUID(int=7),
}

_WIDENING = {
    ("int", "float"),
    ("float", "int"),
    ("int", "bigint"),
    ("bigint", "int"),
    ("int", "decimal"),
    ("bigint", "decimal"),
    ("decimal", "int"),
    ("decimal", "bigint"),
}

PAIRS = [
    Change(f"{one} then {other}", (SAMPLES[one], SAMPLES[other]), (SAMPLES[one], SAMPLES[other]), (one, other))
    for one, other in permutations(SAMPLES, 2)
    if (one, other) not in _WIDENING
]
"""Every pair of kinds that does not widen: both values stay what they are."""
