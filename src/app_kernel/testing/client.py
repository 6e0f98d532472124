"""A service in memory, and a client for it whose requests never leave the process."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from typing import Any, Literal

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app_kernel.core.clock import FrozenClock, frozen
from app_kernel.core.context import current_context, in_context
from app_kernel.core.errors import AccountExists, KernelError
from app_kernel.core.identity import UserIdentity
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Accounts, EntityStore, JobQueue, Outbox
from app_kernel.db import create_database
from app_kernel.jobs import JobView, Mode, ServiceJobs, jobs_of
from app_kernel.mail import DevelopmentMail, development_mails
from app_kernel.metering import RequestCounts, get_usage
from app_kernel.redis_wire import create_redis
from app_kernel.webhooks import CapturedWebhook, Courier, courier_of

try:
    import httpx2
except ImportError as exc:
    raise ImportError("app_kernel.testing talks to the service through httpx2: install app-kernel[testing]") from exc

MEMORY = "sqlite://:memory:"
"""A private temporary database that vanishes with the client."""

PASSWORD = "correct-horse-battery-staple-42"  # noqa: S105 - of accounts that live as long as a test
BASE_URL = "http://testserver"
CARRY_SECONDS = 2.0
"""How long a message may take to leave the outbox; one that a sink refuses stays there."""


class KernelClient(httpx2.AsyncClient):
    """An HTTP client whose requests reach the service in process; made by `kernel_client`."""

    def __init__(self, app: FastAPI, *, clock: FrozenClock | None = None, user: UserIdentity | None = None) -> None:
        super().__init__(transport=httpx2.ASGITransport(app=Isolated(app)), base_url=BASE_URL)
        self.app = app
        self._clock = clock
        self._user = user
        self._guests: list[KernelClient] = []

    @property
    def kernel(self) -> Kernel:
        """The running kernel."""
        kernel: Kernel = self.app.state.kernel
        return kernel

    @property
    def db(self) -> EntityStore:
        """The service's database."""
        return self.kernel.db.connection()

    @property
    def admin_db(self) -> EntityStore:
        """The service's admin database; raises KernelError in a service that has none."""
        return self.kernel.admin_store()

    @property
    def clock(self) -> FrozenClock:
        """The frozen clock: `client.clock.advance(3600)`. Raises KernelError when the clock was not frozen."""
        if self._clock is None:
            raise KernelError("The clock runs; freeze it with kernel_client(app, frozen_at=...).")
        return self._clock

    @property
    def jobs(self) -> "ServiceTestJobs":
        """The background jobs of the service, to look at and to run."""
        return ServiceTestJobs(jobs_of(self.kernel), self.kernel.find_port(Outbox))  # type: ignore[type-abstract]

    async def mails(self) -> list[DevelopmentMail]:
        """The mails of the service, the earliest first: `to`, `subject`, `text`, `html` and the `links` in them.

        It runs what is due first, as `jobs.drain` does: mails are sent by jobs. A service that has a mail server
        (`smtp_url`) keeps none.
        """
        await self.jobs.drain()
        return (await development_mails(self.kernel))[::-1]

    async def webhooks(self) -> list[CapturedWebhook]:
        """The webhooks that the service has sent, the earliest first: `url`, `type`, `data`, `id`, `body`, `headers`.

        They were captured, and taken for answered with 200; `verify(secret)` reads one as its receiver does. It runs
        what is due first, as `jobs.drain` does. Raises KernelError with `webhooks="send"`, and without webhooks.
        """
        captured = courier_of(self.kernel).captured
        if captured is None:
            raise KernelError('Webhooks are really sent here: leave out webhooks="send", and they are captured.')
        await self.jobs.drain()
        return list(captured)

    async def usage(
        self, *, workspace_id: str | None = None, user_id: str | None = None, period: str | None = None
    ) -> dict[str, int]:
        """What was used, by metric, as `metering.get_usage` tells it once all that was counted so far has arrived.

        Raises KernelError in a service that does not meter, and with Redis, where it waits for an admin worker.
        """
        if self.kernel.connect_redis is not None:
            raise KernelError(
                "With Redis an admin worker writes down what was counted, and none runs here: leave redis_url out."
            )
        await self.kernel.port(RequestCounts).flush()
        await _carry(self.kernel.find_port(Outbox))  # type: ignore[type-abstract]  # a port is asked for by its protocol
        app = self.kernel.name
        return await get_usage(self.admin_db, app=app, workspace_id=workspace_id, user_id=user_id, period=period)

    @property
    def user(self) -> UserIdentity:
        """Who this client is logged in as; raises KernelError for a client that nobody is logged in with."""
        if self._user is None:
            raise KernelError("Nobody is logged in with this client; use `await client.log_in_as(email)`.")
        return self._user

    async def log_in_as(self, email: str, role: str = "user", password: str = PASSWORD) -> "KernelClient":
        """Another client, whose requests carry a real access token of this account; makes the account if need be.

        An account that exists keeps its role. Raises KernelError when the service has no auth or refuses the login.
        """
        accounts = self.kernel.port(Accounts)  # type: ignore[type-abstract]  # a port is asked for by its protocol
        with suppress(AccountExists):
            await accounts.create_user(self.db, email, password, role=role, email_verified=True)
        path = f"{self.app.state.api_prefix}/auth/login"
        answer = await self.post(path, json={"email": email, "password": password})
        if answer.status_code != 200:
            raise KernelError(f"POST {path} answered {answer.status_code}: {answer.text}")
        given = answer.json()
        user = UserIdentity(**{name: given["user"][name] for name in ("id", "email", "role", "is_active")})
        guest = KernelClient(self.app, clock=self._clock, user=user)
        guest.headers["Authorization"] = f"Bearer {given['access_token']}"
        self._guests.append(guest)
        return guest

    async def aclose(self) -> None:
        """Closes this client and those that were logged in with it."""
        for guest in self._guests:
            await guest.aclose()
        await super().aclose()


class ServiceTestJobs:
    """What a test asks of the background jobs of a service."""

    def __init__(self, jobs: ServiceJobs, outbox: Outbox | None = None) -> None:
        self._jobs = jobs
        self._outbox = outbox

    async def enqueued(self, name: str | None = None) -> list[JobView]:
        """The jobs of a task, or all, whatever became of them, in the order in which they were enqueued."""
        await self._jobs.arrived()
        found = await self._jobs.list_jobs(task=name, limit=1000)
        views = [await self._jobs.get(each.id) for each in reversed(found)]
        return [view for view in views if view is not None]

    async def assert_enqueued(
        self, name: str, payload: Any = None, *, times: int | None = None, **fields: Any
    ) -> JobView:
        """The latest job of a task with this payload, of a dict at least these fields, and these fields of JobView.

        Raises AssertionError, which says what there is, when there is none, or another number than `times`.
        """
        there = await self.enqueued(name)
        fits = [
            view
            for view in there
            if _holds(view.payload, payload) and all(getattr(view, field) == value for field, value in fields.items())
        ]
        if not fits or (times is not None and len(fits) != times):
            wanted = f"{name} with {payload!r}" + (f" and {fields}" if fields else "")
            expected = "at least 1" if times is None else times
            others = sorted({each.task_name for each in await self.enqueued()})
            raise AssertionError(
                f"{len(fits)} jobs are {wanted}, {expected} expected; of this task there are"
                f" {[view.payload for view in there]}, and the tasks of all jobs are {others}"
            )
        return fits[-1]

    async def assert_not_enqueued(self, name: str, payload: Any = None) -> None:
        """Raises AssertionError when there is such a job."""
        fits = [view for view in await self.enqueued(name) if _holds(view.payload, payload)]
        if fits:
            raise AssertionError(f"{len(fits)} jobs of {name} were enqueued: {[view.payload for view in fits]}")

    async def drain(self) -> list[JobView]:
        """Runs what is due, one job after another, until nothing is left; how each stood after its attempt.

        What has left a transaction, such as an event for webhooks, becomes a job first, and so does what a job leaves.
        A job that is to run later, or again later, waits until the clock is there: `client.clock.advance(60)`. Of a
        task with a schedule that came up since the last time, one job runs, where the clock is frozen.
        """
        ran: list[JobView] = []
        while True:
            await _carry(self._outbox)
            more = await self._jobs.drain()
            ran += more
            if not more:
                return ran


async def _carry(outbox: Outbox | None) -> None:
    """Returns when the outbox is empty, or after a moment in which it did not become so."""
    if outbox is None:
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(CARRY_SECONDS):
            while (await outbox.figures()).unsent:  # noqa: ASYNC110 - the relay works by itself
                await asyncio.sleep(0.005)


def _holds(payload: Any, wanted: Any) -> bool:
    if wanted is None:
        return True
    if isinstance(wanted, Mapping) and isinstance(payload, Mapping):
        return all(field in payload and payload[field] == value for field, value in wanted.items())
    return bool(payload == wanted)


@asynccontextmanager
async def kernel_client(
    app: FastAPI,
    *,
    frozen_at: datetime | None = None,
    database: str | None = MEMORY,
    redis_url: str | None = None,
    jobs: Mode = "manual",
    webhooks: Literal["capture", "send"] = "capture",
) -> AsyncIterator[KernelClient]:
    """Starts the service, gives a client for it, and shuts the service down again.

    It runs on databases of its own unless `database` is another URL, or None for the configured ones, and without Redis
    unless `redis_url` names one, as jobs on MySQL need it, or `database` is None. With `frozen_at` (an aware datetime)
    the clock stands still until `client.clock.advance(seconds)`. Background jobs wait for `client.jobs.drain()`; with
    `jobs="inline"` they run before `enqueue` returns (in a transaction they still wait), with `jobs="worker"` as in the
    service itself.
    Webhooks are captured, for `client.webhooks()`, and leave the process with `webhooks="send"` only. A start-up that
    fails raises what made it fail.
    """
    kernel: Kernel = app.state.kernel
    if redis_url is not None and kernel.config.redis_url is None:
        raise KernelError(
            "This service does not use Redis: give its settings a redis_url too, whose place this one takes."
        )
    configured = kernel.db, kernel.admin_db, kernel.connect_redis
    if database is not None:
        kernel.db = create_database(database, synchronous="NORMAL", recorders=kernel.recorders)
        kernel.admin_db = create_database(MEMORY) if kernel.admin_db is not None else None
        kernel.connect_redis = None
    service_jobs = kernel.find_port(JobQueue)  # type: ignore[type-abstract]  # a port is asked for by its protocol
    if isinstance(service_jobs, ServiceJobs):
        service_jobs.mode = jobs
    courier = kernel.find_port(Courier)
    if courier is not None:
        courier.captured = [] if webhooks == "capture" else None
    if redis_url is not None:
        kernel.connect_redis = partial(create_redis, redis_url, kernel.name)
    try:
        async with AsyncExitStack() as stack:
            clock = stack.enter_context(frozen(frozen_at)) if frozen_at is not None else None
            if isinstance(service_jobs, ServiceJobs) and clock is not None and jobs != "worker":
                service_jobs.looked_at = clock.now()
            await stack.enter_async_context(app.router.lifespan_context(app))
            yield await stack.enter_async_context(KernelClient(app, clock=clock))
    finally:
        kernel.db, kernel.admin_db, kernel.connect_redis = configured
        if isinstance(service_jobs, ServiceJobs):
            service_jobs.mode, service_jobs.looked_at = "worker", None
        if courier is not None:
            courier.captured = None


class Isolated:
    """The app as a server would call it: what a request sets in its context ends with the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with in_context(current_context()):
            await self._app(scope, receive, send)


__all__ = ["MEMORY", "KernelClient", "ServiceTestJobs", "kernel_client"]
