"""What the figures were taken on: processor, memory, Python, libraries, cost of an fsync."""

from __future__ import annotations

import os
import platform
import statistics
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

LIBRARIES = (
    "app-kernel", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic", "orjson", "PyJWT",
    "argon2-cffi", "apsw", "aiosqlite", "asyncpg", "asyncmy", "SQLAlchemy", "dataset", "pg8000",
    "saq", "redis", "hiredis", "limits", "cashews",
)  # fmt: skip


def about() -> dict[str, Any]:
    """One line of facts for the head of the report; nothing that names the host or a path."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": f"{_cpu_model()}, {os.cpu_count()} cores",
        "cores": os.cpu_count(),
        "memory": f"{_memory_gib():.0f} GiB",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "load average": f"{os.getloadavg()[0]:.1f}",
        "fsync of 4 KiB": f"{fsync_us():.0f} us",
        "libraries": {name: version for name in LIBRARIES if (version := version_of(name))},
    }


def version_of(name: str) -> str | None:
    """The installed version, None when it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def fsync_us(times: int = 30) -> float:
    """The median cost of an appended and synced page where the databases of the benchmarks lie."""
    costs = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            file.flush()
            begun = time.perf_counter()
            os.fsync(file.fileno())
            costs.append(time.perf_counter() - begun)
    return statistics.median(costs) * 1e6


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
