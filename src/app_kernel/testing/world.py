"""Two workspaces full of rows, and everybody who might look at them, in a running service."""

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from app_kernel.core.named_workspaces import HEADER
from app_kernel.testing.attempts import best, is_workspace_name, path_values
from app_kernel.testing.bodies import Filler, id_places, is_id_name, value_at
from app_kernel.testing.callers import (
    CALLERS,
    KEYS,
    MEMBERS,
    A,
    B,
    Caller,
    Registry,
    Side,
)
from app_kernel.testing.client import Isolated, KernelClient
from app_kernel.testing.exchange import Answer, Sent, send
from app_kernel.testing.kernel_routes import NOT_FOR_FILLING, kernel_body
from app_kernel.testing.routes import ServiceRoute
from app_kernel.testing.rows import Belongings, RowReader, Snapshot

Body = Mapping[str, Any] | Callable[[str, str], Any]
Seed = Callable[[KernelClient, str, str], Any]
_PEOPLE_TABLES = ("kernel_users", "kernel_sessions", "kernel_api_keys", "kernel_workspace")
PASSES = 4
"""How deep rows may hang on each other: a row that needs another one's id is made in the pass after it."""


class World:
    """The service with its two sides; what was used up is made again by `repair`."""

    def __init__(
        self,
        client: KernelClient,
        reader: RowReader,
        routes: list[ServiceRoute],
        bodies: Mapping[str, Body],
        seed: Seed | None,
    ) -> None:
        self.client = client
        self.kernel = client.kernel
        self.seen = Snapshot()
        self.callers: dict[str, Caller] = {}
        probe = _marker(self.kernel.name, "probe")
        self.sides = {name: Side(name, Belongings(_marker(self.kernel.name, name)), probe) for name in (A, B)}
        self.office = Side("", Belongings(_marker(self.kernel.name, "office")), probe)
        """What is in neither workspace: of the platform's admin, and what others write who are in none."""
        self.probes: dict[str, Any] = {}
        """The bodies with which rows of B were made, by route, to be sent again by somebody of A."""
        self._asgi = Isolated(client.app)
        self._reader = reader
        self._routes = routes
        self._bodies = bodies
        self._seed = seed
        self._registry = Registry(self.kernel)
        self._serial = self._sent = 0
        self._places: dict[tuple[str, str], tuple[Mapping[str, Any], int, Side | None, bool]] = {}
        self.before = Snapshot()
        """What was there before the last look."""
        self._prefix = client.app.state.api_prefix

    async def build(self) -> None:
        """Makes both workspaces, everybody in them, and their rows."""
        for side in self.sides.values():
            await self._make_side(side)
        await self.look()
        for side in (self.sides[B], self.sides[A], self.office):
            await self.stock(side)

    async def send(self, sent: Sent, caller: Caller) -> Answer:
        """Sends one request with the caller's credentials."""
        self._sent += 1
        # From another address each time, or the tenth wrong password would make all others wait.
        address = f"10.{self._sent >> 16 & 255}.{self._sent >> 8 & 255}.{self._sent & 255}"
        return await send(self._asgi, sent, caller.credentials, address)

    async def look(self) -> list[tuple[str, str]]:
        """Reads the database anew; the rows that changed since the last look."""
        now = await self._reader.read(self.seen)
        changed = now.changed_since(self.seen)
        self.seen, self.before = now, self.seen
        if changed:
            self._sort()
        return changed

    def owner_of(self, row: Mapping[str, Any]) -> str:
        """The side that a row belongs to, or nothing."""
        ids = {side.workspace_id for side in self.sides.values()}
        for side in self.sides.values():
            if side.belongings.has(row, ids):
                return side.name
        return ""

    def request(
        self, route: ServiceRoute, caller: Caller, side: Side, *, full: bool = True, marker: str = "", pick: int = 0
    ) -> tuple[Sent, dict[str, str]]:
        """The request of somebody in `side` about what is theirs, and the values in its path.

        `pick` chooses another one of what a path parameter may mean.
        """
        if caller.name == "platform_admin" and route.needs("role"):
            office = path_values(route, self.office, caller.user_id)
            values = path_values(route, side, caller.user_id)
            # Not the admin's own account, from which most of this is kept.
            values = {
                name: [*(id for id in office[name] if id != caller.user_id), *each] for name, each in values.items()
            }
        else:
            values = path_values(route, side, caller.user_id)
        mine = {name: (each[min(pick, len(each) - 1)] if each else "unknown") for name, each in values.items()}
        in_path = any(is_workspace_name(name) for name in mine)
        places_it = route.needs("workspace") and not in_path
        filler = self.filler(side, caller, marker)
        query = [
            (each.name, str(value))
            for each in route.queries
            if each.required and (value := filler.value(each.schema, each.name)) is not None
        ]
        names_it = any(name == "workspace_id" for name, _ in query)
        sent = Sent(
            route.method,
            route.fill(mine),
            ((HEADER, side.workspace_id),) if places_it and not names_it else (),
            tuple(query),
            self.body(route, caller, side, filler, full=full),
            route.is_form,
        )
        return sent, mine

    def filler(self, side: Side, caller: Caller, marker: str = "") -> Filler:
        """Makes values with the side's marker, no text twice."""
        self._serial += 1
        given = {name: value for name, value in caller.values.items() if "password" in name or "token" in name}
        words = marker or (side if caller.side == side.name else self.office).belongings.marker

        def find(name: str) -> str | None:
            return best(side, name, user_id=caller.user_id)

        return Filler(words, find, {**given, **side.given}, 0 if marker else self._serial * 100)

    def freshened(self, sent: Sent) -> Sent:
        """The request with made-up texts in its body that were never sent before, so that no name is taken."""
        if sent.body is None:
            return sent
        self._serial += 1
        text = orjson.dumps(sent.body).decode()
        for marker in (self.office.belongings.marker, *(side.belongings.marker for side in self.sides.values())):
            text = re.sub(rf"{marker}(?=\d)", f"{marker}{self._serial}n", text)
        return replace(sent, body=orjson.loads(text))

    def body(self, route: ServiceRoute, caller: Caller, side: Side, filler: Filler, *, full: bool) -> Any:
        """A body for a route: the one that the test gives, one for a kernel's route, or one that its schema takes."""
        given = self._bodies.get(route.name)
        if callable(given):
            return given(side.workspace_id, filler.text())
        if given is not None:
            return given
        if route.body is None:
            return None
        known = kernel_body(route.name, caller.values or self.callers["user"].values, filler.text())
        return filler.value(route.body, full=full) if known is None else known

    async def stock(self, side: Side) -> None:
        """Fills a side, and lets the application add what no route makes."""
        await self._fill(side)
        if self._seed is not None and side is not self.office:
            await self._call_seed(self._seed, side)

    async def _fill(self, side: Side) -> None:
        """Lets the side's people make rows by every route that makes some, until there is nothing new to make."""
        done: set[tuple[str, str]] = set()
        for _ in range(PASSES):
            before = len(done)
            for route in self._routes:
                if self._makes_rows(route) and route.needs("role") == (side is self.office):
                    made = len(done)
                    await self._make_by(route, side, done)
                    if len(done) > made:
                        await self.look()
            if len(done) == before:
                return

    def _makes_rows(self, route: ServiceRoute) -> bool:
        if route.method not in ("POST", "PUT") or route.policy in (None, "public"):
            return False
        below = route.path.removeprefix(self._prefix)
        return route.body is not None and not below.startswith(NOT_FOR_FILLING) and route.name not in NOT_FOR_FILLING

    async def _make_by(self, route: ServiceRoute, side: Side, done: set[tuple[str, str]]) -> None:
        own = [each for each in self.callers.values() if each.side == side.name and each.session_id]
        people = (
            [side.owner]
            if route.needs("workspace") or side is self.office
            else [side.owner, *(each for each in own if each is not side.owner)]
        )
        for caller in people:
            if (route.name, caller.name) in done or caller.name == "expired_token":
                continue
            values = path_values(route, side, caller.user_id)
            if not all(values.values()) and (side is not self.office or any(is_id_name(name) for name in values)):
                continue
            sent, _ = self.request(route, caller, side)
            answer = await self.send(sent, caller)
            if answer.status == 422:
                sent, _ = self.request(route, caller, side, full=False)
                answer = await self.send(sent, caller)
            if answer.is_good:
                done.add((route.name, caller.name))
                side.answered_ids |= _ids_in(answer.json())
                await self._probe(route, side, caller)

    async def _probe(self, route: ServiceRoute, side: Side, caller: Caller) -> None:
        """Makes another row of B whose texts are no secret, to be sent again from A: what is taken shows then."""
        if (
            side.name != B
            or caller is not side.owner
            or route.name in self.probes
            or callable(self._bodies.get(route.name))
        ):
            return
        sent, _ = self.request(route, caller, side, marker=side.probe)
        if sent.body is not None and (await self.send(sent, caller)).is_good:
            self.probes[route.name] = sent.body

    async def repair(self, changed: Iterable[tuple[str, str]]) -> None:
        """Makes good what a request has used up, so that the next one finds everything in its place."""
        tables = {table for table, _ in changed}
        if any(table.startswith(_PEOPLE_TABLES) for table in tables) and await self._repair_people():
            await self.look()
        for side in self.sides.values():
            if any(not side.rows[table] for table in tables & side.rows.keys()):
                await self.stock(side)

    async def _repair_people(self) -> bool:
        """Makes workspaces, callers and spare members anew that are no longer there; whether any was."""
        repaired = False
        for side in self.sides.values():
            if not await self._registry.exists(side):
                await self._make_side(side)
                await self.look()
                await self.stock(side)
                repaired = True
        for name, caller in list(self.callers.items()):
            if not await self._registry.stands(caller, self.sides.get(caller.side), self.seen):
                await self._replace(name)
                repaired = True
        for side in self.sides.values():
            kept = [id for id in side.spare_ids if self.seen.find(id) and await self._registry.role(side, id)]
            side.spare_ids[:] = kept
            if not kept:
                await self._registry.spare(side)
                repaired = True
        return repaired

    async def refill(self, caller: Caller) -> None:
        """Makes rows anew that the caller may use: somebody may have used up those that another one is to have."""
        await self.stock(self.sides.get(caller.side, self.office))

    async def renew(self, name: str) -> None:
        """Makes a caller anew whose password may be another one now."""
        if self.callers[name].session_id and name != "expired_token":
            await self._replace(name)
            await self.look()

    async def _make_side(self, side: Side) -> None:
        """The workspace and its people. Whoever calls is made anew with it."""
        side.rows, side.role_of, side.spare_ids, side.answered_ids = {}, {}, [], {}
        side.owner = await self._registry.person("owner", side)
        await self._registry.workspace(side)
        names = [*MEMBERS, *KEYS, "revoked_key", "expired_token"] if side.name == A else ["other_owner"]
        if side.name == A:
            for name in ("anonymous", "user", "platform_admin"):
                if name not in self.callers:
                    await self._replace(name)
        for name in names:
            await self._replace(name)
        await self._registry.spare(side)
        self.callers = {name: self.callers[name] for name in CALLERS if name in self.callers}

    async def _replace(self, name: str) -> None:
        registry, home = self._registry, self.sides[A]
        if name == "anonymous":
            self.callers[name] = Caller(name)
        elif name == "user":
            self.callers[name] = await registry.person(name, None)
        elif name == "platform_admin":
            self.callers[name] = await registry.person(name, None, "admin")
            self.office.owner = self.callers[name]
            self.office.belongings.user_ids = {self.office.owner.user_id}
        elif name in MEMBERS or name == "other_owner":
            side = home if name in MEMBERS else self.sides[B]
            if name == "owner" and name not in self.callers:
                self.callers[name] = side.owner
                return
            made = await registry.person(name, side)
            await registry.join(side, made.user_id, MEMBERS.get(name, "owner"))
            self.callers[name] = made
            if name == "owner":
                await self._change_owner(home, made)
        elif name == "expired_token":
            self.callers[name] = await registry.expired(home)
        elif any(feature.name == "api_keys" for feature in self.kernel.features):
            self.callers[name] = await registry.key(name, home)

    async def _change_owner(self, side: Side, made: Caller) -> None:
        side.owner = made
        for name in (*KEYS, "revoked_key", "expired_token"):
            if name in self.callers:
                await self._replace(name)

    async def _call_seed(self, seed: Seed, side: Side) -> None:
        self._serial += 1
        async with KernelClient(self.client.app, user=side.owner.user) as client:
            client.headers.update(side.owner.credentials)
            given = seed(client, side.workspace_id, f"{side.belongings.marker}{self._serial}")
            side.given.update((await given if inspect.isawaitable(given) else given) or {})
        await self.look()

    def _sort(self) -> None:
        """Gives each side its rows: the newest first, as older ones may have been used up; those of probes last."""
        sides = (*self.sides.values(), self.office)
        ids = {side.workspace_id for side in self.sides.values()}
        people = sum(len(side.belongings.user_ids) for side in sides)
        for side in sides:
            side.rows = {table: [] for table in side.rows}
        for key, row in self.seen.rows.items():
            if key[0].endswith("_history") or row.get("deleted_at") is not None:
                continue
            known = self._places.get(key)
            if known is None or known[0] is not row or known[1] != people:
                owner = self.owner_of(row)
                place = self.sides[owner] if owner else self.office if self.office.belongings.has(row, ids) else None
                known = self._places[key] = (row, people, place, self.office.probe in self.seen.texts[key])
            if known[2] is not None:
                known[2].rows.setdefault(key[0], []).append(row)
        for side in sides:
            for table, rows in side.rows.items():
                rows.sort(key=lambda row: (str(row.get("created_at", "")), str(row.get("id", ""))), reverse=True)
                if side.name == B:
                    rows.sort(key=lambda row: self._is_probe(table, row))

    def _is_probe(self, table: str, row: Mapping[str, Any]) -> bool:
        known = self._places.get((table, str(row.get("id"))))
        return known is not None and known[3]


def _ids_in(answer: Any) -> dict[str, str]:
    return {str(value_at(answer, place)): name for place, name in id_places(answer)}


def _marker(service: str, side: str) -> str:
    """A word that stands nowhere by chance, the same one in every run."""
    return f"mk{side.lower()[:1]}{hashlib.sha256(f'{service}/{side}'.encode()).hexdigest()[:8]}x"
