"""A program that goes on saving while its system calls fail: PATH SAVES. It says of each save what became of it."""

import asyncio
import sys

from app_kernel.core.errors import Unavailable
from app_kernel.db.database import connect
from tests.faults.children import emit, wait_for_go
from tests.faults.recorder import Recorder


async def main(path: str, saves: int) -> None:
    """Saves one after the other, new rows and one that changes each time."""
    async with connect(f"sqlite:///{path}") as db:
        recorder = Recorder(db, "f")
        await recorder.save("hot", {"number": -1})
        for number in range(saves):
            try:
                await recorder.save("hot" if number % 2 else None, {"number": number, "text": "x" * 3000})
            except Unavailable as exc:
                assert await db.get_entity("items", "hot") is not None
                emit(error=type(exc).__name__, status=exc.status, message=exc.message, number=number)
    emit(finished=True)


if __name__ == "__main__":
    wait_for_go()
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
