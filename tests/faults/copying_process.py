"""Copies one database into another, and says each step; the test kills it somewhere on the way."""

import asyncio
import sys

from app_kernel.db.transfer.filler import Options
from app_kernel.db.transfer.filling import Step
from app_kernel.db.transfer.moves import opened_copy
from app_kernel.jobs import JOB_TABLES
from tests.faults.children import emit


def say(step: Step) -> None:
    """One line, and goes on when told to; whoever reads it kills this process there, or on its way to the next."""
    emit(doing=step.doing, table=step.table, rows=step.rows)
    sys.stdin.readline()


async def main(source: str, target: str) -> None:
    async with opened_copy(source, target, (JOB_TABLES,), Options(), say) as copy:
        await copy.finish()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
