"""The ASGI application: FastAPI inside the kernel's layers, and an OpenAPI document that is right about errors."""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app_kernel.core.errors import KernelError
from app_kernel.core.kernel import Kernel
from app_kernel.core.policies import public
from app_kernel.problems import HANDLERS, answer_problem
from app_kernel.service.document import complete_document

_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False}


class KernelApp(FastAPI):
    """A FastAPI application whose outermost layers are the kernel's.

    Middleware that the application adds itself, before or after `create_service`, stands inside them: an error there
    is answered and logged like any other.
    """

    def __init__(self, kernel: Kernel, **options: Any) -> None:
        # FastAPI's telemetry asks for its providers on every request, 8 us in all; the kernel has its own.
        super().__init__(exception_handlers=HANDLERS, telemetry=_NO_TELEMETRY, **options)
        # So far these are the pages of its documentation.
        for route in self.routes:
            public(route.endpoint)  # type: ignore[attr-defined]  # each has one
        self.state.kernel = kernel
        self._described: dict[str, Any] | None = None
        """The document that was corrected already; FastAPI keeps and returns one and the same."""

    def build_middleware_stack(self) -> ASGIApp:
        """FastAPI's own stack with the features' layers around it, the first feature's outermost."""
        kernel: Kernel = self.state.kernel
        answer_in_mounted_apps(self.routes)
        for feature in reversed(kernel.features):
            for layer in reversed(feature.around_routes):
                around = layer(self.router.middleware_stack, kernel)
                self.router.middleware_stack = around  # type: ignore[assignment]  # typed by what Starlette puts there
        app = super().build_middleware_stack()
        for feature in reversed(kernel.features):
            for layer in reversed(feature.middleware):
                app = layer(app, kernel)
        return QuietLifespan(app)

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document, with what FastAPI's own lacks: errors as they are, who may call, workspaces, tags."""
        document = super().openapi()
        if document is not self._described:
            # Another call must not find one that is half done.
            self.openapi_schema = None
            complete_document(document, self.state.kernel.features, self.state.api_prefix)
            self.openapi_schema = self._described = document
        return document


def answer_in_mounted_apps(routes: Iterable[BaseRoute]) -> None:
    """Lets the kernel's errors be answered in mounted applications too, where their own handlers do not know them.

    What `get_current_user` raises there would be a 500 with a traceback otherwise. A handler of theirs comes first.
    """
    for route in routes:
        app = getattr(route, "app", None)
        if isinstance(route, Mount) and isinstance(app, Starlette):
            app.exception_handlers.setdefault(KernelError, answer_problem)
            answer_in_mounted_apps(app.routes)


class QuietLifespan:
    """Pure ASGI: leaves the traceback of a failed start-up to the one line that the kernel logs about it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def send_quietly(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                message = {"type": message["type"], "message": ""}
            await send(message)

        await self.app(scope, receive, send_quietly)
