"""Carries out a request with an Idempotency-Key once, and answers its repeats with the kept answer.

The header is the one of draft-ietf-httpapi-idempotency-key-header. The layer stands directly around the routes: it sees
the answer before other middleware changes it, and shares the handler's task, in which its transaction lives.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app_kernel.core.bodies import read_body, replayed
from app_kernel.core.errors import InvalidIdempotencyKey
from app_kernel.core.exchange import Exchange, exchange_of
from app_kernel.core.kernel import Kernel
from app_kernel.core.paths import path_below_root
from app_kernel.encryption import key_ring
from app_kernel.idempotency.answers import Vault, asks_to_try_again, may_be_kept
from app_kernel.idempotency.endpoints import Endpoint, find_endpoint
from app_kernel.idempotency.gate import Gate, NotCommitted, enter_gate
from app_kernel.idempotency.requests import HEADER, METHODS, read_key

_STREAMS = "The answer of this route is a stream, which cannot be given again: send no Idempotency-Key."


class Idempotency:
    """Pure ASGI."""

    def __init__(self, app: ASGIApp, kernel: Kernel) -> None:
        self.app = app
        self._kernel = kernel
        self._vault = Vault(key_ring(kernel.config))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or HEADER not in exchange_of(scope).request_headers:
            await self.app(scope, receive, send)
            return
        endpoint = find_endpoint(scope) if scope["method"] in METHODS and not _is_of_auth(scope) else None
        if endpoint is None:
            await self.app(scope, receive, send)
        else:
            await self._carry_out(endpoint, scope, receive, send)

    async def _carry_out(self, endpoint: Endpoint, scope: Scope, receive: Receive, send: Send) -> None:
        key = read_key(scope)
        if endpoint.streams:
            raise InvalidIdempotencyKey(_STREAMS)
        body = await read_body(receive)
        if body is None:
            return  # the client has left; nobody waits for an answer
        gate = Gate(self._kernel, self._vault, scope, key, body, one_commit=endpoint.one_commit)
        endpoint.gate()
        enter_gate(gate)
        try:
            await self.app(scope, replayed(body, receive), _Answer(gate, exchange_of(scope), send).send)
        except NotCommitted as exc:
            await gate.break_off()
            raise exc.__cause__ or exc from None
        except Exception:
            await gate.break_off()
            raise
        except BaseException:
            await gate.abandon()
            raise
        else:
            await gate.break_off()  # of a request that was never answered
        finally:
            enter_gate(None)


class _Answer:
    """The answer on its way out: it is held back until it is known whether it is kept."""

    def __init__(self, gate: Gate, exchange: Exchange, send: Send) -> None:
        self._gate = gate
        self._exchange = exchange
        self._send = send
        self._start: Message | None = None
        self._streams = False

    async def send(self, message: Message) -> None:
        """Takes one part of the answer; raises NotCommitted when there is to be another answer."""
        if message["type"] == "http.response.start" and self._gate.is_open:
            self._start = message
        elif self._start is None or not self._gate.is_open:
            await self._send(message)
        elif self._streams:
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                await self._gate.settle(0, [], None)
            await self._send(message)
        else:
            await self._begin(self._start, message)

    async def _begin(self, start: Message, message: Message) -> None:
        status, headers, body = start["status"], list(start.get("headers", ())), message.get("body", b"")
        is_body = message["type"] == "http.response.body"  # else a file that the server sends by itself
        more = message.get("more_body", False)
        if status >= 500 or (self._gate.one_commit and asks_to_try_again(status, headers)):
            await self._gate.break_off()
        elif is_body and not more:
            # A layer outside of this one adds what a route has laid into the exchange, such as `no-store`.
            kept = may_be_kept([*headers, *self._exchange.extra_headers], body)
            await self._gate.settle(status, headers, body if kept else None)
        elif not is_body or self._gate.in_transaction:
            await self._gate.settle(status, headers, None)  # what is left of a stream is made after the commit
        else:
            self._streams = True
        await self._send(start)
        await self._send(message)


def _is_of_auth(scope: Scope) -> bool:
    """Whether the answer may hold tokens, which are kept nowhere."""
    path = path_below_root(scope)
    prefix = f"{scope['app'].state.api_prefix}/auth"
    return path == prefix or path.startswith(f"{prefix}/")
