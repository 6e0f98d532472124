"""Wrong keys are throttled by the client's address, so that guessing costs the service next to nothing."""

from app_kernel.core import clock
from app_kernel.core.errors import RateLimited
from app_kernel.core.kernel import Kernel
from app_kernel.core.limits import whole_seconds
from app_kernel.core.networks import network_of
from app_kernel.core.ports import RateLimiter

LIMIT = 30
"""Wrong keys that one address may send in a window."""
WINDOW = 60
"""The window, in seconds."""
CAPACITY = 10_000
"""Addresses held back that are remembered; beyond them the oldest are forgotten first."""


class WrongKeys:
    """Counts wrong keys where the service has a limiter; without one it holds nobody back."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._held_back: dict[str, float] = {}

    def check(self, address: str | None) -> None:
        """Raises RateLimited while this address is held back; it asks nobody, so it is free of input and output."""
        until = self._held_back.get(_whose(address))
        if until is not None and 0 < (left := until - clock.monotonic()) <= WINDOW:
            raise RateLimited(whole_seconds(left))

    async def count(self, address: str | None) -> None:
        """Counts a wrong key; raises RateLimited when there were too many from this address."""
        limiter = self._kernel.find_port(RateLimiter)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        if limiter is None:
            return
        network = _whose(address)
        allowance = await limiter.hit(f"api_keys:{network}", LIMIT, WINDOW)
        if allowance.allowed:
            return
        seconds = min(max(allowance.reset_after, 1.0), float(WINDOW))
        self._held_back.pop(network, None)
        if len(self._held_back) >= CAPACITY:
            self._held_back.pop(next(iter(self._held_back)))
        self._held_back[network] = clock.monotonic() + seconds
        raise RateLimited(whole_seconds(seconds))


def _whose(address: str | None) -> str:
    """All whose address nobody knows count as one."""
    return network_of(address) or "unknown"
