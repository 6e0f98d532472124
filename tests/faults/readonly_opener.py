"""A program that opens a file as a user who may not write to it, reads, and tries to save: PATH."""

import asyncio
import os
import sys

from app_kernel.core.errors import KernelError
from app_kernel.db.database import connect
from tests.faults.children import emit

NOBODY = 65534


async def main(path: str) -> None:
    """Opens, reads, saves."""
    try:
        async with connect(f"sqlite:///{path}") as db:
            row = await db.get_entity("items", "a")
            emit(read=row is not None and row["name"])
            await db.save_entity("items", {"id": "a", "name": "changed"})
            emit(saved=True)
    except KernelError as exc:
        emit(error=type(exc).__name__, status=exc.status, message=exc.message)
    emit(finished=True)


if __name__ == "__main__":
    if os.geteuid() == 0:
        # Root may write everywhere; whoever runs the tests without being root has no more rights than nobody here.
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    asyncio.run(main(sys.argv[1]))
