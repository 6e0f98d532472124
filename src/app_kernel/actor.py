"""Who acts: sets the user of the request from the one authenticator, for rows, logs and `get_current_user` alike.

A token that is not accepted fails only the routes that ask for a user; so does an authenticator that cannot tell.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.config import ServiceConfig
from app_kernel.core.context import Context, current_context
from app_kernel.core.errors import InvalidToken, KernelError
from app_kernel.core.feature import Authenticator, Feature
from app_kernel.core.kernel import Kernel


class Actor:
    """Pure ASGI."""

    def __init__(self, app: ASGIApp, kernel: Kernel, authenticator: Authenticator) -> None:
        self.app = app
        self._kernel = kernel
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            await self._identify(scope, current_context())
        await self.app(scope, receive, send)

    async def _identify(self, scope: Scope, context: Context) -> None:
        try:
            user = await self._authenticator(self._kernel, scope)
        except InvalidToken as exc:
            context.auth_error = exc.message
        except KernelError as exc:
            context.auth_failure = exc
        else:
            if user is not None:
                context.user = user
                context.actor_id = user.id


def _layer(app: ASGIApp, kernel: Kernel) -> ASGIApp:
    return Actor(app, kernel, kernel.authenticator) if kernel.authenticator is not None else app


def create_feature(config: ServiceConfig) -> Feature:
    """The layer that sets the actor; it leaves the stack when no feature contributes an authenticator."""
    return Feature(name="actor", middleware=(_layer,))
