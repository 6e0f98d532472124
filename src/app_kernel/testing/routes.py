"""The routes of an application as a caller sees them: path, parameters, body, and who may call them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import FastAPI, params
from fastapi.routing import RouteContext, iter_route_contexts
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.convertors import Convertor
from starlette.routing import BaseRoute

from app_kernel.api_keys import CombinedAuth
from app_kernel.core.identity import CurrentUser, OptionalUser
from app_kernel.core.policies import is_public
from app_kernel.core.workspaces import WorkspaceMember

PUBLIC = "public"
WEBSOCKET = "WEBSOCKET"
MOUNT = "MOUNT"

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """A query parameter that a route declares."""

    name: str
    schema: Schema
    required: bool


@dataclass(frozen=True, slots=True)
class ServiceRoute:
    """One method of one route."""

    method: str
    """An HTTP method, or WEBSOCKET, or MOUNT for a mounted application that has no routes to look at."""
    path: str
    """The template, such as /projects/{id}."""
    endpoint: Any
    policy: str | None
    """Who may call it: public, user, role:admin, workspace:member, key, key:notes:read; None where nothing says."""
    convertors: Mapping[str, Convertor[Any]] = field(default_factory=dict)
    queries: tuple[Query, ...] = ()
    body: Schema | None = None
    is_form: bool = False

    @property
    def name(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    @property
    def function(self) -> str:
        """Where its function is, as a reader of the source finds it."""
        return f"{_module_of(self.endpoint)}.{getattr(self.endpoint, '__qualname__', type(self.endpoint).__name__)}"

    @property
    def is_kernel(self) -> bool:
        """Whether it is one of the kernel's own, or of FastAPI's documentation."""
        return _module_of(self.endpoint).partition(".")[0] in ("app_kernel", "fastapi")

    @property
    def reads_only(self) -> bool:
        """Whether its method changes nothing, by what HTTP says of it."""
        return self.method in ("GET", "HEAD")

    def needs(self, kind: str) -> bool:
        """Whether its policy asks for this: user, role, workspace or key."""
        return self.policy is not None and any(part.split(":")[0] == kind for part in self.policy.split("+"))

    def fill(self, values: Mapping[str, Any]) -> str:
        """Its path with these values for the parameters."""
        path = self.path
        for name, value in values.items():
            path = path.replace("{" + name + "}", str(value))
        return path


def service_routes(app: FastAPI) -> list[ServiceRoute]:
    """Every route in the order in which they are matched; those of mounted applications are among them."""
    return list(_walk(app.routes, ""))


def undeclared(routes: Iterable[ServiceRoute]) -> list[str]:
    """A sentence for each route of which nothing says who may call it: which one, and what to do."""
    return [
        f"{route.name} ({route.function}) does not say who may call it: let it depend on get_current_user, "
        "require_role(...), require_workspace_member, require_workspace_role(...) or require_scope(...), or put "
        + ("public(...) around the mounted application" if route.method == MOUNT else "@public on its function")
        + " if it is meant for everybody"
        for route in routes
        if route.policy is None
    ]


def _walk(routes: Iterable[BaseRoute], prefix: str) -> Iterator[ServiceRoute]:
    for context in iter_route_contexts(list(routes)):
        inner = getattr(context, "app", None) if context.endpoint is None else None
        path = prefix + (context.path or "")
        if isinstance(inner, Starlette) and inner.routes and not is_public(inner):
            yield from _walk(inner.routes, path)
        elif context.endpoint is None:
            yield ServiceRoute(MOUNT, path or "/", inner, PUBLIC if is_public(inner) else None)
        else:
            yield from _methods(context, prefix)


def _methods(context: RouteContext, prefix: str) -> Iterator[ServiceRoute]:
    dependant, body = _part(context, "dependant"), _part(context, "body_field")
    methods = set(context.methods or ()) if context.methods is not None else {WEBSOCKET}
    shared: dict[str, Any] = {
        "path": prefix + (context.path_format or ""),
        "endpoint": context.endpoint,
        "policy": _policy(context.endpoint, dependant),
        "convertors": dict(context.param_convertors),
        "queries": tuple(_queries(dependant)) if dependant is not None else (),
        "body": None if body is None else _schema(body),
        "is_form": body is not None and isinstance(body.field_info, params.Form),
    }
    if "GET" in methods:
        methods.discard("HEAD")
    for method in sorted(methods - {"OPTIONS"}):
        yield ServiceRoute(method, **shared)


def _part(context: RouteContext, name: str) -> Any:
    try:
        return getattr(context, name)
    except AttributeError:
        return None  # a plain route of Starlette


def _policy(endpoint: Any, dependant: Any) -> str | None:
    found: dict[str, None] = {}
    for call in _calls(dependant) if dependant is not None else ():
        if isinstance(call, WorkspaceMember):
            found[f"workspace:{call.role}"] = None
        elif isinstance(call, CombinedAuth):
            found["key" if call.scope is None else f"key:{call.scope}"] = None
        elif isinstance(call, CurrentUser) and not isinstance(call, OptionalUser):
            found[f"role:{','.join(call.roles)}" if call.roles else "user"] = None
    if not found:
        return PUBLIC if is_public(endpoint) else None
    # Whoever is in a role or a workspace is a user anyway.
    stronger = [policy for policy in sorted(found) if policy != "user"]
    return "+".join(stronger) or "user"


def _calls(dependant: Any) -> Iterator[Callable[..., Any]]:
    for each in dependant.dependencies:
        yield each.call
        yield from _calls(each)


def _queries(dependant: Any) -> Iterator[Query]:
    for each in dependant.query_params:
        schema = _schema(each)
        if schema.get("type") == "object" and "properties" in schema:
            needed = schema.get("required", ())
            for name, part in schema["properties"].items():
                yield Query(name, {**part, "$defs": schema.get("$defs", {})}, name in needed)
        else:
            yield Query(each.alias, schema, each.field_info.is_required())
    for each in dependant.dependencies:
        yield from _queries(each)


def _schema(model_field: Any) -> Schema:
    info = model_field.field_info
    annotated: Any = Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation
    schema: Schema = TypeAdapter(annotated).json_schema()
    return schema


def _module_of(endpoint: Any) -> str:
    return str(getattr(endpoint, "__module__", type(endpoint).__module__))
