"""What the columns of the application's own tables hold: the declared type is storage, the kind is learned."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

from tests.conformance.steps import RESTART, Case, execute, find, get, history, save

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)

KINDS = [
    Case(
        "a bool in an integer column is found as True and as 1",
        execute("CREATE TABLE [own] ([id] {key}, [flag] {bool})"),
        save("own", {"id": "a", "flag": True}).has(flag=True),
        save("own", {"id": "b", "flag": False}).has(flag=False),
        find("own", "[flag] = ?", (True,)).ids("a"),
        find("own", "[flag] = 1").ids("a"),
        find("own", "[flag] = ?", (1,)).ids("a"),
        find("own", "[flag] = ?", (False,)).ids("b"),
        find("own", "[flag] = 0").ids("b"),
        RESTART,
        get("own", "a").has(flag=True),
        find("own", "[flag] = ?", (True,)).ids("a"),
        find("own", "[flag] = 1").ids("a"),
        execute("SELECT [flag] + 0 FROM [own] ORDER BY [id]").gives([(1,), (0,)]),
        history("own", "a").lists("flag", True),
    ),
    Case(
        "an int column that was written by hand is found by int and by bool before any save",
        execute("CREATE TABLE [own] ([id] {key}, [flag] {int})"),
        execute("INSERT INTO [own] VALUES ('a', 1)"),
        execute("INSERT INTO [own] VALUES ('b', 0)"),
        find("own", "[flag] = ?", (1,)).ids("a"),
        find("own", "[flag] = ?", (True,)).ids("a"),
        find("own", "[flag] = 0").ids("b"),
        get("own", "a").has(flag=1),
    ),
    Case(
        "a dict in a text column comes back as a dict, also after a restart",
        execute("CREATE TABLE [own] ([id] {key}, [j] {json})"),
        save("own", {"id": "a", "j": {"a": [1, None]}}).has(j={"a": [1, None]}),
        RESTART,
        get("own", "a").has(j={"a": [1, None]}),
        save("own", {"id": "b", "j": [1]}).has(j=[1]),
        history("own", "a").lists("j", {"a": [1, None]}),
    ),
    Case(
        "a kind is learned also when None came first, and after a restart",
        execute("CREATE TABLE [own] ([id] {key}, [j] {json}, [t] {datetime}, [flag] {bool}, [d] {decimal})"),
        save("own", {"id": "n", "j": None, "t": None, "flag": None, "d": None}).has(j=None, t=None, flag=None, d=None),
        RESTART,
        save("own", {"id": "a", "j": {"a": 1}, "t": NOON, "flag": True, "d": Decimal("1.50")}),
        get("own", "a").has(j={"a": 1}, t=NOON, flag=True, d=Decimal("1.50")),
        RESTART,
        get("own", "a").has(j={"a": 1}, t=NOON, flag=True, d=Decimal("1.50")),
        get("own", "n").has(j=None, t=None, flag=None, d=None),
        find("own", "[t] = ?", (NOON,)).ids("a"),
        find("own", "[d] = ?", (Decimal("1.5"),)).ids("a"),
    ),
    Case(
        "every kind that text can carry comes back from a text column",
        execute(
            "CREATE TABLE [own] ([id] {key}, [s] {text}, [t] {text},"
            " [day] {text}, [u] {text}, [d] {text}, [big] {text})"
        ),
        save(
            "own",
            {
                "id": "a",
                "s": "x",
                "t": NOON,
                "day": date(2024, 1, 1),
                "u": UUID(int=1),
                "d": Decimal("10.10"),
                "big": 2**80,
            },
        ),
        RESTART,
        get("own", "a").has(s="x", t=NOON, day=date(2024, 1, 1), u=UUID(int=1), d=Decimal("10.10"), big=2**80),
        find("own", "[u] = ?", (UUID(int=1),)).ids("a"),
        find("own", "[d] > ?", (Decimal("9"),)).ids("a"),
    ),
    Case(
        "text that looks like something else stays text",
        execute("CREATE TABLE [own] ([id] {key}, [s] {text})"),
        *(
            save("own", {"id": f"i{number}", "s": text}).has(s=text)
            for number, text in enumerate(('{"a": 1}', "[1]", "007", "1e3", "1.50", "true", "null", "2024-01-01", ""))
        ),
        RESTART,
        find("own", order_by="[id]").lists(
            "s", '{"a": 1}', "[1]", "007", "1e3", "1.50", "true", "null", "2024-01-01", ""
        ),
    ),
    Case(
        "text that was written by hand comes back as stored",
        execute("CREATE TABLE [own] ([id] {key}, [s] {text})"),
        execute("INSERT INTO [own] VALUES ('a', '{\"a\": 1}')"),
        execute("INSERT INTO [own] VALUES ('b', '2024-01-01T00:00:00Z')"),
        get("own", "a").has(s='{"a": 1}'),
        get("own", "b").has(s="2024-01-01T00:00:00Z"),
    ),
    Case(
        "a stored value that does not read as the kind comes back as stored",
        execute(
            "CREATE TABLE [own] ([id] {key}, [j] {json}, [t] {datetime}, [d] {decimal}, [u] {text}, [flag] {bool})"
        ),
        save("own", {"id": "a", "j": {"a": 1}, "t": NOON, "d": Decimal("1"), "u": UUID(int=1), "flag": True}),
        execute(
            "UPDATE [own] SET [j] = 'no json', [t] = 'yesterday', [d] = 'much', [u] = 'x', [flag] = 7 WHERE [id] = 'a'"
        ),
        get("own", "a").has(j="no json", t="yesterday", d="much", u="x", flag=7),
        find("own").lists("j", "no json"),
        save("own", {"id": "a", "flag": False}).has(flag=False, j="no json"),
        history("own", "a").lists("j", {"a": 1}, "no json"),
    ),
    Case(
        "a value that an adopted column cannot hold is refused and changes nothing",
        execute("CREATE TABLE [own] ([id] {key}, [n] {int}, [s] {text})"),
        save("own", {"id": "a", "n": 1, "s": "x"}),
        save("own", {"id": "a", "n": "text"}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "n": 1.5}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "n": 2**63}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "n": {"a": 1}}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "n": True}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "s": 5}).raises("UnsupportedValue", "[s]"),
        save("own", {"id": "a", "s": {"a": 1}}).raises("UnsupportedValue", "[s]"),
        get("own", "a").has(n=1, s="x", _version=1),
        save("own", {"id": "b", "n": 2, "s": "y"}).has(n=2, s="y"),
    ),
    Case(
        "a value that an untouched column cannot hold is refused",
        execute("CREATE TABLE [own] ([id] {key}, [n] {int}, [s] {text})"),
        save("own", {"id": "a", "n": "007"}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "n": Decimal("1")}).raises("UnsupportedValue", "[n]"),
        save("own", {"id": "a", "s": 5}).raises("UnsupportedValue", "[s]"),
        save("own", {"id": "a", "s": True}).raises("UnsupportedValue", "[s]"),
        save("own", {"id": "a", "n": 5, "s": "5"}).has(n=5, s="5"),
    ),
    Case(
        "a float column takes ints as floats",
        execute("CREATE TABLE [own] ([id] {key}, [f] {float})"),
        save("own", {"id": "a", "f": 5}).has(f=5.0),
        save("own", {"id": "b", "f": 0.5}).has(f=0.5),
        save("own", {"id": "c", "f": 7}).has(f=7.0),
        save("own", {"id": "d", "f": 2**53 + 1}).raises("UnsupportedValue", "[f]"),
        RESTART,
        find("own", order_by="[id]").lists("f", 5.0, 0.5, 7.0),
    ),
    Case(
        "bytes come back from the application's own column",
        execute("CREATE TABLE [own] ([id] {key}, [x] {bytes})"),
        save("own", {"id": "a", "x": b"\x00\xff"}).has(x=b"\x00\xff"),
        RESTART,
        get("own", "a").has(x=b"\x00\xff"),
        find("own", "[x] = ?", (b"\x00\xff",)).ids("a"),
    ),
]
