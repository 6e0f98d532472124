"""A span for each verb, where the running request or job is traced; one look at a field where it is not."""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

from app_kernel.core.context import find_context
from app_kernel.core.tracing import span
from app_kernel.db.dialects.base import Dialect
from app_kernel.db.models import model_class, model_of

VERBS = (
    "get_entity", "find_entities", "count_entities", "get_entities", "save_entity", "save_entities", "delete_entity",
    "delete_entities", "restore_entity", "increment", "revert", "get_entity_history", "get_entity_version", "execute",
    "send_messages",
)  # fmt: skip
CALL_THEMSELVES = frozenset({"get_entity", "get_entities", "save_entity"})
"""Verbs that, given a class or an instance, call themselves with the entity's name, and so have their span there."""
NAMELESS = frozenset({"execute", "send_messages"})
"""Their argument is no entity; of a statement nothing is told, as it may hold values."""
SYSTEMS = {"postgres": "postgresql"}
"""OpenTelemetry's name of a database where it is not ours; MariaDB, which speaks MySQL here, has one of its own."""

C = TypeVar("C", bound=type)


def traced(store: C) -> C:
    """Puts a span around the verbs of a store."""
    for verb in VERBS:
        setattr(store, verb, _with_span(verb, getattr(store, verb)))
    return store


def database_attributes(dialect: Dialect, operation: str) -> dict[str, Any]:
    """What a span of the store says, by OpenTelemetry's conventions for databases."""
    system = "mariadb" if getattr(dialect, "is_mariadb", False) else SYSTEMS.get(dialect.name, dialect.name)
    return {"db.system.name": system, "db.operation.name": operation}


def _with_span(verb: str, function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    @wraps(function)
    def call(self: Any, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Any]:
        context = find_context()
        if context is None or context.span is None:
            return function(self, *args, **kwargs)
        return spanned(self, *args, **kwargs)

    @wraps(function)
    def get(self: Any, name: Any, id: Any, include_deleted: bool = False, *, as_of: Any = None) -> Any:
        context = find_context()
        if context is None or context.span is None:
            return function(self, name, id, include_deleted, as_of=as_of)
        return spanned(self, name, id, include_deleted, as_of=as_of)

    async def spanned(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs.get("name")
        if verb in CALL_THEMSELVES and type(given) is not str:
            return await function(self, *args, **kwargs)
        attributes = database_attributes(self._dialect, verb)
        entity = None if verb in NAMELESS else _entity(given)
        if entity is not None:
            attributes["db.collection.name"] = entity
        name = verb if entity is None else f"{verb} {entity}"
        # Asked for anew: it runs when it is awaited, which may be after the request.
        with span(name, "client", attributes):
            return await function(self, *args, **kwargs)

    # It is so short that to gather its arguments and hand them on would be a thirtieth of it.
    return get if verb == "get_entity" else call


def _entity(given: Any) -> str | None:
    """The entity that a verb is called for; None for what is none, which the verb will refuse."""
    if type(given) is str:
        return given[:191]
    cls = model_class(given)
    return None if cls is None else model_of(cls).entity
