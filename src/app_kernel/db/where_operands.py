"""The operands of a where clause: names, JSON paths, params, literals, functions and arithmetic, each with its kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, TypeVar

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import MAX_DIGITS, Kind
from app_kernel.db.table import Column
from app_kernel.db.where_tokens import (
    MAX_NAME,
    Slot,
    Tag,
    Token,
    encoder,
    meeting,
    meeting_path,
    meeting_value,
    refusal,
    type_name,
    value_tag,
)

MAX_DEPTH = 50
"""Parentheses, functions, NOT and minus signs inside each other; also the keys of a JSON path."""
MAX_WIDTH = 100
"""Signs of arithmetic in a clause, and arguments of a function: SQLite takes expressions 1,000 levels deep."""

_FUNCTIONS = frozenset({"LOWER", "UPPER", "LENGTH", "COALESCE", "ABS"})
_TEXTS = frozenset({Kind.STR, Kind.UUID, Kind.UNKNOWN})
_NUMBERS = frozenset({Kind.INT, Kind.FLOAT, Kind.UNKNOWN})
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Condition:
    """What is true, false or NULL."""

    at: int
    sql: str
    joined: bool = False
    """Whether AND or OR stands at its top."""


@dataclass(frozen=True, slots=True)
class Null:
    """NULL, a param that is None, or a name that is no column."""

    at: int
    field: str = "?"


@dataclass(frozen=True, slots=True)
class Sql:
    """A column, or what functions and arithmetic make."""

    at: int
    sql: str
    kind: Kind
    field: str
    """What messages call it."""
    unchecked: bool = False
    """Whether it is int arithmetic whose overflow nothing has noticed yet."""
    column: Column | None = None
    """The column, where it is one and nothing else."""


@dataclass(frozen=True, slots=True)
class Path:
    """A value inside JSON; it has the kind that it is compared as."""

    at: int
    column: str
    keys: tuple[str, ...]
    field: str


@dataclass(frozen=True, slots=True)
class Value:
    """A param or a literal; it takes the kind of what it is compared with."""

    at: int
    kind: Kind
    source: int = -1
    item: int = -1
    literal: Any = None
    number: str = ""
    """A number literal as it was written, which is exact where a float is not."""
    is_list: bool = False
    field: str = "?"


Operand = Null | Sql | Path | Value
Node = Condition | Operand


def find_column(text: str, name: Token, columns: Mapping[str, Column]) -> Column | None:
    """The column that a name, or the first part of a path, stands for; None where the table has none."""
    first = name.text.partition(".")[0]
    if len(first) > MAX_NAME:
        raise refusal(text, name.at, f"A name has at most {MAX_NAME} characters.")
    column = columns.get(first)
    return column if column is not None and column.physical else None


def stored_kind(column: Column, dialect: Dialect) -> Kind:
    """The kind of a column, as far as its declared type tells where it was not learned yet."""
    return dialect.natural_kind(column.declared) if column.kind is Kind.UNKNOWN else column.kind


class OperandReader:
    """Reads operands from the tokens of one clause, and writes them in the kind that they are compared in."""

    def __init__(
        self, text: str, tokens: Sequence[Token], tags: Sequence[Tag], columns: Mapping[str, Column], dialect: Dialect
    ) -> None:
        self.text, self.tokens, self.tags, self.columns, self.dialect = text, tokens, tags, columns, dialect
        self.slots: list[Slot] = []
        self.at = self.params = self.depth = self.signs = 0

    def group(self) -> Node:
        """What stands between parentheses."""
        raise NotImplementedError

    # Tokens.

    @property
    def next(self) -> Token:
        """The token that was not read yet."""
        return self.tokens[self.at]

    def take(self, token_type: str) -> bool:
        """Reads a token of this type if it is the next."""
        if self.next.type != token_type:
            return False
        self.at += 1
        return True

    def expect(self, token_type: str) -> None:
        """Reads a token of this type; raises InvalidQuery when another is next."""
        if not self.take(token_type):
            raise self.refusal(self.next, f"Expected {token_type}.")

    def refusal(self, place: Token | Node, reason: str) -> InvalidQuery:
        """The error that names a place of this clause."""
        return refusal(self.text, place.at, reason)

    def deeper(self, part: Callable[[], _T]) -> _T:
        """Reads a part that is nested in another."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.refusal(self.next, f"A clause is nested at most {MAX_DEPTH} levels deep.")
        result = part()
        self.depth -= 1
        return result

    # The grammar of operands.

    def operand(self) -> Operand:
        """An operand, where a condition in parentheses cannot stand."""
        return self.as_operand(self.sum())

    def as_operand(self, node: Node) -> Operand:
        """The node if it is an operand."""
        if isinstance(node, Condition):
            raise self.refusal(node, "This is a condition; a value is expected here.")
        return node

    def sum(self) -> Node:
        """Terms with + and - between them."""
        left = self._product()
        while (sign := self.next).type in {"+", "-"}:
            self.at += 1
            left = self._arithmetic(sign, left, self._product())
        return left

    def _product(self) -> Node:
        left = self._factor()
        while (sign := self.next).type == "*":
            self.at += 1
            left = self._arithmetic(sign, left, self._factor())
        return left

    def _factor(self) -> Node:
        token = self.next
        self.at += 1
        match token.type:
            case "word" if self.take("("):
                return self._function(token)
            case "word" | "name":
                return self._name(token)
            case "-":
                return self._negative(token, self.deeper(self._factor))
            case "(":
                node = self.deeper(self.group)
                self.expect(")")
                return node
        return self._value(token)

    def _value(self, token: Token) -> Operand:
        match token.type:
            case "?":
                self.params += 1
                return self.param(token, self.params - 1, self.tags[self.params - 1])
            case "text":
                return Value(token.at, Kind.STR, literal=token.text[1:-1].replace("''", "'"))
            case "number":
                return self._number_literal(token, token.text)
            case "TRUE" | "FALSE":
                return Value(token.at, Kind.BOOL, literal=token.type == "TRUE")
            case "NULL":
                return Null(token.at)
        raise self.refusal(token, "Expected a name, a value or a function.")

    def _name(self, token: Token) -> Operand:
        column = find_column(self.text, token, self.columns)
        if column is None:
            return Null(token.at)
        kind, keys = stored_kind(column, self.dialect), tuple(token.text.split(".")[1:])
        if not keys:
            return Sql(token.at, self.dialect.value(column), kind, token.text, column=column)
        if kind is not Kind.JSON:
            raise self.refusal(token, f"[{column.name}] holds {kind.value}, not JSON: there are no values inside.")
        if len(keys) > MAX_DEPTH:
            raise self.refusal(token, f"A path has at most {MAX_DEPTH} keys.")
        return Path(token.at, column.name, keys, token.text)

    def param(self, token: Token, source: int, tag: Tag, item: int = -1) -> Operand:
        """A param, or an item of one that is a list or tuple, by its tag."""
        is_list = isinstance(tag, tuple) and tag[0] is list
        kind = Kind.JSON if is_list else tag
        if kind is None:
            return Null(token.at)
        if not isinstance(kind, Kind):
            advice = "it goes into IN (?)" if isinstance(tag, tuple) else "convert it first"
            raise self.refusal(token, f"A value of type {type_name(tag)} compares with nothing; {advice}.")
        return Value(token.at, kind, source, item, is_list=is_list)

    def _number_literal(self, token: Token, text: str) -> Value:
        if len(text) > MAX_DIGITS:
            raise self.refusal(token, "This number is too long.")
        number = int(text) if text.lstrip("-").isdigit() else float(text)
        return Value(token.at, value_tag(number), literal=number, number=text)

    def _negative(self, sign: Token, node: Node) -> Operand:
        if isinstance(node, Value) and node.number:
            return self._number_literal(sign, node.number[1:] if node.number.startswith("-") else f"-{node.number}")
        return self._arithmetic(sign, Sql(sign.at, "0", Kind.INT, "0"), node)

    def _arithmetic(self, sign: Token, left: Node, right: Node) -> Operand:
        self.signs += 1
        if self.signs > MAX_WIDTH:
            raise self.refusal(sign, f"A clause has at most {MAX_WIDTH} signs of arithmetic.")
        one, other = self._number(left), self._number(right)
        if one is None or other is None:
            return Null(left.at)
        is_int = one.kind is other.kind is Kind.INT
        sides = [side.sql if is_int else self.checked(side) for side in (one, other)]
        kind = Kind.INT if is_int else Kind.FLOAT
        return Sql(left.at, self.dialect.arithmetic(sign.type, sides[0], sides[1], kind), kind, "arithmetic", is_int)

    def _number(self, node: Node) -> Sql | None:
        match node:
            case Null():
                return None
            case Path():
                return Sql(node.at, self.rendered(node, Kind.FLOAT, node.field), Kind.FLOAT, node.field)
            case Value() if node.kind in _NUMBERS:
                return Sql(node.at, self.rendered(node, node.kind, "?"), node.kind, "?")
            case Sql() if node.kind in _NUMBERS:
                return node
        raise self.refusal(node, f"Arithmetic is for int and float, not for {described(node)}.")

    def _function(self, name: Token) -> Operand:
        function = name.text.upper()
        if function not in _FUNCTIONS:
            raise self.refusal(name, f"There is no such function here; there are {', '.join(sorted(_FUNCTIONS))}.")
        arguments = [self.deeper(self.operand)]
        while self.take(","):
            arguments.append(self.deeper(self.operand))
        self.expect(")")
        if len(arguments) > (MAX_WIDTH if function == "COALESCE" else 1):
            raise self.refusal(name, f"{function} takes fewer arguments.")
        if function == "COALESCE":
            return self._coalesce(name, arguments)
        if function == "ABS":
            number = self._number(arguments[0])
            return (
                Null(name.at)
                if number is None
                else replace(number, sql=self.dialect.call(function, [number.sql]), column=None)
            )
        text = self.text_of(arguments[0])
        kind = Kind.INT if function == "LENGTH" else Kind.STR
        return Null(name.at) if text is None else Sql(name.at, self.dialect.call(function, [text]), kind, function)

    def _coalesce(self, name: Token, arguments: Sequence[Operand]) -> Operand:
        known = [node for node in arguments if not isinstance(node, Null)]
        if len(known) <= 1:
            return known[0] if known else Null(name.at)
        kind = self._common_kind(name, known)
        # Looked at where the whole ends: a check at each level would double the text of every level below.
        unchecked = kind is Kind.INT and any(isinstance(node, Sql) and node.unchecked for node in known)
        sides = [self.rendered(node, kind, known[0].field, unchecked=unchecked) for node in known]
        return Sql(name.at, self.dialect.call("COALESCE", sides), kind, "COALESCE", unchecked)

    def _common_kind(self, name: Token, nodes: Sequence[Operand]) -> Kind:
        """Columns decide before values, and both before values inside JSON, which could be of any kind."""
        kind: Kind | None = Kind.UNKNOWN
        for node in nodes:
            if isinstance(node, Sql) and kind is not None:
                kind = meeting(kind, node.kind)
        has_path = any(isinstance(node, Path) for node in nodes)
        for _ in range(2):  # A later value can make it a kind that an earlier value does not go into.
            for node in nodes:
                if isinstance(node, Value) and kind is not None:
                    kind = meeting_value(kind, node.kind)
            if has_path and kind is Kind.INT:
                kind = Kind.FLOAT  # A number inside JSON may have a fraction.
        if has_path and kind is not None:
            kind = meeting_path(kind, is_value=False)
        if kind is None or kind is Kind.UNKNOWN:
            raise self.refusal(name, "The arguments of COALESCE have no kind in common.")
        return kind

    # SQL.

    def text_of(self, node: Node) -> str | None:
        """SQL of an operand that is text; None when it is NULL."""
        if isinstance(node, Null):
            return None
        if isinstance(node, Path) or (isinstance(node, Sql | Value) and node.kind in _TEXTS):
            return self.rendered(node, Kind.STR, node.field)
        raise self.refusal(node, f"Text is expected here, not {described(node)}.")

    def checked(self, node: Sql) -> str:
        """SQL of an operand, whose overflow is an error of the database."""
        return self.dialect.checked_int(node.sql) if node.unchecked else node.sql

    def json_value(self, node: Path, kind: Kind | None) -> str:
        """SQL of the value at a path; an application's own column may also hold text that is no JSON."""
        return self.dialect.json_value(self.dialect.json_source(self.columns[node.column]), node.keys, kind)

    def rendered(self, node: Operand, kind: Kind, field: str, *, unchecked: bool = False) -> str:
        """SQL of an operand in the kind that it is compared in, beside what messages call `field`."""
        if isinstance(node, Path):
            return self.json_value(node, kind)
        if isinstance(node, Value):
            return self.mark(node, kind, field)
        if isinstance(node, Null):
            return "NULL"
        sql = node.sql if unchecked else self.checked(node)
        is_cast = node.kind in {Kind.INT, Kind.FLOAT} and kind in {Kind.BIGINT, Kind.DECIMAL}
        return self.dialect.cast_number(sql, node.kind, kind) if is_cast else sql

    def mark(self, value: Value, kind: Kind, field: str, *, pattern: bool = False, storage: str = "") -> str:
        """A new slot, as the mark that its placeholder takes in the end: no text of a clause can hold a NUL."""
        exact = bool(value.number) and kind is Kind.DECIMAL
        encode = encoder(self.dialect, field, kind, Kind.DECIMAL if exact else value.kind, pattern=pattern)
        literal = None
        if value.source < 0:
            try:
                literal = encode(Decimal(value.number) if exact else value.literal)
            except InvalidQuery as problem:
                raise self.refusal(value, problem.message) from None
        self.slots.append(Slot(kind, encode, value.source, value.item, literal, storage))
        return f"\x00{len(self.slots) - 1}\x00"


def described(node: Node) -> str:
    """An operand as messages name it."""
    match node:
        case Value():
            return f"a value of type {type_name(node.kind)}"
        case Path():
            return f"[{node.field}] (a value inside JSON)"
        case Sql():
            return f"[{node.field}] ({node.kind.value})"
    return "a condition" if isinstance(node, Condition) else "NULL"
