"""Where clauses and orders: read by a strict grammar, written anew from what was understood, values always apart.

Three-valued logic holds as in SQL. A name that is no column is NULL: a comparison with it is neither true nor false,
and the params beside it are counted but never bound. `x IN` an empty list is false for every row, and NOT IN true.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app_kernel.core.errors import InvalidQuery
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import Kind
from app_kernel.db.table import Column
from app_kernel.db.where_operands import (
    Condition,
    Node,
    Null,
    Operand,
    OperandReader,
    Path,
    Sql,
    Value,
    described,
    find_column,
    stored_kind,
)
from app_kernel.db.where_tokens import (
    Slot,
    Token,
    meeting,
    meeting_path,
    meeting_value,
    refusal,
    signature,
    tokenize,
)

__all__ = ["Clause", "Slot", "compile_order", "compile_where", "signature"]

MAX_VALUES = 30_000
"""Placeholders of a clause; SQLite takes 32,766 in a statement."""

_NULL = "NULL = 1"
"""A condition that is NULL on every backend, and so is NOT of it."""
_FALSE, _TRUE = "1 = 0", "1 = 1"
_COMPARISONS = {"=": "=", "==": "=", "<>": "<>", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_EQUALITY_ONLY = frozenset({Kind.JSON, Kind.VARIANT})
_MARK = re.compile("\x00([0-9]+)\x00")
_FAILING = re.compile(r"""[-+*]|ABS\(|"::|\)::double""")
"""Arithmetic, which may overflow, and casts of columns, which may hold what does not read so."""
_JOINED_FLAT = 8


@dataclass(frozen=True, slots=True)
class Clause:
    """A compiled where clause."""

    sql: str
    """Without outer parentheses and without WHERE; empty when there is no condition."""
    slots: tuple[Slot, ...]
    """One for each placeholder, in order."""

    @property
    def may_fail(self) -> bool:
        """Whether what a row holds may make it an error of the database."""
        return _FAILING.search(re.sub("'[^']*'", "", self.sql)) is not None

    def bind(self, params: Sequence[Any]) -> list[Any]:
        """The values for the driver, from params of the signature that the clause was compiled for.

        Raises InvalidQuery for a value that no row can hold, such as NaN, text with NUL or a naive datetime.
        """
        values = []
        for slot in self.slots:
            if slot.source < 0:
                values.append(slot.literal)
            elif slot.item < 0:
                values.append(slot.encode(params[slot.source]))
            else:
                values.append(slot.encode(params[slot.source][slot.item]))
        return values


def compile_where(
    text: str, params: Sequence[Any], columns: Mapping[str, Column], dialect: Dialect, *, first: int = 1
) -> Clause:
    """Compiles a clause for params of these types; blank text is no condition. Its placeholders count from `first`.

    Raises InvalidQuery, naming the place, for everything outside the grammar, for a wrong number of params, and for a
    comparison of kinds that do not compare.
    """
    tags = signature(params)
    tokens = tokenize(text)
    marks = sum(token.type == "?" for token in tokens)
    if marks != len(tags):
        hint = " A list for IN (?) is one param: ([...],)." if marks == 1 < len(tags) else ""
        raise InvalidQuery(f"The clause has {marks} ? and {len(tags)} params were given.{hint}")
    if len(tokens) == 1:
        return Clause("", ())
    return _Compiler(text, tokens, tags, columns, dialect).compile(first)


def compile_order(text: str, columns: Mapping[str, Column], dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The terms of ORDER BY and the names of the columns they order by; names that are no column are left out.

    Raises InvalidQuery for anything but names, each with ASC, DESC or neither, and for columns without an order.
    """
    tokens = tokenize(text)
    terms: dict[str, str] = {}
    at = 0
    while len(tokens) > 1:
        name, direction = tokens[at], tokens[at + 1].type if at + 1 < len(tokens) else ""
        column = _order_column(text, name, columns)
        if column is not None and column.name not in terms:
            kind = stored_kind(column, dialect)
            terms[column.name] = dialect.order_term(column, kind, descending=direction == "DESC")
        at += 2 if direction in {"ASC", "DESC"} else 1
        if tokens[at].type == "end":
            break
        if tokens[at].type != ",":
            raise refusal(text, tokens[at].at, "Expected a comma, ASC, DESC or the end of the order.")
        at += 1
    return ", ".join(terms.values()), tuple(terms)


def _order_column(text: str, name: Token, columns: Mapping[str, Column]) -> Column | None:
    if name.type not in {"word", "name"}:
        raise refusal(text, name.at, "An order is names, each with ASC or DESC or neither, separated by commas.")
    if "." in name.text:
        raise refusal(text, name.at, "Values inside JSON have no order.")
    column = find_column(text, name, columns)
    if column is not None and column.kind in _EQUALITY_ONLY:
        raise refusal(text, name.at, f"[{name.text}] holds {column.kind.value} values, which have no order.")
    return column


class _Compiler(OperandReader):
    """Recursive descent: each method reads one rule of the grammar and gives what it means in SQL."""

    def compile(self, first: int) -> Clause:
        condition = self._condition(self.group())
        if self.next.type != "end":
            raise self.refusal(self.next, "Expected AND, OR or the end of the clause.")
        used: list[Slot] = []

        def place(found: re.Match[str]) -> str:
            used.append(self.slots[int(found[1])])
            return self.dialect.placeholder(first + len(used) - 1, used[-1].kind, used[-1].storage)

        sql = _MARK.sub(place, condition.sql)
        if len(used) > MAX_VALUES:
            raise InvalidQuery(f"A clause has at most {MAX_VALUES} values, not {len(used)}.")
        return Clause(sql, tuple(used))

    def group(self) -> Node:
        return self._joined("OR", partial(self._joined, "AND", self._predicate))

    def _joined(self, word: str, part: Callable[[], Node]) -> Node:
        first = part()
        if self.next.type != word:
            return first
        terms = [self._condition(first)]
        while self.take(word):
            terms.append(self._condition(part()))
        parts = [f"({term.sql})" if term.joined else term.sql for term in terms]
        return Condition(first.at, _join(word, parts), joined=True)

    def _condition(self, node: Node) -> Condition:
        if isinstance(node, Condition):
            return node
        raise self.refusal(node, "This is a value, not a condition; compare it with something.")

    def _predicate(self) -> Node:
        at = self.next.at
        if self.take("NOT"):
            return Condition(at, f"NOT ({self._condition(self.deeper(self._predicate)).sql})")
        left = self.sum()
        operator = _COMPARISONS.get(self.next.type)
        if operator:
            self.at += 1
            return Condition(at, self._compared(self.as_operand(left), operator, self.operand()))
        if self.take("IS"):
            return Condition(at, self._is_null(self.as_operand(left)))
        negated = self.take("NOT")
        rest = self._rest_of_predicate()
        if rest is not None:
            sql = rest(self.as_operand(left))
            return Condition(at, f"NOT ({sql})" if negated else sql)
        if negated:
            raise self.refusal(self.next, "Expected LIKE, ILIKE, IN or BETWEEN after NOT.")
        return left

    def _rest_of_predicate(self) -> Callable[[Operand], str] | None:
        if self.take("LIKE"):
            return partial(self._like, fold_case=False)
        if self.take("ILIKE"):
            return partial(self._like, fold_case=True)
        if self.take("IN"):
            return self._is_in
        return self._between if self.take("BETWEEN") else None

    def _is_null(self, node: Operand) -> str:
        negated = self.take("NOT")
        self.expect("NULL")
        if isinstance(node, Path):
            sql = self.json_value(node, None)
        elif isinstance(node, Sql):
            sql = self.dialect.quote(node.column.name) if node.column is not None else self.checked(node)
        else:
            return _TRUE if isinstance(node, Value) is negated else _FALSE
        return f"{sql} IS NOT NULL" if negated else f"{sql} IS NULL"

    def _like(self, node: Operand, *, fold_case: bool) -> str:
        text = self.text_of(node)
        pattern = self._pattern(node.field)
        if text is None or pattern is None:
            return _NULL
        return self.dialect.like(text, pattern, fold_case=fold_case)

    def _pattern(self, field: str) -> str | None:
        # Values only: a pattern out of a column could be one that a database refuses in the middle of its rows.
        start = self.next
        if start.type == "word" and start.text.upper() in {"LOWER", "UPPER"}:
            self.at += 1
            self.expect("(")
            inner = self.deeper(partial(self._pattern, field))
            self.expect(")")
            return None if inner is None else self.dialect.call(start.text.upper(), [inner])
        pattern = self.operand()
        if isinstance(pattern, Null):
            return None
        if not isinstance(pattern, Value) or pattern.kind is not Kind.STR:
            raise self.refusal(start, "The pattern of LIKE is text: a parameter or a literal.")
        return self.mark(pattern, Kind.STR, field, pattern=True)

    def _is_in(self, left: Operand) -> str:
        items = self._items()
        if not items:
            return _FALSE
        lists: dict[str, list[str]] = {}
        for item in items:
            sides = self._sides(left, item, ordered=False)
            if sides is None:
                lists[_NULL] = []
            else:
                lists.setdefault(sides[0], []).append(sides[1])
        parts = [f"{side} IN ({', '.join(values)})" if values else side for side, values in lists.items()]
        return parts[0] if len(parts) == 1 else f"({_join('OR', parts)})"

    def _items(self) -> list[Operand]:
        self.expect("(")
        token = self.next
        tag = self.tags[self.params] if token.type == "?" else None
        if isinstance(tag, tuple) and self.tokens[self.at + 1].type == ")":
            self.at += 2
            self.params += 1
            return [self.param(token, self.params - 1, inner, item) for item, inner in enumerate(tag[1])]
        items = [self.operand()]
        while self.take(","):
            items.append(self.operand())
        self.expect(")")
        return items

    def _between(self, node: Operand) -> str:
        low = self.operand()
        self.expect("AND")
        high = self.operand()
        return f"({self._compared(node, '>=', low)} AND {self._compared(node, '<=', high)})"

    def _compared(self, left: Operand, operator: str, right: Operand) -> str:
        sides = self._sides(left, right, ordered=operator not in {"=", "<>"})
        return _NULL if sides is None else f"{sides[0]} {operator} {sides[1]}"

    def _sides(self, left: Operand, right: Operand, *, ordered: bool) -> tuple[str, str] | None:
        """Both operands in the kind in which they compare; None when one of them is NULL."""
        if isinstance(left, Null) or isinstance(right, Null):
            return None
        kind = _meeting(left, right)
        if kind is None:
            hint = "; a list of values goes into IN (?)" if isinstance(right, Value) and right.is_list else ""
            raise self.refusal(left, f"No comparison of {described(left)} with {described(right)} is possible{hint}.")
        if ordered and kind in _EQUALITY_ONLY:
            raise self.refusal(left, f"{kind.value} values have no order; they compare with =, <>, IN and IS NULL.")
        field = right.field if isinstance(left, Value) else left.field
        direct = self._direct(left, right, kind, field)
        if direct is not None:
            return direct
        direct = self._direct(right, left, kind, field)
        if direct is not None:
            return direct[1], direct[0]
        if kind is Kind.FLOAT and any(isinstance(side, Sql) and side.kind is Kind.INT for side in (left, right)):
            kind = self.dialect.kind_beside_float
        # Columns may have collations of their own, of which neither would win.
        ordered = ordered or (isinstance(left, Sql) and isinstance(right, Sql))
        one, other = self.rendered(left, kind, field), self.rendered(right, kind, field)
        return self.dialect.operand(one, kind, ordered=ordered), self.dialect.operand(other, kind, ordered=ordered)

    def _direct(self, node: Operand, value: Operand, kind: Kind, field: str) -> tuple[str, str] | None:
        """A column that holds its kind in an unusual way, and a value spelled like it; None for anything else."""
        if not isinstance(node, Sql) or node.column is None or not isinstance(value, Value):
            return None
        storage = self.dialect.storage(node.column)
        return (
            (self.dialect.quote(node.column.name), self.mark(value, kind, field, storage=storage)) if storage else None
        )


def _meeting(left: Sql | Path | Value, right: Sql | Path | Value) -> Kind | None:
    if isinstance(left, Path) or isinstance(right, Path):
        other = right if isinstance(left, Path) else left
        return None if isinstance(other, Path) else meeting_path(other.kind, is_value=isinstance(other, Value))
    if isinstance(left, Value):
        kind = meeting_value(right.kind, left.kind)
        return meeting_value(left.kind, right.kind) if kind is None and isinstance(right, Value) else kind
    return meeting_value(left.kind, right.kind) if isinstance(right, Value) else meeting(left.kind, right.kind)


def _join(word: str, parts: Sequence[str]) -> str:
    """Parts with a word between them, in halves where they are many: databases limit how deep an expression nests."""
    if len(parts) <= _JOINED_FLAT:
        return f" {word} ".join(parts)
    half = len(parts) // 2
    return f"({_join(word, parts[:half])}) {word} ({_join(word, parts[half:])})"
