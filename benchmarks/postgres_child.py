"""Statements for a PostgreSQL database, run where nothing is measured."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import asyncpg

from benchmarks.harness import answer


async def run(url: str, statements: list[str]) -> list[list[Any]]:
    """The rows of the last one."""
    connection = await asyncpg.connect(url)
    try:
        found: list[Any] = []
        for statement in statements:
            found = await connection.fetch(statement)
        return [list(row) for row in found]
    finally:
        await connection.close()


if __name__ == "__main__":
    answer(asyncio.run(run(**json.load(sys.stdin))))
