"""Wrong keys are throttled by the client's address, so that guessing costs the service next to nothing.

A key that was one of ours and has ended is no guess. It is counted by itself, so that a program that nobody told of a
revocation holds back nobody else behind its address.
"""

from app_kernel.core import clock
from app_kernel.core.errors import RateLimited
from app_kernel.core.events import RequestLimited
from app_kernel.core.kernel import Kernel
from app_kernel.core.limits import whole_seconds
from app_kernel.core.networks import network_of
from app_kernel.core.ports import RateLimiter

LIMIT = 30
"""Wrong keys that one address may send in a window; also how often it may send the same key after its end."""
WINDOW = 60
"""The window, in seconds."""
CAPACITY = 10_000
"""Addresses, and ended keys, held back that are remembered; beyond them the oldest are forgotten first."""


class WrongKeys:
    """Counts wrong keys where the service has a limiter; without one it holds nobody back."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._held_back: dict[str, float] = {}

    async def check(self, address: str | None, ended: str | None = None) -> None:
        """Raises RateLimited while this address is held back, or with `ended` this one key from there.

        It asks nobody, so it is free of input and output. `ended` tells keys apart, without being one.
        """
        until = self._held_back.get(_whose(address, ended))
        if until is not None and 0 < (left := until - clock.monotonic()) <= WINDOW:
            await self._kernel.emit(RequestLimited("keys"))
            raise RateLimited(whole_seconds(left))

    async def count(self, address: str | None, ended: str | None = None) -> None:
        """Counts a wrong key, or one use of a key that has ended; raises RateLimited when there were too many."""
        limiter = self._kernel.find_port(RateLimiter)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        if limiter is None:
            return
        network = _whose(address, ended)
        allowance = await limiter.hit(f"api_keys:{network}", LIMIT, WINDOW)
        if allowance.allowed:
            return
        seconds = min(max(allowance.reset_after, 1.0), float(WINDOW))
        self._held_back.pop(network, None)
        if len(self._held_back) >= CAPACITY:
            self._held_back.pop(next(iter(self._held_back)))
        self._held_back[network] = clock.monotonic() + seconds
        await self._kernel.emit(RequestLimited("keys"))
        raise RateLimited(whole_seconds(seconds))


def _whose(address: str | None, ended: str | None) -> str:
    """All whose address nobody knows count as one."""
    network = network_of(address) or "unknown"
    return network if ended is None else f"{network} {ended}"
