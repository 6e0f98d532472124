"""One HTTP request and its answer, as the kernel's layers see it: made by the outermost layer, kept in the ASGI scope.

A layer that only adds headers, or only asks whether the answer has begun, needs no `send` wrapper of its own.
"""

from contextvars import ContextVar

from starlette.types import Scope

_KEY = "app_kernel.exchange"
failures: ContextVar[list[Exception] | None] = ContextVar("app_kernel_failures", default=None)
"""Where a test has noted what its request raised in place of an answer; None outside of such a test, so that nothing
keeps alive what a failed request had in hand."""


class Exchange:
    """What the layers of one request tell each other."""

    __slots__ = ("bytes_sent", "complete", "error", "extra_headers", "request_headers", "request_id", "status")

    def __init__(self, request_id: str, request_headers: dict[bytes, bytes]) -> None:
        self.request_id = request_id
        self.request_headers = request_headers
        """By name in lower case; of several headers of one name the first."""
        self.extra_headers: list[tuple[bytes, bytes]] = []
        """Sent unless the answer has a header of that name; `vary` is added in any case. Names in lower case."""
        self.status: int | None = None
        """The status sent; None until the answer begins."""
        self.error: str | None = None
        """The type of the exception that it failed of, where that is the service's fault."""
        self.bytes_sent = 0
        self.complete = False
        """Whether the last byte of the answer was handed to the server."""


def exchange_of(scope: Scope) -> Exchange:
    """The exchange of an HTTP scope; the outermost layer has put it there."""
    exchange: Exchange = scope[_KEY]
    return exchange


def begin_exchange(scope: Scope, request_id: str, request_headers: dict[bytes, bytes]) -> Exchange:
    """Makes the exchange of an HTTP scope."""
    exchange = scope[_KEY] = Exchange(request_id, request_headers)
    return exchange
