"""docs/reference/python.md: every public name, with its signature and what it is for."""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from app_kernel.core.errors import KernelError
from tools.reference.page import first, page
from tools.reference.source import Field, fields_of, signature_of, value_of

PUBLIC_MODULES = (
    "app_kernel", "app_kernel.db", "app_kernel.auth", "app_kernel.api_keys", "app_kernel.saas", "app_kernel.jobs",
    "app_kernel.cache", "app_kernel.flags", "app_kernel.webhooks", "app_kernel.audit", "app_kernel.metering",
    "app_kernel.mail", "app_kernel.idempotency", "app_kernel.rate_limit", "app_kernel.stats", "app_kernel.tracing",
    "app_kernel.core.feature", "app_kernel.core.outbox", "app_kernel.testing",
)  # fmt: skip
"""Where an application may import from, in the order of the page."""
WIRING = frozenset({
    "create_feature", "TABLES", "APP_FEATURE", "JOB_TABLES", "NEEDS_REDIS", "ServiceJobs", "collect_tasks", "jobs_of",
    "open_client", "queues_of", "raised", "Courier", "courier_of", "RequestCounts",
})  # fmt: skip
"""What features have for `create_service`, commands, workers and the test kit; applications have no use for it."""
_INTRODUCTION = (
    "What an application imports, module by module; a name that several modules give is described once. Everything else"
    " below `app_kernel` may change without notice, and so may what its parts have for each other, such as"
    " `create_feature`. Errors are in `app_kernel.core.errors` and [on a page of their own](errors.md), as are"
    " [events](events.md) (`app_kernel.core.events`), [settings](settings.md) (`ServiceConfig`), and, told at length,"
    " [the store](store.md) and [jobs](jobs.md)."
)


def render_python() -> str:
    """Every public name, module by module."""
    parts, seen = [], dict[int, str]()
    for path in PUBLIC_MODULES:
        module = importlib.import_module(path)
        entries = [_entry(path, name, getattr(module, name), seen) for name in names_of(path)]
        words = _explained(entries, [getattr(module, name) for name in names_of(path)], set(names_of(path)))
        parts.append(f"## {path}\n\n{first(module)}\n\n" + "\n".join(entries) + "\n" + words)
    return page("Python", _INTRODUCTION, "\n".join(parts))


def names_of(path: str) -> list[str]:
    """What a module gives to applications, in the order of the alphabet."""
    module = importlib.import_module(path)
    own = [
        name
        for name, each in vars(module).items()
        if not name.startswith("_") and getattr(each, "__module__", None) == path and not _is_alias(each)
    ]
    return sorted(set(getattr(module, "__all__", own)) - WIRING, key=str.lower)


def _explained(entries: list[str], things: list[Any], listed: set[str]) -> str:
    """What names of types and numbers stand for that the signatures of a module use without explaining them."""
    classes = [cls for thing in things if inspect.isclass(thing) for cls in thing.__mro__]
    modules = {getattr(thing, "__module__", None) or "" for thing in [*things, *classes]}
    words = {word for span in re.findall(r"`([^`]+)`", "\n".join(entries)) for word in re.findall(r"[A-Z]\w+", span)}
    found = {}
    for word in sorted(words - listed):
        values = [value_of(path, word) for path in sorted(modules) if path.startswith("app_kernel")]
        default = next((value.default for value in values if value is not None and value.default is not None), None)
        if default is not None and not default.startswith("TypeVar("):
            found[word] = f"`{word}` is `{default}`"
    return f"\nIn these lines {'; '.join(found.values())}.\n" if found else ""


def _is_alias(thing: Any) -> bool:
    return not (inspect.isclass(thing) or inspect.isfunction(thing))


def _entry(path: str, name: str, thing: Any, seen: dict[int, str]) -> str:
    known = seen.setdefault(id(thing), path) if callable(thing) else path
    if known != path:
        return f"- `{name}`: see [{known}](#{known.replace('.', '')})."
    if inspect.isclass(thing):
        return "\n".join(_class(name, thing))
    if inspect.isroutine(thing):
        return f"- `{signature_of(name, thing)}`: {first(thing)}"
    return "\n".join(_value(path, name, thing))


def _value(path: str, name: str, thing: Any) -> Iterator[str]:
    """A constant, an alias of a type, a dependency such as `get_current_user`, or an object such as `cache`."""
    value = value_of(path, name) or Field(name, "", None, "")
    is_object = type(thing).__module__.startswith("app_kernel")
    if is_object and callable(thing):
        yield f"- `{name}`, for `Depends({name})`: {value.meaning or first(type(thing))}"
    elif is_object:
        yield f"- `{name}`: {value.meaning or first(type(thing))}"
        yield from _members(type(thing))
    else:
        shown = f" = {value.default}" if value.default and len(value.default) < 80 else ""
        yield f"- `{name}{shown}`" + (f": {value.meaning}" if value.meaning else "")


def _class(name: str, cls: type) -> Iterator[str]:
    """A class: how it is made, and what it has."""
    if issubclass(cls, KernelError):
        yield f"- `{name}`: {first(cls)} See [errors](errors.md)."
    elif issubclass(cls, BaseModel):
        yield f"- `{name}(...)`: {first(cls)} See [settings](settings.md)."
    elif dataclasses.is_dataclass(cls):
        yield f"- `{name}`: {first(cls)}"
        for field in fields_of(cls):
            default = f" = {field.default}" if field.default is not None else ""
            yield f"  - `{field.name}: {field.type}{default}`" + (f": {field.meaning}" if field.meaning else "")
    elif issubclass(cls, Exception) and "__init__" in vars(cls):
        yield f"- `{signature_of(name, vars(cls)['__init__']).removesuffix(' -> None')}`: {first(cls)}"
    else:
        yield f"- `{name}`: {first(cls)}"
    if not issubclass(cls, KernelError):
        yield from _members(cls)


def _members(cls: type) -> Iterator[str]:
    found: dict[str, Any] = {}
    for each in reversed(cls.__mro__):
        if each.__module__.startswith("app_kernel") and not getattr(each, "_is_protocol", False):
            found |= vars(each)
    for name in sorted(found):
        member = found[name]
        if name.startswith("_") or hasattr(BaseModel, name):
            continue
        if isinstance(member, property):
            yield f"  - `{name}`: {first(member)}"
        elif isinstance(member, (staticmethod, classmethod)) or inspect.isroutine(member):
            function = getattr(member, "__func__", member)
            yield f"  - `{signature_of(name, function)}`: {first(getattr(cls, name))}"
