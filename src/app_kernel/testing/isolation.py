"""The proof that no workspace reaches what belongs to another one: every route, called by everybody, with every id."""

import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
from fastapi import FastAPI

from app_kernel.core.errors import KernelError
from app_kernel.core.kernel import Kernel
from app_kernel.core.ports import Allowance, Memberships, RateLimiter
from app_kernel.testing.attempts import Attempt, attempts
from app_kernel.testing.callers import CALLERS, MEMBERS, REFUSED, A, B, Caller
from app_kernel.testing.client import MEMORY, kernel_client
from app_kernel.testing.exchange import Answer, Sent
from app_kernel.testing.findings import Finding, IsolationReport
from app_kernel.testing.kernel_routes import SHARED_NAMES, SHOWN_TO_ADMINS, SPENDS_CALLER
from app_kernel.testing.routes import MOUNT, PUBLIC, WEBSOCKET, ServiceRoute, service_routes, undeclared
from app_kernel.testing.rows import RowReader
from app_kernel.testing.world import Body, Seed, World

_CHOICES = ((0, True), (0, False), (0, True), (1, True), (2, True), (3, True))
"""Which of the rows that a parameter may mean, and whether with every field of the body.

The third is that of the first once more, in case the row was used up and another one was made.
"""
_SHORTEST_ID = 16
"""Ids with fewer characters stand in answers by chance."""
_LATE = ("leave", "logout", "logout-all", "transfer", "me", "disable", "cancel", "archive", "revoke", "close")
STRONG = ("owner", "key_of_workspace", "other_owner")
"""Who tries everything; the others try what is likeliest."""


async def assert_tenant_isolation(  # noqa: PLR0913 - one keyword for each thing that an application may know better
    app: FastAPI,
    *,
    seed: Seed | None = None,
    exclude: Collection[str] = (),
    bodies: Mapping[str, Body] | None = None,
    roles: Collection[str] = CALLERS,
    shared: Collection[str] = (),
    kernel_routes: bool = False,
    database: str = MEMORY,
    redis_url: str | None = None,
) -> IsolationReport:
    """Fills two workspaces of the service, and tries every route as everybody with what belongs to the other one.

    The service runs through `kernel_client` on a private database, without limits of requests. Rows are made by the
    application's own routes, with bodies after their schemas, and by `seed(client, workspace_id, marker)`, called with
    a client of each workspace's owner, again when its rows were used up: it puts `marker`, which is another one each
    time, into texts, and gives ids by the name of the parameter that takes them. Then every id of the one workspace is
    sent by people of the other, in paths, queries, headers and bodies. No answer may have a text or id of a foreign
    workspace in it, nor may one of its rows change; and an answer to what is foreign is the one to what does not exist:
    404. A route of which nothing says who may call it fails, and so do an answer of 5xx and a route that nobody could
    call with success.

    Routes are named as in `"GET /projects/{id}"`: `exclude` leaves some out, `bodies` has a body, or a function of the
    workspace's id and a marker that makes one, for those whose validation a made-up body cannot pass, and `shared` are
    those that may tell that a name is taken in another workspace. `roles` are the callers to try. The kernel's own
    routes are tried with `kernel_routes=True`. Raises AssertionError with everything that was found, and KernelError
    for a service without workspaces.
    """
    __tracebackhide__ = True  # what pytest shows is the line of the test and what was found
    kernel: Kernel = app.state.kernel
    if kernel.find_port(Memberships) is None:  # type: ignore[type-abstract]  # a port is asked for by its protocol
        raise KernelError("This service has no workspaces: set saas_enabled, or add create_saas_router().")
    routes = service_routes(app)
    _check_names([*exclude, *(bodies or ()), *shared], routes)
    report = IsolationReport()
    report.findings += [Finding("undeclared", text) for text in undeclared(routes)]
    tried = [
        route
        for route in routes
        if route.name not in exclude and (kernel_routes or not route.is_kernel) and route.method != MOUNT
    ]
    async with kernel_client(app, database=database, redis_url=redis_url) as client, _without_limits(kernel):
        reader = RowReader(kernel)
        world = World(client, reader, routes, bodies or {}, seed)
        await world.build()
        proof = Proof(world, tried, frozenset(roles), frozenset(shared) | SHARED_NAMES.keys(), report)
        await proof.run()
    if report.findings:
        raise AssertionError(report.text())
    return report


class Proof:
    """One run over all routes."""

    def __init__(
        self,
        world: World,
        routes: Sequence[ServiceRoute],
        roles: Collection[str],
        shared: Collection[str],
        report: IsolationReport,
    ) -> None:
        self._world = world
        self._routes = routes
        self._roles = roles
        self._shared = shared
        self._report = report
        self._known_to_a: set[str] = set()
        """Ids of B that a route let somebody of A write into their own rows: where they show up, nothing is leaked."""

    async def run(self) -> None:
        """Reads first; then what is foreign is written; last come the writes that are allowed, and use things up."""
        reads = [route for route in self._routes if route.reads_only]
        writes = sorted((route for route in self._routes if not route.reads_only), key=_destruction)
        for route in reads:
            # What B is shown first must not be shown to A from some cache, nor the other way round.
            await self._own_of_b(route)
            await self._own(route)
            await self._own_of_b(route)
            await self._foreign(route)
            await self._settle(route, "somebody", None, "")
        for route in writes:
            await self._foreign(route)
            await self._settle(route, "somebody", None, "")
        for route in writes:
            await self._own(route)
            await self._settle(route, "somebody", None, "")
        for route in self._routes:
            self._judge(route)

    def _callers(self) -> list[Caller]:
        return [caller for name, caller in self._world.callers.items() if name in self._roles]

    async def _own(self, route: ServiceRoute) -> None:
        """Everybody calls the route for what is in workspace A, with what the route takes."""
        if route.method == WEBSOCKET:
            return
        for name in [each.name for each in self._callers()]:
            caller = self._world.callers[name]
            answer = await self._best_own(route, caller)
            self._report.note(route, caller.name, answer.status)

    async def _own_of_b(self, route: ServiceRoute) -> None:
        """Somebody of B calls the route for what is in B."""
        caller = self._world.callers.get("other_owner")
        if caller is None or caller.name not in self._roles or route.method == WEBSOCKET:
            return
        sent, _ = self._world.request(route, caller, self._world.sides[B])
        await self._try(route, caller, Attempt(sent, "the caller's own request"))

    async def _best_own(self, route: ServiceRoute, caller: Caller) -> Answer:
        """The first answer that is good, else the first one: of several rows and bodies, not every one will do."""
        has_own = caller.side == A or (caller.name == "platform_admin" and route.needs("role"))
        first: Answer | None = None
        for pick, full in _CHOICES:
            sent, _ = self._world.request(route, caller, self._world.sides[A], full=full, pick=pick)
            answer = await self._try(route, caller, Attempt(sent, "the caller's own request"))
            first = first or answer
            if answer.is_good or answer.status in (401, 403) or caller.name in REFUSED:
                return answer
            if answer.status == 404 and not has_own:
                return first
            if answer.status in (404, 409) and not full:
                await self._world.refill(caller)
        return first or Answer()

    async def _foreign(self, route: ServiceRoute) -> None:
        for name in [each.name for each in self._callers()]:
            caller = self._world.callers[name]
            if caller.name not in (*MEMBERS, "other_owner", "key_of_workspace", "key") or route.method == WEBSOCKET:
                continue
            if caller.key_id and not route.needs("key"):
                continue
            home, other = (
                (self._world.sides[B], self._world.sides[A])
                if caller.side == B
                else (
                    self._world.sides[A],
                    self._world.sides[B],
                )
            )
            own, mine = self._world.request(route, caller, home)
            strong = caller.name in STRONG and (caller.side == A or route.reads_only)
            for attempt in attempts(route, own, mine, home, other, strong=strong):
                await self._try(route, caller, attempt)
            if caller.name == "owner" and caller.side == A:
                await self._probe(route, caller, own)

    async def _probe(self, route: ServiceRoute, caller: Caller, own: Sent) -> None:
        """Sends what B once sent: that its names are taken there is no business of A's."""
        body = self._world.probes.get(route.name)
        if body is None or route.name in self._shared:
            return
        ids = own.body if isinstance(own.body, Mapping) else {}
        mixed = {
            name: ids[name] if name in ids and name.endswith(("id", "ids")) else value for name, value in body.items()
        }
        sent = Sent(own.method, own.path, own.headers, own.query, mixed, own.is_form)
        await self._try(
            route, caller, Attempt(sent, "the texts in the body are those of a row of the other workspace", own)
        )

    async def _try(self, route: ServiceRoute, caller: Caller, attempt: Attempt) -> Answer:
        """Sends, looks at the answer and, after a write that was accepted, at the rows."""
        world = self._world
        if not route.reads_only:
            attempt = replace(attempt, sent=world.freshened(attempt.sent))
        answer = await world.send(attempt.sent, caller)
        self._report.requests += 1
        self._inspect(route, caller, attempt, answer)
        if answer.is_good and route.name in SPENDS_CALLER:
            await world.renew(caller.name)
        if answer.is_good and not route.reads_only:
            if caller.side == A:
                self._known_to_a |= {id for id in self._ids(B) if attempt.sent.mentions(id)}
            await self._settle(route, caller.name, caller, f"{attempt.what}: {attempt.sent}")
        if attempt.control is not None and not self._same_for_all(caller, answer, attempt):
            control = await world.send(world.freshened(attempt.control), caller)
            self._report.requests += 1
            self._compare(route, caller, attempt, answer, control)
            if control.is_good and not route.reads_only:
                await self._settle(route, caller.name, caller, f"a control request: {attempt.control}")
        return answer

    @staticmethod
    def _same_for_all(caller: Caller, answer: Answer, attempt: Attempt) -> bool:
        """Whether the answer cannot depend on what was foreign in the request."""
        overlooked = answer.is_good and attempt.is_beside and attempt.sent.method not in ("GET", "HEAD")
        # In what words, those tell that try everything.
        told = answer.status == 404 and caller.name not in STRONG
        return answer.status == 401 or answer.status >= 500 or overlooked or told

    def _inspect(self, route: ServiceRoute, caller: Caller, attempt: Attempt, answer: Answer) -> None:
        where = f"{attempt.what}: {attempt.sent}"
        if answer.status >= 500:
            self._find(route, caller, "failed", f"answered {answer.status} {answer.excerpt()}", where)
        if answer.is_good and caller.name in REFUSED and route.policy not in (PUBLIC, None):
            self._find(route, caller, "open", f"answered {answer.status} to somebody who is nobody", where)
        if caller.name == "platform_admin" and _is_for_admins(route):
            return
        for side in self._foreign_sides(caller):
            leaked = self._leaked(side, answer, attempt.sent)
            if leaked:
                self._find(route, caller, "leak", f"answered {answer.status} with {leaked}", where)

    def _leaked(self, side: str, answer: Answer, sent: Sent) -> str:
        """What of a side stands in an answer, though the request did not bring it along."""
        marker, text = self._world.sides[side].belongings.marker, answer.text()
        if marker in text.lower():
            return f"a text of workspace {side}: {answer.around(marker)}"
        said = str(sent)
        for id in self._ids(side):
            if id in text and id not in said and not (side == B and id in self._known_to_a):
                return f"the id {id} of workspace {side}"
        return ""

    def _ids(self, side: str) -> list[str]:
        """What names something of a side, and nothing that both have, such as an id of a plan that anybody may buy."""
        own, other = (self._world.sides[name] for name in ((A, B) if side == A else (B, A)))
        ids = [str(row["id"]) for each in own.rows.values() for row in each if row.get("id") is not None]
        told = own.answered_ids.keys() - other.answered_ids.keys()
        return [id for id in (*ids, *told) if len(id) >= _SHORTEST_ID]

    def _compare(self, route: ServiceRoute, caller: Caller, attempt: Attempt, answer: Answer, control: Answer) -> None:
        where = f"{attempt.what}: {attempt.sent}"
        if answer.status == 403 and attempt.is_outside:
            self._report.doubts.append((route.name, caller.name, where))
        elif answer.status not in (404, control.status):
            self._find(
                route, caller, "told", f"answered {answer.status}, and {control.status} to what does not exist", where
            )
        elif answer.status == control.status >= 400 and _blind(answer, attempt.sent) != _blind(
            control, attempt.control
        ):
            self._find(
                route,
                caller,
                "told",
                f"answered in other words than to what does not exist: {answer.excerpt()} / {control.excerpt()}",
                where,
            )

    async def _settle(self, route: ServiceRoute, name: str, caller: Caller | None, where: str) -> None:
        """Looks which rows have changed, says whose should not have, and makes good what was used up."""
        world = self._world
        changed = await world.look()
        if not changed:
            return
        hit: dict[str, list[str]] = {}
        for key in changed:
            rows = [row for row in (world.before.rows.get(key), world.seen.rows.get(key)) if row is not None]
            for side in {world.owner_of(row) for row in rows} - {""}:
                hit.setdefault(side, []).append(key[0])
        for side, tables in sorted(hit.items()):
            allowed = caller is not None and (caller.side == side or caller.name == "platform_admin")
            if not allowed and side in self._untouchable(caller) and not (route.is_kernel and route.policy == PUBLIC):
                rows_of = ", ".join(sorted(set(tables)))
                self._report.add(
                    Finding("changed", f"changed rows of workspace {side} in {rows_of}", route.name, [where]), name
                )
        await world.repair(changed)

    @staticmethod
    def _untouchable(caller: Caller | None) -> tuple[str, ...]:
        return (B,) if caller is None else (A, B)

    def _foreign_sides(self, caller: Caller) -> tuple[str, ...]:
        return tuple(side for side in (A, B) if side != caller.side)

    def _judge(self, route: ServiceRoute) -> None:
        """What only shows when everybody has called."""
        statuses = self._report.matrix.get(route.name, {})
        for name, caller, where in self._report.doubts:
            if name == route.name and statuses.get(caller) != 403:
                self._report.add(
                    Finding("told", "answered 403 where an outsider gets 404", route.name, [where]), caller
                )
        if route.is_kernel or any(200 <= status < 400 for status in statuses.values()):
            return
        if self._report.has("failed", route.name):
            return
        seen = ", ".join(f"{name} {status}" for name, status in statuses.items()) or "it is a WebSocket"
        self._report.findings.append(
            Finding(
                "never exercised",
                f"nobody could call it with success ({seen}): give a body in bodies=, rows in seed=, or exclude= it",
                route.name,
            )
        )

    def _find(self, route: ServiceRoute, caller: Caller, kind: str, text: str, where: str) -> None:
        self._report.add(Finding(kind, text, route.name, [where]), caller.name)


def _destruction(route: ServiceRoute) -> int:
    """The later the more a route destroys."""
    ends = route.path.rsplit("/", 1)[-1]
    return 2 * (route.method == "DELETE") + (ends in _LATE)


def _is_for_admins(route: ServiceRoute) -> bool:
    return route.needs("role") or (route.is_kernel and route.path.startswith(SHOWN_TO_ADMINS))


def _blind(answer: Answer, sent: Sent | None) -> Any:
    """What an answer says, but for what differs from request to request and for what the request itself said."""
    said = answer.json()
    if not isinstance(said, dict):
        return None
    text = orjson.dumps({name: said.get(name) for name in ("detail", "title", "type", "code")}).decode()
    for part in sorted(re.findall(r"[\w:.-]{6,}", str(sent)), key=len, reverse=True):
        text = text.replace(part, "*")
    return text


def _check_names(names: Iterable[str], routes: Iterable[ServiceRoute]) -> None:
    __tracebackhide__ = True
    known = {route.name for route in routes}
    for name in names:
        if name not in known:
            raise KernelError(f'There is no route {name!r}; routes are named as in "GET /projects/{{id}}".')


@asynccontextmanager
async def _without_limits(kernel: Kernel) -> AsyncIterator[None]:
    """Nobody is limited inside the block."""
    limiter: Any = kernel.find_port(RateLimiter)
    if limiter is None:
        yield
        return

    async def allow(bucket: str, limit: int, window: int) -> Allowance:
        return Allowance(allowed=True, limit=limit, window=window, remaining=limit, reset_after=0)

    limiter.hit = allow
    try:
        yield
    finally:
        del limiter.hit


__all__ = ["IsolationReport", "assert_tenant_isolation"]
