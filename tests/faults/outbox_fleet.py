"""Processes that save and carry, workers that write down, and what was acknowledged: started, killed, started again."""

import json
import queue
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.faults.children import Child
from tests.faults.durable_redis import DurableRedis
from tests.faults.outbox_feature import TOPIC, look, make_effects, read_effects


class Service:
    """One process that saves, and starts again after a kill with the saves that are left."""

    def __init__(self, fleet: "Fleet", name: str, saves: int) -> None:
        self._fleet = fleet
        self._name = name
        self._left = saves
        self._starts = 0
        self.active_at: float | None = None
        """When its relay began to carry; None while it stands by."""
        self.finished: dict[str, Any] | None = None
        self.refused: list[str] = []
        """The errors of saves that were not done."""
        self._answers: queue.Queue[Any] = queue.Queue()

    def start(self) -> None:
        """A new process for what is left to save."""
        self._starts += 1
        self.active_at = None
        arguments = (*self._fleet.addresses, f"{self._name}.{self._starts}", self._left, self._fleet.pace)
        self.child = self._fleet.keep(Child(self._fleet.program, *arguments, seconds=self._fleet.seconds))
        self._reader = threading.Thread(target=self._read, args=(self.child,), daemon=True)
        self._reader.start()

    def _read(self, child: Child) -> None:
        for line in child.lines():
            if "ack" in line:
                self._left -= 1
                self._fleet.acknowledge(line)
            elif "answer" in line:
                self._answers.put(line["answer"])
            elif "refused" in line:
                self.refused.append(line["refused"])
            elif "active" in line:
                self.active_at = time.monotonic()
            elif "finished" in line:
                self.finished = line

    def kill(self) -> None:
        """SIGKILL; whatever it had said is still read."""
        self.child.kill()
        self.child.wait()
        self._reader.join(30)
        self.active_at = None

    def ask(self, word: str) -> Any:
        """What it answers to a line."""
        self.child.tell(word)
        return self._answers.get(timeout=30)

    def stop(self) -> None:
        """Lets it deliver and end."""
        self.child.tell("stop")
        assert self.child.wait() == 0, self.child.errors()
        self._reader.join(30)


class Fleet:
    """Several services on one database, and workers where there is Redis; SQLite files unless URLs are given."""

    program = "outbox_service"
    """What a service runs."""

    def __init__(
        self,
        folder: Path,
        redis: DurableRedis | None,
        *,
        services: int,
        saves: int,
        pace: float,
        seconds: float = 120,
        urls: tuple[str, str] | None = None,
    ) -> None:
        self.app, self.admin = urls or (f"sqlite:///{folder / 'app.db'}", f"sqlite:///{folder / 'admin.db'}")
        self.prepare()
        self.pace, self.seconds = pace, seconds
        self.redis = redis
        self.addresses = (self.app, "-" if redis else self.admin, redis.url if redis else "-")
        self._ledger = (folder / "ledger.jsonl").open("a")
        self._lock = threading.Lock()
        self.acked: dict[str, set[int]] = {}
        self.acks = 0
        self.taken: list[float] = []
        """Seconds of each acknowledged save."""
        self._stack = ExitStack()
        self.services = [Service(self, f"s{number}", saves // services) for number in range(services)]
        self.workers: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        self._ledger.close()

    def prepare(self) -> None:
        """Makes what the workers write to."""
        make_effects(self.admin)

    def keep(self, child: Child) -> Child:
        """A child that is dead at the end."""
        return self._stack.enter_context(child)

    def acknowledge(self, line: dict[str, Any]) -> None:
        """Writes an acknowledged save down."""
        with self._lock:
            self._ledger.write(json.dumps(line) + "\n")
            self._ledger.flush()
            self.acked.setdefault(line["ack"], set()).add(line["version"])
            self.acks += 1
            self.taken.append(line["seconds"])

    def start_worker(self) -> Child:
        """One more admin worker."""
        assert self.redis is not None
        self.workers.append(self.keep(Child("outbox_worker", self.redis.url, self.admin, seconds=self.seconds)))
        return self.workers[-1]

    def active(self) -> Service | None:
        """The service whose relay carries."""
        return next((service for service in self.services if service.active_at is not None), None)

    def wait_for(self, what: str, condition: Any, seconds: float = 60) -> None:
        """Returns when it holds; fails after some time."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen in {seconds} s"
            time.sleep(0.02)

    def is_settled(self) -> bool:
        """Whether everything has left the outbox and the stream."""
        unsent = look(self.app, "SELECT COUNT(*) FROM kernel_outbox WHERE batch IS NULL")[0][0]
        if unsent or self.redis is None:
            return not unsent
        with self.redis.client() as client:
            return not client.xlen(TOPIC)

    def assert_all_arrived_once(self) -> int:
        """Every version in the history has arrived once and in order, and every acknowledged one is among them."""
        saved: dict[str, list[int]] = {}
        for id, version in look(self.app, "SELECT id, _version FROM items_history ORDER BY id, _version"):
            saved.setdefault(str(id), []).append(int(version))
        arrived = read_effects(self.admin)
        wrong = {id: (versions, arrived.get(id)) for id, versions in saved.items() if arrived.get(id) != versions}
        assert not wrong, f"saved and arrived differ: {str(wrong)[:2000]}"
        assert arrived.keys() == saved.keys()
        lost = {id: versions - set(saved.get(id, ())) for id, versions in self.acked.items()}
        assert not any(lost.values()), f"acknowledged and not saved: {lost}"
        return sum(map(len, arrived.values()))
