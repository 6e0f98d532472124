"""Requests count themselves: in memory, and once a second into the outbox.

A process that is killed loses what it counted since the last time, a second at most; one that ends loses nothing.
"""

import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeAlias

from app_kernel.core import clock
from app_kernel.core.beside import Beside, Unsent
from app_kernel.core.errors import InvalidUsage
from app_kernel.core.events import RequestFinished
from app_kernel.core.kernel import Kernel
from app_kernel.core.methods import METHODS
from app_kernel.core.outbox import Message
from app_kernel.metering.counting import LONGEST, REQUESTS, TOPIC, check_optional, make_count, make_message

CAPACITY = 50_000
"""Combinations of user, workspace, endpoint and day that wait to be written, should the database be away for long."""
COUNTS_IN_MESSAGE = 200
SECONDS_A_DAY = 86400

_REFUSED = frozenset({HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.TOO_MANY_REQUESTS})
"""What asked for more than the caller may have, or for nothing that there is, is no use of the service."""
_FAILED = 500

_log = logging.getLogger("app_kernel.metering")

_Key: TypeAlias = tuple[int, str | None, str | None, str, str]
"""The day since 1970, workspace, user, method and route."""


class RequestCounts:
    """The requests of one service that are not written yet."""

    def __init__(self) -> None:
        self._counts: dict[_Key, int] = {}
        self._unsent = Unsent()
        self._beside: Beside | None = None
        self._left_alone: frozenset[str] = frozenset()
        self._full = False

    def count(self, kernel: Kernel, event: RequestFinished) -> None:
        """Notes a request that was served; in the event loop, for each of them."""
        route, status = event.route, event.status
        if status >= _FAILED or status in _REFUSED or not route or route in self._left_alone:
            return
        key = (int(clock.epoch() // SECONDS_A_DAY), event.workspace_id, event.user_id, event.method, route)
        try:
            self._counts[key] += 1
        except KeyError:
            self._add(kernel, key)

    def _add(self, kernel: Kernel, key: _Key) -> None:
        day, workspace_id, user_id, method, route = key
        if method not in METHODS:
            key = (day, workspace_id, user_id, "OTHER", route)
        if len(self._counts) >= CAPACITY and key not in self._counts:
            if not self._full:
                _log.error("requests_not_counted", extra={"waiting": len(self._counts)})
            self._full = True
            kernel.dropped[TOPIC] += 1
            return
        self._counts[key] = self._counts.get(key, 0) + 1
        if self._beside is not None:
            self._beside.call()

    @asynccontextmanager
    async def written(self, kernel: Kernel) -> AsyncIterator[None]:
        """Writes what is counted while the block runs, and once more at its end."""
        self._left_alone = frozenset(_unprefixed_paths(kernel))
        beside = self._beside = Beside(kernel, lambda: self._write(kernel), "requests_not_written")
        try:
            async with beside.written():
                yield
        finally:
            self._beside = None

    async def flush(self) -> None:
        """Writes now, where the service runs; for tests."""
        if self._beside is not None:
            await self._beside.flush()

    async def _write(self, kernel: Kernel) -> None:
        try:
            # What is counted while the database is away is added up until it is back, so that it grows with the number
            # of callers and not with time.
            await self._unsent.send(kernel)
            counts, self._counts, self._full = self._counts, {}, False
            self._unsent.messages = list(_messages(kernel.name, counts))
            await self._unsent.send(kernel)
        except Exception:
            if self._beside is not None:
                self._beside.call()
            raise


def _messages(app: str, counts: dict[_Key, int]) -> Iterable[Message]:
    listed = [
        make_count(
            {REQUESTS: amount},
            day=datetime.fromtimestamp(day * SECONDS_A_DAY, UTC).date().isoformat(),
            workspace_id=_storable(workspace_id),
            user_id=_storable(user_id),
            endpoint=f"{method} {route}"[:LONGEST],
        )
        for (day, workspace_id, user_id, method, route), amount in counts.items()
    ]
    for start in range(0, len(listed), COUNTS_IN_MESSAGE):
        yield make_message(app, listed[start : start + COUNTS_IN_MESSAGE])


def _storable(id: str | None) -> str | None:
    """The id; None for one that an authenticator of the application's own made and no counter can have.

    The sink would refuse it, and with it all that the message counts of others.
    """
    try:
        return check_optional("id", id)
    except InvalidUsage:
        return None


def _unprefixed_paths(kernel: Kernel) -> Iterable[str]:
    """The routes of probes and metrics, which no caller is counted for."""
    for feature in kernel.features:
        if feature.unprefixed and feature.router is not None:
            yield from (getattr(route, "path", "") for route in feature.router.routes)
