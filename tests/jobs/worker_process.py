"""The worker as its users start it: `python -m app_kernel.jobs.worker` in a folder of theirs, and what it logs.

It is forked from a process that has imported it, see `tests.zygote`; with `imports=True` it begins at the beginning.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.jobs.places import JobPlace
from tests.jobs.waiting import until
from tests.zygote import Forked, run, start

MODULE = "app_kernel.jobs.worker"
COMMAND = (sys.executable, "-m", MODULE)
TICKS = os.sysconf("SC_CLK_TCK")
# What a worker reads from the environment must come from its test, and from nothing else.
_KEPT = {"PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV"}


def environment(**variables: str) -> dict[str, str]:
    """These variables, and no others of a service."""
    return {name: value for name, value in os.environ.items() if name in _KEPT} | variables


def addresses(place: JobPlace) -> dict[str, str]:
    """Where a place is, in the words of the environment."""
    redis = {} if place.redis_url is None else {"REDIS_URL": place.redis_url}
    return {"DATABASE_URL": place.database_url, **redis}


class WorkerProcess:
    """One worker, dead at the end of its block."""

    def __init__(self, process: "subprocess.Popen[bytes] | Forked", output: int) -> None:
        self.process = process
        self._output = output
        self.printed: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with open(self._output, encoding="utf-8") as output:  # noqa: PTH123 - a descriptor has no path
            for line in output:
                self.printed.append(line)

    @property
    def text(self) -> str:
        """Everything that it wrote so far."""
        return "".join(self.printed)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Its log lines."""
        return (json.loads(line) for line in tuple(self.printed) if line.startswith("{"))

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of one event."""
        return [line for line in self.lines() if line["event"] == name]

    async def said(self, name: str, seconds: float = 30) -> dict[str, Any]:
        """The first line of an event, once it is there."""

        async def look() -> list[dict[str, Any]]:
            found = self.events(name)
            assert found or self.process.poll() is None, f"it ended: {self.text}"
            return found

        return (await until(look, seconds))[0]

    def complaints(self) -> list[str]:
        """The events of its warnings and errors, but those of a Redis that keeps nothing on disk."""
        told = [line["event"] for line in self.lines() if line["level"] in ("warning", "error")]
        return [event for event in told if event != "redis_may_forget_jobs"]

    def send(self, number: int = signal.SIGTERM) -> None:
        """Sends a signal."""
        self.process.send_signal(number)

    async def ended(self, seconds: float = 20) -> int:
        """Its exit status, once it has ended."""
        status = await asyncio.to_thread(self.process.wait, seconds)
        self._reader.join(10)
        return status

    async def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """Sends a signal; the exit status, and the seconds until it ended."""
        began = time.monotonic()
        self.send(number)
        return await self.ended(), time.monotonic() - began

    def cpu_seconds(self) -> float:
        """Processor time that it used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    async def load(self, seconds: float = 3) -> float:
        """Which part of one core it uses for some seconds."""
        before = self.cpu_seconds()
        await asyncio.sleep(seconds)
        used = (self.cpu_seconds() - before) / seconds
        print(f"{used:.1%} of a core over {seconds:g} s")
        return used


@asynccontextmanager
async def worker(folder: Path, *options: str, imports: bool = False, **variables: str) -> AsyncIterator[WorkerProcess]:
    """A worker in `folder`, with these options and environment variables."""
    if "--app" not in options:
        variables.setdefault("SERVICE_NAME", "worked")
    output, theirs = os.pipe()
    process: subprocess.Popen[bytes] | Forked
    if imports:
        process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once, and is waited for elsewhere
            [*COMMAND, *options], cwd=folder, env=environment(**variables), stdin=subprocess.DEVNULL, stdout=theirs,
            stderr=theirs,
        )  # fmt: skip
    else:
        process = start(MODULE, options, cwd=folder, env=environment(**variables), stdout=theirs)
    os.close(theirs)
    started = WorkerProcess(process, output)
    try:
        yield started
    finally:
        process.kill()
        process.wait(30)
        started._reader.join(10)


def refused(folder: Path, *options: str, **variables: str) -> str:
    """What a worker writes that ends by itself with 2: one line."""
    done = run(MODULE, options, cwd=folder, env=environment(**variables))
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stderr
