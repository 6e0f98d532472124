"""Orders and pages over the rows of `clauses`."""

from typing import Any

ORDERS: list[tuple[str, str]] = [
    ("[n]", "d e c a b"),
    ("n", "d e c a b"),
    ("[n] ASC", "d e c a b"),
    ("[n] DESC", "b a c e d"),
    ("[n] desc", "b a c e d"),
    ("[f]", "d e b a c"),
    ("[s]", "e d c b a"),
    ("[s] DESC", "a b c d e"),
    ("[d]", "e d b a c"),
    ("[d] DESC", "c a b d e"),
    ("[big]", "e d c a b"),
    ("[b]", "d e b a c"),
    ("[b] DESC", "c a b e d"),
    ("[t]", "d e c a b"),
    ("[day] DESC", "b a c e d"),
    ("[b] DESC, [n] DESC", "a c b e d"),
    ("[b], [n]", "d e b c a"),
    ("[id] DESC", "e d c b a"),
    ("[created_at] DESC, [id] DESC", "e d c b a"),
    ("[_version]", "a b c d e"),
    ("[_version] DESC", "e d c b a"),
    ("[nope]", "a b c d e"),
    ("", "a b c d e"),
]

PAGES: list[tuple[dict[str, Any], str]] = [
    ({}, "a b c d e"),
    ({"limit": None, "offset": None}, "a b c d e"),
    ({"limit": 0}, ""),
    ({"limit": 0, "offset": 2}, ""),
    ({"limit": 2}, "a b"),
    ({"limit": 2, "offset": 0}, "a b"),
    ({"limit": 2, "offset": 2}, "c d"),
    ({"limit": 2, "offset": 4}, "e"),
    ({"limit": 2, "offset": 5}, ""),
    ({"offset": 3}, "d e"),
    ({"offset": 10**9}, ""),
    ({"limit": 10**9}, "a b c d e"),
    ({"limit": 10**9, "offset": 10**9}, ""),
    ({"limit": 2**63 - 1}, "a b c d e"),
    ({"offset": 2**63 - 1}, ""),
    ({"limit": 2**63 - 1, "offset": 1}, "b c d e"),
    ({"order_by": "[n] DESC", "limit": 2}, "b a"),
    ({"order_by": "[n] DESC", "limit": 2, "offset": 2}, "c e"),
    ({"order_by": "[_version]", "limit": 2, "offset": 1}, "b c"),
]

REFUSED_ORDERS = [
    "[n] DESC NULLS LAST",
    "[n] COLLATE NOCASE",
    "[n]; DROP TABLE things",
    "[n] -- x",
    "[n],",
    ", [n]",
    "[n] [s]",
    "1",
    "?",
    "random()",
    "LOWER([s])",
    "CASE WHEN 1 THEN 1 END",
    "(SELECT 1)",
    '"n"',
    "[n] = 1",
    "DESC",
    "[mix]",
    "[j]",
    "[j.theme]",
    "[n] DESC ASC",
]

REFUSED_PAGES: list[dict[str, Any]] = [
    {name: value}
    for name in ("limit", "offset")
    for value in (
        -1,
        -(2**63),
        2**63,
        10**30,
        "1",
        "x",
        "1; DROP TABLE things",
        "",
        1.0,
        1.5,
        True,
        False,
        [],
        {},
        b"1",
    )
]
