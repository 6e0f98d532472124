"""A program that opens and closes new files at given instants, as its twins do: DIRECTORY COUNT SECONDS_BETWEEN."""

import asyncio
import random
import sys
import time
from pathlib import Path

from app_kernel.core.errors import KernelError
from app_kernel.db.database import connect
from tests.faults.children import emit


async def main(directory: Path, count: int, between: float) -> None:
    """Waits busily for each instant, because waking up takes longer than the race that is looked for."""
    emit(ready=True)
    start = float(sys.stdin.readline())
    errors = []
    for number in range(count):
        instant = start + number * between + random.uniform(0, 0.0005)
        while time.time() < instant:
            pass
        try:
            async with connect(f"sqlite:///{directory / str(number)}.db"):
                pass
        except KernelError as exc:
            errors.append(f"{number}: {type(exc).__name__}")
    emit(finished=True, errors=errors)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
