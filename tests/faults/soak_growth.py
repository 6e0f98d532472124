"""Memory, descriptors and connections of processes, looked at again and again, and whether they grow."""

import asyncio
import json
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import linear_regression, median


@dataclass(frozen=True)
class Sample:
    """One look at one process."""

    at: float
    megabytes: float
    """What it holds for itself alone. Pages of programs and files come and go as the system sees fit."""
    resident: float
    """The same with those, in megabytes."""
    descriptors: int
    connections: int


def look_at(pid: int) -> Sample | None:
    """What a process holds; None where it is gone."""
    process = Path(f"/proc/{pid}")
    try:
        held = memory(pid)
        links = [link for each in os.listdir(process / "fd") if (link := _link(process / "fd" / each))]  # noqa: PTH208
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    sockets = sum(link.startswith("socket:") for link in links)
    own = held["RssAnon"] + held["VmSwap"]
    return Sample(time.monotonic(), own, held["VmRSS"], len(links), sockets)


def memory(pid: int) -> dict[str, float]:
    """Megabytes by the names that Linux has for them; raises ProcessLookupError where the process has ended."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    kilobytes = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) == 3 and words[2] == "kB"}
    if "RssAnon" not in kilobytes:
        # Nobody has waited for it yet.
        raise ProcessLookupError
    return {name: value * 1024 / 1e6 for name, value in kilobytes.items()}


def _link(descriptor: Path) -> str:
    """What a descriptor is; empty where it has been closed since."""
    with suppress(FileNotFoundError):
        return str(descriptor.readlink())
    return ""


class Growth:
    """The samples of every process."""

    def __init__(self, running: Callable[[], Iterable[tuple[str, int]]]) -> None:
        self._running = running
        self.samples: dict[tuple[str, int], list[Sample]] = defaultdict(list)

    async def watch(self, every: float) -> None:
        """Until it is cancelled."""
        while True:
            for name, pid in self._running():
                if (sample := look_at(pid)) is not None:
                    self.samples[name, pid].append(sample)
            await asyncio.sleep(every)

    def write(self, path: Path) -> None:
        """Every look, for whoever wants to know what grew."""
        with path.open("w") as file:
            for (name, pid), samples in self.samples.items():
                file.writelines(json.dumps({"name": name, "pid": pid} | asdict(each)) + "\n" for each in samples)

    def stretches(self, least: float, warm: float) -> dict[tuple[str, int], list[Sample]]:
        """The samples of processes that lived for so many seconds, without the first ones of them."""
        lived = {key: found for key, found in self.samples.items() if found[-1].at - found[0].at >= least}
        return {key: [each for each in found if each.at - found[0].at >= warm] for key, found in lived.items()}


def slope(samples: list[Sample], what: Callable[[Sample], float]) -> float:
    """Growth per minute, as the line that fits best has it."""
    return linear_regression([each.at for each in samples], [what(each) for each in samples]).slope * 60


def rise(samples: list[Sample], what: Callable[[Sample], float]) -> float:
    """From the median of the first quarter to that of the last one."""
    quarter = max(1, len(samples) // 4)
    return median(map(what, samples[-quarter:])) - median(map(what, samples[:quarter]))
