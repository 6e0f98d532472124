"""Clients that do a little of everything, and the ledger of what they were told."""

import asyncio
import random
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.faults.ledger import write_line
from tests.faults.soak_fleet import PASSWORD

PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.1
"""After a request that failed."""
REFUSED = 0.12
"""Share of the orders that the service refuses when everything has been done."""
UNKNOWN = 0
"""The status of a request that nobody answered."""


@dataclass
class Request:
    """One request."""

    kind: str
    at: float
    seconds: float
    status: int


@dataclass
class Ledger:
    """What was tried and what came of it, by mark or id."""

    saves: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Every save that was tried, by its mark: note and text."""
    kept: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Acknowledged saves, by mark: note and version."""
    deleted: dict[str, int] = field(default_factory=dict)
    """Acknowledged deletes, by note: the version that the delete made."""
    orders: dict[str, int] = field(default_factory=dict)
    """Every order that was tried: its units."""
    placed: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    """Orders that were answered with 409."""
    sign_ins: int = 0
    wrong: list[str] = field(default_factory=list)
    """Answers that contradict what was acknowledged before."""


class Clients:
    """Several lanes, each of which does one thing after the other."""

    def __init__(self, ports: Iterable[int], ledger: Path, seed: int) -> None:
        self._clients = [
            httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_SECONDS) for port in ports
        ]
        self._file = ledger.open("a")
        self._seed = seed
        self.ledger = Ledger()
        self.requests: list[Request] = []
        self.enough = asyncio.Event()
        self._count = 0

    async def close(self) -> None:
        """Ends the connections; what each request took is in the file too, for whoever wants to know why."""
        for client in self._clients:
            await client.aclose()
        for request in self.requests:
            self.note(**asdict(request))
        self._file.close()

    def note(self, **line: Any) -> None:
        """Writes down."""
        write_line(self._file, line)

    def next_mark(self) -> str:
        """A name that nothing else has."""
        self._count += 1
        return f"m{self._count}"

    async def ask(
        self, kind: str, method: str, path: str, chance: random.Random, **options: Any
    ) -> httpx2.Response | None:
        """The answer of some web process; None where there was none, so that nobody knows what was done."""
        began = time.monotonic()
        try:
            answer: httpx2.Response | None = await chance.choice(self._clients).request(method, path, **options)
        except httpx2.HTTPError:
            answer = None
        status = UNKNOWN if answer is None else answer.status_code
        self.requests.append(Request(kind, began, time.monotonic() - began, status))
        return answer

    async def run(self, lanes: int, pace: float) -> None:
        """Until it is enough; `pace` is the mean time between two requests of a lane, in seconds."""
        async with asyncio.TaskGroup() as group:
            for number in range(lanes):
                group.create_task(Lane(self, number, random.Random(f"{self._seed}-{number}"), pace).run())

    async def next_write(self, since: float, seconds: float = 30) -> float:
        """Seconds from an instant to the first write that began after it and succeeded."""
        deadline = time.monotonic() + seconds
        while True:
            for request in reversed(self.requests):
                if request.at < since:
                    break
                if request.kind in ("save", "order") and request.status == 200:
                    return request.at + request.seconds - since
            assert time.monotonic() < deadline, f"no write succeeded within {seconds} s of the end of a fault"
            await asyncio.sleep(0.02)


class Lane:
    """One user's requests."""

    def __init__(self, clients: Clients, number: int, chance: random.Random, pace: float) -> None:
        self._clients = clients
        self._ledger = clients.ledger
        self._chance = chance
        self._pace = pace
        self._email = f"user-{number}@example.com"
        self._token = ""
        self._notes: dict[str, int] = {}
        """Notes of this lane's own that nobody else writes: the version that was last acknowledged."""

    async def run(self) -> None:
        """Signs up, then one thing after the other until it is enough."""
        while not self._clients.enough.is_set():
            if not self._token:
                done = await self._sign_in()
            else:
                done = await self._chance.choices(
                    (self._save, self._delete, self._read, self._order, self._sign_in), (46, 8, 24, 20, 2)
                )[0]()
            await asyncio.sleep(self._chance.uniform(0, 2 * self._pace) if done else PAUSE_SECONDS)

    async def _ask(self, kind: str, method: str, path: str, **options: Any) -> httpx2.Response | None:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return await self._clients.ask(kind, method, path, self._chance, headers=headers, **options)

    async def _sign_in(self) -> bool:
        given = {"email": self._email, "password": PASSWORD}
        answer = await self._ask("sign-in", "POST", "/auth/login", json=given)
        if answer is not None and answer.status_code == 401:
            answer = await self._ask("sign-up", "POST", "/auth/register", json=given)
        if answer is None or answer.status_code not in (200, 201) or "access_token" not in answer.json():
            return False
        self._token = answer.json()["access_token"]
        self._ledger.sign_ins += 1
        self._clients.note(ack="sign-in", email=self._email)
        return True

    async def _save(self) -> bool:
        mark = self._clients.next_mark()
        is_new = not self._notes or self._chance.random() < 0.3
        id = f"note-{mark}" if is_new else self._chance.choice(list(self._notes))
        text = f"text of {mark}"
        self._ledger.saves[mark] = (id, text)
        self._clients.note(intent=mark, verb="save", id=id, text=text)
        answer = await self._ask("save", "PUT", f"/notes/{id}", json={"mark": mark, "text": text})
        if answer is None or answer.status_code != 200:
            return self._failed("save", mark, answer)
        version = answer.json()["_version"]
        if version <= self._notes.get(id, 0):
            self._ledger.wrong.append(f"the save {mark} of {id} has version {version} after {self._notes[id]}")
        self._notes[id] = version
        self._ledger.kept[mark] = (id, version)
        self._clients.note(ack=mark, version=version)
        return True

    async def _read(self) -> bool:
        if not self._notes:
            return True
        id = self._chance.choice(list(self._notes))
        answer = await self._ask("read", "GET", f"/notes/{id}")
        if answer is None or answer.status_code not in (200, 404):
            return self._failed("read", id, answer)
        if answer.status_code == 404 or answer.json()["_version"] < self._notes[id]:
            self._ledger.wrong.append(f"{id} is not at version {self._notes[id]}: {answer.text}")
        return True

    async def _delete(self) -> bool:
        if not self._notes:
            return True
        id = self._chance.choice(list(self._notes))
        # Done or not, nobody writes to it any more.
        version = self._notes.pop(id)
        self._clients.note(intent=id, verb="delete")
        answer = await self._ask("delete", "DELETE", f"/notes/{id}")
        if answer is None or answer.status_code != 200:
            return self._failed("delete", id, answer)
        if not answer.json()["done"]:
            self._ledger.wrong.append(f"there was no {id} to delete")
        self._ledger.deleted[id] = version
        self._clients.note(ack=id, verb="delete")
        return True

    async def _order(self) -> bool:
        mark, units, fails = self._clients.next_mark(), self._chance.randrange(1, 100), self._chance.random() < REFUSED
        self._ledger.orders[mark] = units
        self._clients.note(intent=mark, verb="order", units=units, fails=fails)
        answer = await self._ask("order", "POST", "/orders", json={"id": mark, "units": units, "fails": fails})
        if answer is not None and answer.status_code == (409 if fails else 200):
            (self._ledger.refused if fails else self._ledger.placed).add(mark)
            self._clients.note(ack=mark, refused=fails)
            return True
        return self._failed("order", mark, answer)

    def _failed(self, kind: str, mark: str, answer: httpx2.Response | None) -> bool:
        status = UNKNOWN if answer is None else answer.status_code
        self._clients.note(failed=mark, status=status)
        if status not in (UNKNOWN, 503):
            self._ledger.wrong.append(f"{kind} {mark} was answered with {status}: {answer and answer.text}")
        return False
