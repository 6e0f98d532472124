"""Where values stand in the statements of MySQL's dialect, and where one statement ends and the next begins.

The driver writes values into the text itself, because no asynchronous driver of MySQL has prepared statements that
take any number of them. No text of a statement can hold a NUL, so that nothing is ever taken for a mark that is none.
"""

import re
from collections.abc import Sequence
from typing import Any

THEN = "\0;\0"
"""Between statements that go to the server in one round trip; their rows together are the answer."""
LARGE = 2**20
"""Characters; what is longer goes by itself, since the server takes no packet of any size."""

MARK = re.compile("\0\\$([0-9]+)([a-z]?)\0")
AS_DATETIME, AS_DATE = "t", "d"
"""Text that is written as an instant or a day of the database's own."""


class Values(tuple[Any, ...]):
    """Any number of values as one parameter; written with commas between them."""

    __slots__ = ()


def mark(position: int, form: str = "") -> str:
    """The parameter at `position`, from 1; it may stand in several places."""
    return f"\0${position}{form}\0"


def then(statements: Sequence[str]) -> str:
    """Statements that are sent together; the first that fails is the last."""
    return THEN.join(statements)


def placed(sql: str, positions: Sequence[int | str]) -> str:
    """The same statement, where its parameters stand at other positions, or SQL stands in the place of one."""

    def place(found: re.Match[str]) -> str:
        position = positions[int(found[1]) - 1]
        return position if isinstance(position, str) else mark(position, found[2])

    return MARK.sub(place, sql)
