"""What a statement of the caller's does to MySQL, as far as its text tells, and statements of the driver's own."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.dialects.mysql_catalog import (
    BUMP_GENERATION,
    GENERATION_OF,
    LAST_GENERATION,
    MARK_SHIFT,
    at_generation,
    mark_of,
)
from app_kernel.db.drivers.base import ANY_GENERATION, Unit, Work
from app_kernel.db.drivers.units import Answer, answer, check_text
from app_kernel.db.table import HISTORY_SUFFIX

SCHEMA_LOCK_SECONDS = 15
"""How long a change of the schema waits for another one; nobody else waits behind it."""
DDL_LOCK_SECONDS = 3
"""How long a change of a table waits for those who use it; meanwhile everybody else waits behind it."""

FORGET_DROPPED = (
    'UPDATE "kernel_catalog" SET "adopted" = 1 WHERE "adopted" = 0 AND "entity" NOT IN'
    " (SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE())"
)
"""A table that the application makes in place of a dropped one is its own; the kinds stay, for the history's sake."""
_FAILS = "(SELECT 1 UNION SELECT 2)"
"""An error of MySQL's wherever one value is expected, and only when it is asked for."""

# ASCII: to MySQL no other character is a space, neither here nor behind two hyphens.
_LEADING = re.compile(r"(?:\s|--(?=\s)[^\n]*(?:\n|$)|#[^\n]*(?:\n|$)|/\*(?![!M]).*?\*/|\()+", re.DOTALL | re.ASCII)
_WORD = re.compile(r"[A-Za-z]+")
_LASTING = frozenset(
    {
        "BEGIN", "BINLOG", "CHANGE", "COMMIT", "DEALLOCATE", "DELIMITER", "EXECUTE", "FLUSH", "GET", "HANDLER", "KILL",
        "LOAD", "LOCK", "PREPARE", "PURGE", "RELEASE", "RESET", "ROLLBACK", "SAVEPOINT", "SET", "SHUTDOWN", "START",
        "STOP", "UNLOCK", "USE", "XA",
    }
)  # fmt: skip
"""First words of what would end a transaction or outlast the statement on a connection that others use too."""
_DEFINING = frozenset(
    {
        "ALTER", "ANALYZE", "CACHE", "CALL", "CHECK", "CREATE", "DROP", "GRANT", "IMPORT", "INSTALL", "OPTIMIZE",
        "RENAME", "REPAIR", "REVOKE", "TRUNCATE", "UNINSTALL",
    }
)  # fmt: skip
"""First words of what commits the transaction that is open."""
_QUOTED = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | `(?:[^`]|``)*` | --(?=\s)[^\n]* | \#[^\n]* | /\*(?![!M]).*?\*/""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_OPEN = re.compile("""['"`]|/\\*""")
_ROUTINE = re.compile(
    r"CREATE\s+(OR\s+REPLACE\s+)?(AGGREGATE\s+)?(DEFINER\s*=\s*\S+\s+)?(TRIGGER|PROCEDURE|FUNCTION|EVENT|PACKAGE)\b",
    re.IGNORECASE,
)
_BLOCK = re.compile(
    r"""(?P<end>\bEND(?:\s+(?:IF|CASE|LOOP|WHILE|REPEAT|FOR))?\b) | ; | \b(?:BEGIN|CASE|LOOP|WHILE)\b
    | \bREPEAT\b(?!\s*\() | \bIF\b(?=[^;]*\bTHEN\b) | \bFOR\b(?!\s+(?:EACH|UPDATE)\b)(?=[^;]*\bDO\b)""",
    re.VERBOSE | re.IGNORECASE,
)
"""What opens and closes a block in the body of a routine, and what ends a statement there."""
_TEMPORARY = re.compile(r"\bCREATE\s+(OR\s+REPLACE\s+)?TEMPORARY\b", re.IGNORECASE)
_INTO = re.compile(r"\bINTO\s+(OUTFILE|DUMPFILE|@)|@\w*\s*:=", re.IGNORECASE)
_KEEPING = "GET_LOCK|RELEASE_LOCK|RELEASE_ALL_LOCKS|LAST_INSERT_ID"
_LEAVES_STATE = re.compile(rf"\b({_KEEPING})\b|@", re.IGNORECASE)
_QUOTED_KEEPING = re.compile(rf"""[`"]({_KEEPING})[`"]""", re.IGNORECASE)
_DEFINED = re.compile(
    r"""\b(?:TABLES?(?:\s+IF\s+(?:NOT\s+)?EXISTS)?|ON|REFERENCES|TRUNCATE|WRITE,)\s+(?:"([^"]+)"|`([^`]+)`|(\w+))""",
    re.IGNORECASE,
)
_USED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|DELETE)\s+`?(\w+)`?", re.IGNORECASE)
_NAMES = re.compile(r'"([^"]+)"')


class RawStatement:
    """A statement of the caller's, as far as its text tells what it does; raises InvalidQuery for a forbidden one."""

    __slots__ = ("defines", "leaves_state")

    def __init__(self, sql: str) -> None:
        words = _QUOTED.sub(_blank, sql)
        word = first_word(sql)
        if "/*!" in words or "/*M!" in words:
            raise InvalidQuery("execute() runs no comments that only some servers execute.")
        if _OPEN.search(words.replace("''", "")):
            raise InvalidQuery("A quote or a comment in the statement has no end.")
        if word in _LASTING or _TEMPORARY.search(words) or _INTO.search(words):
            raise InvalidQuery(
                "execute() may not open or end transactions, change settings, variables or files, or make temporary"
                " tables: the connection it runs on is everybody's."
            )
        if _has_second(words.strip().removesuffix(";")):
            raise InvalidQuery("execute() runs one statement at a time.")
        self.defines = word in _DEFINING
        """Whether it may change the schema, and commits what is open."""
        self.leaves_state = _LEAVES_STATE.search(words) is not None or _QUOTED_KEEPING.search(sql) is not None
        """Whether the connection may keep something of it, so that nobody else may use it."""


def first_word(sql: str) -> str:
    """The first keyword in capitals, after space, comments and parentheses; empty where there is none."""
    found = _LEADING.match(sql)
    word = _WORD.match(sql, found.end() if found else 0)
    return word[0].upper() if word else ""


def _blank(found: re.Match[str]) -> str:
    """What stands for quoted text and for a comment; raises InvalidQuery where a parameter is in it."""
    if "\0" in found[0]:
        # Its value would be a part of the name or the comment, and could end it.
        raise InvalidQuery("A ? of the statement stands in a comment or in quotes; write ?? for a question mark.")
    return " " if found[0][0] in "-#/" else "''"


def _has_second(words: str) -> bool:
    """Whether another statement follows, in a text without quotes and comments; the body of a routine is one."""
    if ";" not in words or not _ROUTINE.match(words):
        return ";" in words
    depth = 0
    for found in _BLOCK.finditer(words):
        if found[0] == ";" and depth <= 0:
            return True
        depth += 0 if found[0] == ";" else -1 if found["end"] else 1
    return False


def check_sendable(sql: str) -> None:
    """Raises InvalidQuery for a statement that cannot be sent; NUL stands in marks, and nobody else's text has one."""
    if not sql.isascii():
        check_text(sql.replace("\0", ""))


def mark_change(entity: str) -> str:
    """Marks the generation before the columns of an entity change, which takes several statements.

    Whoever may have lost the process that changed them sees the mark together with the entity's rows.
    """
    marked = f'("value" & {LAST_GENERATION}) + {mark_of(entity) << MARK_SHIFT}'
    return f"""UPDATE "kernel_meta" SET "value" = {marked} WHERE "key" = 'generation'"""  # noqa: S608 - numbers only


def generation_in(seen: int) -> int:
    """The generation in a number that may be marked."""
    return seen & LAST_GENERATION


def is_marked(seen: int, tables: Iterable[str]) -> bool:
    """Whether the number is marked for one of these tables, of which a history has the mark of its entity."""
    return seen > LAST_GENERATION and (seen >> MARK_SHIFT) in {mark_of(entity_of(table)) for table in tables}


def entity_of(table: str) -> str:
    """The entity of a table or of a history, also where only its generation is asked for."""
    return table.removeprefix(GENERATION_OF).removesuffix(HISTORY_SUFFIX)


def guard(entity: str, table: str, generation: int) -> str:
    """Statements after which nobody can change the table; the last one fails if the schema is not at `generation`.

    So it does when a change of the entity's columns was broken off. `table` is spelled as the dialect does. A statement
    takes hold of all its tables, until the transaction ends, before it looks at any row: so what it sees of the
    generation is what counts afterwards.
    """
    if generation == ANY_GENERATION:
        return ""
    nothing = f"FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE 1 = 0)"  # noqa: S608 - a quoted name
    fits = f"""SELECT {at_generation(entity, str(generation))} FROM "kernel_meta" WHERE "key" = 'generation'"""  # noqa: S608 - numbers only
    # Without a row of its own, so that what is sent together with it has the answer for itself.
    return f"; SELECT 1 {nothing} AND IF(({fits}), 0, {_FAILS})"


def schema_lock(database: str) -> str:
    """The name of the lock under which a database's schema is changed, among all processes; the server has one set."""
    return f"app_kernel.{hashlib.sha256(database.encode()).hexdigest()[:32]}"


def defined_tables(sql: str) -> frozenset[str]:
    """The tables that a definition changes or refers to."""
    return frozenset(name for found in _DEFINED.finditer(sql) for name in found.groups() if name)


@lru_cache(maxsize=2048)
def used_tables(sql: str) -> frozenset[str]:
    """The tables that a statement may work on: every quoted name, and whatever stands where a table does."""
    named = {name for found in _USED.finditer(sql) for name in found.groups() if name}
    return frozenset(named | set(_NAMES.findall(sql)))


def defining_unit(sql: str, params: Sequence[Any]) -> Unit[Answer]:
    """A statement of the caller's that may change the schema, and what follows of that."""

    def work() -> Work[Answer]:
        rows = yield (sql, params)
        yield (FORGET_DROPPED, ())
        yield (BUMP_GENERATION, ())
        return answer(rows)

    return work
