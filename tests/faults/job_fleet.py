"""Worker processes on one place: started, killed, paused and stopped, all dead at the end."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from app_kernel.core.errors import Unavailable
from app_kernel.jobs import JobClient
from tests.faults.children import ROOT
from tests.faults.job_ledger import JobLedger
from tests.faults.job_places import FaultPlace
from tests.zygote import Forked, start

HURRY = 0.6
"""Seconds between two beats where the kernel's own 2 would make a test long: a job is rescued after some 3 to 4."""
OWN_BEAT = 2.0
"""As the kernel has it, for a worker that starts as fast as the others here."""
TICKS = os.sysconf("SC_CLK_TCK")


class JobWorkerProcess:
    """One worker; its log lines are in a file."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    @property
    def is_running(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """How it ended."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL; returns when it is dead."""
        self._process.kill()
        while self.is_running:
            time.sleep(0.005)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        lines = (json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{"))
        return [line for line in lines if line.get("event") == name]

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-3000:]

    def cpu_seconds(self) -> float:
        """Processor time that it used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident_megabytes(self) -> float:
        """Memory that it holds."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


class JobFleet:
    """Made by `job_fleet`."""

    def __init__(self, folder: Path, place: FaultPlace, client: JobClient) -> None:
        self.place = place
        self.client = client
        self.ledger = JobLedger(folder)
        self._folder = folder
        self.workers: list[JobWorkerProcess] = []
        self.all: list[JobWorkerProcess] = []
        self.killed: set[int] = set()

    def start(
        self, *options: str, beat: float | None = HURRY, place: FaultPlace | None = None, **environment: str
    ) -> JobWorkerProcess:
        """One more worker: the kernel's own command where `beat` is None."""
        at = place or self.place
        settings = {"DATABASE_URL": at.database_url, **environment}
        if at.redis_url is not None:
            settings["REDIS_URL"] = at.redis_url
        log = self._folder / f"worker-{len(self.all)}.log"
        log.touch()
        arguments = ["--tasks", "tests.faults.job_tasks", *options]
        worker = JobWorkerProcess(
            self._spawn(arguments, settings, log)
            if beat is None
            else self._fork([str(beat), *arguments], settings, log),
            log,
        )
        self.workers.append(worker)
        self.all.append(worker)
        return worker

    def _spawn(self, arguments: list[str], settings: dict[str, str], log: Path) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "app_kernel.jobs.worker", *arguments]
        with log.open("w") as out:
            return subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **settings}, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def _fork(self, arguments: list[str], settings: dict[str, str], log: Path) -> Forked:
        with log.open("a") as out:
            environment = {**os.environ, **settings}
            return start("tests.faults.job_worker", arguments, cwd=ROOT, env=environment, stdout=out.fileno())

    async def started(self, *workers: JobWorkerProcess, seconds: float = 90) -> None:
        """Returns when these, or all that run, take jobs."""
        for worker in workers or tuple(self.workers):
            await self.wait_for(
                lambda worker=worker: worker.events("worker_started") or not worker.is_running, "a worker", seconds
            )
            assert worker.is_running, worker.said()

    def kill(self, worker: JobWorkerProcess) -> None:
        """SIGKILL."""
        self.killed.add(worker.pid)
        worker.kill()
        self.workers.remove(worker)

    async def stop(self, worker: JobWorkerProcess, seconds: float = 30) -> float:
        """SIGTERM; how long its end took."""
        began = time.monotonic()
        worker.send(signal.SIGTERM)
        await self.wait_for(lambda: not worker.is_running, "the end of a worker", seconds)
        taken = time.monotonic() - began
        assert worker.returncode == 0, worker.said()
        self.workers.remove(worker)
        return taken

    async def enqueue(self, id: str, task: str = "work", *, tries: bool = True, **payload: Any) -> None:
        """Enqueues until that is acknowledged; `options` of the payload go along."""
        options = payload.pop("options", {})
        given = {"ledger": str(self.ledger.path), **payload}
        while True:
            try:
                await self.client.enqueue(task, given, job_id=id, **options)
            except Unavailable:
                if not tries:
                    raise
                await asyncio.sleep(0.05)
            else:
                self.ledger.acknowledge(id)
                return

    async def wait_for(self, condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """What the condition gives, once it is true; fails after some time."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                logs = "\n".join(worker.said() for worker in self.workers)
                raise AssertionError(f"{what} did not happen in {seconds} s\n{logs}")
            await asyncio.sleep(0.02)
        return found

    async def ended(self, *ids: str, seconds: float = 60) -> None:
        """Returns when each of these jobs has come to the end of a run."""
        await self.wait_for(lambda: self.ledger.read().ends.keys() >= set(ids), f"the end of {ids}", seconds)

    async def settled(self, seconds: float = 60) -> None:
        """Returns when no job waits or runs; fails when an acknowledged one is not completed then."""
        deadline = time.monotonic() + seconds
        while counts := (await self.client.figures()).counts:
            assert not any(status == "dead" for _, status in counts), f"jobs are dead: {counts}"
            assert time.monotonic() < deadline, f"jobs are left: {counts}"
            await asyncio.sleep(0.1)
        statuses = await self.client.backend.statuses(sorted(self.ledger.acked))
        wrong = {id: statuses.get(id) for id in self.ledger.acked if statuses.get(id) != "completed"}
        assert not wrong, f"{len(wrong)} acknowledged jobs are not completed: {dict(list(wrong.items())[:5])}"

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of one event of all workers there were."""
        return [line for worker in self.all for line in worker.events(event)]

    def close(self) -> None:
        """Kills what is left."""
        for worker in self.all:
            worker.kill()
        self.ledger.close()


@asynccontextmanager
async def job_fleet(folder: Path, place: FaultPlace) -> AsyncIterator[JobFleet]:
    """No workers yet, and a client; workers are dead at the end."""
    async with place.client() as client:
        fleet = JobFleet(folder, place, client)
        try:
            yield fleet
        finally:
            fleet.close()
