"""docs/reference/routes.md: every route of the kernel."""

from typing import Any

from app_kernel import ServiceConfig, create_service
from app_kernel.core.identity import OptionalUser
from app_kernel.core.route_walk import SeenRoute, walk_routes
from tools.reference.page import page, table

_INTRODUCTION = (
    "What the kernel adds to your own routes. `api_prefix` goes before all but `/healthz`,"
    " `/readyz` and `/metrics`. Those of workspaces, invites and"
    " `/auth/me/workspace` come with `saas_enabled` or `create_saas_router()`, and `/webhooks` is for workspaces."
    " With `oauth_providers` come those of [sign-in elsewhere](../howto/sign-in-with.md),"
    " with `debug` the page of [mails](../howto/send-mail.md). `GET /auth/verify-email` and"
    " `GET /auth/reset-password` are the service's own pages for mailed links."
)


def render_routes() -> str:
    """Every route of the kernel."""
    service = _sample_service()
    optional = {
        (method, seen.path)
        for seen in walk_routes(service.routes)
        if _asks_nobody(seen)
        for method in seen.methods or ()
    }
    rows = [
        (
            f"`{method.upper()} {path}`",
            operation.get("summary", ""),
            "yes" if operation.get("security") and (method.upper(), path) not in optional else "",
        )
        for path, operations in service.openapi()["paths"].items()
        for method, operation in operations.items()
    ]
    rows += [
        ("`GET /healthz`", "Alive", ""),
        ("`GET /readyz`", "Ready", ""),
        ("`GET /metrics`", "Metrics", "in production"),
    ]
    return page("Routes", _INTRODUCTION, table(("route", "what it does", "signed in"), sorted(set(rows))))


def _asks_nobody(route: SeenRoute) -> bool:
    """Whether it takes a user, and answers others too."""
    dependant = getattr(route.original_route, "dependant", None)
    return dependant is not None and any(isinstance(each.call, OptionalUser) for each in dependant.dependencies)


def _sample_service() -> Any:
    config = ServiceConfig(jwt_secret="x" * 40, database_name=":memory:", saas_enabled=True)
    return create_service(name="reference", config=config)
