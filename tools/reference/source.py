"""What the source says of a name: its signature as it is written there, which is the same on every Python."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, cast, get_overloads

_DEFAULT = re.compile(r"(?<=[\w\]'])=(?=[\w'(\[{-])")
"""The sign before a default, which `ast.unparse` writes without spaces also behind a type."""
_FACTORY = re.compile(r"field\(default_factory=([\w.]+)\)")
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Field(NamedTuple):
    """A field of a dataclass, or a value of a module."""

    name: str
    type: str
    default: str | None
    meaning: str


def signature_of(name: str, function: Any) -> str:
    """How a function is called: `async name(a: int, *, b: str = "x") -> None`; of overloads the plainest one."""
    overloads = get_overloads(inspect.unwrap(function))
    node = cast(Function, _parsed(overloads[0] if overloads else function))
    arguments = deepcopy(node.args)
    bound = arguments.posonlyargs or arguments.args
    if bound and bound[0].arg in ("self", "cls"):
        del bound[0]
    call = f"{name}({_DEFAULT.sub(' = ', ast.unparse(arguments))})"
    if _is_context(node):
        return f"async with {call}{_given(node)}"
    returned = f" -> {_hint(node.returns)}" if node.returns is not None else ""
    return f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}{call}{returned}"


def _hint(annotation: ast.expr) -> str:
    """A type as it reads; some are written as text, because they are not there yet where they stand."""
    return str(annotation.value) if isinstance(annotation, ast.Constant) else ast.unparse(annotation)


def _is_context(node: Function) -> bool:
    return any(ast.unparse(each).endswith("asynccontextmanager") for each in node.decorator_list)


def _given(node: Function) -> str:
    """What `as` names, of a function that yields it."""
    returned = node.returns
    if isinstance(returned, ast.Subscript):
        given = ast.unparse(returned.slice).partition(", ")[0].strip("'")
        return f" as {given}" if given != "None" else ""
    return ""


def fields_of(cls: type) -> list[Field]:
    """The fields of a dataclass, those that it inherits first."""
    found: dict[str, Field] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.startswith("app_kernel"):
            found |= {field.name: field for field in _declared(cast(ast.ClassDef, _parsed(each)).body)}
    return [field for field in found.values() if not field.name.startswith("_") and "ClassVar" not in field.type]


def value_of(module: str, name: str) -> Field | None:
    """A constant or an alias that a module has, declared there or imported; None for what is neither."""
    body = _body(module)
    for field in _declared(body):
        if field.name == name:
            return field
    for node in (each for part in body for each in ast.walk(part) if isinstance(each, ast.ImportFrom)):
        if node.module and node.module.startswith("app_kernel") and name in {alias.name for alias in node.names}:
            return value_of(node.module, name)
    return None


def _declared(body: list[ast.stmt]) -> Iterator[Field]:
    """Names that are given a value or a type, and the text that stands after each."""
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        meaning = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            meaning = " ".join(after.value.value.split())
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = _FACTORY.sub(r"\1()", ast.unparse(node.value)) if node.value is not None else None
            yield Field(node.target.id, ast.unparse(node.annotation), default, meaning)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield Field(node.targets[0].id, "", ast.unparse(node.value), meaning)


@cache
def _body(module: str) -> list[ast.stmt]:
    return ast.parse(inspect.getsource(import_module(module))).body


@cache
def _parsed(thing: Any) -> ast.stmt:
    return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(thing)))).body[0]
