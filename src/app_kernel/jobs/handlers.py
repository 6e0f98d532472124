"""How a handler is called: `payload` and `ctx` by name or annotation, and fields of the payload by their names."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import SimpleNamespace, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

from app_kernel.core.jobs import DoNotRetry
from app_kernel.jobs.context import JobContext

_PAYLOAD, _CONTEXT = "payload", "ctx"
_MISSING = object()


class Call:
    """A handler and how its parameters are filled; made once for each task of a worker."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        self._handler = handler
        self.is_async = is_async(handler)
        hints = _hints(handler)
        self._whole: list[str] = []
        self._contexts: list[str] = []
        self._fields: dict[str, tuple[Any, Any]] = {}
        self._positional: list[str] = []
        for name, parameter in inspect.signature(handler).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                self._positional.append(name)
            hint = hints.get(name, inspect.Parameter.empty)
            if _is_context(name, hint):
                self._contexts.append(name)
            elif name == _PAYLOAD:
                self._whole.append(name)
                self._adapter = _adapter(hint)
            else:
                self._fields[name] = (_adapter(hint), parameter.default)

    def bind(self, payload: Any, ctx: JobContext) -> Callable[[], Any]:
        """The call; raises DoNotRetry for a payload that the handler's parameters do not fit."""
        arguments: dict[str, Any] = dict.fromkeys(self._contexts, ctx)
        for name in self._whole:
            arguments[name] = _validated(self._adapter, name, payload)
        for name, (adapter, default) in self._fields.items():
            value = payload.get(name, _MISSING) if isinstance(payload, Mapping) else _MISSING
            if value is not _MISSING:
                arguments[name] = _validated(adapter, name, value)
            elif default is inspect.Parameter.empty:
                raise DoNotRetry(f"The handler takes {name!r}, which the payload does not have.")
            elif name in self._positional:
                arguments[name] = default
        positional = [arguments.pop(name) for name in self._positional]
        return partial(self._handler, *positional, **arguments)


def is_async(handler: Callable[..., Any]) -> bool:
    """Whether calling it gives something to await."""
    inner = handler
    while isinstance(inner, partial):
        inner = inner.func
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004 - an object's own async __call__


def check_handler(handler: Any) -> Iterator[str]:
    """What keeps a function from being a handler."""
    if not callable(handler):
        yield f"its handler is no function but a {type(handler).__name__}"
        return
    if inspect.isasyncgenfunction(handler) or inspect.isgeneratorfunction(handler):
        yield "its handler is a generator; a handler returns its result"
        return
    try:
        inspect.signature(handler)
    except (TypeError, ValueError):
        yield "the parameters of its handler cannot be read"


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    target = handler.func if isinstance(handler, partial) else handler
    if not inspect.isfunction(target) and not inspect.ismethod(target) and not inspect.isclass(target):
        target = getattr(target, "__call__", target)  # noqa: B004 - its annotations are wanted
    try:
        return get_type_hints(target)
    except (NameError, TypeError, AttributeError):
        # One that only a type checker can read must not take the others with it.
        names = getattr(inspect.unwrap(target), "__globals__", {})
        return {name: _hint(hint, names) for name, hint in getattr(target, "__annotations__", {}).items()}


def _hint(hint: Any, names: dict[str, Any]) -> Any:
    try:
        return get_type_hints(SimpleNamespace(__annotations__={"it": hint}), names)["it"]
    except (NameError, TypeError, AttributeError):
        return JobContext if "JobContext" in str(hint) else inspect.Parameter.empty


def _is_context(name: str, hint: Any) -> bool:
    if name == _CONTEXT or hint is JobContext:
        return True
    if get_origin(hint) in (Union, UnionType):
        return JobContext in get_args(hint)
    return name == "context" and hint in (inspect.Parameter.empty, Any)


def _adapter(hint: Any) -> TypeAdapter[Any] | None:
    if hint in (inspect.Parameter.empty, Any, dict):
        return None
    try:
        return TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return None


def _validated(adapter: TypeAdapter[Any] | None, name: str, value: Any) -> Any:
    if adapter is None:
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as exc:
        places = "; ".join(f"{'.'.join(map(str, (name, *each['loc'])))}: {each['msg']}" for each in exc.errors())
        raise DoNotRetry(f"The payload does not fit the handler: {places}") from None
