"""What runs on a connection: units of the store's own, and single statements of the caller's."""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.drivers.base import ANY_GENERATION, Unit, Work
from app_kernel.db.drivers.units import Answer, answer, check_text

T = TypeVar("T")

SCHEMA_LOCK_SECONDS = 15
"""How long a change of the schema waits for another one; nobody else waits behind it."""
DDL_LOCK_SECONDS = 3
"""How long a change of a table waits for those who use it; meanwhile everybody else waits behind it."""
SCHEMA_LOCK = 0x6B65726E656C
"""The advisory lock under which a schema is changed, among all processes."""

GENERATION = "SELECT value FROM kernel_meta WHERE key = 'generation'"
BUMP_GENERATION = "UPDATE kernel_meta SET value = value + 1 WHERE key = 'generation' RETURNING value"
FORGET_DROPPED = (
    "UPDATE kernel_catalog SET adopted = 1 WHERE adopted = 0 AND entity NOT IN"
    " (SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p'))"
)
"""A table that the application makes in place of a dropped one is its own; the kinds stay, for the history's sake."""
TAKE_SCHEMA_LOCK = (
    f"; SET LOCAL lock_timeout = {SCHEMA_LOCK_SECONDS * 1000}; SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"
    f"; SET LOCAL lock_timeout = {DDL_LOCK_SECONDS * 1000}"
)
KEEP_LOCK_TIMEOUT = "; SELECT set_config('app_kernel.lock_timeout', current_setting('lock_timeout'), true)"
"""Before TAKE_SCHEMA_LOCK in a transaction that goes on after the change of the schema."""
RESTORE_LOCK_TIMEOUT = "SELECT set_config('lock_timeout', current_setting('app_kernel.lock_timeout'), true)"

_LEADING = re.compile(r"(?:\s|--[^\n]*(?:\n|$)|\()+")
_WORD = re.compile(r"[A-Za-z]+")
_LASTING = frozenset(
    {
        "ABORT", "BEGIN", "CLOSE", "COMMIT", "COPY", "DEALLOCATE", "DECLARE", "DISCARD", "END", "EXECUTE", "FETCH",
        "LISTEN", "LOAD", "MOVE", "PREPARE", "RELEASE", "RESET", "ROLLBACK", "SAVEPOINT", "SET", "START", "UNLISTEN",
    }
)  # fmt: skip
"""First words of what would end a transaction or outlast the statement on a connection that others use too."""
_DEFINING = frozenset({"ALTER", "CALL", "CREATE", "DO", "DROP", "IMPORT"})
_QUOTED = re.compile(
    r"""(?<!\w)[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | (?P<name>"(?:[^"]|"")*")
      | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$""",
    re.VERBOSE | re.DOTALL,
)
_TEMPORARY = re.compile(
    r"\b(CREATE(\s+OR\s+REPLACE)?|INTO)(\s+(LOCAL|GLOBAL))?\s+TEMP(ORARY)?\b|\bpg_temp(_\d+)?\b", re.IGNORECASE
)
_QUOTED_TEMPORARY = re.compile(r'"pg_temp(_\d+)?"\s*\.', re.IGNORECASE)
_INTO = re.compile(r"\bINTO\b", re.IGNORECASE)
_LEAVES_STATE = re.compile(
    r"""\b(set_config|pg_(try_)?advisory_(un)?lock\w*|dblink\w*|lo_open|setseed)\b | \bU&" """,
    re.IGNORECASE | re.VERBOSE,
)
"""Functions that do so; a name spelled as U&"..." may be any of them."""


class RawStatement:
    """A statement of the caller's, as far as its text tells what it does; raises InvalidQuery for a forbidden one."""

    __slots__ = ("defines", "leaves_state")

    def __init__(self, sql: str) -> None:
        check_text(sql)
        word = first_word(sql)
        words = _QUOTED.sub("''", sql)
        defining = word in _DEFINING or (word in ("SELECT", "WITH") and _INTO.search(words) is not None)
        if word in _LASTING or (defining and _is_temporary(sql, words)):
            raise InvalidQuery(
                "execute() may not open or end transactions, change settings or make temporary tables:"
                " the connection it runs on is everybody's."
            )
        self.defines = defining and not (word == "WITH" and "INSERT" in words.upper())
        """Whether it may change the schema."""
        # In all of the text: names may be quoted, and a connection more costs less than to overlook one.
        self.leaves_state = word in ("CALL", "DO") or _LEAVES_STATE.search(sql) is not None
        """Whether the connection may keep something of it, so that nobody else may use it."""


def _is_temporary(sql: str, words: str) -> bool:
    names = _QUOTED.sub(lambda found: found["name"] or "''", sql)
    return _TEMPORARY.search(words) is not None or _QUOTED_TEMPORARY.search(names) is not None


def first_word(sql: str) -> str:
    """The first keyword in capitals, after space, comments and parentheses; empty where there is none."""
    at = 0
    while True:
        found = _LEADING.match(sql, at)
        at = found.end() if found else at
        if not sql.startswith("/*", at):
            word = _WORD.match(sql, at)
            return word[0].upper() if word else ""
        at = _end_of_comment(sql, at)


def _end_of_comment(sql: str, at: int) -> int:
    """PostgreSQL's comments nest."""
    depth = 0
    while at < len(sql):
        if sql.startswith("/*", at):
            depth, at = depth + 1, at + 2
        elif sql.startswith("*/", at):
            depth, at = depth - 1, at + 2
            if depth == 0:
                return at
        else:
            at += 1
    return at


def guard(table: str, generation: int) -> str:
    """Statements after which nobody can change the table; the last one fails if the schema is not at `generation`.

    `table` is spelled as the dialect does.

    Each of them sees what was committed before it began, also in one round trip; so the look comes after the lock.
    """
    if generation == ANY_GENERATION:
        return ""
    current = f"key = 'generation' AND value = {generation:d}"
    look = f"SELECT 1 / (SELECT count(*) FROM kernel_meta WHERE {current})"  # noqa: S608 - it holds a number only
    return f"; LOCK TABLE {table} IN ROW EXCLUSIVE MODE; {look}"


def defining_unit(sql: str, params: Sequence[Any]) -> Unit[tuple[Answer, int]]:
    """A statement of the caller's that may change the schema, and what follows of that; the generation after it."""

    def work() -> Work[tuple[Answer, int]]:
        rows = yield (sql, params)
        yield (FORGET_DROPPED, ())
        generation = yield (BUMP_GENERATION, ())
        return answer(rows), generation[0][0]

    return work


def forget_unit() -> Work[None]:
    """What follows of a change of the schema that happened in a transaction of its own."""
    yield (FORGET_DROPPED, ())
    yield (BUMP_GENERATION, ())


def with_generation(unit: Unit[T]) -> Unit[tuple[T, int]]:
    """The unit, and the schema's generation after it."""

    def work() -> Work[tuple[T, int]]:
        result = yield from unit()
        rows = yield (GENERATION, ())
        return result, rows[0][0]

    return work
